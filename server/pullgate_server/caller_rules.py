"""Which caller somebody is: what a document grants to who proves a claim or a certificate's name."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pullgate_policy.access_token import CallerRole
from pullgate_policy.caller import Caller
from pullgate_policy.document import Boolean, Choice, Record, Text, written
from pullgate_policy.errors import Problem
from pullgate_policy.names import organization_name
from pullgate_policy.yaml_text import InvalidYamlError, load_yaml
from pullgate_server.errors import StartupError

Document = TypeVar("Document")

MAX_NAME_LENGTH = 255
"""Characters of a caller's name: it stands in logs, and beside what the caller writes."""


def caller_name(text: str) -> str:
    """A name for people to read; raises ValueError saying what it is not."""
    if not text.strip():
        raise ValueError("is empty")
    if len(text) > MAX_NAME_LENGTH:
        raise ValueError(f"has {len(text)} characters, and at most {MAX_NAME_LENGTH} are allowed")
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerGrant:
    """What somebody is who was recognized, as it is written in a document.

    Attributes:
        organization: the one they belong to; empty for operators alone.
        name: for people; empty for the default of who recognized them.
        username: the person they are; empty for operators and enforcers.
        may_assert_roles: whether an enforcer's word on roles and teams counts.
    """

    role: CallerRole = written(Choice(CallerRole))
    organization: str = written(Text(organization_name), default="")
    name: str = written(Text(caller_name), default="")
    username: str = written(Text(caller_name), default="")
    may_assert_roles: bool = written(Boolean(), default=False)

    def __post_init__(self) -> None:
        is_operator, is_person = self.role is CallerRole.OPERATOR, self.role.is_person
        role = self.role.value
        problems = [
            problem
            for is_wrong, problem in (
                (is_operator and self.organization, "organization: an operator belongs to none; remove it"),
                (not is_operator and not self.organization, f"organization: is missing; write whose {role} this is"),
                (
                    not is_person and self.username,
                    f"username: the role {role} is no person's; remove it, or write name",
                ),
                (is_person and not self.username, f"username: is missing; the role {role} is a person's"),
                (
                    self.may_assert_roles and self.role is not CallerRole.ENFORCER,
                    "may_assert_roles: is for enforcers alone; remove it",
                ),
            )
            if is_wrong
        ]
        if problems:
            raise ValueError("; ".join(problems))

    def caller(self, caller_id: str, *, name: str, username: str, expires_at: datetime | None = None) -> Caller:
        """The caller with what is granted here.

        Args:
            caller_id: tells it from all others.
            name: who it is, for people.
            username: the person behind it; empty for none.
            expires_at: from when on it is nobody.
        """
        return Caller(
            id=caller_id,
            name=name,
            role=self.role,
            organization=self.organization,
            username=username,
            may_assert_roles=self.may_assert_roles,
            expires_at=expires_at,
        )


def read_rules(path: Path, option: str, kind: Record[Document]) -> Document:
    """The document of rules at `path`.

    Args:
        option: the option that names the file, for messages.

    Raises:
        StartupError: the file cannot be read, or has problems; tells all of them, each with its path.
    """
    problems: list[Problem] = []
    try:
        document = kind.read(load_yaml(path.read_text(encoding="utf-8")), "", problems)
    except OSError as error:
        raise StartupError(f"{option} {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise StartupError(f"{option} {path} is not UTF-8 text (byte {error.start})") from error
    except InvalidYamlError as error:
        raise StartupError(f"{option} {path} cannot be used: {error}") from error
    if document is None or problems:
        raise StartupError(f"{option} {path} cannot be used:\n" + "\n".join(str(problem) for problem in problems))
    return document
