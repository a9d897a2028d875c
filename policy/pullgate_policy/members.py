"""An organization's member list: who has which role and is in which teams, as JSON, as CSV, and what a new one changes.

CSV has a header row that names its columns, in any order:

    username,role,teams
    ada,owner,data-science;web
    dev,,

What Docker exports of an organization's members is read as it is: its other columns say nothing here, and invitees,
who have not joined, are left out.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pullgate_policy.document import Choice, Plain, Record, SetOf, Text, describe, suggestion, written
from pullgate_policy.errors import InvalidDocumentError, Problem, shown
from pullgate_policy.identity import Role
from pullgate_policy.names import team_name

MAX_USERNAME_LENGTH = 255


class InvalidMembersError(InvalidDocumentError):
    """A member list has problems."""


def user_name(text: str) -> str:
    """A username: anything that can be read, as identity providers name their users freely."""
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError("is not a username: it is empty, or has white space around it or control characters in it")
    if len(text) > MAX_USERNAME_LENGTH:
        raise ValueError(f"has {len(text)} characters, and at most {MAX_USERNAME_LENGTH} are allowed")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody on an organization's member list.

    Attributes:
        username: compared byte by byte.
    """

    username: str = written(Text(user_name))
    role: Role = written(Choice(Role), default=Role.MEMBER)
    teams: frozenset[str] = written(SetOf(Text(team_name)), default=frozenset())


MemberList = Mapping[str, Member]
"""An organization's members by username."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersWritten:
    """What came of a write of a member list.

    Attributes:
        changes: each entry that changed, before and after, in the order of the names; None where there was or is none.
        unchanged: how many of those named stayed as they were.
        revision: 0 where nothing was written.
    """

    changes: Sequence[tuple[Member | None, Member | None]]
    unchanged: int
    revision: int


_member: Record[Member] = Record(Member)


class _MemberList:
    """A list in which no username stands twice."""

    def read(self, data: object, path: str, problems: list[Problem]) -> tuple[Member, ...] | None:
        """The members, in order."""
        if not isinstance(data, list):
            problems.append(Problem(path, f"expected a list of members, got {describe(data)}"))
            return None
        return _read_each(((f"{path}[{index}]", item) for index, item in enumerate(data)), ".", problems)

    def write(self, value: Iterable[Member]) -> Plain:
        """The members, in order."""
        return [_member.write(member) for member in value]

    def json_schema(self) -> dict[str, Plain]:
        """A list of members."""
        return {"type": "array", "items": _member.json_schema()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _MemberDocument:
    members: tuple[Member, ...] = written(_MemberList())


_list = _MemberList()
_document: Record[_MemberDocument] = Record(_MemberDocument)


def parse_members(data: object) -> tuple[Member, ...]:
    """The members that plain data means: a list of them, or a section with the one key `members`.

    Raises:
        InvalidMembersError: with every problem and its path.
    """
    problems: list[Problem] = []
    if isinstance(data, dict):
        document = _document.read(data, "", problems)
        members = None if document is None else document.members
    else:
        members = _list.read(data, "", problems)
    if members is None or problems:
        raise InvalidMembersError(problems)
    return members


def parse_members_json(text: str) -> tuple[Member, ...]:
    """The members that a JSON text means: what `parse_members` reads, or one object a line.

    Raises:
        InvalidMembersError: with every problem and its path.
    """
    text = _without_byte_order_mark(text)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        example = '[{"username": "ada", "role": "owner", "teams": ["web"]}]'
        raise InvalidMembersError([Problem("", f"there is nothing in it; write {example}, or [] for nobody")])
    problems: list[Problem] = []
    loaded = _load_json(text, 1, problems)
    first_number, first_line = lines[0]
    if loaded and not (isinstance(loaded[0], dict) and "members" not in loaded[0]):
        return parse_members(loaded[0])
    if loaded:
        entries = [(f"line {first_number}", loaded[0])]
    elif len(lines) > 1 and first_line.startswith("{") and first_line.endswith("}"):
        problems.clear()
        entries = [(f"line {number}", data) for number, line in lines for data in _load_json(line, number, problems)]
    else:
        raise InvalidMembersError(problems)
    members = _read_each(entries, ", ", problems)
    if problems:
        raise InvalidMembersError(problems)
    return members


def parse_members_csv(text: str) -> tuple[Member, ...]:
    """The members that a CSV text means.

    Raises:
        InvalidMembersError: with every problem, its line and its column.
    """
    problems: list[Problem] = []
    members = _read_each(_csv_entries(_without_byte_order_mark(text), problems), ", ", problems)
    if problems:
        raise InvalidMembersError(problems)
    return members


def member_data(member: Member) -> Plain:
    """The member as plain data with every field spelled out; `parse_members` gives an equal member back."""
    return _member.write(member)


def members_csv(members: Iterable[Member]) -> str:
    """The members as CSV; `parse_members_csv` gives equal members back."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for member in members:
        writer.writerow([member.username, member.role.value, _joined(sorted(member.teams))])
    return text.getvalue()


def _read_each(entries: Iterable[tuple[str, object]], separator: str, problems: list[Problem]) -> tuple[Member, ...]:
    """The members, each from where it stands; `separator` comes between that and the path of a field in it."""
    members = []
    first_at: dict[str, str] = {}
    for where, data in entries:
        found: list[Problem] = []
        member = _member.read(data, "", found)
        problems.extend(Problem(separator.join(filter(None, (where, item.path))), item.description) for item in found)
        username = data.get("username") if isinstance(data, dict) else None
        if isinstance(username, str) and first_at.setdefault(username, where) != where:
            problems.append(Problem(where, f"{shown(username)} stands in {first_at[username]} already"))
        if member is not None:
            members.append(member)
    return tuple(members)


def _without_byte_order_mark(text: str) -> str:
    return text.removeprefix("\ufeff")


def _load_json(text: str, first_line: int, problems: list[Problem]) -> tuple[object, ...]:
    """What the text means, or nothing after noting why it means nothing."""
    try:
        return (json.loads(text, object_pairs_hook=_without_repetition),)
    except json.JSONDecodeError as error:
        where = f"line {first_line + error.lineno - 1}, column {error.colno}"
        problems.append(Problem(where, f"this is not JSON: {error.msg}"))
    except (ValueError, RecursionError) as error:
        problems.append(Problem(f"line {first_line}", f"this JSON is not read: {error}"))
    return ()


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    section = dict(pairs)
    if len(section) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(key for key in keys if keys.count(key) > 1))} stands twice")
    return section


_COLUMNS = ("username", "role", "teams")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """What the columns of a CSV are.

    Attributes:
        keys: the field of a member that a column holds; None for one that says nothing here.
        required: the columns by which the layout is known.
    """

    keys: Mapping[str, str | None]
    required: frozenset[str]
    team_separator: str


_OWN_LAYOUT = _Layout(keys={name: name for name in _COLUMNS}, required=frozenset({"username"}), team_separator=";")

_DOCKER_IGNORED = ("name", "email", "type", "date joined")

_DOCKER_LAYOUT = _Layout(
    keys={**_OWN_LAYOUT.keys, "permission": "role", **dict.fromkeys(_DOCKER_IGNORED)},
    required=frozenset({"username", "teams", *_DOCKER_IGNORED}),
    team_separator=",",
)
"""https://docs.docker.com/reference/api/hub/latest/ (members export): some versions call the permission a role."""


def _csv_entries(text: str, problems: list[Problem]) -> Iterator[tuple[str, object]]:
    """Each row's line and the member as plain data, as far as the text is CSV with known columns."""
    rows = _csv_rows(text, problems)
    header_line, header = next(rows, (1, []))
    columns = [column.strip().lower() for column in header]
    layout = _DOCKER_LAYOUT if set(columns) >= _DOCKER_LAYOUT.required else _OWN_LAYOUT
    before = len(problems)
    _check_header(columns, layout, f"line {header_line}", problems)
    if len(problems) > before:
        return
    for line, row in rows:
        if len(row) > len(columns):
            description = f"has {len(row)} cells, and the header names {len(columns)} columns; quote cells with commas"
            problems.append(Problem(f"line {line}", description))
            continue
        cells = dict(zip(columns, row, strict=False))
        if cells.get("type", "").lower() != "invitee":
            yield f"line {line}", _cells_data(cells, layout, f"line {line}, teams", problems)


def _csv_rows(text: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, each with the line in which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            if any(row):
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(Problem(f"line {line}", f"this is not CSV: {error}"))


def _check_header(columns: Sequence[str], layout: _Layout, where: str, problems: list[Problem]) -> None:
    example = f"begin with a line such as {','.join(_COLUMNS)}"
    if not columns:
        if not problems:
            problems.append(Problem("", f"there is nothing in it; {example}"))
        return
    problems.extend(
        Problem(where, f"{shown(column)} is not a column{suggestion(column, layout.keys)}; {example}")
        for column in columns
        if column not in layout.keys
    )
    keys = [layout.keys.get(column) for column in columns]
    problems.extend(Problem(where, f"two columns say the {key}; keep one") for key in _COLUMNS if keys.count(key) > 1)
    if "username" not in columns:
        problems.append(Problem(where, f"the column username is missing; {example}"))


def _cells_data(cells: Mapping[str, str], layout: _Layout, teams_at: str, problems: list[Problem]) -> dict[str, object]:
    """A row as plain data; an empty cell leaves its field out, except that there is no member without a username."""
    data: dict[str, object] = {}
    for column, cell in cells.items():
        match layout.keys[column]:
            case "role" if cell:
                data["role"] = cell.strip().lower()
            case "teams" if cell:
                data["teams"] = _split(cell, layout.team_separator, teams_at, problems)
            case "username":
                data["username"] = cell
    return data


def _joined(teams: Sequence[str]) -> str:
    """The teams in one cell, itself written as CSV with semicolons, so that a team's name may hold one."""
    if not teams:
        return ""
    cell = io.StringIO()
    csv.writer(cell, delimiter=_OWN_LAYOUT.team_separator, lineterminator="").writerow(teams)
    return cell.getvalue()


def _split(cell: str, separator: str, path: str, problems: list[Problem]) -> list[str]:
    try:
        (teams,) = csv.reader([cell], delimiter=separator, strict=True, skipinitialspace=True)
    except csv.Error as error:
        problems.append(Problem(path, f"{shown(cell)} is not a list of teams: {error}"))
        return []
    return [team.strip() for team in teams if team.strip()]
