"""Bake files: `docker-bake.hcl`, `docker-bake.json`, and what is named like them.

syntax.py       what a Bake file says
scanner.py      strings, comments and brackets of HCL
hcl.py          reads HCL into that
json_form.py    reads JSON into that
evaluation.py   what its values come to
targets.py      its targets, merged and inherited
compose_services.py  services that targets are merged over
references.py   what a target is built from
inline.py       Dockerfiles within it

Sources: "Bake file reference" and "Bake" of the documentation of Docker Build, and Buildx (bake/bake.go).
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pullgate_finders.bake import hcl, json_form
from pullgate_finders.bake.compose_services import services_in
from pullgate_finders.bake.references import find_in_target
from pullgate_finders.bake.syntax import BakeFile
from pullgate_finders.bake.targets import Target, targets_of
from pullgate_finders.found import Finding, Found, Place, Trouble
from pullgate_finders.port import Search, UnreadableFileError
from pullgate_finders.tree import directory_of, join

MAX_TARGETS = 1_000
"""Targets that are looked at, each of which may build a large Dockerfile."""

_BASE = ("docker-bake.json", "docker-bake.hcl")
_OVERRIDES = ("docker-bake.override.json", "docker-bake.override.hcl")
_NAME = re.compile(r"(?:.*[.-])?bake(?:[.-].*)?\.(?:hcl|json)", re.IGNORECASE)
_BLOCK = re.compile(r'(?<![\w.-])(?:target|group|variable|function)"?(?:[ \t]*["{:]|[ \t]+\w)')


@dataclass(frozen=True, slots=True)
class BakeFinder:
    """Finds what the targets of Bake files are built from."""

    name: str = "Bake"

    def claims(self, path: str) -> bool:
        """By the names that Bake looks for, and others that say so, as `release.bake.hcl` for `--file`."""
        return _NAME.fullmatch(posixpath.basename(path)) is not None

    def recognises(self, text: str) -> bool:
        """Whether there is a block of one of the types that Bake knows."""
        return _BLOCK.search(text) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """What the file leads to, together with the others that Bake merges it with.

        Without `--file` Bake reads all files of certain names in the directory, in this order. The base files may also
        be named alone, so what only they would build is told as well.
        """
        try:
            # Of what is found twice in a place the first is told, so what is always pulled comes first.
            yield from sorted(_find(path, text, search), key=_is_conditional)
        except RecursionError:
            yield Trouble(place=Place(path, 1, 1, 1, 1), problem="what it says is nested too deeply to be read")


def _find(path: str, text: str, search: Search) -> Iterator[Finding]:
    if posixpath.basename(path) not in {*_BASE, *_OVERRIDES}:
        yield from _find_in_files([_read(path, text)], search, {})
        return
    services = services_in(directory_of(path), search)
    base, overrides = (list(_beside(path, text, names, search)) for names in (_BASE, _OVERRIDES))
    yield from _find_in_files([*base, *overrides], search, services)
    if base and overrides:
        condition = f"only without {' and '.join(posixpath.basename(file.path) for file in overrides)}"
        for finding in _find_in_files(base, search, services):
            if _is_resolved(finding):
                yield _under(condition, finding)


def _find_in_files(files: Sequence[BakeFile], search: Search, services: Mapping[str, Target]) -> Iterator[Finding]:
    for file in files:
        yield from (Trouble(place=place, problem=problem) for place, problem in file.problems)
    targets = targets_of(files, search.settings.variables, services)
    yield from targets.troubles
    for number, target in enumerate(targets.resolved):
        if number >= MAX_TARGETS:
            problem = f"there are more than {MAX_TARGETS:,} targets; the others are not looked at"
            yield Trouble(place=target.place, problem=problem)
            return
        is_base = target.name in targets.only_inherited
        for finding in find_in_target(target, targets, search):
            # What only others are made of may lack what they add.
            if not is_base or _is_resolved(finding):
                yield finding


def _is_conditional(finding: Finding) -> bool:
    return isinstance(finding, Found) and bool(finding.condition)


def _is_resolved(finding: Finding) -> bool:
    return isinstance(finding, Found) and finding.reference is not None


def _beside(path: str, text: str, names: Sequence[str], search: Search) -> Iterator[BakeFile]:
    """The files of these names that are in the directory of one of them; an unreadable one is told of on its own."""
    for name in names:
        other = join(directory_of(path), name)
        if other == path:
            yield _read(path, text)
        elif search.files.is_file(other):
            try:
                yield _read(other, search.files.read(other))
            except UnreadableFileError:
                continue


def _read(path: str, text: str) -> BakeFile:
    return json_form.read(path, text) if path.lower().endswith(".json") else hcl.read(path, text)


def _under(condition: str, finding: Finding) -> Finding:
    if isinstance(finding, Trouble):
        return finding
    return replace(finding, condition=f"{condition}, {finding.condition}" if finding.condition else condition)
