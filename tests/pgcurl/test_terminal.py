"""What servers say reaches a terminal as text, never as commands to it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from pgcurl.terminal import shown
from tests.pgcurl.running import SERVICE, Outcome, pgcurl
from tests.pgcurl.streaming_server import StreamingServer, running_server, write_testing_protoset

ECHO = f"{SERVICE}/Echo"
NASTY = "\x1b[31m\x9b2J\r\x07"
SHOWN = r"\x1b[31m\x9b2J\x0d\x07"


def nasty_names(request: ServerReflectionRequest) -> ServerReflectionResponse:
    """A list of one service."""
    response = ServerReflectionResponse(original_request=request)
    response.list_services_response.service.add(name=NASTY)
    return response


def nasty_error(request: ServerReflectionRequest) -> ServerReflectionResponse:
    """A refusal."""
    response = ServerReflectionResponse(original_request=request)
    response.error_response.error_code = grpc.StatusCode.PERMISSION_DENIED.value[0]
    response.error_response.error_message = NASTY
    return response


@pytest.fixture
def refusing() -> Iterator[str]:
    """A server that ends each call with a nasty message; gives its address."""

    def refuse(_: bytes, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.NOT_FOUND, f"{NASTY}\nline\ttwo")

    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    handler: Any = grpc.unary_unary_rpc_method_handler(refuse)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


def harmless(outcome: Outcome) -> bool:
    """Whether nothing in the output is a command to a terminal."""
    return shown(outcome.out + outcome.err) == outcome.out + outcome.err


def test_newlines_and_tabs_lay_out_text() -> None:
    """They stay, as all characters but control characters do; what is shown is not changed once more."""
    assert shown("ä\n\t\\x1b €\x7f\x85") == "ä\n\t\\x1b €\\x7f\\x85"
    assert shown(shown(NASTY)) == shown(NASTY) == SHOWN


def test_names_of_services() -> None:
    """They are whatever the server says."""
    with running_server(answer=nasty_names) as server:
        assert pgcurl("-plaintext", server.address, "list").out == f"{SHOWN}\n"


def test_what_reflection_refuses_with() -> None:
    """The reason stands in the error."""
    with running_server(answer=nasty_error) as server:
        outcome = pgcurl("-plaintext", server.address, "list")

    assert SHOWN in outcome.err
    assert harmless(outcome)


@pytest.mark.parametrize("flags", [(), ("-format-error",), ("-format-error", "-format", "text")])
def test_messages_of_statuses(refusing: str, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """In whatever form they are printed; lines stay lines."""
    protoset = tmp_path / "protoset"
    write_testing_protoset(protoset, "test_service.proto")
    outcome = pgcurl("-plaintext", "-protoset", str(protoset), *flags, refusing, ECHO)

    assert outcome.code == 69
    assert harmless(outcome)
    if not flags:
        assert outcome.err == f"ERROR:\n  Code: NotFound\n  Message: {SHOWN}\nline\ttwo\n"


@pytest.mark.parametrize(
    ("flags", "data", "told"),
    [
        ((), r'{"text": "\u001b\u009b\u007f\n"}', r'"text": "\u001b\u009b\u007f\n"'),
        (("-format", "jsonl"), r'{"text": "\u001b\u009b\u007f\n"}', r'"text":"\u001b\u009b\u007f\n"'),
        (("-format", "text"), r'text: "\033\302\233\177\n"', r'text: "\033\302\233\177\n"'),
    ],
)
def test_texts_in_responses(server: StreamingServer, flags: tuple[str, ...], data: str, told: str) -> None:
    """They are escaped as the format has it, so that they mean the same when they are read again."""
    outcome = pgcurl("-plaintext", *flags, "-d", data, server.address, ECHO)

    assert told in outcome.out
    assert harmless(outcome)
