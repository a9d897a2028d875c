"""The report as GitHub's workflow commands, which annotate the lines of a pull request, and as a job's summary.

What stands in the files comes from whoever opened the pull request: it must neither end a command and begin another
(`%`, line breaks, and in properties `:` and `,`: escaped as actions/toolkit packages/core/src/command.ts does) nor say
anything in Markdown.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from pullgate_cli.checking.report import GRAVEST_FIRST, Failure, Item, Report, Status, counted, printable
from pullgate_cli.checking.rules import RULES
from pullgate_cli.checking.sarif_report import message

MAX_ANNOTATIONS = 10
"""Annotations of one level that GitHub shows of a step."""

MAX_SUMMARY = 900_000
"""Bytes of a summary: GitHub takes a mebibyte of each step, and of a longer one nothing."""

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
_MARKDOWN = re.compile(r"[\\`*_{}\[\]()#+!|~<>&:@$-]")


def github_report(report: Report) -> str:
    """The commands: at most ten of a level, the gravest, the rest being told of by number."""
    lines: list[str] = []
    counting = [item for item in report.problems if item.mark is None]
    counting.sort(key=lambda item: GRAVEST_FIRST.index(item.status))
    annotated = _annotations(counting)
    for level, command in _LEVELS.items():
        of_level = [(item, text) for item, text in annotated if RULES[item.status].level == level]
        lines.extend(_command(command, item, text) for item, text in of_level[:MAX_ANNOTATIONS])
        if len(of_level) > MAX_ANNOTATIONS:
            lines.append(f"{len(of_level) - MAX_ANNOTATIONS} more of level {command}: see the summary of the job")
    return "".join(f"{line}\n" for line in [*lines, f"pullgate check: {report.summary}"])


def _annotations(items: Sequence[Item]) -> list[tuple[Item, str]]:
    """The items that are told of, and what is said there: that there was no answer is told once for each reason."""
    without_answer = Counter(item.result for item in items if item.status is Status.UNDECIDED)
    told: list[tuple[Item, str]] = []
    for item in items:
        count = without_answer.pop(item.result, 0) if item.status is Status.UNDECIDED else 1
        if count > 1 and isinstance(item.result, Failure):
            told.append((item, f"no answer about {counted(count, 'image reference')}: {item.result.message}"))
        elif count:
            told.append((item, message(item)))
    return told


def github_summary(report: Report) -> str:
    """All problems as a table in Markdown, for $GITHUB_STEP_SUMMARY."""
    return "".join(f"{line}\n" for line in _summary_lines(report, report.problems))


def _summary_lines(report: Report, told: Sequence[Item]) -> Iterator[str]:
    yield "### pullgate check"
    yield ""
    yield report.summary
    if not told:
        return
    yield ""
    yield "| | Where | What |"
    yield "|---|---|---|"
    size = 0
    for index, item in enumerate(sorted(told, key=lambda item: item.mark is not None)):
        where = f"{item.place.file}:{item.place.line}"
        said = f"{item.mark.by.value}: {item.mark.reason}. {message(item)}" if item.mark else message(item)
        row = f"| {item.status.value} | {_in_markdown(where)} | {_in_markdown(said)} |"
        size += len(row.encode("utf-8")) + 1
        if size > MAX_SUMMARY:
            yield ""
            yield f"{len(told) - index} more are left out."
            return
        yield row


def _command(command: str, item: Item, text: str) -> str:
    place = item.place
    properties = {
        "file": place.file,
        "line": str(place.line),
        "endLine": str(place.end_line),
        "title": RULES[item.status].title,
    }
    if place.end_line == place.line and place.end_column > place.column:
        properties |= {"col": str(place.column), "endColumn": str(place.end_column)}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{command} {written}::{_data(text)}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _in_markdown(text: str) -> str:
    """The text with nothing in it that Markdown, or GitHub's mentions and links in it, would read."""
    return _MARKDOWN.sub(lambda match: f"&#{ord(match[0])};", printable(text))
