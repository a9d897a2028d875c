"""The report for people: by file, each line with a mark under what is meant, and what to do about it."""

import itertools
from collections.abc import Iterator, Sequence

import click
from rich.cells import cell_len

from pullgate_cli.checking.report import Failure, Item, MarkedBy, Report, Status, printable
from pullgate_cli.evidence import category_in_words
from pullgate_finders import Found
from pullgate_policy.answer import Answer

MAX_SHOWN = 100
"""Characters of a line that are shown, and what is meant among them."""

_WORDS = {
    Status.ALLOWED: ("ALLOW", "green"),
    Status.MONITORED: ("MONITORED", "yellow"),
    Status.DENIED: ("DENY", "red"),
    Status.UNRESOLVED: ("UNRESOLVED", "yellow"),
    Status.UNDECIDED: ("NO ANSWER", "red"),
    Status.TROUBLE: ("TROUBLE", "yellow"),
}

_KINDS = {
    "from": "base image",
    "copy": "source of COPY --from",
    "mount": "mounted by RUN --mount",
    "onbuild": "used by builds that are based on this one",
    "syntax": "frontend that reads the Dockerfile",
    "context": "named context of a build",
    "cache": "cache of a build",
    "builder": "what builds",
    "generator": "what lists the contents of a build",
    "image": "image of a container",
    "service": "service beside a job",
    "action": "step of a workflow",
    "volume": "mounted volume",
    "feature": "feature of a development container",
    "model": "model",
    "include": "included configuration",
}


def text_report(report: Report, *, verbose: bool = False, told_before: str = "") -> str:
    """The report.

    Args:
        verbose: whether images that are allowed are told of too.
        told_before: why there is no answer, where that was said already; images without one are then counted only.
    """
    told = [item for item in report.items if _is_told(item, verbose, told_before)]
    seen: set[tuple[str, ...]] = set()
    lines: list[str] = []
    for file, items in itertools.groupby(told, key=lambda item: item.place.file):
        lines.append(click.style(printable(report.name(file)), bold=True))
        for item in items:
            lines.extend(_as_above(item) if _repeats(item, seen) else _item(item))
        lines.append("")
    lines.extend(_help(told))
    lines.extend(_outdated(report))
    if verbose:
        lines.extend(_unused_ignores(report))
    fails = report.ends_with(exit_zero=False)
    lines.append(click.style(report.summary, fg="red" if fails else "green", bold=True))
    return "".join(f"{line}\n" for line in lines)


def _is_told(item: Item, verbose: bool, told_before: str) -> bool:
    if item.status is Status.ALLOWED or item.mark is not None:
        return verbose
    return not (item.status is Status.UNDECIDED and told_before and _failure(item) == told_before)


def _failure(item: Item) -> str:
    return item.result.message if isinstance(item.result, Failure) else ""


def _repeats(item: Item, seen: set[tuple[str, ...]]) -> bool:
    """Whether the same was told of the same image already."""
    if item.status is Status.TROUBLE or item.mark is not None:
        return False
    said = (item.status.value, item.subject, item.reason)
    is_repeated = said in seen
    seen.add(said)
    return is_repeated


def _as_above(item: Item) -> Iterator[str]:
    yield from _marked_line(item)
    word, colour = _WORDS[item.status]
    condition = f", {item.finding.condition}" if isinstance(item.finding, Found) and item.finding.condition else ""
    said = f"{printable(item.subject)}  {click.style('as above', dim=True)}{printable(condition)}"
    yield f"  {click.style(word, fg=colour, bold=True)}  {said}"


def _item(item: Item) -> Iterator[str]:
    yield from _marked_line(item)
    word, colour = _WORDS[item.status]
    if item.mark is not None:
        word, colour = "IGNORED" if item.mark.by is MarkedBy.IGNORE else "IN BASELINE", "cyan"
    subject = "" if item.status is Status.TROUBLE else f"  {printable(item.subject)}"
    yield f"  {click.style(word, fg=colour, bold=True)}{subject}"
    yield f"    {printable(item.reason)}"
    for name, value in _explanation(item):
        yield f"    {click.style(f'{name:<8}', dim=True)}  {printable(value)}"


def _marked_line(item: Item) -> Iterator[str]:
    """The line of the file, and a mark under what is meant. Characters may be two cells wide, or none."""
    if not item.line:
        return
    place, line = item.place, item.line
    start = min(place.column - 1, len(line))
    end = min(place.end_column - 1, len(line)) if place.end_line == place.line else len(line)
    first = max(0, start - MAX_SHOWN // 2) if len(line) > MAX_SHOWN else 0
    last = min(len(line), first + MAX_SHOWN)
    before, meant, after = (
        _shown(part) for part in (line[first:start], line[start : min(end, last)], line[min(end, last) : last])
    )
    lead, rest = "…" if first else "", "…" if last < len(line) else ""
    number = str(place.line)
    yield f"  {click.style(f'{number} |', dim=True)} {lead}{before}{meant}{after}{rest}".rstrip()
    mark = click.style("^" * max(1, cell_len(meant)), fg=_WORDS[item.status][1])
    yield f"  {' ' * len(number)} {click.style('|', dim=True)} {' ' * cell_len(lead + before)}{mark}"


def _shown(part: str) -> str:
    return printable(part.replace("\t", "    "))


def _explanation(item: Item) -> Iterator[tuple[str, str]]:
    if item.mark is not None:
        yield item.mark.by.value, item.mark.reason
    if isinstance(item.result, Answer):
        yield from _category(item.result)
    if isinstance(item.finding, Found):
        use = _KINDS.get(item.finding.kind.value, item.finding.kind.value)
        within = f" in {item.finding.within}" if item.finding.within else ""
        condition = f", {item.finding.condition}" if item.finding.condition else ""
        yield "use", f"{use}{within}{condition}"
        for step in item.finding.how:
            yield "by", step
    if item.advice is not None:
        yield "instead", item.advice.sentence


def _category(answer: Answer) -> Iterator[tuple[str, str]]:
    evidence = answer.decision.evidence
    if evidence is None:
        return
    source = f", says {evidence.source}" if evidence.source else ""
    detail = f": {evidence.detail}" if evidence.detail else ""
    yield "category", f"{category_in_words(evidence)}{source}{detail}"


def _help(told: Sequence[Item]) -> Iterator[str]:
    """Whom to ask about denials, as the organizations say it."""
    answers = [item.result for item in told if isinstance(item.result, Answer)]
    texts = dict.fromkeys((answer.decision.organization, answer.decision.help) for answer in answers)
    said = [f"{organization}: {printable(text)}" for organization, text in texts if text]
    if said:
        yield from [*said, ""]


def _unused_ignores(report: Report) -> Iterator[str]:
    if report.unused_ignores:
        yield click.style("Comments that ignore nothing, because nothing is found where they stand:", bold=True)
        for ignore in report.unused_ignores:
            where = f"{report.name(ignore.place.file)}:{ignore.place.line}"
            yield f"  {printable(f'{where}: {ignore.reason}' if ignore.reason else where)}"
        yield ""


def _outdated(report: Report) -> Iterator[str]:
    if report.outdated:
        yield click.style("In the baseline, and not found any more; --write-baseline takes it out:", bold=True)
        for entry in report.outdated:
            yield f"  {entry}"
        yield ""
