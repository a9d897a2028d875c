"""The administrative commands against a server process: what they print, what programs read, and the exit codes."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from pullgate_client import Client, Connection
from pullgate_policy import parse_policy_yaml
from pullgate_policy.access_token import CallerRole
from pullgate_policy.members import parse_members_csv
from tests.conftest import SOON, ServerProcess, clean_environment, run_pullgate, start_server, stop_server

STRICT = run_pullgate("policy", "preset", "strict", "--org", "acme").stdout
STANDARD = run_pullgate("policy", "preset", "standard", "--org", "acme").stdout


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server shared by the tests of this module; what they rely on they write themselves."""
    server = start_server(tmp_path_factory.mktemp("server") / "data")
    yield server
    stop_server(server)


@pytest.fixture
def strict(server: ServerProcess) -> int:
    """The revision of acme's policy, which is the preset strict now, and no other organization has one."""
    with connected(server) as client:
        for stored in client.list_policies():
            if stored.policy.organization != "acme":
                client.delete_policy(stored.policy.organization)
    return apply(server, STRICT)


def connected(server: ServerProcess) -> Client:
    """A client, by which tests prepare what they are not about: it is quicker than a process for each write."""
    return Client(Connection.from_environment(server.environment()), deadline=SOON)


def pullgate(server: ServerProcess, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command against the server."""
    return run_pullgate(*arguments, environment=server.environment(), stdin=stdin)


def done(server: ServerProcess, *arguments: str, stdin: str = "") -> str:
    """What a command prints that has to succeed."""
    result = pullgate(server, *arguments, stdin=stdin)
    assert result.returncode == 0, result.stderr
    return result.stdout


def objects(text: str) -> list[Any]:
    """One JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]


def apply(server: ServerProcess, text: str) -> int:
    """Write a policy; returns the revision."""
    with connected(server) as client:
        return client.put_policy(parse_policy_yaml(text)).revision


def newest(server: ServerProcess) -> int:
    """The revision of the newest event."""
    with connected(server) as client:
        return next(client.list_events()).revision


def token(server: ServerProcess, role: str, name: str) -> str:
    """The secret of a new token of acme's."""
    with connected(server) as client:
        return client.create_token(name, CallerRole(role), organization="acme")[0]


def written(tmp_path: Path, text: str, name: str = "policy.yaml") -> str:
    """A file's name."""
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def on_a_terminal(
    server: ServerProcess, arguments: list[str], answer: str, meanwhile: Callable[[], Any] = lambda: None
) -> tuple[int, str]:
    """Run a command on a terminal of its own; once it asks, do something else, then type the answer."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pullgate_cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**server.environment(), "TERM": "xterm"},
    )
    os.close(theirs)
    printed, answered = "", False
    while chunk := _read(ours):
        printed += chunk
        if not answered and "[y/N]" in printed:
            meanwhile()
            os.write(ours, f"{answer}\n".encode())
            answered = True
    os.close(ours)
    return process.wait(timeout=SOON), printed


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 4096).decode(errors="replace")
    except OSError:
        return ""


BOTH = (
    STANDARD.replace("help: ''", "help: Ask us.")
    + "---\norganization: globex\nregistry_access: {enabled: true, allowed: [docker.io]}\n"
)


def test_a_plan_is_told_in_words(server: ServerProcess, strict: int, tmp_path: Path) -> None:
    """Every change has its path, its values and what it means; the sum comes last; nothing is written."""
    result = pullgate(server, "policy", "plan", "-f", written(tmp_path, BOTH))

    assert result.returncode == 0
    assert result.stdout == (
        f"acme: 2 changes to revision {strict}\n"
        "  ~ image_access.allow.verified_publisher_images  false → true\n"
        "      verified publisher images: denied → allowed\n"
        '  ~ image_access.help  "" → "Ask us."\n'
        '      help: none → "Ask us."\n'
        "globex: has no policy yet\n"
        "  + policy\n"
        "      globex gets a policy\n"
        "  ~ registry_access.enabled  false → true\n"
        "      registry access: off → on (enforced)\n"
        '  + registry_access.allowed[docker.io]  null → "docker.io"\n'
        "      registry docker.io: denied → allowed\n"
        "Plan: 1 to create, 1 to change, 0 unchanged.\n"
    )
    assert pullgate(server, "policy", "get", "globex").returncode == 2


def test_a_plan_has_colours_on_a_terminal_alone(server: ServerProcess, strict: int, tmp_path: Path) -> None:
    """Where a person looks what is new is green and what goes is red; piped there is no colour."""
    file = written(tmp_path, STRICT.replace("allowed: []", "allowed: [ghcr.io]"))
    code, printed = on_a_terminal(server, ["policy", "plan", "-f", file], "")
    piped = done(server, "policy", "plan", "-f", file)

    assert code == 0
    assert "\x1b[32m" in printed
    assert "\x1b" not in piped
    assert re.sub(r"\x1b\[\d+m", "", printed).replace("\r\n", "\n") == piped


@pytest.mark.parametrize(("policy", "code"), [(STRICT, 0), (STANDARD, 1)])
def test_a_plan_as_a_check(server: ServerProcess, strict: int, policy: str, code: int) -> None:
    """--check is for pipelines: 1 where something would change, 0 where nothing would."""
    plain = pullgate(server, "policy", "plan", "-f", "-", stdin=policy)
    checked = pullgate(server, "policy", "plan", "--check", "--json", "-f", "-", stdin=policy)
    (planned,) = objects(checked.stdout)

    assert (plain.returncode, checked.returncode) == (0, code)
    assert (planned["organization"], planned["revision"], len(planned["changes"])) == ("acme", strict, code)
    for change in planned["changes"]:
        assert change == {
            "path": "image_access.allow.verified_publisher_images",
            "before": False,
            "after": True,
            "meaning": "verified publisher images: denied → allowed",
        }


def test_a_plan_with_decisions(server: ServerProcess, strict: int) -> None:
    """With --user and references the plan also says what is decided now and what would be, also as JSON."""
    denying = STRICT.replace("official_images: true", "official_images: false")
    arguments = ["policy", "plan", "-f", "-", "--user", "dev", "nginx", "ghcr.io/a/b", "Bad/Name"]
    told = pullgate(server, *arguments, stdin=denying)
    (planned,) = objects(done(server, *arguments, "--json", stdin=denying))
    (owner,) = objects(done(server, *arguments, "--json", "--role", "owner", stdin=denying))

    assert told.returncode == 0
    assert "  ALLOW → DENY   nginx  image access denied: official images not allowed\n" in told.stdout
    assert "  ALLOW = ALLOW  ghcr.io/a/b  " in told.stdout
    assert "  ERROR          Bad/Name  " in told.stdout
    nginx, other, bad = planned["decisions"]
    assert nginx == {
        "input": "nginx",
        "before": "ALLOW",
        "after": "DENY",
        "reason": "CATEGORY_NOT_ALLOWED",
        "message": "image access denied: official images not allowed",
    }
    assert (other["after"], other["reason"], "uppercase" in bad["error"]) == ("ALLOW", "NOT_GOVERNED", True)
    assert [item["reason"] for item in owner["decisions"][:2]] == ["ORGANIZATION_OWNER"] * 2


@pytest.mark.parametrize(("team", "after"), [("web", "ALLOW"), ("data", "DENY")])
def test_a_plan_for_a_team(server: ServerProcess, strict: int, team: str, after: str) -> None:
    """--team says which grants count."""
    granting = STRICT.replace("official_images: true", "official_images: false")
    granting = granting.replace("teams: {}", "teams: {web: {official_images: true}}")
    arguments = ["policy", "plan", "-f", "-", "--user", "dev", "--team", team, "--json", "nginx"]
    (planned,) = objects(done(server, *arguments, stdin=granting))

    assert [decision["after"] for decision in planned["decisions"]] == [after]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "-f", "-", "nginx"], "REFERENCE and --user go together"),
        (["plan", "-f", "-", "--user", "dev"], "REFERENCE and --user go together"),
        (["plan"], "Missing option '-f'"),
        (["apply", "-f", "/nowhere.yaml"], "/nowhere.yaml cannot be read"),
        (["apply", "-f", "-"], "there is nobody to ask here; say --yes to write it"),
        (["apply", "--json", "-f", "-"], "there is nobody to ask here; say --yes to write it"),
        (["rollback", "acme", "REVISION"], "there is nobody to ask here"),
        (["rollback", "acme", "0"], "is not in the range x>=1"),
        (["delete", "acme"], "there is nobody to ask here"),
        (["get", "acme", "--revision", "0"], "is not in the range x>=1"),
        (["export"], "say either ORG or -f FILE"),
        (["preset", "lax"], "is not one of"),
        (["preset", "strict", "--org", "No"], "is not lowercase"),
    ],
)
def test_wrong_usage_is_told(server: ServerProcess, strict: int, arguments: list[str], told: str) -> None:
    """What cannot be asked for is exit code 2, and nothing is written."""
    before = apply(server, STANDARD)
    arguments = [argument.replace("REVISION", f"{strict}") for argument in arguments]
    result = pullgate(server, "policy", *arguments, stdin=STRICT)

    assert result.returncode == 2
    assert told in result.stderr
    assert newest(server) == before


def test_policies_of_several_organizations_are_applied(server: ServerProcess, strict: int, tmp_path: Path) -> None:
    """One file holds several policies, parted by ---; every one has its revision; the same again is unchanged."""
    file = written(tmp_path, BOTH)
    first = objects(done(server, "policy", "apply", "--yes", "--json", "-f", file))
    again = objects(done(server, "policy", "apply", "--json", "-f", file))
    told = done(server, "policy", "apply", "-f", file)

    assert [(item["organization"], item["revision"] > strict, item["changed"]) for item in first] == [
        ("acme", True, True),
        ("globex", True, True),
    ]
    assert again == [{**item, "changed": False} for item in first]
    assert told == (
        f"acme: unchanged, at revision {first[0]['revision']}\n"
        f"globex: unchanged, at revision {first[1]['revision']}\n"
        "Plan: 0 to create, 0 to change, 2 unchanged.\n"
    )


def test_a_folder_is_applied(server: ServerProcess, strict: int, tmp_path: Path) -> None:
    """All policies of a folder and those below it; hidden files and tests of policies are none."""
    folder = tmp_path / "policies"
    written(folder, STANDARD, "acme.yaml")
    written(folder, "organization: globex\n", "more/globex.yml")
    written(folder, "nonsense: [", ".hidden.yaml")
    written(folder, "policy: acme.yaml\ncases:\n  - {}\n", "acme.tests.yaml")
    written(folder, "no policy", "README.md")
    result = pullgate(server, "policy", "apply", "--yes", "--comment", "all of them", "-f", str(folder))
    (written_last,) = objects(done(server, "policy", "history", "globex", "-n", "1", "--json"))

    assert result.returncode == 0
    assert re.search(r"^acme: written as revision \d+\nglobex: written as revision \d+$", result.stdout, re.MULTILINE)
    assert written_last["comment"] == "all of them"


def test_a_folder_without_policies_is_told(server: ServerProcess, tmp_path: Path) -> None:
    """Nothing to apply is wrong usage, so that a mistyped folder does not read as done."""
    result = pullgate(server, "policy", "apply", "--yes", "-f", str(tmp_path))

    assert result.returncode == 2
    assert f"there are no policies in {tmp_path}" in result.stderr


def test_an_organization_has_one_policy(server: ServerProcess, tmp_path: Path) -> None:
    """Two policies of one organization, in one file or in several, are refused before anything is asked."""
    files = [written(tmp_path, STRICT, name) for name in ("a.yaml", "b.yaml")]
    twice = written(tmp_path, f"{STRICT}---\n{STANDARD}", "c.yaml")
    several = pullgate(server, "policy", "apply", "--yes", "-f", files[0], "-f", files[1])
    one = pullgate(server, "policy", "apply", "--yes", "-f", twice)

    assert (several.returncode, one.returncode) == (2, 2)
    assert f"not a valid policy: {files[1]}\n  acme has a policy in {files[0]} already" in several.stderr
    assert f"acme has a policy in {twice} already" in one.stderr


def test_all_problems_of_all_files_are_told(server: ServerProcess, tmp_path: Path) -> None:
    """Whoever mends policies sees at once what there is to mend, with file, document and path."""
    first = written(tmp_path, "organization: acme\nimage_access: {enabled: 1, alow: {}}\n", "first.yaml")
    second = written(tmp_path, "organization: No\n---\norganization: globex\nhelp: x\n", "second.yaml")
    third = written(tmp_path, "organization: [", "third.yaml")
    arguments = ["-f", first, "-f", second, "-f", third]
    for command in (["plan"], ["apply", "--yes"]):
        result = pullgate(server, "policy", *command, *arguments)

        assert result.returncode == 2
        for told in (
            f"not a valid policy: {first}",
            "image_access.enabled: expected true or false",
            "image_access.alow: unknown key; did you mean allow?",
            f"not a valid policy: {second}",
            "document 1: organization: ",
            "document 2: help: unknown key",
            f"not a valid policy: {third}",
        ):
            assert told in result.stderr


def test_apply_asks_on_a_terminal(server: ServerProcess, strict: int, tmp_path: Path) -> None:
    """No is exit code 1 and writes nothing; yes writes."""
    file = written(tmp_path, STANDARD)
    refused = on_a_terminal(server, ["policy", "apply", "-f", file], "n")
    between = newest(server)
    accepted = on_a_terminal(server, ["policy", "apply", "-f", file], "y")

    assert (refused[0], accepted[0]) == (1, 0)
    assert "nothing was written" in refused[1]
    assert between == strict
    assert "acme: written as revision" in accepted[1]


@pytest.mark.parametrize("command", ["rollback", "delete"])
def test_other_writes_ask_too(server: ServerProcess, strict: int, command: str) -> None:
    """Rollback and delete write nothing when the answer is no."""
    revision = apply(server, STANDARD)
    arguments = ["policy", command, "acme", *([str(strict)] if command == "rollback" else [])]
    code, printed = on_a_terminal(server, arguments, "n")

    assert code == 1
    assert "nothing was written" in printed
    assert newest(server) == revision


@pytest.mark.parametrize("command", ["apply", "rollback", "delete"])
def test_a_conflict_is_told(server: ServerProcess, strict: int, tmp_path: Path, command: str) -> None:
    """Somebody else's write between the plan and the answer is exit code 1, and theirs stays."""
    revision = apply(server, STANDARD)
    arguments = {
        "apply": ["-f", written(tmp_path, STANDARD.replace("help: ''", "help: mine"))],
        "rollback": ["acme", f"{strict}"],
        "delete": ["acme"],
    }[command]
    theirs = STANDARD.replace("help: ''", "help: theirs")
    code, printed = on_a_terminal(server, ["policy", command, *arguments], "y", lambda: apply(server, theirs))

    assert code == 1
    assert f"this write was made from revision {revision}" in printed
    assert "nothing was written: read it again and repeat the change" in printed.replace("\r\n", "\n")
    assert ("changed by both: image_access.help" in printed) == (command in {"apply", "delete"})
    assert "help: theirs" in done(server, "policy", "get", "acme")


def test_a_conflict_in_the_middle_says_what_was_written(server: ServerProcess, strict: int, tmp_path: Path) -> None:
    """Of several organizations those before the conflict are written, and that is told."""
    both = written(tmp_path, BOTH)
    code, printed = on_a_terminal(
        server, ["policy", "apply", "-f", both], "y", lambda: apply(server, "organization: globex\n")
    )

    assert code == 1
    assert "written before this: acme; not written: globex and what follows" in printed


def test_a_member_may_not_change_the_policy(server: ServerProcess, strict: int) -> None:
    """Who may is told, with exit code 1; reading is allowed, another organization is not."""
    dev = token(server, "member", "dev")
    refused = pullgate(server, "policy", "apply", "--yes", "--token", dev, "-f", "-", stdin=STANDARD)
    deleted = pullgate(server, "policy", "delete", "acme", "--yes", "--token", dev)
    elsewhere = pullgate(server, "policy", "get", "globex", "--token", dev)

    assert (refused.returncode, deleted.returncode, elsewhere.returncode) == (1, 1, 1)
    assert refused.stderr == (
        "error: dev, a member of organization acme, may not change the policy: that is for owners and policy managers "
        "of organization acme, and for operators\n"
    )
    assert 'has no access to "globex"' in elsewhere.stderr
    assert "organization: acme" in done(server, "policy", "get", "acme", "--token", dev)


@pytest.mark.parametrize("role", ["owner", "policy_manager"])
def test_who_may_change_the_policy_does(server: ServerProcess, strict: int, role: str) -> None:
    """Owners and policy managers apply, and the history has their names."""
    secret = token(server, role, "ada")
    done(server, "policy", "apply", "--yes", "--token", secret, "-f", "-", stdin=STANDARD)
    with connected(server) as client:
        stored = client.get_policy("acme")

    assert (stored.author, stored.revision > strict) == ("ada", True)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["policy", "plan", "-f", "-"], STRICT),
        (["policy", "apply", "--yes", "-f", "-"], STRICT),
        (["policy", "history", "acme"], ""),
        (["policy", "diff", "acme", "1"], ""),
        (["policy", "rollback", "acme", "1", "--yes"], ""),
        (["policy", "delete", "acme", "--yes"], ""),
        (["policy", "export", "acme"], ""),
        (["member", "list", "--org", "acme"], ""),
        (["member", "import", "--org", "acme", "-"], "username\ndev\n"),
        (["token", "list"], ""),
        (["token", "create", "--name", "x", "--operator"], ""),
        (["audit"], ""),
        (["audit", "--follow"], ""),
        (["whoami"], ""),
    ],
)
def test_a_server_that_is_not_there(tmp_path: Path, arguments: list[str], stdin: str) -> None:
    """When nothing answers the exit code is 3, and the message says what to do."""
    environment = {**clean_environment(), "PULLGATE_ADDRESS": "127.0.0.1:1", "PULLGATE_DATA_DIR": str(tmp_path)}
    result = run_pullgate(*arguments, environment=environment, stdin=stdin)

    assert (result.returncode, result.stdout) == (3, "")
    assert "no service answers on 127.0.0.1:1; start one with 'pullgate serve'" in result.stderr


def test_history_difference_and_rollback(server: ServerProcess, strict: int) -> None:
    """What was is listed, compared, read and written again, for people and for programs."""
    done(server, "policy", "apply", "--yes", "--comment", "widen", "-f", "-", stdin=STANDARD)
    whole = objects(done(server, "policy", "history", "acme", "--json"))
    last = whole[0]["revision"]
    table = done(server, "policy", "history", "acme", "-n", "2").splitlines()
    difference = done(server, "policy", "diff", "acme", f"{strict}", f"{last}")
    (change,) = objects(done(server, "policy", "diff", "acme", f"{last}", f"{strict}", "--json"))
    before = done(server, "policy", "get", "acme", "--revision", f"{strict}")
    rolled_back = done(server, "policy", "rollback", "acme", f"{strict}", "--yes")
    nothing = done(server, "policy", "rollback", "acme", f"{strict}", "--yes", "--json")
    same = done(server, "policy", "diff", "acme", f"{strict}")

    assert [item["revision"] for item in whole] == sorted((item["revision"] for item in whole), reverse=True)
    assert (whole[0]["comment"], whole[1]["revision"], len(table)) == ("widen", strict, 3)
    assert re.fullmatch(rf" {last} +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC  operator  widen", table[1])
    assert difference == (
        "  ~ image_access.allow.verified_publisher_images  false → true\n"
        "      verified publisher images: denied → allowed\n"
    )
    assert (change["before"], change["after"]) == (True, False)
    assert yaml.safe_load(before) == yaml.safe_load(STRICT)
    assert before.startswith(f"# revision {strict}, written by operator at ")
    assert rolled_back.endswith(f"acme: as at revision {strict}, written as revision {last + 1}\n")
    assert json.loads(nothing) == {"organization": "acme", "revision": last + 1}
    assert same == "no difference\n"


def test_a_policy_is_deleted_and_brought_back(server: ServerProcess, strict: int) -> None:
    """Delete leaves nothing to read, says so in the history, and can be undone with rollback."""
    deleted = json.loads(done(server, "policy", "delete", "acme", "--yes", "--json", "--comment", "moved"))
    gone = pullgate(server, "policy", "get", "acme")
    again = pullgate(server, "policy", "delete", "acme", "--yes")
    history = done(server, "policy", "history", "acme", "-n", "1")
    (as_json,) = objects(done(server, "policy", "history", "acme", "-n", "1", "--json"))
    unknown = pullgate(server, "policy", "rollback", "acme", "999999", "--yes")
    back = done(server, "policy", "rollback", "acme", f"{strict}", "--yes")

    assert deleted["organization"] == "acme"
    assert (gone.returncode, again.returncode, unknown.returncode) == (2, 2, 2)
    assert "error: organization acme has no policy\n" == gone.stderr == again.stderr
    assert "policy deleted: moved" in history
    assert (as_json["policy"], as_json["revision"]) == (None, deleted["revision"])
    assert "organization acme had no policy at revision 999999" in unknown.stderr
    assert "acme gets a policy" in back


def test_the_schema_describes_policies(server: ServerProcess, strict: int) -> None:
    """The printed schema is one, fits what get prints, and finds what is wrong."""
    schema = json.loads(done(server, "policy", "schema"))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    got = yaml.safe_load(done(server, "policy", "get", "acme"))

    assert list(validator.iter_errors(got)) == []
    assert list(validator.iter_errors({**got, "image_acces": {}}))


def test_dockers_setting_is_imported_and_exported(server: ServerProcess, strict: int) -> None:
    """Docker's setting becomes a policy that is applied, and comes out as it went in; what it cannot carry is told."""
    setting = {"restricted_images": {"enabled": True, "allow_official_images": True, "allow_verified_publishers": True}}
    imported = done(server, "policy", "import", "--org", "acme", "-", stdin=json.dumps(setting))
    apply(server, imported)
    exported = pullgate(server, "policy", "export", "acme")
    apply(server, imported.replace("help: ''", "help: Ask us."))
    lossy = pullgate(server, "policy", "export", "acme")
    absent = pullgate(server, "policy", "export", "initech")

    assert (json.loads(exported.stdout), exported.stderr) == (setting, "")
    assert json.loads(lossy.stdout) == setting
    assert "note: the help text" in lossy.stderr
    assert absent.returncode == 2


def test_a_token_is_made(server: ServerProcess) -> None:
    """Its secret stands alone on standard output, for a script to take; what a person has to know is beside it."""
    result = pullgate(server, "token", "create", "--name", "proxy", "--org", "acme", "--role", "enforcer")
    who = json.loads(done(server, "whoami", "--json", "--token", result.stdout.strip()))

    assert result.returncode == 0
    assert re.fullmatch(r"pullgate_[0-9a-f]{64}\n", result.stdout)
    assert result.stderr == f"{who['caller_id']} does not expire. Keep the token: it is not shown again.\n"
    assert who == {
        "name": "proxy",
        "caller_id": who["caller_id"],
        "role": "enforcer",
        "organization": "acme",
        "username": None,
        "may_assert_roles": False,
        "expires_at": None,
    }


def test_a_token_that_expires(server: ServerProcess) -> None:
    """--expires-in is from now, and --json says when that is, under which id, and the secret."""
    whose = ["--name", "ada", "--org", "acme", "--role", "owner"]
    made = json.loads(done(server, "token", "create", *whose, "--expires-in", "90d", "--json"))
    who = json.loads(done(server, "whoami", "--json", "--token", made["token"]))
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)

    assert made.keys() == {"id", "token", "expires_at"}
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    assert (who["caller_id"], who["expires_at"], who["username"]) == (made["id"], made["expires_at"], "ada")


def test_tokens_are_listed_rotated_and_revoked(server: ServerProcess) -> None:
    """A rotated token has a new secret, and the former one for as long as was said; a revoked one is refused."""
    whose = ["--name", "ci", "--org", "globex", "--role", "enforcer", "--may-assert-roles"]
    made = json.loads(done(server, "token", "create", *whose, "--json"))
    overlapping = json.loads(done(server, "token", "rotate", made["id"], "--overlap", "1h", "--json"))
    both = [pullgate(server, "whoami", "--token", item["token"]).returncode for item in (made, overlapping)]
    rotated = done(server, "token", "rotate", made["id"], "--expires-in", "30d").strip()
    former = pullgate(server, "whoami", "--token", overlapping["token"])
    (listed,) = objects(done(server, "token", "list", "--org", "globex", "--json"))
    table = done(server, "token", "list", "--org", "globex")
    revoked = done(server, "token", "revoke", made["id"], "--comment", "lost")
    refused = pullgate(server, "whoami", "--token", rotated)
    (ended,) = objects(done(server, "token", "list", "--org", "globex", "--all", "--json"))
    left = done(server, "token", "list", "--org", "globex")

    assert both == [0, 0]
    assert former.returncode == 1
    assert (listed["id"], listed["name"], listed["may_assert_roles"], listed["revoked_at"]) == (
        made["id"],
        "ci",
        True,
        None,
    )
    assert re.search(rf"{made['id']} +ci +enforcer \(may assert roles\) +globex +- +20.* valid", table)
    assert revoked == f"{made['id']} (ci) is revoked\n"
    assert (refused.returncode, refused.stderr) == (1, "error: the token was revoked\n")
    assert ended["revoked_at"] is not None
    assert left == "there are no tokens that you may manage here\n"
    for secret in (made["token"], overlapping["token"], rotated):
        assert secret not in table + server.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "--name", "x"], "say either --operator, or both --org and --role"),
        (["create", "--name", "x", "--org", "acme"], "say either --operator, or both --org and --role"),
        (["create", "--name", "x", "--role", "owner"], "say either --operator, or both --org and --role"),
        (["create", "--name", "x", "--operator", "--org", "acme"], "say either --operator, or both --org and --role"),
        (["create", "--operator"], "Missing option '--name'"),
        (["create", "--name", "x", "--operator", "--expires-in", "90"], "is not a length of time such as 90d"),
        (["create", "--name", "x", "--operator", "--expires-in", "0d"], "expires_in: is not above 0"),
        (["create", "--name", "x", "--org", "No", "--role", "owner"], "is not lowercase"),
        (["create", "--name", "x", "--org", "acme", "--role", "enforcer", "--user", "u"], "no person's"),
        (["create", "--name", "x", "--org", "acme", "--role", "owner", "--may-assert-roles"], "role enforcer"),
        (["revoke", "tok_nothing"], 'there is no token "tok_nothing"'),
        (["rotate", "tok_nothing", "--overlap", "soon"], "is not a length of time"),
        (["rotate", "tok_nothing", "--overlap", "31d"], "is not between 0 and 30 days"),
    ],
)
def test_a_token_that_cannot_be_made_is_told(server: ServerProcess, arguments: list[str], told: str) -> None:
    """What contradicts itself, or is not there, is exit code 2 and prints no secret."""
    result = pullgate(server, "token", *arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr


def test_tokens_are_for_owners(server: ServerProcess) -> None:
    """A policy manager makes none, and an owner makes none for another organization."""
    manager, owner = token(server, "policy_manager", "pam"), token(server, "owner", "ada")
    arguments = ["token", "create", "--name", "x", "--role", "member", "--org"]
    results = [
        pullgate(server, *arguments, "acme", "--token", manager),
        pullgate(server, *arguments, "globex", "--token", owner),
    ]

    assert [result.returncode for result in results] == [1, 1]
    assert "may not manage tokens: that is for owners of organization acme, and for operators" in results[0].stderr


def test_pins_of_an_organization(server: ServerProcess, strict: int) -> None:
    """A policy manager pins for the own organization, with an end; lists, decisions and the audit say so."""
    pam = ["--token", token(server, "policy_manager", "pam")]
    whose = ["--org", "acme", *pam]
    everybodys = done(server, "category", "pin", "vendor", "Community", "--reason", "seen")
    pinned = done(server, "category", "pin", "vendor", "OFFICIAL", "--reason", "why", "--expires", "2099-12-01", *whose)
    decided = done(server, "decide", "--org", "acme", "--user", "dev", "vendor/agent")
    table = done(server, "category", "pins", *pam).splitlines()
    own = objects(done(server, "category", "pins", "--json", *whose))
    audited = done(server, "audit", "-n", "1", *pam)
    unpinned = done(server, "category", "unpin", "vendor", *whose)
    left = objects(done(server, "category", "pins", "--json"))
    done(server, "category", "unpin", "vendor")
    nothing = done(server, "category", "pins")

    assert everybodys == "vendor is pinned as community\n"
    assert pinned == "vendor is pinned as official for acme until 2099-12-01\n"
    assert "official, says pin: pinned for acme by pam, until 2099-12-01: why" in decided
    assert table[0].split()[:4] == ["organization", "name", "category", "expires"]
    assert re.search(r"^ *- +vendor +community +never +operator +20.* seen$", table[1])
    assert re.search(r"^ *acme +vendor +official +2099-12-01 +pam +20.* why$", table[2])
    assert [item["organization"] for item in own] == [None, "acme"]
    assert own[1].pop("written_at").endswith("Z")
    assert own[1] == {
        "organization": "acme",
        "name": "vendor",
        "category": "OFFICIAL",
        "community_class": None,
        "expires_at": "2099-12-01T00:00:00Z",
        "author": "pam",
        "reason": "why",
    }
    assert "category pin vendor of acme created" in audited
    assert unpinned == "vendor is no longer pinned for acme\n"
    assert [(item["organization"], item["name"]) for item in left] == [(None, "vendor")]
    assert nothing == "nothing is pinned\n"


def test_an_expired_pin_is_marked(server: ServerProcess) -> None:
    """A pin that holds no longer is listed as such until it is taken back."""
    done(server, "category", "pin", "vendor", "official", "--reason", "brief", "--expires", "1s")
    deadline = datetime.now(UTC) + timedelta(seconds=SOON)
    while "(expired)" not in (listed := done(server, "category", "pins")):
        assert datetime.now(UTC) < deadline
    done(server, "category", "unpin", "vendor")

    assert re.search(r"vendor +official +20\d\d-\d\d-\d\d( \d\d:\d\d:\d\d UTC)? \(expired\) +operator", listed)


@pytest.mark.parametrize(
    ("expires", "left"),
    [
        ("90d", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
        ("2099-12-01", None),
        ("2099-12-01T01:00:00+01:00", None),
        ("2099-12-01T00:00:00Z", None),
    ],
)
def test_an_expiry_is_a_moment_a_day_or_a_length(server: ServerProcess, expires: str, left: timedelta | None) -> None:
    """--expires is a time with its time zone, a day in UTC, or a length of time from now."""
    asked = datetime.now(UTC)
    done(server, "category", "pin", "vendor", "official", "--reason", "why", "--expires", expires)
    (listed,) = objects(done(server, "category", "pins", "--json"))
    done(server, "category", "unpin", "vendor")
    ends = datetime.fromisoformat(listed["expires_at"])

    if left is None:
        assert ends == datetime(2099, 12, 1, tzinfo=UTC)
    else:
        assert timedelta(0) < ends - asked - left < timedelta(minutes=1)


@pytest.mark.parametrize(
    "word", ["verified_publisher", "verified-publisher", "VERIFIED_PUBLISHER", "Verified-Publisher"]
)
def test_categories_are_written_in_any_case(server: ServerProcess, word: str) -> None:
    """Letter case, and dashes for underscores, make no difference."""
    assert done(server, "category", "pin", "vendor", word, "--reason", "why") == (
        "vendor is pinned as verified_publisher\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pin", "vendor", "official"], "Missing option '--reason'"),
        (["pin", "vendor", "trusted", "--reason", "x"], "'trusted' is not one of 'official'"),
        (["pin", "Vendor", "official", "--reason", "x"], "is not a namespace or repository of Docker Hub"),
        (["pin", "vendor", "official", "--reason", "x", "--org", "Acme"], 'is not lowercase; write "acme"'),
        (["pin", "vendor", "official", "--reason", "x", "--expires", "2020-01-01"], "2020-01-01 lies in the past"),
        (["pin", "vendor", "official", "--reason", "x", "--expires", "soon"], "is not a time such as 2027-01-01T00"),
        (["pin", "vendor", "official", "--reason", "x", "--expires", "2099-01-01T00:00"], "has no time zone"),
        (["pin", "vendor", "official", "--reason", "x", "--expires", "999999999w"], "is out of range"),
        (["unpin", "nobody", "--org", "acme"], '"nobody" is not pinned for organization "acme"'),
        (["pins", "--org", "No"], "is not lowercase"),
    ],
)
def test_a_pin_that_cannot_be_is_told(server: ServerProcess, arguments: list[str], told: str) -> None:
    """What cannot be pinned, or is not pinned, is exit code 2, and the sentence says why."""
    result = pullgate(server, "category", *arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr


def test_pins_for_every_organization_are_for_operators(server: ServerProcess) -> None:
    """A policy manager who leaves --org out is told to name the organization; a member may not pin at all."""
    manager, dev = token(server, "policy_manager", "pam"), token(server, "member", "dev")
    pin = ["category", "pin", "vendor", "official", "--reason", "why"]
    unnamed = pullgate(server, *pin, "--token", manager)
    elsewhere = pullgate(server, *pin, "--org", "globex", "--token", manager)
    member = pullgate(server, *pin, "--org", "acme", "--token", dev)

    assert [result.returncode for result in (unnamed, elsewhere, member)] == [1, 1, 1]
    assert unnamed.stderr == (
        "error: this caller belongs to organization acme and has to name it: "
        "pins without an organization hold for everybody and are for operators alone\n"
    )
    assert 'has no access to "globex"' in elsewhere.stderr
    assert "may not change pins: that is for owners and policy managers of organization acme" in member.stderr


LIST = "username,role,teams\nada,owner,data;web\ndev,member,\n"


@pytest.fixture
def members(server: ServerProcess) -> None:
    """The member list of initech is LIST."""
    with connected(server) as client:
        client.write_members("initech", parse_members_csv(LIST), replace=True)


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("members.csv", LIST, []),
        ("members.json", '[{"username": "ada", "role": "owner", "teams": ["web", "data"]}, {"username": "dev"}]', []),
        ("members.jsonl", '{"username": "ada", "role": "owner", "teams": ["web", "data"]}\n{"username": "dev"}\n', []),
        ("-", LIST, []),
        ("-", '{"members": [{"username": "ada", "role": "owner", "teams": ["web", "data"]}, {"username": "dev"}]}', []),
        ("members.txt", LIST, ["--format", "csv"]),
    ],
)
def test_members_are_imported(server: ServerProcess, tmp_path: Path, name: str, text: str, options: list[str]) -> None:
    """CSV and JSON mean the same, from a file or from standard input; the same again changes nothing."""
    with connected(server) as client:
        client.write_members("initech", [], replace=True, allow_empty=True)
    file = name if name == "-" else written(tmp_path, text, name)
    arguments = ["member", "import", "--org", "initech", *options, file]
    first = done(server, *arguments, stdin=text)
    again = done(server, *arguments, stdin=text)

    assert re.fullmatch(
        r"  \+ ada  owner in data, web\n  \+ dev  member\ninitech: 2 changed, 0 unchanged; written as revision \d+\n",
        first,
    )
    assert again == "initech: 0 changed, 2 unchanged; nothing was written\n"
    assert done(server, "member", "list", "--org", "initech", "--csv") == LIST


@pytest.fixture
def acme_members(server: ServerProcess) -> Iterator[None]:
    """For one test acme has a member list too."""
    with connected(server) as client:
        client.write_members("acme", parse_members_csv(LIST), replace=True)
        yield
        client.write_members("acme", [], replace=True, allow_empty=True)


@pytest.mark.usefixtures("members")
def test_a_list_is_listed(server: ServerProcess) -> None:
    """As a table, as JSON a line, as CSV that imports unchanged, and one team's members alone."""
    table = done(server, "member", "list", "--org", "initech")
    as_json = objects(done(server, "member", "list", "--org", "initech", "--json"))
    web = objects(done(server, "member", "list", "--org", "initech", "--team", "web", "--json"))
    as_csv = done(server, "member", "list", "--org", "initech", "--csv")
    again = done(server, "member", "import", "--org", "initech", "--replace", "-", stdin=as_csv)
    without = done(server, "member", "list", "--org", "globex")

    assert [line.split() for line in table.splitlines()] == [
        ["username", "role", "teams"],
        ["ada", "owner", "data,", "web"],
        ["dev", "member"],
    ]
    assert as_json == [
        {"organization": "initech", "username": "ada", "role": "owner", "teams": ["data", "web"]},
        {"organization": "initech", "username": "dev", "role": "member", "teams": []},
    ]
    assert web == as_json[:1]
    assert [row["username"] for row in csv.DictReader(as_csv.splitlines())] == ["ada", "dev"]
    assert "nothing was written" in again
    assert "globex has no member list; begin with: pullgate member import --org globex members.csv" in without


@pytest.mark.usefixtures("members")
def test_a_replacement_is_tried_first(server: ServerProcess) -> None:
    """--replace --dry-run says who would go, and writes nothing; --json says it for programs."""
    arguments = ["member", "import", "--org", "initech", "--replace", "--dry-run", "-"]
    wanted = "username,role\nada,owner\nnew,\n"
    told = done(server, *arguments, stdin=wanted)
    as_json = json.loads(done(server, *arguments, "--json", stdin=wanted))

    assert told == (
        "  ~ ada  owner in data, web → owner\n  - dev  member\n  + new  member\n"
        "initech: 3 changed, 0 unchanged; nothing was written\n"
    )
    assert {key: value for key, value in as_json.items() if key != "changes"} == {
        "organization": "initech",
        "revision": 0,
        "added": 1,
        "changed": 1,
        "removed": 1,
        "unchanged": 0,
    }
    assert as_json["changes"][1] == {"before": {"username": "dev", "role": "member", "teams": []}, "after": None}
    assert done(server, "member", "list", "--org", "initech", "--csv") == LIST


@pytest.mark.usefixtures("members")
def test_members_are_set_and_removed(server: ServerProcess) -> None:
    """Single entries are written and taken away; one who is not there is exit code 2 and nobody is removed."""
    was_set = done(
        server, "member", "set", "--org", "initech", "dev", "ana", "--role", "policy_manager", "--team", "web"
    )
    missing = pullgate(server, "member", "remove", "--org", "initech", "ana", "nobody")
    removed = json.loads(done(server, "member", "remove", "--org", "initech", "ana", "--json"))

    assert "  + ana  policy_manager in web\n  ~ dev  member → policy_manager in web\n" in was_set
    assert missing.returncode == 2
    assert 'not on the member list of initech: "nobody"; nobody was removed' in missing.stderr
    assert (removed["removed"], removed["changes"][0]["before"]["username"]) == (1, "ana")
    assert done(server, "member", "list", "--org", "initech", "--csv") == (
        "username,role,teams\nada,owner,data;web\ndev,policy_manager,web\n"
    )


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["import", "-"], "username,role\nx,boss\nx,\n", ["line 2, role: ", 'line 3: "x" stands in line 2 already']),
        (["import", "-"], "name\nx\n", ["the column username is missing"]),
        (["import", "-"], "[{]", ["this is not JSON"]),
        (["import", "--replace", "-"], "[]", ["to remove everybody say replace and allow_empty"]),
        (["import", "/nowhere.csv"], "", ["/nowhere.csv cannot be read"]),
        (["set", " x"], "", ['" x" is not a username']),
        (["set"], "", ["Missing argument"]),
    ],
)
def test_a_list_that_is_not_valid_is_told(
    server: ServerProcess, arguments: list[str], stdin: str, told: list[str]
) -> None:
    """Every problem is told with its place, with exit code 2, and nothing is written."""
    command, *rest = arguments
    result = pullgate(server, "member", command, "--org", "initech", *rest, stdin=stdin)

    assert (result.returncode, result.stdout) == (2, "")
    for text in told:
        assert text in result.stderr
    assert done(server, "member", "list", "--org", "initech", "--csv") == LIST


@pytest.mark.usefixtures("acme_members")
def test_who_would_lock_herself_out_is_refused(server: ServerProcess) -> None:
    """An owner who takes herself off the list is refused: exit code 1."""
    result = pullgate(server, "member", "remove", "--org", "acme", "ada", "--token", token(server, "owner", "ada"))

    assert "could not undo this" in result.stderr
    assert result.returncode == 1


@pytest.mark.usefixtures("acme_members", "strict")
def test_roles_come_from_the_member_list(server: ServerProcess) -> None:
    """Once an organization has a list, a stated role that is not on it is not taken, and that is told."""
    arguments = ["decide", "--org", "acme", "--user", "dev", "--role", "owner", "someuser/x"]
    decided = pullgate(server, *arguments)
    (as_json,) = objects(pullgate(server, *arguments, "--json").stdout)
    note = "the role owner was not taken: the member list of organization acme says that dev is a member"

    assert decided.returncode == 1
    assert f"       note      {note}\n" in decided.stdout
    assert as_json["notes"] == [note]


def test_events_are_listed(server: ServerProcess) -> None:
    """Who changed what, when and from where, as a table and whole as JSON; filters fit all of what they say."""
    revision = apply(server, "organization: globex\nimage_access: {help: events}\n")
    revision = apply(server, "organization: globex\nimage_access: {help: once more}\n")
    made = json.loads(done(server, "token", "create", "--name", "x", "--org", "globex", "--role", "member", "--json"))
    done(server, "token", "revoke", made["id"], "--comment", "lost")
    table = done(server, "audit", "--org", "globex", "-n", "3").splitlines()
    revocation, creation, policy = objects(done(server, "audit", "--org", "globex", "-n", "3", "--json"))
    about = objects(done(server, "audit", "--name", made["id"], "--subject", "token", "--json"))
    everything = objects(done(server, "audit", "--json"))

    assert re.fullmatch(
        rf" {revocation['revision']} +20\S+ \S+ UTC +operator +token {made['id']} of globex revoked "
        r"+ipv4:127\.0\.0\.1:\d+ +lost",
        table[1],
    )
    assert "policy globex changed" in table[3]
    assert policy.keys() == {
        "revision", "written_at", "author", "caller_id", "origin", "subject", "organization", "name", "before", "after",
        "comment",
    }  # fmt: skip
    assert (policy["revision"], policy["subject"], policy["name"]) == (revision, "policy", "globex")
    assert policy["before"]["image_access"]["help"] == "events"
    assert policy["after"]["image_access"]["help"] == "once more"
    assert about == [revocation, creation]
    assert [event["revision"] for event in everything] == list(range(revocation["revision"], -1, -1))
    assert made["token"] not in json.dumps(everything)


def follow(server: ServerProcess, *arguments: str) -> "subprocess.Popen[str]":
    """Begin to follow events."""
    return subprocess.Popen(
        [sys.executable, "-m", "pullgate_cli", "audit", "--follow", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=server.environment(),
    )


def test_events_are_followed(server: ServerProcess, strict: int) -> None:
    """--follow --since -1 prints all there is in its order, and what comes as it comes, until it is interrupted."""
    known = objects(done(server, "audit", "--json"))[::-1]
    with follow(server, "--since", "-1", "--json") as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in known]
        apply(server, STANDARD)
        following = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SOON)

    assert lines == known
    assert (following["revision"], following["name"]) == (known[-1]["revision"] + 1, "acme")
    assert "Traceback" not in errors


def test_following_ends_with_the_server(tmp_path: Path) -> None:
    """When the server goes the exit code is 3; until then every event was printed, for people a line each."""
    server = start_server(tmp_path / "data")
    apply(server, STRICT)
    with follow(server, "--since", "0") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        stop_server(server)
        _, errors = process.communicate(timeout=SOON)

    assert re.fullmatch(r"1  20\S+ \S+ UTC  operator  policy acme created\n", line)
    assert process.returncode == 3
    assert "the server is stopping" in errors


def test_a_followed_event_is_one_line(server: ServerProcess, strict: int) -> None:
    """Whatever stands in a comment, an event has a line of its own and no other."""
    forged = "note\n1  2026-01-01 00:00:00  operator  policy acme deleted"
    done(server, "policy", "apply", "--yes", "--comment", forged, "-f", "-", stdin=STANDARD)
    with follow(server, "--since", f"{strict}") as process:
        assert process.stdout is not None
        apply(server, STRICT)
        lines = [process.stdout.readline() for _ in range(2)]
        process.kill()
        process.communicate(timeout=SOON)

    assert [line.split()[0] for line in lines] != [f"{strict + 1}", "1"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--follow", "--name", "x"], "--follow goes with --org and --since alone"),
        (["--follow", "-n", "3"], "--follow goes with --org and --since alone"),
        (["--since", "0"], "--since goes with --follow"),
        (["--subject", "weather"], "is not one of"),
        (["-n", "0"], "is not in the range x>=1"),
    ],
)
def test_events_that_cannot_be_asked_for(server: ServerProcess, arguments: list[str], told: str) -> None:
    """Wrong usage is exit code 2."""
    result = pullgate(server, "audit", *arguments)

    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr


def test_events_are_for_who_administers(server: ServerProcess) -> None:
    """An owner sees the own organization's events, a member none: exit code 1."""
    owner, member = token(server, "owner", "ada"), token(server, "member", "dev")
    own = objects(done(server, "audit", "--json", "--token", owner))
    refused = [
        pullgate(server, "audit", "--token", member, "--org", "acme"),
        pullgate(server, "audit", "--follow", "--token", member, "--org", "acme"),
        pullgate(server, "audit", "--token", owner, "--org", "globex"),
    ]

    assert {event["organization"] for event in own} == {"acme"}
    assert [result.returncode for result in refused] == [1, 1, 1]
    assert "may not read the administrative events" in refused[0].stderr


def test_whoami(server: ServerProcess) -> None:
    """The caller as the service sees it, a line each; a token that is not accepted is exit code 1."""
    told = done(server, "whoami", "--token", token(server, "member", "dev"))
    refused = pullgate(server, "whoami", "--token", "pullgate_00")

    assert [line.split() for line in told.splitlines() if not line.startswith("caller_id")] == [
        ["name", "dev"],
        ["role", "member"],
        ["organization", "acme"],
        ["username", "dev"],
        ["may_assert_roles", "no"],
        ["expires_at", "-"],
    ]
    assert refused.returncode == 1
    assert "the token is not known here" in refused.stderr


def test_a_member_decides_for_oneself(server: ServerProcess, strict: int) -> None:
    """With a token of one's own neither organization nor user is said; deciding for others is refused."""
    dev = token(server, "member", "dev")
    allowed = pullgate(server, "decide", "--token", dev, "nginx")
    denied = pullgate(server, "decide", "--token", dev, "--json", "someuser/x")
    other = pullgate(server, "decide", "--token", dev, "--user", "ada", "--org", "acme", "nginx")
    enforcer = pullgate(server, "decide", "--token", token(server, "enforcer", "proxy"), "nginx")

    assert (allowed.returncode, denied.returncode, enforcer.returncode) == (0, 1, 2)
    assert "official images are allowed by organization acme" in allowed.stdout
    assert json.loads(denied.stdout)["organization"] == "acme"
    assert other.returncode == 3
    assert "decides for dev alone" in other.stderr
    assert "say --org and --user: the token is no person's" in enforcer.stderr


HELPS = [
    "policy plan", "policy apply", "policy list", "policy get", "policy history", "policy diff", "policy rollback",
    "policy delete", "policy schema", "policy import", "policy export", "member list", "member import", "member set",
    "member remove", "token create", "token list", "token rotate", "token revoke", "category pin", "category unpin",
    "category pins", "audit", "whoami",
]  # fmt: skip


@pytest.mark.parametrize("command", HELPS)
def test_help_shows_examples_or_exit_codes(command: str) -> None:
    """Whoever asks for help sees how a command is used, or what its exit codes mean."""
    result = run_pullgate(*command.split(), "--help")

    assert result.returncode == 0
    assert re.search(r"^  (Examples?|Exit codes)\b", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        "decide", "policy plan", "policy apply", "policy import", "policy export", "member import", "token create",
        "category pin", "audit",
    ],
)  # fmt: skip
def test_help_has_nothing_of_its_markup(command: str) -> None:
    """What marks paragraphs that are not to be wrapped is not printed."""
    assert "\b" not in run_pullgate(*command.split(), "--help").stdout


def test_help_for_presets_has_a_line_for_each() -> None:
    """The presets stand one a line."""
    result = run_pullgate("policy", "preset", "--help")

    assert "\\b" not in result.stdout
    assert "  standard  and those of verified publishers\n" in result.stdout
