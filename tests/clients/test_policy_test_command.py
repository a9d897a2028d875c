"""`pullgate policy test`: finds tests, runs them offline, and reports for people, programs and CI systems."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from pullgate_cli import policy_test

ACME = "organization: acme\nimage_access: {enabled: true, allow: {official_images: true}}\n"
OPEN_ACME = ACME.replace("}}", ", community_images: true}}")
TESTS = """\
policy: ../acme.yaml
identities:
  dev: {user: dev, organizations: [acme]}
categories: {someuser: community}
cases:
  - {name: official images, identity: dev, references: [nginx, redis], expect: allow}
  - {name: tools, identity: dev, reference: someuser/tool, expect: {effect: deny, category: community}}
"""
FAILING = TESTS.replace("deny, category: community", "allow, reason: ALLOWLISTED")


def run(*arguments: Path | str) -> Result:
    """Run `pullgate policy test`."""
    return CliRunner().invoke(policy_test.test, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A policy, its tests in a folder beside it, and other YAML files that are no tests."""
    write(tmp_path, {"acme.yaml": ACME, "tests/acme.yaml": TESTS, "ci.yml": "jobs: &all {}\n", ".ci/x.yaml": TESTS})
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_a_folder_of_tests_that_pass(folder: Path) -> None:
    """Of a folder the files with cases are run, and it is said how many others there are."""
    result = run(folder)

    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"{folder}/tests/acme.yaml  3 passed",
        "3 passed in 1 file (2 other YAML files without cases)",
    ]


def test_a_file_named_twice_is_run_once(folder: Path) -> None:
    """A file and the folder that it lies in are one file."""
    assert run(folder / "tests/acme.yaml", folder / "tests", folder / "tests/acme.yaml").output.splitlines()[-1] == (
        "3 passed in 1 file"
    )


def test_a_failing_case_is_explained(folder: Path) -> None:
    """A failure says which case, expected and got for each field that differs, the reason in words and the rule."""
    write(folder, {"tests/failing.yml": FAILING})
    result = run(folder / "tests")

    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"{folder}/tests/acme.yaml  3 passed",
        f"{folder}/tests/failing.yml  2 passed, 1 failed",
        "  FAILED  tools",
        "          dev: someuser/tool",
        "          effect        expected allow, got deny",
        "          reason        expected ALLOWLISTED, got CATEGORY_NOT_ALLOWED",
        "          because       image access denied: community images not allowed",
        "          rule          image_access.allow.community_images of acme",
        "5 passed, 1 failed in 2 files",
    ]


def test_a_reference_that_is_none_is_explained(folder: Path) -> None:
    """A case about a text that is no reference fails with what is wrong with the text."""
    write(folder, {"tests/acme.yaml": TESTS.replace("redis]", '"a\\n"]')})
    result = run(folder / "tests")

    assert result.exit_code == 1
    assert "          dev: 'a\\n'\n          effect        expected allow, got invalid\n" in result.output
    assert "white space is not allowed in a reference" in result.output


def test_a_draft_is_tested_in_place_of_the_policy(folder: Path) -> None:
    """--policy stands in for the tests' own policy of the same organization, and leaves those of others."""
    globex = (
        TESTS.replace("../acme.yaml", "{organization: globex}").replace("[acme]", "[globex]").replace("deny", "allow")
    )
    write(folder, {"draft.yaml": OPEN_ACME, "tests/globex.yaml": globex.replace(", category: community", "")})
    result = run("--policy", folder / "draft.yaml", folder / "tests")

    assert result.exit_code == 1
    assert f"{folder}/tests/acme.yaml  2 passed, 1 failed" in result.output
    assert f"{folder}/tests/globex.yaml  3 passed" in result.output


def test_tests_without_a_policy_are_run_on_the_drafts(folder: Path) -> None:
    """A document that names no policy is run on those of --policy."""
    write(folder, {"tests/acme.yaml": TESTS.removeprefix("policy: ../acme.yaml\n")})

    assert run("--policy", folder / "acme.yaml", folder / "tests").exit_code == 0


def test_json(folder: Path) -> None:
    """Each identity and reference of a case is one object on a line of its own."""
    write(folder, {"tests/acme.yaml": FAILING})
    result = run("--json", folder / "tests")
    lines = [json.loads(line) for line in result.output.splitlines()]

    assert result.exit_code == 1
    assert [(line["case"], line["reference"], line["passed"]) for line in lines] == [
        ("official images", "nginx", True),
        ("official images", "redis", True),
        ("tools", "someuser/tool", False),
    ]
    assert lines[2]["expected"] == {"effect": "allow", "reason": "ALLOWLISTED"}
    assert lines[2]["got"] | {"effect": "deny", "category": "community"} == lines[2]["got"]
    assert lines[2]["file"] == f"{folder}/tests/acme.yaml"


def test_junit(folder: Path) -> None:
    """The report has a suite for each file, a case for each identity and reference, and what differs in failures."""
    write(folder, {"tests/failing.yaml": FAILING.replace("someuser/tool", '"a<b\\u0007"')})
    result = run("--junit", folder / "report.xml", folder / "tests")
    root = ET.parse(folder / "report.xml").getroot()

    assert result.exit_code == 1
    assert (root.tag, root.attrib["tests"], root.attrib["failures"]) == ("testsuites", "6", "1")
    assert [(suite.attrib["name"], suite.attrib["tests"], suite.attrib["failures"]) for suite in root] == [
        (f"{folder}/tests/acme.yaml", "3", "0"),
        (f"{folder}/tests/failing.yaml", "3", "1"),
    ]
    ((case, failure),) = [(case, failure) for case in root.iter("testcase") for failure in case]
    assert case.attrib["name"] == "'tools: dev, a<b\\x07'"
    assert failure.attrib["message"] == "effect: expected allow, got invalid"
    assert "because: invalid reference" in (failure.text or "")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"tests/acme.yaml": TESTS.replace("cases:", "case:")}, "there are no tests in {folder}: of 3 YAML files none"),
        ({"tests/acme.yaml": TESTS.replace("../acme", "nowhere")}, "{folder}/tests/nowhere.yaml\n  cannot be read: No"),
        (
            {
                "tests/acme.yaml": "policies: [../acme.yaml, {organization: acme}]\ncases: ["
                + TESTS.split("  - ")[1]
                + "]"
            },
            'cases[0].identity: "dev" is not among the identities; there are none, so write it here',
        ),
        (
            {
                "tests/acme.yaml": TESTS.replace(
                    "policy: ../acme.yaml", "policies: [../acme.yaml, {organization: acme}]"
                )
            },
            "policies: two are of organization acme; keep one",
        ),
        (
            {"tests/acme.yaml": TESTS.removeprefix("policy: ../acme.yaml\n")},
            "policy: is missing; write policy: FILE, or",
        ),
        (
            {
                "tests/acme.yaml": TESTS.replace("expect: allow", "expect: maybe"),
                "tests/b.yaml": "cases: [",
                "acme.yaml": "x: 1",
            },
            'not valid: {folder}/tests/acme.yaml\n  cases[0].expect: "maybe" is not an outcome; known here: allow, '
            "deny, invalid, or a section with several of them\nnot valid: {folder}/tests/b.yaml\n  line 2, column 1",
        ),
        (
            {"acme.yaml": "organization: acme\nmode: x", "tests/b.yaml": TESTS.replace("dev:", "eve:")},
            "not valid: {folder}/tests/../acme.yaml\n  mode: unknown key; known here: docker_hub, image_access,",
        ),
    ],
)
def test_documents_that_are_not_valid(folder: Path, files: dict[str, str], told: str) -> None:
    """Every problem of every file is told with file and path, and nothing is run."""
    write(folder, files)
    result = run(folder)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told.format(folder=folder) in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere.yaml"], "does not exist"),
        (["acme.yaml"], "cases: is missing"),
        (["--policy", "globex.yaml", "tests"], "no test is about organization globex, whose policy --policy names"),
        (["--policy", "acme.yaml", "--policy", "acme.yaml", "tests"], "two --policy are of organization acme; say one"),
        (["--policy", "nowhere.yaml", "tests"], "nowhere.yaml\n  cannot be read"),
        (["--junit", "nowhere/report.xml", "tests"], "nowhere/report.xml cannot be written"),
        (["latin.yaml"], "latin.yaml\n  is not UTF-8 text (byte 0)"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be run is refused with what to do about it."""
    monkeypatch.chdir(folder)
    write(folder, {"globex.yaml": "organization: globex"})
    (folder / "latin.yaml").write_bytes(b"\xe9")
    result = run(*arguments)

    assert result.exit_code == 2
    assert told in result.stderr
