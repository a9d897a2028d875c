"""Policy documents: what is right becomes a value, what is wrong is told with its path, and nothing is guessed."""

import pytest
from hypothesis import given

from pullgate.v1 import mapping, policy_pb2
from pullgate_policy import (
    InvalidPolicyError,
    Policy,
    Preset,
    parse_policy,
    parse_policy_yaml,
    policy_data,
    policy_yaml,
)
from pullgate_policy.presets import preset_policy
from tests.policy.strategies import policies

PROBLEMS = [
    # document, every problem as it is told
    ("", ["the document is empty; begin with organization: NAME"]),
    ("- x", ["expected a section with keys, got a list"]),
    ("{}", ["organization: is missing"]),
    ("organisation: acme", ["organisation: unknown key; did you mean organization?", "organization: is missing"]),
    ("organization: Acme", ['organization: "Acme" is not lowercase; write "acme"']),
    ("organization: ''", ['organization: "" is empty; write the organization\'s name, such as acme']),
    (
        "organization: 12",
        ['organization: expected a text, got the number 12; put it in quotes ("…") if it is a text'],
    ),
    ("organization: [acme]", ["organization: expected a text, got a list"]),
    (
        "organization: acme\nimage_access: {enabled: yes}",
        ['image_access.enabled: expected true or false, got the text "yes"'],
    ),
    (
        "organization: acme\nimage_access: {enabled: }",
        ["image_access.enabled: expected true or false, got nothing"],
    ),
    (
        "organization: acme\nimage_access: {mode: montior}",
        ['image_access.mode: the text "montior" is not a choice; did you mean monitor?'],
    ),
    (
        "organization: acme\nimage_access: {on_unknown_category: true}",
        ["image_access.on_unknown_category: true is not a choice; known here: deny, allow"],
    ),
    (
        "organization: acme\nimage_access: {allow: {comunity_images: true, official_images: 1}}",
        [
            "image_access.allow.comunity_images: unknown key; did you mean community_images?",
            "image_access.allow.official_images: expected true or false, got the number 1",
        ],
    ),
    (
        "organization: acme\nimage_access: {allowlist: {repositories: [{repository: a/b}, {}, {repository: a/b, "
        "expires_at: 2027-01-01}]}}",
        [
            "image_access.allowlist.repositories[1].repository: is missing",
            'image_access.allowlist.repositories[2].expires_at: the text "2027-01-01" has no time zone; '
            "write it as 2027-01-01T00:00:00Z",
        ],
    ),
    (
        "organization: acme\nimage_access: {allowlist: {repositories: [{repository: a/b, expires_at: soon}]}}",
        [
            'image_access.allowlist.repositories[0].expires_at: the text "soon" is not a time such as '
            "2027-01-01T00:00:00Z"
        ],
    ),
    (
        "organization: acme\nimage_access: {allowlist: {repositories: [{repository: ghcr.io/a/b}, {repository: '*'}, "
        "{repository: 'a/*/c'}, {repository: 'a/b:'}, {repository: 'a/b@sha256:00'}, {repository: A/b}]}}",
        [
            'image_access.allowlist.repositories[0].repository: "ghcr.io/a/b" lies on ghcr.io; these lists hold '
            "Docker Hub repositories",
            'image_access.allowlist.repositories[1].repository: "*" has a * that does not stand for a whole '
            "namespace's repositories, as in bitnami/*",
            'image_access.allowlist.repositories[2].repository: "a/*/c" has a * that does not stand for a whole '
            "namespace's repositories, as in bitnami/*",
            'image_access.allowlist.repositories[3].repository: "a/b:" has no tag pattern after the colon, such as 1.* '
            "(letters, digits, _ . - and *)",
            'image_access.allowlist.repositories[4].repository: "a/b@sha256:00" names a digest; entries name '
            "repositories, and may narrow them by tag",
            'image_access.allowlist.repositories[5].repository: "A/b" lies on A; these lists hold Docker Hub '
            "repositories",
        ],
    ),
    (
        "organization: acme\nimage_access: {blocklist: [{repository: 'a/b:1'}, {repository: a/b, teams: [x]}]}",
        [
            'image_access.blocklist[0].repository: "a/b:1" would be passed by pulling the same image by digest; '
            "block all of a/b",
            "image_access.blocklist[1].teams: unknown key; known here: reason, repository",
        ],
    ),
    (
        "organization: acme\nimage_access: {teams: {web: {community_images: false}, '': {}}}",
        [
            "image_access.teams.web.community_images: a team's grants only widen, so false does nothing; remove it",
            'image_access.teams.: "" is not a team\'s name: it is empty, or has white space around it or control '
            "characters in it",
        ],
    ),
    (
        'organization: acme\nimage_access: {help: "\\e[31m"}',
        ["image_access.help: '\\x1b[31m' has control characters, which a terminal would act on"],
    ),
    (
        "organization: acme\nregistry_access: {allowed: ['*.acme.io', ghcr.io/a]}",
        [
            'registry_access.allowed[0]: "*.acme.io" is not a registry host, such as ghcr.io or localhost:5000',
            'registry_access.allowed[1]: "ghcr.io/a" is not a registry host, such as ghcr.io or localhost:5000',
        ],
    ),
    (
        "organization: acme\ndocker_hub: {namespaces: [a/b], mirrors: [docker.io, 'x y', harbor.io/]}",
        [
            'docker_hub.namespaces[0]: "a/b" is not a Docker Hub namespace: lowercase letters and digits, separated by '
            ". _ __ or dashes",
            'docker_hub.mirrors[0]: "docker.io" is Docker Hub itself, which needs no declaration',
            'docker_hub.mirrors[1]: "x y" is not a registry host, optionally followed by a path, such as '
            "harbor.example.com/hub",
            'docker_hub.mirrors[2]: "harbor.io/" does not end in a repository path, such as harbor.example.com/hub',
        ],
    ),
    # YAML itself
    ("organization: acme\norganization: globex", ['line 2, column 1: the key "organization" stands twice']),
    (
        "organization: &a acme",
        ["line 1, column 15: anchors and aliases (& and *) are not read; write the value out, or put it in quotes"],
    ),
    ("organization: [", ["line 2, column 1: did not find expected node content"]),
    ("[" * 50, ["line 1, column 21: sections are nested more than 20 deep"]),
    ("? [a]\n: b", ["line 1, column 3: a key is not a plain text"]),
    *(
        (f"organization: {value}", ["line 1, column 15: tags (!) are not read"])
        for value in ("!!python/object:os.system acme", "!!bool maybe", "!!timestamp foo", "!!map [a]", "! a")
    ),
    (
        "organization: acme\nimage_access: {allowlist: {repositories: [{repository: a/b, "
        "expires_at: 9999-12-31T23:59:59-05:00}, {repository: a/b, expires_at: 0001-01-01T00:00:00+05:00}]}}",
        [
            'image_access.allowlist.repositories[0].expires_at: the text "9999-12-31T23:59:59-05:00" is out of range',
            'image_access.allowlist.repositories[1].expires_at: the text "0001-01-01T00:00:00+05:00" is out of range',
        ],
    ),
    (
        "organization: acme\nimage_access: {blocklist: [{repository: 'ghcr.io/*'}, {repository: 'index.docker.io/*'}, "
        "{repository: 'localhost/*'}]}",
        [
            f'image_access.blocklist[{index}].repository: "{host}/*" is not a namespace of Docker Hub followed by /*'
            for index, host in enumerate(("ghcr.io", "index.docker.io", "localhost"))
        ],
    ),
    (
        "organization: acme\ndocker_hub: {namespaces: [library, ghcr.io]}",
        [
            'docker_hub.namespaces[0]: "library" is the namespace of Docker Official Images, and no organization\'s',
            'docker_hub.namespaces[1]: "ghcr.io" is read as a registry, and no namespace of Docker Hub is',
        ],
    ),
    ("organization: library", ["is the namespace of Docker Official Images, and no organization's"]),
]


@pytest.mark.parametrize(("document", "told"), PROBLEMS)
def test_problems(document: str, told: list[str]) -> None:
    """Every problem of a document is told, each at its path and with what to do."""
    with pytest.raises(InvalidPolicyError) as raised:
        parse_policy_yaml(document)
    problems = [str(problem) for problem in raised.value.problems]

    assert len(told) == len(problems)
    for expected, problem in zip(told, problems, strict=True):
        assert expected in problem


def test_words_of_yaml_1_1_are_texts() -> None:
    """`no`, `on` and dates are texts, as in YAML 1.2: an organization may be called `no`."""
    policy = parse_policy_yaml("organization: no\nimage_access: {teams: {on: {community_images: true}}}")

    assert (policy.organization, list(policy.image_access.teams)) == ("no", ["on"])


def test_what_is_left_out_takes_its_default() -> None:
    """A policy of one line restricts nothing, and its defaults are Docker's."""
    policy = parse_policy_yaml("organization: acme")

    assert Policy(organization="acme") == policy
    assert not policy.image_access.enabled
    assert policy.image_access.allow.organization_images
    assert not policy.image_access.allow.official_images
    assert frozenset({"acme"}) == policy.namespaces


def test_empty_sections_are_sections() -> None:
    """A list or section whose entries are all commented out is an empty one."""
    document = (
        "organization: acme\nimage_access:\n  allowlist:\n    repositories:\n  blocklist:\n  teams:\ndocker_hub:\n"
    )

    assert Policy(organization="acme") == parse_policy_yaml(document)


@given(policies())
def test_every_policy_survives_being_written(policy: Policy) -> None:
    """A policy is the same after YAML, after plain data and after a message."""
    assert policy == parse_policy_yaml(policy_yaml(policy))
    assert policy == parse_policy(policy_data(policy))
    assert policy == mapping.policy_from_message(mapping.policy_to_message(policy))


def test_a_message_is_told_the_same_problems_at_the_same_paths() -> None:
    """A policy that comes as a message is checked by the same rules as a document."""
    message = policy_pb2.Policy(organization="acme")
    message.image_access.allowlist.repositories.add(repository="*")
    message.image_access.mode = 7  # type: ignore[assignment]
    with pytest.raises(InvalidPolicyError) as raised:
        mapping.policy_from_message(message)

    assert {"image_access.mode", "image_access.allowlist.repositories[0].repository"} == {
        problem.path for problem in raised.value.problems
    }


def test_a_time_out_of_range_is_told() -> None:
    """A timestamp that is no moment is a problem of the policy, not a failure."""
    message = policy_pb2.Policy(organization="acme")
    message.image_access.allowlist.repositories.add(repository="a/b").expires_at.seconds = 10**17
    with pytest.raises(InvalidPolicyError, match="out of range"):
        mapping.policy_from_message(message)


@pytest.mark.parametrize("preset", Preset)
def test_presets_are_valid_documents(preset: Preset) -> None:
    """Every preset is a policy that is enabled and allows official images, and no preset is narrower than the last."""
    policy = preset_policy(preset, "acme")

    assert policy == parse_policy_yaml(policy_yaml(policy))
    assert policy.image_access.enabled
    assert policy.image_access.allow.official_images
    assert (preset is Preset.OPEN) == policy.image_access.allow.community_images
