"""The report as SARIF 2.1.0 (OASIS), within the limits of GitHub's code scanning.

GitHub takes 25,000 results of a run, and messages of rules of 1,024 characters. Fingerprints have a key of our own:
under GitHub's, `primaryLocationLineHash`, its upload action expects a hash that it makes itself, and warns of any other
(github/codeql-action issue 4052).
"""

import os
import re
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from pullgate_cli.checking.json_text import json_text
from pullgate_cli.checking.report import GRAVEST_FIRST, Item, MarkedBy, Report, Status, counted, printable
from pullgate_cli.checking.rules import RULES, Rule, sentences
from pullgate_finders import Found
from pullgate_policy.answer import Answer

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"

MAX_RESULTS = 25_000
"""Results of a run that GitHub takes."""

_SUPPRESSIONS = {MarkedBy.IGNORE: "inSource", MarkedBy.BASELINE: "external"}

_LINK_CHARACTERS = re.compile(r"[\[\]\\]")

_RULES = list(RULES.values())


def sarif_report(report: Report) -> str:
    """The report as a log with one run."""
    told = sorted(report.problems, key=lambda item: (item.mark is not None, GRAVEST_FIRST.index(item.status)))
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "pullgate",
                "version": version("pullgate"),
                "semanticVersion": version("pullgate"),
                "rules": [_rule(rule) for rule in _RULES],
            }
        },
        "automationDetails": {"id": "pullgate-check/"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "The root of the repository."}}},
        "invocations": [_invocation(len(told))],
        "results": [_result(item) for item in told[:MAX_RESULTS]],
    }
    return json_text({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _invocation(told: int) -> dict[str, Any]:
    # An image that is denied, or not known, is a result; the check itself was carried out.
    invocation: dict[str, Any] = {"executionSuccessful": True}
    if told > MAX_RESULTS:
        text = f"{counted(told - MAX_RESULTS, 'result')} of {told} left out: GitHub takes {MAX_RESULTS}."
        invocation["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": text}}]
    return invocation


def _rule(rule: Rule) -> dict[str, Any]:
    properties: dict[str, Any] = {"tags": ["container", "supply-chain"], "precision": "high"}
    if rule.severity is not None:
        properties = {**properties, "tags": ["security", *properties["tags"]], "security-severity": str(rule.severity)}
    return {
        "id": rule.number,
        "name": rule.name,
        "shortDescription": {"text": f"{rule.title}."},
        "fullDescription": {"text": rule.summary},
        "help": {"text": f"{rule.summary} {rule.to_do}"},
        "defaultConfiguration": {"level": rule.level},
        "properties": properties,
    }


def _result(item: Item) -> dict[str, Any]:
    rule, place = RULES[item.status], item.place
    region = {"startLine": place.line, "startColumn": place.column}
    if (place.end_line, place.end_column) > (place.line, place.column):
        region |= {"endLine": place.end_line, "endColumn": place.end_column}
    return {
        "ruleId": rule.number,
        "ruleIndex": _RULES.index(rule),
        "level": rule.level,
        "message": {"text": _without_links(message(item))},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": uri(place.file), "uriBaseId": "%SRCROOT%"},
                    "region": region,
                }
            }
        ],
        "partialFingerprints": {"pullgateFinding/v1": item.fingerprint},
        "suppressions": _suppressions(item),
        "properties": _properties(item),
    }


def message(item: Item) -> str:
    """What an item says, in a line of sentences; an image's name stands first, as it is written."""
    within = f"in {item.finding.within}" if isinstance(item.finding, Found) and item.finding.within else ""
    instead = f"instead: {item.advice.sentence}" if item.advice is not None else ""
    subject = "" if item.status is Status.TROUBLE else f"{item.subject}: "
    return printable(sentences(f"{subject}{item.reason}", within, instead))


def _without_links(text: str) -> str:
    """The text as a message that says it literally: `[text](address)` in one is a link (SARIF 2.1.0, 3.11.6)."""
    return _LINK_CHARACTERS.sub(r"\\\g<0>", text)


def uri(file: str) -> str:
    """A relative path as a relative URI reference, whatever bytes it has."""
    return quote(os.fsencode(file), safe="/")


def _suppressions(item: Item) -> list[dict[str, str]]:
    if item.mark is None:
        return []
    return [{"kind": _SUPPRESSIONS[item.mark.by], "justification": printable(item.mark.reason)}]


def _properties(item: Item) -> dict[str, Any]:
    if not isinstance(item.finding, Found):
        return {}
    answer = item.result if isinstance(item.result, Answer) else None
    evidence = answer.decision.evidence if answer is not None else None
    return {
        "kind": item.finding.kind.value,
        "reference": None if item.finding.reference is None else str(item.finding.reference),
        "certainty": item.finding.certainty.value,
        "category": evidence.category.name if evidence is not None else None,
        "how": [printable(step) for step in item.finding.how],
    }
