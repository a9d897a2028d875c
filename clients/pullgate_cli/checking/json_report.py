"""The report as one JSON object, for programs. Fields may be added; `version` says when one changes or goes."""

from typing import Any

from pullgate_cli.checking.json_text import json_text
from pullgate_cli.checking.report import Failure, Item, MarkedBy, Report, Status
from pullgate_cli.decide import answer_data
from pullgate_finders import Found, Place
from pullgate_policy.answer import Answer

VERSION = 1
"""Of the object's form."""


def json_report(report: Report) -> str:
    """The report; a line with one object."""
    data = {
        "version": VERSION,
        "root": str(report.root),
        "findings": [_finding(report, item) for item in report.images],
        "troubles": [
            {**_place(report, item.place), "problem": item.reason, **_marks(item)} for item in report.troubles
        ],
        "outdated_baseline": list(report.outdated),
        "unused_ignores": [
            {**_place(report, ignore.place), "reason": ignore.reason} for ignore in report.unused_ignores
        ],
        "warnings": list(report.warnings),
        "summary": summary_data(report),
    }
    return json_text(data) + "\n"


def summary_data(report: Report) -> dict[str, int]:
    """How many of what there are; findings that do not count are counted as ignored or in the baseline alone."""
    return {
        "files": report.files,
        "findings": len(report.images),
        **{status.value: report.count(status) for status in Status if status is not Status.TROUBLE},
        "troubles": report.count(Status.TROUBLE),
        "ignored": report.count_marked(MarkedBy.IGNORE),
        "in_baseline": report.count_marked(MarkedBy.BASELINE),
    }


def _finding(report: Report, item: Item) -> dict[str, Any]:
    found = item.finding
    assert isinstance(found, Found)  # noqa: S101 - images are what was found
    known = found.reference or found.repository
    answer = item.result if isinstance(item.result, Answer) else None
    return {
        **_place(report, item.place),
        "kind": found.kind.value,
        "raw": found.raw,
        "reference": None if found.reference is None else str(found.reference),
        "repository": None if known is None else known.repository,
        "resolved": found.reference is not None,
        "status": item.status.value,
        "reason": item.reason,
        "certainty": found.certainty.value,
        "how": list(found.how),
        "within": found.within,
        "condition": found.condition,
        "instead": None
        if item.advice is None
        else {
            "reference": item.advice.reference or None,
            "sentence": item.advice.sentence,
        },
        **_marks(item),
        "fingerprint": item.fingerprint,
        "decision": None if answer is None else answer_data(answer),
        "error": _error(item),
    }


def _error(item: Item) -> dict[str, str] | None:
    return {"code": item.result.code, "message": item.result.message} if isinstance(item.result, Failure) else None


def _place(report: Report, place: Place) -> dict[str, Any]:
    return {
        "file": report.name(place.file),
        "line": place.line,
        "column": place.column,
        "end_line": place.end_line,
        "end_column": place.end_column,
    }


def _marks(item: Item) -> dict[str, Any]:
    by = None if item.mark is None else item.mark.by
    return {
        "ignored": item.mark.reason if item.mark is not None and by is MarkedBy.IGNORE else None,
        "in_baseline": by is MarkedBy.BASELINE,
    }
