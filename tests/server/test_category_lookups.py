"""Categories over the API: explained, asked for anew, and listed."""

import asyncio
from typing import Any

import pytest

from pullgate.v1 import decision_pb2, policy_admin_pb2
from pullgate_policy import Category, Preset, parse_policy_yaml, preset_policy
from pullgate_policy.pins import CategoryPin
from pullgate_server.stores.memory import MemoryStore
from tests.conftest import SOON, Serve, Service
from tests.docker_hub import DockerHubDouble, Fault
from tests.server.test_policy_decision_service import refusal
from tests.stores import NOW, put_pin, put_policy

CATALOGUE = """
entries:
  - {namespace: someuser, category: COMMUNITY, source: the test, retrieved_at: 2026-01-01T00:00:00Z}
  - {repository: vendor/agent, category: VERIFIED_PUBLISHER, source: the test, retrieved_at: 2026-01-01T00:00:00Z}
"""
KNOWN, ABSENT, FAILED = (
    policy_admin_pb2.CATEGORY_LOOKUP_OUTCOME_KNOWN,
    policy_admin_pb2.CATEGORY_LOOKUP_OUTCOME_ABSENT,
    policy_admin_pb2.CATEGORY_LOOKUP_OUTCOME_FAILED,
)
Word = decision_pb2.ImageCategory.Name


async def look_up(service: Service, *names: str, organization: str = "", anew: bool = False) -> Any:
    """What is known of names."""
    method = "RefreshCategories" if anew else "LookUpCategories"
    request = getattr(policy_admin_pb2, f"{method}Request")(names=names, organization=organization)
    return (await service.call(getattr(service.administration, method), request)).lookups


def steps(lookup: Any) -> list[tuple[str, int, str]]:
    """Who was asked, and what came of it."""
    return [(step.source, step.outcome, step.detail) for step in lookup.steps]


async def store_with_pins() -> MemoryStore:
    """Acme with a namespace of its own and pins, and globex without a policy."""
    store = MemoryStore()
    policy = "organization: acme\ndocker_hub: {namespaces: [acme, acme-labs]}\nimage_access: {enabled: true}"
    await put_policy(store, parse_policy_yaml(policy))
    for organization, category in {"": Category.COMMUNITY, "acme": Category.VERIFIED_PUBLISHER}.items():
        pin = CategoryPin.checked(
            name="vendor", category=category, community_class=None, reason="contract",
            author="ada", written_at=NOW, organization=organization,
        )  # fmt: skip
        await put_pin(store, pin)
    return store


@pytest.mark.parametrize(
    ("name", "organization", "category", "asked"),
    [
        ("library/nginx", "", "OFFICIAL", ["namespace"]),
        ("library", "", "OFFICIAL", ["namespace"]),
        ("docker.io/someuser/x", "", "COMMUNITY", ["catalogue"]),
        ("acme-labs", "acme", "ORGANIZATION", ["namespace"]),
        ("acme-labs", "", "UNKNOWN", ["catalogue", "starter"]),
        ("globex/app", "globex", "ORGANIZATION", ["namespace"]),
        ("vendor/agent", "acme", "VERIFIED_PUBLISHER", ["pin"]),
        ("vendor/agent", "globex", "COMMUNITY", ["pin"]),
        ("mysql/mysql-server", "acme", "COMMUNITY", ["catalogue", "starter"]),
    ],
)
async def test_a_lookup_tells_who_was_asked(
    serve: Serve, name: str, organization: str, category: str, asked: list[str]
) -> None:
    """A name is explained as a decision of the organization would see it, down to the source that knew."""
    async with serve(store=await store_with_pins(), catalogue=CATALOGUE) as service:
        (found,) = await look_up(service, name, organization=organization)

        assert Word(found.category) == f"IMAGE_CATEGORY_{category}"
        assert [step.source for step in found.steps] == asked
        assert found.name == name.removeprefix("docker.io/")
        assert found.steps[-1].outcome == (ABSENT if category == "UNKNOWN" else KNOWN)


async def test_a_lookup_of_docker_hub_tells_what_was_done(serve: Serve) -> None:
    """The first look-up has its requests, the next is remembered, and a refresh asks again or says why it cannot."""
    async with DockerHubDouble() as hub:
        hub.set_badge("grafana", "verified_publisher")
        async with serve(category_sources="catalogue,docker-hub", docker_hub_url=hub.url) as service:
            (first,), (again,) = [await look_up(service, "grafana") for _ in range(2)]
            hub.set_badge("grafana", "open_source")
            service.clock.advance(minutes=1)
            (refreshed,) = await look_up(service, "grafana", anew=True)
            hub.fault = Fault.HTML_PAGE
            service.clock.advance(minutes=1)
            failed, unknown = await look_up(service, "grafana", "other", anew=True)

    request = "GET /v2/orgs/grafana/: 200, badge"
    assert list(first.steps[1].actions) == [f"{request} verified_publisher"]
    assert (list(again.steps[1].actions), again.evidence) == ([], first.evidence)
    assert steps(refreshed)[1] == ("docker-hub", KNOWN, "badge open_source")
    assert list(refreshed.steps[1].actions) == [f"{request} open_source"]
    assert refreshed.evidence.community_class == decision_pb2.COMMUNITY_CLASS_SPONSORED_OPEN_SOURCE
    assert failed.evidence == refreshed.evidence
    assert failed.steps[1].outcome == FAILED
    assert "text/html" in failed.steps[1].detail
    assert (Word(unknown.category), unknown.steps[1].outcome) == ("IMAGE_CATEGORY_UNKNOWN", FAILED)


async def test_many_names_are_looked_up_at_once(serve: Serve) -> None:
    """Names are answered in their order, and Docker Hub is asked for all of them together."""
    names = [f"name{number}" for number in range(50)]
    async with DockerHubDouble() as hub:
        for name in names[::2]:
            hub.set_badge(name, "verified_publisher")
        hub.fault = Fault.SLOW
        async with serve(
            category_sources="docker-hub", docker_hub_url=hub.url, docker_hub_requests_per_minute=60_000
        ) as service:
            asking = asyncio.ensure_future(look_up(service, *names))
            await hub.until_requested(50)
            hub.release()
            found = await asking

    assert [(item.name, item.category) for item in found] == [
        (name, decision_pb2.IMAGE_CATEGORY_UNKNOWN if index % 2 else decision_pb2.IMAGE_CATEGORY_VERIFIED_PUBLISHER)
        for index, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("names", "field", "told"),
    [
        (["grafana", "Grafana"], "names[1]", "is not a namespace or repository of Docker Hub"),
        ([""], "names[0]", "is not a namespace or repository of Docker Hub"),
        (["ghcr.io/a"], "names[0]", "is not a namespace or repository of Docker Hub"),
        (["../x"], "names[0]", "is not a namespace or repository of Docker Hub"),
        (["x"] * 101, "names", "has 101 entries, and at most 100 are looked up at once"),
    ],
)
@pytest.mark.parametrize("method", ["LookUpCategories", "RefreshCategories"])
async def test_names_that_are_none_are_refused(
    serve: Serve, method: str, names: list[str], field: str, told: str
) -> None:
    """Every name is checked before anybody is asked."""
    async with serve() as service:
        request = getattr(policy_admin_pb2, f"{method}Request")(names=names)
        code, reason, violations, _ = await refusal(service, request, method)

    assert (code, reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert violations[0][0] == field
    assert told in violations[0][1]


async def pages(service: Service, size: int, category: int = 0) -> list[list[tuple[str, str, str]]]:
    """All pages of what is known: name, source, category."""
    found, token = [], ""
    while True:
        request = policy_admin_pb2.ListCategoriesRequest(page_size=size, page_token=token, category=category)  # type: ignore[arg-type]
        page = await service.call(service.administration.ListCategories, request)
        found.append(
            [(item.name, item.evidence.source, Word(item.category).split("_", 2)[2]) for item in page.categories]
        )
        token = page.next_page_token
        if not token:
            return found


async def test_all_that_is_known_is_listed(serve: Serve) -> None:
    """Catalogues and what Docker Hub said make one list by name, of each what is believed, in pages of any size."""
    async with DockerHubDouble() as hub:
        hub.set_badge("grafana", "verified_publisher")
        hub.set_badge("mlrun", "verified_publisher")
        hub.add_user("someuser")
        async with serve(
            catalogue=CATALOGUE, category_sources="catalogue,docker-hub,starter", docker_hub_url=hub.url
        ) as service:
            await look_up(service, "grafana", "mlrun", "nobody", anew=True)
            await service.application.sources[1].settled()  # type: ignore[union-attr]
            ((*listed,),) = await pages(service, 0)
            one_by_one = await pages(service, 1)
            publishers = await pages(service, 0, decision_pb2.IMAGE_CATEGORY_VERIFIED_PUBLISHER)

    assert ("grafana", "docker-hub", "VERIFIED_PUBLISHER") in listed
    assert ("mlrun", "docker-hub", "VERIFIED_PUBLISHER") in listed
    assert ("someuser", "catalogue", "COMMUNITY") in listed
    assert ("vendor/agent", "catalogue", "VERIFIED_PUBLISHER") in listed
    assert ("docker", "starter", "VERIFIED_PUBLISHER") in listed
    assert [name for name, _, _ in listed] == sorted({name for name, _, _ in listed})
    assert [item for page in one_by_one for item in page] == listed
    assert publishers == [[item for item in listed if item[2] == "VERIFIED_PUBLISHER"]]


async def test_a_list_of_what_is_no_category_is_refused(serve: Serve) -> None:
    """A number that stands for no category is told so."""
    async with serve() as service:
        request = policy_admin_pb2.ListCategoriesRequest(category=77)  # type: ignore[arg-type]
        code, _, violations, _ = await refusal(service, request, "ListCategories")

    assert (code, violations) == ("INVALID_ARGUMENT", [("category", "77 is no category")])


async def test_nobody_sees_another_organizations_pins(serve: Serve) -> None:
    """A lookup without an organization is the caller's own: a member of globex sees no pin of acme's."""
    store = await store_with_pins()
    await put_policy(store, preset_policy(Preset.STRICT, "globex"))
    async with serve(store=store) as service:
        created = await service.call(
            service.administration.CreateToken,
            policy_admin_pb2.CreateTokenRequest(organization="globex", name="ci", role=5),  # type: ignore[arg-type]
        )
        request = policy_admin_pb2.LookUpCategoriesRequest(names=["vendor/agent"])
        found = await service.administration.LookUpCategories(
            request, metadata=(("authorization", f"Bearer {created.secret}"),), timeout=SOON
        )

    assert Word(found.lookups[0].category) == "IMAGE_CATEGORY_COMMUNITY"
    assert "acme" not in str(found)
