"""What the Docker Engine needs to ask a plugin: its name in the engine's configuration, and where it answers.

Nothing else in the configuration is touched, and what was there before is kept beside it.
"""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pullgate_docker.asking import is_answered

CONFIGURATION = Path("/etc/docker/daemon.json")
SPECIFICATIONS = Path("/etc/docker/plugins")
"""Where the engine looks for NAME.spec, a file with the address of the plugin NAME."""

DEFAULT_NAME = "pullgate"

SETTING = "authorization-plugins"


def default_socket(name: str) -> Path:
    """Where the engine looks for the plugin of this name if nothing else is said."""
    return Path("/run/docker/plugins", f"{name}.sock")


def expected_socket(name: str, specifications: Path = SPECIFICATIONS) -> Path:
    """Where the engine finds the plugin of this name: a socket at the usual place comes before NAME.spec.

    Raises:
        OSError: one of the two cannot be looked at.
    """
    usual = default_socket(name)
    try:
        usual.stat()
    except FileNotFoundError:
        try:
            address = (specifications / f"{name}.spec").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return usual
        return Path(address.removeprefix("unix://")) if address.startswith("unix://") else usual
    return usual


class ConfigurationUnusableError(Exception):
    """The engine's configuration is not what is expected, or cannot be written; it is as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Where what is written.

    Attributes:
        name: what the engine calls the plugin.
        socket: where the plugin answers.
    """

    name: str
    socket: Path
    configuration: Path = CONFIGURATION
    specifications: Path = SPECIFICATIONS

    @property
    def backup(self) -> Path:
        """What the configuration was before the last change."""
        return self.configuration.with_name(f"{self.configuration.name}.before-{self.name}")

    @property
    def specification(self) -> Path | None:
        """The file with the socket's address; None where the engine finds the socket by the plugin's name."""
        is_found = self.socket == default_socket(self.name)
        return None if is_found else self.specifications / f"{self.name}.spec"

    def install(self) -> list[str]:
        """Make the engine ask the plugin from its next reload on.

        Returns:
            What was done, in sentences; nothing if all was there.

        Raises:
            ConfigurationUnusableError: the engine's configuration is as it was.
        """

        def with_plugin(names: list[str]) -> list[str]:
            return names if self.name in names else [*names, self.name]

        self._changed(with_plugin)
        file = self.specification
        if file is None:
            return self._change(with_plugin, f"added {self.name} to")
        done = self._remove_dead_socket()
        address = f"unix://{self.socket}\n"
        if _text(file) != address:
            done.append(f"wrote {file}: the plugin {self.name} answers on {self.socket}")
            # Before the name: an engine that knows the name alone would not find the plugin, and end.
            return done + self._change(with_plugin, f"added {self.name} to", before=[(file, address, file)])
        return done + self._change(with_plugin, f"added {self.name} to")

    def uninstall(self) -> list[str]:
        """Make the engine not ask the plugin any more, from its next reload on; as `install`."""

        def without_plugin(names: list[str]) -> list[str]:
            return [name for name in names if name != self.name]

        done = self._change(without_plugin, f"took {self.name} out of")
        file = self.specifications / f"{self.name}.spec"
        return done + _remove(file, "")

    def _remove_dead_socket(self) -> list[str]:
        """Remove what was left where the engine looks first: it would ask there, and end for want of an answer."""
        usual = default_socket(self.name)
        try:
            usual.stat()
            somebody = is_answered(usual)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigurationUnusableError(f"{usual} cannot be looked at: {_why(error)}") from error
        if somebody:
            raise ConfigurationUnusableError(
                f"somebody answers on {usual}, where the engine looks before it looks for {self.socket}; stop that, or "
                "leave --socket out"
            )
        return _remove(usual, ", on which nobody answered: the engine would have looked there first")

    def _changed(self, change: Callable[[list[str]], list[str]]) -> tuple[str | None, dict[str, Any] | None]:
        """The text that is there, and what the settings are after a change; None if they stay."""
        text = _text(self.configuration)
        settings = self._settings(text)
        names = settings.get(SETTING) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigurationUnusableError(f"{SETTING} in {self.configuration} is not a list of names; mend it first")
        changed = change(names)
        if changed == names:
            return text, None
        settings = {**settings, SETTING: changed}
        if not changed:
            del settings[SETTING]
        return text, settings

    def _change(
        self, change: Callable[[list[str]], list[str]], what: str, *, before: Sequence[tuple[Path, str, Path]] = ()
    ) -> list[str]:
        """Change the list of plugins, and write what has to be there before."""
        text, settings = self._changed(change)
        files = list(before)
        if settings is not None:
            if text is not None:
                files.append((self.backup, text, self.configuration))
            changed = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
            files.append((self.configuration, changed, self.configuration))
        _write(files)
        if settings is None:
            return []
        kept = "" if text is None else f" (as it was before: {self.backup})"
        return [f"{what} {SETTING} in {self.configuration}{kept}"]

    def _settings(self, text: str | None) -> dict[str, Any]:
        def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            settings = dict(pairs)
            if len(settings) < len(pairs):
                raise ConfigurationUnusableError(f"{self.configuration} has a setting twice; mend it first")
            return settings

        try:
            # An empty file is one without settings, for the engine too.
            settings = json.loads(text, object_pairs_hook=once_each) if text and text.strip() else {}
        except ValueError as error:
            raise ConfigurationUnusableError(f"{self.configuration} is no JSON ({error}); mend it first") from error
        if not isinstance(settings, dict):
            raise ConfigurationUnusableError(f"{self.configuration} is no JSON object; mend it first")
        return settings


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationUnusableError(f"{file} cannot be read: {_why(error)}") from error


def _remove(file: Path, why: str) -> list[str]:
    try:
        file.unlink()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationUnusableError(f"{file} cannot be removed: {_why(error)}") from error
    return [f"removed {file}{why}"]


def _write(files: Sequence[tuple[Path, str, Path]]) -> None:
    """Replace files as wholes, in this order, once all of them could be written beside their places.

    Args:
        files: each with its text, and with the file whose mode and owner it gets if that exists.

    Raises:
        ConfigurationUnusableError: as the file system says.
    """
    made: list[tuple[Path, Path]] = []
    file = Path()
    try:
        for file, text, like in files:
            # A configuration that is a link stays one, and may be one to another file system.
            place = file.resolve()
            place.parent.mkdir(parents=True, exist_ok=True)
            new = place.with_name(f".{place.name}.{os.getpid()}")
            made.append((new, place))
            _write_new(new, text, like)
        for new, place in made:
            new.replace(place)
    except OSError as error:
        for new, _ in made:
            with suppress(OSError):
                new.unlink()
        raise ConfigurationUnusableError(f"{file} cannot be written: {_why(error)}") from error


def _write_new(new: Path, text: str, like: Path) -> None:
    with new.open("w", encoding="utf-8") as stream:
        if like.exists():
            former = like.stat()
            os.fchmod(stream.fileno(), former.st_mode & 0o7777)
            os.fchown(stream.fileno(), former.st_uid, former.st_gid)
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _why(error: OSError | UnicodeDecodeError) -> str:
    why = getattr(error, "strerror", "") or str(error)
    return f"{why}; do this as root" if isinstance(error, PermissionError) else why
