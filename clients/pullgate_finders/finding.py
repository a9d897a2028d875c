"""Runs the finders over files, and tells each finding once."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace

from pullgate_finders.found import Certainty, Finding, Found, Place, Trouble
from pullgate_finders.port import Finder, Search, UnreadableFileError

_BY_CERTAINTY = tuple(Certainty)


def find(
    paths: Iterable[str],
    search: Search,
    finders: Sequence[Finder],
    *,
    named: Iterable[str] = (),
    on_file: Callable[[str], None] = lambda _: None,
) -> list[Finding]:
    """What is found in files, by place, each once.

    Args:
        paths: of the files, relative to the root of the tree. What no finder claims by its name is not read.
        named: those of them that were asked for by name: they are read whatever they are called, and one that no
            finder reads is told of.
        on_file: called with each path before its file is looked into.
    """
    asked_for = frozenset(named)
    findings: list[Finding] = []
    for path in paths:
        on_file(path)
        claimed = [finder for finder in finders if finder.claims(path)]
        if not claimed and path in asked_for:
            claimed = list(finders)
        read = _read(path, claimed, search) if claimed else None
        if read is None and path in asked_for:
            findings.append(
                Trouble(place=_start_of(path), problem="is in no format that is read; see the documentation")
            )
        findings.extend(read or ())
    return _once(findings)


def _read(path: str, claimed: Sequence[Finder], search: Search) -> list[Finding] | None:
    """What the first finder that recognises the text finds; None where none does."""
    troubles: list[Finding] = []
    try:
        text = search.files.read(path)
    except UnreadableFileError as error:
        if error.beginning is not None and not any(finder.recognises(error.beginning) for finder in claimed):
            return None
        troubles = [Trouble(place=_start_of(path), problem=error.problem)]
        if error.text is None:
            return troubles
        # References are ASCII: a comment in another encoding is no reason to pass over the file.
        text = error.text
    for finder in claimed:
        if finder.recognises(text):
            return [*troubles, *finder.find(path, text, search)]
    return None


def _once(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, by place, as the surest of those that say the same: pulled always, rather than with a profile.

    What a file left open on its own is not told where a use of it shows what it comes to. What was resolved on its own
    stays, for it may be built by hand; where a use has something else than an image there, that is said.
    """
    kept: dict[object, Finding] = {}
    used: set[object] = set()
    replaced: dict[object, Found] = {}
    for finding in findings:
        if isinstance(finding, Trouble):
            kept.setdefault((finding.place, finding.problem), finding)
            continue
        at = (finding.place, finding.kind)
        if not finding.alone and not finding.condition:
            used.add(at)
        if not finding.is_image:
            replaced.setdefault(at, finding)
            continue
        same = (*at, finding.reference, finding.unresolved)
        kept[same] = min(kept.get(same, finding), finding, key=_doubt)
    told = (_told(finding, used, replaced) for finding in kept.values())
    return sorted((finding for finding in told if finding is not None), key=lambda finding: finding.place)


def _told(finding: Finding, used: Container[object], replaced: Mapping[object, Found]) -> Finding | None:
    """A finding as it is told beside what uses of its file came to; None where it is not."""
    if isinstance(finding, Trouble) or not finding.alone:
        return finding
    at = (finding.place, finding.kind)
    if finding.reference is None and at in used:
        return None
    use = replaced.get(at)
    if use is None or finding.condition:
        return finding
    by = f" of {use.how[0]}" if use.how else ""
    return replace(finding, condition=f"only where it is built without the build context{by}")


def _doubt(finding: Finding) -> int:
    """How much there is to be said against telling this one of several that say the same."""
    return 0 if isinstance(finding, Trouble) else 2 * _BY_CERTAINTY.index(finding.certainty) + finding.alone


def _start_of(path: str) -> Place:
    return Place(path, 1, 1, 1, 1)
