"""The references in a project of Compose files: what its services run in, mount and are built from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pullgate_finders.compose.building import Building
from pullgate_finders.compose.interpolation import Variables
from pullgate_finders.compose.loading import Project
from pullgate_finders.compose.parts import Branch, Leaf, Part
from pullgate_finders.found import Finding, Found, Kind, found
from pullgate_finders.port import Search
from pullgate_finders.values import Known, Unknown

_PULLED_EACH_TIME = re.compile(r"always|daily|weekly|every_.+")
_BUILT_INSTEAD = frozenset({"build", "never"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    name: str
    branch: Branch

    @property
    def within(self) -> str:
        return f"service {self.name}"

    @property
    def pull_policy(self) -> str:
        """As it is written; empty where it is not, or not known."""
        leaf = self.branch.leaf("pull_policy")
        return leaf.text.value if leaf is not None and isinstance(leaf.text, Known) else ""


def references(project: Project, search: Search, variables: Variables) -> Iterator[Finding]:
    """What a project pulls. Services of all profiles count; those that are off by default, under that condition.

    Args:
        variables: of the project, for build arguments that are given without a value.
    """
    yield from project.findings
    enabled = _enabled_profiles(variables)
    for name, branch in (*project.services.branches(), *project.others):
        service = _Service(name=name, branch=branch)
        condition = _condition_of_profiles(branch, enabled)
        for finding in _of_service(service, search, variables):
            yield under(finding, condition)
    for name, model in project.models.branches():
        yield from _of_leaf(model.leaf("model"), Kind.MODEL, f"model {name}")


def under(finding: Finding, condition: str) -> Finding:
    """A finding that holds only under one more condition."""
    if not condition or not isinstance(finding, Found):
        return finding
    return replace(finding, condition=", ".join(filter(None, (condition, finding.condition))))


def _of_service(service: _Service, search: Search, variables: Variables) -> Iterator[Finding]:
    branch, within = service.branch, service.within
    yield from _image(service)
    for volume in _volumes(branch):
        kind = volume.leaf("type")
        if kind is not None and kind.text == Known("image"):
            yield from _of_leaf(volume.leaf("source"), Kind.VOLUME, within)
    for hook in branch.items("pre_start"):
        if isinstance(hook, Branch):
            yield from _of_leaf(hook.leaf("image"), Kind.IMAGE, within)
    yield from _provided_model(branch, within)
    build = branch.branch("build")
    if build is not None:
        building = Building(
            service=service.name, at=branch.at, directory=branch.directory, build=build, variables=variables
        )
        yield from building.references(search)


def _image(service: _Service) -> Iterator[Finding]:
    """The image of a service; of one that is built it is the name of the outcome, which Compose may try to pull first.

    (compose-spec 05-services.md pull_policy and build.md "Using build and image".)
    """
    condition = ""
    is_built = service.branch.branch("build") is not None
    if is_built and service.pull_policy in _BUILT_INSTEAD:
        return
    if is_built and not _PULLED_EACH_TIME.fullmatch(service.pull_policy):
        condition = "only where it is pulled instead of being built"
    elif service.pull_policy == "never":
        condition = "only where it is pulled by hand, as pull_policy is never"
    leaf = service.branch.leaf("image")
    if is_built and leaf is not None and isinstance(leaf.text, Known) and leaf.text.value == "":
        return
    for finding in _of_leaf(leaf, Kind.IMAGE, service.within):
        yield under(finding, condition)


def _volumes(branch: Branch) -> Iterator[Branch]:
    """The volumes in their long form; of those with one target the last one counts (compose-go override/uncity.go)."""
    by_target: dict[object, Part] = {}
    for volume in branch.items("volumes"):
        by_target[_target(volume)] = volume
    for volume in by_target.values():
        if isinstance(volume, Branch):
            yield volume


def _target(volume: Part) -> object:
    if isinstance(volume, Branch):
        leaf = volume.leaf("target")
        return leaf.text.value if leaf is not None and isinstance(leaf.text, Known) else volume
    if isinstance(volume, Leaf) and isinstance(volume.text, Known):
        fields = volume.text.value.split(":")
        return fields[1] if len(fields) > 1 else fields[0]
    return volume


def _provided_model(branch: Branch, within: str) -> Iterator[Finding]:
    """The model of a provider that serves models, which was how to name one before `models`."""
    provider = branch.branch("provider")
    kind = provider.leaf("type") if provider else None
    options = provider.branch("options") if provider else None
    if kind is not None and kind.text == Known("model") and options is not None:
        yield from _of_leaf(options.leaf("model"), Kind.MODEL, within)


def _of_leaf(leaf: Leaf | None, kind: Kind, within: str) -> Iterator[Finding]:
    """The reference that a text is; none where it comes to nothing, whatever is set."""
    if leaf is None:
        return
    text = leaf.text
    if isinstance(text, Known) and text.value == "":
        if not text.overridable:
            return
        text = Unknown("it comes to nothing unless its variables are set; set them with --env or in .env", text.how)
    yield found(leaf.place, kind, leaf.raw, text, how=leaf.scope.how, within=within)


def _enabled_profiles(variables: Variables) -> frozenset[str]:
    """The profiles that are on by default, as COMPOSE_PROFILES says in `.env`."""
    value = variables.get("COMPOSE_PROFILES")
    return frozenset(map(str.strip, value.value.split(","))) if isinstance(value, Known) else frozenset()


def _condition_of_profiles(branch: Branch, enabled: frozenset[str]) -> str:
    leaves = [leaf for leaf in branch.items("profiles") if isinstance(leaf, Leaf)]
    names = [leaf.text.value if isinstance(leaf.text, Known) else leaf.raw for leaf in leaves]
    if not names or "*" in enabled or not enabled.isdisjoint(names):
        return ""
    return f"only with profile {' or '.join(dict.fromkeys(names))}"
