"""Pins: whose holds, about what, until when, and what decisions make of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given

from pullgate_policy import (
    Category,
    CategoryEvidence,
    CategoryNeeded,
    CommunityClass,
    Decision,
    HubRepository,
    Identity,
    Membership,
    Policy,
    decide,
    parse_policy_yaml,
    parse_reference,
)
from pullgate_policy.pins import NO_PINS, CategoryPin, InvalidPinError, Pins
from tests.policy import strategies as of
from tests.policy.strategies import NOW

ACME = parse_policy_yaml("{organization: acme, image_access: {enabled: true}}")
DEV = Identity(username="dev", memberships=(Membership(organization="acme"), Membership(organization="globex")))
LATER = NOW + timedelta(hours=1)
SECOND = timedelta(seconds=1)


def pin(name: str, organization: str = "", expires_at: datetime | None = None, **fields: object) -> CategoryPin:
    """A pin by ada, two days old."""
    values = {
        "category": Category.COMMUNITY,
        "community_class": None,
        "reason": "seen",
        "author": "ada",
        "written_at": NOW - timedelta(days=2),
        **fields,
    }
    return CategoryPin(name=name, organization=organization, expires_at=expires_at, **values)  # type: ignore[arg-type]


def asked(reference: str, pins: Sequence[CategoryPin], now: datetime = NOW) -> Decision | CategoryNeeded:
    """What acme's policy says."""
    return decide(["acme"], {"acme": ACME}, DEV, parse_reference(reference), {}, now, pins=Pins(pins))


def told(answer: Decision | CategoryNeeded) -> str:
    """Why the category is what it is: the last word of the evidence, or that it has to be asked for."""
    if isinstance(answer, CategoryNeeded):
        return "asked for"
    assert answer.evidence is not None
    return answer.evidence.detail.rpartition(": ")[2]


IN_ORDER = [
    pin("grafana/loki", "acme", LATER, reason="acme's, repository"),
    pin("grafana", "acme", LATER, reason="acme's, namespace"),
    pin("grafana/loki", expires_at=LATER, reason="everybody's, repository"),
    pin("grafana", expires_at=LATER, reason="everybody's, namespace"),
]
"""Pins about one repository, the first in order first."""


@pytest.mark.parametrize("index", range(len(IN_ORDER) + 1))
def test_the_first_in_order_holds(index: int) -> None:
    """An organization's own go first, then a repository's; what comes after, and what is about others, says nothing."""
    others = [
        pin("grafana/loki", "globex", reason="globex'"),
        pin("grafana", "globex", reason="globex'"),
        pin("grafana/tempo", "acme", reason="another repository's"),
        pin("graf", "acme", reason="another namespace's"),
        pin("loki", reason="another namespace's"),
    ]
    expected = [item.reason for item in IN_ORDER] + ["asked for"]
    pins = [*others, *reversed(IN_ORDER[index:])]

    assert told(asked("grafana/loki", pins)) == expected[index]


@pytest.mark.parametrize("index", range(len(IN_ORDER)))
def test_when_one_expires_the_next_holds(index: int) -> None:
    """To the moment of its expiry a pin holds, and from that moment on the next in order does."""
    end = NOW + timedelta(minutes=1)
    pins = [dataclasses.replace(IN_ORDER[index], expires_at=end), *IN_ORDER[index + 1 :]]
    before, after = asked("grafana/loki", pins, end - SECOND / 1_000_000), asked("grafana/loki", pins, end)
    expected = [item.reason for item in IN_ORDER] + ["asked for"]

    assert [told(before), told(after)] == expected[index : index + 2]
    assert isinstance(before, Decision)
    assert before.valid_until == end


def test_all_expire() -> None:
    """With every pin expired it is as if there were none."""
    assert told(asked("grafana/loki", IN_ORDER, LATER)) == "asked for"


@pytest.mark.parametrize(
    ("reference", "pins", "category", "detail"),
    [
        ("acme/app", [pin("acme", "acme")], Category.ORGANIZATION, "a namespace of the organization itself"),
        ("acme/app", [pin("acme/app", "acme")], Category.ORGANIZATION, "a namespace of the organization itself"),
        ("nginx", [], Category.OFFICIAL, "the namespace of Docker Official Images"),
        ("nginx", [pin("library/redis")], Category.OFFICIAL, "the namespace of Docker Official Images"),
        ("nginx", [pin("library")], Category.COMMUNITY, "pinned by ada: seen"),
        ("nginx", [pin("library/nginx", "acme")], Category.COMMUNITY, "pinned for acme by ada: seen"),
        ("nginx", [pin("library", "globex")], Category.OFFICIAL, "the namespace of Docker Official Images"),
    ],
)
def test_around_pins(reference: str, pins: list[CategoryPin], category: Category, detail: str) -> None:
    """The organization's own namespaces go before pins, and pins before the namespace of official images."""
    answer = asked(reference, pins)
    assert isinstance(answer, Decision)
    assert answer.evidence is not None

    assert (answer.evidence.category, answer.evidence.detail) == (category, detail)


def test_pins_go_before_the_sources() -> None:
    """What sources say of a category counts only where no pin holds."""
    repository = HubRepository("grafana/loki")
    said = {repository: CategoryEvidence(category=Category.OFFICIAL, source="catalogue")}
    answers = [
        decide(["acme"], {"acme": ACME}, DEV, parse_reference("grafana/loki"), said, now, pins=Pins(IN_ORDER))
        for now in (NOW, LATER)
    ]

    assert [answer.evidence.source for answer in answers if isinstance(answer, Decision) and answer.evidence] == [
        "pin",
        "catalogue",
    ]


def test_each_organization_has_its_own() -> None:
    """Where several have a say each is decided with its own pins; the answer lasts until the first of them ends."""
    pins = Pins(
        [
            pin("grafana", "acme", LATER, category=Category.OFFICIAL),
            pin("grafana", "globex", LATER + SECOND, category=Category.VERIFIED_PUBLISHER),
        ]
    )
    policies = {
        name: parse_policy_yaml(
            f"{{organization: {name}, image_access: {{enabled: true, allow: {{{allowed}: true}}}}}}"
        )
        for name, allowed in (("acme", "official_images"), ("globex", "verified_publisher_images"))
    }
    answer = decide(["acme", "globex"], policies, DEV, parse_reference("grafana/loki"), {}, NOW, pins=pins)
    assert isinstance(answer, Decision)

    assert (answer.effect.value, answer.valid_until) == ("allow", LATER)


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({}, "pinned by ada: seen"),
        ({"reason": ""}, "pinned by ada"),
        ({"organization": "acme"}, "pinned for acme by ada: seen"),
        ({"expires_at": datetime(2026, 12, 1, tzinfo=UTC)}, "pinned by ada, until 2026-12-01: seen"),
        (
            {"organization": "acme", "expires_at": datetime(2026, 12, 1, 12, 30, tzinfo=UTC), "reason": ""},
            "pinned for acme by ada, until 2026-12-01 12:30:00 UTC",
        ),
    ],
)
def test_evidence_says_whose_pin_it_is(fields: dict[str, object], detail: str) -> None:
    """Who pinned for whom, until when and why; it was known since it was written, and is not asked for again."""
    evidence = pin("grafana", **fields).evidence  # type: ignore[arg-type]

    assert evidence.detail == detail
    assert (evidence.source, evidence.checked_at, evidence.refresh_at) == ("pin", NOW - timedelta(days=2), None)


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"name": "Grafana"}, "name", "is not a namespace or repository of Docker Hub"),
        ({"category": None}, "category", "write OFFICIAL, VERIFIED_PUBLISHER or COMMUNITY"),
        ({"category": Category.ORGANIZATION}, "category", "write OFFICIAL, VERIFIED_PUBLISHER or COMMUNITY"),
        (
            {"category": Category.OFFICIAL, "community_class": CommunityClass.SPONSORED_OPEN_SOURCE},
            "community_class",
            "belongs to COMMUNITY alone",
        ),
        ({"reason": "\x1b"}, "reason", "has control characters"),
        ({"organization": "Acme"}, "organization", '"Acme" is not lowercase; write "acme"'),
        ({"organization": "library"}, "organization", "is the namespace of Docker Official Images"),
        ({"expires_at": NOW}, "expires_at", "2026-06-01 lies in the past; write a later moment, or none"),
        ({"expires_at": NOW - SECOND}, "expires_at", "2026-05-31 23:59:59 UTC lies in the past"),
    ],
)
def test_what_cannot_be_pinned(fields: dict[str, object], path: str, problem: str) -> None:
    """A pin that cannot be is refused with the field that is wrong and what to do."""
    values = {
        "name": "grafana",
        "category": Category.COMMUNITY,
        "community_class": None,
        "reason": "",
        "author": "ada",
        "written_at": NOW,
        **fields,
    }
    with pytest.raises(InvalidPinError, match=path) as raised:
        CategoryPin.checked(**values)  # type: ignore[arg-type]

    assert raised.value.path == path
    assert problem in raised.value.problem


def test_pins_are_values() -> None:
    """Indexes of the same pins are the same, whatever the order, and name their pins."""
    forwards, backwards = Pins(IN_ORDER), Pins(reversed(IN_ORDER))

    assert forwards == backwards
    assert hash(forwards) == hash(backwards)
    assert forwards not in {NO_PINS, Pins(IN_ORDER[1:])}
    assert set(forwards) == set(IN_ORDER)
    assert repr(Pins(IN_ORDER[:1])) == f"Pins({IN_ORDER[:1]!r})"


def naively(organization: str, pins: Sequence[CategoryPin], path: str, now: datetime) -> CategoryPin | None:
    """The pin that holds, found by looking at all of them."""
    holding = [
        item
        for item in pins
        if item.organization in {"", organization}
        and item.name in {path, path.partition("/")[0]}
        and not (item.expires_at and item.expires_at <= now)
    ]
    return min(holding, key=lambda item: (item.organization == "", "/" not in item.name), default=None)


@given(of.policies(), of.identities, of.references, of.categories, of.moments, of.pins)
def test_a_pin_counts_as_if_the_sources_had_said_so(
    policy: Policy,
    identity: Identity,
    reference: str,
    categories: Mapping[HubRepository, CategoryEvidence],
    now: datetime,
    pins: list[CategoryPin],
) -> None:
    """A decision with pins is the one without, had the sources said what the first pin in order says, until it ends."""
    found = {path: naively("acme", pins, path, now) for path in of.PATHS}
    said = {HubRepository(path): item.evidence for path, item in found.items() if item}
    policies, parsed = {"acme": policy}, parse_reference(reference)
    answer = decide(["acme"], policies, identity, parsed, categories, now, pins=Pins(pins))
    expected = decide(["acme"], policies, identity, parsed, {**categories, **said}, now)
    assert isinstance(answer, Decision)
    assert isinstance(expected, Decision)

    if answer.evidence is not None and answer.evidence.source == "pin":
        assert answer.repository is not None
        held = found[answer.repository.path]
        assert held is not None
        expected = dataclasses.replace(expected, valid_until=held.expires_at)
    assert answer == expected


@given(of.policies(), of.identities, of.references, of.categories, of.moments, of.pins)
def test_other_organizations_pins_change_nothing(
    policy: Policy,
    identity: Identity,
    reference: str,
    categories: Mapping[HubRepository, CategoryEvidence],
    now: datetime,
    pins: list[CategoryPin],
) -> None:
    """An organization decides the same whatever others have pinned for themselves."""
    without = [item for item in pins if item.organization in {"", "acme"}]
    answers = [
        decide(["acme"], {"acme": policy}, identity, parse_reference(reference), categories, now, pins=Pins(some))
        for some in (pins, without)
    ]

    assert answers[0] == answers[1]
