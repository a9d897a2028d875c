"""Asks a pullgate service.

with Client(Connection.from_environment(os.environ)) as client:
    answer = client.decide(identity, "nginx")
"""

import importlib
from typing import TYPE_CHECKING, Any

from pullgate_client.client import Client
from pullgate_client.connection import Connection
from pullgate_client.errors import (
    BrokenStreamError,
    CallError,
    ClientError,
    ConflictError,
    ConnectionSettingsError,
    DeadlineExceededError,
    InternalError,
    InvalidRequestError,
    LimitExceededError,
    NoKnowledgeError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnavailableError,
    UnknownAnswerError,
    UnusableUpdateError,
)
from pullgate_client.values import Question

if TYPE_CHECKING:
    from pullgate_client.aio import AsyncClient
    from pullgate_client.local import AsyncLocalDecider
    from pullgate_client.local_blocking import LocalDecider

__all__ = [
    "AsyncClient",
    "AsyncLocalDecider",
    "BrokenStreamError",
    "CallError",
    "Client",
    "ClientError",
    "ConflictError",
    "Connection",
    "ConnectionSettingsError",
    "DeadlineExceededError",
    "InternalError",
    "InvalidRequestError",
    "LimitExceededError",
    "LocalDecider",
    "NoKnowledgeError",
    "NotFoundError",
    "PermissionDeniedError",
    "PreconditionError",
    "Question",
    "UnauthenticatedError",
    "UnavailableError",
    "UnknownAnswerError",
    "UnusableUpdateError",
]


_LAZY = {"AsyncClient": "aio", "AsyncLocalDecider": "local", "LocalDecider": "local_blocking"}


def __getattr__(name: str) -> Any:
    """What works with asyncio, once it is asked for: who needs none, such as the command line, does not wait for it."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"pullgate_client.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
