"""Pins on the wire: for whom they hold, until when, and how they are written and listed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from pullgate.v1 import decision_pb2, identity_pb2
from pullgate.v1.policy_admin_pb2 import CategoryPin
from pullgate_policy import Preset, preset_policy
from pullgate_server.stores.memory import MemoryStore
from tests.conftest import Serve, Service
from tests.server.test_policy_admin_service import STRICT
from tests.server.test_policy_decision_service import CATALOGUE, question
from tests.server.test_policy_writes import call, refused, signed_in
from tests.stores import put_policy

OFFICIAL = decision_pb2.IMAGE_CATEGORY_OFFICIAL
VERIFIED = decision_pb2.IMAGE_CATEGORY_VERIFIED_PUBLISHER
COMMUNITY = decision_pb2.IMAGE_CATEGORY_COMMUNITY

END = datetime(2026, 6, 1, 0, 10, tzinfo=UTC)
"""Ten minutes after the clock of tests begins."""


async def strict_store() -> MemoryStore:
    """A store in which acme and globex have the preset `strict`."""
    store = MemoryStore()
    for organization in ("acme", "globex"):
        await put_policy(store, preset_policy(Preset.STRICT, organization))
    return store


def pinned(name: str, organization: str = "", expires_at: datetime | None = None, **fields: Any) -> CategoryPin:
    """A pin as a caller asks for it."""
    pin = CategoryPin(**{"name": name, "category": OFFICIAL, "organization": organization, **fields})
    if expires_at is not None:
        pin.expires_at.FromDatetime(expires_at)
    return pin


async def decided(service: Service, reference: str, *organizations: str) -> decision_pb2.Decision:
    """The decision about dev of these organizations, acme if none are named."""
    memberships = [identity_pb2.Membership(organization=name) for name in organizations or ("acme",)]
    asked = question(reference, identity=identity_pb2.Identity(username="dev", memberships=memberships))
    decision: decision_pb2.Decision = (await service.call(service.decisions.Decide, asked)).decision
    return decision


async def test_the_next_in_order_holds_when_one_is_taken_back(serve: Serve) -> None:
    """An organization's own go first, a repository's before its namespace's, and the catalogue comes last."""
    in_order = [
        pinned("someuser/tool", "acme", reason="own, repository"),
        pinned("someuser", "acme", reason="own, namespace"),
        pinned("someuser/tool", reason="everybody's, repository"),
        pinned("someuser", reason="everybody's, namespace"),
    ]
    async with serve(store=await strict_store(), catalogue=CATALOGUE) as service:
        for pin in reversed(in_order):
            await call(service, "PutCategoryPin", pin=pin)
        told = [(await decided(service, "someuser/tool")).evidence.detail]
        for pin in in_order:
            await call(service, "DeleteCategoryPin", name=pin.name, organization=pin.organization)
            told.append((await decided(service, "someuser/tool")).evidence.detail)

    assert told == [
        "pinned for acme by operator: own, repository",
        "pinned for acme by operator: own, namespace",
        "pinned by operator: everybody's, repository",
        "pinned by operator: everybody's, namespace",
        "the test",
    ]


async def test_a_pin_is_for_its_organization_alone(serve: Serve) -> None:
    """What acme pins for itself changes nothing for globex, also where both are asked together."""
    async with serve(store=await strict_store(), catalogue=CATALOGUE) as service:
        before = await decided(service, "someuser/tool", "globex")
        manager = await signed_in(service, "policy_manager")
        await call(manager, "PutCategoryPin", pin=pinned("someuser", "acme", reason="trusted"))
        acme, globex, both = [
            await decided(service, "someuser/tool", *asked) for asked in (["acme"], ["globex"], ["acme", "globex"])
        ]

    assert (acme.effect, acme.evidence.detail) == (1, "pinned for acme by policy_manager: trusted")
    assert (globex.effect, globex.evidence) == (before.effect, before.evidence) == (2, globex.evidence)
    assert (both.effect, both.organization) == (2, "globex")


async def test_a_pin_ends_on_time(serve: Serve) -> None:
    """A ready answer ends when the pin that it rests on expires, says so shortly before, and the next pin holds."""
    async with serve(store=await strict_store(), store_grace=86400.0) as service:
        await call(service, "PutCategoryPin", pin=pinned("someuser", "acme", END))
        await call(service, "PutCategoryPin", pin=pinned("someuser", category=COMMUNITY))
        told = []
        for seconds in (0, 300, 270, 29, 1, 0):
            service.clock.advance(seconds=seconds)
            for _ in range(2):
                decision = await decided(service, "someuser/tool")
            told.append((decision.effect, decision.category, decision.cacheable_for.seconds))

    assert told == [(1, OFFICIAL, 60)] * 2 + [(1, OFFICIAL, 30), (1, OFFICIAL, 1)] + [(2, COMMUNITY, 60)] * 2


async def test_a_ready_answer_ends_with_the_pin(serve: Serve) -> None:
    """An answer that is repeated all the time changes at the moment of the expiry, not before and not after."""
    async with serve(store=await strict_store(), cacheable_for=5.0, store_grace=86400.0) as service:
        await call(service, "PutCategoryPin", pin=pinned("someuser", expires_at=END))
        effects = []
        for _ in range(620):
            effects.append((await decided(service, "someuser/tool")).effect)
            service.clock.advance(seconds=1)

    assert effects == [1] * 600 + [2] * 20


async def test_library_can_be_pinned(serve: Serve) -> None:
    """A pin goes before the namespace of official images, for whom it holds, and only there."""
    async with serve(store=await strict_store()) as service:
        await call(service, "PutCategoryPin", pin=pinned("library/nginx", "acme", category=COMMUNITY))
        told = [
            (decision.effect, decision.evidence.source)
            for decision in [
                await decided(service, "nginx"),
                await decided(service, "nginx", "globex"),
                await decided(service, "redis"),
            ]
        ]

    assert told == [(2, "pin"), (1, "namespace"), (1, "namespace")]


async def test_a_dry_run_goes_by_the_pins(serve: Serve) -> None:
    """What a policy would decide is told with the pins of its organization."""
    async with serve(store=await strict_store(), catalogue=CATALOGUE) as service:
        await call(service, "PutCategoryPin", pin=pinned("someuser", "acme"))
        dev = identity_pb2.Identity(username="dev", memberships=[identity_pb2.Membership(organization="acme")])
        trial = await call(
            service,
            "DryRunPolicy",
            organization="acme",
            policy=STRICT,
            identities=[dev],
            references=["someuser/tool"],
        )

    assert [(result.before.category, result.after.category) for result in trial.results] == [(OFFICIAL, OFFICIAL)]


async def test_a_pin_is_kept_as_it_was_asked_for(serve: Serve) -> None:
    """Organization and expiry come back from the write and from the list, beside author and time."""
    async with serve() as service:
        asked = pinned("vendor/agent", "acme", END, category=VERIFIED, reason="contract")
        written = (await call(service, "PutCategoryPin", pin=asked)).pin
        listed = list((await call(service, "ListCategoryPins")).pins)

        assert listed == [written]
        asked.author = "operator"
        asked.written_at.FromJsonString("2026-06-01T00:00:00Z")
        assert written == asked


async def test_an_expired_pin_is_listed_until_it_is_taken_back(serve: Serve) -> None:
    """A pin that holds no longer is seen, can be set anew, and can be taken back."""
    async with serve() as service:
        await call(service, "PutCategoryPin", pin=pinned("a", "acme", END))
        await call(service, "PutCategoryPin", pin=pinned("b", "acme", END))
        service.clock.advance(days=1)
        listed = [pin.name for pin in (await call(service, "ListCategoryPins")).pins]
        await call(service, "DeleteCategoryPin", name="a", organization="acme")
        await call(service, "PutCategoryPin", pin=pinned("b", "acme"))
        left = [(pin.name, pin.HasField("expires_at")) for pin in (await call(service, "ListCategoryPins")).pins]

        assert listed == ["a", "b"]
        assert left == [("b", False)]


@pytest.mark.parametrize(
    ("pin", "path", "problem"),
    [
        (pinned("a", expires_at=datetime(2026, 6, 1, tzinfo=UTC)), "expires_at", "2026-06-01 lies in the past"),
        (pinned("a", expires_at=datetime(2025, 1, 1, tzinfo=UTC)), "expires_at", "2025-01-01 lies in the past"),
        (CategoryPin(name="a", category=OFFICIAL, expires_at=Timestamp(seconds=2**60)), "expires_at", "out of range"),
        (pinned("a", "Acme"), "organization", 'is not lowercase; write "acme"'),
        (pinned("a", "library"), "organization", "is the namespace of Docker Official Images"),
    ],
)
async def test_what_cannot_be_pinned(serve: Serve, pin: CategoryPin, path: str, problem: str) -> None:
    """An end that is past by the service's clock, and an organization that is none, are wrong fields."""
    async with serve() as service:
        told = await refused(call(service, "PutCategoryPin", pin=pin))

        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
        assert told.message.startswith(f"{path}: ")
        assert problem in told.message
        assert await service.store.revision() == 0


@pytest.mark.parametrize(
    ("organization", "sentence"),
    [
        ("", '"a" is not pinned for every organization'),
        ("acme", '"a" is not pinned for organization "acme"'),
        ("No", '"a" is not pinned for organization "No"'),
    ],
)
async def test_what_is_not_pinned_is_told(serve: Serve, organization: str, sentence: str) -> None:
    """One organization's pin is not taken back as another's, nor as everybody's; the sentence says whose is missing."""
    async with serve() as service:
        await call(service, "PutCategoryPin", pin=pinned("a", "globex"))
        told = await refused(call(service, "DeleteCategoryPin", name="a", organization=organization))

        assert (told.code, told.reason, told.message) == ("NOT_FOUND", "CATEGORY_PIN_NOT_FOUND", sentence)


async def test_a_pin_is_taken_back_as_it_was_set(serve: Serve) -> None:
    """Whoever writes docker.io/ before the name on the way in may do so on the way out, or may not."""
    spellings = ("docker.io/someuser", "someuser")
    async with serve() as service:
        left = []
        for put in spellings:
            for taken_back in spellings:
                await call(service, "PutCategoryPin", pin=pinned(put, "acme"))
                await call(service, "DeleteCategoryPin", name=taken_back, organization="acme")
                left.append(len((await call(service, "ListCategoryPins")).pins))

        assert left == [0] * 4


async def listed(service: Service, **fields: Any) -> list[list[tuple[str, str]]]:
    """The pages of a list, two pins each."""
    pages: list[list[tuple[str, str]]] = []
    token = ""
    while True:
        page = await call(service, "ListCategoryPins", page_size=2, page_token=token, **fields)
        pages.append([(pin.organization, pin.name) for pin in page.pins])
        token = page.next_page_token
        if not token:
            return pages


async def test_pins_are_listed_page_by_page(serve: Serve) -> None:
    """In the order of organizations and names, those for everybody first; an organization sees what holds for it."""
    pins = [
        ("", "a"),
        ("", "a-b"),
        ("", "a/b"),
        ("acme", "someuser"),
        ("acme", "someuser/tool"),
        ("acme-labs", "a"),
        ("acme.io", "z"),
        ("acme0", "a"),
    ]
    async with serve() as service:
        for organization, name in reversed(pins):
            await call(service, "PutCategoryPin", pin=pinned(name, organization))
        manager = await signed_in(service, "policy_manager", "acme")
        everything, narrowed = await listed(service), await listed(service, organization="acme.io")
        own, unknown = await listed(manager), await listed(service, organization="initech")

    assert everything == [pins[start : start + 2] for start in range(0, 8, 2)]
    assert narrowed == [pins[:2], [pins[2], ("acme.io", "z")]]
    assert own == [pins[:2], pins[2:4], pins[4:5]]
    assert unknown == [pins[:2], pins[2:3]]


async def test_a_page_of_long_reasons_ends_early(serve: Serve) -> None:
    """However long the reasons, a page is small enough for every client, and no pin is left out."""
    async with serve(store_poll=3600.0) as service:
        names = [f"vendor{number:04}" for number in range(1000)]
        for name in names:
            await call(service, "PutCategoryPin", pin=pinned(name, reason="\N{PILE OF POO}" * 1000))
        found, token = [], ""
        while True:
            page = await call(service, "ListCategoryPins", page_size=1000, page_token=token)
            assert page.ByteSize() < 4 * 1024 * 1024
            found += [pin.name for pin in page.pins]
            token = page.next_page_token
            if not token:
                break

    assert found == names


@pytest.mark.parametrize(
    "fields", [{"page_size": -1}, {"page_size": 1001}, {"organization": "Acme"}, {"organization": "a b"}]
)
async def test_a_list_that_cannot_be_given_is_refused(serve: Serve, fields: dict[str, Any]) -> None:
    """A page that is none, and an organization that is none, are wrong fields."""
    async with serve() as service:
        told = await refused(call(service, "ListCategoryPins", **fields))

        assert (told.code, told.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
