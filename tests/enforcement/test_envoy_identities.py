"""Who pulls, as the gateway says it: one real Envoy with a host name for each way to say so.

acme requires sign-in. ada is an owner there, and may pull everything; dev is a member, and may pull no community image.
So the reason of the decision about a community image tells for whom it was decided.
"""

import base64
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.enforcement.gateways import (
    NEEDS_SKOPEO,
    STRICT,
    Pullgate,
    clients_of,
    only_route,
    registry_with_images,
    running_gateway,
    running_pullgate,
    running_sidecar,
)
from tests.envoy import (
    NEEDS_ENVOY,
    Certificates,
    Configuration,
    Gateway,
    connection_manager,
    deployed_configuration,
    running_envoy,
)
from tests.registry import NEEDS_REGISTRY, Registry

pytestmark = [NEEDS_ENVOY, NEEDS_REGISTRY]

ADA, DEV, NOBODY, REFUSED = "ORGANIZATION_OWNER", "CATEGORY_NOT_ALLOWED", "SIGN_IN_REQUIRED", "CREDENTIALS_NOT_ACCEPTED"

ACME = {"pullgate.registry": "docker.io", "pullgate.organization": "acme"}

ROUTES: Mapping[str, Mapping[str, str]] = {
    "fixed": {**ACME, "pullgate.user": "ada"},
    "header": {**ACME, "pullgate.user_header": "x-pullgate-user"},
    "verify": ACME,
    "challenge": {**ACME, "pullgate.authorization": "challenge"},
    "ignore": {**ACME, "pullgate.authorization": "ignore"},
    "no-registry": {"pullgate.organization": "acme"},
    "another-organization": {**ACME, "pullgate.organization": "globex"},
    "two-users": {**ACME, "pullgate.user": "ada", "pullgate.user_header": "x-pullgate-user"},
    "misspelt": {**ACME, "pullgate.usr": "ada"},
}
"""What the routes say to pullgate, by host name."""

BLOCKED = "/v2/someuser/custom-image/manifests/latest"


def with_routes(configuration: Configuration) -> None:
    """Give the gateway a virtual host for each route, and a filter that finds out who pulls."""
    manager = connection_manager(configuration)
    (deployed,) = manager["route_config"]["virtual_hosts"]
    manager["route_config"]["virtual_hosts"] = [_virtual_host(deployed, name) for name in ROUTES]
    kind = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
    found_out = {"key": "x-pullgate-user", "value": "%REQ(x-tests-found-out)%"}
    written = {"append": {"header": found_out, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    who_pulls = {"name": "who-pulls", "typed_config": {"@type": kind, "mutations": {"request_mutations": [written]}}}
    manager["http_filters"].insert(0, who_pulls)
    (log,) = manager["access_log"]
    log["typed_config"]["log_format"]["json_format"]["sent_upstream"] = "%REQ(AUTHORIZATION)%"


def _virtual_host(deployed: Any, name: str) -> Any:
    made = {**copy.deepcopy(deployed), "name": name, "domains": [name]}
    made["typed_per_filter_config"]["envoy.filters.http.ext_authz"]["check_settings"]["context_extensions"] = ROUTES[
        name
    ]
    return made


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With a community image."""
    with registry_with_images(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def pullgate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pullgate]:
    """With an acme that has a member list and requires sign-in."""
    certificates = Certificates(folder=tmp_path_factory.mktemp("certificates"))
    with running_pullgate(tmp_path_factory.mktemp("pullgate") / "server", certificates) as running:
        running.apply(f"{STRICT}sign_in: {{required: true}}\n")
        for name, role in (("ada", "owner"), ("dev", "member")):
            assert running.run("member", "set", "--org", "acme", name, "--role", role).returncode == 0
        yield running


@pytest.fixture(scope="module")
def gateway(pullgate: Pullgate, registry: Registry) -> Iterator[Gateway]:
    """With a host name for each route."""
    with running_gateway(pullgate, registry, with_routes) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(pullgate: Pullgate) -> Mapping[str, str]:
    """By the name of the user; that of the enforcer is no person's."""
    people = {name: pullgate.new_token(name, role) for name, role in (("ada", "owner"), ("dev", "member"))}
    return {**people, "enforcer": pullgate.new_token("proxy", "enforcer")}


def basic(user: str, token: str) -> dict[str, str]:
    """What a client sends after `docker login`."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"}


def pull(
    gateway: Gateway, host: str, headers: Mapping[str, str], client: tuple[Path, Path] | None = None
) -> dict[str, Any]:
    """Ask for the community image, and give what the access log says."""
    return gateway.logged(gateway.ask("GET", BLOCKED, {**headers, "Host": host}, client=client))


@pytest.mark.parametrize(
    ("host", "headers", "decided_for"),
    [
        ("fixed", {}, ADA),
        ("fixed", {"X-Pullgate-User": "dev"}, ADA),
        ("header", {"X-Tests-Found-Out": "ada"}, ADA),
        ("header", {"X-Tests-Found-Out": "dev"}, DEV),
        ("header", {"X-Tests-Found-Out": "dev", "X-Pullgate-User": "ada"}, DEV),
        ("header", {"X-Pullgate-User": "ada"}, NOBODY),
        ("header", {"x-PULLGATE-user": "ada"}, NOBODY),
        ("header", {}, NOBODY),
        ("verify", {}, NOBODY),
        ("verify", {"X-Tests-Found-Out": "ada"}, NOBODY),
        ("verify", {"Authorization": "Bearer of-the-registry"}, NOBODY),
        ("ignore", basic("ada", "a-token-of-the-registry"), NOBODY),
    ],
)
def test_who_pulls(gateway: Gateway, host: str, headers: dict[str, str], decided_for: str) -> None:
    """The route says who pulls, or a filter of the proxy's by a header; what a client writes there does not count."""
    line = pull(gateway, host, headers)

    assert line["reason"] == decided_for


@pytest.mark.parametrize(
    ("host", "user", "owner", "decided_for"),
    [
        ("verify", "ada", "ada", ADA),
        ("verify", "dev", "dev", DEV),
        ("verify", "ada", "dev", REFUSED),
        ("verify", "proxy", "enforcer", REFUSED),
        ("header", "ada", "ada", ADA),
        ("challenge", "ada", "ada", ADA),
        ("ignore", "ada", "ada", NOBODY),
        ("fixed", "dev", "dev", ADA),
    ],
)
def test_a_users_token(
    gateway: Gateway, tokens: Mapping[str, str], host: str, user: str, owner: str, decided_for: str
) -> None:
    """A token that a client sends as Basic is verified where the route says so, and must be the named user's."""
    line = pull(gateway, host, basic(user, tokens[owner]))

    assert line["reason"] == decided_for


@pytest.mark.parametrize(("host", "is_kept"), [("verify", False), ("challenge", False), ("ignore", True)])
def test_a_verified_token_does_not_reach_the_registry(
    gateway: Gateway, tokens: Mapping[str, str], host: str, is_kept: bool
) -> None:
    """A token of pullgate's is taken off before the request goes on; credentials of the registry's own are not."""
    sent = basic("ada", tokens["ada"])
    line = gateway.logged(gateway.ask("GET", "/v2/", {**sent, "Host": host}))

    assert line["status"] == 200
    assert line["sent_upstream"] == (sent["Authorization"] if is_kept else None)


@pytest.mark.parametrize("token", ["pullgate_00", "", "x" * 4000])
def test_a_token_that_is_nobodys_is_refused(gateway: Gateway, token: str) -> None:
    """It is a 403 that says what to do, and not a decision for nobody in particular."""
    answer = gateway.ask("GET", BLOCKED, {**basic("ada", token), "Host": "verify"})

    assert answer.status == 403
    assert answer.message.startswith("image access denied: ")


@pytest.mark.parametrize(
    ("name", "names", "decided_for"),
    [
        ("ada", (), ADA),
        ("dev", (), DEV),
        ("laptop-7", (x509.DNSName("ada"),), ADA),
        ("stranger", (), NOBODY),
    ],
)
def test_a_client_certificate(
    gateway: Gateway, name: str, names: tuple[x509.GeneralName, ...], decided_for: str
) -> None:
    """Where nothing else says who pulls, the client certificate does: its alternative name, or else its common name."""
    line = pull(gateway, "verify", {}, gateway.certificates.of_client(name, *names))

    assert line["reason"] == decided_for
    assert line["client_certificate"] == f"CN={name}"


def test_clients_are_asked_for_their_token(gateway: Gateway, tokens: Mapping[str, str]) -> None:
    """On a route that challenges, the version check without a token is answered so that clients send theirs."""
    asked = gateway.ask("GET", "/v2/", {"Host": "challenge"})
    wrong = gateway.ask("GET", "/v2/", {"Host": "challenge", **basic("ada", "pullgate_00")})
    right = gateway.ask("GET", "/v2/", {"Host": "challenge", **basic("ada", tokens["ada"])})

    assert (asked.status, asked.headers["www-authenticate"]) == (401, 'Basic realm="pullgate"')
    assert [wrong.status, right.status] == [401, 200]


@NEEDS_SKOPEO
def test_skopeo_signs_in(pullgate: Pullgate, registry: Registry, tokens: Mapping[str, str], tmp_path: Path) -> None:
    """With a challenge skopeo sends what it was logged in with at the gateway, and that user is decided for."""

    def change(configuration: Configuration) -> None:
        with_routes(configuration)
        manager = connection_manager(configuration)
        (challenge,) = [host for host in manager["route_config"]["virtual_hosts"] if host["name"] == "challenge"]
        manager["route_config"]["virtual_hosts"] = [{**challenge, "domains": ["*"]}]

    with running_gateway(pullgate, registry, change) as gateway, clients_of(tmp_path) as clients:
        clients.configure(f'[[registry]]\nprefix = "docker.io"\nlocation = "{gateway.address}"\n', gateway)
        command = ("inspect", "--no-tags", "docker://docker.io/someuser/custom-image")
        nobody = clients.skopeo(*command)
        answered = {}
        for user in ("ada", "dev"):
            login = clients.skopeo("login", "--username", user, "--password", tokens[user], gateway.address)
            assert login.returncode == 0, login.stderr
            answered[user] = clients.skopeo(*command)
        wrong = clients.skopeo("login", "--username", "ada", "--password", "pullgate_00", gateway.address)

    assert answered["ada"].returncode == 0, answered["ada"].stderr
    assert "denied: image access denied: community images not allowed" in answered["dev"].stderr
    assert nobody.returncode != 0
    assert "unauthorized" in nobody.stderr
    assert wrong.returncode != 0


def test_a_sidecar_asks_its_server_whose_a_token_is(tmp_path: Path, registry: Registry) -> None:
    """While the server is away, a token that the sidecar has not asked about is 503, and not taken for nobody's."""
    certificates = Certificates(folder=tmp_path)
    socket = tmp_path / "pullgate.sock"
    configuration = deployed_configuration(certificates, registry=registry.address, sidecar=str(socket))
    only_route(configuration, ACME)
    with (
        running_pullgate(tmp_path / "pullgate", certificates) as pullgate,
        running_sidecar(pullgate, socket),
        running_envoy(configuration, certificates) as gateway,
    ):
        known, new = (basic(name, pullgate.new_token(name, "member")) for name in ("dev", "ana"))
        there = pull(gateway, "any", known)
        pullgate.stop()
        away, nobody = pull(gateway, "any", new), pull(gateway, "any", {})

    assert (there["status"], there["reason"]) == (403, DEV)
    assert (away["status"], away["details"]) == (503, "ext_authz_error")
    assert nobody["reason"] == "NOT_SIGNED_IN"


@pytest.mark.parametrize("host", ["no-registry", "another-organization", "two-users", "misspelt"])
def test_a_route_that_is_wrong_serves_nothing(gateway: Gateway, registry: Registry, host: str) -> None:
    """A route that does not say its registry, or is not the caller's to decide for, is 503 for all that is pulled."""
    before = len(registry.requests)
    statuses = [
        gateway.ask("GET", target, {"Host": host}).status for target in (BLOCKED, "/v2/library/nginx/tags/list")
    ]

    assert statuses == [503, 503]
    assert [request for request in registry.requests[before:] if request.target != "/v2/"] == []


def test_nobody_is_let_through_where_sign_in_is_not_required(pullgate: Pullgate, gateway: Gateway) -> None:
    """Without `sign_in.required` a policy is about who is signed in: who is nobody may pull everything, as docs say."""
    try:
        pullgate.apply(STRICT)
        line = pull(gateway, "verify", {})
    finally:
        pullgate.apply(f"{STRICT}sign_in: {{required: true}}\n")

    assert (line["reason"], line["status"]) == ("NOT_SIGNED_IN", 200)
