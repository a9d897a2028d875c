"""`pullgate watch` against a server process: its words, its JSON, how it comes back, and how it ends."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate_cli.watch import ForPeople, ForPrograms, Told
from pullgate_client import BrokenStreamError, Client, Connection, UnavailableError
from pullgate_client.following import FollowerEvent, Interrupted
from pullgate_policy import Category, Policy, Preset, parse_policy_yaml, preset_policy
from pullgate_policy.access_token import CallerRole
from pullgate_policy.members import Member, parse_members
from pullgate_policy.pins import CategoryPin
from pullgate_policy.policy_state import PolicyState, StateChange
from pullgate_policy.watch import Bookmark, Changed, GoAway
from tests.conftest import SOON, Clock, ServerProcess, clean_environment, run_pullgate, start_server, stop_server

STRICT, STANDARD = preset_policy(Preset.STRICT, "acme"), preset_policy(Preset.STANDARD, "acme")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on which tests watch organizations of their own; it says often that nothing is missing."""
    server = start_server(tmp_path_factory.mktemp("server") / "data", "--watch-bookmark", "0.2")
    yield server
    stop_server(server)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of the test's own, with nothing in it."""
    server = start_server(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        stop_server(server)


def client_of(server: ServerProcess) -> Client:
    """A client of the operator."""
    return Client(Connection.from_environment(server.environment()), deadline=SOON)


@contextmanager
def watching(
    server: ServerProcess, *arguments: str, stdout: Any = subprocess.PIPE
) -> Iterator["subprocess.Popen[str]"]:
    """Watch, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pullgate_cli", "watch", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=server.environment(),
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().removesuffix("\n")


def warning(process: "subprocess.Popen[str]") -> str:
    """The next line that it says about the connection."""
    assert process.stderr is not None
    return process.stderr.readline().removesuffix("\n")


def event(process: "subprocess.Popen[str]", *sorts: str) -> dict[str, Any]:
    """The next object of one of these sorts."""
    while True:
        data: dict[str, Any] = json.loads(line(process))
        if data["event"] in sorts:
            return data


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code, and what stands on standard error."""
    _, errors = process.communicate(timeout=SOON)
    return process.returncode, errors


def member(username: str, **more: Any) -> Member:
    """An entry of a member list."""
    return parse_members([{"username": username, **more}])[0]


def pin(name: str, category: Category, organization: str = "", reason: str = "contract") -> CategoryPin:
    """A pin as somebody asks for it."""
    return CategoryPin.checked(
        name=name,
        category=category,
        community_class=None,
        reason=reason,
        author="",
        written_at=Clock().now,
        organization=organization,
    )


def write_everything(client: Client) -> None:
    """A policy, a member list and pins: each written, changed and taken away."""
    client.put_policy(STRICT, comment="begin")
    client.put_policy(STANDARD)
    client.write_members("acme", [member("ada", role="owner"), member("dev", teams=["web"])])
    client.write_members("acme", [member("dev", role="policy_manager")])
    client.put_pin(pin("vendor/agent", Category.VERIFIED_PUBLISHER))
    client.put_pin(pin("vendor", Category.COMMUNITY, "acme", "theirs"))
    client.delete_pin("vendor/agent")
    client.remove_members("acme", ["dev"])
    client.delete_policy("acme")


EVERYTHING = """\
following acme at revision 0: 0 policies, 0 members, 0 pins
revision 1  TIME  operator  begin
  policy of acme
    + policy
        acme gets a policy
    ~ image_access.enabled  false → true
        image access: off → on (enforced)
    ~ image_access.allow.official_images  false → true
        official images: denied → allowed
revision 2  TIME  operator
  policy of acme
    ~ image_access.allow.verified_publisher_images  false → true
        verified publisher images: denied → allowed
revision 3  TIME  operator
  members of acme
    + ada  owner
    + dev  member in web
revision 4  TIME  operator
  members of acme
    ~ dev  member in web → policy_manager
revision 5  TIME  operator
  pins of every organization
    + vendor/agent  verified publisher: contract
revision 6  TIME  operator
  pins of acme
    + vendor  community: theirs
revision 7  TIME  operator
  pins of every organization
    - vendor/agent  verified publisher: contract
revision 8  TIME  operator
  members of acme
    - dev  policy_manager
revision 9  TIME  operator
  policy of acme
    - policy
        acme has no policy any more: nothing is restricted
"""


def test_changes_in_words(server: ServerProcess) -> None:
    """Who watches reads the opening and then each change as it is written: who, when, why, and what it means."""
    with watching(server, "--org", "acme") as process, client_of(server) as client:
        printed = [line(process)]
        write_everything(client)
        printed += [line(process) for _ in EVERYTHING.splitlines()[1:]]

    told = re.sub(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", "\n".join(printed))
    assert told == EVERYTHING.rstrip("\n")


def test_changes_for_programs(server: ServerProcess) -> None:
    """--json has an object for each event, with the revision, whom it concerns, and what was and what is."""
    with watching(server, "--json") as process, client_of(server) as client:
        snapshot = event(process, "snapshot")
        write_everything(client)
        changes = [event(process, "change") for _ in range(9)]

    assert snapshot == {
        "event": "snapshot",
        "revision": 0,
        "organizations": [],
        "anew": False,
        "count": {"policies": 0, "members": 0, "pins": 0},
        "changes": [],
        "members": [],
        "pins": [],
    }
    assert [(change["revision"], change["prev_revision"]) for change in changes] == [(n, n - 1) for n in range(1, 10)]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT.*Z", changes[1].pop("written_at"))
    assert changes[1] == {
        "event": "change",
        "revision": 2,
        "organizations": ["acme"],
        "prev_revision": 1,
        "author": "operator",
        "comment": "",
        "catch_up": False,
        "every_organization": False,
        "added": [],
        "removed": [],
        "changes": [
            {
                "organization": "acme",
                "path": "image_access.allow.verified_publisher_images",
                "before": False,
                "after": True,
                "meaning": "verified publisher images: denied → allowed",
            }
        ],
        "members": [],
        "pins": [],
    }
    assert (changes[0]["added"], changes[0]["comment"], changes[8]["removed"]) == (["acme"], "begin", ["acme"])
    assert changes[3]["members"] == [
        {
            "organization": "acme",
            "before": {"username": "dev", "role": "member", "teams": ["web"]},
            "after": {"username": "dev", "role": "policy_manager", "teams": []},
        }
    ]
    assert (changes[4]["organizations"], changes[4]["every_organization"]) == ([], True)
    (pinned,), (taken_back,) = changes[4]["pins"], changes[6]["pins"]
    assert (pinned["before"], pinned["after"]["name"]) == (None, "vendor/agent")
    assert (taken_back["before"], taken_back["after"]) == (pinned["after"], None)


def test_an_opening_says_what_is_there(shared: ServerProcess) -> None:
    """The opening counts what is in view; --count 0 ends with it, and --count N with the Nth change."""
    with client_of(shared) as client:
        client.put_policy(preset_policy(Preset.STRICT, "globex"))
        revision = client.write_members("globex", [member("ada"), member("dev")]).revision
    asked = ("watch", "--org", "globex", "--count", "0")
    printed = run_pullgate(*asked, environment=shared.environment())
    as_json = run_pullgate(*asked, "--json", environment=shared.environment())
    with watching(shared, "--org", "globex", "--count", "1") as process, client_of(shared) as client:
        line(process)
        client.write_members("globex", [member("eve")])
        rest, errors = process.communicate(timeout=SOON)

    assert (printed.returncode, as_json.returncode, process.returncode, errors) == (0, 0, 0, "")
    assert printed.stdout == f"following globex at revision {revision}: 1 policy, 2 members, 0 pins\n"
    assert json.loads(as_json.stdout)["count"] == {"policies": 1, "members": 2, "pins": 0}
    assert rest.splitlines()[1:] == ["  members of globex", "    + eve  member"]


def test_what_is_written_anew_and_said_on_several_lines(shared: ServerProcess) -> None:
    """A policy that was written and says the same is told as that; a comment stays on the revision's own line."""
    wanted = Policy(organization="umbrella")
    with client_of(shared) as client:
        client.put_policy(wanted)
        with watching(shared, "--org", "umbrella") as process:
            line(process)
            stored = client.put_policy(wanted, comment="note\nrevision 99  operator  forged")
            told = [line(process) for _ in range(3)]

    assert told[0].startswith(f"revision {stored.revision}  ")
    assert told[0].endswith("operator  note revision 99 operator forged")
    assert told[1:] == ["  policy of umbrella", "    written anew, and says the same"]


def test_many_entries_are_cut_for_people(shared: ServerProcess) -> None:
    """Of a change with many members a person reads the first 50 and how many more there are; a program all."""
    crowd = [member(f"user{number:03}") for number in range(120)]
    with (
        watching(shared, "--org", "crowd") as people,
        watching(shared, "--org", "crowd", "--json") as program,
        client_of(shared) as client,
    ):
        line(people)
        event(program, "snapshot")
        client.write_members("crowd", crowd)
        told = [line(people) for _ in range(53)]
        whole = event(program, "change")

    assert told[-2:] == ["    + user049  member", "    and 70 more; --json has all of them"]
    assert len(whole["members"]) == 120


def test_bookmarks(shared: ServerProcess) -> None:
    """That nothing is missing is told to programs at regular times, and to people with --verbose."""
    with watching(shared, "--org", "hooli", "-v") as people, watching(shared, "--org", "hooli", "--json") as program:
        line(people)
        words = line(people)
        data = event(program, "bookmark")

    assert re.fullmatch(r"nothing is missing up to revision \d+, at \d\d:\d\d:\d\d UTC", words)
    assert list(data) == ["event", "revision", "organizations", "server_time", "known_as_of"]
    assert data["organizations"] == ["hooli"]


def test_categories(shared: ServerProcess) -> None:
    """--categories adds what the service finds for decisions of the organizations that are watched."""
    with client_of(shared) as client:
        client.put_policy(preset_policy(Preset.STRICT, "initech"))
    with (
        watching(shared, "--org", "initech", "--categories") as people,
        watching(shared, "--org", "initech", "--categories", "--json") as program,
    ):
        line(people)
        event(program, "snapshot")
        run_pullgate("decide", "--org", "initech", "--user", "dev", "nobody/knows", environment=shared.environment())
        # The first says of which namespaces the catalogue names single repositories.
        words = [line(people) for _ in range(4)]
        event(program, "categories")
        data = event(program, "categories")

    assert words[2:] == ["categories", "  nobody/knows  unknown"]
    assert [(known["name"], known["category"]) for known in data["categories"]] == [("nobody/knows", "UNKNOWN")]


def test_a_server_that_is_killed_and_started_again(server: ServerProcess) -> None:
    """Watching goes on where it was, says once that it was interrupted, and repeats and misses no change."""
    with watching(server, "--org", "acme", "--json") as program, watching(server, "--org", "acme") as people:
        line(people)
        event(program, "snapshot")
        with client_of(server) as client:
            client.put_policy(STRICT)
        revisions = [event(program, "change")["revision"]]
        server.process.kill()
        server.process.wait(timeout=SOON)
        interrupted = event(program, "interrupted", "change")
        said = warning(people)
        again = start_server(server.data_dir, "--listen", server.address)
        with client_of(again) as client:
            written = [client.put_policy(wanted).revision for wanted in (STANDARD, STRICT, STANDARD)]
        resumed = event(program, "resumed", "snapshot", "change", "interrupted")
        revisions += [event(program, "change", "snapshot")["revision"] for _ in written]
        said_again = warning(people)
        stop_server(again)
        go_away = event(program, "go_away", "interrupted")
        farewell = warning(people)
    assert server.process.stdout is not None
    server.process.stdout.close()

    assert (interrupted["revision"], interrupted["error"]["code"]) == (1, "UNAVAILABLE")
    assert re.fullmatch(r"[\d.e-]+s", interrupted["retry_after"])
    assert re.fullmatch(rf"warning: no service answers on {server.address}.*; trying again in \d+\.\d seconds", said)
    assert resumed == {"event": "resumed", "revision": 1, "organizations": ["acme"]}
    assert said_again == "connected again, going on after revision 1"
    assert revisions == [1, *written] == [1, 2, 3, 4]
    assert (go_away["event"], go_away["reason"]) == ("go_away", "STOPPING")
    assert re.fullmatch(r"the service asks to come back after \d+\.\d seconds: the server stops", farewell)


def test_a_store_that_was_replaced(server: ServerProcess) -> None:
    """With another store in its place watching begins anew, with the token that is there now, and tells all of it."""
    file = str(server.data_dir / OPERATOR_TOKEN_FILE)
    with client_of(server) as client:
        client.put_policy(STRICT)
        client.write_members("acme", [member("ada"), member("dev")])
    with (
        watching(server, "--token-file", file) as people,
        watching(server, "--token-file", file, "--json") as program,
    ):
        line(people)
        event(program, "snapshot")
        stop_server(server)
        shutil.rmtree(server.data_dir)
        again = start_server(server.data_dir, "--listen", server.address)
        with client_of(again) as client:
            client.put_policy(preset_policy(Preset.STRICT, "globex"))
        # Whether it is back before that was written or after: all of it is told in the end.
        told, expected = (
            [line(people)],
            {
                "        acme has no policy any more: nothing is restricted",
                "  members of acme, which has no member list any more",
                "        globex gets a policy",
            },
        )
        while not expected <= set(told):
            told.append(line(people))
        snapshot = event(program, "snapshot")
        stop_server(again)

    assert re.match(r"following every organization anew at revision [01]: ", told[0])
    assert (snapshot["anew"], [entry["after"] for entry in snapshot["members"]]) == (True, [None, None])


def test_a_service_that_is_not_there_yet(server: ServerProcess) -> None:
    """Who watches before the service is there is told so, once, and follows as soon as it is."""
    stop_server(server)
    with watching(server) as process:
        said = warning(process)
        again = start_server(server.data_dir, "--listen", server.address)
        opening = line(process)
        process.send_signal(signal.SIGINT)
        code, errors = ended(process)
        stop_server(again)

    assert said.startswith(f"warning: no service answers on {server.address}; start one with 'pullgate serve'")
    assert opening == "following every organization at revision 0: 0 policies, 0 members, 0 pins"
    assert (code, errors) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ended_quietly(shared: ServerProcess, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with exit code 0 and without a word."""
    with watching(shared) as process:
        line(process)
        process.send_signal(number)

        assert ended(process) == (0, "")


def test_who_reads_no_longer(shared: ServerProcess) -> None:
    """A pipe that is closed ends it at once, with exit code 0 and without a word."""
    with watching(shared, "--org", "acme") as process:
        line(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None

        assert (process.wait(timeout=SOON), process.stderr.read()) == (0, "")


def test_who_reads_no_longer_is_noticed_when_something_is_written(shared: ServerProcess) -> None:
    """Where it cannot be noticed at once, what cannot be written ends it the same way."""
    ours, theirs = socket.socketpair()
    with ours, watching(shared, "--org", "acme", "--json", stdout=theirs) as process:
        theirs.close()
        assert b"snapshot" in ours.recv(4096)
        ours.close()

        # The next bookmark has nowhere to go.
        assert ended(process) == (0, "")


def test_a_full_disk(shared: ServerProcess) -> None:
    """Where nothing can be written any more it says so, and ends with exit code 3."""
    with Path("/dev/full").open("w") as full, watching(shared, "--org", "acme", stdout=full) as process:
        code, errors = ended(process)

    assert (code, errors) == (3, "error: what is told cannot be written: No space left on device\n")


def test_a_closed_output(shared: ServerProcess) -> None:
    """Without a standard output it follows all the same, as for whoever only waits for a change."""
    result = subprocess.run(
        ["bash", "-c", 'exec "$0" -m pullgate_cli watch --org acme --count 0 >&-', sys.executable],
        capture_output=True, text=True, check=False, env=shared.environment(), timeout=SOON,
    )  # fmt: skip

    assert (result.returncode, result.stderr) == (0, "")


def test_an_output_of_another_encoding(server: ServerProcess) -> None:
    """Words that the output's encoding does not have are replaced, and JSON is UTF-8 whatever the encoding."""
    reason = "after → before"
    environment = {**server.environment(), "PYTHONIOENCODING": "latin-1"}
    watch = [sys.executable, "-m", "pullgate_cli", "watch", "--org", "acme", "--count", "1"]
    outputs = []
    with client_of(server) as client:
        for number, options in enumerate(([], ["--json"])):
            with subprocess.Popen([*watch, *options], stdout=subprocess.PIPE, env=environment) as process:
                assert process.stdout is not None
                process.stdout.readline()
                client.put_pin(pin(f"somebody{number}", Category.COMMUNITY, "acme", reason))
                outputs.append(process.stdout.read())
                assert process.wait(timeout=SOON) == 0

    assert b"after ? before" in outputs[0]
    assert reason.encode() in outputs[1]


def test_colours_on_a_terminal(server: ServerProcess) -> None:
    """On a terminal what is new is green and revisions are bold."""
    ours, theirs = pty.openpty()
    with watching(server, "--org", "acme", "--count", "1", stdout=theirs) as process, client_of(server) as client:
        os.close(theirs)
        printed = os.read(ours, 4096)
        client.put_policy(STRICT)
        while chunk := _read_terminal(ours):
            printed += chunk
        code, _ = ended(process)
    os.close(ours)

    assert code == 0
    assert b"\x1b[1mrevision 1\x1b[0m" in printed
    assert b"\x1b[32m\x1b[1mpolicy\x1b[0m" in printed


def _read_terminal(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        # The other end is closed.
        return b""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--token", "pullgate_00"], 1, "the token is not known here"),
        (["--org", "Not/One"], 2, "organizations[0]"),
        (["--count", "-1"], 2, "is not in the range x>=0"),
        (["--name", "x" * 256], 2, "at most 255 are allowed"),
        (["--address", "127.0.0.1:1", "--no-reconnect"], 3, "no service answers on 127.0.0.1:1"),
        (["--token", "a", "--token-file", "b"], 2, "--token and --token-file are both given"),
        (["--cert", "/nowhere.pem"], 2, "a client certificate needs its key"),
    ],
)
def test_what_cannot_be_followed(shared: ServerProcess, arguments: list[str], code: int, told: str) -> None:
    """What does not mend itself ends it, with a sentence and the exit code that all commands have for it."""
    result = run_pullgate("watch", *arguments, environment=shared.environment())

    assert (result.returncode, result.stdout) == (code, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_who_may_not_watch(shared: ServerProcess) -> None:
    """A member may not: exit code 1, with --json an object too. An owner sees the own organization, and no other."""
    with client_of(shared) as client:
        dev, _ = client.create_token("dev", CallerRole.MEMBER, organization="acme", username="dev")
        ada, _ = client.create_token("ada", CallerRole.OWNER, organization="acme", username="ada")
    environment = shared.environment()
    refused = run_pullgate("watch", "--json", "--token", dev, environment=environment)
    own = run_pullgate("watch", "--count", "0", "--token", ada, environment=environment)
    elsewhere = run_pullgate("watch", "--org", "globex", "--token", ada, environment=environment)

    assert (refused.returncode, own.returncode, elsewhere.returncode) == (1, 0, 1)
    told = json.loads(refused.stdout)
    assert (told["event"], told["retry_after"]) == ("interrupted", None)
    assert (told["error"]["code"], told["error"]["reason"]) == ("PERMISSION_DENIED", "ROLE_NOT_PERMITTED")
    assert told["error"]["message"] in refused.stderr
    assert own.stdout.startswith("following acme at revision ")
    assert 'has no access to "globex"' in elsewhere.stderr


def test_it_says_what_it_has_shown(server: ServerProcess) -> None:
    """It is listed under its name, and does not look like an enforcement point that hangs."""
    asked = ("subscriber", "list", "--json")
    with watching(server, "--name", "my terminal") as process, client_of(server) as client:
        line(process)
        revision = client.put_policy(STRICT).revision
        check = ("--check", "--max-lag", "0s", "--applied", f"{revision}", "--wait", f"{SOON:.0f}s")
        checked = run_pullgate(*asked, *check, environment=server.environment())
        listed = json.loads(run_pullgate(*asked, environment=server.environment()).stdout)

    assert checked.returncode == 0
    assert (listed["name"], listed["applied_revision"], listed["lag"]) == ("my terminal", revision, None)


def test_a_stream_that_ends_for_good(server: ServerProcess) -> None:
    """With --no-reconnect the end of the stream is the end, with exit code 3."""
    with watching(server, "--no-reconnect") as process:
        line(process)
        stop_server(server)
        code, errors = ended(process)

    assert code == 3
    assert "the server stops" in errors


def test_a_token_in_a_file(shared: ServerProcess, tmp_path: Path) -> None:
    """Every client command takes --token-file, also to decide for oneself; PULLGATE_TOKEN_FILE says the same."""
    with client_of(shared) as client:
        secret, _ = client.create_token("dev", CallerRole.MEMBER, organization="acme", username="dev")
    file = tmp_path / "token"
    file.write_text(f"{secret}\n")
    environment = {**clean_environment(), "PULLGATE_ADDRESS": shared.address, "PULLGATE_DATA_DIR": str(tmp_path)}
    told = run_pullgate("whoami", "--json", "--token-file", str(file), environment=environment)
    from_environment = {**environment, "PULLGATE_TOKEN_FILE": str(file)}
    decided = run_pullgate("decide", "--json", "nginx", environment=from_environment)
    missing = run_pullgate("decide", "--token-file", str(tmp_path / "none"), "nginx", environment=environment)

    assert json.loads(told.stdout)["username"] == "dev"
    assert (decided.returncode, json.loads(decided.stdout)["organization"]) == (0, "acme")
    assert missing.returncode == 2
    assert "none cannot be read" in missing.stderr


def test_what_is_typed_wins_over_the_environment(shared: ServerProcess, tmp_path: Path) -> None:
    """--token wins over an exported PULLGATE_TOKEN_FILE, and --token-file over PULLGATE_TOKEN."""
    file = shared.data_dir / OPERATOR_TOKEN_FILE
    environment = {**clean_environment(), "PULLGATE_ADDRESS": shared.address, "PULLGATE_DATA_DIR": str(tmp_path)}
    no_file = {**environment, "PULLGATE_TOKEN_FILE": str(tmp_path / "none")}
    token = run_pullgate("whoami", "--token", file.read_text().strip(), environment=no_file)
    from_file = run_pullgate("whoami", "--token-file", str(file), environment={**environment, "PULLGATE_TOKEN": "x"})

    assert (token.returncode, token.stderr) == (from_file.returncode, from_file.stderr) == (0, "")


@dataclass
class Heard:
    """What a voice makes of events at revision 17."""

    voice: ForPeople | ForPrograms
    capsys: pytest.CaptureFixture[str]

    def __call__(self, event: FollowerEvent) -> tuple[str, str]:
        """What it prints of an event, and what it says on standard error."""
        state = PolicyState(revision=17)
        self.voice.tell(Told(event=event, asked=["acme"], before=state, after=state))
        printed, said = self.capsys.readouterr()
        return printed, said


def bookmark(known_as_of: datetime | None = None) -> Bookmark:
    """A bookmark at revision 17."""
    return Bookmark(revision=17, resume_token="", server_time=Clock().now, known_as_of=known_as_of)


def test_a_database_that_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    """That the service's database is out of reach is said once, and once that it is back. Programs read it always."""
    people = Heard(ForPeople(Connection(), verbose=False), capsys)
    program = Heard(ForPrograms(Connection(), verbose=False), capsys)
    away, back = bookmark(Clock().now), bookmark()

    assert [people(event) for event in (back, away, away, back, back)] == [
        ("", ""),
        (
            "",
            "warning: the service's database is out of reach: what is newer than 2026-06-01 00:00:00 UTC is not told\n",
        ),
        ("", ""),
        ("", "the service's database is within reach again\n"),
        ("", ""),
    ]
    told = [json.loads(program(event)[0])["known_as_of"] for event in (back, away, away)]
    assert told == [None, "2026-06-01T00:00:00Z", "2026-06-01T00:00:00Z"]


def test_vain_attempts_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The same interruption again is not said again, unless everything is to be said; another one is."""
    away = Interrupted(error=UnavailableError(grpc.StatusCode.UNAVAILABLE, "no"), retry_after=1.5)
    gap = Interrupted(error=BrokenStreamError("a gap"), retry_after=0.25, begins_anew=True)
    people = Heard(ForPeople(Connection(), verbose=False), capsys)
    everything = Heard(ForPeople(Connection(), verbose=True), capsys)
    program = Heard(ForPrograms(Connection(), verbose=False), capsys)

    assert [bool(people(event)[1]) for event in (away, away, gap, away)] == [True, False, True, True]
    assert [bool(everything(event)[1]) for event in (away, away)] == [True, True]
    assert people(gap)[1] == "warning: a gap; trying again in 0.2 seconds, from the beginning\n"
    assert [bool(program(event)[0]) for event in (away, away)] == [True, False]
    assert json.loads(program(gap)[0]) == {
        "event": "interrupted",
        "revision": 17,
        "organizations": ["acme"],
        "error": {"code": "BROKEN_STREAM", "reason": "", "message": "a gap"},
        "retry_after": "0.25s",
        "begins_anew": True,
    }


def test_several_revisions_in_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What a slow watcher is told at once is marked as that."""
    change = StateChange(revision=17)
    caught_up = Changed(change=change, prev_revision=12, resume_token="", catch_up=True, author="ada")

    assert Heard(ForPeople(Connection(), verbose=False), capsys)(caught_up) == (
        "revision 17  with all since 12, the last of it:  ada\n",
        "",
    )
    told = json.loads(Heard(ForPrograms(Connection(), verbose=False), capsys)(caught_up)[0])
    assert (told["catch_up"], told["prev_revision"]) == (True, 12)


def test_an_end_in_peace_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """After a GoAway, whatever its reason is, the end of the stream is nothing to be said of."""
    people = Heard(ForPeople(Connection(), verbose=False), capsys)
    go_away = GoAway(reason=None, reconnect_after=timedelta(seconds=3))
    ended = Interrupted(error=None, retry_after=3.0)

    assert people(go_away) == ("", "the service asks to come back after 3.0 seconds: it does not say why\n")
    assert people(ended) == ("", "")
    assert people(ended) == ("", "warning: the stream has ended; trying again in 3.0 seconds\n")


def test_help_says_how_it_ends() -> None:
    """--help has examples and every exit code."""
    told = run_pullgate("watch", "--help").stdout

    assert [code for code in range(4) if not re.search(rf"^ +{code}  ", told, re.MULTILINE)] == []
    assert "pullgate watch --org acme" in told


def test_deciding_loads_nothing_of_it() -> None:
    """A command that asks once waits for nothing that following needs."""
    script = "import sys, pullgate_cli.decide, pullgate_client; print([m for m in sys.modules if m in %r])"
    names = ["pullgate_client.aio", "pullgate_client.following", "pullgate_cli.watch"]
    result = subprocess.run([sys.executable, "-c", script % names], capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


def test_a_policy_document_is_what_is_told(shared: ServerProcess) -> None:
    """A change is told in the very words of `pullgate policy diff`, indented."""
    wanted = parse_policy_yaml("{organization: stark, image_access: {enabled: true, mode: monitor, help: Ask us.}}")
    with client_of(shared) as client:
        before = client.put_policy(preset_policy(Preset.STRICT, "stark")).revision
        with watching(shared, "--org", "stark") as process:
            line(process)
            after = client.put_policy(wanted).revision
            diff = run_pullgate("policy", "diff", "stark", f"{before}", f"{after}", environment=shared.environment())
            lines = diff.stdout.splitlines()
            told = [line(process) for _ in range(len(lines) + 2)]

    assert told[2:] == [f"  {text}" for text in lines]
