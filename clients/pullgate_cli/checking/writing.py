"""The forms of the report, and the files that they are written to."""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from pullgate_cli.checking.github_report import github_report, github_summary
from pullgate_cli.checking.gitlab_report import gitlab_report
from pullgate_cli.checking.json_report import json_report
from pullgate_cli.checking.junit_report import junit_report
from pullgate_cli.checking.report import Report
from pullgate_cli.checking.sarif_report import sarif_report
from pullgate_cli.checking.text_report import text_report

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": text_report,
    "json": json_report,
    "sarif": sarif_report,
    "junit": junit_report,
    "github": github_report,
    "gitlab": gitlab_report,
}
"""`text` is for people, the others are for programs."""


def written(report: Report, form: str, *, verbose: bool, told_before: str) -> str:
    """The report in a form; what it is told by `verbose` and `told_before` text_report says."""
    if form == "text":
        return text_report(report, verbose=verbose, told_before=told_before)
    return FORMATS[form](report)


def write_file(path: Path, text: str) -> None:
    """Write a text; raises click.UsageError."""
    _write(path, text, "w")


def append_summary(report: Report, path: Path) -> None:
    """Add the report to the summary of a job of GitHub Actions; raises click.UsageError."""
    _write(path, github_summary(report), "a")


def _write(path: Path, text: str, mode: str) -> None:
    try:
        with path.open(mode, encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from error
