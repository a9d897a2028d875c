"""Policies to begin with: who starts strict widens on request."""

import enum

from pullgate_policy.policy import AllowedCategories, ImageAccess, Policy


class Preset(enum.Enum):
    """Which categories a ready-made policy allows; the organization's own images are in all of them."""

    STRICT = "strict"
    """Official images."""

    STANDARD = "standard"
    """Official and verified publisher images."""

    OPEN = "open"
    """Official, verified publisher and community images."""


def preset_policy(preset: Preset, organization: str) -> Policy:
    """The ready-made policy for an organization; image access is enabled and enforced."""
    allow = AllowedCategories(
        official_images=True,
        verified_publisher_images=preset is not Preset.STRICT,
        community_images=preset is Preset.OPEN,
    )
    return Policy(organization=organization, image_access=ImageAccess(enabled=True, allow=allow))
