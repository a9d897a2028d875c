"""Member lists: JSON and CSV say the same, what is wrong is told with its place, and changes are counted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_policy import Role
from pullgate_policy.members import (
    InvalidMembersError,
    Member,
    member_data,
    members_csv,
    parse_members,
    parse_members_csv,
    parse_members_json,
)

ADA = Member(username="ada", role=Role.OWNER, teams=frozenset({"data-science", "web"}))
DEV = Member(username="dev")
LIST = '[{"username": "ada", "role": "owner", "teams": ["web", "data-science"]}, {"username": "dev"}]'
LINES = '{"username": "ada", "role": "owner", "teams": ["web", "data-science"]}\n\n{"username": "dev"}\r\n'
DOCKER_EXPORT = """\
Name,Username,Email,Type,Permission,Teams,Date Joined
Ada L,ada,ada@example.com,User,Owner,"data-science, web",2024-01-01
D Ev,dev,dev@example.com,User,Member,,2024-01-02
,,new@example.com,Invitee,Member,,2024-01-03
"""

names = st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() and text.isprintable()
)
members = st.lists(
    st.builds(Member, username=names, role=st.sampled_from(Role), teams=st.frozensets(names, max_size=3)),
    unique_by=lambda member: member.username,
    max_size=5,
).map(tuple)


@given(members)
def test_every_list_survives_being_written(listed: tuple[Member, ...]) -> None:
    """Members are the same after CSV, after a JSON list, after a JSON document and after one object a line."""
    data = [member_data(member) for member in listed]

    assert listed == parse_members_csv(members_csv(listed))
    assert listed == parse_members_json(json.dumps(data)) == parse_members(data)
    assert listed == parse_members_json(json.dumps({"members": data}, indent=2))
    if listed:
        assert listed == parse_members_json("\n".join(json.dumps(item, ensure_ascii=False) for item in data))


@pytest.mark.parametrize(
    "text",
    [
        LIST,
        f'{{"members": {LIST}}}',
        f"\ufeff{LIST}",
        LINES,
        f"\ufeff{LINES}",
    ],
)
def test_forms_of_json(text: str) -> None:
    """A list, a document with members, and one object a line mean the same, with or without a byte order mark."""
    assert parse_members_json(text) == (ADA, DEV)


@pytest.mark.parametrize(
    "text",
    [
        "username,role,teams\nada,owner,data-science;web\ndev,member,\n",
        "\ufeffusername,role,teams\r\nada,owner,data-science;web\r\n\r\ndev,,\r\n",
        "teams, username ,Role\ndata-science; web,ada,Owner\n,dev\n,,\n",
        DOCKER_EXPORT,
        DOCKER_EXPORT.replace("Permission", "Role"),
    ],
)
def test_forms_of_csv(text: str) -> None:
    """Columns stand in any order, empty cells and rows are left out, and Docker's own export is read as it is."""
    assert parse_members_csv(text) == (ADA, DEV)


def test_one_object_is_a_list_of_one_line() -> None:
    """A single member needs no list around it."""
    assert parse_members_json('\n{\n"username": "dev"}\n') == (DEV,)


@pytest.mark.parametrize("text", ["username,role,teams\n", "username"])
def test_a_header_alone_is_a_list_of_nobody(text: str) -> None:
    """Nobody is a list, as `[]` is."""
    assert parse_members_csv(text) == parse_members_json("[]") == ()


def test_a_line_of_json_may_name_somebody_members() -> None:
    """The key `members` makes a document, not the word."""
    assert parse_members_json('{"username": "members"}') == (Member(username="members"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["there is nothing in it; write [{"]),
        (" \n", ["there is nothing in it; write [{"]),
        ("12", ["expected a list of members, got the number 12"]),
        ('{"members": 1, "x": 2}', ["members: expected a list of members, got the number 1", "x: unknown key"]),
        ('{"user": "dev"}', ["line 1, user: unknown key; did you mean username?", "line 1, username: is missing"]),
        ('[{"username": "a"', ["line 1, column 18: this is not JSON"]),
        ('[{"username": "a", "username": "b"}]', ['line 1: this JSON is not read: the key "username" stands twice']),
        ("[" * 100_000, ["line 1: this JSON is not read"]),
        (
            '[{"username": "a", "role": "boss"}, "b", {"username": "a", "teams": ["x", " y"]}, {"username": 1}]',
            [
                '[0].role: the text "boss" is not a choice; known here: member, owner, policy_manager',
                '[1]: expected a section with keys, got the text "b"',
                '[2].teams[1]: " y" is not a team\'s name',
                '[2]: "a" stands in [0] already',
                "[3].username: expected a text, got the number 1",
            ],
        ),
        ('{"members": [{"username": " dev"}]}', ['members[0].username: " dev" is not a username']),
        (
            '{"username": "a"}\n{"username": }\n{"username": "a\\u001b", "teams": [2]}\n{"username": "a"}',
            [
                "line 2, column 14: this is not JSON",
                "line 3, username: 'a\\x1b' is not a username: it is empty, or has white space around it or control",
                "line 3, teams[0]: expected a text, got the number 2",
                'line 4: "a" stands in line 1 already',
            ],
        ),
    ],
)
def test_problems_of_json(text: str, told: list[str]) -> None:
    """Every problem is told at its path, or at its line where each line is an object."""
    with pytest.raises(InvalidMembersError) as raised:
        parse_members_json(text)
    problems = [str(problem) for problem in raised.value.problems]

    assert len(told) == len(problems), problems
    assert all(problem.startswith(expected) for problem, expected in zip(problems, told, strict=True)), problems


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["there is nothing in it; begin with a line such as username,role,teams"]),
        (
            "dev,owner",
            [
                'line 1: "dev" is not a column; known here: role, teams, username; begin with',
                'line 1: "owner" is not a column; known here: role, teams, username; begin with',
                "line 1: the column username is missing; begin with",
            ],
        ),
        ("username,email\ndev,x", ['line 1: "email" is not a column; known here: role, teams, username']),
        ("username,role,role\ndev,,", ["line 1: two columns say the role; keep one"]),
        (DOCKER_EXPORT.replace("Date Joined", "Permission,Date Joined"), ["line 1: two columns say the role"]),
        (
            'username,role,teams\n"dev\n",boss,\nb,,"a; ;b"\n\nb,,,\n"x" y,,\n',
            [
                "line 2, username: 'dev\\n' is not a username",
                'line 2, role: the text "boss" is not a choice; known here: member, owner, policy_manager',
                "line 6: has 4 cells, and the header names 3 columns; quote cells with commas",
                "line 7: this is not CSV",
            ],
        ),
        (
            'username,teams\na,"""x"\n,web\na,"x\x1b"\n',
            [
                'line 2, teams: ""x" is not a list of teams',
                'line 3, username: "" is not a username',
                "line 4, teams[0]: 'x\\x1b' is not a team's name",
                'line 4: "a" stands in line 2 already',
            ],
        ),
        (f"username\n{'x' * 256}", ['line 2, username: "xxx']),
    ],
)
def test_problems_of_csv(text: str, told: list[str]) -> None:
    """Every problem is told at its line and column."""
    with pytest.raises(InvalidMembersError) as raised:
        parse_members_csv(text)
    problems = [str(problem) for problem in raised.value.problems]

    assert len(told) == len(problems), problems
    assert all(problem.startswith(expected) for problem, expected in zip(problems, told, strict=True)), problems
