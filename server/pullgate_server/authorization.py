"""Who may call what: the one table of methods and roles, and for which organization.

Operators may call everything, for every organization. For everybody else a method is for their own organization alone,
and a method that names an organization in its request names theirs. What is listed without naming one is narrowed to
the caller's own by `scope`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pullgate_policy.caller import Caller, CallerRole
from pullgate_policy.errors import OrganizationNotPermittedError, RoleNotPermittedError

_EVERYBODY = frozenset(CallerRole)
_OPERATORS = frozenset({CallerRole.OPERATOR})
_OWNERS = _OPERATORS | {CallerRole.OWNER}
_MANAGERS = _OWNERS | {CallerRole.POLICY_MANAGER}

_NAMES = {
    CallerRole.OPERATOR: "operators",
    CallerRole.OWNER: "owners",
    CallerRole.POLICY_MANAGER: "policy managers",
    CallerRole.MEMBER: "members",
    CallerRole.ENFORCER: "enforcers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRule:
    """Who may call a method.

    Attributes:
        action: what the method does, as in "may not …".
        roles: whose callers may.
        organization: the organization that a request names; None where requests name none.
        optional: whether a request may name no organization.
        unnamed: why a request that names no organization is for operators alone; empty where nobody would expect it.
        subscribes: whether its calls are open for as long as their callers live, and have a limit of their own.
    """

    action: str
    roles: frozenset[CallerRole]
    organization: Callable[[Any], str] | None = None
    optional: bool = False
    unnamed: str = ""
    subscribes: bool = False

    def admit(self, caller: Caller) -> None:
        """Raise RoleNotPermittedError if no caller of this role may call the method."""
        if caller.role not in self.roles:
            who = [name for role, name in _NAMES.items() if role in self.roles]
            whose = f" of organization {caller.organization}" if self.roles - _OPERATORS else ""
            raise RoleNotPermittedError(
                f"{caller.name}, {_article(caller)} of organization {caller.organization}, may not {self.action}: "
                f"that is for {_listed(who, whose)}"
            )

    def admit_request(self, caller: Caller, request: Any) -> None:
        """Raise OrganizationNotPermittedError if the request is about another organization than the caller's."""
        if self.organization is None or caller.role is CallerRole.OPERATOR:
            return
        organization = self.organization(request)
        if organization != caller.organization and not (self.optional and not organization):
            raise OrganizationNotPermittedError(organization, caller.organization, self.unnamed)


def scope(caller: Caller, organization: str) -> str | None:
    """The organization that a list is narrowed to; None for all."""
    return organization or (None if caller.role is CallerRole.OPERATOR else caller.organization)


def _own(action: str, roles: frozenset[CallerRole], *, optional: bool = False, unnamed: str = "") -> MethodRule:
    return MethodRule(
        action=action,
        roles=roles,
        organization=lambda request: str(request.organization),
        optional=optional,
        unnamed=unnamed,
    )


def _listed(who: list[str], whose: str) -> str:
    if who == ["operators"]:
        return "operators alone"
    others = [name for name in who if name != "operators"]
    return f"{' and '.join(others)}{whose}, and for operators"


def _article(caller: Caller) -> str:
    word = caller.role.value.replace("_", " ")
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


_READ = "read the policy"
_CHANGE = "change the policy"
_PINS = "change pins"
_UNNAMED_PINS = "pins without an organization hold for everybody and are for operators alone"
_KNOWN = "list what is known of categories, which tells what all organizations asked for"
_MEMBERS = "change the member list"
_TOKENS = "manage tokens"
_EVENTS = "read the administrative events"
_WATCH = "watch policies, which come with member lists"
_WATCHERS = _MANAGERS | {CallerRole.ENFORCER}
_WATCHING = "pullgate.v1.PolicyWatchService"
_DECISIONS = "pullgate.v1.PolicyDecisionService"
_ADMINISTRATION = "pullgate.v1.PolicyAdminService"

METHODS: Mapping[str, MethodRule] = {
    # Which organizations a decision may concern depends on the identity: subject.py of the policy looks.
    f"{_DECISIONS}.Decide": MethodRule(action="decide", roles=_EVERYBODY),
    f"{_DECISIONS}.BatchDecide": MethodRule(action="decide", roles=_EVERYBODY),
    f"{_DECISIONS}.StreamDecide": MethodRule(action="decide", roles=_EVERYBODY),
    "pullgate.envoy.v3.ExternalAuthorizationService.Check": MethodRule(action="decide", roles=_EVERYBODY),
    # Which organizations a subscription asks for is looked at where it begins: rpc/policy_watch.py.
    f"{_WATCHING}.Watch": MethodRule(action=_WATCH, roles=_WATCHERS, subscribes=True),
    f"{_WATCHING}.ReportApplied": MethodRule(action=_WATCH, roles=_WATCHERS),
    f"{_ADMINISTRATION}.ListSubscribers": _own("list subscribers", _MANAGERS, optional=True),
    f"{_ADMINISTRATION}.GetCaller": MethodRule(action="ask who it is", roles=_EVERYBODY),
    f"{_ADMINISTRATION}.GetPolicy": _own(_READ, _EVERYBODY),
    f"{_ADMINISTRATION}.ListPolicies": MethodRule(action=_READ, roles=_EVERYBODY),
    f"{_ADMINISTRATION}.ListPolicyRevisions": _own(_READ, _EVERYBODY),
    f"{_ADMINISTRATION}.DiffPolicy": _own(_READ, _EVERYBODY),
    f"{_ADMINISTRATION}.PutPolicy": MethodRule(
        action=_CHANGE, roles=_MANAGERS, organization=lambda request: str(request.policy.organization)
    ),
    f"{_ADMINISTRATION}.PatchPolicy": MethodRule(
        action=_CHANGE, roles=_MANAGERS, organization=lambda request: str(request.policy.organization)
    ),
    f"{_ADMINISTRATION}.DeletePolicy": _own(_CHANGE, _MANAGERS),
    f"{_ADMINISTRATION}.RollbackPolicy": _own(_CHANGE, _MANAGERS),
    f"{_ADMINISTRATION}.DryRunPolicy": _own("try out policies", _MANAGERS),
    f"{_ADMINISTRATION}.ListCategoryPins": _own("read pins", _EVERYBODY, optional=True),
    f"{_ADMINISTRATION}.LookUpCategories": _own("look up categories", _EVERYBODY, optional=True),
    f"{_ADMINISTRATION}.RefreshCategories": _own("have categories looked up anew", _MANAGERS, optional=True),
    f"{_ADMINISTRATION}.ListCategories": MethodRule(action=_KNOWN, roles=_OPERATORS),
    f"{_ADMINISTRATION}.PutCategoryPin": MethodRule(
        action=_PINS,
        roles=_MANAGERS,
        organization=lambda request: str(request.pin.organization),
        unnamed=_UNNAMED_PINS,
    ),
    f"{_ADMINISTRATION}.DeleteCategoryPin": _own(_PINS, _MANAGERS, unnamed=_UNNAMED_PINS),
    f"{_ADMINISTRATION}.ListMembers": _own("read the member list", _MANAGERS),
    f"{_ADMINISTRATION}.WriteMembers": _own(_MEMBERS, _OWNERS),
    f"{_ADMINISTRATION}.RemoveMembers": _own(_MEMBERS, _OWNERS),
    f"{_ADMINISTRATION}.CreateToken": _own(_TOKENS, _OWNERS),
    f"{_ADMINISTRATION}.ListTokens": _own(_TOKENS, _OWNERS, optional=True),
    # Requests name a token by its id alone: administration/tokens.py finds no other organization's.
    f"{_ADMINISTRATION}.RevokeToken": MethodRule(action=_TOKENS, roles=_OWNERS),
    f"{_ADMINISTRATION}.RotateToken": MethodRule(action=_TOKENS, roles=_OWNERS),
    f"{_ADMINISTRATION}.ListEvents": _own(_EVENTS, _MANAGERS, optional=True),
    f"{_ADMINISTRATION}.StreamEvents": _own(_EVENTS, _MANAGERS, optional=True),
    "grpc.reflection.v1.ServerReflection.ServerReflectionInfo": MethodRule(action="ask", roles=_EVERYBODY),
    "grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo": MethodRule(action="ask", roles=_EVERYBODY),
}
"""By the method's full name. A method that is not here cannot be served."""
