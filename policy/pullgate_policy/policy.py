"""One organization's policy, as frozen values. Its settings, their defaults and their written form stand here, once."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pullgate_policy.category import Category, CommunityClass
from pullgate_policy.docker_hub import Mirror
from pullgate_policy.document import (
    Boolean,
    Choice,
    Granted,
    ListOf,
    MapOf,
    OptionalBoolean,
    Record,
    SetOf,
    Text,
    written,
)
from pullgate_policy.names import organization_name, own_namespace, registry_host, short_note, team_name
from pullgate_policy.repository_rules import AllowedRepository, BlockedRepository, RepositoryRules, RuleList


class Effect(enum.Enum):
    """What a decision comes to, and what a policy says where it leaves a choice."""

    DENY = "deny"
    """Not to be used."""

    ALLOW = "allow"
    """May be used."""


class Mode(enum.Enum):
    """Whether a policy bites."""

    ENFORCE = "enforce"
    """Denials are carried out."""

    MONITOR = "monitor"
    """Denials are told and not carried out: how a policy is rolled out."""


class _CategorySettings:
    """What both a policy and a team's grant say about categories."""

    __slots__ = ()
    organization_images: bool
    official_images: bool
    verified_publisher_images: bool
    community_images: bool
    sponsored_open_source_images: bool | None

    def setting_for(self, category: Category, community_class: CommunityClass | None) -> tuple[str, bool]:
        """The name of the setting that speaks of a known category, and what it says."""
        match category:
            case Category.ORGANIZATION:
                return "organization_images", self.organization_images
            case Category.OFFICIAL:
                return "official_images", self.official_images
            case Category.VERIFIED_PUBLISHER:
                return "verified_publisher_images", self.verified_publisher_images
            case Category.COMMUNITY:
                sponsored = self.sponsored_open_source_images
                if community_class is CommunityClass.SPONSORED_OPEN_SOURCE and sponsored is not None:
                    return "sponsored_open_source_images", sponsored
                return "community_images", self.community_images
            case Category.UNKNOWN:
                raise ValueError("no setting speaks of an unknown category but on_unknown_category")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCategories(_CategorySettings):
    """Which categories every member may use."""

    organization_images: bool = written(Boolean(), default=True)
    official_images: bool = written(Boolean(), default=False)
    verified_publisher_images: bool = written(Boolean(), default=False)
    community_images: bool = written(Boolean(), default=False)
    sponsored_open_source_images: bool | None = written(OptionalBoolean(), default=None)
    """None: as community_images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamGrant(_CategorySettings):
    """Which categories a team may use beyond what every member may."""

    organization_images: bool = written(Granted(), default=False)
    official_images: bool = written(Granted(), default=False)
    verified_publisher_images: bool = written(Granted(), default=False)
    community_images: bool = written(Granted(), default=False)
    sponsored_open_source_images: bool | None = written(Granted(), default=None)
    """None: as community_images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowlist:
    """Repositories that may be used whatever their category.

    Attributes:
        enabled: on unless switched off, which keeps the entries for later.
    """

    enabled: bool = written(Boolean(), default=True)
    repositories: RepositoryRules[AllowedRepository] = written(
        RuleList(AllowedRepository), default=RepositoryRules[AllowedRepository]()
    )


def _no_teams() -> Mapping[str, TeamGrant]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAccess:
    """Which images of Docker Hub may be used.

    Attributes:
        on_unknown_category: what holds for an image whose category no source can tell.
        help: whom to ask, shown with every denial.
    """

    enabled: bool = written(Boolean(), default=False)
    mode: Mode = written(Choice(Mode), default=Mode.ENFORCE)
    allow: AllowedCategories = written(Record(AllowedCategories), default=AllowedCategories())
    allowlist: Allowlist = written(Record(Allowlist), default=Allowlist())
    blocklist: RepositoryRules[BlockedRepository] = written(
        RuleList(BlockedRepository), default=RepositoryRules[BlockedRepository]()
    )
    teams: Mapping[str, TeamGrant] = written(
        MapOf(team_name, Record(TeamGrant, omit_defaults=True)), default_factory=_no_teams
    )
    on_unknown_category: Effect = written(Choice(Effect), default=Effect.DENY)
    help: str = written(Text(short_note), default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Who has to be signed in, and with what."""

    required: bool = written(Boolean(), default=False)
    organization_access_tokens: Effect = written(Choice(Effect), default=Effect.DENY)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """Which registries may be contacted at all.

    Attributes:
        allowed: hosts in their canonical spelling; `docker.io` for all of Docker Hub's.
    """

    enabled: bool = written(Boolean(), default=False)
    allowed: frozenset[str] = written(SetOf(Text(registry_host)), default=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerHub:
    """Where the organization's own images lie, and where else Docker Hub's are served.

    Attributes:
        namespaces: empty for the one of the organization's own name.
        mirrors: tried in order.
    """

    namespaces: frozenset[str] = written(SetOf(Text(own_namespace)), default=frozenset())
    mirrors: tuple[Mirror, ...] = written(ListOf(Text(Mirror.parse)), default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One organization's rules. What is left out takes the default that Docker's own feature has."""

    organization: str = written(Text(organization_name))
    image_access: ImageAccess = written(Record(ImageAccess), default=ImageAccess())
    sign_in: SignIn = written(Record(SignIn), default=SignIn())
    registry_access: RegistryAccess = written(Record(RegistryAccess), default=RegistryAccess())
    docker_hub: DockerHub = written(Record(DockerHub), default=DockerHub())

    @property
    def namespaces(self) -> frozenset[str]:
        """The Docker Hub namespaces that are the organization's own."""
        return self.docker_hub.namespaces or frozenset({self.organization})
