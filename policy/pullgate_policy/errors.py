"""What can be wrong with what a person hands in.

    PullgateError
    ├── FieldInvalidError                  one field of a request
    │   └── OrganizationMissingError
    ├── RoleNotPermittedError              who may not
    ├── OrganizationNotPermittedError
    ├── InvalidReferenceError    a text that is no image reference
    ├── InvalidPolicyError       a policy document with problems, each at its path
    ├── InvalidIdentityError     an identity that contradicts itself
    └── InvalidCatalogueError    a category catalogue with problems (raised by whoever reads one)

Messages are written for the person who handed the thing in: what is wrong, where, and what to do.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class PullgateError(Exception):
    """Root of all errors that pullgate raises for what it was given."""


class InvalidReferenceError(PullgateError):
    """The text is not an image reference.

    Attributes:
        text: what was given, as it was given.
        problem: what is wrong with it, in words.
        position: index into `text` of the first character that is wrong; its length when something is missing.
    """

    def __init__(self, text: str, problem: str, position: int) -> None:
        super().__init__(f"invalid reference {shown(text)}: {problem} (at character {position + 1})")
        self.text = text
        self.problem = problem
        self.position = position


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a document.

    Attributes:
        path: where, as `image_access.allowlist.repositories[2].expires_at`; empty for the document as a whole.
        description: what is wrong and what to do.
    """

    path: str
    description: str

    def __str__(self) -> str:
        return f"{self.path}: {self.description}" if self.path else self.description


class InvalidDocumentError(PullgateError):
    """A document has problems; all that were found are reported together.

    Attributes:
        problems: at least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InvalidPolicyError(InvalidDocumentError):
    """A policy document has problems."""


class InvalidCatalogueError(InvalidDocumentError):
    """A category catalogue has problems."""


class InvalidIdentityError(PullgateError):
    """An identity contradicts itself.

    Attributes:
        path: the field that is wrong, as `memberships[1].organization`.
        problem: what is wrong and what to do.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class FieldInvalidError(PullgateError):
    """One field of the request is wrong.

    Attributes:
        path: the field.
        problem: what is wrong and what to do.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class OrganizationMissingError(FieldInvalidError):
    """Nobody's policy is asked about."""

    def __init__(self) -> None:
        super().__init__(
            "organizations",
            "name an organization here or in identity.memberships: this caller has none of its own",
        )


class RoleNotPermittedError(PullgateError):
    """The caller's role may not do this; the message says whose may."""


class OrganizationNotPermittedError(PullgateError):
    """The caller belongs to another organization. Says nothing about whether the other one exists.

    Args:
        unnamed: why naming none is for operators alone, where that can be said.
    """

    def __init__(self, organization: str, own: str, unnamed: str = "") -> None:
        refused = f"has no access to {shown(organization)}"
        if unnamed and not organization:
            refused = f"has to name it: {unnamed}"
        super().__init__(f"this caller belongs to organization {own} and {refused}")


def shown(text: str, limit: int = 80) -> str:
    """`text` quoted for an error message: control characters escaped, the middle of a long one left out."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-limit // 4 :]}"
    return ascii(text) if not text.isprintable() else f'"{text}"'
