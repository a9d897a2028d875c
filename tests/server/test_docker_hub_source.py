"""Docker Hub as a category source, over HTTP against a double that answers and misbehaves as Docker Hub does."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from importlib import metadata
from random import Random
from typing import Any

import pytest
import structlog

from pullgate_policy import Category, CategoryEvidence, CommunityClass
from pullgate_server.categories.docker_hub import circuit
from pullgate_server.categories.docker_hub.requests import Endpoint, RequestOutcome
from pullgate_server.categories.docker_hub.session import HubCredentials
from pullgate_server.categories.docker_hub.source import DockerHubSource
from pullgate_server.categories.port import AskedBy, CategorySource, Outcome, SourceAnswer
from pullgate_server.categories.request_budget import RequestBudget
from tests.conftest import SOON, Clock
from tests.docker_hub import Answer, DockerHubDouble, Fault
from tests.docker_hub.double import Request, json_answer

SECRET = "dckr_pat_do-not-tell"
CREDENTIALS = HubCredentials(username="acmebot", secret=SECRET)

ORGS = "/v2/orgs/grafana/"
USERS = "/v2/users/grafana/"
PUBLISHER = {"orgname": "grafana", "type": "Organization", "badge": "verified_publisher"}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy the environment of the tests names."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def hub() -> AsyncIterator[DockerHubDouble]:
    """A publisher, a sponsored project, an organization and a user."""
    async with DockerHubDouble() as double:
        double.set_badge("grafana", "verified_publisher")
        double.set_badge("fluent", "open_source")
        double.set_badge("acme", "")
        double.add_user("alice")
        yield double


@dataclass(kw_only=True)
class Bench:
    """A source, and what it was handed."""

    source: DockerHubSource
    budget: RequestBudget
    clock: Clock
    requests: list[tuple[Endpoint, RequestOutcome]]

    async def look_up(self, namespace: str = "grafana") -> SourceAnswer:
        """Ask on behalf of acme."""
        async with asyncio.timeout(SOON):
            return await self.source.look_up(namespace, AskedBy("acme"))


class Highest(Random):
    """Always draws the highest number."""

    def uniform(self, a: float, b: float) -> float:
        """The upper bound."""
        return b


@asynccontextmanager
async def asking(hub: DockerHubDouble, *, per_minute: float = 6000, **options: Any) -> AsyncIterator[Bench]:
    """A source that asks the double, in time that stands still."""
    clock, requests = Clock(), list[tuple[Endpoint, RequestOutcome]]()
    budget = RequestBudget(per_minute=per_minute, clock=clock, now=lambda: clock().timestamp())

    async def sleep(_: float) -> None:
        """Go on at once."""

    source = DockerHubSource(
        **{
            "base_url": hub.url,
            "budget": budget,
            "clock": clock,
            "random": Highest(),
            "timeout": SOON,
            "sleep": sleep,
            "on_request": lambda endpoint, outcome, seconds: requests.append((endpoint, outcome)),
            **options,
        }
    )
    try:
        yield Bench(source=source, budget=budget, clock=clock, requests=requests)
    finally:
        await source.close()


@pytest.fixture
async def bench(hub: DockerHubDouble) -> AsyncIterator[Bench]:
    """A source that asks `hub`."""
    async with asking(hub) as bench:
        yield bench


@pytest.mark.parametrize(
    ("namespace", "category", "community_class", "detail", "steps"),
    [
        (
            "grafana", Category.VERIFIED_PUBLISHER, None, "badge verified_publisher",
            ("GET /v2/orgs/grafana/: 200, badge verified_publisher",),
        ),
        (
            "fluent", Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE, "badge open_source",
            ("GET /v2/orgs/fluent/: 200, badge open_source",),
        ),
        (
            "acme", Category.COMMUNITY, None, "an organization without a badge",
            ("GET /v2/orgs/acme/: 200, an organization without a badge",),
        ),
        (
            "alice", Category.COMMUNITY, None, "a user's namespace",
            ("GET /v2/orgs/alice/: 302, to /v2/users/alice/", "GET /v2/users/alice/: 200, a user's namespace"),
        ),
    ],
)  # fmt: skip
async def test_a_namespace_is_what_its_badge_says(
    bench: Bench,
    namespace: str,
    category: Category,
    community_class: CommunityClass | None,
    detail: str,
    steps: tuple[str, ...],
) -> None:
    """Publishers, sponsored projects, plain organizations and users are told apart, and every request is said."""
    answer = await bench.look_up(namespace)

    assert answer == SourceAnswer(
        outcome=Outcome.KNOWN,
        evidence=CategoryEvidence(
            category=category,
            community_class=community_class,
            source="docker-hub",
            detail=detail,
            checked_at=bench.clock(),
        ),
        steps=steps,
    )


async def test_a_namespace_that_is_not_there_is_confirmed(bench: Bench) -> None:
    """A namespace that neither organizations nor users know is absent, and so is known of nothing."""
    answer = await bench.look_up("nobody")

    assert answer == SourceAnswer(
        outcome=Outcome.ABSENT,
        detail="Docker Hub knows no such namespace",
        steps=("GET /v2/orgs/nobody/: 404", "GET /v2/users/nobody/: 404"),
    )


async def test_a_user_that_organizations_do_not_point_to(hub: DockerHubDouble, bench: Bench) -> None:
    """Where organizations answer 404, a user that is there after all makes the namespace community."""
    hub.answers["/v2/orgs/alice/"] = json_answer({"detail": "Object not found"}, 404)
    answer = await bench.look_up("alice")

    assert answer.evidence is not None
    assert answer.evidence.category is Category.COMMUNITY
    assert answer.steps == ("GET /v2/orgs/alice/: 404", "GET /v2/users/alice/: 200, a user's namespace")


@pytest.mark.parametrize("name", ["", "Grafana", "a/../b", "a?b", "hub.docker.com:443", "grafana/", "%2e", "ü", "a\n"])
async def test_only_names_get_into_an_address(hub: DockerHubDouble, bench: Bench, name: str) -> None:
    """What is no namespace is not asked for."""
    answer = await bench.look_up(name)

    assert answer.outcome is Outcome.FAILED
    assert answer.detail.startswith("the name is")
    assert hub.requests == []


async def test_a_request_says_who_asks(hub: DockerHubDouble, bench: Bench) -> None:
    """Docker Hub refuses some languages' own User-Agent; and what is compressed would not be read."""
    await bench.look_up()

    (request,) = hub.requests
    assert (request.method, request.path) == ("GET", ORGS)
    assert request.headers["user-agent"] == f"pullgate/{metadata.version('pullgate')}"
    assert request.headers["accept"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "authorization" not in request.headers


async def test_it_is_a_category_source(bench: Bench) -> None:
    """It has the port's name and method."""
    source: CategorySource = bench.source

    assert source.name == "docker-hub"


THREE_TIMES = 3

FAULTS = [
    (Fault.NOT_FOUND_STORM, Outcome.ABSENT, [f"GET {ORGS}: 404", f"GET {USERS}: 404"]),
    (
        Fault.ORGS_NOT_FOUND,
        Outcome.FAILED,
        [
            f"GET {ORGS}: 404",
            f"GET {USERS}: 302, to {ORGS}",
            f"GET {ORGS}: 404, where Docker Hub itself pointed to",
        ],
    ),
    (Fault.THROTTLED, Outcome.FAILED, [f"GET {ORGS}: 429"]),
    (Fault.RETRY_AFTER, Outcome.FAILED, [f"GET {ORGS}: 429"]),
    (Fault.HANG, Outcome.FAILED, [f"GET {ORGS}: no answer within 0.05 s"] * THREE_TIMES),
    (
        Fault.HTML_PAGE,
        Outcome.FAILED,
        [f'GET {ORGS}: 200, "text/html; charset=utf-8" in place of application/json'],
    ),
    (
        Fault.BOT_WALL,
        Outcome.FAILED,
        [
            f'GET {ORGS}: 403, "text/html; charset=utf-8" in place of application/json, '
            "as clients get that are taken for robots"
        ],
    ),
    (
        Fault.TRUNCATED_JSON,
        Outcome.FAILED,
        [f"GET {ORGS}: the connection broke, "] * THREE_TIMES,
    ),
    (Fault.RESET, Outcome.FAILED, [f"GET {ORGS}: the connection broke, "] * THREE_TIMES),
    (
        Fault.REDIRECT_ELSEWHERE,
        Outcome.FAILED,
        [f'GET {ORGS}: 302, to "http://portal.example/login", which is not followed'],
    ),
    (Fault.HUGE, Outcome.FAILED, [f"GET {ORGS}: 200, more than 65536 bytes"]),
    (Fault.SERVER_ERROR, Outcome.FAILED, [f"GET {ORGS}: 503"] * THREE_TIMES),
]


@pytest.mark.parametrize(("fault", "outcome", "steps"), FAULTS, ids=[fault.value for fault, *_ in FAULTS])
async def test_a_publisher_never_becomes_community_by_a_fault(
    hub: DockerHubDouble, fault: Fault, outcome: Outcome, steps: list[str]
) -> None:
    """No fault of Docker Hub, a portal or the network gives a category; throttled clients' 404 least of all."""
    hub.fault = fault
    async with asking(hub, timeout=0.05 if fault is Fault.HANG else SOON) as bench:
        answer = await bench.look_up()

    assert answer.outcome is outcome
    assert answer.evidence is None
    # The reasons for which connections break are said in the words of the library.
    assert [re.sub("broke, .*", "broke, ", step) for step in answer.steps] == steps
    assert len(hub.requests) == len(steps)


def test_no_fault_is_left_out() -> None:
    """The table above has every fault but the slow one, which answers truly in the end."""
    assert {fault for fault, *_ in FAULTS} == set(Fault) - {Fault.SLOW}


async def test_a_slow_answer_is_an_answer(hub: DockerHubDouble, bench: Bench) -> None:
    """What is in time counts; the moment it is known of is the one in which it was asked for."""
    hub.fault = Fault.SLOW
    looking = asyncio.ensure_future(bench.look_up())
    asked_at = bench.clock()
    await hub.until_requested(1)
    bench.clock.advance(seconds=4)
    hub.release()
    answer = await looking

    assert answer.evidence is not None
    assert answer.evidence.checked_at == asked_at


async def test_nobody_listening() -> None:
    """A refused connection is repeated, and then said."""
    async with DockerHubDouble() as gone:
        pass
    async with asking(gone) as bench:
        answer = await bench.look_up()

    assert answer.outcome is Outcome.FAILED
    assert answer.detail.startswith(f"GET {ORGS}: no connection, ")
    assert answer.steps == (answer.detail,) * THREE_TIMES


@pytest.mark.parametrize(
    ("answer", "step"),
    [
        (json_answer([PUBLISHER]), "200, JSON that is no object"),
        (json_answer({}), '200, of another namespace, "None"'),
        (json_answer({**PUBLISHER, "orgname": "grafana2"}), '200, of another namespace, "grafana2"'),
        (json_answer({**PUBLISHER, "orgname": 7}), '200, of another namespace, "7"'),
        (json_answer({"username": "grafana", "badge": ""}), '200, of another namespace, "None"'),
        (json_answer({**PUBLISHER, "type": "User"}), '200, of type "User"'),
        (json_answer({**PUBLISHER, "type": ["Organization"]}), """200, of type "['Organization']\""""),
        (json_answer({"orgname": "grafana"}), "200, without a badge, and without saying that there is none"),
        (json_answer({**PUBLISHER, "detail": "no"}), "200, with detail in it, as refusals have"),
        (json_answer({**PUBLISHER, "error": False}), "200, with error in it, as refusals have"),
        (json_answer({**PUBLISHER, "badge": True}), "200, with a badge that is no text"),
        (json_answer({**PUBLISHER, "badge": ["verified_publisher"]}), "200, with a badge that is no text"),
        (Answer(body=b"{", headers={"Content-Type": "application/json"}), "200, a body that is not JSON"),
        (Answer(body=b"\xff{", headers={"Content-Type": "application/json"}), "200, a body that is not JSON"),
        (Answer(body=b"[" * 60_000, headers={"Content-Type": "application/json"}), "200, a body that is not JSON"),
        (Answer(body=b"{}"), '200, "" in place of application/json'),
        (Answer(body=b"{}", headers={"Content-Type": "text/json"}), '200, "text/json" in place of application/json'),
        (json_answer(PUBLISHER, Content_Encoding="gzip"), '200, compressed as "gzip", which was not asked for'),
        (Answer(status=404, headers={"Content-Type": "text/html"}), '404, "text/html" in place of application/json'),
        (json_answer(PUBLISHER, 204), "204"),
        (json_answer(PUBLISHER, 304), "304"),
        (json_answer({"message": "no such route"}, 400), "400"),
        (json_answer(PUBLISHER, 410), "410"),
        (json_answer({"message": "access denied"}, 403), '403, "access denied"'),
        (json_answer({"detail": "sign in"}, 401), '401, "sign in"'),
        (json_answer({}, 401), "401, without a reason"),
    ],
)
async def test_an_answer_is_read_strictly(hub: DockerHubDouble, bench: Bench, answer: Answer, step: str) -> None:
    """What is not wholly an answer about the namespace is a failure, told once and not repeated."""
    hub.answers[ORGS] = answer
    told = await bench.look_up()

    assert (told.outcome, told.evidence) == (Outcome.FAILED, None)
    assert told.detail == f"GET {ORGS}: {step}"
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    ("path", "document", "category"),
    [
        (ORGS, {"orgname": "Grafana", "badge": "verified_publisher"}, Category.VERIFIED_PUBLISHER),
        (ORGS, {**PUBLISHER, "badge": "none"}, Category.COMMUNITY),
        (ORGS, {**PUBLISHER, "badge": None}, Category.COMMUNITY),
        (USERS, {"username": "grafana", "type": "User"}, Category.COMMUNITY),
        (USERS, {"username": "grafana", "type": "User", "badge": ""}, Category.COMMUNITY),
        (USERS, {"username": "grafana", "type": "User", "badge": "none"}, Category.COMMUNITY),
        (USERS, {"username": "grafana", "type": "User", "badge": None}, Category.COMMUNITY),
        (USERS, {**PUBLISHER, "username": "grafana"}, Category.VERIFIED_PUBLISHER),
        (USERS, PUBLISHER, Category.VERIFIED_PUBLISHER),
    ],
)
async def test_an_answer_may_say_it_in_other_words(
    hub: DockerHubDouble, bench: Bench, path: str, document: dict[str, Any], category: Category
) -> None:
    """The type may be missing, names may have capitals, and organizations among the users have badges."""
    hub.answers[ORGS] = Answer(status=302, headers={"Location": path})
    hub.answers[path] = json_answer(document)
    answer = await bench.look_up()

    assert answer.evidence is not None
    assert answer.evidence.category is category


@pytest.mark.parametrize(
    ("document", "step"),
    [
        ({"username": "grafana"}, "200, without a type"),
        ({"orgname": "grafana", "badge": ""}, "200, without a type"),
        ({}, "200, without a type"),
        ({"type": "User"}, '200, of another namespace, "None"'),
        ({"type": "Organization", "badge": ""}, '200, of another namespace, "None"'),
        ({"username": "alice", "type": "User"}, '200, of another namespace, "alice"'),
        ({"username": "grafana", "type": "User", "detail": "no"}, "200, with detail in it, as refusals have"),
        ({"username": "grafana", "type": "User", "error": None}, "200, with error in it, as refusals have"),
        (
            {"username": "grafana", "type": "User", "badge": "verified_publisher"},
            '200, a user with the badge "verified_publisher"',
        ),
        ({"username": "grafana", "type": "User", "badge": False}, '200, a user with the badge "False"'),
        ({"username": "grafana", "type": "User", "badge": []}, '200, a user with the badge "[]"'),
        ({"orgname": "grafana", "type": "User"}, '200, of another namespace, "None"'),
        ({"username": "grafana", "type": "Robot"}, '200, of type "Robot"'),
        (
            {"username": "grafana", "type": "Organization"},
            "200, without a badge, and without saying that there is none",
        ),
    ],
)
async def test_a_user_is_read_strictly(hub: DockerHubDouble, bench: Bench, document: dict[str, Any], step: str) -> None:
    """Only an answer about this user makes the namespace community."""
    hub.answers[ORGS] = Answer(status=302, headers={"Location": USERS})
    hub.answers[USERS] = json_answer(document)
    answer = await bench.look_up()

    assert (answer.outcome, answer.detail) == (Outcome.FAILED, f"GET {USERS}: {step}")


async def test_a_badge_of_a_kind_that_is_not_known_yet(hub: DockerHubDouble, bench: Bench) -> None:
    """A new badge gives no category, and is named for whoever wonders."""
    hub.set_badge("grafana", "dhi")
    answer = await bench.look_up()

    assert (answer.outcome, answer.evidence) == (Outcome.ABSENT, None)
    assert answer.detail == 'the badge "dhi" is not known to this version'
    assert answer.steps == (f'GET {ORGS}: 200, badge "dhi"',)


@pytest.mark.parametrize(
    ("location", "steps"),
    [
        ("/v2/users/grafana", ["302, to /v2/users/grafana", "200, a user's namespace"]),
        ("../../users/grafana/", ["302, to /v2/users/grafana/", "200, a user's namespace"]),
        ("{url}/v2/users/grafana/", ["302, to /v2/users/grafana/", "200, a user's namespace"]),
        ("/v2/users/alice/", ['302, to "{url}/v2/users/alice/", which is not followed']),
        ("/v2/users/grafana/?next=/login", ['302, to "{url}/v2/users/grafana/?next=/login", which is not followed']),
        ("/login", ['302, to "{url}/login", which is not followed']),
        ("http://127.0.0.1:1/v2/users/grafana/", [
            '302, to "http://127.0.0.1:1/v2/users/grafana/", which is not followed'
        ]),
        ("//localhost/v2/users/grafana/", ['302, to "http://localhost/v2/users/grafana/", which is not followed']),
        ("https://127.0.0.1/v2/users/grafana/", [
            '302, to "https://127.0.0.1/v2/users/grafana/", which is not followed'
        ]),
        ("file:/etc/passwd", ['302, to "file:/etc/passwd", which is not followed']),
        ("", ["302, to /v2/orgs/grafana/"] * 4),
        ("/v2/orgs/grafana/", ["302, to /v2/orgs/grafana/"] * 4),
    ],
)  # fmt: skip
async def test_redirects_are_followed_within_docker_hub(
    hub: DockerHubDouble, bench: Bench, location: str, steps: list[str]
) -> None:
    """Only to the same namespace at the same place, and three times at most; anything else is a portal's."""
    user = json_answer({"username": "grafana", "type": "User"})
    hub.answers[ORGS] = Answer(status=302, headers={"Location": location.format(url=hub.url)})
    hub.answers[USERS] = hub.answers[USERS.rstrip("/")] = user
    answer = await bench.look_up()

    assert [step.partition(": ")[2] for step in answer.steps] == [step.format(url=hub.url) for step in steps]
    assert answer.outcome is (Outcome.KNOWN if "200" in answer.steps[-1] else Outcome.FAILED)


@pytest.mark.parametrize("location", ["http://[::g]/", "http://a:b/", "/v2/users/\x01", "/" * 70_000])
async def test_a_redirect_to_what_is_no_url(hub: DockerHubDouble, bench: Bench, location: str) -> None:
    """A Location that cannot be read is an answer that is of no use: it is not repeated, and no outage."""
    hub.answers[ORGS] = Answer(status=302, headers={"Location": location})
    answers = [await bench.look_up() for _ in range(4)]

    assert len(hub.requests) == 4
    for answer in answers:
        assert answer.outcome is Outcome.FAILED
        assert answer.detail.startswith(f'GET {ORGS}: a redirect to what is no URL, "')
        assert answer.steps == (answer.detail,)


async def test_a_connection_is_used_again(hub: DockerHubDouble, bench: Bench) -> None:
    """Redirects, answers and 404 leave the connection open for the next question."""
    for namespace in ("grafana", "alice", "nobody", "fluent"):
        await bench.look_up(namespace)

    assert len(hub.requests) == 6
    assert hub.connected == 1


async def test_an_answer_at_last_is_an_answer(hub: DockerHubDouble) -> None:
    """Two failures are repeated, after waits that are drawn from nothing up to 0.2 s, and then up to the double."""
    waits = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            hub.fault = None

    hub.fault = Fault.RESET
    async with asking(hub, sleep=sleep) as bench:
        answer = await bench.look_up()

    assert waits == [0.2, 0.4]
    assert answer.outcome is Outcome.KNOWN
    assert len(answer.steps) == 3


UNIX = 1_780_272_000
"""The moment at which the clock stands, 2026-06-01, in Unix time."""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"X-Retry-After": str(UNIX + 20), "Retry-After": "7", "X-RateLimit-Reset": str(UNIX + 50)}, 20),
        ({"X-Retry-After": "9"}, 9),
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "Mon, 01 Jun 2026 00:00:40 GMT"}, 40),
        ({"Retry-After": "Mon, 01 Jun 2026 00:00:40 -0000"}, 40),
        ({"X-RateLimit-Reset": str(UNIX + 50)}, 50),
        ({"X-Retry-After": str(UNIX - 20), "Retry-After": "7"}, 7),
        ({}, 60),
        ({"X-Retry-After": "soon", "Retry-After": "-5", "X-RateLimit-Reset": "9" * 40}, 60),
        ({"Retry-After": "Mon, 99 Jun 2026 00:00:40 GMT"}, 60),
        ({"X-Retry-After": "99999999999"}, 3600),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(UNIX + 50), "Retry-After": "7"}, 50),
    ],
)
async def test_docker_hub_may_ask_to_wait(
    hub: DockerHubDouble, bench: Bench, headers: dict[str, str], seconds: float
) -> None:
    """After 429 nothing is asked until the moment it names, an hour at most; look-ups until then say so at once."""
    hub.remaining = None
    hub.answers[ORGS] = Answer(status=429, headers=headers)
    until = bench.clock() + timedelta(seconds=seconds)
    throttled, held_back = await bench.look_up(), await bench.look_up("fluent")
    bench.clock.advance(seconds=seconds)
    after = await bench.look_up("fluent")

    assert throttled.steps == (f"GET {ORGS}: 429",)
    assert held_back.steps == ()
    for answer in (throttled, held_back):
        assert (answer.outcome, answer.retry_at) == (Outcome.FAILED, until)
        assert answer.detail == f"Docker Hub asks to wait until {until:%Y-%m-%dT%H:%M:%SZ}"
        assert answer.asked
    assert after.outcome is Outcome.KNOWN
    assert len(hub.requests) == 2


async def test_the_last_request_of_a_window_is_the_last(hub: DockerHubDouble, bench: Bench) -> None:
    """An answer that says that none remain is good, and nothing more is asked before the next window."""
    hub.remaining, hub.reset = 0, UNIX + 25
    first, second = await bench.look_up(), await bench.look_up("fluent")

    assert first.outcome is Outcome.KNOWN
    assert (second.outcome, second.retry_at) == (Outcome.FAILED, bench.clock() + timedelta(seconds=25))
    assert len(hub.requests) == 1


async def test_a_404_that_cannot_be_confirmed_is_a_failure(hub: DockerHubDouble, bench: Bench) -> None:
    """Where the confirmation may not be asked for any more, nothing is said of the namespace."""
    hub.remaining, hub.reset = 0, UNIX + 25
    answer = await bench.look_up("nobody")

    assert (answer.outcome, answer.steps) == (Outcome.FAILED, ("GET /v2/orgs/nobody/: 404",))


async def test_every_request_counts(hub: DockerHubDouble, bench: Bench) -> None:
    """Redirects and repetitions are taken from the budget, and so is what others took of the same limit."""
    hub.remaining = None
    left = bench.budget.left
    await bench.look_up("alice")
    hub.fault = Fault.SERVER_ERROR
    await bench.look_up()
    taken = left - bench.budget.left
    hub.fault, hub.remaining = None, 17
    await bench.look_up()

    assert taken == len(hub.requests) - 1 == 5
    assert bench.budget.left == 17


async def test_a_budget_that_is_used_up_is_told(hub: DockerHubDouble) -> None:
    """A look-up with more requests than may be taken ahead fails, and says when it may be tried again."""
    hub.fault = Fault.SERVER_ERROR
    async with asking(hub, per_minute=1) as bench:
        answer = await bench.look_up()

    assert answer.outcome is Outcome.FAILED
    assert answer.detail == "Docker Hub is asked as often as it may be until 2026-06-01T00:01:00Z"
    assert answer.retry_at == bench.clock() + timedelta(minutes=1)
    assert len(answer.steps) == 2
    assert not answer.asked


async def test_a_look_up_says_when_docker_hub_is_asked(hub: DockerHubDouble, bench: Bench) -> None:
    """Waiting for a turn is not yet asking."""
    asked_by = AskedBy("")
    bench.budget.observe(0, None)
    looking = asyncio.ensure_future(bench.source.look_up("grafana", asked_by))
    for _ in range(4):
        await asyncio.sleep(0)
    waiting = asked_by.began_at
    bench.clock.advance(seconds=1)
    bench.budget.grant()
    answer = await looking

    assert waiting is None
    assert asked_by.began_at is not None
    assert answer.outcome is Outcome.KNOWN


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RESET, Fault.TRUNCATED_JSON, Fault.HANG])
async def test_an_outage_is_asked_about_seldom(hub: DockerHubDouble, fault: Fault) -> None:
    """After three look-ups in vain the next fail at once, until one is let through, and its answer ends that."""
    hub.fault = fault
    async with asking(hub, timeout=0.05 if fault is Fault.HANG else SOON) as bench:
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                await bench.look_up()
            asked = len(bench.requests)
            held_back = await bench.look_up()
            bench.clock.advance(seconds=8)
            await bench.look_up()
            again = len(bench.requests)
            longer = await bench.look_up()
            hub.fault, bench.source._sender._timeout = None, SOON
            bench.clock.advance(seconds=16)
            answers = [await bench.look_up(namespace) for namespace in ("grafana", "fluent")]

    assert (asked, again) == (9, 12)
    assert held_back.detail == "Docker Hub does not answer, and is asked again from 2026-06-01T00:00:08Z on"
    assert held_back.retry_at is not None
    assert (held_back.outcome, held_back.steps) == (Outcome.FAILED, ())
    assert held_back.asked
    assert longer.retry_at == held_back.retry_at + timedelta(seconds=16)
    assert [answer.outcome for answer in answers] == [Outcome.KNOWN] * 2
    assert [entry["event"] for entry in logs] == [
        "docker hub does not answer, and is asked less",
        "docker hub answers again",
    ]


async def test_one_look_up_tries_for_all(hub: DockerHubDouble, bench: Bench) -> None:
    """While one look-up tries whether Docker Hub answers again, others fail at once; a cancelled one does not block."""
    hub.fault = Fault.SERVER_ERROR
    for _ in range(3):
        await bench.look_up()
    bench.clock.advance(seconds=8)
    hub.fault = Fault.SLOW
    cancelled = asyncio.ensure_future(bench.look_up())
    await hub.until_requested(10)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    bench.clock.advance(seconds=16)
    trying = asyncio.ensure_future(bench.look_up())
    await hub.until_requested(11)
    other = await bench.look_up("fluent")
    hub.release()

    assert (await trying).outcome is Outcome.KNOWN
    assert other.detail == "Docker Hub does not answer, and another look-up tries whether it does again"
    assert (await bench.look_up("fluent")).outcome is Outcome.KNOWN


async def test_a_look_up_that_waited_in_vain_is_an_outage(hub: DockerHubDouble, bench: Bench) -> None:
    """Look-ups that are cancelled while Docker Hub hangs count like those that it did not answer in time."""
    hub.fault = Fault.HANG
    for count in range(3):
        looking = asyncio.ensure_future(bench.look_up())
        await hub.until_requested(count + 1)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    held_back = await bench.look_up()

    assert held_back.detail == "Docker Hub does not answer, and is asked again from 2026-06-01T00:00:08Z on"
    assert len(hub.requests) == 3


async def test_a_look_up_that_did_not_ask_is_no_outage(hub: DockerHubDouble, bench: Bench) -> None:
    """Look-ups that are cancelled while they wait for their turn say nothing about Docker Hub."""
    bench.budget.observe(0, None)
    for _ in range(3):
        looking = asyncio.ensure_future(bench.source.look_up("grafana", AskedBy("")))
        for _ in range(4):
            await asyncio.sleep(0)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    assert hub.requests == []
    assert (await bench.look_up()).outcome is Outcome.KNOWN


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND_STORM, Fault.ORGS_NOT_FOUND, Fault.HTML_PAGE, Fault.BOT_WALL])
async def test_an_answer_is_no_outage(hub: DockerHubDouble, bench: Bench, fault: Fault) -> None:
    """However useless the answers are, Docker Hub is there, and is asked as before."""
    hub.fault = fault
    for _ in range(5):
        await bench.look_up()
    hub.fault = None

    assert (await bench.look_up()).outcome is Outcome.KNOWN


@pytest.mark.parametrize("namespace", ["grafana", "alice"])
async def test_a_look_up_may_be_cancelled(
    hub: DockerHubDouble, bench: Bench, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a look-up is given up, nothing stays behind in the pool of connections that would grow for ever."""
    monkeypatch.setattr(circuit, "OUTAGES_BEFORE_CIRCUIT", 1000)
    hub.remaining = None
    for passes in range(60):
        looking = [asyncio.ensure_future(bench.look_up(namespace)) for _ in range(5)]
        for _ in range(passes):
            await asyncio.sleep(0)
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    answer = await bench.look_up(namespace)
    async with asyncio.timeout(SOON):
        await asyncio.gather(*bench.source._sender._exchanges)

    assert answer.outcome is Outcome.KNOWN
    pool: Any = bench.source._sender._client._transport
    assert pool._pool._requests == []
    assert all(connection.is_idle() for connection in pool._pool.connections)


async def test_closing_gives_up_what_is_asked(hub: DockerHubDouble) -> None:
    """A server that stops does not wait for Docker Hub."""
    hub.fault = Fault.HANG
    async with asking(hub) as bench:
        looking = asyncio.ensure_future(bench.look_up())
        await hub.until_requested(1)
    async with asyncio.timeout(SOON):
        (ended,) = await asyncio.gather(looking, return_exceptions=True)

    assert isinstance(ended, asyncio.CancelledError)


async def test_a_defect_is_a_failure(hub: DockerHubDouble) -> None:
    """What nobody thought of is logged, and is a failure like any other."""

    def broken(*_: object) -> None:
        raise RuntimeError("no such label")

    async with asking(hub, on_request=broken) as bench:
        with structlog.testing.capture_logs() as logs:
            answer = await bench.look_up()

    assert (answer.outcome, answer.detail) == (Outcome.FAILED, "an error of pullgate's own, which is in its log")
    assert [(entry["event"], entry["namespace"]) for entry in logs] == [("docker hub: a look-up broke", "grafana")]


async def test_requests_are_told_for_figures(hub: DockerHubDouble, bench: Bench) -> None:
    """Each request is told with what came of it."""
    for namespace in ("alice", "nobody"):
        await bench.look_up(namespace)
    for fault in (Fault.HTML_PAGE, Fault.BOT_WALL, Fault.RETRY_AFTER):
        hub.fault = fault
        await bench.look_up()

    orgs, users = Endpoint.ORGANIZATIONS, Endpoint.USERS
    assert bench.requests == [
        (orgs, RequestOutcome.REDIRECTED),
        (users, RequestOutcome.ANSWERED),
        (orgs, RequestOutcome.NOT_FOUND),
        (users, RequestOutcome.NOT_FOUND),
        (orgs, RequestOutcome.FAILED),
        (orgs, RequestOutcome.REFUSED),
        (orgs, RequestOutcome.THROTTLED),
    ]


@pytest.mark.parametrize("from_environment", [True, False])
async def test_a_proxy_is_used(hub: DockerHubDouble, monkeypatch: pytest.MonkeyPatch, from_environment: object) -> None:
    """Docker Hub is asked by way of the proxy that is configured, or that the environment names."""
    if from_environment:
        monkeypatch.setenv("HTTP_PROXY", hub.url)
    proxy = None if from_environment else hub.url
    async with asking(hub, base_url="http://hub.example/", proxy=proxy) as bench:
        answer = await bench.look_up()

    assert answer.outcome is Outcome.KNOWN
    assert hub.requests[0].headers["host"] == "hub.example"


SIGNED_IN = "POST /v2/auth/token: 200"
ANSWERED = f"GET {ORGS}: 200, badge verified_publisher"


@asynccontextmanager
async def signing_in(hub: DockerHubDouble, **options: Any) -> AsyncIterator[Bench]:
    """A source that asks as an account that the double knows."""
    hub.account = (CREDENTIALS.username, CREDENTIALS.secret)
    async with asking(hub, **{"credentials": CREDENTIALS, **options}) as bench:
        yield bench


async def test_an_account_signs_in_once(hub: DockerHubDouble) -> None:
    """Look-ups share one sign-in, and send its access token."""
    async with signing_in(hub) as bench:
        answers = await asyncio.gather(*(bench.look_up() for _ in range(5)))

    assert [answer.outcome for answer in answers] == [Outcome.KNOWN] * 5
    assert [request.method for request in hub.requests].count("POST") == 1
    assert {request.headers.get("authorization") for request in hub.requests[1:]} == {"Bearer access-token-1"}
    assert answers[0].steps == (SIGNED_IN, ANSWERED)
    assert answers[1].steps == (ANSWERED,)


async def test_an_access_token_expires(hub: DockerHubDouble) -> None:
    """A token that is refused is replaced by a new sign-in, and the look-up goes on."""
    async with signing_in(hub) as bench:
        await bench.look_up()
        bench.clock.advance(minutes=10)
        hub.expire_tokens()
        answer = await bench.look_up()

    assert answer.steps == (f'GET {ORGS}: 401, "Token is expired"', SIGNED_IN, ANSWERED)
    assert hub.requests[-1].headers["authorization"] == "Bearer access-token-2"


async def test_tokens_that_are_always_refused(hub: DockerHubDouble) -> None:
    """Where no token is good for anything, a minute sees one sign-in, and the rest is asked as anybody."""
    async with signing_in(hub) as bench:
        await bench.look_up()
        hub.expire_tokens()
        first, second = await bench.look_up(), await bench.look_up()

    assert first.steps == (f'GET {ORGS}: 401, "Token is expired"', ANSWERED)
    assert second.steps == (ANSWERED,)
    assert "authorization" not in hub.requests[-1].headers


async def test_an_account_may_be_forbidden_what_anybody_may(
    hub: DockerHubDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the account gets 403, the look-up is made as anybody, and that is logged once for all look-ups."""
    _forbid_the_account(hub, monkeypatch)
    async with signing_in(hub) as bench:
        with structlog.testing.capture_logs() as logs:
            first, second, user = [await bench.look_up(namespace) for namespace in ("grafana", "grafana", "alice")]

    forbidden = f'GET {ORGS}: 403, "access denied"'
    assert first.steps == (SIGNED_IN, forbidden, ANSWERED)
    assert second.steps == (forbidden, ANSWERED)
    assert [step.partition(": ")[2] for step in user.steps] == [
        '403, "access denied"',
        "302, to /v2/users/alice/",
        "200, a user's namespace",
    ]
    assert [(entry["event"], entry["username"], entry["problem"]) for entry in logs] == [
        ("docker hub forbids the account what is then asked as anybody", "acmebot", forbidden)
    ]


async def test_a_new_token_may_be_forbidden_too(hub: DockerHubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an expired token and a forbidden one, the look-up is still made as anybody."""
    async with signing_in(hub) as bench:
        await bench.look_up()
        bench.clock.advance(minutes=10)
        hub.expire_tokens()
        _forbid_the_account(hub, monkeypatch)
        answer = await bench.look_up()

    assert answer.steps == (
        f'GET {ORGS}: 401, "Token is expired"', SIGNED_IN, f'GET {ORGS}: 403, "access denied"', ANSWERED
    )  # fmt: skip


async def test_who_is_forbidden_as_anybody_is_forbidden(hub: DockerHubDouble) -> None:
    """A 403 that everybody gets is asked once more as anybody, and then said."""
    hub.answers[ORGS] = json_answer({"message": "access denied"}, 403)
    async with signing_in(hub) as bench:
        answer = await bench.look_up()

    assert answer.steps == (SIGNED_IN, *[f'GET {ORGS}: 403, "access denied"'] * 2)
    assert answer.outcome is Outcome.FAILED


def _forbid_the_account(hub: DockerHubDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer 403 to whoever sends a good token."""
    answered = hub._answer

    def answer(request: Request, body: bytes) -> Answer:
        found = answered(request, body)
        forbidden = "authorization" in request.headers and found.status != HTTPStatus.UNAUTHORIZED
        return json_answer({"message": "access denied"}, 403) if forbidden else found

    monkeypatch.setattr(hub, "_answer", answer)


@pytest.mark.parametrize(
    ("answer", "step", "minutes", "level"),
    [
        (json_answer({"detail": f"no, not {SECRET}"}, 401), "401", 15, "error"),
        (json_answer({"detail": f"no, not {SECRET}"}, 403), "403", 15, "error"),
        (json_answer({}, 500), "500", 1, "warning"),
        (json_answer({"access_token": ""}), "200", 1, "warning"),
        (json_answer({"access_token": 7}), "200", 1, "warning"),
        (json_answer({"access_token": "a\r\nX-Evil: b"}), "200", 1, "warning"),
        (json_answer({"token": "abc"}), "200", 1, "warning"),
        (json_answer({}, 404), "404", 1, "warning"),
        (Answer(status=302, headers={"Location": "/login"}), "302", 1, "warning"),
        (Answer(headers={"Content-Type": "text/html"}), '200, "text/html" in place of application/json', 1, "warning"),
    ],
)
async def test_without_a_sign_in_it_asks_as_anybody(
    hub: DockerHubDouble, answer: Answer, step: str, minutes: int, level: str
) -> None:
    """A sign-in in vain is logged and not repeated soon, least of all a refused one, which would lock the account."""
    hub.answers["/v2/auth/token"] = answer
    async with signing_in(hub) as bench:
        with structlog.testing.capture_logs() as logs:
            first = await bench.look_up()
            bench.clock.advance(seconds=minutes * 60 - 1)
            second = await bench.look_up()
            bench.clock.advance(seconds=1)
            del hub.answers["/v2/auth/token"]
            third = await bench.look_up()

    assert first.steps == (f"POST /v2/auth/token: {step}", ANSWERED)
    assert second.steps == (ANSWERED,)
    assert third.steps == (SIGNED_IN, ANSWERED)
    assert [(entry["log_level"], entry["username"]) for entry in logs] == [(level, "acmebot")]
    assert SECRET not in f"{logs}{first}"


async def test_a_sign_in_may_be_throttled(hub: DockerHubDouble) -> None:
    """Docker Hub counts by address, so a sign-in that has to wait holds up the look-ups too."""
    hub.answers["/v2/auth/token"] = Answer(status=429, headers={"Retry-After": "30"})
    async with signing_in(hub) as bench:
        answer = await bench.look_up()

    assert answer.steps == ("POST /v2/auth/token: 429",)
    assert answer.retry_at == bench.clock() + timedelta(seconds=30)


async def test_the_secret_is_nowhere(hub: DockerHubDouble) -> None:
    """Neither the secret nor an access token is in what is said, logged or shown of the source."""
    async with signing_in(hub) as bench:
        with structlog.testing.capture_logs() as logs:
            said = [await bench.look_up()]
            for fault in Fault:
                hub.fault = fault
                hub.delay = 0
                bench.clock.advance(hours=1)
                if fault is not Fault.HANG:
                    said.append(await bench.look_up())
        shown = f"{CREDENTIALS!r} {CREDENTIALS} {bench.source!r} {vars(bench.source)} {said} {logs}"

    assert SECRET not in shown
    assert "access-token-" not in shown


@pytest.mark.parametrize(
    ("base_url", "accepted"),
    [
        ("https://hub.docker.com", True),
        ("http://127.0.0.1:8081", True),
        ("http://[::1]:8081", True),
        ("http://localhost", True),
        ("http://hub.docker.com", False),
        ("http://10.0.0.1:8081", False),
    ],
)
async def test_a_secret_is_not_sent_in_the_clear(hub: DockerHubDouble, base_url: str, accepted: object) -> None:
    """Without TLS an account signs in within this machine alone."""

    async def build() -> None:
        async with asking(hub, base_url=base_url, credentials=CREDENTIALS):
            pass

    if accepted:
        await build()
    else:
        with pytest.raises(ValueError, match="without TLS"):
            await build()


async def test_the_double_is_switched_over_http(hub: DockerHubDouble, bench: Bench) -> None:
    """What tests set on the double, a person sets with curl."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(hub.url.rpartition(":")[2]))
    body = json.dumps({"fault": "html_page", "namespaces": {"grafana": "open_source", "alice": None}}).encode()
    writer.write(b"PUT /control HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    fault = hub.fault
    hub.fault = None
    answers = [await bench.look_up(namespace) for namespace in ("grafana", "alice")]

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert fault is Fault.HTML_PAGE
    assert [answer.detail for answer in answers] == ["", "Docker Hub knows no such namespace"]
    assert hub.requested("alice") == 2
