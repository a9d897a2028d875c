"""How long `pullgate check` takes for a repository of 10,000 files, and what it does in that time. Offline.

The tree is generated: Dockerfiles, Compose files, workflows and manifests among nine times as many files that are none
of these, a third of them YAML and JSON of other kinds. Prints JSON: the seconds of the whole command, and of the search
alone the seconds and shares of listing, reading, recognising (is this of a format at all?), and finding, which includes
the parsing; also in files in which there was nothing to be found.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pullgate_finders import Finder, Finding, Search
from pullgate_finders.finding import find
from pullgate_finders.formats import FINDERS
from pullgate_finders.tree import FilesOnDisk

FILES = 10_000
RUNS = 5
POLICY = "{organization: acme, image_access: {enabled: true, allow: {official_images: true}}}"

DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG VERSION=3.{n}
FROM python:${{VERSION}}-slim AS build
RUN --mount=type=cache,target=/root/.cache pip install .
FROM debian:bookworm
COPY --from=build /app /app
COPY --from=busybox:1.36 /bin/busybox /bin/
CMD ["/app"]
"""

COMPOSE = """\
services:
  web: {{build: ., ports: ["80:80"], depends_on: [db]}}
  db:
    image: postgres:${{PG:-16}}
    environment: {{POSTGRES_PASSWORD: x{n}}}
"""

WORKFLOW = """\
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    container: node:2{n}
    services: {{redis: {{image: "redis:7"}}}}
    steps: [{{uses: actions/checkout@v4}}, {{run: npm test}}]
"""

MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web-{n}}}
spec:
  template:
    spec:
      containers:
        - name: web
          image: nginx:1.{n}
          ports: [{{containerPort: 80}}]
"""

SETTINGS = "".join(f"setting_{number}:\n  enabled: true\n  name: value {number}\n" for number in range(60))
"""YAML that is of no format."""

DATA = json.dumps({f"key{number}": {"values": list(range(20)), "image": "a picture"} for number in range(40)}, indent=1)

SOURCE = "".join(f"def function_{number}(image):\n    return image.resize({number})\n\n" for number in range(80))

KINDS: tuple[tuple[float, str, str], ...] = (
    (0.03, "service{n}/Dockerfile", DOCKERFILE),
    (0.02, "service{n}/compose.yaml", COMPOSE),
    (0.01, ".github/workflows/job{n}.yml", WORKFLOW),
    (0.04, "deploy/web{n}.yaml", MANIFEST),
    (0.20, "settings/part{n}.yaml", SETTINGS.replace("{", "{{").replace("}", "}}")),
    (0.10, "data/part{n}.json", DATA.replace("{", "{{").replace("}", "}}")),
    (0.60, "source/package{n}/module.py", SOURCE.replace("{", "{{").replace("}", "}}")),
)
"""The share of the files, their names, and their texts."""


def generate(root: Path) -> int:
    """Make the tree, and give the number of its files."""
    made = 0
    for share, name, text in KINDS:
        for number in range(int(FILES * share)):
            path = root / name.format(n=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(n=number), encoding="utf-8")
            made += 1
    (root / ".git").mkdir()
    return made


Seconds = defaultdict[str, float]
"""By what was done in them."""


@contextmanager
def timed(seconds: Seconds, what: str) -> Iterator[None]:
    """Count the seconds that pass; those of reading in the midst of something else are counted as reading alone."""
    read, started = seconds["reading"], time.perf_counter()
    yield
    passed = time.perf_counter() - started
    seconds[what] += passed if what == "reading" else passed - (seconds["reading"] - read)


class TimedFiles(FilesOnDisk):
    """Files whose reading is timed."""

    def __init__(self, root: Path, seconds: Seconds) -> None:
        super().__init__(root)
        self._seconds = seconds

    def read(self, path: str) -> str:
        """The text of a file."""
        with timed(self._seconds, "reading"):
            return super().read(path)


@dataclass(frozen=True)
class TimedFinder:
    """A finder whose work is timed."""

    finder: Finder
    seconds: Seconds

    @property
    def name(self) -> str:
        """The finder's."""
        return self.finder.name

    def claims(self, path: str) -> bool:
        """As the finder does."""
        with timed(self.seconds, "recognising"):
            return self.finder.claims(path)

    def recognises(self, text: str) -> bool:
        """As the finder does."""
        with timed(self.seconds, "recognising"):
            return self.finder.recognises(text)

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """As the finder does."""
        before = self.seconds["finding"]
        with timed(self.seconds, "finding"):
            found = list(self.finder.find(path, text, search))
        if not found:
            self.seconds["finding nothing"] += self.seconds["finding"] - before
        yield from found


def searched(root: Path) -> dict[str, float]:
    """The seconds of a search by what is done in them."""
    seconds: Seconds = defaultdict(float)
    files = TimedFiles(root, seconds)
    started = time.perf_counter()
    with timed(seconds, "listing"):
        paths = list(files.paths())
    found = find(paths, Search(files=files), [TimedFinder(finder, seconds) for finder in FINDERS])
    seconds["in all"] = time.perf_counter() - started
    seconds["findings"] = len(found)
    seconds.setdefault("finding nothing", 0)
    return dict(seconds)


def commanded(root: Path, *options: str) -> float:
    """The seconds of the whole command."""
    command = [sys.executable, "-m", "pullgate_cli", "check", "--policy", str(root.parent / "acme.yaml"), *options]
    started = time.perf_counter()
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert result.returncode in {0, 1}, result.stderr
    return time.perf_counter() - started


def main() -> None:
    """Measure and print as JSON."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "repository")
        root.mkdir()
        Path(directory, "acme.yaml").write_text(POLICY, encoding="utf-8")
        made = generate(root)
        whole = statistics.median(commanded(root) for _ in range(RUNS))
        sarif = statistics.median(commanded(root, "--format", "sarif") for _ in range(RUNS))
        runs = sorted((searched(root) for _ in range(RUNS)), key=lambda run: run["in all"])
    figures = runs[len(runs) // 2]
    in_all, findings = figures.pop("in all"), figures.pop("findings")
    shares = {name: f"{value:.3f} s, {value / in_all:.0%}" for name, value in sorted(figures.items())}
    print(
        json.dumps(
            {
                "files": made,
                "findings": findings,
                "pullgate check, seconds": round(whole, 3),
                "pullgate check --format sarif, seconds": round(sarif, 3),
                "search alone, seconds": round(in_all, 3),
                "of which": shares,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
