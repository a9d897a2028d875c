"""Docker Hub's own setting, restricted images, as a policy, and a policy as that setting.

Two forms say the same three things: an organization's settings in Docker Hub's API (GET and PUT
/v2/orgs/{name}/settings), and the attributes of Terraform's resource docker_org_setting_image_access_management.

In the setting the organization's own images are always allowed and community images never are. It says far less than
a policy, so an export names everything that it leaves out.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_policy.document import Boolean, Plain, Record, Text, written
from pullgate_policy.errors import InvalidPolicyError, Problem, shown
from pullgate_policy.names import organization_name
from pullgate_policy.policy import (
    AllowedCategories,
    Effect,
    ImageAccess,
    Mode,
    Policy,
    RegistryAccess,
    TeamGrant,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestrictedImages:
    """What the setting says.

    Attributes:
        enabled: whether images are restricted at all.
    """

    enabled: bool = written(Boolean())
    allow_official_images: bool = written(Boolean())
    allow_verified_publishers: bool = written(Boolean())


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrganizationSettings:
    restricted_images: RestrictedImages = written(Record(RestrictedImages))


@dataclass(frozen=True, slots=True, kw_only=True)
class _TerraformAttributes(RestrictedImages):
    org_name: str = written(Text(organization_name))


_images: Record[RestrictedImages] = Record(RestrictedImages)
_settings: Record[_OrganizationSettings] = Record(_OrganizationSettings)
_attributes: Record[_TerraformAttributes] = Record(_TerraformAttributes)


def policy_from_restricted_images(data: object, organization: str = "") -> Policy:
    """The policy that decides as the setting does.

    Args:
        data: an organization's settings, the part `restricted_images` of them alone, or Terraform's attributes.
            Other settings of the organization are not read; `settings_not_read` names them.
        organization: whose policy it becomes; may be left out where Terraform's attributes name it.

    Raises:
        InvalidPolicyError: with every problem and its path.
    """
    problems: list[Problem] = []
    named = organization
    setting: RestrictedImages | None
    match data:
        case {"restricted_images": part}:
            setting = _images.read(part, "restricted_images", problems)
        case {"org_name": _}:
            setting = attributes = _attributes.read(data, "", problems)
            named = organization or (attributes.org_name if attributes else "")
            if attributes is not None and attributes.org_name != named:
                description = f"is {shown(attributes.org_name)}, and the policy is to be that of {shown(organization)}"
                problems.append(Problem("org_name", description))
        case _:
            setting = _images.read(data, "", problems)
    if organization:
        Text(organization_name).read(organization, "organization", problems)
    elif not named and setting is not None:
        problems.append(Problem("", "the setting does not name its organization; say whose policy it becomes"))
    if setting is None or problems:
        raise InvalidPolicyError(problems)
    return Policy(
        organization=named,
        image_access=ImageAccess(
            enabled=setting.enabled,
            allow=AllowedCategories(
                official_images=setting.allow_official_images,
                verified_publisher_images=setting.allow_verified_publishers,
            ),
        ),
    )


def settings_not_read(data: object) -> tuple[str, ...]:
    """The settings beside restricted images that an organization's settings hold, and no policy takes over."""
    match data:
        case {"restricted_images": _, **others}:
            return tuple(str(key) for key in others)
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestrictedImagesExport:
    """A policy as Docker's setting.

    Attributes:
        organization: whose policy it is.
        setting: switched off for a policy that only monitors, because it would begin to enforce.
        left_out: a sentence for each thing that the setting cannot say, with what follows from it.
    """

    organization: str
    setting: RestrictedImages
    left_out: tuple[str, ...]

    @property
    def data(self) -> Plain:
        """The setting as Docker Hub's API reads and writes it."""
        return _settings.write(_OrganizationSettings(restricted_images=self.setting))

    @property
    def terraform_data(self) -> Plain:
        """The setting as the attributes of Terraform's resource."""
        return _attributes.write(_TerraformAttributes(org_name=self.organization, **dataclasses.asdict(self.setting)))


def restricted_images(policy: Policy) -> RestrictedImagesExport:
    """The policy as Docker's setting, and what of it is left out."""
    access = policy.image_access
    return RestrictedImagesExport(
        organization=policy.organization,
        setting=RestrictedImages(
            enabled=access.enabled and access.mode is Mode.ENFORCE,
            allow_official_images=access.allow.official_images,
            allow_verified_publishers=access.allow.verified_publisher_images,
        ),
        left_out=(*_categories_left_out(access), *_exceptions_left_out(access), *_left_out_beside_images(policy)),
    )


def _categories_left_out(access: ImageAccess) -> Iterator[str]:
    allow = access.allow
    if access.mode is Mode.MONITOR:
        yield (
            "mode monitor: Docker Hub's setting has none, so the export is off (enabled: false) and restricts nothing; "
            "switched on there, it enforces at once"
        )
    if not allow.organization_images:
        yield "organization images are denied here, and Docker Hub always allows them"
    if allow.community_images:
        yield "community images are allowed here, and Docker Hub denies them all while it restricts images"
    sponsored = allow.sponsored_open_source_images
    if sponsored is not None and sponsored != allow.community_images:
        yield (
            f"sponsored open source images are {'allowed' if sponsored else 'denied'} here on their own, and Docker "
            "Hub treats them as community images, which it denies while it restricts images"
        )
    if access.on_unknown_category is Effect.ALLOW:
        yield (
            "images of unknown category are allowed here, and Docker Hub, which knows every category, denies those "
            "that are community images to it"
        )


def _exceptions_left_out(access: ImageAccess) -> Iterator[str]:
    allowed = _entries(len(access.allowlist.repositories.rules))
    if allowed and access.allowlist.enabled:
        yield f"the allowlist ({allowed}) is left out: Docker Hub's setting goes by these images' category alone"
    elif allowed:
        yield f"the allowlist ({allowed}, switched off) is left out: keep this policy to have it later"
    blocked = _entries(len(access.blocklist.rules))
    if blocked:
        yield f"the blocklist ({blocked}) is left out: Docker Hub allows these images where it allows their category"
    teams = sorted(team for team, grant in access.teams.items() if grant != TeamGrant())
    if teams:
        yield (
            f"what teams may use beyond others ({', '.join(teams)}) is left out: Docker Hub's setting is the same for "
            "all members"
        )


def _left_out_beside_images(policy: Policy) -> Iterator[str]:
    if policy.image_access.help:
        yield "the help text is left out: who is denied by Docker Hub's setting does not see it"
    if policy.sign_in.required:
        yield (
            "sign-in is required here, and Docker Hub's setting holds only for people who are signed in; enforce "
            "sign-in in Docker's own settings"
        )
    if policy.sign_in.organization_access_tokens is Effect.ALLOW:
        yield "organization access tokens are admitted here, and do not work with Docker Hub's setting"
    if policy.registry_access != RegistryAccess():
        hosts = ", ".join(sorted(policy.registry_access.allowed)) or "none"
        state = "" if policy.registry_access.enabled else ", switched off"
        yield (
            f"registry access (allowed: {hosts}{state}) is left out: Docker Hub's setting restricts no registry; "
            "Docker's Registry Access Management does"
        )
    if policy.namespaces != frozenset({policy.organization}):
        yield (
            f"the organization's own namespaces are {', '.join(sorted(policy.namespaces))} here, and to Docker Hub "
            f"{policy.organization} alone: images of another are denied unless their category is allowed"
        )
    if policy.docker_hub.mirrors:
        mirrors = ", ".join(str(mirror) for mirror in policy.docker_hub.mirrors)
        yield f"mirrors ({mirrors}) are left out: Docker Hub's setting restricts no image that is pulled through them"


def _entries(count: int) -> str:
    """How many entries, in words; empty for none."""
    return f"{count} {'entry' if count == 1 else 'entries'}" if count else ""
