"""Decisions as tables, read once for every level that replays them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from pullgate_policy import (
    ANONYMOUS,
    Category,
    CategoryEvidence,
    CommunityClass,
    CredentialKind,
    HubRepository,
    Identity,
    Membership,
    Policy,
    Role,
    parse_policy,
)

ORGANIZATION = "acme"
"""The organization that the caller stands for in every case."""

DEFAULT_NOW = "2026-06-01T00:00:00Z"


@dataclass(frozen=True)
class Case:
    """One row of a table of decisions."""

    id: str
    policies: Mapping[str, Policy]
    identity: Identity
    reference: str
    categories: Mapping[str, CategoryEvidence]
    now: datetime
    expect: Mapping[str, Any]

    def category_of(self, repository: HubRepository) -> CategoryEvidence:
        """What the row's sources know: of the repository itself first, then of its namespace."""
        unknown = CategoryEvidence(category=Category.UNKNOWN)
        return self.categories.get(repository.path, self.categories.get(repository.namespace, unknown))


def read_cases() -> Iterator[Case]:
    """Every row of every table in this folder."""
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        table = yaml.safe_load(path.read_text())
        for row in table["cases"]:
            names = row.get("policies", [row["policy"]] if "policy" in row else [])
            policies = [parse_policy(table["policies"][name]) for name in names]
            now = row.get("now", DEFAULT_NOW)
            yield Case(
                id=row["id"],
                policies={policy.organization: policy for policy in policies},
                identity=_identity(row["identity"]),
                reference=row["reference"],
                categories={name: _evidence(word) for name, word in row.get("categories", {}).items()},
                now=now if isinstance(now, datetime) else datetime.fromisoformat(now),
                expect=row["expect"],
            )


def _identity(row: Mapping[str, Any]) -> Identity:
    if row.get("anonymous"):
        return ANONYMOUS
    return Identity(
        username=row["user"],
        memberships=tuple(
            Membership(
                organization=item["name"],
                role=Role(item.get("role", "member")),
                teams=frozenset(item.get("teams", ())),
            )
            for item in row["organizations"]
        ),
        credential=CredentialKind(row.get("credential", "personal_access_token")),
    )


def _evidence(word: str) -> CategoryEvidence:
    if word == "SPONSORED_OPEN_SOURCE":
        return CategoryEvidence(
            category=Category.COMMUNITY, community_class=CommunityClass.SPONSORED_OPEN_SOURCE, source="catalogue"
        )
    return CategoryEvidence(category=Category[word], source="catalogue")
