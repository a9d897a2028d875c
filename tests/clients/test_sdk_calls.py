"""Both clients against a server process: every kind of call, and what is the same in both."""

import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import pullgate_client
from pullgate_client import (
    AsyncClient,
    CallError,
    Client,
    ConflictError,
    Connection,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    Question,
    UnauthenticatedError,
)
from pullgate_policy import Category, Effect, Identity, Membership, Mode, Policy, Preset, Role, preset_policy
from pullgate_policy.access_token import CallerRole
from pullgate_policy.members import Member
from pullgate_policy.pins import CategoryPin
from tests.clients.either_client import KINDS, EitherClient, either_client, listed, received
from tests.conftest import SOON, ServerProcess

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which client; and the organization that it writes to, so that the two do not meet."""
    return str(request.param)


@pytest.fixture
async def client(server_process: ServerProcess, kind: str) -> AsyncIterator[EitherClient]:
    """A client of an operator."""
    async with either_client(kind, Connection.from_environment(server_process.environment()), deadline=SOON) as client:
        yield client


def dev(organization: str) -> Identity:
    """A member."""
    return Identity(username="dev", memberships=(Membership(organization=organization),))


async def test_decisions(client: EitherClient, kind: str) -> None:
    """One image, many in order with what is wrong with one, and at least as fresh as a write."""
    strict = await client.put_policy(preset_policy(Preset.STRICT, kind))
    one = await client.decide(dev(kind), "nginx", min_revision=strict.revision)
    many = await listed(client.decide_all(dev(kind), ["nginx", "Bad/Name", "someuser/tool"]))

    assert (one.decision.effect, one.decision.organization) == (Effect.ALLOW, kind)
    assert one.policy_revision >= strict.revision
    assert isinstance(many[1], InvalidRequestError)
    assert many[1].metadata == {"position": "4"}
    assert [many[0].decision.effect, many[2].decision.effect] == [Effect.ALLOW, Effect.DENY]


async def test_more_than_a_batch(client: EitherClient, kind: str) -> None:
    """More references than the service takes at once are asked for in several batches, in order."""
    names = [f"ghcr.io/a/b:{number}" for number in range(1203)]
    answers = await listed(client.decide_all(dev(kind), names))

    assert [str(answer.decision.reference) for answer in answers] == names


async def test_a_stream_of_questions(client: EitherClient, kind: str) -> None:
    """Each question has one answer or error, told apart by the request id."""
    questions = [Question(identity=dev(kind), reference=f"nginx:{n}", request_id=f"{n}") for n in range(50)]
    bad = Question(identity=dev(kind), reference="Bad/Name", request_id="bad")
    answers = dict(await listed(client.stream_decide([*questions, bad])))

    error = answers.pop("bad")
    assert isinstance(error, InvalidRequestError)
    assert {request_id: answer.decision.reference.tag for request_id, answer in answers.items()} == {
        f"{n}": f"{n}" for n in range(50)
    }


async def test_what_the_questions_raise_is_raised(client: EitherClient, kind: str) -> None:
    """Once what was asked before is answered."""

    def questions() -> Iterator[Question]:
        yield Question(identity=dev(kind), reference="nginx", request_id="1")
        raise RuntimeError("no more questions")

    answers, error = await received(client.stream_decide(questions()))

    assert [request_id for request_id, _ in answers] == ["1"]
    assert str(error) == "no more questions"


async def test_the_life_of_a_policy(client: EitherClient, kind: str) -> None:
    """Written, read, changed, compared, tried, rolled back and taken away; a write from an old revision is refused."""
    name = f"{kind}-life"
    first = await client.put_policy(Policy(organization=name), expected_revision=0, comment="begin")
    monitor = replace(first.policy, image_access=replace(first.policy.image_access, mode=Mode.MONITOR))
    second = await client.patch_policy(monitor, ["image_access.mode"], expected_revision=first.revision)
    with pytest.raises(ConflictError) as stale:
        await client.put_policy(Policy(organization=name), expected_revision=first.revision)
    with pytest.raises(InvalidRequestError) as invalid:
        await client.patch_policy(monitor, ["no.such.setting"])
    changes = await client.diff_policy(name, first.revision)
    trial = await client.dry_run_policy(
        name, preset_policy(Preset.STRICT, name), identities=[dev(name)], references=["someuser/tool", "Bad/Name"]
    )
    third = await client.roll_back_policy(name, first.revision)
    written = [entry.revision async for entry in client.policy_history(name)]
    stored = [entry.policy.organization async for entry in client.list_policies()]
    gone = await client.delete_policy(name)
    with pytest.raises(NotFoundError):
        await client.get_policy(name)

    assert (second.policy, third.policy) == (monitor, first.policy)
    assert stale.value.metadata == {
        "expected_revision": f"{first.revision}",
        "current_revision": f"{second.revision}",
    }
    ((field, _),) = invalid.value.violations
    assert field == "update_mask.paths[0]"
    assert [change.path for change in changes] == ["image_access.mode"]
    assert trial.results[0].answers[1].decision.effect is Effect.DENY
    assert isinstance(trial.results[1].answers, CallError)
    assert written == [third.revision, second.revision, first.revision]
    assert name in stored
    assert gone > third.revision
    assert (await client.get_policy(name, revision=second.revision)).policy == monitor


async def test_a_request_id_happens_once(client: EitherClient, kind: str) -> None:
    """The same write under the same id gives the first one's answer."""
    policy = Policy(organization=f"{kind}-once")
    first = await client.put_policy(policy, comment="a", request_id=f"{kind}-1")
    again = await client.put_policy(policy, comment="a", request_id=f"{kind}-1")

    assert first == again


async def test_categories_and_pins(client: EitherClient, kind: str) -> None:
    """A pin is set, listed, seen in look-ups and taken back."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    pin = CategoryPin.checked(
        name=f"pinned-{kind}", category=Category.VERIFIED_PUBLISHER, community_class=None, reason="known", author="",
        written_at=moment, organization=kind, expires_at=None,
    )  # fmt: skip
    stored = await client.put_pin(pin)
    pins = await listed(client.list_pins(organization=kind))
    (lookup,) = await listed(client.look_up_categories([pin.name], organization=kind))
    (anew,) = await listed(client.look_up_categories([pin.name], organization=kind, anew=True))
    await client.delete_pin(pin.name, organization=kind)
    known = await listed(client.list_categories(Category.COMMUNITY))

    assert stored in pins
    assert lookup.evidence.category is anew.evidence.category is Category.VERIFIED_PUBLISHER
    assert stored not in await listed(client.list_pins(organization=kind))
    assert all(entry.evidence.category is Category.COMMUNITY for entry in known)


async def test_members(client: EitherClient, kind: str) -> None:
    """A list is written, read as a whole and by team, tried without writing, and shortened."""
    members = [
        Member(username="ada", role=Role.OWNER, teams=frozenset({"web"})),
        Member(username="dev", role=Role.MEMBER, teams=frozenset()),
    ]
    written = await client.write_members(kind, members)
    tried = await client.write_members(kind, members[:1], replace=True, dry_run=True)
    everybody = await listed(client.list_members(kind))
    team = await listed(client.list_members(kind, team="web"))
    removed = await client.remove_members(kind, ["dev"])

    assert (everybody, team) == (members, members[:1])
    assert (len(written.changes), written.revision > 0) == (2, True)
    assert (len(tried.changes), tried.unchanged) == (1, 1)
    assert removed.changes == ((members[1], None),)


async def test_tokens_and_events(client: EitherClient, server_process: ServerProcess, kind: str) -> None:
    """A token is made, rotated, listed and revoked; it is who it says it is, and every step is an event."""
    secret, token = await client.create_token(f"{kind} ci", CallerRole.ENFORCER, organization=kind)
    renewed, same = await client.rotate_token(token.id, expires_in=timedelta(days=1))
    connection = Connection(address=server_process.address, token=renewed)
    async with either_client(kind, connection, deadline=SOON) as enforcer:
        caller = await enforcer.who_am_i()
        with pytest.raises(PermissionDeniedError):
            await enforcer.put_policy(Policy(organization=kind))
        listed_tokens = await listed(client.list_tokens(organization=kind))
        revoked = await client.revoke_token(token.id)
        with pytest.raises(UnauthenticatedError):
            await enforcer.who_am_i()
    events = await listed(client.list_events(organization=kind, name=token.id))
    stream = client.stream_events(organization=kind, since_revision=events[-1].revision - 1)
    first = await anext(stream)
    await stream.aclose()

    assert secret != renewed
    assert (same.id, caller.role, caller.organization) == (token.id, CallerRole.ENFORCER, kind)
    assert token.id in {entry.id for entry in listed_tokens}
    assert revoked.revoked_at is not None
    assert len(events) == 3
    assert first.revision == events[-1].revision


async def test_health(client: EitherClient) -> None:
    """A server that answers says so."""
    assert await client.is_serving() is True


def test_both_clients_say_the_same() -> None:
    """Every method of the one is the other's, with the same arguments and the same words."""

    def methods(client: type) -> dict[str, tuple[list[str], str | None]]:
        return {
            name: (list(inspect.signature(method).parameters), method.__doc__)
            for name, method in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_")
        }

    assert methods(Client) == methods(AsyncClient)


def test_the_synchronous_client_is_generated() -> None:
    """Its file says so, and nothing of asyncio is left in it; that it is up to date `make check` sees."""
    written = (ROOT / "clients/pullgate_client/client.py").read_text()

    assert written.startswith("# Generated from aio.py by clients/generate")
    for word in ("async ", "await ", "grpc.aio", "Async"):
        assert word not in written


def test_the_asyncio_client_is_loaded_when_it_is_asked_for() -> None:
    """Who imports the SDK for the synchronous client, such as the command line, does not pay for the other."""
    script = "import sys, pullgate_client as sdk; sdk.Client; print('pullgate_client.aio' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert printed == "False\n"
    assert all(getattr(pullgate_client, name) for name in pullgate_client.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        pullgate_client.Nothing  # noqa: B018
