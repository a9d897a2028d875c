"""The report in JUnit's XML format: a testsuite for each file, a testcase for each image reference in it."""

import itertools
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree as ET

from pullgate_cli.checking.report import Item, Report, Status, printable


def junit_report(report: Report) -> str:
    """The report. What fails the check is a failure, or an error where there was no answer; the marked are skipped."""
    outcomes = [(item, _outcome(report, item)) for item in report.items]
    root = ET.Element("testsuites", {"name": "pullgate check", **_totals(outcome for _, outcome in outcomes)})
    for file, of_file in itertools.groupby(outcomes, key=lambda pair: pair[0].place.file):
        pairs = list(of_file)
        name = printable(report.name(file))
        suite = ET.SubElement(root, "testsuite", {"name": name, **_totals(outcome for _, outcome in pairs)})
        for item, outcome in pairs:
            suite.append(_case(item, outcome, name))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _outcome(report: Report, item: Item) -> str:
    """`failure`, `error` or `skipped`; empty for what passes."""
    if item.mark is not None and item.status is not Status.ALLOWED:
        return "skipped"
    match item.status:
        case Status.ALLOWED | Status.MONITORED:
            return ""
        case Status.UNDECIDED:
            return "error"
        case _:
            return "failure" if report.exit_code(item) else "skipped"


def _case(item: Item, outcome: str, file: str) -> ET.Element:
    place = item.place
    subject = "" if item.status is Status.TROUBLE else f" {printable(item.subject)}"
    name = f"line {place.line}, column {place.column}:{subject or ' trouble'}"
    case = ET.Element("testcase", {"name": name, "classname": file, "file": file, "line": str(place.line), "time": "0"})
    if outcome:
        lines = [printable(line) for line in _told(item)]
        ET.SubElement(case, outcome, {"message": lines[0]}).text = "\n".join(lines)
    return case


def _told(item: Item) -> Iterator[str]:
    if item.mark is not None:
        yield f"{item.mark.by.value}: {item.mark.reason}"
    yield item.reason
    if item.advice is not None:
        yield f"instead: {item.advice.sentence}"


def _totals(outcomes: Iterable[str]) -> dict[str, str]:
    counted = list(outcomes)
    return {
        "tests": str(len(counted)),
        "failures": str(counted.count("failure")),
        "errors": str(counted.count("error")),
        "skipped": str(counted.count("skipped")),
        "time": "0",
    }
