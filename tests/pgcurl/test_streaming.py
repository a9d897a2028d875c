"""Streams as they go: messages are sent when they are read, printed when they come, and either side may leave first."""

import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from pgcurl.formats import Format, Formatter, TypeResolver
from pgcurl.invoking import Call, invoke
from pgcurl.protosets import FilesSource
from pgcurl.verbose import Report
from tests.conftest import SOON
from tests.pgcurl.running import SERVICE, finish, pgcurl, pgcurl_process
from tests.pgcurl.streaming_server import StreamingServer, descriptor_pool, new_message

CONVERSE = f"{SERVICE}/Converse"


def lines_of(text: str) -> list[Any]:
    """Answers in -format jsonl."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("method", "data", "answers"),
    [
        ("Echo", "", [{"request": {}, "position": 1}]),
        ("Echo", '{"text": "a"}', [{"request": {"text": "a"}, "text": "a", "position": 1}]),
        ("Split", "", []),
        ("Split", '{"text": "a b"}', [{"text": "a", "position": 1}, {"text": "b", "position": 2}]),
        ("Join", "", [{}]),
        ("Join", '{"text": "a"}', [{"text": "a", "messages": 1}]),
        ("Join", '{"text": "a"}{"text": "b"} {"text": "c"}', [{"text": "a b c", "messages": 3}]),
        ("Converse", "", []),
        (
            "Converse",
            '{"text": "a"}{"number": 1}',
            [{"request": {"text": "a"}, "text": "a", "position": 1}, {"request": {"number": 1}, "position": 2}],
        ),
    ],
)
@pytest.mark.parametrize("stdin", [True, False])
def test_each_kind_of_call_with_any_number_of_messages(
    server: StreamingServer, method: str, data: str, answers: list[Any], stdin: bool
) -> None:
    """Without data, methods that take one message are sent an empty one, and streams none."""
    outcome = pgcurl(
        "-plaintext", "-format", "jsonl", "-d", "@" if stdin else data, server.address, f"{SERVICE}/{method}",
        stdin=data.encode() if stdin else b"",
    )  # fmt: skip

    assert (outcome.code, outcome.err) == (0, "")
    assert lines_of(outcome.out) == answers


@pytest.mark.parametrize(("data", "messages"), [("", 1), ('text: "a"', 1), ('text: "a"\x1etext: "b"', 2), ("\x1e", 2)])
def test_messages_in_the_text_format(server: StreamingServer, data: str, messages: int) -> None:
    """Empty text is a message, and so is what follows the last separator."""
    outcome = pgcurl("-plaintext", "-format", "text", "-d", data, server.address, f"{SERVICE}/Join")

    assert f"messages: {messages}\n" in outcome.out


def test_a_conversation(server: StreamingServer) -> None:
    """The second message is written only when the answer to the first has come, so each is sent as it is read."""
    process = pgcurl_process("-plaintext", "-format", "jsonl", "-d", "@", server.address, CONVERSE)
    assert process.stdin is not None
    assert process.stdout is not None
    texts = []
    for text in ("one", "two", "three"):
        process.stdin.write(json.dumps({"text": text}))
        process.stdin.flush()
        texts.append(json.loads(process.stdout.readline())["text"])
    rest = finish(process)

    assert texts == ["one", "two", "three"]
    assert (rest.code, rest.out, rest.err) == (0, "", "")


def test_a_conversation_in_the_text_format(server: StreamingServer) -> None:
    """There, a message is complete at its separator."""
    process = pgcurl_process("-plaintext", "-format", "text", "-d", "@", server.address, CONVERSE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('text: "one"\x1e')
    process.stdin.flush()
    first = [process.stdout.readline() for _ in range(5)]
    rest = finish(process, 'text: "two"')

    assert first[3] == 'text: "one"\n'
    assert rest.out.startswith("\x1erequest {\n")


def test_the_server_ends_a_call_while_more_is_to_be_sent(server: StreamingServer) -> None:
    """The status is told at once, though standard input stays open."""
    process = pgcurl_process("-plaintext", "-d", "@", "-rpc-header", "fail-early: 9", server.address, CONVERSE)
    assert process.wait(SOON) == 73
    ended = finish(process)

    assert ended.err == "ERROR:\n  Code: FailedPrecondition\n  Message: told to fail\n"


@pytest.mark.parametrize("method", ["Join", "Converse"])
def test_a_server_that_fails_early_or_late(server: StreamingServer, method: str) -> None:
    """Both are told as the status, whatever was sent; what was answered before stays."""
    for when, answers in (("early", 0), ("late", 2 if method == "Converse" else 0)):
        failing = ("-plaintext", "-format", "jsonl", "-rpc-header", f"fail-{when}: 3", "-d", "{} {}")
        outcome = pgcurl(*failing, server.address, f"{SERVICE}/{method}")
        assert (outcome.code, len(outcome.out.splitlines())) == (67, answers)


def test_wrong_data_cancel_a_call_that_is_under_way(server: StreamingServer) -> None:
    """What was answered to the good messages is printed, and then what is wrong with the bad one."""
    process = pgcurl_process("-plaintext", "-format", "jsonl", "-d", "@", server.address, CONVERSE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('{"text": "good"}')
    process.stdin.flush()
    first = json.loads(process.stdout.readline())
    ended = finish(process, '{"nonsense": 1}')

    assert first["text"] == "good"
    assert ended.code == 1
    assert ended.err.startswith(f'Error invoking method "{CONVERSE}": error getting request data: message 2: ')


def test_many_messages(server: StreamingServer) -> None:
    """Neither side waits for the other's end: what is sent and what is answered would not fit between them."""
    data = (json.dumps({"text": "x" * 1000, "number": number}) for number in range(3000))
    outcome = pgcurl(
        "-plaintext", "-format", "jsonl", "-d", "@", server.address, CONVERSE, stdin="".join(data).encode()
    )

    assert outcome.code == 0
    assert [answer["position"] for answer in lines_of(outcome.out)] == list(range(1, 3001))


def test_verbose_streams(server: StreamingServer) -> None:
    """Headers come before the first answer, each answer has its title, and all are counted."""
    out = pgcurl("-plaintext", "-v", "-format", "jsonl", "-d", "{} {} {}", server.address, CONVERSE).out

    assert out.index("Response headers received:") < out.index("Response contents:")
    assert out.count("\nResponse contents:\n") == 3
    assert out.endswith("\nResponse trailers received:\n(empty)\nSent 3 requests and received 3 responses\n")


def test_verbose_text_has_no_separators(server: StreamingServer) -> None:
    """Nobody pipes that, so it is for people."""
    out = pgcurl("-plaintext", "-v", "-format", "text", "-d", 'text: "a b"', server.address, f"{SERVICE}/Split").out

    assert "\x1e" not in out


def test_an_interruption_cancels_the_call(server: StreamingServer) -> None:
    """Ctrl-C ends the command with 130 and without a word, and the server sees the caller leave."""
    process = pgcurl_process(
        "-plaintext", "-format", "jsonl", "-d", "@", "-rpc-header", "hold: late", server.address, CONVERSE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("{}")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    ended = finish(process)

    assert (ended.code, ended.out, ended.err) == (130, "", "")


def test_nobody_reads_the_output_any_more(server: StreamingServer) -> None:
    """The command ends quietly, as what writes into a closed pipe does."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        silent = pgcurl_process("-plaintext", "-d", "@", server.address, CONVERSE, stdout=out)
    ended = finish(silent, "{}" * 100)

    assert (ended.code, ended.err) == (141, "")


def test_standard_input_that_stays_open_does_not_hold_up_the_end(server: StreamingServer) -> None:
    """A call that has its one message in -d does not look at standard input."""
    process = pgcurl_process("-plaintext", "-format", "jsonl", "-d", "{}", server.address, f"{SERVICE}/Echo")

    assert process.wait(SOON) == 0
    assert finish(process).out == '{"request":{},"position":1}\n'


def test_a_reader_that_gives_a_message_in_pieces(server: StreamingServer) -> None:
    """Neither characters nor messages need to come whole."""
    data = json.dumps({"text": "äöü€"}, ensure_ascii=False).encode()

    class Pieces(io.RawIOBase):
        """A byte at a time."""

        def __init__(self) -> None:
            self.rest = list(data)

        def read(self, size: int = -1) -> bytes:
            return bytes([self.rest.pop(0)]) if self.rest else b""

    outcome = pgcurl("-plaintext", "-d", "@", server.address, f"{SERVICE}/Echo", stdin=Pieces())

    assert json.loads(outcome.out)["text"] == "äöü€"


def test_no_thread_is_left_behind(server: StreamingServer) -> None:
    """What a command started ends with it."""
    pgcurl("-plaintext", "-d", "{}", server.address, CONVERSE)
    left = [thread for thread in threading.enumerate() if thread.name.startswith("pgcurl")]
    for thread in left:
        thread.join(SOON)

    assert not any(thread.is_alive() for thread in left)


@pytest.mark.parametrize("arguments", [("list",), ("list", SERVICE), ("describe",), ("describe", SERVICE)])
def test_nobody_reads_what_is_listed_or_described(server: StreamingServer, arguments: tuple[str, ...]) -> None:
    """As with a call: quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        silent = pgcurl_process("-plaintext", server.address, *arguments, stdout=out)
    ended = finish(silent)

    assert (ended.code, ended.err) == (141, "")


@pytest.mark.parametrize("arguments", [("list",), (f"{SERVICE}/Echo",)])
def test_output_that_cannot_be_written(server: StreamingServer, arguments: tuple[str, ...]) -> None:
    """The reason is told, without a traceback."""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = finish(pgcurl_process("-plaintext", server.address, *arguments, stdout=full))

    assert (ended.code, ended.err) == (1, "No space left on device\n")


def test_the_time_that_request_data_take_counts(server: StreamingServer) -> None:
    """What is left of -max-time is asked for when the one message is read, so a slow writer does not get more of it."""
    done = []

    def requests() -> Iterator[Message]:
        done.append("read")
        yield new_message("pgcurl.testing.v1.EchoRequest")

    def seconds_left() -> float:
        done.append("asked")
        return SOON

    call = Call(
        method=descriptor_pool().FindServiceByName(SERVICE).methods_by_name["Echo"],
        metadata=(),
        seconds_left=seconds_left,
    )
    report = Report(io.StringIO(), Formatter(format=Format.TEXT, resolver=TypeResolver(FilesSource([]))), verbosity=0)
    with grpc.insecure_channel(server.address) as channel:
        assert invoke(channel, call, requests(), report).ok

    assert done == ["read", "asked"]
