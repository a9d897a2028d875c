"""The formats of `pullgate check` for programs: valid, stable, and nothing in them that a name could smuggle in."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullgate_cli.checking import github_report, sarif_report
from pullgate_cli.checking.deciding import OfflineDecider
from pullgate_cli.checking.github_report import github_summary
from pullgate_cli.checking.report import FailOn, Failure, Item, Mark, MarkedBy, Report, fingerprints
from pullgate_cli.checking.rules import RULES
from pullgate_cli.checking.writing import FORMATS
from pullgate_cli.identities import StatedIdentity
from pullgate_finders import Finding, Kind, Place, Trouble
from pullgate_finders.found import found
from pullgate_finders.values import Known, Unknown
from pullgate_policy import parse_policy_yaml
from tests.check.checking import ACME, offline, report, write

SCHEMA = json.loads((Path(__file__).parent / "sarif-schema-2.1.0.json").read_text())
"""The schema of SARIF 2.1.0 as Microsoft's SARIF SDK ships it (npm package @microsoft/sarif-multitool 5.7.0, MIT)."""

FILES = {
    "a b/ü%.images": "image someuser/x\nimage nginx\nunknown $X | no X\ntrouble cannot be read\nimage someuser/x\n",
    "Dockerfile": "# pullgate: ignore replaced next month\nFROM someuser/x\n",
}
NASTY = "evil,name=x::%0A\r\n::error::pwned\x1b[31m\x9b\u202e|<script>@everyone`*]]>&\ud800"


def sarif(*arguments):
    """The log of an offline run, valid by the schema."""
    log = json.loads(offline("--format", "sarif", *arguments).stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(log)
    return log["runs"][0]


def nasty_report():
    """A report in which every text is as bad as can be."""
    # A file's name can have any bytes, but no other halves of characters.
    place = Place(f"dir/{NASTY[:-1]}\udcff", 3, 2, 3, 9)
    findings: list[Finding] = [
        found(place, Kind.IMAGE, NASTY, Unknown(NASTY), how=(NASTY,), within=NASTY, condition=NASTY),
        found(place, Kind.IMAGE, NASTY, Known(NASTY)),
        Trouble(place=place, problem=NASTY),
    ]
    marks = (None, Mark(MarkedBy.IGNORE, NASTY), None)
    items = [Item(finding=finding, line=NASTY, mark=mark) for finding, mark in zip(findings, marks, strict=True)]
    return report_of(items)


def report_of(items, **options):
    """A report of these items."""
    from dataclasses import replace

    items = [replace(item, fingerprint=text) for item, text in zip(items, fingerprints(items), strict=True)]
    return Report(items=items, files=1, root=Path("/root"), here=Path("/root"), **options)


def test_json_says_all_there_is(repository):
    """Each finding has its place, what it came to, why, how sure that is, the decision, and whether it counts."""
    write(repository, FILES)
    data = report()
    denied = data["findings"][1]

    assert (data["version"], data["root"]) == (1, str(repository))
    assert data["summary"] == {
        "files": 2,
        "findings": 5,
        "allowed": 1,
        "monitored": 0,
        "denied": 2,
        "unresolved": 1,
        "undecided": 0,
        "troubles": 1,
        "ignored": 1,
        "in_baseline": 0,
    }
    assert [(finding["file"], finding["status"], finding["ignored"]) for finding in data["findings"]] == [
        ("Dockerfile", "denied", "replaced next month"),
        ("a b/ü%.images", "denied", None),
        ("a b/ü%.images", "allowed", None),
        ("a b/ü%.images", "unresolved", None),
        ("a b/ü%.images", "denied", None),
    ]
    assert data["troubles"] == [
        {
            "file": "a b/ü%.images",
            "line": 4,
            "column": 1,
            "end_line": 4,
            "end_column": 1,
            "problem": "cannot be read",
            "ignored": None,
            "in_baseline": False,
        }
    ]
    decision, fingerprint = denied.pop("decision"), denied.pop("fingerprint")
    assert denied == {
        "file": "a b/ü%.images",
        "line": 1,
        "column": 7,
        "end_line": 1,
        "end_column": 17,
        "kind": "image",
        "raw": "someuser/x",
        "reference": "docker.io/someuser/x:latest",
        "repository": "docker.io/someuser/x",
        "resolved": True,
        "status": "denied",
        "reason": "image access denied: community images not allowed",
        "certainty": "exact",
        "how": [],
        "within": "",
        "condition": "",
        "ignored": None,
        "in_baseline": False,
        "error": None,
        "instead": {"reference": None, "sentence": "organization acme allows organization and official images"},
    }
    assert (decision["effect"], decision["reason"], decision["category"]) == (
        "DENY",
        "CATEGORY_NOT_ALLOWED",
        "COMMUNITY",
    )
    assert re.fullmatch("[0-9a-f]{32}", fingerprint)
    unresolved = data["findings"][3]
    assert (unresolved["resolved"], unresolved["reference"], unresolved["decision"]) == (False, None, None)
    assert unresolved["repository"] is None
    assert (data["unused_ignores"], data["warnings"]) == ([], [])
    assert unresolved["reason"] == "no X"


def test_sarif_is_valid_and_says_where(repository):
    """The log is valid; results have stable rules, places in characters, relative URIs and suppressions."""
    write(repository, FILES)
    run = sarif()
    results = run["results"]
    places = [result["locations"][0]["physicalLocation"] for result in results]

    assert run["columnKind"] == "unicodeCodePoints"
    assert [result["ruleId"] for result in results] == ["PG001", "PG001", "PG002", "PG005", "PG001"]
    assert {place["artifactLocation"]["uri"] for place in places} == {"a%20b/%C3%BC%25.images", "Dockerfile"}
    assert places[0]["region"] == {"startLine": 1, "startColumn": 7, "endLine": 1, "endColumn": 17}
    assert places[3]["region"] == {"startLine": 4, "startColumn": 1}
    assert [result["suppressions"] for result in results] == [
        *([[]] * 4),
        [{"kind": "inSource", "justification": "replaced next month"}],
    ]
    assert len({result["partialFingerprints"]["pullgateFinding/v1"] for result in results}) == 5
    assert [run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] for result in results] == [
        result["ruleId"] for result in results
    ]


def test_sarif_has_no_links_from_the_files(repository):
    """Brackets and backslashes are escaped in messages, so that none of them is a link, as a viewer would show it."""
    write(repository, {"x.images": "unknown [login](https://evil.test) | no [x](https://evil.test) in C:\\x"})
    run = sarif()
    (result,) = run["results"]

    assert result["message"]["text"] == (r"\[login\](https://evil.test): no \[x\](https://evil.test) in C:\\x.")
    texts = [text for rule in run["tool"]["driver"]["rules"] for key, text in rule.items() if isinstance(text, dict)]
    assert not [text for text in texts if re.search(r"[\[\]\\]", text.get("text", "") + text.get("markdown", ""))]


def test_the_names_of_rules_stay():
    """Other systems keep what they know of a finding by its rule: numbers and names are never given to another."""
    assert {status.value: (rule.number, rule.name) for status, rule in RULES.items()} == {
        "denied": ("PG001", "DeniedImage"),
        "unresolved": ("PG002", "UnresolvedReference"),
        "undecided": ("PG003", "UndecidedImage"),
        "monitored": ("PG004", "MonitoredImage"),
        "trouble": ("PG005", "Trouble"),
    }


def test_sarif_stays_within_what_is_taken(monkeypatch):
    """Of too many results the gravest are kept, and the log says how many were left out."""
    monkeypatch.setattr(sarif_report, "MAX_RESULTS", 2)
    troubles = [Item(finding=Trouble(place=Place("a", 1, 1, 1, 1), problem="x"))] * 3
    unresolved = Item(finding=found(Place("b", 1, 1, 1, 2), Kind.IMAGE, "$X", Unknown("no X")))
    log = json.loads(FORMATS["sarif"](report_of([*troubles, unresolved])))
    jsonschema.Draft202012Validator(SCHEMA).validate(log)
    (run,) = log["runs"]

    assert [result["ruleId"] for result in run["results"]] == ["PG002", "PG005"]
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"] == "2 results of 4 left out: GitHub takes 2."


def test_fingerprints_stay_when_lines_move(repository):
    """A finding on another line has the same fingerprint; of equal ones in a file each has one of its own."""
    write(repository, FILES)
    before = {(item["file"], item["raw"]): item["fingerprint"] for item in report()["findings"]}
    write(repository, {name: f"\n\n{text}" for name, text in FILES.items()})
    after = {(item["file"], item["raw"]): item["fingerprint"] for item in report()["findings"]}

    assert before == after
    assert len({item["fingerprint"] for item in report()["findings"]}) == 5


def test_gitlab(repository):
    """A list of findings with unique fingerprints; what is ignored is of severity info and says why."""
    write(repository, FILES)
    findings = json.loads(offline("--format", "gitlab").stdout)

    assert [(item["check_name"], item["severity"], item["location"]["lines"]["begin"]) for item in findings] == [
        ("PG001", "info", 2),
        ("PG001", "critical", 1),
        ("PG002", "minor", 3),
        ("PG005", "minor", 4),
        ("PG001", "critical", 5),
    ]
    assert findings[0]["description"].startswith("(ignore: replaced next month) docker.io/someuser/x:latest: image")
    assert findings[1]["location"]["path"] == "a b/ü%.images"
    assert len({item["fingerprint"] for item in findings}) == 5


def test_junit(repository):
    """A testcase for each reference: denied ones fail, what could not be found out is skipped or fails as is asked."""
    write(repository, FILES)

    def outcomes(*arguments):
        root = ET.fromstring(offline("--format", "junit", *arguments).stdout)
        return root.attrib, [[child.tag for child in case] for case in root.iter("testcase")]

    totals, cases = outcomes()
    assert cases == [["skipped"], ["failure"], [], ["skipped"], ["skipped"], ["failure"]]
    assert (totals["tests"], totals["failures"], totals["skipped"]) == ("6", "2", "3")
    assert outcomes("--fail-on", "unresolved")[1] == [
        ["skipped"],
        ["failure"],
        [],
        ["failure"],
        ["failure"],
        ["failure"],
    ]


def test_github_shows_ten_and_the_summary_all(repository):
    """Ten annotations of a level, the number of the rest, and all of them in the summary of the job."""
    lines = [f"image someuser/x{number}" for number in range(12)]
    write(repository, {"x.images": "\n".join([*lines, "unknown $X | no X"])})
    summary = repository / "summary.md"
    result = offline("--format", "github", environment={"GITHUB_STEP_SUMMARY": str(summary)})
    told = result.stdout.splitlines()

    assert [line.partition(" ")[0] for line in told] == [*["::error"] * 10, "2", "::warning", "pullgate"]
    assert told[0] == (
        "::error file=x.images,line=1,endLine=1,title=Image denied,col=7,endColumn=18::docker.io/someuser/x0:latest: "
        "image access denied: community images not allowed. Instead: organization acme allows organization and "
        "official images."
    )
    assert told[10] == "2 more of level error: see the summary of the job"
    assert summary.read_text().count("| denied |") == 12


def test_github_shows_the_gravest_first():
    """What is denied is not crowded out by what nobody answered, and the same failure is annotated once."""
    failure = Failure("UNAVAILABLE", "no service answers")
    texts = [f"someuser/x{number}" for number in range(12)]
    images = [found(Place("a", line, 1, line, 2), Kind.IMAGE, text, Known(text)) for line, text in enumerate(texts, 1)]
    denied = decided_alone("someuser/evil", Place("z", 9, 1, 9, 2))
    other = Item(finding=images[11], result=Failure("INTERNAL", "it broke"))
    items = [*(Item(finding=image, result=failure) for image in images[:11]), other, denied]
    lines = FORMATS["github"](report_of(items)).splitlines()

    assert [line.partition("::")[2].partition("::")[0].split(",")[0] for line in lines[:3]] == [
        "error file=z",
        "error file=a",
        "error file=a",
    ]
    assert lines[1].endswith("::no answer about 11 image references: no service answers")
    assert lines[2].endswith("::docker.io/someuser/x11:latest: it broke.")
    assert len(lines) == 4


def decided_alone(text, place):
    """An item that the policy of the tests denies."""
    decider = OfflineDecider([parse_policy_yaml(ACME)], (), StatedIdentity(), datetime(2026, 1, 1, tzinfo=UTC))
    image = found(place, Kind.IMAGE, text, Known(text))
    assert image.reference is not None
    return Item(finding=image, result=decider.decide_all([image.reference])[0])


def test_a_summary_stays_within_what_is_taken(monkeypatch):
    """A summary too long is cut, and says how many are left out."""
    monkeypatch.setattr(github_report, "MAX_SUMMARY", 200)
    items = [Item(finding=Trouble(place=Place("a", line, 1, line, 1), problem="x" * 50)) for line in range(1, 9)]
    summary = github_summary(report_of(items))

    assert summary.count("| trouble |") == 2
    assert "6 more are left out." in summary


@pytest.mark.parametrize("form", [*FORMATS, "summary"])
def test_no_name_smuggles_anything_in(form):
    """Whatever stands in the files, no form has a control character in it that came from there, or half a character."""
    text = github_summary(nasty_report()) if form == "summary" else FORMATS[form](nasty_report())
    text = re.sub(r"\x1b\[[0-9;]*m", "", text) if form == "text" else text

    text.encode()
    assert not [character for character in text if not character.isprintable() and character != "\n"]
    assert "\x1b" not in text


def test_github_commands_cannot_be_injected():
    """A name can neither end a command nor begin one, nor add a property to one, nor say anything in Markdown."""
    lines = FORMATS["github"](nasty_report()).splitlines()

    assert [re.match(r"::(error|warning|notice) |pullgate check: ", line) is not None for line in lines] == [True] * 3
    for line in lines[:-1]:
        properties, _, _ = line.removeprefix("::warning ").partition("::")
        assert [item.partition("=")[0] for item in properties.split(",")] == (
            ["file", "line", "endLine", "title", "col", "endColumn"]
        )
    rows = [line for line in github_summary(nasty_report()).splitlines() if line.startswith("| ")]
    assert [line.count("|") for line in rows] == [4] * 4
    assert not re.search(r"[<`@]|\]\(", "".join(rows[1:]))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    texts=st.lists(st.text(max_size=40), min_size=4, max_size=4),
    columns=st.lists(st.integers(1, 60), min_size=2, max_size=2),
)
def test_every_form_is_well_formed_whatever_the_texts(texts, columns):
    """Whatever names, reasons and lines there are, JSON and XML can be read back and the mark is drawn."""
    file, raw, reason, line = texts
    start, end = sorted(columns)
    place = Place(file or "x", 1, start, 1, end)
    findings: list[Finding] = [
        found(place, Kind.IMAGE, raw, Known(raw)),
        found(place, Kind.IMAGE, raw, Unknown(reason)),
        Trouble(place=place, problem=reason),
    ]
    made = report_of([Item(finding=finding, line=line) for finding in findings], fail_on=FailOn.UNRESOLVED)

    json.loads(FORMATS["json"](made))
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(FORMATS["sarif"](made)))
    assert len({item["fingerprint"] for item in json.loads(FORMATS["gitlab"](made))}) == 3
    assert len(list(ET.fromstring(FORMATS["junit"](made)).iter("testcase"))) == 3
    assert FORMATS["text"](made).count("^") >= (3 if line else 0)
    assert len(FORMATS["github"](made).splitlines()) == 4
