"""What differs between two policies: nothing is missed, nothing is told that means nothing, and the words are right."""

import dataclasses
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_policy import (
    CategoryEvidence,
    Decision,
    HubRepository,
    Identity,
    Mirror,
    Policy,
    decide,
    parse_policy,
    parse_policy_yaml,
    parse_reference,
    policy_data,
)
from pullgate_policy.changes import SettingChange, changed_paths, policy_changes
from pullgate_policy.repository_rules import RepositoryRules
from tests.policy.strategies import NOW, categories, identities, policies, references


def on(settings: str = "", rest: str = "") -> str:
    """A policy's document, without the organization, in which image access is on."""
    return f"image_access: {{enabled: true, {settings}}}\n{rest}"


MEANINGS = [
    # before, after (both without the organization), every path with its meaning
    ("", "", {}),
    ("", "image_access: {enabled: true}", {"image_access.enabled": "image access: off → on (enforced)"}),
    (
        "image_access: {mode: monitor}",
        "image_access: {mode: monitor, enabled: true}",
        {"image_access.enabled": "image access: off → on (monitor: denials are told, not carried out)"},
    ),
    ("image_access: {enabled: true}", "", {"image_access.enabled": "image access: on → off"}),
    (
        "",
        "image_access: {mode: monitor}",
        {"image_access.mode": "mode: enforce (denials are carried out) → monitor (denials are told, not carried out)"},
    ),
    # categories
    (
        on(),
        on("allow: {community_images: true}"),
        {"image_access.allow.community_images": "community images: denied → allowed"},
    ),
    (
        "",
        "image_access: {allow: {community_images: true}}",
        {
            "image_access.allow.community_images": (
                "community images: denied → allowed (counts once image access is on)"
            )
        },
    ),
    (
        on("allow: {official_images: true}, teams: {web: {official_images: true}}"),
        on("teams: {web: {official_images: true}}"),
        {"image_access.allow.official_images": "official images: allowed → denied (still allowed for team web)"},
    ),
    (
        on(),
        on("allow: {sponsored_open_source_images: true}"),
        {
            "image_access.allow.sponsored_open_source_images": (
                "sponsored open source images: as community images (denied) → allowed"
            )
        },
    ),
    (
        on("on_unknown_category: allow"),
        on(),
        {"image_access.on_unknown_category": "images of unknown category: allowed → denied"},
    ),
    (
        on(),
        on(f"help: Ask {'a' * 100}"),
        {"image_access.help": f'help: none → "Ask {"a" * 36}…{"a" * 20}"'},
    ),
    # grants
    (
        on(),
        on("teams: {data-science: {community_images: true}}"),
        {
            "image_access.teams.data-science.community_images": (
                "community images: denied → allowed for team data-science"
            )
        },
    ),
    (
        on("teams: {web: {community_images: true}}"),
        on(),
        {"image_access.teams.web.community_images": "community images: allowed → denied for team web"},
    ),
    (
        on("allow: {community_images: true}"),
        on("allow: {community_images: true}, teams: {web: {community_images: true}}"),
        {
            "image_access.teams.web.community_images": (
                "community images: allowed for team web (and already for everyone)"
            )
        },
    ),
    (
        on("allow: {community_images: true}, teams: {web: {community_images: true}}"),
        on("allow: {community_images: true}, teams: {web: {}}"),
        {
            "image_access.teams.web.community_images": (
                "community images: no longer granted to team web (and still allowed for everyone)"
            )
        },
    ),
    (
        on("allow: {community_images: true}"),
        on("teams: {web: {community_images: true}}"),
        {
            "image_access.allow.community_images": "community images: allowed → denied (still allowed for team web)",
            "image_access.teams.web.community_images": "community images: still allowed for team web",
        },
    ),
    (
        on("teams: {web: {community_images: true, sponsored_open_source_images: true}}"),
        on("teams: {web: {community_images: true}}"),
        {
            "image_access.teams.web.sponsored_open_source_images": (
                "sponsored open source images: no longer granted to team web "
                "(and still allowed for it by another grant)"
            )
        },
    ),
    (
        on("teams: {web: {}}"),
        on("teams: {web.community_images: {}}"),
        {
            "image_access.teams.web": "team web: not listed any more, where it had no grant",
            'image_access.teams."web.community_images"': "team web.community_images: listed without a grant",
        },
    ),
    # lists
    (
        on(),
        on(
            "allowlist: {repositories: [{repository: bitnami/*}, {repository: grafana/grafana, reason: dashboards, "
            "expires_at: 2027-01-01T01:00:00+01:00, teams: [web, ops]}]}"
        ),
        {
            "image_access.allowlist.repositories[grafana/grafana]": (
                "allowlist entry grafana/grafana: added, for teams ops, web, until 2027-01-01T00:00:00Z, "
                'reason "dashboards"'
            ),
            "image_access.allowlist.repositories[bitnami/*]": (
                "allowlist entry bitnami/*: added, for everyone, without an end"
            ),
        },
    ),
    (
        on("allowlist: {repositories: [{repository: a/b, reason: x, teams: [web]}, {repository: c/d}]}"),
        on("allowlist: {repositories: [{repository: a/b, expires_at: 2027-01-01T00:00:00Z}]}"),
        {
            "image_access.allowlist.repositories[a/b]": (
                "allowlist entry a/b: for team web → for everyone, without an end → until 2027-01-01T00:00:00Z, "
                'reason "x" → without a reason'
            ),
            "image_access.allowlist.repositories[c/d]": "allowlist entry c/d: removed, for everyone, without an end",
        },
    ),
    (
        on("allowlist: {repositories: [{repository: a/b, teams: [web]}, {repository: a/b}]}"),
        on("allowlist: {repositories: [{repository: a/b}, {repository: a/b, teams: [ops]}, {repository: a/b}]}"),
        {
            "image_access.allowlist.repositories[a/b]": "allowlist entry a/b: for team web → for team ops",
            "image_access.allowlist.repositories[a/b]#3": "allowlist entry a/b: added, for everyone, without an end",
        },
    ),
    (
        on("allowlist: {repositories: [{repository: a/b, teams: [web]}, {repository: a/b}]}"),
        on("allowlist: {enabled: false, repositories: [{repository: a/b, teams: [web]}]}"),
        {
            "image_access.allowlist.enabled": "allowlist: on → off",
            "image_access.allowlist.repositories[a/b]#2": (
                "allowlist entry a/b: removed, for everyone, without an end (counts once the allowlist is on)"
            ),
        },
    ),
    (
        on("blocklist: [{repository: c/d}]"),
        on("blocklist: [{repository: library/centos, reason: end of life}]"),
        {
            "image_access.blocklist[c/d]": "blocklist entry c/d: removed",
            "image_access.blocklist[library/centos]": 'blocklist entry library/centos: added, reason "end of life"',
        },
    ),
    # the other sections
    (
        on(),
        on(rest="sign_in: {required: true, organization_access_tokens: allow}"),
        {
            "sign_in.required": "sign-in: optional → required",
            "sign_in.organization_access_tokens": "organization access tokens: denied → allowed",
        },
    ),
    (
        "",
        "sign_in: {required: true}",
        {"sign_in.required": "sign-in: optional → required (counts once image access or registry access is on)"},
    ),
    (
        "",
        "registry_access: {enabled: true}",
        {"registry_access.enabled": "registry access: off → on (enforced; no registry is allowed)"},
    ),
    (
        "registry_access: {enabled: true, allowed: [docker.io]}",
        "registry_access: {enabled: true, allowed: ['[::1]:5000']}",
        {
            "registry_access.allowed[docker.io]": "registry docker.io: allowed → denied",
            "registry_access.allowed[[::1]:5000]": "registry [::1]:5000: denied → allowed",
        },
    ),
    (
        "registry_access: {allowed: [docker.io]}",
        "",
        {
            "registry_access.allowed[docker.io]": (
                "registry docker.io: allowed → denied (counts once registry access is on)"
            )
        },
    ),
    (
        on(),
        on(rest="docker_hub: {namespaces: [acme-labs], mirrors: [mirror.gcr.io]}"),
        {
            "docker_hub.namespaces[acme-labs]": (
                "namespace acme-labs: the organization's own from now on; "
                "acme, which was that by default, is it no longer"
            ),
            "docker_hub.mirrors[mirror.gcr.io]": "mirror.gcr.io: declared as a mirror of Docker Hub",
        },
    ),
    (
        on(rest="docker_hub: {namespaces: [acme-labs], mirrors: [mirror.gcr.io]}"),
        on(),
        {
            "docker_hub.namespaces[acme-labs]": (
                "namespace acme-labs: no longer the organization's own; acme is it again, by default"
            ),
            "docker_hub.mirrors[mirror.gcr.io]": "mirror.gcr.io: no longer declared as a mirror of Docker Hub",
        },
    ),
    (
        on(),
        on(rest="docker_hub: {namespaces: [acme]}"),
        {"docker_hub.namespaces[acme]": "namespace acme: the organization's own as before"},
    ),
]


def without_order(policy: Policy) -> Any:
    """What a policy says, without the orders and repetitions that say nothing."""
    data: Any = policy_data(policy)
    data["image_access"]["allowlist"]["repositories"].sort(key=repr)
    data["image_access"]["blocklist"].sort(key=repr)
    data["docker_hub"]["mirrors"] = sorted(set(data["docker_hub"]["mirrors"]))
    return data


@st.composite
def neighbours(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies that differ in one setting or list, or in none."""
    data: Any = policy_data(draw(policies()))
    other: Any = policy_data(draw(policies()))
    section = draw(st.sampled_from([section for section in data if section != "organization"]))
    setting = draw(st.sampled_from(list(data[section])))
    changed = {**data, section: {**data[section], setting: other[section][setting]}}
    return parse_policy(data), parse_policy(changed)


@pytest.mark.parametrize(("before", "after", "meanings"), MEANINGS)
def test_meanings(before: str, after: str, meanings: dict[str, str]) -> None:
    """Every change is told at its path and in words, and nothing else is."""
    former, latter = (parse_policy_yaml(f"organization: acme\n{document}") for document in (before, after))

    assert meanings == {change.path: change.meaning for change in policy_changes(former, latter)}


def test_a_change_holds_both_written_forms() -> None:
    """`before` and `after` are the plain data that stood and stands in the document, None where there is nothing."""
    before = parse_policy_yaml("organization: acme\nimage_access: {blocklist: [{repository: c/d}]}")
    after = parse_policy_yaml(
        "organization: acme\nimage_access: {mode: monitor, teams: {web: {official_images: true}}}"
    )

    assert {change.path: (change.before, change.after) for change in policy_changes(before, after)} == {
        "image_access.mode": ("enforce", "monitor"),
        "image_access.blocklist[c/d]": ({"repository": "c/d", "reason": ""}, None),
        "image_access.teams.web.official_images": (None, True),
    }


def test_a_setting_without_words_of_its_own_is_told() -> None:
    """What no words were written for is told as its name and both values."""
    (change,) = policy_changes(Policy(organization="acme"), Policy(organization="globex"))

    assert (change.path, change.meaning) == ("organization", 'organization: "acme" → "globex"')


def test_a_policy_is_created() -> None:
    """A new policy is told as such, and after that what it says other than the default."""
    policy = parse_policy_yaml("organization: acme\nimage_access: {enabled: true}")
    created, *settings = policy_changes(None, policy)

    assert SettingChange(path="", before=None, after="acme", meaning="acme gets a policy") == created
    assert [change.path for change in settings] == ["image_access.enabled"]


def test_a_policy_is_deleted() -> None:
    """A policy that goes is told in one sentence."""
    meaning = "acme has no policy any more: nothing is restricted"
    deleted = SettingChange(path="", before="acme", after=None, meaning=meaning)

    assert policy_changes(parse_policy_yaml("organization: acme\nimage_access: {enabled: true}"), None) == (deleted,)
    assert policy_changes(None, None) == ()


@given(neighbours() | st.tuples(policies(), policies()))
def test_a_change_is_told_where_something_differs_and_nowhere_else(pair: tuple[Policy, Policy]) -> None:
    """Policies have no changes between them exactly if they say the same, orders that say nothing left aside."""
    before, after = pair
    changes = policy_changes(before, after)

    assert (without_order(before) == without_order(after)) == (changes == ())
    assert all(change.before != change.after for change in changes)
    assert policy_changes(before, before) == ()


@st.composite
def reordered(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Two policies that differ in orders, and in a mirror that stands twice."""
    policy, mirror = draw(policies()), Mirror("mirror.gcr.io", "someuser")
    access = policy.image_access
    allowed = RepositoryRules(draw(st.permutations(access.allowlist.repositories.rules)))
    blocked = RepositoryRules(draw(st.permutations(access.blocklist.rules)))
    mirrors = (*policy.docker_hub.mirrors, mirror)
    before = dataclasses.replace(policy, docker_hub=dataclasses.replace(policy.docker_hub, mirrors=mirrors))
    after = dataclasses.replace(
        policy,
        image_access=dataclasses.replace(
            access, allowlist=dataclasses.replace(access.allowlist, repositories=allowed), blocklist=blocked
        ),
        docker_hub=dataclasses.replace(policy.docker_hub, mirrors=(mirror, *mirrors[::-1])),
    )

    return before, after


@given(reordered())
def test_an_order_that_means_nothing_is_no_change(pair: tuple[Policy, Policy]) -> None:
    """Entries and mirrors in another order, and a mirror that stands twice, are no change."""
    assert policy_changes(*pair) == ()


@given(reordered(), identities, references, categories)
def test_policies_without_changes_decide_alike(
    pair: tuple[Policy, Policy],
    identity: Identity,
    reference: str,
    known: dict[HubRepository, CategoryEvidence],
) -> None:
    """What is no change changes no decision."""
    image = parse_reference(reference)
    before, after = (decide(["acme"], {"acme": policy}, identity, image, known, NOW) for policy in pair)

    if isinstance(before, Decision) and isinstance(after, Decision):
        assert before.effect is after.effect
    else:
        assert before == after


@given(policies() | st.none(), policies() | st.none())
def test_no_path_stands_twice(before: Policy | None, after: Policy | None) -> None:
    """Every change has a path of its own, and a meaning of one line without a full stop."""
    changes = policy_changes(before, after)

    assert len(changes) == len(changed_paths(before, after))
    assert all(re.fullmatch(r"[^\n]*[^.\n]", change.meaning) for change in changes)


@given(policies(), policies())
def test_the_way_back_is_the_same_changes(one: Policy, other: Policy) -> None:
    """From the second policy to the first the same settings change, the other way round."""

    def told(changes: tuple[SettingChange, ...], *, back: bool) -> Counter[str]:
        return Counter(
            repr((change.path.partition("#")[0], *(change.before, change.after)[:: -1 if back else 1]))
            for change in changes
        )

    assert told(policy_changes(one, other), back=False) == told(policy_changes(other, one), back=True)


def test_paths_of_two_writers() -> None:
    """Two writers who changed the same setting, or an entry for the same repository, meet at its path."""
    base, theirs, mine = (
        parse_policy_yaml(f"organization: acme\nimage_access: {{{settings}}}")
        for settings in (
            "mode: monitor",
            "allowlist: {repositories: [{repository: a/b}]}, help: Ask.",
            "mode: monitor, allowlist: {repositories: [{repository: c/d}, {repository: a/b, reason: mine}]}",
        )
    )

    assert changed_paths(base, theirs) & changed_paths(base, mine) == {"image_access.allowlist.repositories[a/b]"}
    assert changed_paths(None, theirs) & changed_paths(None, mine) >= {""}
