"""The report as GitLab's Code Quality widget reads it: a list of findings, each with a fingerprint of its own."""

from typing import Any

from pullgate_cli.checking.json_text import json_text
from pullgate_cli.checking.report import Item, Report, Status
from pullgate_cli.checking.rules import RULES
from pullgate_cli.checking.sarif_report import message

SEVERITIES = {
    Status.DENIED: "critical",
    Status.UNDECIDED: "major",
    Status.UNRESOLVED: "minor",
    Status.TROUBLE: "minor",
    Status.MONITORED: "info",
}


def gitlab_report(report: Report) -> str:
    """The report; what does not count is of severity info, and says why."""
    return json_text([_finding(item) for item in report.problems], indent=2) + "\n"


def _finding(item: Item) -> dict[str, Any]:
    marked = "" if item.mark is None else f"({item.mark.by.value}: {item.mark.reason}) "
    return {
        "description": f"{marked}{message(item)}",
        "check_name": RULES[item.status].number,
        "fingerprint": item.fingerprint,
        "severity": SEVERITIES[item.status] if item.mark is None else "info",
        "location": {"path": item.place.file, "lines": {"begin": item.place.line, "end": item.place.end_line}},
    }
