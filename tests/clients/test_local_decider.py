"""Decisions in the caller's own process: the same as the service's, and what happens while the service is away."""

import asyncio
import shutil
import signal
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from pullgate_client import (
    AsyncClient,
    AsyncLocalDecider,
    Connection,
    LocalDecider,
    NoKnowledgeError,
    UnavailableError,
    UnusableUpdateError,
)
from pullgate_client.connection import local_token
from pullgate_client.local import AsyncLocalDecider as Decider
from pullgate_policy import (
    ANONYMOUS,
    Category,
    Effect,
    Identity,
    InvalidReferenceError,
    Membership,
    Policy,
    Preset,
    Reason,
    Role,
    parse_policy_yaml,
    preset_policy,
)
from pullgate_policy.access_token import CallerRole
from pullgate_policy.answer import Answer
from pullgate_policy.errors import FieldInvalidError, OrganizationNotPermittedError
from pullgate_policy.knowledge import KnowledgeStatus, PastMaximumAge
from pullgate_policy.members import Member
from pullgate_policy.pins import CategoryPin
from pullgate_policy.policy_state import PolicyState, StateChange
from pullgate_policy.stored_policy import StoredPolicy
from pullgate_policy.watch import Changed, GoAway, GoAwayReason, SnapshotPart, WatchEvent
from pullgate_server.stores.memory import MemoryStore
from tests.clients.test_following import END, NOW, OPENED, Script, bookmark, changed, stored
from tests.conftest import SOON, Clock, Serve, ServerProcess, Service, start_server, stop_server
from tests.server.test_decision_vectors import catalogue, store_with
from tests.vectors import ORGANIZATION, Case, read_cases

DEV = Identity(username="dev", memberships=(Membership(organization="acme"),))
STRICT, OPEN = preset_policy(Preset.STRICT, "acme"), preset_policy(Preset.OPEN, "acme")


def connection_to(service: Service, token: str = "") -> Connection:
    """How a client reaches a server of this process."""
    return Connection(address=service.server.address, token=token or service.token)


def reaching(server: ServerProcess) -> Connection:
    """How a client reaches a server process."""
    return Connection(address=server.address, token=local_token(server.address, server.data_dir))


@asynccontextmanager
async def deciding(connection: Connection, *, ready: bool = True, **options: Any) -> AsyncIterator[Decider]:
    """A local decider, that knows what there is to know."""
    async with AsyncClient(connection) as client, AsyncLocalDecider(client, **options) as decider:
        if ready:
            await decider.ready(SOON)
        yield decider


async def written(client: AsyncClient, policy: Policy) -> int:
    """The revision that wrote a policy, also where gRPC has not noticed yet that a server is back."""
    async with asyncio.timeout(SOON):
        while True:
            with suppress(UnavailableError):
                return (await client.put_policy(policy)).revision


async def until(decider: Decider, holds: Callable[[], bool]) -> None:
    """Wait until something about what a decider knows holds."""
    changed = asyncio.Event()
    decider.call_on_change(changed.set)
    async with asyncio.timeout(SOON):
        while not holds():
            await changed.wait()
            changed.clear()


def has_status(decider: Decider, *statuses: KnowledgeStatus) -> Callable[[], bool]:
    """Whether a decider stands so."""
    return lambda: decider.knowledge.status in statuses


def told(answer: Answer) -> dict[str, object]:
    """What an answer says, but for its name."""
    decision = answer.decision
    return {
        "effect": decision.effect.name,
        "policy_effect": decision.policy_effect.name,
        "enforced": decision.enforced,
        "reason": decision.reason.name,
        "message": decision.message,
        "help": decision.help,
        "category": "UNSPECIFIED" if decision.evidence is None else decision.evidence.category.name,
        "reference": str(decision.reference),
        "organization": decision.organization,
    }


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in read_cases()])
async def test_decision(case: Case, serve: Serve) -> None:
    """A local decider answers each row of the tables as they say, and as the service does, to the last field."""
    clock = Clock(case.now)
    async with (
        serve(
            store=await store_with(case), clock=clock, catalogue=catalogue(case), category_sources="catalogue"
        ) as service,
        deciding(connection_to(service), clock=clock) as decider,
    ):
        if "error" in case.expect:
            with pytest.raises((InvalidReferenceError, FieldInvalidError)):
                await decider.decide(case.identity, case.reference, organizations=[ORGANIZATION])
            return
        answers = [await decider.decide(case.identity, case.reference, organizations=[ORGANIZATION]) for _ in range(2)]
        at_once = decider.decide_now(case.identity, case.reference, organizations=[ORGANIZATION])
        async with AsyncClient(connection_to(service)) as client:
            remote = await client.decide(case.identity, case.reference, organizations=[ORGANIZATION])

    for answer in answers:
        assert dict(case.expect) == {name: told(answer)[name] for name in case.expect}
        assert told(answer) == told(remote)
        assert answer.policy_revision == remote.policy_revision
        assert (answer.notes, answer.decision.matched_rule) == (remote.notes, remote.decision.matched_rule)
        # What the service has found out itself it may vouch for until it is a rule's time, the decider for an hour.
        assert answer.cacheable_for <= timedelta(seconds=60)
    assert at_once is None or told(at_once) == told(remote)
    assert len({answer.decision_id for answer in answers}) == 2


async def test_a_change_holds_here_once_it_was_told(serve: Serve) -> None:
    """Policies, pins and members that are written upstream decide here too, and kept answers go."""
    async with (
        serve() as service,
        AsyncClient(connection_to(service)) as client,
        deciding(connection_to(service)) as decider,
    ):
        reasons = []
        pin = CategoryPin(
            name="someuser",
            category=Category.VERIFIED_PUBLISHER,
            community_class=None,
            reason="ours",
            author="",
            written_at=service.clock(),
        )
        for write in (
            lambda: client.put_policy(STRICT),
            lambda: client.put_policy(preset_policy(Preset.STANDARD, "acme")),
            lambda: client.put_pin(pin),
            lambda: client.write_members("acme", [Member(username="dev", role=Role.OWNER)]),
            lambda: client.write_members("acme", [Member(username="dev"), Member(username="x")], replace=True),
            lambda: client.delete_pin("someuser"),
            lambda: client.delete_policy("acme"),
        ):
            await write()
            newest = (await anext(aiter(client.list_events()))).revision
            await decider.at_least(newest, SOON)
            answer = await decider.decide(DEV, "someuser/app")
            assert answer.policy_revision == newest
            reasons.append(answer.decision.reason.name)

    assert reasons == [
        "CATEGORY_UNKNOWN",
        "CATEGORY_UNKNOWN",
        "CATEGORY_ALLOWED",
        "ORGANIZATION_OWNER",
        "CATEGORY_ALLOWED",
        "CATEGORY_UNKNOWN",
        "POLICY_DISABLED",
    ]


async def test_a_decider_knows_no_more_than_its_token_may(serve: Serve) -> None:
    """An enforcer's decider holds its organization's policy alone, and decides for no other organization."""
    async with serve() as service, AsyncClient(connection_to(service)) as operator:
        await operator.put_policy(STRICT)
        await operator.put_policy(preset_policy(Preset.OPEN, "globex"))
        secret, _ = await operator.create_token("proxy", CallerRole.ENFORCER, organization="acme")
        async with deciding(connection_to(service, secret)) as decider:
            assert set(decider.knowledge.state.policies) == {"acme"}
            assert (await decider.decide(DEV, "nginx")).decision.effect is Effect.ALLOW
            with pytest.raises(OrganizationNotPermittedError):
                await decider.decide(DEV, "nginx", organizations=["globex"])
            claimed = Identity(username="ada", memberships=(Membership(organization="acme", role=Role.OWNER),))
            answer = await decider.decide(claimed, "someuser/app")

    assert answer.decision.effect is Effect.DENY
    assert "the role owner as stated by proxy did not count" in answer.notes[0]


async def test_a_token_says_who_pulls(serve: Serve) -> None:
    """A person's token is held against the service once, and again when it has been remembered for long enough."""
    async with serve() as service, AsyncClient(connection_to(service)) as operator:
        await operator.put_policy(STRICT)
        secret, _ = await operator.create_token("dev", CallerRole.OWNER, organization="acme", username="dev")
        enforcer, _ = await operator.create_token("proxy", CallerRole.ENFORCER, organization="acme")
        async with deciding(connection_to(service, enforcer)) as decider:
            assert (await decider.decide(secret, "someuser/app")).decision.reason is Reason.ORGANIZATION_OWNER
            with pytest.raises(FieldInvalidError, match="not a token of a person"):
                await decider.decide("nonsense", "nginx")
            with pytest.raises(FieldInvalidError, match="not a token of a person"):
                await decider.decide(enforcer, "nginx")


async def test_a_category_is_asked_for_once(serve: Serve) -> None:
    """What is not known here is asked of the service once for a namespace, however many ask, and remembered."""
    entries = (
        "{namespace: grafana, category: VERIFIED_PUBLISHER, source: test, retrieved_at: 2026-01-01T00:00:00Z}, "
        "{namespace: bitnami, category: VERIFIED_PUBLISHER, source: test, retrieved_at: 2026-01-01T00:00:00Z}, "
        "{repository: bitnami/odd, category: COMMUNITY, source: test, retrieved_at: 2026-01-01T00:00:00Z}"
    )
    async with (
        serve(catalogue=f"entries: [{entries}]", category_sources="catalogue") as service,
        AsyncClient(connection_to(service)) as client,
        deciding(connection_to(service)) as decider,
    ):
        await client.put_policy(preset_policy(Preset.STANDARD, "acme"))
        await decider.at_least(1, SOON)
        asked: list[list[str]] = []
        look_up = AsyncClient.look_up_categories

        def counted(self: AsyncClient, names: Any, **options: Any) -> Any:
            asked.append(list(names))
            return look_up(self, names, **options)

        AsyncClient.look_up_categories = counted  # type: ignore[method-assign]
        try:
            first = await asyncio.gather(*(decider.decide(DEV, "grafana/loki") for _ in range(50)))
            second = decider.decide_now(DEV, "grafana/tempo")
            third = await asyncio.gather(decider.decide(DEV, "bitnami/odd"), decider.decide(DEV, "bitnami/even"))
        finally:
            AsyncClient.look_up_categories = look_up  # type: ignore[method-assign]

    assert asked == [["grafana/loki"], ["bitnami/odd", "bitnami/even"]]
    assert {answer.decision.effect for answer in first} == {Effect.ALLOW}
    assert second is not None
    assert second.decision.effect is Effect.ALLOW
    assert [answer.decision.effect for answer in third] == [Effect.DENY, Effect.ALLOW]


async def test_a_category_that_changes_is_told(serve: Serve) -> None:
    """When the catalogue says something else of a name that decisions rest on, they rest on that."""
    entry = "entries: [{{namespace: grafana, category: {}, source: test, retrieved_at: 2026-01-01T00:00:00Z}}]"
    async with (
        serve(catalogue=entry.format("VERIFIED_PUBLISHER"), category_sources="catalogue") as service,
        AsyncClient(connection_to(service)) as client,
    ):
        await client.put_policy(preset_policy(Preset.STANDARD, "acme"))
        async with deciding(connection_to(service)) as decider:
            assert (await decider.decide(DEV, "grafana/loki")).decision.effect is Effect.ALLOW
            Path(service.directory, "catalogue.yaml").write_text(entry.format("COMMUNITY"))

            def denied() -> bool:
                answer = decider.decide_now(DEV, "grafana/loki")
                return answer is not None and answer.decision.effect is Effect.DENY

            await until(decider, denied)


async def test_a_category_goes_on_while_the_service_is_away(serve: Serve) -> None:
    """A category whose time is over is used as stale while nobody can say anything newer."""
    entries = "{namespace: grafana, category: VERIFIED_PUBLISHER, source: test, retrieved_at: 2026-01-01T00:00:00Z}"
    clock = Clock()
    async with serve(catalogue=f"entries: [{entries}]", category_sources="catalogue") as service:
        async with AsyncClient(connection_to(service)) as client:
            await client.put_policy(preset_policy(Preset.STANDARD, "acme"))
        async with deciding(connection_to(service), clock=clock) as decider:
            await decider.decide(DEV, "grafana/loki")
            await service.server.stop()
            await until(decider, has_status(decider, KnowledgeStatus.STALE))
            clock.advance(hours=2)
            answer = await decider.decide(DEV, "grafana/loki")

    assert answer.decision.effect is Effect.ALLOW
    assert answer.decision.evidence is not None
    assert answer.decision.evidence.stale


async def test_kept_answers_are_those_that_would_be_found_anew(serve: Serve) -> None:
    """Time alone ends a kept answer where it ends a rule: an expiring entry of the allowlist allows to the second."""
    clock = Clock()
    policy = preset_policy(Preset.STRICT, "acme").image_access
    assert policy is not None
    async with (
        serve(clock=clock) as service,
        AsyncClient(connection_to(service)) as client,
        deciding(connection_to(service), clock=clock) as decider,
    ):
        await client.put_pin(
            CategoryPin(
                name="someuser",
                category=Category.OFFICIAL,
                community_class=None,
                reason="",
                author="",
                written_at=clock(),
                expires_at=clock() + timedelta(minutes=5),
            )
        )
        await client.put_policy(STRICT)
        await decider.at_least(2, SOON)
        effects = []
        for _ in range(10):
            kept = await decider.decide(DEV, "someuser/app")
            assert told(kept) == told(await client.decide(DEV, "someuser/app"))
            effects.append(kept.decision.effect)
            clock.advance(seconds=45)

    assert effects == [Effect.ALLOW] * 7 + [Effect.DENY] * 3


async def test_a_killed_server_is_followed_again_where_it_was(tmp_path: Path) -> None:
    """Killed and started again: the decider says STALE and goes on, then resumes where it was and misses nothing."""
    server = start_server(tmp_path / "data", "--watch-bookmark", "0.5")
    async with AsyncClient(reaching(server)) as client:
        await client.put_policy(STRICT)
        async with deciding(reaching(server)) as decider:
            snapshots = []
            take = decider._take
            decider._take = lambda event: (snapshots.append(type(event).__name__), take(event))[1]  # type: ignore[func-returns-value, method-assign]
            statuses = [decider.knowledge.status]
            decider.call_on_change(lambda: statuses.append(decider.knowledge.status))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait(timeout=SOON)
            assert server.process.stdout is not None
            server.process.stdout.close()
            await until(decider, has_status(decider, KnowledgeStatus.STALE))
            answer = await decider.decide(DEV, "someuser/app")

            assert answer.decision.effect is Effect.DENY
            assert answer.known_as_of is not None

            server = start_server(tmp_path / "data", "--listen", server.address, "--watch-bookmark", "0.5")
            try:
                async with AsyncClient(reaching(server)) as other:
                    for preset in (Preset.STANDARD, Preset.OPEN):
                        revision = await written(other, preset_policy(preset, "acme"))
                await decider.at_least(revision, SOON)
                await until(decider, has_status(decider, KnowledgeStatus.READY))

                assert decider.knowledge.state.policies == {"acme": OPEN}
                assert "SnapshotEnd" not in snapshots
                assert (await decider.decide(DEV, "someuser/app")).known_as_of is None
            finally:
                stop_server(server)


async def test_a_replaced_store_is_taken_in_from_the_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that comes back with another database is told apart: the decider says so, and takes a snapshot."""
    server = start_server(tmp_path / "data")
    token = local_token(server.address, server.data_dir)
    async with AsyncClient(reaching(server)) as client:
        await client.put_policy(STRICT)
        await client.put_policy(preset_policy(Preset.STRICT, "globex"))
    stop_server(server)
    backup = tmp_path / "backup.db"
    shutil.copy(tmp_path / "data/pullgate.db", backup)
    server = start_server(tmp_path / "data", "--listen", server.address)
    async with deciding(Connection(address=server.address, token=token)) as decider:
        async with AsyncClient(reaching(server)) as client:
            await decider.at_least(await written(client, OPEN), SOON)
        stop_server(server)
        shutil.copy(backup, tmp_path / "data/pullgate.db")
        server = start_server(tmp_path / "data", "--listen", server.address)
        try:
            async with AsyncClient(reaching(server)) as client:
                await written(client, STRICT)
                await client.delete_policy("globex")
            await until(decider, lambda: set(decider.knowledge.state.policies) == {"acme"})
            await until(decider, has_status(decider, KnowledgeStatus.READY))
        finally:
            stop_server(server)

    assert decider.knowledge.state.policies == {"acme": STRICT}
    assert "does not hold any more" in caplog.text


async def test_a_decider_begins_from_disk(serve: Serve, tmp_path: Path) -> None:
    """With the service away from the start it decides from what was kept, categories too, and says how old that is."""
    entries = "{namespace: grafana, category: VERIFIED_PUBLISHER, source: test, retrieved_at: 2026-01-01T00:00:00Z}"
    state, clock = tmp_path / "state.json", Clock()
    async with serve(catalogue=f"entries: [{entries}]", category_sources="catalogue") as service:
        connection = connection_to(service)
        async with AsyncClient(connection) as client:
            await client.put_policy(preset_policy(Preset.STANDARD, "acme"))
            await client.write_members("acme", [Member(username="dev", teams=frozenset({"web"}))])
        async with deciding(connection, state_file=state, clock=clock) as decider:
            await decider.decide(DEV, "grafana/loki")
            kept = decider.knowledge.state
    assert state.stat().st_mode & 0o777 == 0o600
    clock.advance(minutes=30)
    async with deciding(connection, ready=False, state_file=state, clock=clock) as decider:
        answer = await decider.decide(DEV, "grafana/loki")

        assert decider.knowledge.state == kept
        assert decider.knowledge.status is KnowledgeStatus.STALE
        assert answer.decision.effect is Effect.ALLOW
        assert answer.known_as_of == clock() - timedelta(minutes=30)


async def test_a_damaged_file_is_refused_whole(serve: Serve, tmp_path: Path) -> None:
    """One byte changed anywhere: nothing of it is used, and why is said with every refusal."""
    state = tmp_path / "state.json"
    async with serve() as service:
        connection = connection_to(service)
        async with AsyncClient(connection) as client:
            await client.put_policy(STRICT)
        async with deciding(connection, state_file=state):
            pass
    good = state.read_bytes()
    for position in (*range(0, len(good), 97), len(good) - 1):
        damaged = bytearray(good)
        damaged[position] ^= 0x01
        state.write_bytes(damaged)
        async with deciding(connection, ready=False, state_file=state) as decider:
            assert str(state) in decider.state_problem
            assert decider.knowledge.status is KnowledgeStatus.NOT_READY
            assert not decider.knowledge.state.policies
            with pytest.raises(NoKnowledgeError, match=r"no policy is known yet.*state\.json"):
                await decider.decide(DEV, "nginx")
    state.write_bytes(good[:-20])
    async with deciding(connection, ready=False, state_file=state) as decider:
        assert "damaged" in decider.state_problem


async def test_a_file_of_another_subscription_is_refused(serve: Serve, tmp_path: Path) -> None:
    """What was kept for other organizations is not decided from."""
    state = tmp_path / "state.json"
    async with serve() as service:
        connection = connection_to(service)
        async with deciding(connection, state_file=state, organizations=["acme"]):
            pass
    async with deciding(connection, ready=False, state_file=state, organizations=["globex"]) as decider:
        assert "is of a subscription to acme, and not to globex" in decider.state_problem
    other = replace(connection, token="of somebody else")
    async with deciding(other, ready=False, state_file=state, organizations=["acme"]) as decider:
        assert "was kept for another token" in decider.state_problem


@pytest.mark.parametrize("mode", list(PastMaximumAge))
async def test_what_is_too_old_is_used_as_it_was_told(mode: PastMaximumAge, serve: Serve) -> None:
    """Past the maximum age no decision is made, or everything is allowed and says so, or what was known goes on."""
    clock = Clock()
    async with serve(clock=clock) as service:
        async with AsyncClient(connection_to(service)) as client:
            await client.put_policy(STRICT)
        async with deciding(
            connection_to(service), clock=clock, maximum_age=timedelta(hours=1), past_maximum_age=mode
        ) as decider:
            assert (await decider.decide(DEV, "someuser/app")).decision.effect is Effect.DENY
            await service.server.stop()
            await until(decider, has_status(decider, KnowledgeStatus.STALE))
            clock.advance(minutes=59)
            assert (await decider.decide(DEV, "someuser/app")).decision.effect is Effect.DENY
            clock.advance(minutes=1)
            assert decider.knowledge.status is KnowledgeStatus.ERROR
            if mode is PastMaximumAge.CLOSED:
                with pytest.raises(NoKnowledgeError, match="may be used for 3600 seconds"):
                    await decider.decide(DEV, "someuser/app")
                return
            answer = await decider.decide(DEV, "someuser/app")

    decision = answer.decision
    assert decision.policy_effect is Effect.DENY
    assert decision.effect is (Effect.ALLOW if mode is PastMaximumAge.OPEN else Effect.DENY)
    assert decision.enforced is (mode is PastMaximumAge.LAST_KNOWN)
    assert any("failing open" in note for note in answer.notes) is (mode is PastMaximumAge.OPEN)
    assert answer.known_as_of is not None


@pytest.mark.parametrize("mode", list(PastMaximumAge))
async def test_nothing_known_is_decided_as_it_was_told(mode: PastMaximumAge) -> None:
    """Where nothing was ever known only failing open allows; the last known is none."""
    connection = Connection(address="127.0.0.1:1", token="x", attempts=1)
    async with deciding(connection, ready=False, past_maximum_age=mode) as decider:
        if mode is PastMaximumAge.OPEN:
            answer = await decider.decide(DEV, "someuser/app")
            anonymous = await decider.decide(ANONYMOUS, "nginx")

            assert answer.decision.effect is Effect.ALLOW
            assert not answer.decision.enforced
            assert "nothing is known of any policy" in answer.notes[0]
            assert anonymous.decision.effect is Effect.ALLOW
        else:
            with pytest.raises(NoKnowledgeError, match="no policy is known yet"):
                await decider.decide(DEV, "someuser/app")


async def test_a_withdrawn_right_ends_it(serve: Serve) -> None:
    """A revoked token is FATAL: it is not tried again, and decisions end, as the right to them has."""
    async with serve() as service, AsyncClient(connection_to(service)) as operator:
        await operator.put_policy(STRICT)
        secret, token = await operator.create_token("proxy", CallerRole.ENFORCER, organization="acme")
        async with deciding(connection_to(service, secret)) as decider:
            await operator.revoke_token(token.id)
            await until(decider, has_status(decider, KnowledgeStatus.FATAL))

            with pytest.raises(NoKnowledgeError, match="the token was revoked"):
                await decider.decide(DEV, "nginx")
            with pytest.raises(NoKnowledgeError, match="the token was revoked"):
                await decider.ready(SOON)


async def test_a_mounted_token_may_be_replaced(serve: Serve, tmp_path: Path) -> None:
    """With a token file a token that has ended is not the end: the next one in the file is used."""
    async with serve() as service, AsyncClient(connection_to(service)) as operator:
        secret, token = await operator.create_token("proxy", CallerRole.ENFORCER, organization="acme")
        file = tmp_path / "token"
        file.write_text(secret)
        async with deciding(Connection(address=service.server.address, token_file=file)) as decider:
            await operator.revoke_token(token.id)
            await until(decider, has_status(decider, KnowledgeStatus.STALE))
            file.write_text((await operator.create_token("proxy", CallerRole.ENFORCER, organization="acme"))[0])
            await until(decider, has_status(decider, KnowledgeStatus.READY))


async def test_the_services_own_age_is_passed_on(serve: Serve) -> None:
    """While the service's database is out of reach it is the service's word that grows old, and answers say so."""
    store, clock = MemoryStore(), Clock()
    async with serve(store=store, clock=clock, watch_bookmark=0.05) as service:
        async with AsyncClient(connection_to(service)) as client:
            await client.put_policy(STRICT)
        async with deciding(connection_to(service), clock=clock) as decider:
            store.available = False
            clock.advance(seconds=5)
            await until(decider, has_status(decider, KnowledgeStatus.STALE))
            answer = await decider.decide(DEV, "nginx")
            assert answer.known_as_of is not None
            assert answer.known_as_of <= clock() - timedelta(seconds=5)
            store.available = True
            await until(decider, has_status(decider, KnowledgeStatus.READY))


async def test_what_is_applied_is_reported(serve: Serve) -> None:
    """The list of subscribers says which revision a decider runs, under the name that it gave itself."""
    async with (
        serve() as service,
        AsyncClient(connection_to(service)) as client,
        deciding(connection_to(service), name="proxy in rack 7") as decider,
    ):
        await client.put_policy(STRICT)
        await decider.at_least(1, SOON)
        async with asyncio.timeout(SOON):
            while True:
                (subscriber,) = [item async for item in client.list_subscribers()]
                if subscriber.applied_revision == 1:
                    break
                await asyncio.sleep(0)

    assert subscriber.name == "proxy in rack 7"
    assert subscriber.lag is None


def test_a_program_without_a_loop_decides_too(tmp_path: Path) -> None:
    """The blocking decider follows in a thread of its own, and decides from any thread."""
    server = start_server(tmp_path / "data")
    try:
        with LocalDecider(reaching(server), state_file=tmp_path / "state.json") as decider:
            decider.ready(SOON)
            assert decider.decide(DEV, "nginx").decision.reason is Reason.POLICY_DISABLED
            with pytest.raises(InvalidReferenceError):
                decider.decide(DEV, "Bad/Name")
        assert (tmp_path / "state.json").exists()
    finally:
        stop_server(server)


def test_what_a_decider_needs_is_looked_at_when_it_starts() -> None:
    """A connection that cannot be is an error of the start, not of a thread that nobody sees."""
    from pullgate_client import ConnectionSettingsError

    with pytest.raises(ConnectionSettingsError):
        LocalDecider(Connection(cert=Path("/nowhere"))).start()


async def test_who_is_not_followed_is_not_decided_for(serve: Serve) -> None:
    """An organization whose policy was left out does not look as if it restricted nothing: that is said instead."""
    both = Identity(username="dev", memberships=(Membership(organization="acme"), Membership(organization="globex")))
    async with serve() as service, AsyncClient(connection_to(service)) as client:
        await client.put_policy(OPEN)
        await client.put_policy(preset_policy(Preset.STRICT, "globex"))
        async with deciding(connection_to(service), organizations=["acme"]) as decider:
            assert (await decider.decide(DEV, "nginx")).decision.effect is Effect.ALLOW
            for identity, asked in ((both, []), (DEV, ["globex"]), (Identity(username="x"), ["globex"])):
                with pytest.raises(FieldInvalidError, match="the policy of globex is not followed here"):
                    await decider.decide(identity, "nginx", organizations=asked)


class SilentAtLast(Script):
    """Stands for a client of a service whose streams tell what they are told to, and then go on in silence."""

    async def watch(self, **options: Any) -> AsyncGenerator[WatchEvent]:
        """The next stream; the last one is silent."""
        if not self._streams:
            await asyncio.Event().wait()
        async for event in super().watch(**options):
            yield event

    async def report_applied(self, *_report: object, **_more: object) -> None:
        """Nobody reads it."""


def bookmarked(*events: WatchEvent | Exception) -> list[WatchEvent | Exception]:
    """A stream that tells a state, whole."""
    return [OPENED, SnapshotPart(policies=(stored(Preset.OPEN, 1),)), END, bookmark(1), *events]


@asynccontextmanager
async def scripted(clock: Clock, *streams: list[WatchEvent | Exception], **options: Any) -> AsyncIterator[Decider]:
    """A decider that follows a script, without pauses."""
    client = cast("AsyncClient", SilentAtLast(*streams))
    options = {"maximum_age": timedelta(hours=1), "sleep": no_pause, **options}
    async with AsyncLocalDecider(client, clock=clock, **options) as decider:
        yield decider


async def no_pause(_seconds: float) -> None:
    """Goes on at once."""
    await asyncio.sleep(0)


GO_AWAY = GoAway(reason=GoAwayReason.AGE, reconnect_after=timedelta(seconds=30))


@pytest.mark.parametrize(
    "streams", [[bookmarked()], [bookmarked(GO_AWAY)], [bookmarked(), [OPENED], [OPENED, GO_AWAY]]]
)
async def test_what_is_not_said_again_grows_old(streams: list[list[WatchEvent | Exception]]) -> None:
    """Streams that end in peace, and that tell nothing, keep nobody READY: the age counts from the last bookmark."""
    clock = Clock()
    async with scripted(clock, *streams) as decider:
        await decider.ready(SOON)
        assert (await decider.decide(DEV, "nginx")).known_as_of is None
        clock.advance(seconds=34)
        assert has_status(decider, KnowledgeStatus.READY)()
        clock.advance(seconds=1)
        assert has_status(decider, KnowledgeStatus.STALE)()
        answer = await decider.decide(DEV, "nginx")
        assert answer.known_as_of == clock() - timedelta(seconds=35)
        clock.advance(hours=1)
        with pytest.raises(NoKnowledgeError):
            await decider.decide(DEV, "nginx")


async def test_attempts_make_nothing_younger() -> None:
    """Streams that open, and then tell what cannot be used, do not renew the age of what was known."""
    clock = Clock()
    told = clock()
    refusals: list[list[WatchEvent | Exception]] = [[OPENED, UnusableUpdateError("newer")] for _ in range(50)]

    refused_often = asyncio.Event()

    async def pause(_seconds: float) -> None:
        clock.advance(minutes=1)
        if clock() == told + timedelta(minutes=51):
            refused_often.set()

    async with scripted(clock, bookmarked(), *refusals, sleep=pause) as decider:
        await refused_often.wait()
        assert decider.knowledge.status is KnowledgeStatus.STALE
        assert decider.knowledge.known_as_of == told


async def test_a_closed_decider_is_not_ready() -> None:
    """Who has stopped following is STALE, and too old in time."""
    clock = Clock()
    async with scripted(clock, bookmarked()) as decider:
        await decider.ready(SOON)

    assert decider.knowledge.status is KnowledgeStatus.STALE


async def test_a_callback_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What somebody wants to be called with has to bear its own defects, which the log tells."""

    def fail() -> None:
        raise RuntimeError("a defect of the caller's")

    clock = Clock()
    async with scripted(clock, bookmarked(changed(2, 1, Preset.STRICT))) as decider:
        decider.call_on_change(fail)
        await decider.at_least(2, SOON)

    assert "a defect of the caller's" in caplog.text


async def test_a_clock_that_was_put_back_is_not_believed(serve: Serve, tmp_path: Path) -> None:
    """What was kept in the future is of no age that could be told, so it is not decided from."""
    state, clock = tmp_path / "state.json", Clock()
    async with serve() as service:
        connection = connection_to(service)
        async with deciding(connection, state_file=state, clock=clock):
            pass
    clock.advance(days=-1)
    async with deciding(connection, ready=False, state_file=state, clock=clock) as decider:
        with pytest.raises(NoKnowledgeError):
            await decider.decide(DEV, "nginx")


def test_two_that_keep_their_state_in_one_file_damage_nothing(tmp_path: Path) -> None:
    """Processes that were given the same file replace it whole, one after the other."""
    from pullgate_client.state_file import KeptState, read_state, write_state

    path = tmp_path / "state.json"

    def keep(number: int) -> None:
        kept = KeptState(
            state=PolicyState(revision=number),
            caller=OPENED.caller,
            token_mark="",
            organizations=(),
            store_id="",
            resume_token="x" * (number % 7) * 1000,
            known_as_of=NOW,
            categories={},
        )
        write_state(path, kept)

    with ThreadPoolExecutor(4) as writers:
        for done in [writers.submit(keep, number) for number in range(200)]:
            done.result()
    found = read_state(path, ())

    assert found is not None
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


def official_images(revision: int) -> Changed:
    """A revision that allows official images if its number is odd, and denies them if it is even."""
    policy = parse_policy_yaml(
        f"{{organization: acme, image_access: {{enabled: true, allow: {{official_images: {revision % 2 == 1!s}}}}}}}"
    )
    written = StoredPolicy(policy=policy, revision=revision, author="ada", written_at=NOW, comment="")
    change = StateChange(revision=revision, policies={"acme": written})
    return Changed(change=change, prev_revision=revision - 1, resume_token=f"token {revision}")


async def test_threads_never_get_an_answer_of_another_revision() -> None:
    """Threads that decide while policies change get each answer from the revision that it names, kept ones too."""
    answers: list[Answer] = []
    ended = threading.Event()
    async with scripted(Clock(), bookmarked(*map(official_images, range(2, 500)))) as decider:
        await decider.ready(SOON)

        def ask() -> None:
            while not ended.is_set():
                before = decider.knowledge.state.revision
                answer = decider.decide_now(DEV, "nginx")
                assert answer is not None
                assert answer.policy_revision >= before
                answers.append(answer)

        with ThreadPoolExecutor(3) as threads:
            asked = [threads.submit(ask) for _ in range(3)]
            await decider.at_least(499, SOON)
            ended.set()
            for thread in asked:
                thread.result()

    assert answers
    for answer in answers:
        assert answer.decision.effect is (Effect.ALLOW if answer.policy_revision % 2 else Effect.DENY)


async def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are forgotten, and found anew, when there are as many as may be kept."""
    monkeypatch.setattr("pullgate_client.local.MAX_KEPT", 100)
    async with scripted(Clock(), bookmarked()) as decider:
        await decider.ready(SOON)
        for number in range(1000):
            assert decider.decide_now(DEV, f"ghcr.io/a/b:{number}") is not None
            assert len(decider._kept.by_object[id(DEV)].answers if decider._kept.by_object else ()) <= 100


@pytest.mark.parametrize("ahead", [[], [OPENED, changed(2, 1)], [OPENED, END]])
async def test_what_is_kept_belongs_together(ahead: list[WatchEvent | Exception], tmp_path: Path) -> None:
    """A decider that is closed keeps its state with the token of that very state, however far it was told besides."""
    from pullgate_client.state_file import read_state

    path, broken = tmp_path / "state.json", UnusableUpdateError("newer")
    streams = [bookmarked(broken), [*ahead, broken]]
    refused: asyncio.Event = asyncio.Event()
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == len(streams):
            refused.set()

    async with scripted(Clock(), *streams, sleep=pause, state_file=path):
        await refused.wait()
    kept = read_state(path, ())

    assert kept is not None
    assert (kept.state.revision, kept.resume_token) == (1, "token 1")
