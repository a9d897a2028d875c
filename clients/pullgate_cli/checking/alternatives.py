"""What would be allowed in place of an image that is denied. Every image that is named was asked about, and allowed."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from pullgate_cli.checking.deciding import Decider
from pullgate_cli.checking.report import Advice
from pullgate_policy import Category, Decision, Effect, Policy, Reason, Reference, parse_reference
from pullgate_policy.answer import Answer
from pullgate_policy.reference import DEFAULT_TAG, DOCKER_HUB

_OTHER_IMAGES_HELP = frozenset(
    {Reason.REGISTRY_NOT_ALLOWED, Reason.BLOCKLISTED, Reason.CATEGORY_UNKNOWN, Reason.CATEGORY_NOT_ALLOWED}
)
"""Denials that are about the image; the others are about who pulls."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    reference: Reference
    why: str


def advise(denials: Iterable[Decision], decider: Decider) -> Mapping[Reference, Advice]:
    """What to say about each denied image, as far as there is something to say."""
    denied = {decision.reference: decision for decision in denials if decision.reason in _OTHER_IMAGES_HELP}
    candidates = {
        reference: list(_candidates(decision, decider.policy_of(decision.organization)))
        for reference, decision in denied.items()
    }
    asked = list(dict.fromkeys(candidate.reference for each in candidates.values() for candidate in each))
    results = zip(asked, decider.decide_all(asked), strict=True) if asked else ()
    allowed = {
        reference
        for reference, result in results
        # What only monitor mode lets through is no way out.
        if isinstance(result, Answer) and result.decision.policy_effect is Effect.ALLOW
    }
    advice: dict[Reference, Advice] = {}
    for reference, decision in denied.items():
        found = next((candidate for candidate in candidates[reference] if candidate.reference in allowed), None)
        if found is not None:
            # Another repository need not have the tag, so only one that its entry names is said.
            name = found.reference.familiar.removesuffix(f":{DEFAULT_TAG}")
            advice[reference] = Advice(f"{name}, {found.why}", name)
        elif said := _what_is_allowed(decision, decider.policy_of(decision.organization), decider.teams):
            advice[reference] = Advice(said)
    return advice


@functools.cache
def official_images() -> frozenset[str]:
    """The names of Docker Official Images that are known here; the list says of which day it is."""
    text = resources.files(__package__).joinpath("official_images.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.split("\n") if line and not line.startswith("#"))


def _candidates(decision: Decision, policy: Policy | None) -> Iterator[_Candidate]:
    """Other images of the same name, the nearest first."""
    denied = decision.reference
    name = denied.path.rpartition("/")[2]
    if name in official_images():
        official = parse_reference(name)
        if decision.repository is None or official.path != decision.repository.path:
            yield _Candidate(official, "the official image of that name")
    if policy is not None and policy.image_access.allowlist.enabled:
        yield from _allowlisted(denied, name, policy)


def _allowlisted(denied: Reference, name: str, policy: Policy) -> Iterator[_Candidate]:
    for entry in policy.image_access.allowlist.repositories.rules:
        path, tags = entry.repository.path, entry.repository.tags
        if path.rpartition("/")[2] != name:
            continue
        tag = next((tag for tag in (denied.tag, tags) if tag and entry.repository.matches_tag(tag, None)), None)
        if tags is not None and (tag is None or "*" in tag):
            continue
        reference = Reference(registry=DOCKER_HUB, path=path, tag=DEFAULT_TAG if tags is None else tag, digest=None)
        if reference != denied:
            yield _Candidate(reference, f"which is on the allowlist of organization {policy.organization}")


def _what_is_allowed(decision: Decision, policy: Policy | None, teams: frozenset[str]) -> str:
    """Which kinds of images are allowed, in words; empty where that is not known."""
    if policy is None:
        return ""
    if decision.reason is Reason.REGISTRY_NOT_ALLOWED:
        registries = sorted(policy.registry_access.allowed)
        return f"an image of {_listed(registries)}" if registries else ""
    access = policy.image_access
    granted = (access.allow, *(access.teams[team] for team in sorted(teams & access.teams.keys())))
    kinds = [
        "official" if category is Category.OFFICIAL else category.value
        for category in (Category.ORGANIZATION, Category.OFFICIAL, Category.VERIFIED_PUBLISHER, Category.COMMUNITY)
        if any(settings.setting_for(category, None)[1] for settings in granted)
    ]
    if not kinds:
        return f"organization {policy.organization} allows only images on its allowlist"
    return f"organization {policy.organization} allows {_listed(kinds)} images"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
