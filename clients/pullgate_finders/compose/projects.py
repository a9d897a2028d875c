"""Which Compose files are read together, and with which variables (compose-go cli/options.go)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pullgate_finders.compose.interpolation import Variables
from pullgate_finders.compose.loading import Loader
from pullgate_finders.found import Finding
from pullgate_finders.port import Files
from pullgate_finders.tree import directory_of, join
from pullgate_finders.values import Known

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
"""What Compose looks for in a directory; the first that is there counts."""

OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
"""What it reads over that, whatever the name of the first; the first that is there counts."""

_FILE = "COMPOSE_FILE"
_SEPARATOR = "COMPOSE_PATH_SEPARATOR"
_LOCAL_NAME = re.compile(r"(?!\w+://)[^\n]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The files of a project.

    Attributes:
        files: in the order in which one is read over the others.
        directory: of the project: that of its first file.
        env_files: where its variables are; of two the earlier one counts.
        is_said: whether Compose reads these files where nothing else is said; else a person names them, perhaps with
            others, which is not known here.
    """

    files: tuple[str, ...]
    directory: str
    env_files: tuple[str, ...]
    is_said: bool


def sources_of(path: str, loader: Loader, given: Variables) -> Sources:
    """The project that a file belongs to; it alone where no other is known to be read with it.

    Args:
        given: variables given by option.
    """
    files = loader.search.files
    directory = directory_of(path)
    for where in _upwards(directory):
        named = _named_by_environment(where, loader, given)
        if path in named:
            return _sources(named, files, is_said=True, environment=join(where, ".env"))
        if named and where == directory:
            return _sources([path], files, is_said=False)
    usual = _usual(directory, files)
    return _sources(usual if path in usual else [path], files, is_said=path in usual)


def _named_by_environment(directory: str, loader: Loader, given: Variables) -> list[str]:
    """The files that COMPOSE_FILE names, in the variables or in `.env` of a directory; none where it is not set."""
    env_file = join(directory, ".env")
    env_files = [env_file] if loader.search.files.is_file(env_file) else []
    findings: list[Finding] = []
    variables = loader.variables(env_files, given, findings)
    value, separator = variables.get(_FILE), variables.get(_SEPARATOR)
    if not isinstance(value, Known) or not value.value:
        return []
    by = separator.value if isinstance(separator, Known) and separator.value else ":"
    return [join(directory, name) for name in value.value.split(by) if _LOCAL_NAME.fullmatch(name)]


def _usual(directory: str, files: Files) -> list[str]:
    """The file that Compose takes in a directory, and its override; none where there is no such file."""
    first = _first_of(NAMES, directory, files)
    override = _first_of(OVERRIDES, directory, files)
    return [path for path in (first, override) if path] if first else []


def _first_of(names: Sequence[str], directory: str, files: Files) -> str:
    return next((path for name in names if files.is_file(path := join(directory, name))), "")


def _sources(paths: Sequence[str], files: Files, *, is_said: bool, environment: str = "") -> Sources:
    directory = directory_of(paths[0])
    env_files = dict.fromkeys((environment, join(directory, ".env")))
    there = tuple(file for file in env_files if file and files.is_file(file))
    return Sources(files=tuple(paths), directory=directory, env_files=there, is_said=is_said)


def _upwards(directory: str) -> Iterator[str]:
    """A directory and those above it, up to the root of the tree."""
    yield directory
    while directory:
        directory = directory_of(directory)
        yield directory
