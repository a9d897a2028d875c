"""The tables of decisions, asked through the Docker Engine plugin's protocol: the answers are Decide's."""

import base64
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import grpc
import pytest
from aiohttp.test_utils import TestClient, TestServer

from pullgate.v1 import decision_pb2
from pullgate_client import AsyncClient, Connection
from pullgate_docker.deciders import ServiceDecider
from pullgate_docker.engine import FakeEngine
from pullgate_docker.judging import Judge
from pullgate_docker.plugin import application
from pullgate_policy import InvalidReferenceError, parse_reference
from tests.conftest import Clock, Serve
from tests.server.test_decision_vectors import catalogue, request, store_with
from tests.vectors import ORGANIZATION, Case, read_cases


def questions(reference: str) -> list[dict[str, object]]:
    """The engine's question about `docker pull`, as the command line writes it, and about a container from an image."""
    name, tag = reference, "latest"
    with suppress(InvalidReferenceError):
        parsed = parse_reference(reference)
        suffixes = f":{parsed.tag}" if parsed.tag else ""
        name = reference.partition("@")[0].removesuffix(suffixes)
        tag = parsed.digest or parsed.tag or ""
    query = urlencode({"fromImage": name, "tag": tag}, quote_via=quote)
    body = base64.b64encode(json.dumps({"Image": reference}).encode()).decode()
    return [
        {"RequestMethod": "POST", "RequestUri": f"/v1.41/images/create?{query}", "RequestHeaders": {}},
        {
            "RequestMethod": "POST",
            "RequestUri": "/v1.41/containers/create",
            "RequestHeaders": {"Content-Type": "application/json"},
            "RequestBody": body,
        },
    ]


CASES = [case for case in read_cases() if case.reference]
"""All but the empty reference: to the engine no name is no pull."""


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
async def test_decision(case: Case, serve: Serve, tmp_path: Path) -> None:
    """A pull and a container are allowed and denied as the table says, with the message that Decide gives."""
    async with serve(
        store=await store_with(case), clock=Clock(case.now), catalogue=catalogue(case), category_sources="catalogue"
    ) as service:
        decision: decision_pb2.Decision | None = None
        with suppress(grpc.aio.AioRpcError):
            decision = (await service.call(service.decisions.Decide, request(case))).decision
        async with AsyncClient(Connection(address=service.server.address, token=service.token)) as client:
            judge = Judge(ServiceDecider(client, [ORGANIZATION]), FakeEngine(), lambda user, method: case.identity)
            async with TestClient(TestServer(application(judge))) as plugin:
                said = [await ask(plugin, question) for question in questions(case.reference)]

    assert ("error" in case.expect) is (decision is None)
    for answer in said:
        if decision is None:
            assert not answer["Allow"]
            assert answer["Msg"].startswith("image access denied: ")
            assert "no decision was made" not in answer["Msg"]
            continue
        assert answer["Allow"] is (decision.effect == decision_pb2.EFFECT_ALLOW)
        if not answer["Allow"]:
            assert answer["Msg"].startswith(f"{decision.message} (")
            assert decision.help in answer["Msg"]


async def ask(plugin: TestClient[aiohttp.web.Request, aiohttp.web.Application], question: object) -> dict[str, Any]:
    """The plugin's answer."""
    async with plugin.post("/AuthZPlugin.AuthZReq", json=question) as response:
        assert response.status == 200
        return dict(json.loads(await response.read()))
