"""PolicyAdminService on the wire."""

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from pullgate.v1 import decision_pb2, mapping, policy_admin_pb2, policy_pb2
from pullgate_policy import Preset, preset_policy
from tests.conftest import Serve, Service
from tests.server.test_policy_decision_service import question, refusal

STRICT = mapping.policy_to_message(preset_policy(Preset.STRICT, "acme"))


async def put(service: Service, policy: policy_pb2.Policy = STRICT, **fields: object) -> policy_admin_pb2.StoredPolicy:
    """Write a policy."""
    request = policy_admin_pb2.PutPolicyRequest(policy=policy, **fields)  # type: ignore[arg-type]
    stored: policy_admin_pb2.StoredPolicy = (await service.call(service.administration.PutPolicy, request)).policy
    return stored


async def test_a_policy_is_written_and_read(serve: Serve) -> None:
    """What was put is got: the rules with every default spelled out, revision, author, time and comment."""
    async with serve() as service:
        written = await put(service, policy_pb2.Policy(organization="acme"), comment="begin", expected_revision=0)
        request = policy_admin_pb2.GetPolicyRequest(organization="acme")
        read = (await service.call(service.administration.GetPolicy, request)).policy

        assert written == read
        assert (read.revision, read.author, read.comment) == (1, "operator", "begin")
        assert read.written_at.ToJsonString() == "2026-06-01T00:00:00Z"
        assert read.policy.image_access.allow.organization_images
        assert read.policy.image_access.mode == policy_pb2.POLICY_MODE_ENFORCE


async def test_a_write_holds_before_it_is_acknowledged(serve: Serve) -> None:
    """The next decision follows the policy just written."""
    async with serve(store_poll=3600.0) as service:
        before = (await service.call(service.decisions.Decide, question("a/b"))).decision
        await put(service)
        after = (await service.call(service.decisions.Decide, question("a/b"))).decision

        assert (decision_pb2.Reason.Name(before.reason), before.policy_revision) == ("REASON_POLICY_DISABLED", 0)
        assert (decision_pb2.Reason.Name(after.reason), after.policy_revision) == ("REASON_CATEGORY_UNKNOWN", 1)


async def test_a_stale_write_is_aborted_with_both_revisions(serve: Serve) -> None:
    """A write made from an old revision changes nothing; the error names both revisions."""
    async with serve() as service:
        await put(service)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await put(service, expected_revision=0)
        status = rpc_status.from_call(raised.value)
        info, failure = error_details_pb2.ErrorInfo(), error_details_pb2.PreconditionFailure()
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(failure)

        assert raised.value.code() is grpc.StatusCode.ABORTED
        assert dict(info.metadata) == {"expected_revision": "0", "current_revision": "1"}
        assert failure.violations[0].subject == "expected_revision"
        assert "nothing was written" in (raised.value.details() or "")


async def test_a_policy_that_is_not_valid_is_refused_with_all_its_problems(serve: Serve) -> None:
    """FAILED_PRECONDITION names each field, under `policy`; nothing is written."""
    async with serve() as service:
        bad = policy_pb2.Policy(organization="acme")
        bad.image_access.blocklist.add(repository="a/b:1")
        bad.registry_access.allowed.append("*")
        told = await refusal(service, policy_admin_pb2.PutPolicyRequest(policy=bad), "PutPolicy")

        assert told[:2] == ("FAILED_PRECONDITION", "POLICY_INVALID")
        assert {"policy.image_access.blocklist[0].repository", "policy.registry_access.allowed[0]"} == {
            path for path, _ in told[2]
        }
        assert await service.store.revision() == 0


async def test_a_policy_with_a_thousand_problems_is_refused_readably(serve: Serve) -> None:
    """However much is wrong, the status stays small enough to arrive, and says that there is more."""
    async with serve() as service:
        bad = policy_pb2.Policy(organization="acme")
        for _ in range(1000):
            bad.image_access.blocklist.add(repository="É/" * 40)
        told = await refusal(service, policy_admin_pb2.PutPolicyRequest(policy=bad), "PutPolicy")

        assert told[0] == "FAILED_PRECONDITION"
        assert "more characters)" in told[3]
        assert 1 <= len(told[2]) < 100


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason"),
    [
        ("GetPolicy", policy_admin_pb2.GetPolicyRequest(organization="globex"), "NOT_FOUND", "POLICY_NOT_FOUND"),
        ("GetPolicy", policy_admin_pb2.GetPolicyRequest(organization="No"), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("ListPolicies", policy_admin_pb2.ListPoliciesRequest(page_size=1001), "INVALID_ARGUMENT", "FIELD_INVALID"),
        ("ListPolicies", policy_admin_pb2.ListPoliciesRequest(page_size=-1), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (
            "PutPolicy",
            policy_admin_pb2.PutPolicyRequest(policy=STRICT, expected_revision=-1),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        (
            "PutPolicy",
            policy_admin_pb2.PutPolicyRequest(policy=STRICT, comment="\x1b"),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        ("PutPolicy", policy_admin_pb2.PutPolicyRequest(), "FAILED_PRECONDITION", "POLICY_INVALID"),
        (
            "GetPolicy",
            policy_admin_pb2.GetPolicyRequest(organization="A b" * 10_000),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        (
            "DeleteCategoryPin",
            policy_admin_pb2.DeleteCategoryPinRequest(name="\N{PILE OF POO}" * 2000),
            "NOT_FOUND",
            "CATEGORY_PIN_NOT_FOUND",
        ),
        (
            "PutPolicy",
            policy_admin_pb2.PutPolicyRequest(
                policy=policy_pb2.Policy(
                    organization="acme",
                    image_access=policy_pb2.ImageAccess(teams={" " * 20_000: policy_pb2.TeamGrant()}),
                )
            ),
            "FAILED_PRECONDITION",
            "POLICY_INVALID",
        ),
        (
            "DeleteCategoryPin",
            policy_admin_pb2.DeleteCategoryPinRequest(name="a"),
            "NOT_FOUND",
            "CATEGORY_PIN_NOT_FOUND",
        ),
        ("PutCategoryPin", policy_admin_pb2.PutCategoryPinRequest(), "INVALID_ARGUMENT", "FIELD_INVALID"),
        (
            "PutCategoryPin",
            policy_admin_pb2.PutCategoryPinRequest(pin=policy_admin_pb2.CategoryPin(name="a", category=3)),  # type: ignore[arg-type]
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
        (
            "PutCategoryPin",
            policy_admin_pb2.PutCategoryPinRequest(
                pin=policy_admin_pb2.CategoryPin(name="a", category=1, community_class=1)  # type: ignore[arg-type]
            ),
            "INVALID_ARGUMENT",
            "FIELD_INVALID",
        ),
    ],
)
async def test_refusals(serve: Serve, method: str, request_: object, code: str, reason: str) -> None:
    """What cannot be done ends with a status and a reason."""
    async with serve() as service:
        told = await refusal(service, request_, method)

        assert (code, reason) == told[:2]


async def test_policies_are_listed_page_by_page(serve: Serve) -> None:
    """Pages follow each other in the order of names, and the last says so."""
    async with serve() as service:
        for name in ("c", "a", "e", "b", "d"):
            await put(service, policy_pb2.Policy(organization=name))
        pages, token = [], ""
        while True:
            request = policy_admin_pb2.ListPoliciesRequest(page_size=2, page_token=token)
            response = await service.call(service.administration.ListPolicies, request)
            pages.append([stored.policy.organization for stored in response.policies])
            token = response.next_page_token
            if not token:
                break
        everything = await service.call(service.administration.ListPolicies, policy_admin_pb2.ListPoliciesRequest())

        assert pages == [["a", "b"], ["c", "d"], ["e"]]
        assert len(everything.policies) == 5


async def test_a_page_of_large_policies_ends_early(serve: Serve) -> None:
    """However large the policies, a page is small enough for every client, and none is left out."""
    async with serve() as service:
        large = policy_pb2.Policy(organization="x")
        for index in range(4000):
            large.image_access.blocklist.add(repository=f"someuser/tool{index}", reason="because " * 12)
        names = [f"org{index}" for index in range(5)]
        for name in names:
            large.organization = name
            await put(service, large)
        listed, token = [], ""
        while True:
            request = policy_admin_pb2.ListPoliciesRequest(page_token=token)
            response = await service.call(service.administration.ListPolicies, request)
            assert response.ByteSize() < 4 * 1024 * 1024
            listed += [stored.policy.organization for stored in response.policies]
            token = response.next_page_token
            if not token:
                break

        assert names == listed


async def test_a_pin_decides_at_once_and_until_it_is_taken_back(serve: Serve) -> None:
    """A pin holds for its repository before its namespace, says who and why, and is gone when taken back."""
    async with serve() as service:
        await put(service)
        for name, category in (("someuser", decision_pb2.IMAGE_CATEGORY_COMMUNITY), ("someuser/tool", 1)):
            pin = policy_admin_pb2.CategoryPin(name=name, category=category, reason="seen")  # type: ignore[arg-type]
            response = await service.call(
                service.administration.PutCategoryPin, policy_admin_pb2.PutCategoryPinRequest(pin=pin)
            )
            assert (response.pin.author, response.pin.name) == ("operator", name)
        listed = await service.call(service.administration.ListCategoryPins, policy_admin_pb2.ListCategoryPinsRequest())
        other = (await service.call(service.decisions.Decide, question("someuser/other"))).decision
        tool = (await service.call(service.decisions.Decide, question("someuser/tool"))).decision
        gone = await service.call(
            service.administration.DeleteCategoryPin, policy_admin_pb2.DeleteCategoryPinRequest(name="someuser/tool")
        )
        tool_again = (await service.call(service.decisions.Decide, question("someuser/tool"))).decision

        assert [pin.name for pin in listed.pins] == ["someuser", "someuser/tool"]
        assert (other.effect, other.evidence.source) == (2, "pin")
        assert (tool.effect, tool.evidence.detail) == (1, "pinned by operator: seen")
        assert (gone.revision, tool_again.effect, tool_again.policy_revision) == (4, 2, 4)


async def test_a_store_out_of_reach_refuses_writes_and_still_decides(serve: Serve) -> None:
    """Without the store a write is UNAVAILABLE with a time to retry; decisions and reads go on from memory."""
    async with serve() as service:
        await put(service)
        service.store.available = False  # type: ignore[attr-defined]
        told = await refusal(service, policy_admin_pb2.PutPolicyRequest(policy=STRICT), "PutPolicy")
        decided = await service.call(service.decisions.Decide, question())
        read = await service.call(
            service.administration.GetPolicy, policy_admin_pb2.GetPolicyRequest(organization="acme")
        )

        assert told[:2] == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert (decided.decision.effect, read.policy.revision) == (1, 1)


def test_messages_end_where_they_should() -> None:
    """Every field of Policy is written by the mapping, so that none is lost between the API and the store."""
    everything = mapping.policy_to_message(preset_policy(Preset.OPEN, "acme"))

    assert {field.name for field in policy_pb2.Policy.DESCRIPTOR.fields} == {
        descriptor.name for descriptor, _ in everything.ListFields()
    }
