"""Tests of policies: tables of who pulls what, and what is to come out. Read and run without a server.

    policy: acme.yaml
    now: 2026-06-01T00:00:00Z
    identities:
      dev: {user: dev, organizations: [acme]}
      ada: {user: ada, organizations: [{name: acme, role: owner, teams: [data-science]}]}
      nobody: {anonymous: true}
    categories:
      someuser: community
      bitnami: verified_publisher
    cases:
      - {name: official images are allowed, identities: [dev, nobody], references: [nginx, "redis:7"], expect: allow}
      - {identity: dev, reference: someuser/tool, expect: {effect: deny, reason: CATEGORY_NOT_ALLOWED}}
      - {identity: dev, reference: Not/A/Reference, expect: invalid}

A policy is written as a file's name or stands in the test itself; `policies` is a list of either. A case is run for
each of its identities with each of its references, and may say `categories` and `now` of its own. Of Docker Hub's
namespaces and repositories that `categories` does not list, `library` is official and all others are unknown.

Asked are the organizations that the identity is signed in with. An identity that is signed in with none of the
policies' organizations asks all of these. `organizations` in a case names who is asked besides those signed in with,
in place of that.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pullgate_policy.category import Category, CategoryEvidence, CommunityClass
from pullgate_policy.decision import CategoryNeeded, Decision, Reason, decide, organizations_concerned
from pullgate_policy.docker_hub import HubRepository, hub_repository
from pullgate_policy.document import (
    Boolean,
    Choice,
    Kind,
    ListOf,
    MapOf,
    Plain,
    Record,
    SetOf,
    Text,
    Timestamp,
    suggestion,
    written,
)
from pullgate_policy.errors import InvalidDocumentError, InvalidReferenceError, Problem, shown
from pullgate_policy.identity import CredentialKind, Identity, Membership, Role
from pullgate_policy.members import user_name
from pullgate_policy.names import hub_name, organization_name, short_note, team_name
from pullgate_policy.policy import Effect, Policy
from pullgate_policy.reference import OFFICIAL_NAMESPACE, parse_reference
from pullgate_policy.yaml_text import InvalidYamlError, load_yaml

T = TypeVar("T")


class InvalidPolicyTestsError(InvalidDocumentError):
    """A document of tests has problems."""


class _TextOr(Generic[T]):
    """A section, or a text that says it shorter."""

    def __init__(self, text: Kind[Any], section: Kind[Any]) -> None:
        self._text = text
        self._section = section

    def read(self, data: object, path: str, problems: list[Problem]) -> T | None:
        """What the text or the section means."""
        return (self._text if isinstance(data, str) else self._section).read(data, path, problems)

    def write(self, value: T) -> Plain:
        """A text as it is, all else in full."""
        return value if isinstance(value, str) else self._section.write(value)

    def json_schema(self) -> dict[str, Plain]:
        """Either of the two."""
        return {"anyOf": [self._text.json_schema(), self._section.json_schema()]}


class Outcome(enum.Enum):
    """What comes out of a case."""

    ALLOW = "allow"
    """The image may be used."""

    DENY = "deny"
    """It may not."""

    INVALID = "invalid"
    """No decision: the text is no image reference."""


class KnownCategory(enum.Enum):
    """What a test says of a namespace or repository. Whose namespace is an organization's own, policies say."""

    OFFICIAL = "official"
    VERIFIED_PUBLISHER = "verified_publisher"
    COMMUNITY = "community"
    SPONSORED_OPEN_SOURCE = "sponsored_open_source"
    UNKNOWN = "unknown"

    @property
    def evidence(self) -> CategoryEvidence:
        """What a decision says of the category."""
        if self is KnownCategory.SPONSORED_OPEN_SOURCE:
            sponsored = CommunityClass.SPONSORED_OPEN_SOURCE
            return CategoryEvidence(category=Category.COMMUNITY, community_class=sponsored, source="test")
        return CategoryEvidence(category=Category[self.name], source="test")


def _reason(text: str) -> Reason:
    if text not in Reason.__members__:
        raise ValueError(f"is not a reason{suggestion(text, Reason.__members__)}")
    return Reason[text]


def _category(text: str) -> Category:
    words = {category.name.lower(): category for category in Category}
    if text not in words:
        raise ValueError(f"is not a category{suggestion(text, words)}")
    return words[text]


def _identity_name(text: str) -> str:
    if not text.strip():
        raise ValueError("is not a name for an identity: it is empty")
    return short_note(text)


def _file_name(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("is not a file's name: it is empty, or has control characters in it")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What is to come out; None for what may be anything. The fields are those of a decision."""

    effect: Outcome | None = written(Choice(Outcome), default=None)
    policy_effect: Effect | None = written(Choice(Effect), default=None)
    enforced: bool | None = written(Boolean(), default=None)
    reason: Reason | None = written(Text(_reason, lambda reason: reason.name), default=None)
    message: str | None = written(Text(str), default=None)
    help: str | None = written(Text(str), default=None)
    category: Category | None = written(Text(_category, lambda category: category.name.lower()), default=None)
    reference: str | None = written(Text(str), default=None)
    organization: str | None = written(Text(organization_name), default=None)
    matched_rule: str | None = written(Text(str), default=None)

    def __post_init__(self) -> None:
        said = [name for name in Expectation.__slots__ if getattr(self, name) is not None]
        if not said:
            raise ValueError("nothing is expected; write allow, deny or invalid")
        if self.effect is Outcome.INVALID and len(said) > 1:
            raise ValueError("of what is no image reference nothing else can be expected; write invalid alone")


_expectation: Record[Expectation] = Record(Expectation, omit_defaults=True)


def _expected_effect(text: str) -> Expectation:
    words = {outcome.value: outcome for outcome in Outcome}
    if text not in words:
        raise ValueError(f"is not an outcome{suggestion(text, words)}, or a section with several of them")
    return Expectation(effect=words[text])


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrganizationOfIdentity:
    name: str = written(Text(organization_name))
    role: Role = written(Choice(Role), default=Role.MEMBER)
    teams: frozenset[str] = written(SetOf(Text(team_name)), default=frozenset())


_organization_of_identity: Kind[_OrganizationOfIdentity] = _TextOr(
    Text(lambda text: _OrganizationOfIdentity(name=organization_name(text))), Record(_OrganizationOfIdentity)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityEntry:
    """Who pulls, as a test says it."""

    user: str = written(Text(user_name), default="")
    organizations: tuple[_OrganizationOfIdentity, ...] = written(ListOf(_organization_of_identity), default=())
    credential: CredentialKind = written(Choice(CredentialKind), default=CredentialKind.UNSPECIFIED)
    anonymous: bool = written(Boolean(), default=False)

    def __post_init__(self) -> None:
        if self.anonymous and (self.user or self.organizations):
            raise ValueError("nobody is signed in where anonymous is true; leave user and organizations out")
        if not self.anonymous and not self.user:
            raise ValueError("write user: NAME, or anonymous: true for nobody")
        names = [organization.name for organization in self.organizations]
        for name in sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"organization {name} stands twice; join its teams")

    @property
    def identity(self) -> Identity:
        """As the decision takes it."""
        return Identity(
            username=self.user,
            memberships=tuple(
                Membership(organization=item.name, role=item.role, teams=item.teams) for item in self.organizations
            ),
            credential=self.credential,
        )

    def __str__(self) -> str:
        organizations = ", ".join(item.name for item in self.organizations)
        return f"{self.user} of {organizations}" if organizations else self.user or "nobody"


_identity: Record[IdentityEntry] = Record(IdentityEntry, omit_defaults=True)
_identity_or_name: Kind[str | IdentityEntry] = _TextOr(Text(_identity_name), _identity)
_policy_or_file: Kind[str | Policy] = _TextOr(Text(_file_name), Record(Policy))
_categories: Kind[Mapping[str, KnownCategory]] = MapOf(Text(hub_name), Choice(KnownCategory))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row of the table: each of its identities with each of its references.

    Attributes:
        organizations: who is asked besides those that the identity is signed in with.
        categories: known in this case, before the document's.
        now: the moment of this case.
    """

    name: str = written(Text(short_note), default="")
    identity: str | IdentityEntry | None = written(_identity_or_name, default=None)
    identities: tuple[str | IdentityEntry, ...] = written(ListOf(_identity_or_name), default=())
    reference: str | None = written(Text(str), default=None)
    references: tuple[str, ...] = written(ListOf(Text(str)), default=())
    organizations: frozenset[str] = written(SetOf(Text(organization_name)), default=frozenset())
    categories: Mapping[str, KnownCategory] = written(_categories, default_factory=dict)
    now: datetime | None = written(Timestamp(), default=None)
    expect: Expectation = written(_TextOr(Text(_expected_effect), _expectation))

    def __post_init__(self) -> None:
        if (self.identity is None) == (not self.identities):
            raise ValueError("write either identity or identities")
        if (self.reference is None) == (not self.references):
            raise ValueError("write either reference or references")

    @property
    def all_identities(self) -> tuple[str | IdentityEntry, ...]:
        """All that the case is run for."""
        return self.identities if self.identity is None else (self.identity,)

    @property
    def all_references(self) -> tuple[str, ...]:
        """All that the case is run with."""
        return self.references if self.reference is None else (self.reference,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A field of the outcome that is not as expected; both as they are written in tests."""

    field: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What came out for one identity and one reference of a case.

    Attributes:
        case: its name, or its place in the document.
        identity: its name, or who it is.
        expected: the fields that were expected, as plain data.
        got: all fields of the outcome, as plain data.
        decision: None where the reference is none.
        error: why there is no decision.
        mismatches: empty where the case passed.
    """

    case: str
    identity: str
    reference: str
    expected: Mapping[str, Plain]
    got: Mapping[str, Plain]
    decision: Decision | None
    error: InvalidReferenceError | None
    mismatches: tuple[Mismatch, ...]

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.mismatches


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTests:
    """A document of tests.

    Attributes:
        policy: the one that is tested, or the name of its file; `policies` where there are several.
    """

    policy: str | Policy | None = written(_policy_or_file, default=None)
    policies: tuple[str | Policy, ...] = written(ListOf(_policy_or_file), default=())
    now: datetime | None = written(Timestamp(), default=None)
    identities: Mapping[str, IdentityEntry] = written(MapOf(Text(_identity_name), _identity), default_factory=dict)
    categories: Mapping[str, KnownCategory] = written(_categories, default_factory=dict)
    cases: tuple[Case, ...] = written(ListOf(Record(Case, omit_defaults=True)))

    def __post_init__(self) -> None:
        if self.policy is not None and self.policies:
            raise ValueError("write either policy or policies")
        if not self.cases:
            raise ValueError("cases is empty; write at least one, such as {identity: …, reference: …, expect: allow}")

    @property
    def all_policies(self) -> tuple[str | Policy, ...]:
        """The policies that are tested, as they stand: in the document, or as names of files."""
        return self.policies if self.policy is None else (self.policy,)

    def run(self, policies: Iterable[Policy], now: datetime) -> Iterator[CaseResult]:
        """Decide every case, in order.

        Args:
            policies: at least one, and one of an organization.
            now: the moment of those cases for which the document says none.
        """
        by_organization = {policy.organization: policy for policy in policies}
        for index, case in enumerate(self.cases):
            name = case.name or f"cases[{index}]"
            moment = case.now or self.now or now
            known = {**self.categories, **case.categories}
            for who in case.all_identities:
                tested = self.identities[who] if isinstance(who, str) else who
                for reference in case.all_references:
                    try:
                        decision = _decide(
                            by_organization, tested.identity, case.organizations, reference, known, moment
                        )
                        yield _compare(name, str(who), reference, case.expect, decision)
                    except InvalidReferenceError as error:
                        yield _compare(name, str(who), reference, case.expect, error)


_tests: Record[PolicyTests] = Record(PolicyTests, omit_defaults=True)


def parse_policy_tests(text: str) -> PolicyTests:
    """The tests that a YAML text means.

    Raises:
        InvalidPolicyTestsError: with every problem and its path.
    """
    problems: list[Problem] = []
    try:
        tests = _tests.read(load_yaml(text), "", problems)
    except InvalidYamlError as error:
        raise InvalidPolicyTestsError([Problem("", str(error))]) from error
    if tests is not None:
        problems.extend(_unknown_identities(tests))
    if tests is None or problems:
        raise InvalidPolicyTestsError(problems)
    return tests


def _unknown_identities(tests: PolicyTests) -> Iterator[Problem]:
    for index, case in enumerate(tests.cases):
        for position, who in enumerate(case.all_identities):
            if isinstance(who, str) and who not in tests.identities:
                path = "identity" if case.identity is not None else f"identities[{position}]"
                hint = suggestion(who, tests.identities) if tests.identities else "; there are none, so write it here"
                yield Problem(f"cases[{index}].{path}", f"{shown(who)} is not among the identities{hint}")


def _decide(
    policies: Mapping[str, Policy],
    identity: Identity,
    asked: Iterable[str],
    text: str,
    known: Mapping[str, KnownCategory],
    now: datetime,
) -> Decision:
    reference = parse_reference(text)
    signed_in = any(membership.organization in policies for membership in identity.memberships)
    organizations = organizations_concerned(identity, sorted(asked) or (() if signed_in else policies))
    # All of it at once: what a test says of images of `library` nobody would ask for.
    named = {hub_repository(reference, policy.docker_hub.mirrors) for policy in policies.values()}
    evidence = {repository: _evidence(repository, known) for repository in named if repository is not None}
    decision = decide(organizations, policies, identity, reference, evidence, now)
    assert not isinstance(decision, CategoryNeeded)  # noqa: S101 - every category that can be needed was handed in
    return decision


def _evidence(repository: HubRepository, known: Mapping[str, KnownCategory]) -> CategoryEvidence:
    """What is said of the repository itself, or else of its namespace."""
    word = known.get(repository.path) or known.get(repository.namespace)
    if word is not None:
        return word.evidence
    if repository.namespace == OFFICIAL_NAMESPACE:
        return KnownCategory.OFFICIAL.evidence
    return CategoryEvidence(category=Category.UNKNOWN, detail=f"the test does not say what {repository.namespace} is")


def _compare(
    case: str, identity: str, reference: str, expect: Expectation, came_out: Decision | InvalidReferenceError
) -> CaseResult:
    expected, got = _data(expect), _data(_outcome(came_out))
    return CaseResult(
        case=case,
        identity=identity,
        reference=reference,
        expected=expected,
        got=got,
        decision=came_out if isinstance(came_out, Decision) else None,
        error=came_out if isinstance(came_out, InvalidReferenceError) else None,
        mismatches=tuple(
            Mismatch(field=field, expected=_word(value), got=_word(got.get(field)))
            for field, value in expected.items()
            if value != got.get(field)
        ),
    )


def _outcome(came_out: Decision | InvalidReferenceError) -> Expectation:
    """What came out, in the words of what is expected."""
    if isinstance(came_out, InvalidReferenceError):
        return Expectation(effect=Outcome.INVALID)
    return Expectation(
        effect=Outcome(came_out.effect.value),
        policy_effect=came_out.policy_effect,
        enforced=came_out.enforced,
        reason=came_out.reason,
        message=came_out.message,
        help=came_out.help,
        category=came_out.evidence.category if came_out.evidence else None,
        reference=str(came_out.reference),
        organization=came_out.organization,
        matched_rule=came_out.matched_rule,
    )


def _data(expectation: Expectation) -> Mapping[str, Plain]:
    data = _expectation.write(expectation)
    return data if isinstance(data, dict) else {}


def _word(value: Plain) -> str:
    """A field as a person reads it in 'expected …, got …'."""
    match value:
        case None | "":
            return "nothing"
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
