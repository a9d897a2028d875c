"""Runs pgcurl as a person does, in this process."""

import io
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pgcurl.main import run
from tests.conftest import clean_environment

SERVICE = "pgcurl.testing.v1.TestService"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


def pgcurl(*arguments: str, stdin: Any = b"", environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a command line in this process; its environment is empty if nothing else is said.

    `stdin` is what it reads, or a binary reader.
    """
    out, err = io.StringIO(), io.StringIO()
    reader = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
    code = run(arguments, stdin=reader, stdout=out, stderr=err, environment=environment or {})
    return Outcome(code=code, out=out.getvalue(), err=err.getvalue())


def pgcurl_process(
    *arguments: str, environment: Mapping[str, str] | None = None, **options: Any
) -> "subprocess.Popen[str]":
    """Start a command line as a process of its own, its streams being pipes."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "pgcurl", *arguments],
        text=True,
        env={**clean_environment(), **(environment or {})},
        **{**pipes, **options},
    )


def finish(process: "subprocess.Popen[str]", stdin: str = "") -> Outcome:
    """Give a process its input, and wait for its end."""
    out, err = process.communicate(stdin, timeout=60)
    return Outcome(code=process.returncode, out=out, err=err)
