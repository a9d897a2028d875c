"""Tests of policies: the format says what the tables of decisions say, and what is wrong is told with its path."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

import tests.vectors
from pullgate_policy import Policy, Reason, parse_policy
from pullgate_policy.policy_tests import CaseResult, InvalidPolicyTestsError, Mismatch, parse_policy_tests

NOW = datetime(2026, 6, 1, tzinfo=UTC)
POLICY = """
policy:
  organization: acme
  image_access:
    enabled: true
    allow: {official_images: true}
    allowlist: {repositories: [{repository: old/news, expires_at: 2026-05-01T00:00:00Z}]}
identities:
  dev: {user: dev, organizations: [acme]}
  ada: {user: ada, organizations: [{name: acme, role: owner, teams: [web]}]}
categories: {someuser: community, someuser/vetted: official}
"""


def run(text: str, now: datetime = NOW) -> list[CaseResult]:
    """What comes out of a document whose policies stand in it."""
    document = parse_policy_tests(text)
    return list(document.run([policy for policy in document.all_policies if isinstance(policy, Policy)], now))


def run_cases(cases: str, now: datetime = NOW) -> list[CaseResult]:
    """What comes out of cases for one policy."""
    return run(f"{POLICY}cases:\n{cases}", now)


def converted_rows() -> Iterator[Any]:
    """Each row of the tables of decisions as a document of its own."""
    for path in sorted(Path(tests.vectors.__file__).parent.glob("*.yaml")):
        table = yaml.safe_load(path.read_text())
        for row in table["cases"]:
            names = row.get("policies", [row["policy"]] if "policy" in row else [])
            # A row without a policy asks an organization that has none, beside one that nobody asks.
            policies = [table["policies"][name] for name in names] or [{"organization": "globex"}]
            document = {"policies": policies, "cases": [converted(row)]}
            yield pytest.param(yaml.safe_dump(document), id=row["id"])


def converted(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the tables as a case of a test."""
    return {
        "name": row["id"],
        "identity": row["identity"],
        "reference": row["reference"],
        "categories": {name: word.lower() for name, word in row.get("categories", {}).items()},
        "now": row.get("now"),
        "organizations": [] if "policies" in row or "policy" in row else [tests.vectors.ORGANIZATION],
        "expect": converted_expectation(row["expect"]),
    }


def converted_expectation(expect: dict[str, Any]) -> Any:
    """An expectation of the tables in the words of a test."""
    if "error" in expect:
        return "invalid"
    lowercase = {"effect", "policy_effect", "category"}
    return {field: value.lower() if field in lowercase else value for field, value in expect.items()}


@pytest.mark.parametrize("text", list(converted_rows()))
def test_the_tables_of_decisions_can_be_said(text: str) -> None:
    """Each row of the tables, written as a test, passes."""
    (result,) = run(text)

    assert result.passed, result.mismatches


def test_a_case_is_run_for_each_identity_with_each_reference() -> None:
    """Lists of identities and references make a matrix, in order."""
    results = run_cases("- {identities: [dev, {anonymous: true}], references: [nginx, redis], expect: allow}")

    assert [(result.identity, result.reference, result.passed) for result in results] == [
        ("dev", "nginx", True),
        ("dev", "redis", True),
        ("nobody", "nginx", True),
        ("nobody", "redis", True),
    ]


def test_a_failing_case_says_what_came_out() -> None:
    """Each field that is not as expected is told, with both values; fields that nobody asked for are not."""
    (result,) = run_cases(
        "- {name: tools, identity: dev, reference: someuser/tool, expect: {effect: allow, reason: ALLOWLISTED, "
        "category: community, enforced: true, message: ''}}"
    )

    assert result.mismatches == (
        Mismatch(field="effect", expected="allow", got="deny"),
        Mismatch(field="reason", expected="ALLOWLISTED", got="CATEGORY_NOT_ALLOWED"),
        Mismatch(field="message", expected="nothing", got="image access denied: community images not allowed"),
    )
    assert (result.case, result.identity, result.reference) == ("tools", "dev", "someuser/tool")
    assert result.decision is not None
    assert result.decision.reason is Reason.CATEGORY_NOT_ALLOWED


def test_a_reference_that_is_none_fails_a_case() -> None:
    """A text that is no reference is invalid, whatever else was expected, and says why."""
    (result,) = run_cases("- {identity: dev, reference: Some/Thing, expect: {effect: allow, enforced: true}}")

    assert {item.field: item.got for item in result.mismatches} == {"effect": "invalid", "enforced": "nothing"}
    assert "uppercase" in str(result.error)


@pytest.mark.parametrize(
    ("case", "category"),
    [
        ("reference: nginx", "official"),
        ("reference: someuser/tool", "community"),
        ("reference: someuser/vetted", "official"),
        ("reference: other/x", "unknown"),
        ("reference: acme/app", "organization"),
        ("reference: other/x, categories: {other: verified_publisher}", "verified_publisher"),
        ("reference: someuser/tool, categories: {someuser/tool: unknown}", "unknown"),
        ("reference: someuser/tool, categories: {someuser: sponsored_open_source}", "community"),
        ("reference: nginx, categories: {library: community}", "community"),
    ],
)
def test_categories(case: str, category: str) -> None:
    """A case's own word counts before the document's, a repository's before its namespace's, and library's last."""
    (result,) = run_cases(f"- {{identity: dev, {case}, expect: {{category: {category}}}}}")

    assert result.passed, result.mismatches


@pytest.mark.parametrize(
    ("document_now", "case_now", "now", "effect"),
    [
        ("", "", "2026-04-30T00:00:00Z", "allow"),
        ("", "", "2026-05-01T00:00:00Z", "deny"),
        ("now: 2026-04-30T00:00:00Z", "", "2026-06-01T00:00:00Z", "allow"),
        ("now: 2026-04-30T00:00:00Z", "now: 2026-05-01T00:00:00Z,", "2026-04-01T00:00:00Z", "deny"),
    ],
)
def test_the_moment(document_now: str, case_now: str, now: str, effect: str) -> None:
    """A case's own moment counts before the document's, and that before the moment of the run."""
    case = f"cases: [{{identity: dev, reference: old/news, {case_now} expect: {effect}}}]"
    (result,) = run(f"{POLICY}{document_now}\n{case}", datetime.fromisoformat(now))

    assert result.passed, result.mismatches


@pytest.mark.parametrize(
    ("case", "organization", "reason"),
    [
        ("identity: {user: dev, organizations: [acme]}", "acme", "CATEGORY_ALLOWED"),
        ("identity: {user: dev, organizations: [globex]}", "globex", "CATEGORY_NOT_ALLOWED"),
        ("identity: {user: dev, organizations: [acme, globex]}", "globex", "CATEGORY_NOT_ALLOWED"),
        ("identity: {user: guest, organizations: [initech]}", "acme", "SIGN_IN_REQUIRED"),
        ("identity: {user: guest}", "acme", "SIGN_IN_REQUIRED"),
        ("identity: {anonymous: true}", "acme", "SIGN_IN_REQUIRED"),
        ("identity: {anonymous: true}, organizations: [globex]", "globex", "NOT_SIGNED_IN"),
        ("identity: {user: dev, organizations: [globex]}, organizations: [acme]", "globex", "CATEGORY_NOT_ALLOWED"),
        ("identity: {user: guest, organizations: [initech]}, organizations: [globex]", "initech", "POLICY_DISABLED"),
    ],
)
def test_who_is_asked(case: str, organization: str, reason: str) -> None:
    """Asked are the organizations signed in with and those that the case names, or all if that is none."""
    acme = {
        "organization": "acme",
        "sign_in": {"required": True},
        "image_access": {"enabled": True, "allow": {"official_images": True}},
    }
    globex = {"organization": "globex", "image_access": {"enabled": True}}
    text = f"cases: [{{{case}, reference: nginx, expect: {{organization: {organization}, reason: {reason}}}}}]"
    (result,) = parse_policy_tests(text).run([parse_policy(acme), parse_policy(globex)], NOW)

    assert result.passed, result.mismatches


def test_policies_are_names_of_files_or_stand_in_the_document() -> None:
    """Whoever runs the tests reads the files; a document may name none at all."""
    case = "cases: [{identity: {anonymous: true}, reference: nginx, expect: allow}]"

    assert parse_policy_tests(f"policy: acme.yaml\n{case}").all_policies == ("acme.yaml",)
    assert parse_policy_tests(f"policies: [a.yaml, {{organization: globex}}]\n{case}").all_policies == (
        "a.yaml",
        Policy(organization="globex"),
    )
    assert parse_policy_tests(case).all_policies == ()


CASE = "identity: {anonymous: true}, reference: nginx"
PROBLEMS = [
    ("", ["cases: is missing"]),
    ("cases: [", ["line 2, column 1: did not find expected node content"]),
    ("cases: []", ["cases is empty; write at least one, such as {identity: …, reference: …, expect: allow}"]),
    ("polices: a.yaml\ncases: 1", ["polices: unknown key; did you mean policies?", "cases: expected a list"]),
    (f"policy: a\npolicies: [b]\ncases: [{{{CASE}, expect: allow}}]", ["write either policy or policies"]),
    (
        f"policy: {{organization: Acme, mode: x}}\ncases: [{{{CASE}, expect: allow}}]",
        ['policy.organization: "Acme" is not lowercase', "policy.mode: unknown key"],
    ),
    (
        "cases: [{expect: alow}, {identity: {anonymous: true}, expect: [x]}]",
        [
            'cases[0].expect: "alow" is not an outcome; did you mean allow?, or a section',
            "cases[1].expect: expected a section with keys, got a list",
        ],
    ),
    (
        "cases: [{identity: {anonymous: true}, reference: a, references: [b], expect: allow}, {expect: deny}]",
        ["cases[0]: write either reference or references", "cases[1]: write either identity or identities"],
    ),
    (
        f"cases: [{{{CASE}, expect: {{reason: CATEGORY_ALOWED, category: publisher, effect: DENY, colour: red}}}}]",
        [
            'cases[0].expect.reason: "CATEGORY_ALOWED" is not a reason; did you mean CATEGORY_ALLOWED?',
            'cases[0].expect.category: "publisher" is not a category; did you mean verified_publisher?',
            'cases[0].expect.effect: the text "DENY" is not a choice; known here: allow, deny, invalid',
            "cases[0].expect.colour: unknown key",
        ],
    ),
    (
        f"cases: [{{{CASE}, expect: {{}}}}, {{{CASE}, expect: {{effect: invalid, category: official}}}}]",
        [
            "cases[0].expect: nothing is expected; write allow, deny or invalid",
            "cases[1].expect: of what is no image reference nothing else can be expected; write invalid alone",
        ],
    ),
    (
        "identities: {dev: {user: dev, anonymous: true}, '': {user: x, organizations: [Acme, 1]}, eve: {}, "
        "two: {user: two, organizations: [acme, {name: acme}]}}\n"
        "cases: [{identity: x, reference: nginx, expect: deny}]",
        [
            "identities.dev: nobody is signed in where anonymous is true; leave user and organizations out",
            'identities.: "" is not a name for an identity: it is empty',
            'identities..organizations[0]: "Acme" is not lowercase; write "acme"',
            "identities..organizations[1]: expected a section with keys, got the number 1",
            "identities.eve: write user: NAME, or anonymous: true for nobody",
            "identities.two: organization acme stands twice; join its teams",
        ],
    ),
    (
        "identities: {dev: {user: dev}}\ncases: [{identity: dave, reference: nginx, expect: deny}, "
        "{identities: [dev, {user: ' x'}, devv], reference: nginx, expect: deny}]",
        ['cases[1].identities[1].user: " x" is not a username'],
    ),
    (
        "identities: {dev: {user: dev}}\ncases: [{identity: ada, reference: nginx, expect: deny}, "
        "{identities: [dev, devv], reference: nginx, expect: deny}]",
        [
            'cases[0].identity: "ada" is not among the identities; known here: dev',
            'cases[1].identities[1]: "devv" is not among the identities; did you mean dev?',
        ],
    ),
    (
        "cases: [{identity: dev, reference: nginx, expect: deny}]",
        ['cases[0].identity: "dev" is not among the identities; there are none, so write it here'],
    ),
    (
        f"now: soon\ncategories: {{ghcr.io/a: community, someuser: organization}}\ncases: [{{{CASE}, expect: allow}}]",
        [
            'now: the text "soon" is not a time such as 2027-01-01T00:00:00Z',
            'categories.ghcr.io/a: "ghcr.io/a" is not a namespace or repository of Docker Hub',
            'categories.someuser: the text "organization" is not a choice',
        ],
    ),
]


@pytest.mark.parametrize(("text", "told"), PROBLEMS)
def test_problems(text: str, told: list[str]) -> None:
    """Every problem of a document of tests is told at its path, with what to do."""
    with pytest.raises(InvalidPolicyTestsError) as raised:
        parse_policy_tests(text)
    problems = [str(problem) for problem in raised.value.problems]

    assert len(told) == len(problems), problems
    assert all(problem.startswith(expected) for problem, expected in zip(problems, told, strict=True)), problems
