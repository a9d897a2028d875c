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
from pullgate_policy.names import organization_name, own_namespace, registry_host
from pullgate_policy.reference import MAX_PATH_LENGTH, MAX_REFERENCE_LENGTH
from pullgate_policy.repository_rules import (
    NOTE,
    TEAM_NAME,
    AllowedRepository,
    BlockedRepository,
    RepositoryRules,
    RuleList,
)


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


_ORGANIZATION_IMAGES = "The organization's own images: those in its namespaces on Docker Hub."
_OFFICIAL_IMAGES = "Docker Official Images: those in Docker Hub's namespace library."
_VERIFIED_PUBLISHER_IMAGES = "Images of publishers that Docker has verified."
_COMMUNITY_IMAGES = "Everybody else's images."
_SPONSORED_OPEN_SOURCE_IMAGES = "Docker-Sponsored Open Source images; where nothing is said, as community_images."


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedCategories(_CategorySettings):
    """Which categories every member may use."""

    organization_images: bool = written(Boolean(), _ORGANIZATION_IMAGES, default=True)
    official_images: bool = written(Boolean(), _OFFICIAL_IMAGES, default=False)
    verified_publisher_images: bool = written(Boolean(), _VERIFIED_PUBLISHER_IMAGES, default=False)
    community_images: bool = written(Boolean(), _COMMUNITY_IMAGES, default=False)
    sponsored_open_source_images: bool | None = written(OptionalBoolean(), _SPONSORED_OPEN_SOURCE_IMAGES, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamGrant(_CategorySettings):
    """Which categories a team may use beyond what every member may."""

    organization_images: bool = written(Granted(), _ORGANIZATION_IMAGES, default=False)
    official_images: bool = written(Granted(), _OFFICIAL_IMAGES, default=False)
    verified_publisher_images: bool = written(Granted(), _VERIFIED_PUBLISHER_IMAGES, default=False)
    community_images: bool = written(Granted(), _COMMUNITY_IMAGES, default=False)
    sponsored_open_source_images: bool | None = written(Granted(), _SPONSORED_OPEN_SOURCE_IMAGES, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowlist:
    """Repositories that may be used whatever their category."""

    enabled: bool = written(Boolean(), "Whether the entries count; false keeps them for later.", default=True)
    repositories: RepositoryRules[AllowedRepository] = written(
        RuleList(AllowedRepository), "The entries, in any order.", default=RepositoryRules[AllowedRepository]()
    )


def _no_teams() -> Mapping[str, TeamGrant]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAccess:
    """Which images of Docker Hub may be used."""

    enabled: bool = written(Boolean(), "Whether the images of Docker Hub are restricted at all.", default=False)
    mode: Mode = written(
        Choice(Mode),
        "Whether denials are carried out (enforce), or told and not carried out (monitor).",
        default=Mode.ENFORCE,
    )
    allow: AllowedCategories = written(Record(AllowedCategories), default=AllowedCategories())
    allowlist: Allowlist = written(Record(Allowlist), default=Allowlist())
    blocklist: RepositoryRules[BlockedRepository] = written(
        RuleList(BlockedRepository),
        "Repositories that may not be used whatever their category; the allowlist does not lift it.",
        default=RepositoryRules[BlockedRepository](),
    )
    teams: Mapping[str, TeamGrant] = written(
        MapOf(TEAM_NAME, Record(TeamGrant, omit_defaults=True)),
        "What teams may use beyond what every member may, by the team's name.",
        default_factory=_no_teams,
    )
    on_unknown_category: Effect = written(
        Choice(Effect), "What holds for an image whose category no source can tell.", default=Effect.DENY
    )
    help: str = written(NOTE, "Whom to ask: shown with every denial.", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """Who has to be signed in, and with what."""

    required: bool = written(
        Boolean(), "Whether people who are not signed in with the organization are denied.", default=False
    )
    organization_access_tokens: Effect = written(
        Choice(Effect), "What holds for pulls with an organization access token.", default=Effect.DENY
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAccess:
    """Which registries may be contacted at all."""

    enabled: bool = written(Boolean(), "Whether only the registries listed may be contacted.", default=False)
    allowed: frozenset[str] = written(
        SetOf(
            Text(
                registry_host,
                pattern=r"^[a-zA-Z0-9.:\[\]-]+$",
                maxLength=MAX_REFERENCE_LENGTH,
                examples=["docker.io", "ghcr.io", "localhost:5000"],
            )
        ),
        "Registries as host or host:port; docker.io stands for all of Docker Hub's hosts.",
        default=frozenset(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerHub:
    """Where the organization's own images lie, and where else Docker Hub's are served."""

    namespaces: frozenset[str] = written(
        SetOf(Text(own_namespace, pattern=r"^[a-z0-9_-]+$", maxLength=MAX_PATH_LENGTH, examples=["acme-labs"])),
        "The organization's own namespaces; empty for the one of the organization's own name.",
        default=frozenset(),
    )
    mirrors: tuple[Mirror, ...] = written(
        ListOf(
            Text(
                Mirror.parse,
                pattern=r"^[a-zA-Z0-9.:\[\]-]+(/[a-z0-9._/-]+)?$",
                examples=["mirror.gcr.io", "harbor.example.com/hub"],
            )
        ),
        "Registries, or parts of one, that serve Docker Hub's images; of mirrors within each other the innermost "
        "counts.",
        default=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One organization's rules. What is left out takes the default that Docker's own feature has."""

    organization: str = written(
        Text(organization_name, pattern=r"^[a-z0-9._-]+$", maxLength=MAX_PATH_LENGTH, examples=["acme"]),
        "The organization's name, in lowercase as on Docker Hub.",
    )
    image_access: ImageAccess = written(Record(ImageAccess), default=ImageAccess())
    sign_in: SignIn = written(Record(SignIn), default=SignIn())
    registry_access: RegistryAccess = written(Record(RegistryAccess), default=RegistryAccess())
    docker_hub: DockerHub = written(Record(DockerHub), default=DockerHub())

    @property
    def namespaces(self) -> frozenset[str]:
        """The Docker Hub namespaces that are the organization's own."""
        return self.docker_hub.namespaces or frozenset({self.organization})
