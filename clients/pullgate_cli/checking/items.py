"""From files to items: what is found in them, what is decided about it, and whether it counts."""

import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pullgate_cli.checking.alternatives import advise
from pullgate_cli.checking.baseline import Baseline
from pullgate_cli.checking.deciding import Decider
from pullgate_cli.checking.ignores import Ignore, ignore_for, ignores_for, ignores_in
from pullgate_cli.checking.progress import Progress
from pullgate_cli.checking.report import Item, Mark, MarkedBy, Result, fingerprints
from pullgate_cli.checking.repositories import item_by_repository
from pullgate_cli.checking.tree import Tree
from pullgate_finders import Finder, Finding, Found, Place, Search, Settings, Trouble, UnreadableFileError
from pullgate_finders.finding import find
from pullgate_policy import Effect, Reference
from pullgate_policy.answer import Answer


@dataclass(frozen=True, slots=True)
class _NeverRaising:
    """A finder whose defects cost one file and are told of, where they would otherwise end the whole check."""

    finder: Finder

    @property
    def name(self) -> str:
        return self.finder.name

    def claims(self, path: str) -> bool:
        return self.finder.claims(path)

    def recognises(self, text: str) -> bool:
        return self.finder.recognises(text)

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        try:
            yield from self.finder.find(path, text, search)
        except Exception as error:  # noqa: BLE001 - whatever it is, all other files can be read
            problem = f"cannot be read any further, by a defect of pullgate ({type(error).__name__}: {error})"
            yield Trouble(place=Place(path, 1, 1, 1, 1), problem=problem)


def found_in(tree: Tree, settings: Settings, finders: Sequence[Finder], progress: Progress) -> list[Finding]:
    """What there is in a tree, in the order of the places."""
    search = Search(files=tree.files, settings=settings)
    guarded = [_NeverRaising(finder) for finder in finders]
    with _without_garbage_collection():
        found = find(tree.paths, search, guarded, named=tree.named, on_file=progress.on_file)
    kept = (finding for finding in found if not tree.is_excluded(tree.root / finding.place.file))
    return sorted((*kept, *tree.troubles), key=lambda finding: finding.place)


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """What is read of a large file is many values in no cycles: looking for some takes longer than reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def decided(findings: Sequence[Finding], decider: Decider, progress: Progress) -> list[Item]:
    """The findings with the answers about them, each image being asked about once, and with what would be allowed."""
    known = [_known_of(finding) for finding in findings]
    asked = list(dict.fromkeys(reference for reference in known if reference is not None))
    results = dict(zip(asked, decider.decide_all(asked, progress.on_answer), strict=True)) if asked else {}
    items = [
        _item(finding, None if reference is None else results[reference], decider)
        for finding, reference in zip(findings, known, strict=True)
    ]
    decisions = (item.result.decision for item in items if isinstance(item.result, Answer))
    advice = advise((decision for decision in decisions if decision.effect is Effect.DENY), decider)
    return [
        replace(item, advice=advice.get(item.result.decision.reference)) if isinstance(item.result, Answer) else item
        for item in items
    ]


def _known_of(finding: Finding) -> Reference | None:
    """What can be asked about: the image, or its repository where no more of it is known."""
    return (finding.reference or finding.repository) if isinstance(finding, Found) else None


def _item(finding: Finding, result: Result | None, decider: Decider) -> Item:
    if isinstance(finding, Found) and finding.reference is None and result is not None:
        return item_by_repository(finding, result, decider)
    return Item(finding=finding, result=result)


def unread(tree: Tree, findings: Sequence[Finding], finders: Sequence[Finder]) -> frozenset[str]:
    """What a person named, and of which nothing could be read.

    A file whose name is of a format, and which has nothing of it, was read.
    """
    found = {finding.place.file for finding in findings if isinstance(finding, Found)}
    told = {finding.place.file for finding in findings} - found
    return frozenset(path for path in tree.named if path in told and not _has_nothing(tree, path, finders))


def _has_nothing(tree: Tree, path: str, finders: Sequence[Finder]) -> bool:
    claimed = [finder for finder in finders if finder.claims(path)]
    try:
        text = tree.files.read(path)
    except UnreadableFileError:
        return False
    return bool(claimed) and not any(finder.recognises(text) for finder in claimed)


def marked(items: Sequence[Item], tree: Tree, baseline: Baseline, *, ignores: bool = True) -> list[Item]:
    """The items with the lines they stand on, with those marked that do not count, and with fingerprints.

    Comments that ignore nothing for want of a reason are items of their own.

    Args:
        ignores: whether comments have findings not count.
    """
    files = sorted({item.place.file for item in items})
    lines = {file: _lines(tree, file) for file in files}
    made: list[Item] = []
    without_reason: dict[Ignore, None] = {}
    for item in items:
        of_file = lines[item.place.file]
        ignore = ignore_for(item.place, of_file) if ignores else None
        mark = None
        if ignore is not None and ignore.reason:
            mark = Mark(MarkedBy.IGNORE, ignore.reason)
        elif ignore is not None:
            without_reason[ignore] = None
        line = of_file[item.place.line - 1] if 0 < item.place.line <= len(of_file) else ""
        made.append(replace(item, line=line, mark=mark))
    for ignore in without_reason:
        line = lines[ignore.place.file][ignore.place.line - 1]
        made.append(Item(finding=ignore.trouble, line=line))
    made.sort(key=lambda item: item.place)
    made = _with_baseline(made, baseline)
    return [replace(item, fingerprint=text) for item, text in zip(made, fingerprints(made), strict=True)]


def unused_ignores(items: Iterable[Item], tree: Tree) -> list[Ignore]:
    """The comments that would have findings not count and reach none, in the files that were looked into."""
    places: defaultdict[str, list[Place]] = defaultdict(list)
    for item in items:
        places[item.place.file].append(item.place)
    unused: list[Ignore] = []
    for file in sorted(tree.files.noted & {*tree.paths, *places}):
        lines = _lines(tree, file)
        reaching = {ignore for place in places[file] for ignore in ignores_for(place, lines)}
        unused.extend(ignore for ignore in ignores_in(file, lines) if ignore not in reaching)
    return unused


def _with_baseline(items: Sequence[Item], baseline: Baseline) -> list[Item]:
    unmarked = [item for item in items if item.mark is None]
    covered = dict(zip(map(id, unmarked), baseline.covered(unmarked), strict=True))
    mark = Mark(MarkedBy.BASELINE, "it was there before")
    return [replace(item, mark=mark) if covered.get(id(item)) else item for item in items]


def _lines(tree: Tree, file: str) -> Sequence[str]:
    """The lines of a file, none where it cannot be read: that is told of already."""
    try:
        text = tree.files.read(file)
    except UnreadableFileError as error:
        if error.text is None:
            return ()
        text = error.text
    return [line.removesuffix("\r") for line in text.split("\n")]
