"""`pullgate policy test`: runs tables of decisions against policies, without a server."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from pullgate_cli.decide import reason_in_words
from pullgate_cli.files import has_cases, refuse, yaml_files
from pullgate_policy import InvalidPolicyError, Policy, parse_policy_yaml
from pullgate_policy.errors import Problem
from pullgate_policy.policy_tests import CaseResult, InvalidPolicyTestsError, PolicyTests, parse_policy_tests

FAILED = 1
"""Exit code: at least one case came out other than expected."""

_FILE = click.Path(path_type=Path, dir_okay=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A file of tests and the policies it is run on."""

    path: Path
    tests: PolicyTests
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """A file of tests and what came out."""

    path: Path
    results: tuple[CaseResult, ...]

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        return tuple(result for result in self.results if not result.passed)


@click.command(
    epilog="""\b
A file of tests:
  policy: acme.yaml              # beside it; or policies: [acme.yaml, globex.yaml]
  identities:
    dev: {user: dev, organizations: [acme]}
    nobody: {anonymous: true}
  categories: {someuser: community, bitnami: verified_publisher}
  cases:
    - {name: official images are allowed, identity: dev, references: [nginx, redis], expect: allow}
    - {identity: dev, reference: someuser/tool, expect: {effect: deny, reason: CATEGORY_NOT_ALLOWED}}

\b
Examples:
  pullgate policy test policies/
  pullgate policy test --policy draft.yaml --junit report.xml policies/

\b
Exit codes:
  0  every case came out as expected
  1  at least one did not
  2  wrong usage, or a document that is not valid"""
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--policy",
    "drafts",
    multiple=True,
    type=_FILE,
    help="A policy to test in place of the tests' own one of the same organization; repeatable.",
)
@click.option("--junit", type=_FILE, help="Write a report in JUnit's XML format.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each case.")
def test(paths: Sequence[Path], drafts: Sequence[Path], junit: Path | None, as_json: bool) -> None:
    """Test policies without a server. Of a folder all YAML files with `cases` are tests, but none in hidden ones."""
    now = datetime.now(UTC)
    reader = _Reader()
    replacements = reader.replacements(drafts)
    found = [reader.prepare(path, text, replacements) for path, text in reader.find_tests(paths)]
    prepared = [item for item in found if item is not None]
    if reader.problems:
        refuse("not valid", reader.problems)
    if not prepared:
        raise click.UsageError(
            f"there are no tests in {', '.join(map(str, paths))}: of {_count(reader.passed_over, 'YAML file')} "
            "none has cases"
        )
    _check_tested(replacements, prepared)
    ran = [_Ran(path=item.path, results=tuple(item.tests.run(item.policies, now))) for item in prepared]
    for item in ran:
        click.echo("\n".join(_json_lines(item) if as_json else _told(item)))
    if not as_json:
        click.echo(_summary(ran, reader.passed_over))
    if junit is not None:
        _write_junit(junit, ran)
    sys.exit(FAILED if any(item.failures for item in ran) else 0)


class _Reader:
    """Reads files, each once, and notes what is wrong with them.

    Attributes:
        problems: by file, in the order in which they were found.
        passed_over: how many YAML files in folders hold no tests.
    """

    def __init__(self) -> None:
        self.problems: dict[Path, list[Problem]] = {}
        self.passed_over = 0
        self._policies: dict[Path, Policy | None] = {}

    def find_tests(self, paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
        """The files of tests, each once, with their texts. Hidden folders are not looked into."""
        seen: set[Path] = set()
        for path in paths:
            for file in yaml_files(path) if path.is_dir() else [path]:
                text = None if file.resolve() in seen else self._read(file)
                seen.add(file.resolve())
                if text is not None and path.is_dir() and not has_cases(text):
                    self.passed_over += 1
                elif text is not None:
                    yield file, text

    def prepare(self, path: Path, text: str, replacements: Mapping[str, Policy]) -> _Prepared | None:
        """The tests with their policies; of no use if anything was noted."""
        try:
            tests = parse_policy_tests(text)
        except InvalidPolicyTestsError as error:
            self._note(path, error.problems)
            return None
        sources = tests.all_policies or tuple(replacements.values())
        if not sources:
            self._note(path, [Problem("policy", "is missing; write policy: FILE, or say --policy FILE")])
        policies: dict[str, Policy] = {}
        for source in sources:
            policy = source if isinstance(source, Policy) else self._policy(path.parent / source)
            if policy is None:
                continue
            if policy.organization in policies:
                self._note(path, [Problem("policies", f"two are of organization {policy.organization}; keep one")])
            policies[policy.organization] = replacements.get(policy.organization, policy)
        return _Prepared(path=path, tests=tests, policies=tuple(policies.values()))

    def replacements(self, drafts: Iterable[Path]) -> Mapping[str, Policy]:
        """The policies of these files by organization."""
        policies: dict[str, Policy] = {}
        for draft in drafts:
            policy = self._policy(draft)
            if policy is not None and policy.organization in policies:
                raise click.UsageError(f"two --policy are of organization {policy.organization}; say one")
            if policy is not None:
                policies[policy.organization] = policy
        return policies

    def _policy(self, path: Path) -> Policy | None:
        if path not in self._policies:
            self._policies[path] = None
            text = self._read(path)
            try:
                self._policies[path] = None if text is None else parse_policy_yaml(text)
            except InvalidPolicyError as error:
                self._note(path, error.problems)
        return self._policies[path]

    def _read(self, path: Path) -> str | None:
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            self._note(path, [Problem("", f"cannot be read: {error.strerror}")])
        except UnicodeDecodeError as error:
            self._note(path, [Problem("", f"is not UTF-8 text (byte {error.start})")])
        return None

    def _note(self, path: Path, problems: Iterable[Problem]) -> None:
        self.problems.setdefault(path, []).extend(problems)


def _check_tested(replacements: Mapping[str, Policy], prepared: Iterable[_Prepared]) -> None:
    """Refuse a draft that no test is about: its author would take the others' passing for its own."""
    tested = {policy.organization for item in prepared for policy in item.policies}
    untested = sorted(replacements.keys() - tested)
    if untested:
        raise click.UsageError(f"no test is about organization {', '.join(untested)}, whose policy --policy names")


def _told(ran: _Ran) -> Iterator[str]:
    """A line for the file, and a block for each failure."""
    failed = len(ran.failures)
    counts = f"{len(ran.results) - failed} passed" + (f", {failed} failed" if failed else "")
    yield f"{ran.path}  {click.style(counts, fg='red' if failed else 'green')}"
    for result in ran.failures:
        yield f"  {click.style('FAILED', fg='red', bold=True)}  {_one_line(result.case)}"
        yield f"          {_one_line(result.identity)}: {_one_line(result.reference)}"
        for name, value in _explanation(result):
            yield f"          {click.style(f'{name:<13}', dim=True)} {value}"


def _explanation(result: CaseResult) -> Iterator[tuple[str, str]]:
    """Each field that is not as expected, and why it came out so."""
    for mismatch in result.mismatches:
        yield mismatch.field, f"expected {_one_line(mismatch.expected)}, got {_one_line(mismatch.got)}"
    if result.error is not None:
        yield "because", str(result.error)
    if result.decision is not None:
        yield "because", reason_in_words(result.decision)
        if result.decision.matched_rule:
            yield "rule", f"{result.decision.matched_rule} of {result.decision.organization}"


def _summary(ran: Sequence[_Ran], passed_over: int) -> str:
    failed = sum(len(item.failures) for item in ran)
    passed = sum(len(item.results) for item in ran) - failed
    counts = f"{passed} passed" + (f", {failed} failed" if failed else "")
    others = f" ({_count(passed_over, 'other YAML file')} without cases)" if passed_over else ""
    return f"{click.style(counts, fg='red' if failed else 'green', bold=True)} in {_count(len(ran), 'file')}{others}"


def _json_lines(ran: _Ran) -> Iterator[str]:
    for result in ran.results:
        data = {
            "file": str(ran.path),
            "case": result.case,
            "identity": result.identity,
            "reference": result.reference,
            "passed": result.passed,
            "expected": dict(result.expected),
            "got": dict(result.got),
            "error": None if result.error is None else str(result.error),
        }
        yield json.dumps(data, ensure_ascii=False)


def _write_junit(path: Path, ran: Sequence[_Ran]) -> None:
    """One testsuite for each file, one testcase for each identity and reference of a case."""
    from xml.etree import ElementTree as ET

    root = ET.Element("testsuites", {"name": "pullgate policy test", **_totals(*ran)})
    for item in ran:
        file = _one_line(str(item.path))
        suite = ET.SubElement(root, "testsuite", {"name": file, **_totals(item)})
        for result in item.results:
            name = _one_line(f"{result.case}: {result.identity}, {result.reference}")
            case = ET.SubElement(suite, "testcase", {"name": name, "classname": file, "time": "0"})
            if not result.passed:
                lines = [f"{field}: {value}" for field, value in _explanation(result)]
                ET.SubElement(case, "failure", {"message": lines[0]}).text = "\n".join(lines)
    ET.indent(root)
    try:
        ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from error


def _totals(*ran: _Ran) -> dict[str, str]:
    return {
        "tests": str(sum(len(item.results) for item in ran)),
        "failures": str(sum(len(item.failures) for item in ran)),
        "errors": "0",
        "skipped": "0",
        "time": "0",
    }


def _one_line(text: str) -> str:
    """The text as it can be shown and stand in XML: what cannot be printed is escaped."""
    return text if text.isprintable() else ascii(text)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
