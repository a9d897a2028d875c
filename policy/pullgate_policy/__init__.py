"""May this identity use this image? The decision of pullgate, pure: no I/O, no clock, no gRPC.

>>> from datetime import UTC, datetime
>>> policy = parse_policy_yaml("{organization: acme, image_access: {enabled: true, allow: {official_images: true}}}")
>>> dev = Identity(username="dev", memberships=(Membership(organization="acme"),))
>>> nginx = parse_reference("nginx")
>>> known = {HubRepository("library/nginx"): CategoryEvidence(category=Category.OFFICIAL)}
>>> decide(["acme"], {"acme": policy}, dev, nginx, known, datetime.now(UTC)).effect
<Effect.ALLOW: 'allow'>
"""

from pullgate_policy.category import Category, CategoryEvidence, CommunityClass
from pullgate_policy.decision import CategoryNeeded, Decision, Reason, decide, organizations_concerned
from pullgate_policy.docker_hub import HubRepository, Mirror, hub_repository
from pullgate_policy.errors import (
    InvalidCatalogueError,
    InvalidDocumentError,
    InvalidIdentityError,
    InvalidPolicyError,
    InvalidReferenceError,
    Problem,
    PullgateError,
)
from pullgate_policy.identity import ANONYMOUS, CredentialKind, Identity, Membership, Role
from pullgate_policy.policy import Effect, Mode, Policy
from pullgate_policy.policy_document import (
    parse_policies_yaml,
    parse_policy,
    parse_policy_yaml,
    policy_data,
    policy_yaml,
)
from pullgate_policy.presets import Preset, preset_policy
from pullgate_policy.reference import Reference, parse_reference

__all__ = [
    "ANONYMOUS",
    "Category",
    "CategoryEvidence",
    "CategoryNeeded",
    "CommunityClass",
    "CredentialKind",
    "Decision",
    "Effect",
    "HubRepository",
    "Identity",
    "InvalidCatalogueError",
    "InvalidDocumentError",
    "InvalidIdentityError",
    "InvalidPolicyError",
    "InvalidReferenceError",
    "Membership",
    "Mirror",
    "Mode",
    "Policy",
    "Preset",
    "Problem",
    "PullgateError",
    "Reason",
    "Reference",
    "Role",
    "decide",
    "hub_repository",
    "organizations_concerned",
    "parse_policies_yaml",
    "parse_policy",
    "parse_policy_yaml",
    "parse_reference",
    "policy_data",
    "policy_yaml",
    "preset_policy",
]
