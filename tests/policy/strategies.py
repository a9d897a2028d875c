"""Hypothesis strategies for policies, identities, references and categories: small vocabularies, so that they meet."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from pullgate_policy import (
    Category,
    CategoryEvidence,
    CommunityClass,
    CredentialKind,
    Effect,
    HubRepository,
    Identity,
    Membership,
    Mirror,
    Mode,
    Policy,
    Role,
)
from pullgate_policy.pins import CategoryPin
from pullgate_policy.policy import (
    AllowedCategories,
    Allowlist,
    DockerHub,
    ImageAccess,
    RegistryAccess,
    SignIn,
    TeamGrant,
)
from pullgate_policy.repository_rules import AllowedRepository, BlockedRepository, RepositoryPattern, RepositoryRules

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ORGANIZATIONS = ("acme", "globex")
TEAMS = ("web", "data-science")
PATHS = ("library/nginx", "acme/app", "someuser/tool", "bitnami/redis")
REFERENCES = (
    *PATHS,
    "someuser/tool:1.2",
    "someuser/tool:1.2@sha256:" + "0" * 64,
    "mirror.gcr.io/someuser/tool",
    "ghcr.io/a/b",
    "registry-1.docker.io/bitnami/redis",
)

teams = st.frozensets(st.sampled_from(TEAMS))
moments = st.sampled_from([NOW - timedelta(days=1), NOW, NOW + timedelta(seconds=1), NOW + timedelta(days=1)])
patterns = st.sampled_from([*PATHS, "bitnami/*", "someuser/*"]).map(RepositoryPattern.parse)
tag_patterns = st.sampled_from(["someuser/tool:1.*", "someuser/tool:*", "bitnami/redis:latest"]).map(
    RepositoryPattern.parse
)
booleans = st.booleans()
notes = st.sampled_from(["", "a reason", "two\nlines", "ünïcode"])
allowed_categories = st.builds(
    AllowedCategories,
    organization_images=booleans,
    official_images=booleans,
    verified_publisher_images=booleans,
    community_images=booleans,
    sponsored_open_source_images=st.none() | booleans,
)
grants = st.builds(
    TeamGrant,
    organization_images=booleans,
    official_images=booleans,
    verified_publisher_images=booleans,
    community_images=booleans,
    sponsored_open_source_images=st.sampled_from([None, True]),
)
allowed_repositories = st.builds(
    AllowedRepository,
    repository=patterns | tag_patterns,
    reason=notes,
    expires_at=st.none() | moments,
    teams=teams,
)
blocked_repositories = st.builds(BlockedRepository, repository=patterns, reason=notes)
allowlists = st.builds(
    Allowlist, enabled=booleans, repositories=st.lists(allowed_repositories, max_size=4).map(RepositoryRules)
)
image_accesses = st.builds(
    ImageAccess,
    enabled=booleans,
    mode=st.sampled_from(Mode),
    allow=allowed_categories,
    allowlist=allowlists,
    blocklist=st.lists(blocked_repositories, max_size=3).map(RepositoryRules),
    teams=st.dictionaries(st.sampled_from(TEAMS), grants),
    on_unknown_category=st.sampled_from(Effect),
    help=notes,
)


def policies(organization: str = "acme") -> st.SearchStrategy[Policy]:
    """Policies of one organization."""
    return st.builds(
        Policy,
        organization=st.just(organization),
        image_access=image_accesses,
        sign_in=st.builds(SignIn, required=booleans, organization_access_tokens=st.sampled_from(Effect)),
        registry_access=st.builds(
            RegistryAccess, enabled=booleans, allowed=st.frozensets(st.sampled_from(["docker.io", "ghcr.io"]))
        ),
        docker_hub=st.builds(
            DockerHub,
            namespaces=st.frozensets(st.sampled_from(["acme", "someuser"])),
            mirrors=st.sampled_from([(), (Mirror("mirror.gcr.io", ""),)]),
        ),
    )


memberships = st.lists(
    st.builds(Membership, organization=st.sampled_from(ORGANIZATIONS), role=st.sampled_from(Role), teams=teams),
    unique_by=lambda membership: membership.organization,
).map(tuple)
identities = st.just(Identity()) | st.builds(
    Identity, username=st.just("dev"), memberships=memberships, credential=st.sampled_from(CredentialKind)
)
references = st.sampled_from(REFERENCES)
evidences = st.builds(
    CategoryEvidence, category=st.sampled_from([Category.OFFICIAL, Category.VERIFIED_PUBLISHER, Category.UNKNOWN])
) | st.builds(
    CategoryEvidence,
    category=st.just(Category.COMMUNITY),
    community_class=st.none() | st.just(CommunityClass.SPONSORED_OPEN_SOURCE),
)
# Nobody has to say what images of `library` are.
categories = st.fixed_dictionaries({HubRepository(path): evidences for path in PATHS if "library/" not in path})
category_pins = st.builds(
    CategoryPin,
    name=st.sampled_from([*PATHS, *(path.partition("/")[0] for path in PATHS)]),
    category=st.sampled_from([Category.OFFICIAL, Category.VERIFIED_PUBLISHER, Category.COMMUNITY]),
    community_class=st.none(),
    reason=notes,
    author=st.just("ada"),
    written_at=st.just(NOW - timedelta(days=2)),
    organization=st.sampled_from(["", *ORGANIZATIONS]),
    expires_at=st.none() | moments,
)
pins = st.lists(category_pins, max_size=8, unique_by=lambda pin: (pin.organization, pin.name))
