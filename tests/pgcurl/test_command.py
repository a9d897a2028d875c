"""list, describe and calls of a server that is not ours: what is printed, and the exit codes."""

import json
from pathlib import Path

import grpc
import pytest

from pgcurl.statuses import Status
from pgcurl.verbose import duration_text
from tests.pgcurl.running import SERVICE, finish, pgcurl, pgcurl_process
from tests.pgcurl.streaming_server import (
    PROTOS,
    Reflection,
    StreamingServer,
    running_server,
    write_testing_protoset,
)

ECHO = f"{SERVICE}/Echo"


@pytest.fixture(scope="module")
def protoset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The descriptors of the test service in a file."""
    path = tmp_path_factory.mktemp("protoset") / "test.protoset"
    write_testing_protoset(path, "test_service.proto")
    return path


def test_the_services_are_listed(server: StreamingServer) -> None:
    """One a line, sorted."""
    outcome = pgcurl("-plaintext", server.address, "list")

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"pgcurl.testing.legacy.LegacyService\n{SERVICE}\n"


def test_the_methods_of_a_service_are_listed(server: StreamingServer) -> None:
    """One a line, sorted, with their full names."""
    names = ("Converse", "Echo", "Join", "Ping", "Split")

    assert pgcurl("-plaintext", server.address, "list", SERVICE).out == "".join(f"{SERVICE}.{name}\n" for name in names)


def test_a_method_is_described(server: StreamingServer) -> None:
    """A symbol may begin with a dot."""
    outcome = pgcurl("-plaintext", server.address, "describe", f".{SERVICE}.Join")

    assert outcome.out == (
        f"{SERVICE}.Join is a method:\n// Answers with all texts joined by spaces.\n"
        "rpc Join ( stream .pgcurl.testing.v1.EchoRequest ) returns ( .pgcurl.testing.v1.JoinResponse );\n"
    )


def test_all_services_are_described(server: StreamingServer) -> None:
    """Without a symbol."""
    out = pgcurl("-plaintext", server.address, "describe").out

    assert out.startswith("pgcurl.testing.legacy.LegacyService is a service:\n")
    assert f"\n{SERVICE} is a service:\n" in out


def test_a_template_of_a_message(server: StreamingServer) -> None:
    """-msg-template prints a request that can be sent as it is."""
    out = pgcurl("-plaintext", "-msg-template", server.address, "describe", "pgcurl.testing.v1.Detail").out
    text, _, template = out.partition("\nMessage template:\n")

    assert text.startswith("pgcurl.testing.v1.Detail is a message:\n")
    assert json.loads(template).keys() == {"note", "inner"}
    assert "Message template" not in pgcurl("-plaintext", "-msg-template", server.address, "describe", SERVICE).out


@pytest.mark.parametrize("method", [ECHO, f"{SERVICE}.Echo"])
def test_a_call(server: StreamingServer, method: str) -> None:
    """The answer is indented JSON, with nothing around it."""
    outcome = pgcurl("-plaintext", "-d", '{"text": "ä"}', server.address, method)

    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == '{\n  "request": {\n    "text": "ä"\n  },\n  "text": "ä",\n  "position": 1\n}\n'


def test_the_other_formats(server: StreamingServer) -> None:
    """Jsonl is JSON in a line, and text is the text format, for requests too."""
    lines = pgcurl("-plaintext", "-format", "jsonl", "-d", '{"text": "a"}', server.address, ECHO)
    text = pgcurl("-plaintext", "-format", "text", "-d", 'text: "a"', server.address, ECHO)

    assert lines.out == '{"request":{"text":"a"},"text":"a","position":1}\n'
    assert text.out == 'request {\n  text: "a"\n}\ntext: "a"\nposition: 1\n'


def test_text_output_goes_into_the_next_command(server: StreamingServer) -> None:
    """What a stream answers in the text format can be piped into a call that takes a stream."""
    split = pgcurl("-plaintext", "-format", "text", "-d", 'text: "a b c"', server.address, f"{SERVICE}/Split")
    texts = "\x1e".join(record.splitlines()[0] for record in split.out.split("\x1e"))
    joined = pgcurl("-plaintext", "-format", "text", "-d", "@", server.address, f"{SERVICE}/Join", stdin=texts.encode())

    assert split.out.count("\x1e") == 2
    assert joined.out == 'text: "a b c"\nmessages: 3\n'


def test_an_empty_answer(server: StreamingServer) -> None:
    """A message without fields is {} in JSON, and nothing in the text format."""
    assert pgcurl("-plaintext", server.address, f"{SERVICE}/Ping").out == "{}\n"
    assert pgcurl("-plaintext", "-format", "text", server.address, f"{SERVICE}/Ping").out == "\n"


VERBOSE = """
Resolved method descriptor:
// Answers with the request.
rpc Echo ( .pgcurl.testing.v1.EchoRequest ) returns ( .pgcurl.testing.v1.EchoResponse );

Request metadata to send:
header-a-bin: AP8=
header-b: 1
trailer-c: 2

Response headers received:
a-bin: AP8=
b: 1

Response contents:
{
  "request": {},
  "position": 1
}

Response trailers received:
c: 2
Sent 1 request and received 1 response
"""


def test_verbose_output(server: StreamingServer) -> None:
    """-v shows the method, and metadata in both directions."""
    headers = ("-H", "Header-B: 1", "-H", "header-a-bin: AP8", "-rpc-header", "trailer-c: 2")
    outcome = pgcurl("-plaintext", "-v", "-d", "{}", *headers, server.address, ECHO)

    assert outcome.out == VERBOSE


def test_very_verbose_output(server: StreamingServer) -> None:
    """-vv adds the size of each response, and how long each part took."""
    lines = pgcurl("-plaintext", "-vv", server.address, ECHO).out.splitlines()

    assert "Estimated response size: 4 bytes" in lines
    assert "(empty)" in lines
    assert "Sent 0 requests and received 1 response" in lines
    assert [line.partition(":")[0] for line in lines[-4:]] == [
        "Timing Data",
        "  Dial",
        "    BlockingDial",
        "  InvokeRPC",
    ]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"), (1, "1ns"), (999, "999ns"), (1_500, "1.5µs"), (2_000_000, "2ms"), (2_123_456, "2.123456ms"),
        (1_000_000_000, "1s"), (61_500_000_000, "1m1.5s"), (3_600_000_000_000, "1h0m0s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_go_writes_them(nanoseconds: int, text: str) -> None:
    """The unit is the largest that gives at least one."""
    assert duration_text(nanoseconds) == text


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_the_status_is_the_exit_code(server: StreamingServer, protoset: Path, code: grpc.StatusCode) -> None:
    """64 and the status; the status goes to standard error with its name as Go writes it."""
    number = code.value[0]
    outcome = pgcurl(
        "-plaintext", "-protoset", str(protoset), "-H", f"fail-early: {number}", server.address, f"{SERVICE}/Split"
    )

    assert (outcome.code, outcome.out) == (64 + number, "")
    assert outcome.err == f"ERROR:\n  Code: {Status(code=code).name}\n  Message: told to fail\n"


def test_the_names_of_statuses() -> None:
    """They are those of Go, which scripts look for."""
    assert [Status(code=code).name for code in sorted(grpc.StatusCode, key=lambda code: int(code.value[0]))] == [
        "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
        "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
        "Internal", "Unavailable", "DataLoss", "Unauthenticated",
    ]  # fmt: skip


DETAILS = """\
ERROR:
  Code: NotFound
  Message: told to fail
  Details:
  1)\t{
    \t  "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    \t  "reason": "TOLD_TO",
    \t  "domain": "pgcurl.testing"
    \t}
  2)\t{
    \t  "@type": "type.googleapis.com/nobody.knows.This",
    \t  "@error": "nobody.knows.This is not recognized; see @value for raw binary message data",
    \t  "@value": "CAE="
    \t}
"""


def test_details_of_a_status(server: StreamingServer) -> None:
    """They are numbered and printed in the format, also those of an unknown type."""
    failing = ("-plaintext", "-rpc-header", "fail-late: 5", "-rpc-header", "fail-details: yes")
    outcome = pgcurl(*failing, server.address, ECHO)

    assert outcome.code == 69
    assert outcome.err == DETAILS


def test_a_status_in_the_format(server: StreamingServer) -> None:
    """-format-error prints google.rpc.Status, for programs."""
    failing = ("-plaintext", "-format-error", "-rpc-header", "fail-late: 5", "-rpc-header", "fail-details: yes")
    outcome = pgcurl(*failing, server.address, f"{SERVICE}/Split", stdin=b"")
    status = json.loads(outcome.err)

    assert outcome.code == 69
    assert (status["code"], status["message"]) == (5, "told to fail")
    assert [detail["@type"].rpartition(".")[2] for detail in status["details"]] == ["ErrorInfo", "This"]
    assert pgcurl("-plaintext", "-format", "text", *failing[1:4], server.address, ECHO).err == (
        'code: 5\nmessage: "told to fail"\n'
    )


def test_answers_before_a_failure_are_printed(server: StreamingServer) -> None:
    """A stream that ends badly has shown what came."""
    failing = ("-plaintext", "-format", "jsonl", "-rpc-header", "fail-late: 13", "-d", '{"text": "a b"}')
    outcome = pgcurl(*failing, server.address, f"{SERVICE}/Split")

    assert outcome.code == 77
    assert outcome.out == '{"text":"a","position":1}\n{"text":"b","position":2}\n'


def test_headers_go_where_they_are_meant_to(server: StreamingServer) -> None:
    """-H to both, -rpc-header to the call alone, -reflect-header to reflection alone; variables are expanded in all."""
    headers = ("-H", "both: ${A}", "-rpc-header", "call: ${A}", "-reflect-header", "reflection: ${A}")
    pgcurl("-plaintext", "-expand-headers", *headers, server.address, ECHO, environment={"A": "x"})
    call, reflection = server.last_call("Echo"), server.last_call("ServerReflectionInfo")

    assert [call.values(name) for name in ("both", "call", "reflection")] == [["x"], ["x"], []]
    assert [reflection.values(name) for name in ("both", "call", "reflection")] == [["x"], [], ["x"]]


def test_the_user_agent(server: StreamingServer) -> None:
    """It is pgcurl's, behind what -user-agent says."""
    pgcurl("-plaintext", server.address, ECHO)
    assert str(server.last_call("Echo").values("user-agent")[0]).startswith("pgcurl/")
    pgcurl("-plaintext", "-user-agent", "smoke/1", server.address, ECHO)
    assert str(server.last_call("Echo").values("user-agent")[0]).startswith("smoke/1 pgcurl/")


@pytest.mark.parametrize(
    "source",
    [
        ("-protoset", "{protoset}"),
        ("-proto", "test_service.proto", "-import-path", str(PROTOS)),
        ("-use-reflection", "-protoset", "{protoset}"),
    ],
)
def test_descriptors_from_files(server: StreamingServer, protoset: Path, source: tuple[str, ...]) -> None:
    """A call needs no reflection where files say what it is, and reflection may be added."""
    before = len(server.calls)
    given = [part.format(protoset=protoset) for part in source]
    outcome = pgcurl("-plaintext", *given, "-format", "jsonl", "-d", '{"text": "a"}', server.address, ECHO)

    assert outcome.out == '{"request":{"text":"a"},"text":"a","position":1}\n'
    asked = any(call.method.endswith("ServerReflectionInfo") for call in server.calls[before:])
    assert asked == ("-use-reflection" in source)


@pytest.mark.parametrize(
    ("flags", "begins"),
    [
        (("-protoset", "{directory}/missing"), "Failed to process proto descriptor sets: "),
        (("-protoset", "{directory}/broken"), "Failed to process proto descriptor sets: "),
        (("-proto", "missing.proto", "-import-path", "{directory}"), "Failed to process proto source files: "),
        (("-proto", "broken.proto", "-import-path", "{directory}"), "Failed to process proto source files: "),
    ],
)
def test_files_that_are_no_descriptors(tmp_path: Path, flags: tuple[str, ...], begins: str) -> None:
    """They are named, with exit code 1."""
    (tmp_path / "broken").write_bytes(b"\xff\xff")
    (tmp_path / "broken.proto").write_text("nonsense")
    given = [flag.format(directory=tmp_path) for flag in flags]
    outcome = pgcurl(*given, "list")

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(begins)
    assert given[1].rpartition("/")[2] in outcome.err


@pytest.mark.parametrize("flag", ["-protoset-out", "-proto-out-dir"])
def test_descriptors_that_cannot_be_written(server: StreamingServer, flag: str) -> None:
    """The path is named, with exit code 1."""
    outcome = pgcurl("-plaintext", flag, "/dev/null/x", server.address, "list")

    assert outcome.code == 1
    assert outcome.err.startswith("Failed to write proto")
    assert "/dev/null/x" in outcome.err


def test_files_are_listed_and_described_without_a_server(protoset: Path) -> None:
    """No address is needed, and none is asked."""
    assert pgcurl("-protoset", str(protoset), "list").out == f"{SERVICE}\n"
    described = pgcurl("-proto", "test_service.proto", "-import-path", str(PROTOS), "describe", f"{SERVICE}.Ping").out
    assert described.startswith(f"{SERVICE}.Ping is a method:\n")


@pytest.mark.parametrize("what", [("list",), ("list", SERVICE), ("describe", SERVICE), (ECHO,)])
def test_descriptors_are_written(server: StreamingServer, tmp_path: Path, what: tuple[str, ...]) -> None:
    """-protoset-out and -proto-out-dir write what can be used in place of reflection, for calls too."""
    written, sources = tmp_path / "out.protoset", tmp_path / "sources"
    outputs = ("-protoset-out", str(written), "-proto-out-dir", str(sources))
    assert pgcurl("-plaintext", *outputs, server.address, *what).code == 0

    assert SERVICE in pgcurl("-protoset", str(written), "list").out.splitlines()
    assert pgcurl("-proto", "test_service.proto", "-import-path", str(sources), "list", SERVICE).code == 0


@pytest.mark.parametrize("reflection", [Reflection.V1, Reflection.V1ALPHA])
def test_either_version_of_reflection_serves(reflection: Reflection) -> None:
    """A server that has but one is asked in that."""
    with running_server(reflection=reflection) as server:
        assert pgcurl("-plaintext", server.address, ECHO).code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("list",), "Failed to list services: server does not support the reflection API\n"),
        (("list", "a.B"), 'Failed to list methods for service "a.B": server does not support the reflection API\n'),
        (("describe", "a.B"), 'Failed to resolve symbol "a.B": server does not support the reflection API\n'),
        (("a.B/C",), 'Error invoking method "a.B/C": server does not support the reflection API\n'),
    ],
)
def test_a_server_without_reflection(arguments: tuple[str, ...], told: str) -> None:
    """It is told so, with exit code 1."""
    with running_server(reflection=Reflection.NONE) as server:
        outcome = pgcurl("-plaintext", server.address, *arguments)

    assert (outcome.code, outcome.out, outcome.err) == (1, "", told)


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [
        (("list", "a.B"), 'Failed to list methods for service "a.B": '),
        (("describe", "a.B"), 'Failed to resolve symbol "a.B": '),
        (("a.B/C",), 'Error invoking method "a.B/C": '),
        ((f"{SERVICE}/Nothing",), f'Error invoking method "{SERVICE}/Nothing": '),
        (("Nothing/",), 'Error invoking method "Nothing/": '),
        (
            ("nothing",),
            'Error invoking method "nothing": given method name "nothing" is not in expected format: '
            "'service/method' or 'service.method'",
        ),
    ],
)
def test_what_there_is_not(server: StreamingServer, arguments: tuple[str, ...], begins: str) -> None:
    """What was asked for is named, with exit code 1."""
    outcome = pgcurl("-plaintext", server.address, *arguments)

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(begins)
    assert "Traceback" not in outcome.err


def test_a_refused_reflection(server: StreamingServer) -> None:
    """The status of reflection is told with exit code 1; with -format-error it is the status, and the exit code."""
    refused = ("-plaintext", "-reflect-header", "fail-early: 16")
    listed = pgcurl(*refused, server.address, "list")
    called = pgcurl(*refused, server.address, ECHO)
    formatted = pgcurl(*refused, "-format-error", server.address, ECHO)
    query = f'failed to query for service descriptor "{SERVICE}": told to fail'

    assert (listed.code, called.code, formatted.code) == (1, 1, 80)
    assert listed.err == "Failed to list services: rpc error: code = Unauthenticated desc = told to fail\n"
    assert called.err == f'Error invoking method "{ECHO}": rpc error: code = Unauthenticated desc = {query}\n'
    assert json.loads(formatted.err) == {"code": 16, "message": query}


@pytest.mark.parametrize("method", ["Echo", "Split"])
def test_more_than_one_message_for_a_method_that_takes_one(server: StreamingServer, method: str) -> None:
    """It is refused before anything is called."""
    calls = len(server.calls)
    outcome = pgcurl("-plaintext", "-d", "{} {}", server.address, f"{SERVICE}/{method}")
    kind = {"Echo": "unary", "Split": "server-streaming"}[method]

    assert outcome.code == 1
    assert outcome.err == (
        f'Error invoking method "{SERVICE}/{method}": method "{SERVICE}.{method}" is a {kind} RPC, '
        "but request data contained more than 1 message\n"
    )
    assert not [call for call in server.calls[calls:] if call.method.endswith(method)]


@pytest.mark.parametrize("method", ["Echo", "Split", "Join", "Converse"])
def test_wrong_request_data(server: StreamingServer, method: str) -> None:
    """The reason is told with exit code 1, whichever way the call goes."""
    outcome = pgcurl("-plaintext", "-d", '{"nonsense": 1}', server.address, f"{SERVICE}/{method}")

    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(
        f'Error invoking method "{SERVICE}/{method}": error getting request data: message 1: Message type '
        '"pgcurl.testing.v1.EchoRequest" has no field named "nonsense"'
    )


def test_unknown_fields_are_ignored_if_that_is_wanted(server: StreamingServer) -> None:
    """-allow-unknown-fields."""
    assert pgcurl("-plaintext", "-allow-unknown-fields", "-d", '{"nonsense": 1}', server.address, ECHO).code == 0


def test_data_from_files(server: StreamingServer, tmp_path: Path) -> None:
    """-d @FILE reads it, and says if it cannot; -H @FILE has headers."""
    data, headers = tmp_path / "data.json", tmp_path / "headers"
    data.write_text('{"text": "from a file"}')
    headers.write_text("header-x: 1\n")
    outcome = pgcurl("-plaintext", "-v", "-d", f"@{data}", "-H", f"@{headers}", server.address, ECHO)

    assert '"text": "from a file"' in outcome.out
    assert "Response headers received:\nx: 1\n" in outcome.out
    missing = pgcurl("-plaintext", "-d", "@/missing", server.address, ECHO)
    assert (missing.code, missing.err) == (
        1,
        "Failed to read request data: /missing cannot be read (No such file or directory)\n",
    )


def test_extensions_are_known(server: StreamingServer) -> None:
    """What the server says of extensions serves in requests and answers."""
    data = '{"name": "a", "[pgcurl.testing.legacy.weight]": "5", "result": [{"url": "u"}]}'
    method = "pgcurl.testing.legacy.LegacyService/Get"
    outcome = pgcurl("-plaintext", "-d", data, server.address, method)

    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == json.loads(data)


def test_the_time_that_all_may_take(server: StreamingServer, protoset: Path) -> None:
    """-max-time ends a call that does not end, as the server is told; also one of reflection."""
    call = pgcurl(
        "-plaintext", "-protoset", str(protoset), "-max-time", "0.3", "-H", "hold: early", server.address, ECHO
    )
    reflection = pgcurl("-plaintext", "-max-time", "0.3", "-H", "hold: early", server.address, "list")

    assert (call.code, reflection.code) == (68, 1)
    assert call.err.startswith("ERROR:\n  Code: DeadlineExceeded\n")
    assert "code = DeadlineExceeded" in reflection.err


def test_times_without_an_end(server: StreamingServer) -> None:
    """However long they are, they are taken as for ever."""
    for seconds in ("1e300", "inf"):
        flags = ("-max-time", seconds, "-connect-timeout", seconds, "-keepalive-time", seconds)
        assert pgcurl("-plaintext", *flags, server.address, ECHO).code == 0


def test_how_large_an_answer_may_be(server: StreamingServer) -> None:
    """More than -max-msg-sz is ResourceExhausted; without it four megabytes are the limit."""
    data = json.dumps({"text": "x" * 100_000})
    large = json.dumps({"text": "x" * 2_200_000})

    assert pgcurl("-plaintext", "-max-msg-sz", "100000", "-d", data, server.address, ECHO).code == 72
    assert pgcurl("-plaintext", "-d", data, server.address, ECHO).code == 0
    assert pgcurl("-plaintext", "-d", large, server.address, ECHO).code == 72
    assert pgcurl("-plaintext", "-max-msg-sz", "9000000", "-d", large, server.address, ECHO).code == 0


def test_keepalive_is_no_hindrance(server: StreamingServer) -> None:
    """-keepalive-time, however long."""
    for seconds in ("20", "1e12"):
        assert pgcurl("-plaintext", "-keepalive-time", seconds, server.address, ECHO).code == 0


def test_as_a_process(server: StreamingServer) -> None:
    """The same as in this process: output, status and exit code."""
    good = finish(pgcurl_process("-plaintext", "-d", "@", server.address, ECHO), '{"text": "ä"}')
    bad = finish(pgcurl_process("-plaintext", "-rpc-header", "fail-late: 7", server.address, ECHO))

    assert (good.code, json.loads(good.out)["text"], good.err) == (0, "ä", "")
    assert (bad.code, bad.out) == (71, "")
    assert bad.err == "ERROR:\n  Code: PermissionDenied\n  Message: told to fail\n"
