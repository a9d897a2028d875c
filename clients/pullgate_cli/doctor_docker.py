"""What is usually wrong around the Docker Engine on this machine."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pullgate_cli.findings import Finding, Health, Patient
from pullgate_docker.asking import (
    MayNotAskError,
    NoAnswerError,
    ask,
    asks_plugin,
    is_answered,
    is_authorization_plugin,
)
from pullgate_docker.installing import expected_socket

SHOWS_BODIES = (29, 3, 1)
"""The first engine that refuses what it cannot show a plugin (CVE-2026-34040)."""

NATIVE_GRPC = (29, 2, 0)
"""The first engine that takes BuildKit's calls on its socket without asking plugins."""

AS_ROOT = "run this as root"

PLUGIN, ENGINE, ASKED, VERSION = "plugin", "engine", "engine asks plugin", "engine version"
BUILDS, MIRRORS = "builds", "registry mirrors"


def check_plugin(patient: Patient) -> Iterator[Finding]:
    """Whether a plugin answers where the engine would look for it."""
    try:
        expected = expected_socket(patient.plugin)
        path = patient.plugin_socket or expected
        if not _is_there(path) and not _is_there(patient.engine_socket):
            yield Finding(about=PLUGIN, health=Health.SKIPPED, found="there is no Docker Engine on this machine")
            return
        if path != expected and _is_there(expected) and not is_answered(expected):
            yield _dead(expected)
            return
        yield _plugin(path)
    except (PermissionError, MayNotAskError):
        yield Finding(about=PLUGIN, health=Health.SKIPPED, found="this user may not look at it", to_do=AS_ROOT)
    except (OSError, UnicodeDecodeError) as error:
        yield Finding(about=PLUGIN, health=Health.MEND, found=f"it cannot be looked at: {error}", to_do="mend that")


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _plugin(path: Path) -> Finding:
    if not _is_there(path):
        to_do = "start 'pullgate docker-plugin --organization ORG', or say --plugin-socket"
        return Finding(about=PLUGIN, health=Health.MEND, found=f"there is no {path}", to_do=to_do)
    try:
        if is_authorization_plugin(path):
            return Finding(about=PLUGIN, health=Health.OK, found=f"answers on {path}")
        problem = f"what answers on {path} is no authorization plugin"
    except MayNotAskError:
        raise
    except NoAnswerError as error:
        problem = str(error)
    return Finding(
        about=PLUGIN,
        health=Health.MEND,
        found=problem,
        to_do="start it anew, and look into its log: without it the engine refuses everything, and does not start; if "
        f"it answers elsewhere, remove {path}, where the engine looks first",
    )


def _dead(path: Path) -> Finding:
    found = f"nobody answers on {path}, where the engine looks first"
    return Finding(about=PLUGIN, health=Health.MEND, found=found, to_do=f"remove {path}")


def check_engine(patient: Patient) -> Iterable[Finding]:
    """The engine: whether it asks the plugin, how old it is, and which ways lead past the plugin."""
    try:
        if not _is_there(patient.engine_socket):
            found, to_do = f"there is no {patient.engine_socket}", "if it is elsewhere, say --engine-socket"
            return [Finding(about=ENGINE, health=Health.SKIPPED, found=found, to_do=to_do)]
        facts = ask(patient.engine_socket, "GET", "/info")
        is_asked = asks_plugin(patient.engine_socket, patient.plugin)
    except (PermissionError, MayNotAskError):
        found = f"this user may not open {patient.engine_socket}"
        return [Finding(about=ENGINE, health=Health.SKIPPED, found=found, to_do=AS_ROOT)]
    except NoAnswerError as error:
        return [_no_answer(error, patient)]
    return engine_findings(facts if isinstance(facts, dict) else {}, patient.plugin, is_asked=is_asked)


def _no_answer(error: NoAnswerError, patient: Patient) -> Finding:
    to_do = "start it"
    # An engine without its plugin is silent for half a minute, or has ended.
    if "plugin" in str(error) or any(finding.health is Health.MEND for finding in check_plugin(patient)):
        to_do = (
            f"start the plugin again, or undo it: 'pullgate docker-plugin uninstall --name {patient.plugin}', then "
            "'systemctl reload docker', or 'systemctl start docker' if it has ended"
        )
    return Finding(about=ENGINE, health=Health.MEND, found=f"it does not say how it is: {error}", to_do=to_do)


def engine_findings(facts: Mapping[str, Any], plugin: str, *, is_asked: bool) -> Iterator[Finding]:
    """What follows from what the engine says of itself in answer to GET /info, and whether it asks the plugin."""
    yield Finding(about=ENGINE, health=Health.OK, found=f"Docker Engine {facts.get('ServerVersion')}")
    yield _asked(plugin, is_asked=is_asked)
    version = _version(str(facts.get("ServerVersion")))
    if version is not None:
        yield _age(version, str(facts["ServerVersion"]))
        yield _builds(version)
    mirrors = (facts.get("RegistryConfig") or {}).get("Mirrors") or ()
    yield _mirrors(mirrors, is_asked=is_asked)


def _asked(plugin: str, *, is_asked: bool) -> Finding:
    if is_asked:
        return Finding(about=ASKED, health=Health.OK, found=f"the engine asks {plugin}")
    return Finding(
        about=ASKED,
        health=Health.MEND,
        found=f"the engine does not ask {plugin}, so it pulls whatever it is told to",
        to_do="'pullgate docker-plugin install', then 'systemctl reload docker'",
    )


def _age(version: tuple[int, ...], name: str) -> Finding:
    if version >= SHOWS_BODIES:
        return Finding(about=VERSION, health=Health.OK, found=f"{name} shows plugins every body or refuses it")
    return Finding(
        about=VERSION,
        health=Health.NOTE,
        found=f"{name} does not show plugins a large body, and goes on with it (CVE-2026-34040, mended in 29.3.1)",
        to_do="upgrade the engine; pullgate refuses what it is not shown, but other plugins may not",
    )


def _builds(version: tuple[int, ...]) -> Finding:
    if version >= NATIVE_GRPC:
        return Finding(
            about=BUILDS,
            health=Health.NOTE,
            found="BuildKit takes its calls on the engine's socket without asking any plugin",
            to_do="let this host reach registries through a gateway alone, so that builds are decided there",
        )
    return Finding(
        about=BUILDS,
        health=Health.NOTE,
        found="what a build pulls no plugin is shown; pullgate refuses builds unless it runs with --builds allow",
    )


def _mirrors(mirrors: Sequence[str], *, is_asked: bool) -> Finding:
    if not mirrors:
        return Finding(about=MIRRORS, health=Health.OK, found="none")
    found = f"when {', '.join(mirrors)} refuses an image, the engine pulls it from Docker Hub itself"
    if is_asked:
        found += "; the plugin decides before both"
        return Finding(about=MIRRORS, health=Health.NOTE, found=found)
    return Finding(
        about=MIRRORS,
        health=Health.MEND,
        found=found,
        to_do="a mirror that refuses is no enforcement: install the plugin, or block the way to registry-1.docker.io",
    )


def _version(text: str) -> tuple[int, ...] | None:
    match = re.match(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", text)
    return None if match is None else tuple(map(int, match.groups()))
