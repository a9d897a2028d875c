"""Docker's own setting: what it says becomes a policy that decides alike, and an export names what it leaves out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_policy import (
    Effect,
    InvalidPolicyError,
    Mirror,
    Mode,
    Policy,
    parse_policy_yaml,
    policy_yaml,
    preset_policy,
)
from pullgate_policy.policy import (
    AllowedCategories,
    Allowlist,
    DockerHub,
    ImageAccess,
    RegistryAccess,
    SignIn,
    TeamGrant,
)
from pullgate_policy.presets import Preset
from pullgate_policy.repository_rules import AllowedRepository, BlockedRepository, RepositoryPattern, RepositoryRules
from pullgate_policy.restricted_images import policy_from_restricted_images, restricted_images, settings_not_read
from tests.policy.strategies import policies

settings = st.fixed_dictionaries(
    {name: st.booleans() for name in ("enabled", "allow_official_images", "allow_verified_publishers")}
)
STANDARD = {"enabled": True, "allow_official_images": True, "allow_verified_publishers": True}


@pytest.mark.parametrize("data", [{"restricted_images": STANDARD}, STANDARD, {"org_name": "acme", **STANDARD}])
def test_import(data: dict[str, object]) -> None:
    """The API's settings, their part alone and Terraform's attributes become the same policy."""
    assert policy_from_restricted_images(data, "acme") == preset_policy(Preset.STANDARD, "acme")


def test_terraform_names_the_organization() -> None:
    """Where the setting names its organization, nobody else has to."""
    assert policy_from_restricted_images({"org_name": "globex", **STANDARD}).organization == "globex"


@given(settings)
def test_what_is_imported_is_exported_again(setting: dict[str, bool]) -> None:
    """Nothing of a setting is lost on the way into a policy and back, in either form."""
    policy = policy_from_restricted_images(setting, "acme")
    export = restricted_images(policy)

    assert export.data == {"restricted_images": setting}
    assert export.terraform_data == {"org_name": "acme", **setting}
    assert export.left_out == ()
    assert policy == parse_policy_yaml(policy_yaml(policy))


@given(policies())
def test_what_was_exported_leaves_nothing_out(policy: Policy) -> None:
    """A policy that came from an export, whatever that left out, is exported without loss."""
    export = restricted_images(policy)
    again = restricted_images(policy_from_restricted_images(export.terraform_data))

    assert again.data == export.data
    assert again.left_out == ()


def pattern(text: str) -> RepositoryPattern:
    return RepositoryPattern.parse(text)


ALLOWLIST = RepositoryRules([AllowedRepository(repository=pattern("grafana/grafana"))])
BLOCKLIST = RepositoryRules([BlockedRepository(repository=pattern(name)) for name in ("centos", "a/*")])


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"image_access": ImageAccess(mode=Mode.MONITOR)}, ["mode monitor: Docker Hub's setting has none, so the ex"]),
        *(
            ({"image_access": ImageAccess(allow=allow)}, told)
            for allow, told in [
                (AllowedCategories(organization_images=False), ["organization images are denied here"]),
                (AllowedCategories(community_images=True), ["community images are allowed here"]),
                (AllowedCategories(sponsored_open_source_images=True), ["sponsored open source images are allowed"]),
                (AllowedCategories(sponsored_open_source_images=False), []),
                (
                    AllowedCategories(community_images=True, sponsored_open_source_images=False),
                    ["community images are allowed here", "sponsored open source images are denied here on their own"],
                ),
            ]
        ),
        ({"image_access": ImageAccess(on_unknown_category=Effect.ALLOW)}, ["images of unknown category are allowed"]),
        ({"image_access": ImageAccess(allowlist=Allowlist(repositories=ALLOWLIST))}, ["the allowlist (1 entry) is"]),
        (
            {"image_access": ImageAccess(allowlist=Allowlist(enabled=False, repositories=ALLOWLIST))},
            ["the allowlist (1 entry, switched off) is left out"],
        ),
        ({"image_access": ImageAccess(allowlist=Allowlist(enabled=False))}, []),
        ({"image_access": ImageAccess(blocklist=BLOCKLIST)}, ["the blocklist (2 entries) is left out"]),
        (
            {"image_access": ImageAccess(teams={"web": TeamGrant(community_images=True), "idle": TeamGrant()})},
            ["what teams may use beyond others (web) is left out"],
        ),
        ({"image_access": ImageAccess(help="Ask us.")}, ["the help text is left out"]),
        ({"sign_in": SignIn(required=True)}, ["sign-in is required here"]),
        ({"sign_in": SignIn(organization_access_tokens=Effect.ALLOW)}, ["organization access tokens are admitted"]),
        (
            {"registry_access": RegistryAccess(enabled=True, allowed=frozenset({"ghcr.io", "docker.io"}))},
            ["registry access (allowed: docker.io, ghcr.io) is left out"],
        ),
        (
            {"registry_access": RegistryAccess(allowed=frozenset({"ghcr.io"}))},
            ["registry access (allowed: ghcr.io, switched off) is left out"],
        ),
        ({"registry_access": RegistryAccess(enabled=True)}, ["registry access (allowed: none) is left out"]),
        (
            {"docker_hub": DockerHub(namespaces=frozenset({"acme", "acme-labs"}))},
            ["the organization's own namespaces are acme, acme-labs here, and to Docker Hub acme alone"],
        ),
        ({"docker_hub": DockerHub(namespaces=frozenset({"acme"}))}, []),
        ({"docker_hub": DockerHub(mirrors=(Mirror("mirror.gcr.io", ""),))}, ["mirrors (mirror.gcr.io) are left out"]),
    ],
)
def test_what_is_left_out_is_told(sections: dict[str, Any], told: list[str]) -> None:
    """Each thing that the setting cannot say is one sentence of its own, and what changes nothing is none."""
    left_out = restricted_images(Policy(organization="acme", **sections)).left_out

    assert len(told) == len(left_out), left_out
    assert all(sentence.startswith(expected) for sentence, expected in zip(left_out, told, strict=True)), left_out


def test_a_policy_that_monitors_is_exported_switched_off() -> None:
    """An export never starts to enforce what was only told."""
    policy = Policy(organization="acme", image_access=ImageAccess(enabled=True, mode=Mode.MONITOR))

    assert not restricted_images(policy).setting.enabled


@pytest.mark.parametrize(
    ("data", "organization", "told"),
    [
        (
            {"restricted_images": {"enabled": 1, "allow_officials": True}, "badge": "x"},
            "acme",
            [
                "restricted_images.enabled: expected true or false, got the number 1",
                "restricted_images.allow_officials: unknown key; did you mean allow_official_images?",
                "restricted_images.allow_official_images: is missing",
                "restricted_images.allow_verified_publishers: is missing",
            ],
        ),
        ({"restricted_images": [True]}, "acme", ["restricted_images: expected a section with keys, got a list"]),
        ("on", "acme", ['expected a section with keys, got the text "on"']),
        (STANDARD, "", ["the setting does not name its organization; say whose policy it becomes"]),
        (STANDARD, "Acme", ['organization: "Acme" is not lowercase; write "acme"']),
        (
            {"org_name": "globex", **STANDARD},
            "acme",
            ['org_name: is "globex", and the policy is to be that of "acme"'],
        ),
        (
            {"org_name": "Globex", "enabled": True, "allow_official_images": True},
            "",
            ['org_name: "Globex" is not lowercase; write "globex"', "allow_verified_publishers: is missing"],
        ),
    ],
)
def test_problems(data: object, organization: str, told: list[str]) -> None:
    """What is no setting is refused with every problem and its path."""
    with pytest.raises(InvalidPolicyError) as raised:
        policy_from_restricted_images(data, organization)

    assert told == [str(problem) for problem in raised.value.problems]


def test_other_settings_are_named() -> None:
    """What an organization's settings hold besides is not taken over, and can be told."""
    assert settings_not_read({"restricted_images": STANDARD, "badge": 1, "domains": []}) == ("badge", "domains")
    assert settings_not_read(STANDARD) == ()
