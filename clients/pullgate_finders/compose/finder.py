"""Finds the references in Compose files."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pullgate_finders.compose.interpolation import Variables
from pullgate_finders.compose.loading import Loader
from pullgate_finders.compose.projects import Sources, sources_of
from pullgate_finders.compose.references import references, under
from pullgate_finders.found import Finding, Found, Place, Trouble
from pullgate_finders.port import Search
from pullgate_finders.values import Known

_NAME = re.compile(r"(?:docker-)?compose(?:[.-].+)?\.ya?ml|.+[.-](?:docker-)?compose\.ya?ml", re.IGNORECASE)
_ANY_YAML = re.compile(r".+\.ya?ml", re.IGNORECASE)
_SIGN = re.compile(r"services|include|models")
_SERVICES = re.compile(
    r"^services[ \t]*:[ \t]*(?:[&!]\S+[ \t]*)?(?:#[^\n]*)?\r?\n"  # a key of the top level with nothing behind it,
    r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*+"  # lines that say nothing,
    r"[ \t]+(?![-#\s])",  # and below it a key, not a list
    re.MULTILINE,
)
_IMAGE_OR_BUILD = re.compile(r"(?:^[ \t]+|[{,][ \t]*)(?:image[ \t]*:[ \t]*[^\s#{\[]|build[ \t]*:)", re.MULTILINE)
_OTHER_FORMAT = re.compile(r"^(?:apiVersion|jobs|stages|on)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeFinder:
    """Compose files by their names."""

    name: str = "Compose"

    def claims(self, path: str) -> bool:
        """Whether the file is named as Compose files are."""
        return _NAME.fullmatch(posixpath.basename(path)) is not None

    def recognises(self, text: str) -> bool:
        """Whether anything of what Compose reads may be in the text."""
        return _SIGN.search(text) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The references of the project that the file belongs to, also those in other files of it."""
        # What is built or run in several ways is told in the surest one first.
        yield from sorted(_find(path, text, search), key=lambda finding: bool(getattr(finding, "condition", "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeByContentFinder(ComposeFinder):
    """Compose files under other names: a mapping of services at the top that have an image or a build."""

    def claims(self, path: str) -> bool:
        """Whether the file is YAML."""
        return _ANY_YAML.fullmatch(posixpath.basename(path)) is not None

    def recognises(self, text: str) -> bool:
        """Whether there are services at the top, and images or builds; not what is sure to be of another format."""
        if "services" not in text or _SERVICES.search(text) is None or _IMAGE_OR_BUILD.search(text) is None:
            return False
        return _OTHER_FORMAT.search(text) is None


def _find(path: str, text: str, search: Search) -> Iterator[Finding]:
    given = Variables(
        values={
            name: Known(value, (f"variable {name} given by option",))
            for name, value in search.settings.variables.items()
        }
    )
    loader = Loader(search=search, texts={path: text})
    try:
        yield from _of_project(sources_of(path, loader, given), loader, given)
    except RecursionError:
        yield Trouble(place=Place(path, 1, 1, 1, 1), problem="what it says is nested too deeply to be read")


def _of_project(sources: Sources, loader: Loader, given: Variables) -> Iterator[Finding]:
    """The references of all files together, and then those that only fewer of them lead to.

    A file that is read over others hides what they say; without it that is pulled, so it is told with that condition.
    """
    findings: list[Finding] = []
    variables = loader.variables(sources.env_files[::-1], given, findings)
    yield from findings
    told: set[object] = set()
    for count in range(len(sources.files), 0, -1):
        is_whole = count == len(sources.files)
        project = loader.project(sources.files[:count], sources.directory, variables)
        condition = "" if is_whole else f"only without {posixpath.basename(sources.files[count])}"
        for finding in list(references(project, loader.search, variables)):
            if not isinstance(finding, Found):
                yield from [finding] if is_whole else []
                continue
            key = (finding.place, finding.kind, finding.reference, finding.unresolved)
            if is_whole or key not in told:
                yield _alone(under(finding, condition), sources)
            told.add(key)


def _alone(finding: Finding, sources: Sources) -> Finding:
    """A finding. Of one that is unresolved another use may say more: files that are named together, or that include."""
    if isinstance(finding, Found) and finding.reference is None:
        is_others = sources.is_said and finding.place.file not in sources.files
        return finding if is_others else replace(finding, alone=True)
    return finding
