"""ExternalAuthorizationService: decides about requests to registries that Envoy asks about (docs/envoy.md).

An answer of status OK in gRPC is a decision, and says within whether the request is let through. Whatever keeps one
from being made ends the call with another status, which Envoy answers as its `status_on_error` says: a client can tell
an outage from a denial.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pullgate.envoy.v3 import external_authorization_pb2 as messages
from pullgate_policy import ANONYMOUS, CredentialKind, Effect, Identity, Membership, Reason
from pullgate_policy.answer import Answer, DecisionIds
from pullgate_policy.caller import Caller
from pullgate_policy.errors import shown
from pullgate_policy.members import user_name
from pullgate_policy.registry_request import RefusedRequestError, RegistryRequest, read_registry_request
from pullgate_policy.subject import Subject
from pullgate_server.deciding import Decider, Patience
from pullgate_server.errors import IdentityTokenInvalidError
from pullgate_server.rpc.envoy_answers import (
    NOT_OF_THE_API,
    NOT_SIGNED_IN_HERE,
    VERSION_CHECK,
    Facts,
    allowed,
    challenged,
    denied,
    facts_of,
)
from pullgate_server.rpc.envoy_route import Authorization, Certificate, EnvoyRoute, read_route
from pullgate_server.rpc.gate import Context
from pullgate_server.rpc.subjects import Subjects
from pullgate_server.snapshot import Snapshot

ENVOY_SERVICE = "envoy.service.auth.v3.Authorization"
"""The name under which Envoy calls it."""

_BASIC = "basic "

_NOBODY = base64.b64encode(b":").decode()
"""What clients send that were challenged and know nothing: a user and a password that are both empty."""

_attribute = re.compile(r"(?:^|[,+])\s*([A-Za-z][A-Za-z0-9-]*|[0-9.]+)=((?:\\.|[^,+\\])*)", re.DOTALL)
"""An attribute of a certificate's subject: its type, and its value as it is escaped."""

_escape = re.compile(rb"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Credentials:
    """A user name and a token, as the client sent them."""

    user: str
    token: str


class _CredentialsRefusedError(Exception):
    """Who pulls is not accepted; the message says why, for the client's user."""


class ExternalAuthorizationService:
    """Handlers for a `Gate`."""

    def __init__(self, decider: Decider, subjects: Subjects, ids: DecisionIds) -> None:
        self._decider = decider
        self._subjects = subjects
        self._ids = ids

    async def Check(  # noqa: N802
        self, request: messages.CheckRequest, caller: Caller, context: Context
    ) -> messages.CheckResponse:
        """One HTTP request."""
        attributes = request.attributes
        http = attributes.request.http
        route, headers = read_route(attributes.context_extensions), _headers(http)
        # A token of pullgate's is not told to the registry behind.
        taken_off = ("authorization",) if _signs_in(headers, route) else ()
        snapshot = self._decider.newest
        try:
            asked = read_registry_request(http.method, http.path, route.registry, headers.get("content-type", ""))
            if not asked.images and route.authorization is not Authorization.CHALLENGE:
                return allowed(self._facts_of_none(Effect.ALLOW, VERSION_CHECK), taken_off)
            who = _who(headers, attributes.source.principal, route, caller)
            subject = await self._subject(who, route, caller, snapshot)
            if not asked.images:
                return allowed(self._facts_of_none(Effect.ALLOW, VERSION_CHECK), taken_off)
            answer = await self._answer(asked, subject, snapshot, self._decider.patience(context.time_remaining))
        except RefusedRequestError as error:
            return denied(self._facts_of_none(Effect.DENY, NOT_OF_THE_API), str(error))
        except _CredentialsRefusedError as error:
            refuse = challenged if route.authorization is Authorization.CHALLENGE else denied
            return refuse(self._facts_of_none(Effect.DENY, NOT_SIGNED_IN_HERE), str(error))
        if answer.decision.effect is Effect.DENY:
            return denied(facts_of(answer), answer.decision.message, answer.decision.help)
        return allowed(facts_of(answer), taken_off)

    async def _answer(self, asked: RegistryRequest, subject: Subject, snapshot: Snapshot, patience: Patience) -> Answer:
        """The answer about all that a request is about: a denial, or one that monitor mode let pass, or the first."""
        answers = [(await self._decider.decide(snapshot, subject, image, patience)).answer for image in asked.images]
        for answer in answers:
            decision = answer.decision
            if asked.says_docker_hub and decision.reason is Reason.NOT_GOVERNED and decision.repository is None:
                raise RefusedRequestError(
                    f"the request asks for an image of Docker Hub, and {decision.reference.registry} is no mirror of "
                    f"it in the policy of {decision.organization} (docker_hub.mirrors)"
                )
        return min(answers, key=_urgency)

    async def _subject(
        self, who: Identity | _Credentials, route: EnvoyRoute, caller: Caller, snapshot: Snapshot
    ) -> Subject:
        if isinstance(who, Identity):
            return await self._subjects.find(who, route.organizations, caller, snapshot)
        try:
            subject = await self._subjects.find(who.token, route.organizations, caller, snapshot)
        except IdentityTokenInvalidError as error:
            raise _CredentialsRefusedError(
                "image access denied: the user name and token that were sent are nobody's here: sign in anew (docker "
                "login), or have the route say that they are the registry's own (pullgate.authorization: ignore)"
            ) from error
        # Where everything is allowed because nothing is known there is no telling whose token it is.
        if subject.person_id and subject.identity.username != who.user:
            raise _CredentialsRefusedError(f"image access denied: the token that was sent is not {who.user}'s")
        return subject

    def _facts_of_none(self, effect: Effect, reason: str) -> Facts:
        """What is told of an answer that is about no image; it has an id all the same, to be found by."""
        return {"decision_id": self._ids.next(), "effect": effect.name, "policy_effect": effect.name, "reason": reason}


def _urgency(answer: Answer) -> int:
    if answer.decision.effect is Effect.DENY:
        return 0
    return 1 if answer.decision.policy_effect is Effect.DENY else 2


def _who(headers: Mapping[str, str], principal: str, route: EnvoyRoute, caller: Caller) -> Identity | _Credentials:
    """Who pulls: the first that says so of the route, the proxy, the client's credentials, and its certificate."""
    if route.user:
        # It may be a machine. A member list holds people, and who is not on it would be nobody, whom little binds.
        return _stated(route.user, route, caller, CredentialKind.OIDC)
    if user := headers.get(route.user_header, "").strip():
        return _stated(_user_in_header(user, route), route, caller)
    if _signs_in(headers, route):
        return _basic(headers["authorization"])
    if principal and route.certificate is Certificate.USER:
        return _stated(_user_of_certificate(principal), route, caller)
    if route.authorization is Authorization.CHALLENGE:
        raise _CredentialsRefusedError("sign in with your user name and a token of yours (docker login)")
    return ANONYMOUS


def _stated(
    user: str, route: EnvoyRoute, caller: Caller, credential: CredentialKind = CredentialKind.UNSPECIFIED
) -> Identity:
    organizations = route.organizations or ((caller.organization,) if caller.organization else ())
    memberships = tuple(Membership(organization=organization) for organization in organizations)
    return Identity(username=user, memberships=memberships, credential=credential)


def _user_in_header(user: str, route: EnvoyRoute) -> str:
    try:
        if "," in user:
            raise ValueError("names more than one user")
        return user_name(user)
    except ValueError as error:
        raise _CredentialsRefusedError(
            f"image access denied: the header {route.user_header} says {shown(user)}, which {error}"
        ) from error


def _headers(http: messages.AttributeContext.HttpRequest) -> Mapping[str, str]:
    """The headers by their lowercase names, however the filter sends them."""
    if not http.HasField("header_map"):
        return http.headers
    headers: dict[str, str] = {}
    for header in http.header_map.headers:
        name, value = header.key.lower(), header.value or header.raw_value.decode(errors="surrogateescape")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _signs_in(headers: Mapping[str, str], route: EnvoyRoute) -> bool:
    """Whether the request's own credentials say who pulls."""
    scheme, credentials = (text := headers.get("authorization", ""))[: len(_BASIC)], text[len(_BASIC) :].strip()
    if scheme.lower() != _BASIC or credentials == _NOBODY or route.authorization is Authorization.IGNORE:
        return False
    return not headers.get(route.user_header, "").strip()


def _basic(authorization: str) -> _Credentials:
    """The user name and password of an `Authorization` header (RFC 7617)."""
    try:
        user, _, token = base64.b64decode(authorization[len(_BASIC) :].strip(), validate=True).decode().partition(":")
    except ValueError:
        user, token = "", ""
    if not user or not token:
        raise _CredentialsRefusedError("image access denied: the Authorization header holds no user name and token")
    return _Credentials(user, token)


def _user_of_certificate(principal: str) -> str:
    """The user that a certificate is of: its alternative name, or the one common name of its subject (RFC 4514)."""
    if _attribute.match(principal) is None:
        return principal
    common_names = [text for kind, text in _attribute.findall(principal) if kind.upper() == "CN"]
    if len(common_names) != 1:
        raise _CredentialsRefusedError(
            f"image access denied: the certificate of {shown(principal)} has not one common name that says whose it is"
        )
    return _escape.sub(_unescaped, common_names[0].encode()).decode(errors="replace").strip()


def _unescaped(escape: re.Match[bytes]) -> bytes:
    """A character, or a byte of one in hexadecimal digits."""
    return bytes.fromhex(escape[1].decode()) if escape[1] else escape[2]
