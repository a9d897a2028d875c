"""Many calls over one connection."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pgcurl.running import SERVICE, Outcome, finish, pgcurl, pgcurl_process
from tests.pgcurl.streaming_server import StreamingServer


def batch(server: StreamingServer, *lines: object, flags: tuple[str, ...] = ()) -> Outcome:
    """Make the calls of some lines; what is no text is turned into JSON."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return pgcurl("-plaintext", *flags, "-batch", "@", server.address, stdin=text.encode())


def answers(outcome: Outcome) -> list[Any]:
    """What was printed, line by line."""
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_each_line_is_a_call(server: StreamingServer) -> None:
    """Answers come in order, a line each, for every kind of call; data may be left out, and be a list for a stream."""
    outcome = batch(
        server,
        {"method": f"{SERVICE}/Echo", "data": {"text": "a"}},
        "",
        {"method": f"{SERVICE}.Split", "data": {"text": "b c"}},
        {"method": f"{SERVICE}/Join", "data": [{"text": "d"}, {"text": "e"}]},
        {"method": f"{SERVICE}/Ping"},
    )
    ok = {"code": "OK", "message": ""}

    assert (outcome.code, outcome.err) == (0, "")
    assert answers(outcome) == [
        {
            "method": f"{SERVICE}/Echo",
            "status": ok,
            "responses": [{"request": {"text": "a"}, "text": "a", "position": 1}],
        },
        {
            "method": f"{SERVICE}.Split",
            "status": ok,
            "responses": [{"text": "b", "position": 1}, {"text": "c", "position": 2}],
        },
        {"method": f"{SERVICE}/Join", "status": ok, "responses": [{"text": "d e", "messages": 2}]},
        {"method": f"{SERVICE}/Ping", "status": ok, "responses": [{}]},
    ]


def test_all_go_over_one_connection(server: StreamingServer) -> None:
    """A method is asked of reflection once, and each call finds the connection of the one before."""
    before = len(server.calls)
    batch(server, *[{"method": f"{SERVICE}/Echo"}] * 20)
    methods = [call.method.rpartition("/")[2] for call in server.calls[before:]]

    assert methods.count("Echo") == 20
    assert methods.count("ServerReflectionInfo") <= 3


def test_a_failure_does_not_end_the_batch(server: StreamingServer) -> None:
    """The exit code is that of the first failure; statuses have their details, and other mistakes their line."""
    outcome = batch(
        server,
        {"method": f"{SERVICE}/Echo"},
        {"method": f"{SERVICE}/Split", "data": {"text": "a"}, "headers": ["fail-late: 5", "fail-details: 1"]},
        {"method": f"{SERVICE}/Nothing"},
        {"method": f"{SERVICE}/Echo", "data": {"nonsense": 1}},
        {"method": f"{SERVICE}/Echo", "headers": ["a b"]},
        {"method": f"{SERVICE}/Echo", "data": [{}, {}]},
        {"method": f"{SERVICE}/Echo", "headers": ["fail-early: 7"]},
        {"method": f"{SERVICE}/Ping"},
    )
    shown = answers(outcome)

    assert outcome.code == 69
    assert [answer.get("status", {}).get("code") for answer in shown] == [
        "OK", "NotFound", None, None, None, None, "PermissionDenied", "OK"
    ]  # fmt: skip
    assert shown[1]["responses"] == [{"text": "a", "position": 1}]
    assert [detail["@type"].rpartition("/")[2] for detail in shown[1]["status"]["details"]] == [
        "google.rpc.ErrorInfo",
        "nobody.knows.This",
    ]
    assert shown[2]["error"].startswith(f'line 3: Error invoking method "{SERVICE}/Nothing": ')
    assert shown[3]["error"].startswith("line 4: error getting request data: message 1: ")
    assert shown[4]["error"].startswith('line 5: Failed to read headers: "a b" is no name of a header')
    assert shown[5]["error"].startswith(f'line 6: method "{SERVICE}.Echo" is a unary RPC')


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("nonsense", "line 1: not JSON: Expecting value at column 1"),
        ("[]", "line 1: a JSON object is expected"),
        ("{}", "line 1: method is missing; it is SERVICE/METHOD"),
        ('{"method": 1}', "line 1: method is missing"),
        ('{"method": "a/b", "date": {}}', "line 1: date is not known; there are data, headers, method"),
        ('{"method": "a/b", "headers": "x"}', 'line 1: headers is a list of "name: value"'),
    ],
)
def test_a_line_that_is_no_call(server: StreamingServer, line: str, told: str) -> None:
    """It is told with its number, the exit code is 1, and the next line is called."""
    outcome = batch(server, line, {"method": f"{SERVICE}/Ping"})
    wrong, good = answers(outcome)

    assert outcome.code == 1
    assert wrong["error"].startswith(told)
    assert good["status"]["code"] == "OK"


def test_headers_of_all_and_of_one(server: StreamingServer) -> None:
    """A line's own headers come on top; its authorization stands in place of the common one."""
    batch(
        server,
        {"method": f"{SERVICE}/Echo", "headers": ["authorization: own", "b: 2"]},
        flags=("-H", "authorization: common", "-rpc-header", "a: 1"),
    )
    call = server.last_call("Echo")

    assert [call.values(name) for name in ("authorization", "a", "b")] == [["own"], ["1"], ["2"]]


def test_a_file_of_calls(server: StreamingServer, tmp_path: Path) -> None:
    """-batch FILE; a missing one is told."""
    path = tmp_path / "calls.jsonl"
    path.write_text(f'{{"method": "{SERVICE}/Ping"}}\n')

    assert pgcurl("-plaintext", "-batch", str(path), server.address).code == 0
    missing = pgcurl("-plaintext", "-batch", f"{path}.gone", server.address)
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.endswith("cannot be read (No such file or directory)\n")


def test_no_connection_is_told_once() -> None:
    """Without a server there is one message and no answer, not one for each line."""
    outcome = pgcurl("-plaintext", "-batch", "@", "127.0.0.1:1", stdin=b'{"method": "a/b"}\n' * 3)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == 'Failed to dial target host "127.0.0.1:1": connection refused: nothing listens there\n'


def test_a_call_is_made_as_soon_as_its_line_is_read(server: StreamingServer) -> None:
    """The answer to the first line is there before the second is written."""
    process = pgcurl_process("-plaintext", "-batch", "@", server.address)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"method": f"{SERVICE}/Echo", "data": {"text": "first"}}) + "\n")
    process.stdin.flush()
    first = json.loads(process.stdout.readline())
    rest = finish(process, json.dumps({"method": f"{SERVICE}/Echo", "data": {"text": "second"}}))

    assert first["responses"][0]["text"] == "first"
    assert json.loads(rest.out)["responses"][0]["text"] == "second"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"method": "\\ud800.Echo"}', "half of a character"),
        ('{"\\ud800": 1}', "half of a character"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_lines_that_python_cannot_hold(server: StreamingServer, line: str, told: str) -> None:
    """They are told like any other mistake, and the next line is called."""
    outcome = batch(server, line, {"method": f"{SERVICE}/Ping"})
    wrong, good = answers(outcome)

    assert (outcome.code, outcome.err) == (1, "")
    assert told in wrong["error"]
    assert good["status"]["code"] == "OK"


def test_nothing_but_answers_is_printed(server: StreamingServer) -> None:
    """Each line of the output is JSON, whatever flags ask for more."""
    outcome = batch(server, {"method": f"{SERVICE}/Ping"}, flags=("-vv",))

    assert len(answers(outcome)) == 1
