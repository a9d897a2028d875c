"""What tests of `pullgate check` share: a policy, a way to run the command, and a finder that finds what it is told."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pullgate_cli.check import check
from pullgate_finders import Finding, Kind, Place, Search, Trouble
from pullgate_finders.found import found
from pullgate_finders.values import Known, Unknown

ACME = """\
organization: acme
image_access:
  enabled: true
  help: Ask in the platform channel.
  allow: {official_images: true}
  allowlist:
    repositories:
      - {repository: grafana/loki}
      - {repository: "someteam/tool:1.*"}
  teams:
    data-science: {community_images: true}
"""

CATALOGUE = """\
entries:
  - {namespace: someuser, category: COMMUNITY, source: seen there, retrieved_at: 2026-01-01T00:00:00Z}
  - {namespace: someteam, category: COMMUNITY, source: seen there, retrieved_at: 2026-01-01T00:00:00Z}
  - {namespace: bitnami, category: VERIFIED_PUBLISHER, source: seen there, retrieved_at: 2026-01-01T00:00:00Z}
"""


BY_REPOSITORY = [
    (
        "someuser/evil",
        "denied",
        "image access denied: community images not allowed, whatever its tag (the tag is not known: no X)",
    ),
    ("nginx", "unresolved", "no X; its repository docker.io/library/nginx is allowed"),
    ("grafana/loki", "unresolved", "no X; its repository docker.io/grafana/loki is allowed"),
    (
        "someteam/tool",
        "unresolved",
        "no X; organization acme denies its repository docker.io/someteam/tool but for some tags",
    ),
    ("ghcr.io/a/b", "unresolved", "no X; its repository ghcr.io/a/b is allowed"),
]
"""Repositories, and what ACME comes to for `REPOSITORY:$X` where X is not known."""


class ListFinder:
    """Finds what stands in files of a suffix: `image TEXT`, `unknown TEXT | REASON`, `trouble PROBLEM`."""

    name = "list"

    def claims(self, path: str) -> bool:
        """Files of that suffix."""
        return path.endswith(".images")

    def recognises(self, text: str) -> bool:
        """Those with such a line, and empty ones."""
        return not text or re.search(r"^\s*(image |unknown |trouble |defect)", text, re.MULTILINE) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """What the lines say."""
        for number, line in enumerate(text.split("\n"), 1):
            if match := re.match(r"(\s*image )(.*?)(?: (?:#|//).*)?$", line):
                start, raw = len(match[1]) + 1, match[2]
                yield found(Place(path, number, start, number, start + len(raw)), Kind.IMAGE, raw, Known(raw))
            elif match := re.match(r"(unknown )(.*) \| (.*)$", line):
                start, raw = len(match[1]) + 1, match[2]
                place = Place(path, number, start, number, start + len(raw))
                yield found(place, Kind.IMAGE, raw, Unknown(match[3], beginning=raw.partition("$")[0]))
            elif match := re.match(r"trouble (.*)$", line):
                yield Trouble(place=Place(path, number, 1, number, 1), problem=match[1])
            elif line == "defect":
                raise ZeroDivisionError("a defect")


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files into a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def run(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Result:
    """Run `pullgate check` in this process, as the current directory is."""
    return CliRunner().invoke(check, [str(argument) for argument in arguments], env=environment)


def offline(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Result:
    """Run it with the policy and the catalogue of the fixture `repository`, which lie beside it."""
    return run("--policy", "../acme.yaml", "--catalogue", "../catalogue.yaml", *arguments, environment=environment)


def report(*arguments: str | Path) -> dict[str, Any]:
    """What an offline run says as JSON."""
    result = offline("--format", "json", *arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    data: dict[str, Any] = json.loads(result.stdout)
    return data
