"""Which grpcio release answers most calls: a bare handler on each, in turn, several rounds.

Needs h2load and a package index. Each release gets a virtual environment of its own below --directory, which is
kept for the next run. Prints a Markdown table: the medians over the rounds, and the
best round, which other work on the machine disturbed least.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks import bare_handler, load

RELEASES = ("1.75.0", "1.76.0", "1.78.2", "1.80.1", "1.81.2", "1.82.3", "1.83.2", "1.84.2", "1.85.1")


def environment_for(release: str, directory: Path) -> Path:
    """The Python of a virtual environment that holds this grpcio release and uvloop."""
    python = directory / f"v{release}" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"grpcio=={release}", "uvloop==0.23.0"], check=True)
    return python


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path("build/grpcio-releases"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--releases", nargs="*", default=RELEASES)
    options = parser.parse_args()
    path = f"/{bare_handler.SERVICE}/{bare_handler.METHOD}"
    cases = [(release, off) for release in options.releases for off in (False, True)]
    results: dict[tuple[str, bool, int], list[load.Measurement]] = {}
    for round_number in range(options.rounds):
        for release, off in cases:
            python = environment_for(release, options.directory)
            command = [str(python), str(Path(bare_handler.__file__))]
            with load.server_process(command, load.EVENT_ENGINE_OFF if off else None) as (process_id, port):
                target = load.Target(process_id=process_id, port=port, path=path, message=bytes(60))
                for in_flight, calls in ((1, 1500), (32, 8000)):
                    load.run_h2load(target, calls=500, in_flight=in_flight)
                    measured = load.run_h2load(target, calls=calls, in_flight=in_flight)
                    results.setdefault((release, off, in_flight), []).append(measured)
        print(f"round {round_number + 1} of {options.rounds} done", file=sys.stderr)
    print(
        "| grpcio | event engine | sequential p50 ms | 32 in flight: calls/s, median (best) | CPU us, median (best) |"
    )
    print("|---|---|---|---|---|")
    for release, off in cases:
        one, many = results[release, off, 1], results[release, off, 32]
        rates = [run.calls_per_second for run in many]
        cpu = [run.cpu_us_per_call for run in many]
        print(
            f"| {release} | {'off' if off else 'as shipped'} | {statistics.median(run.median_ms for run in one):.3f} "
            f"| {statistics.median(rates):,.0f} ({max(rates):,.0f}) | {statistics.median(cpu):.0f} ({min(cpu):.0f}) |"
        )


if __name__ == "__main__":
    main()
