"""Load from h2load (Debian: nghttp2-client), and what it cost the server.

h2load counts HTTP statuses, and a gRPC error also travels as HTTP 200: callers check one answer with a real client
before they measure.
"""

import contextlib
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EVENT_ENGINE_OFF = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener,-event_engine_dns"}
"""As `pullgate serve` sets it for itself, so that programs that are compared run on the same transport."""


class LoadGeneratorMissingError(Exception):
    """h2load is not on the PATH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run: calls per second, latencies in milliseconds, server CPU in microseconds per call."""

    calls_per_second: float
    median_ms: float
    p99_ms: float
    cpu_us_per_call: float


def require_h2load() -> str:
    """The path of h2load; raises LoadGeneratorMissingError with what to install."""
    path = shutil.which("h2load")
    if path is None:
        raise LoadGeneratorMissingError("h2load is not installed (Debian: apt-get install nghttp2-client)")
    return path


@contextlib.contextmanager
def server_process(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[tuple[int, str]]:
    """Run a server that prints its port as the first line; yields (process id, port)."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}, stderr=sys.stderr
    )
    try:
        assert process.stdout is not None
        yield process.pid, process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(timeout=30)


def cpu_seconds(process_id: int) -> float:
    """User and system time that the process has used so far (Linux /proc/PID/stat, fields 14 and 15)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A unary method of a server on loopback, and what to send it."""

    process_id: int
    port: str
    path: str
    message: bytes
    token: str = ""


def run_h2load(target: Target, *, calls: int, in_flight: int) -> Measurement:
    """Send `calls` unary gRPC calls with `in_flight` of them open at a time; raises RuntimeError if any failed."""
    with tempfile.TemporaryDirectory() as directory:
        body = Path(directory, "body")
        body.write_bytes(struct.pack(">BI", 0, len(target.message)) + target.message)
        options = ["-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
        if target.token:
            options += ["-H", f"authorization: Bearer {target.token}"]
        url = f"http://127.0.0.1:{target.port}{target.path}"
        return measure_requests(url, options, target.process_id, calls=calls, in_flight=in_flight)


def measure_requests(url: str, options: Sequence[str], process_id: int, *, calls: int, in_flight: int) -> Measurement:
    """Send requests over HTTP/2 and count the CPU of a process; raises RuntimeError if any failed."""
    connections = 1 if in_flight == 1 else min(4, in_flight)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        command = [require_h2load(), "-n", str(calls), "-c", str(connections), "-m", str(in_flight // connections)]
        command += ["-t", "1", "--log-file", str(log), *options]
        before = cpu_seconds(process_id)
        output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
        cpu = cpu_seconds(process_id) - before
        if f"{calls} succeeded, 0 failed" not in output:
            raise RuntimeError(f"not every call was answered:\n{output}")
        milliseconds = sorted(int(line.split("\t")[2]) / 1000 for line in log.read_text().splitlines())
    rate = next(line for line in output.splitlines() if line.startswith("finished in")).split(",")[1]
    return Measurement(
        calls_per_second=float(rate.split()[0]),
        median_ms=statistics.median(milliseconds),
        p99_ms=milliseconds[int(len(milliseconds) * 0.99)],
        cpu_us_per_call=cpu / calls * 1e6,
    )
