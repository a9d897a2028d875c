"""What the proxy's configuration says of a route, in the `context_extensions` of a CheckRequest.

pullgate.registry        the registry that the route stands for, such as docker.io; required
pullgate.organization    the organizations to decide for, separated by commas; the caller's own by default
pullgate.user            who pulls: a person on the member list, or a machine
pullgate.user_header     the header in which the proxy says who pulls; it has to take off one that the client sends
pullgate.authorization   what `Authorization: Basic` is: see `Authorization`
pullgate.certificate     what the client certificate is: see `Certificate`
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TypeVar

from pullgate_policy.errors import FieldInvalidError, shown
from pullgate_policy.members import user_name
from pullgate_policy.names import organization_name, registry_host
from pullgate_policy.reference import is_read_as_registry

PREFIX = "pullgate."

MAX_ROUTES = 1000
"""Routes that are kept as they were read: every request comes with its route's description."""


class Authorization(enum.Enum):
    """What a request's own `Authorization: Basic user:token` is."""

    VERIFY = "verify"
    """A user name and a token of pullgate's; nobody is signed in without it."""

    CHALLENGE = "challenge"
    """The same, and clients are told to send it: they keep to themselves what nobody asks for."""

    IGNORE = "ignore"
    """The business of the registry behind."""


class Certificate(enum.Enum):
    """What a client certificate is."""

    USER = "user"
    """Whoever pulls."""

    IGNORE = "ignore"
    """Somebody else's, as that of another proxy in front."""


Choice = TypeVar("Choice", Authorization, Certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyRoute:
    """A route of a proxy.

    Attributes:
        registry: the registry that it stands for, in its canonical spelling.
        organizations: to decide for; none for the caller's own.
        user: who pulls; empty for nobody in particular.
        user_header: the header that says who pulls, in lowercase; empty for none.
    """

    registry: str
    organizations: tuple[str, ...]
    user: str
    user_header: str
    authorization: Authorization
    certificate: Certificate


def read_route(extensions: Mapping[str, str]) -> EnvoyRoute:
    """Read the route's description; raises FieldInvalidError. Extensions of others than pullgate are none of it."""
    return _read(frozenset(extensions.items()))


@lru_cache(maxsize=MAX_ROUTES)
def _read(extensions: frozenset[tuple[str, str]]) -> EnvoyRoute:
    own = {name.removeprefix(PREFIX): text for name, text in extensions if name.startswith(PREFIX)}
    registry = _registry(own.pop("registry", ""))
    names = (name.strip() for name in own.pop("organization", "").split(","))
    organizations = tuple(dict.fromkeys(_checked("organization", organization_name, name) for name in names if name))
    user, user_header = own.pop("user", ""), own.pop("user_header", "").lower()
    if user:
        _checked("user", user_name, user)
    if user and user_header:
        raise _invalid("user_header", "stands beside pullgate.user, and only one of them can say who pulls")
    # Where the route says who pulls nobody has to sign in, and what clients send is for the registry.
    authorization = _choice(Authorization, own, Authorization.IGNORE if user else Authorization.VERIFY)
    if user and authorization is not Authorization.IGNORE:
        raise _invalid("authorization", f"is {authorization.value}, and pullgate.user says already who pulls")
    certificate = _choice(Certificate, own, Certificate.USER)
    if own:
        known = ", ".join(item.name for item in fields(EnvoyRoute)).replace("organizations", "organization")
        raise _invalid(min(own), f"is not known; what begins with {PREFIX} can be: {known}")
    return EnvoyRoute(
        registry=registry,
        organizations=organizations,
        user=user,
        user_header=user_header,
        authorization=authorization,
        certificate=certificate,
    )


def _choice(kind: type[Choice], own: dict[str, str], default: Choice) -> Choice:
    name = kind.__name__.lower()
    text = own.pop(name, default.value)
    choices = [choice.value for choice in kind]
    if text not in choices:
        raise _invalid(name, f"{shown(text)} is not one of {', '.join(choices)}")
    return kind(text)


def _registry(text: str) -> str:
    if not text:
        raise _invalid("registry", "is missing: say which registry the route stands for, such as docker.io")
    registry = _checked("registry", registry_host, text)
    if not is_read_as_registry(registry):
        raise _invalid("registry", f"{shown(text)} is read as a name on Docker Hub; write it with a dot or a port")
    return registry


def _checked(name: str, read: Callable[[str], str], text: str) -> str:
    try:
        return read(text)
    except ValueError as error:
        raise _invalid(name, f"{shown(text)} {error}") from error


def _invalid(name: str, problem: str) -> FieldInvalidError:
    return FieldInvalidError(f"attributes.context_extensions.{PREFIX}{name}", problem)
