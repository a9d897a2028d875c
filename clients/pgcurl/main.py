"""`pgcurl`: the command. What it imports before it knows what is asked for is little, so that it answers at once."""

import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from pgcurl.errors import BROKEN_PIPE, FAILURE, INTERRUPTED, OK, USAGE, FailureError, UsageError
from pgcurl.options import Options, read_options
from pgcurl.terminal import shown

if TYPE_CHECKING:
    from pgcurl.requests import BinaryReader


def main() -> NoReturn:
    """The command as a process."""
    # The gRPC library prints what goes wrong in connections; that is told in words instead.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    stdout, stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()  # both may be closed
    code = run(sys.argv[1:], stdin=_standard_input(), stdout=stdout, stderr=stderr, environment=os.environ)
    try:
        stdout.flush()
    except OSError:
        # What is still in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    sys.exit(code)


def run(
    arguments: Sequence[str],
    *,
    stdin: "BinaryReader",
    stdout: TextIO,
    stderr: TextIO,
    environment: Mapping[str, str],
) -> int:
    """Do what a command line says, without the name of the program, and give the exit code."""
    try:
        options = read_options(arguments)
        code = _run(options, stdin=stdin, stdout=stdout, stderr=stderr, environment=environment)
        stdout.flush()
    except UsageError as error:
        stderr.write(f"{shown(str(error))}\nTry 'pgcurl -help' for more details.\n")
        return USAGE
    except FailureError as error:
        stderr.write(f"{shown(str(error))}\n")
        return FAILURE
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        stderr.write(f"{shown(error.strerror or str(error))}\n")  # a full disk, say, where the output goes
        return FAILURE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _run(
    options: Options, *, stdin: "BinaryReader", stdout: TextIO, stderr: TextIO, environment: Mapping[str, str]
) -> int:
    if options.help:
        from pgcurl.help_text import help_text

        stderr.write(help_text())
        return OK
    if options.version:
        stderr.write(f"pgcurl {_version()}\n")
        return OK
    if options.completion and options.completion != "words":
        from pgcurl.completion import completion_script

        stdout.write(completion_script(options.completion))
        return OK
    import time

    from pgcurl.commands import execute, print_words
    from pgcurl.dialling import Deadline
    from pgcurl.session import Session, Streams

    with contextlib.ExitStack() as stack:
        session = Session(
            options,
            streams=Streams(stdin=stdin, stdout=stdout, stderr=stderr),
            environment=environment,
            version=_version,
            deadline=Deadline(at=time.monotonic() + options.max_time if options.max_time else None),
            stack=stack,
        )
        return print_words(session) if options.completion else execute(session)


def _version() -> str:
    from importlib.metadata import version

    return version("pullgate")


def _standard_input() -> "BinaryReader":
    """Standard input without a buffer: what is there is given at once, and no lock is held while waiting for more."""
    if sys.stdin is None:
        return io.BytesIO()
    return io.FileIO(sys.stdin.fileno(), closefd=False)
