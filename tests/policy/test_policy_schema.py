"""The JSON Schema of policies: it refuses what an editor should mark, and never what the parser reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pullgate_policy import InvalidPolicyError, Policy, parse_policy, policy_data
from pullgate_policy.policy_schema import policy_schema
from pullgate_policy.yaml_text import load_yaml
from tests.policy.strategies import policies

SCHEMA = policy_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
DOCUMENTATION = Path(__file__).parents[2] / "docs/policies.md"

WRONG = [
    "",
    "[]",
    "acme",
    "{}",
    "image_access: {}",
    # unknown keys, at each level
    "{organization: acme, image_acces: {}}",
    "{organization: acme, image_access: {enable: true}}",
    "{organization: acme, image_access: {allow: {comunity_images: true}}}",
    "{organization: acme, image_access: {allowlist: {entries: []}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [{repository: a/b, expires: null}]}}}",
    "{organization: acme, image_access: {blocklist: [{repository: a/b, teams: [web]}]}}",
    "{organization: acme, image_access: {teams: {web: {all_images: true}}}}",
    "{organization: acme, sign_in: {enabled: true}}",
    "{organization: acme, registry_access: {registries: [ghcr.io]}}",
    "{organization: acme, docker_hub: {namespace: acme}}",
    # wrong types
    "organization: null",
    "organization: 12",
    "organization: [acme]",
    "{organization: acme, image_access: true}",
    "{organization: acme, image_access: []}",
    "{organization: acme, image_access: {enabled: yes}}",
    "{organization: acme, image_access: {enabled: null}}",
    "{organization: acme, image_access: {enabled: 1}}",
    "{organization: acme, image_access: {mode: null}}",
    "{organization: acme, image_access: {help: null}}",
    "{organization: acme, image_access: {allow: {sponsored_open_source_images: maybe}}}",
    "{organization: acme, image_access: {allowlist: {repositories: {}}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [a/b]}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [null]}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [{repository: a/b, expires_at: 2027}]}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [{repository: a/b, teams: web}]}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [{reason: none}]}}}",
    "{organization: acme, image_access: {teams: [web]}}",
    "{organization: acme, registry_access: {allowed: ghcr.io}}",
    "{organization: acme, docker_hub: {mirrors: [null]}}",
    # words that are none
    "{organization: acme, image_access: {mode: montior}}",
    "{organization: acme, image_access: {mode: ENFORCE}}",
    "{organization: acme, image_access: {on_unknown_category: true}}",
    "{organization: acme, sign_in: {organization_access_tokens: denied}}",
    # a grant that does nothing
    "{organization: acme, image_access: {teams: {web: {community_images: false}}}}",
    "{organization: acme, image_access: {teams: {web: {sponsored_open_source_images: null}}}}",
    # texts whose grammar a pattern tells
    "organization: ''",
    "organization: Acme",
    f"organization: {'a' * 256}",
    f"{{organization: acme, image_access: {{help: {'a' * 1001}}}}}",
    "{organization: acme, image_access: {teams: {' web': {}}}}",
    "{organization: acme, image_access: {teams: {'': {}}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [{repository: 'a/b:'}]}}}",
    "{organization: acme, image_access: {allowlist: {repositories: [{repository: 'a/b@sha256:00'}]}}}",
    "{organization: acme, image_access: {blocklist: [{repository: 'a/b:1'}]}}",
    "{organization: acme, registry_access: {allowed: ['*.example.com']}}",
    "{organization: acme, registry_access: {allowed: [ghcr.io/a]}}",
    "{organization: acme, docker_hub: {namespaces: [a/b]}}",
    "{organization: acme, docker_hub: {mirrors: [harbor.example.com/]}}",
]

ODD = [
    "organization: no",
    "organization: 'a__b--c.d'",
    f"organization: {'a' * 255}",
    "{organization: acme, image_access: null, sign_in: null, registry_access: null, docker_hub: null}",
    "{organization: acme, image_access: {allow: null, allowlist: null, blocklist: null, teams: null}}",
    "{organization: acme, image_access: {allow: {sponsored_open_source_images: null}}}",
    "{organization: acme, image_access: {allowlist: {repositories: null}}}",
    "{organization: acme, image_access: {teams: {web: null, Data Science / EU.: {}, on: {community_images: true}}}}",
    f"{{organization: acme, image_access: {{help: {'ü' * 1000}}}}}",
    '{organization: acme, image_access: {help: "two\\nlines"}}',
    "{organization: acme, registry_access: {allowed: null}, docker_hub: {namespaces: null, mirrors: null}}",
    "{organization: acme, registry_access: {allowed: [GHCR.IO, ghcr.io, 'localhost:5000', '[::1]:443', '10.0.0.1']}}",
    "{organization: acme, docker_hub: {namespaces: [acme, acme, a_b], mirrors: ['[::1]:5000/a/b.c', LOCALHOST]}}",
    "{organization: acme, image_access: {blocklist: [{repository: docker.io/a}, {repository: Index.Docker.IO/a/b}]}}",
    *(
        f"{{organization: acme, image_access: {{allowlist: {{repositories: [{{repository: '{repository}'}}]}}}}}}"
        for repository in ("nginx", "a/b/c", "bitnami/*", "docker.io/bitnami/*", "a/b:*", "a/*:1.*-ALPINE", "nginx:-")
    ),
    *(
        "{organization: acme, image_access: {allowlist: {repositories: "
        f"[{{repository: a/b, reason: '', teams: null, expires_at: {moment}}}]}}}}}}"
        for moment in (
            "null",
            "2027-01-01T00:00:00Z",
            "2027-01-01 00:00:00.5+02:00",
            "'20270101T000000+0530'",
            "2027-W01-1T00:00Z",
        )
    ),
]


def in_allowlist(entry: dict[str, Any]) -> dict[str, Any]:
    """A document whose allowlist has one entry."""
    return {"organization": "acme", "image_access": {"allowlist": {"repositories": [entry]}}}


PLACES = {
    "organization": lambda text: {"organization": text},
    "help": lambda text: {"organization": "acme", "image_access": {"help": text}},
    "team": lambda text: {"organization": "acme", "image_access": {"teams": {text: {}}}},
    "allowed repository": lambda text: in_allowlist({"repository": text}),
    "team of an entry": lambda text: in_allowlist({"repository": "a/b", "teams": [text]}),
    "blocked repository": lambda text: {"organization": "acme", "image_access": {"blocklist": [{"repository": text}]}},
    "registry": lambda text: {"organization": "acme", "registry_access": {"allowed": [text]}},
    "namespace": lambda text: {"organization": "acme", "docker_hub": {"namespaces": [text]}},
    "mirror": lambda text: {"organization": "acme", "docker_hub": {"mirrors": [text]}},
}
"""Where a text with a grammar of its own can stand."""


def parses(data: object) -> bool:
    """Whether the parser reads it."""
    try:
        parse_policy(data)
    except InvalidPolicyError:
        return False
    return True


def settings(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting in a schema with its path."""
    for name, setting in schema.get("properties", {}).items():
        yield f"{path}{name}", setting
        yield from settings(setting, f"{path}{name}.")
    for keyword in ("items", "additionalProperties"):
        if schema.get(keyword):
            yield from settings(schema[keyword], path)


SETTINGS = dict(settings(SCHEMA))


def test_the_schema_is_one() -> None:
    """The schema keeps to draft 2020-12 and says which draft that is."""
    Draft202012Validator.check_schema(SCHEMA)

    assert Draft202012Validator.META_SCHEMA["$id"] == SCHEMA["$schema"]


@given(policies())
def test_every_policy_as_written_is_valid(policy: Policy) -> None:
    """Whatever is written out is valid."""
    VALIDATOR.validate(policy_data(policy))


def test_the_documented_policy_is_valid() -> None:
    """The example of docs/policies.md is valid."""
    example = re.search(r"```yaml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert example is not None

    VALIDATOR.validate(load_yaml(example[1]))


@pytest.mark.parametrize("document", WRONG)
def test_wrong_documents_are_refused(document: str) -> None:
    """What an editor can mark as wrong is wrong for the parser, too."""
    data = load_yaml(document)

    assert not parses(data)
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize("document", ODD)
def test_odd_documents_are_valid(document: str) -> None:
    """What the parser reads is valid, however odd."""
    data = load_yaml(document)

    assert parses(data)
    VALIDATOR.validate(data)


@pytest.mark.parametrize("place", PLACES)
@given(text=st.text("abA0._-/*:@[] \né", max_size=6))
def test_no_text_that_is_read_is_refused(place: str, text: str) -> None:
    """A pattern admits every text that the parser reads in its place."""
    data = PLACES[place](text)

    assert VALIDATOR.is_valid(data) or not parses(data)


@pytest.mark.parametrize("path", SETTINGS)
def test_every_setting_is_described(path: str) -> None:
    """Every setting has a sentence that an editor can show."""
    assert re.fullmatch(r"[A-Z][^\n]+\.", SETTINGS[path]["description"])


@pytest.mark.parametrize("path", SETTINGS)
def test_defaults_and_examples_are_valid(path: str) -> None:
    """What the schema gives as default or example for a setting is valid for it."""
    setting = SETTINGS[path]
    validator = Draft202012Validator(setting)

    for value in [*setting.get("examples", []), *([setting["default"]] if "default" in setting else [])]:
        validator.validate(value)


def test_defaults_are_those_of_the_parser() -> None:
    """A document that spells out every default of the schema means what the shortest one means."""

    def spelled_out(schema: Any) -> Any:
        written = {}
        for name, setting in schema["properties"].items():
            if "default" in setting:
                written[name] = setting["default"]
            elif "properties" in setting:
                written[name] = spelled_out(setting)
        return written

    assert Policy(organization="acme") == parse_policy({"organization": "acme", **spelled_out(SCHEMA)})
