"""What differs between two policies, by path and in words for who has to judge it.

The written forms are compared, so that no setting can be forgotten: one without words of its own here is told as
`NAME: before → after`. Equal policies have no changes, and policies without changes between them decide alike: they
differ at most in the order of allowlist entries, blocklist entries and mirrors, or in a mirror that stands twice. (Of
several entries that allow or block an image, an answer names the first.)
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, zip_longest

from pullgate_policy.document import Plain
from pullgate_policy.errors import shown
from pullgate_policy.policy import AllowedCategories, Mode, Policy, TeamGrant
from pullgate_policy.policy_document import policy_data


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChange:
    """One setting, or one entry of a list, that differs.

    Attributes:
        path: where, as `image_access.allow.community_images`; an entry of a list stands under its own name, as
            `image_access.allowlist.repositories[grafana/grafana]`, and a further entry of the same name with its
            number among these, as `…[grafana/grafana]#2`; a team's name with a dot in it stands in quotes. Empty for
            the policy as a whole.
        before: the written form; None where there was nothing.
        after: the written form; None where there is nothing.
        meaning: what it means, a sentence without a full stop.
    """

    path: str
    before: Plain
    after: Plain
    meaning: str


def policy_changes(before: Policy | None, after: Policy | None) -> tuple[SettingChange, ...]:
    """What differs between two policies of an organization, in the order in which policies are written.

    None stands for no policy. A policy that is created has a change for the policy as a whole and one for each setting
    that differs from its default; a policy that is deleted has the one for the whole. No path stands twice.
    """
    if after is None:
        return () if before is None else (_deleted(before.organization),)
    if before is None:
        return (_created(after.organization), *policy_changes(Policy(organization=after.organization), after))
    return tuple(
        SettingChange(
            path=difference.path,
            before=difference.before,
            after=difference.after,
            meaning=_meaning(difference, before, after) + _condition(difference.keys, after),
        )
        for difference in _differences((), "", policy_data(before), policy_data(after))
    )


def changed_paths(before: Policy | None, after: Policy | None) -> frozenset[str]:
    """The paths of `policy_changes`: what two writers changed in the same policy stands in the sets of both.

    The empty path, of a policy that is created or deleted, concerns every setting, and so collides with whatever
    another writer changed.
    """
    return frozenset(change.path for change in policy_changes(before, after))


def _created(organization: str) -> SettingChange:
    return SettingChange(path="", before=None, after=organization, meaning=f"{organization} gets a policy")


def _deleted(organization: str) -> SettingChange:
    meaning = f"{organization} has no policy any more: nothing is restricted"
    return SettingChange(path="", before=organization, after=None, meaning=meaning)


@dataclass(frozen=True, slots=True)
class _Difference:
    """A change before it is put into words; `keys` lead to it, an entry's name being the last."""

    keys: tuple[str, ...]
    path: str
    before: Plain
    after: Plain


def _differences(keys: tuple[str, ...], path: str, before: Plain, after: Plain) -> Iterator[_Difference]:
    if before == after:
        return
    match before, after:
        case list(), list():
            yield from _entry_differences(keys, path, before, after)
        # A section that is not there has no settings; one that is there and empty differs from that as a whole.
        case ((dict() | None), (dict() | None)) if before or after:
            former, latter = before or {}, after or {}
            for key in {**former, **latter}:
                written = f'"{key}"' if "." in key else key
                below = f"{path}.{written}" if path else written
                yield from _differences((*keys, key), below, former.get(key), latter.get(key))
        case _:
            yield _Difference(keys, path, before, after)


def _entry_differences(
    keys: tuple[str, ...], path: str, before: Iterable[Plain], after: Iterable[Plain]
) -> Iterator[_Difference]:
    former, latter = _by_name(before), _by_name(after)
    for name in {**former, **latter}:
        common = Counter(map(repr, former[name])) & Counter(map(repr, latter[name]))
        gone, come = _beyond(former[name], common), _beyond(latter[name], common)
        # What was there keeps its number; what is new is counted on from there, so that no number stands twice.
        numbers = chain((number for number, _ in gone), count(len(former[name]) + 1))
        entries = zip_longest((entry for _, entry in gone), (entry for _, entry in come))
        for (old, new), number in zip(entries, numbers, strict=False):
            suffix = "" if number == 1 else f"#{number}"
            yield _Difference((*keys, name), f"{path}[{name}]{suffix}", old, new)


def _by_name(entries: Iterable[Plain]) -> defaultdict[str, list[Plain]]:
    """A section is named by what it says first; a text is its own name, and standing twice it means nothing more."""
    named: defaultdict[str, list[Plain]] = defaultdict(list)
    for entry in entries:
        if isinstance(entry, dict):
            named[str(next(iter(entry.values())))].append(entry)
        else:
            named[str(entry)] = [entry]
    return named


def _beyond(entries: Iterable[Plain], common: Counter[str]) -> list[tuple[int, Plain]]:
    """The entries that are left without those in `common`, with their numbers from 1."""
    unused = common.copy()
    left = []
    for number, entry in enumerate(entries, start=1):
        if unused[repr(entry)]:
            unused[repr(entry)] -= 1
        else:
            left.append((number, entry))
    return left


_NO_GRANT = TeamGrant()
_MONITOR = "denials are told, not carried out"
_ALLOWED: Mapping[bool | str, str] = {True: "allowed", False: "denied", "allow": "allowed", "deny": "denied"}
_NAMES_AND_WORDS: Mapping[tuple[str, ...], tuple[str, Mapping[bool | str, str]]] = {
    ("image_access", "mode"): (
        "mode",
        {"enforce": "enforce (denials are carried out)", "monitor": f"monitor ({_MONITOR})"},
    ),
    ("image_access", "allowlist", "enabled"): ("allowlist", {True: "on", False: "off"}),
    ("image_access", "on_unknown_category"): ("images of unknown category", _ALLOWED),
    ("image_access", "help"): ("help", {"": "none"}),
    ("sign_in", "required"): ("sign-in", {True: "required", False: "optional"}),
    ("sign_in", "organization_access_tokens"): ("organization access tokens", _ALLOWED),
}
"""Settings that are said as `name: word → word`."""


def _meaning(difference: _Difference, before: Policy, after: Policy) -> str:
    old, new = difference.before, difference.after
    added = old is None
    match difference.keys:
        case ("image_access" | "registry_access" as section, "enabled"):
            return f"{_spaced(section)}: " + (f"off → on ({_bite(section, after)})" if new else "on → off")
        case ("image_access", "allow", setting):
            return _category_meaning(setting, before, after)
        case ("image_access", "teams", team, setting):
            return _grant_meaning(setting, team, before, after)
        case ("image_access", "teams", team):
            return f"team {team}: " + (
                "listed without a grant" if added else "not listed any more, where it had no grant"
            )
        case ("image_access", "allowlist", "repositories", name):
            return f"allowlist entry {name}: {_entry_meaning(old, new)}"
        case ("image_access", "blocklist", name):
            return f"blocklist entry {name}: {_entry_meaning(old, new)}"
        case ("registry_access", "allowed", registry):
            return f"registry {registry}: " + ("denied → allowed" if added else "allowed → denied")
        case ("docker_hub", "namespaces", namespace):
            return _namespace_meaning(namespace, before, after)
        case ("docker_hub", "mirrors", mirror):
            return f"{mirror}: {'declared' if added else 'no longer declared'} as a mirror of Docker Hub"
    name, words = _NAMES_AND_WORDS.get(difference.keys, (_spaced(difference.keys[-1]), {}))
    return f"{name}: {_word(old, words)} → {_word(new, words)}"


def _condition(keys: tuple[str, ...], policy: Policy) -> str:
    """What has to be switched on before a change shows, as the end of its sentence."""
    image_access, registry_access = policy.image_access.enabled, policy.registry_access.enabled
    match keys:
        case (_, "enabled" | "mode" | "help"):
            return ""
        case ("image_access" | "docker_hub", *_) if not image_access:
            switch = "image access"
        case ("image_access", "allowlist", "repositories", _) if not policy.image_access.allowlist.enabled:
            switch = "the allowlist"
        case ("registry_access", *_) if not registry_access:
            switch = "registry access"
        case ("sign_in", *_) if not image_access and not registry_access:
            switch = "image access or registry access"
        case _:
            return ""
    return f" (counts once {switch} is on)"


def _bite(section: str, policy: Policy) -> str:
    """What it comes to that a section is on."""
    bite = "enforced" if policy.image_access.mode is Mode.ENFORCE else f"monitor: {_MONITOR}"
    nothing_allowed = section == "registry_access" and not policy.registry_access.allowed
    return f"{bite}; no registry is allowed" if nothing_allowed else bite


def _category_meaning(setting: str, before: Policy, after: Policy) -> str:
    old, new = (_category_word(policy.image_access.allow, setting) for policy in (before, after))
    meaning = f"{_spaced(setting)}: {old} → {new}"
    granted = [team for team in sorted(after.image_access.teams) if _allows(after, setting, team)]
    if granted and _allows(before, setting) and not _allows(after, setting):
        meaning += f" (still allowed {_for_teams(granted)})"
    return meaning


def _category_word(allow: AllowedCategories, setting: str) -> str:
    says: bool | None = getattr(allow, setting)
    return f"as community images ({_ALLOWED[allow.community_images]})" if says is None else _ALLOWED[says]


def _grant_meaning(setting: str, team: str, before: Policy, after: Policy) -> str:
    was, now = _allows(before, setting, team), _allows(after, setting, team)
    images, for_team = _spaced(setting), _for_teams([team])
    grant = after.image_access.teams.get(team, _NO_GRANT)
    if was != now:
        return f"{images}: {_ALLOWED[was]} → {_ALLOWED[now]} {for_team}"
    if not getattr(grant, setting):
        reason = "everyone" if _allows(after, setting) else "it by another grant"
        return f"{images}: no longer granted to team {team} (and still allowed for {reason})"
    if _allows(after, setting):
        return f"{images}: allowed {for_team} (and already for everyone)"
    return f"{images}: still allowed {for_team}"


def _allows(policy: Policy, setting: str, team: str | None = None) -> bool:
    """Whether the categories let everyone, or a team's members, use these images."""
    access = policy.image_access
    grant = _NO_GRANT if team is None else access.teams.get(team, _NO_GRANT)
    return _says(access.allow, setting) or _says(grant, setting)


def _says(settings: AllowedCategories | TeamGrant, setting: str) -> bool:
    says: bool | None = getattr(settings, setting)
    return settings.community_images if says is None else says


def _entry_meaning(old: Plain, new: Plain) -> str:
    former, latter = (entry if isinstance(entry, dict) else {} for entry in (old, new))
    entry = latter or former
    # The other way round than written: for whom and until when counts for more than the author's note.
    keys = [key for key in reversed(entry) if key != "repository"]
    if former and latter:
        changed = (key for key in keys if former[key] != latter[key])
        return ", ".join(f"{_entry_word(key, former[key])} → {_entry_word(key, latter[key])}" for key in changed)
    words = (_entry_word(key, entry[key]) for key in keys if entry[key] != "")
    return ", ".join(["added" if latter else "removed", *words])


def _entry_word(key: str, value: Plain) -> str:
    match key, value:
        case "teams", list(teams):
            return _for_teams([str(team) for team in teams]) if teams else "for everyone"
        case "expires_at", _:
            return "without an end" if value is None else f"until {value}"
        case "reason", str(reason):
            return f"reason {shown(reason)}" if reason else "without a reason"
    return f"{_spaced(key)} {_word(value, {})}"


def _namespace_meaning(namespace: str, before: Policy, after: Policy) -> str:
    if namespace not in after.namespaces:
        meaning = f"namespace {namespace}: no longer the organization's own"
    elif namespace not in before.namespaces:
        meaning = f"namespace {namespace}: the organization's own from now on"
    else:
        return f"namespace {namespace}: the organization's own as before"
    if not before.docker_hub.namespaces and before.organization not in after.namespaces:
        meaning += f"; {before.organization}, which was that by default, is it no longer"
    if not after.docker_hub.namespaces and after.organization not in before.namespaces:
        meaning += f"; {after.organization} is it again, by default"
    return meaning


def _for_teams(teams: Sequence[str]) -> str:
    return f"for team{'s' if len(teams) > 1 else ''} {', '.join(teams)}"


def _spaced(key: str) -> str:
    return key.replace("_", " ")


def _word(value: Plain, words: Mapping[bool | str, str]) -> str:
    match value:
        case None:
            return "nothing"
        case bool() | str() if value in words:
            return words[value]
        case bool():
            return "true" if value else "false"
        case str():
            return shown(value)
    return str(value)
