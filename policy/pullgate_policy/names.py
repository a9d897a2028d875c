"""The grammar of names and notes in policies: each reads a text, or raises ValueError saying what it is not."""

from pullgate_policy.errors import shown
from pullgate_policy.reference import (
    DOCKER_HUB,
    OFFICIAL_NAMESPACE,
    canonical_registry,
    is_path_component,
    is_read_as_registry,
    is_repository_path,
)

MAX_NOTE_LENGTH = 1000
"""Characters of a help text or a reason: it is shown in a terminal."""


def organization_name(text: str) -> str:
    """An organization's name. It is also a Docker Hub namespace, so it follows that grammar."""
    if not text:
        raise ValueError("is empty; write the organization's name, such as acme")
    if text == OFFICIAL_NAMESPACE:
        raise ValueError("is the namespace of Docker Official Images, and no organization's")
    if not is_path_component(text):
        if is_path_component(text.lower()):
            raise ValueError(f"is not lowercase; write {shown(text.lower())}")
        raise ValueError("is not an organization's name: lowercase letters and digits, separated by . _ __ or dashes")
    return text


def namespace_name(text: str) -> str:
    """A namespace of Docker Hub."""
    if is_read_as_registry(text):
        raise ValueError("is read as a registry, and no namespace of Docker Hub is")
    if not is_path_component(text):
        raise ValueError("is not a Docker Hub namespace: lowercase letters and digits, separated by . _ __ or dashes")
    return text


def own_namespace(text: str) -> str:
    """A namespace of Docker Hub that can be an organization's own."""
    if text == OFFICIAL_NAMESPACE:
        raise ValueError("is the namespace of Docker Official Images, and no organization's")
    return namespace_name(text)


def hub_name(text: str) -> str:
    """A namespace of Docker Hub or a repository in one, such as grafana or grafana/loki."""
    if not is_repository_path(text) or is_read_as_registry(text.partition("/")[0]):
        raise ValueError("is not a namespace or repository of Docker Hub, such as grafana or grafana/loki")
    return text


def without_docker_hub(text: str) -> str:
    """A name on Docker Hub as pins and sources have it: people may write docker.io/ before it."""
    return text.removeprefix(f"{DOCKER_HUB}/")


def registry_host(text: str) -> str:
    """A registry's `host[:port]`, in its canonical spelling."""
    registry = canonical_registry(text)
    if registry is None:
        raise ValueError("is not a registry host, such as ghcr.io or localhost:5000")
    return registry


def team_name(text: str) -> str:
    """A team's name: anything that can be read, as identity providers name their groups freely."""
    if not text.strip() or not text.isprintable() or text != text.strip():
        raise ValueError("is not a team's name: it is empty, or has white space around it or control characters in it")
    return text


def short_note(text: str) -> str:
    """A text for people, shown as it is."""
    if len(text) > MAX_NOTE_LENGTH:
        raise ValueError(f"has {len(text)} characters, and at most {MAX_NOTE_LENGTH} are allowed")
    if any(not character.isprintable() and character != "\n" for character in text):
        raise ValueError("has control characters, which a terminal would act on")
    return text
