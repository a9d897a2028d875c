"""`make bench`: what a decision costs, side by side with the limit on this stack.

In turn, in several rounds on one machine: a bare grpc.aio handler that returns fixed bytes, Decide (warm, with
authentication), BatchDecide of 50, and the pure function in this process. h2load drives the servers. Prints a table,
and with --json PATH writes the figures.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks import bare_handler, load
from pullgate.local import OPERATOR_TOKEN_FILE
from pullgate.v1 import mapping, policy_decision_pb2
from pullgate_client import Client, Connection
from pullgate_policy import (
    Category,
    CategoryEvidence,
    Effect,
    HubRepository,
    Identity,
    Membership,
    Preset,
    decide,
    parse_reference,
    preset_policy,
)

BATCH = 50
BARE = "bare handler"
OURS = "Decide"
OURS_BATCH = f"BatchDecide of {BATCH}"
SERVICE = "/pullgate.v1.PolicyDecisionService"
DEV = Identity(username="dev", memberships=(Membership(organization="acme"),))


@dataclass(frozen=True)
class Program:
    """Something that answers calls, under one load."""

    name: str
    target: load.Target
    decisions_per_call: int
    in_flight: int


@dataclass(frozen=True)
class Row:
    """One program under one load: medians over all rounds, and the range of the rate."""

    program: str
    in_flight: int
    decisions_per_call: int
    calls_per_second: float
    lowest: float
    highest: float
    median_ms: float
    p99_ms: float
    cpu_us_per_call: float


@contextmanager
def started_server(directory: Path, *options: str) -> Iterator[tuple[int, Connection]]:
    """`pullgate serve` on a free port; yields its process id and how to reach it, once it says that it answers."""
    serve = [sys.executable, "-m", "pullgate_cli", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(directory)]
    process = subprocess.Popen(
        [*serve, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "answers on" in line)
        address = line.split("answers on ")[1].split(";")[0]
        yield process.pid, Connection(address=address, token=Path(directory, OPERATOR_TOKEN_FILE).read_text().strip())
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def pullgate_server(directory: Path) -> Iterator[tuple[int, Connection, int]]:
    """A server with a policy for acme; yields its process id, how to reach it, and the size of an answer."""
    with started_server(directory) as (process_id, connection):
        with Client(connection) as client:
            client.put_policy(preset_policy(Preset.STRICT, "acme"))
            answer = client.decide(DEV, "nginx")
            assert answer.decision.effect is Effect.ALLOW
            answer_bytes = policy_decision_pb2.DecideResponse(decision=mapping.answer_to_message(answer)).ByteSize()
            assert all(not isinstance(answer, Exception) for answer in client.decide_all(DEV, references()))
        yield process_id, connection, answer_bytes


def references() -> list[str]:
    """BATCH different official images."""
    return [f"image{index}:1.{index}" for index in range(BATCH)]


def programs(ours: tuple[int, str, str], bare: tuple[int, str]) -> list[Program]:
    """Who is measured, in the order of one round: what is compared stands side by side."""
    identity = mapping.identity_to_message(DEV)
    one = policy_decision_pb2.DecideRequest(identity=identity, reference="nginx").SerializeToString()
    many = policy_decision_pb2.BatchDecideRequest(identity=identity, references=references()).SerializeToString()
    process_id, port, token = ours
    bare_target = load.Target(process_id=bare[0], port=bare[1], path=f"{SERVICE}/Decide", message=one, token=token)
    ours_target = dataclasses.replace(bare_target, process_id=process_id, port=port)
    batch_target = dataclasses.replace(ours_target, path=f"{SERVICE}/BatchDecide", message=many)
    return [
        Program(name, target, decisions, in_flight)
        for in_flight in (1, 32)
        for name, target, decisions in (
            (BARE, bare_target, 1),
            (OURS, ours_target, 1),
            (OURS_BATCH, batch_target, BATCH),
        )
    ]


def measure_servers(rounds: int, calls: int) -> dict[tuple[str, int], list[load.Measurement]]:
    """Every program under every load, in turn, round after round; the servers stay up throughout."""
    measured: dict[tuple[str, int], list[load.Measurement]] = {}
    with contextlib.ExitStack() as servers:
        directory = Path(servers.enter_context(tempfile.TemporaryDirectory()))
        process_id, connection, answer_bytes = servers.enter_context(pullgate_server(directory))
        bare = servers.enter_context(bare_server(answer_bytes))
        everybody = programs((process_id, connection.address.rpartition(":")[2], connection.token), bare)
        for round_number in range(rounds + 1):
            # In turn forwards and backwards, so that a drift of the machine favours neither.
            for program in everybody if round_number % 2 else reversed(everybody):
                count = calls // (1 if program.in_flight > 1 else 5) // (4 if program.decisions_per_call > 1 else 1)
                result = load.run_h2load(program.target, calls=count, in_flight=program.in_flight)
                if round_number:
                    measured.setdefault((program.name, program.in_flight), []).append(result)
            print(f"round {round_number} of {rounds} done" if round_number else "warm", file=sys.stderr)
    return measured


def summary(name: str, in_flight: int, runs: list[load.Measurement]) -> Row:
    """The medians of one program under one load."""
    rates = [run.calls_per_second for run in runs]
    return Row(
        program=name,
        in_flight=in_flight,
        decisions_per_call=BATCH if name == OURS_BATCH else 1,
        calls_per_second=statistics.median(rates),
        lowest=min(rates),
        highest=max(rates),
        median_ms=statistics.median(run.median_ms for run in runs),
        p99_ms=statistics.median(run.p99_ms for run in runs),
        cpu_us_per_call=statistics.median(run.cpu_us_per_call for run in runs),
    )


def ratio(
    ours: list[load.Measurement], other: list[load.Measurement], figure: Callable[[load.Measurement], float]
) -> dict[str, float]:
    """The ratio of a figure, round by round: what disturbs a round disturbs both of its programs."""
    ratios = sorted(figure(one) / figure(two) for one, two in zip(ours, other, strict=True))
    quarter = len(ratios) // 4
    return {"median": statistics.median(ratios), "lower": ratios[quarter], "upper": ratios[-1 - quarter]}


@contextmanager
def bare_server(answer_bytes: int) -> Iterator[tuple[int, str]]:
    """The bare handler, answering as many bytes as Decide does."""
    command = [sys.executable, bare_handler.__file__, "--answer-bytes", str(answer_bytes)]
    with load.server_process(command, load.EVENT_ENGINE_OFF) as server:
        yield server


def measure_pure_function(calls: int) -> float:
    """Decisions per second of the pure function in this process, nothing kept between calls but the parsed inputs."""
    policies = {"acme": preset_policy(Preset.STRICT, "acme")}
    known = {HubRepository("library/nginx"): CategoryEvidence(category=Category.OFFICIAL)}
    reference, now = parse_reference("nginx"), datetime.now(UTC)
    started = time.perf_counter()
    for _ in range(calls):
        decide(("acme",), policies, DEV, reference, known, now)
    return calls / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--calls", type=int, default=3_000, help="calls of one measurement with 32 in flight")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    try:
        load.require_h2load()
    except load.LoadGeneratorMissingError as error:
        sys.exit(f"skipped: {error}")
    pure = statistics.median(measure_pure_function(50_000) for _ in range(5))
    measured = measure_servers(options.rounds, options.calls)
    rows = [summary(name, in_flight, runs) for (name, in_flight), runs in measured.items()]
    machine = f"Python {sys.version.split()[0]}, grpcio {version('grpcio')}, {os.cpu_count()} cores"
    print(f"{machine}, {options.rounds} rounds of {options.calls} calls\n")
    print("| program | in flight | calls/s | lowest-highest | median ms | p99 ms | server CPU us/call |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.program} | {row.in_flight} | {row.calls_per_second:,.0f} | {row.lowest:,.0f}-{row.highest:,.0f} "
            f"| {row.median_ms:.3f} | {row.p99_ms:.3f} | {row.cpu_us_per_call:.0f} |"
        )
    ratios = {
        "Decide / bare handler, calls per second, 32 in flight": ratio(
            measured[OURS, 32], measured[BARE, 32], lambda run: run.calls_per_second
        ),
        "Decide / bare handler, server CPU per call, 32 in flight": ratio(
            measured[OURS, 32], measured[BARE, 32], lambda run: run.cpu_us_per_call
        ),
        "Decide / bare handler, median of sequential calls": ratio(
            measured[OURS, 1], measured[BARE, 1], lambda run: run.median_ms
        ),
        "BatchDecide / Decide, decisions per second, 32 in flight": {
            name: value * BATCH
            for name, value in ratio(
                measured[OURS_BATCH, 32], measured[OURS, 32], lambda run: run.calls_per_second
            ).items()
        },
    }
    print("\n| ratio, round by round | median | middle half |\n|---|---|---|")
    for name, figures in ratios.items():
        print(f"| {name} | {figures['median']:.2f} | {figures['lower']:.2f}-{figures['upper']:.2f} |")
    batch = statistics.median(run.calls_per_second for run in measured[OURS_BATCH, 32]) * BATCH
    print(f"\nBatchDecide of {BATCH}: {batch:,.0f} decisions per second")
    print(f"pure function, nothing kept between calls: {pure:,.0f} decisions per second")
    if options.json:
        everything = {"rows": [asdict(row) for row in rows], "ratios": ratios, "pure_function_per_second": pure}
        options.json.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
