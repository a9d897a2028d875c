"""What a request to the Docker Engine pulls or starts from: read as the engine reads it, or refused.

The engine shows a plugin each request after its router has found the route and before it does anything: method, address
and headers always, the body only where it is JSON and not too large (github.com/moby/moby, pkg/authorization). What the
plugin is shown and what the engine does then differ in ways that have been used to get past plugins:

- A form in the body overrides the address, and is never shown. Of two Content-Type headers the engine takes the first
  and shows the last, and a chunked body has no length in the headers: a form can look like anything but no body at all.
- A body is missing where it is too large (CVE-2026-34040) or said to be empty (CVE-2024-41110).
- Go reads JSON keys in any letter case (with U+017F as s and U+212A as k), merges objects given twice, and keeps an
  earlier value where a later one is null.
- Paths are matched percent-decoded, so that /images%2Fcreate is /images/create.

What is not plainly one thing is refused. Nothing here reads from anywhere or waits.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote_to_bytes

from pullgate_policy import InvalidReferenceError, Reference, parse_reference
from pullgate_policy.errors import shown
from pullgate_policy.reference import DIGEST_HEX_LENGTHS, is_image_id

ALL_TAGS = f"sha256:{'0' * DIGEST_HEX_LENGTHS['sha256']}"
"""As a digest stands for all tags of a repository: what the allowlist says of some tags does not count for it."""

MAX_IMAGES = 100
"""Images that one request may name: nobody gets past a decision by making it take longer than there is time."""


class Unseen(Enum):
    """What the engine does without showing what it pulls."""

    BUILDS = "builds"
    """`docker build`: images in FROM are pulled inside the engine, or by BuildKit."""

    IMPORTS = "imports"
    """`docker import` of an archive: by the look of it, the request could hide a pull."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """A request as the engine shows it.

    Attributes:
        uri: path and query, as they came.
        headers: by name as Go writes it, such as Content-Type; without those that hold credentials.
        body: empty where there is none, and where it was not shown.
    """

    method: str
    uri: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The images that a request is about.

    Attributes:
        pulled: references that are asked of a registry, each to be decided as it is.
        used: what containers start from, as it was written: a name or an image ID. What it stands for the engine knows.
    """

    pulled: tuple[str, ...] = ()
    used: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.pulled or self.used)


NOTHING = Wanted()
"""The request is not about images, or names none."""


class RefusedRequestError(Exception):
    """What a request pulls cannot be told, or is not to be had in this way. The message is for whoever sent it."""


def wanted(request: EngineRequest, let_through: frozenset[Unseen] = frozenset()) -> Wanted:
    """The images that a request is about.

    Args:
        let_through: what may go on although it does not show what it pulls.

    Raises:
        RefusedRequestError: it is to be refused, whatever the policy.
    """
    path, query = _path_and_query(request.uri)
    for method, pattern, read in _ROUTES:
        if method == request.method and (match := pattern.fullmatch(path)):
            name = match.groupdict().get("name", "")
            found = read(_Call(request=request, name=name, parameters=_Parameters(query), let_through=let_through))
            if len(found.used) > MAX_IMAGES:
                raise RefusedRequestError(f"{len(found.used)} images in one request are too many; {MAX_IMAGES} may be")
            return found
    return NOTHING


# Addresses.

_BAD_ESCAPE = re.compile("%(?![0-9a-fA-F]{2})")


def _path_and_query(uri: str) -> tuple[str, str]:
    """The path as the engine's router compares it, and the query as it came."""
    raw_path, _, query = uri.partition("?")
    if not raw_path.startswith("/") or _BAD_ESCAPE.search(raw_path):
        raise RefusedRequestError(f"the address {shown(uri)} is not of the form /path?query")
    path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
    # The engine sends whoever asks so to the plain address, and shows no plugin the request.
    if "//" in path or any(segment in {".", ".."} for segment in path.split("/")):
        raise RefusedRequestError(f"the path {shown(raw_path)} has empty segments or dots; write it plainly")
    return path, query


class _Parameters:
    """The values that Go's Request.Form has for a query, if no body adds to them."""

    def __init__(self, query: str) -> None:
        if ";" in query or _BAD_ESCAPE.search(query):
            raise RefusedRequestError("the query of the address has a semicolon, or a % that begins no escape")
        self._values: dict[str, list[str]] = {}
        for pair in filter(None, query.split("&")):
            name, _, value = (_unescaped(part) for part in pair.partition("="))
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        """The value of a parameter, empty if it is not there."""
        values = self._values.get(name, [""])
        if len(values) > 1:
            raise RefusedRequestError(f"the parameter {name} is given {len(values)} times")
        return values[0]


def _unescaped(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")


# JSON bodies.


class _Object:
    """A JSON object that the engine reads into a struct: keys in any letter case."""

    def __init__(self, pairs: Sequence[tuple[str, Any]], where: str = "") -> None:
        self._pairs = pairs
        self._where = where

    @classmethod
    def of_body(cls, request: EngineRequest) -> "_Object":
        """The body of a request that needs one."""
        if not request.body:
            raise RefusedRequestError(
                "the engine did not show the body of this request, which says what it starts from: it is missing, too "
                "large, or not of the type application/json"
            )
        try:
            value = json.loads(request.body.decode("utf-8"), object_pairs_hook=_Pairs)
        except (ValueError, RecursionError):
            raise RefusedRequestError("the body of this request is not one JSON object") from None
        if not isinstance(value, _Pairs):
            raise RefusedRequestError("the body of this request is not one JSON object")
        return cls(value)

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        value = self._value(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise RefusedRequestError(f"{self._path(name)} in the body of this request is not a text")
        return value

    def object(self, name: str) -> "_Object":
        """An object; one without members where there is none."""
        value = self._value(name)
        if value is None:
            return _Object((), self._path(name))
        if not isinstance(value, _Pairs):
            raise RefusedRequestError(f"{self._path(name)} in the body of this request is not an object")
        return _Object(value, self._path(name))

    def objects(self, name: str) -> Iterable["_Object"]:
        """The objects of a list."""
        value = self._value(name)
        if value is None:
            return
        if type(value) is not list:
            raise RefusedRequestError(f"{self._path(name)} in the body of this request is not a list")
        for index, item in enumerate(value):
            where = f"{self._path(name)}[{index}]"
            if not isinstance(item, _Pairs):
                raise RefusedRequestError(f"{where} in the body of this request is not an object")
            yield _Object(item, where)

    def _value(self, name: str) -> Any:
        found = [value for key, value in self._pairs if _folded(key) == _folded(name)]
        if len(found) > 1:
            raise RefusedRequestError(f"{self._path(name)} is given {len(found)} times in the body of this request")
        return found[0] if found else None

    def _path(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object in their order, each as often as it is given."""


_TO_ASCII = str.maketrans({"\u017f": "s", "\u212a": "k"})


def _folded(key: str) -> str:
    """What Go compares keys by: only two characters beyond ASCII fold to a letter of it (unicode.SimpleFold)."""
    key = key.translate(_TO_ASCII)
    return key.lower() if key.isascii() else key


# Routes.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request on one of the routes.

    Attributes:
        name: the part of the path that names an image, on routes that have one.
    """

    request: EngineRequest
    name: str
    parameters: _Parameters
    let_through: frozenset[Unseen]

    @property
    def may_have_a_form(self) -> bool:
        """Whether the engine may find a form in the body, whose values win over those of the address.

        It looks for one if the first Content-Type says so, and by that same header a body that was shown is JSON.
        """
        headers = self.request.headers
        return not self.request.body and "Content-Type" in headers and headers.get("Content-Length") != "0"

    def require_no_form(self) -> None:
        """Refuse what may pull something else than it says in its address."""
        if self.may_have_a_form:
            raise RefusedRequestError(
                "the address of this request says what it pulls, and its body, which the engine shows no plugin, could "
                "say something else; send it without a body and without Content-Type"
            )


def _pull(call: _Call) -> Wanted:
    """`docker pull`; and `docker import`, which is the same without fromImage."""
    image, tag = call.parameters["fromImage"], call.parameters["tag"]
    if not image and call.parameters["fromSrc"] and call.may_have_a_form:
        if Unseen.IMPORTS in call.let_through:
            return NOTHING
        raise RefusedRequestError(
            "imports are refused here, because what is sent could also be a pull in disguise; 'docker load' is another "
            "way, and pullgate docker-plugin --imports allow lets imports through"
        )
    call.require_no_form()
    return Wanted(pulled=(_pulled_reference(image, tag),)) if image else NOTHING


def _pulled_reference(image: str, tag: str) -> str:
    """The reference that the engine makes of the two parameters (moby, ImageService.PullImage)."""
    image = image.removesuffix(":")
    reference = reference_of(image)
    if tag and reference.digest is not None:
        raise RefusedRequestError(f"both {shown(image)} and the tag {shown(tag)} are asked for; say one of them")
    if tag:
        separator = "@" if is_image_id(tag) and ":" in tag else ":"
        return _in_full(f"{reference.repository}{separator}{tag}")
    if reference.digest is None and ":" not in image.rpartition("/")[2]:
        return f"{reference.repository}@{ALL_TAGS}"
    return str(reference)


def _create_container(call: _Call) -> Wanted:
    body = _Object.of_body(call.request)
    # Older engines read beside HostConfig what belongs into it.
    mounts = [*body.object("HostConfig").objects("Mounts"), *body.objects("Mounts")]
    return Wanted(used=_used(body.text("Image"), mounts))


def _service(call: _Call) -> Wanted:
    task = _Object.of_body(call.request).object("TaskTemplate")
    container = task.object("ContainerSpec")
    plugin = task.object("PluginSpec").text("Remote")
    return Wanted(
        used=_used(container.text("Image"), container.objects("Mounts")), pulled=(_in_full(plugin),) if plugin else ()
    )


def _used(image: str, mounts: Iterable[_Object]) -> tuple[str, ...]:
    sources = [mount.text("Source") for mount in mounts if mount.text("Type").lower() == "image"]
    return tuple(_name_or_id(text) for text in dict.fromkeys([image, *sources]) if text)


def _plugin(call: _Call) -> Wanted:
    call.require_no_form()
    remote = call.parameters["remote"]
    return Wanted(pulled=(_in_full(remote),)) if remote else NOTHING


def _distribution(call: _Call) -> Wanted:
    return Wanted(pulled=(_in_full(call.name),))


def _build(call: _Call) -> Wanted:
    """A build: its archive is never shown, and with it the images that it starts from."""
    _hidden_build(call)
    text = call.parameters["cachefrom"]
    try:
        names = json.loads(text) if text else []
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RefusedRequestError("the parameter cachefrom is not a list of texts in JSON")
    return Wanted(used=tuple(_name_or_id(name) for name in dict.fromkeys(names) if name))


def _hidden_build(call: _Call) -> Wanted:
    if Unseen.BUILDS not in call.let_through:
        raise RefusedRequestError(
            "builds are refused here, because the engine shows no plugin what a build pulls; pullgate docker-plugin "
            "--builds allow lets them through"
        )
    return NOTHING


_Route = tuple[str, re.Pattern[str], Callable[[_Call], Wanted]]


def _route(method: str, path: str, read: Callable[[_Call], Wanted]) -> _Route:
    """A route as the engine's router has it: with or without a version, which may be any digits and dots."""
    return method, re.compile(rf"(?:/v[0-9.]+)?{path}", re.ASCII), read


_ROUTES = (
    _route("POST", "/images/create", _pull),
    _route("POST", "/containers/create", _create_container),
    _route("POST", "/services/create", _service),
    _route("POST", "/services/[^/]+/update", _service),
    _route("GET", "/plugins/privileges", _plugin),
    _route("POST", "/plugins/pull", _plugin),
    _route("POST", "/plugins/.*/upgrade", _plugin),
    _route("GET", "/distribution/(?P<name>.*)/json", _distribution),
    _route("POST", "/build", _build),
    _route("POST", "/session", _hidden_build),
    _route("POST", "/grpc", _hidden_build),
)
"""The routes that carry an image (moby, daemon/server/router)."""


# Names.


def reference_of(text: str) -> Reference:
    """A name as a reference; raises RefusedRequestError."""
    try:
        return parse_reference(text)
    except InvalidReferenceError as error:
        raise RefusedRequestError(str(error)) from error


def _in_full(text: str) -> str:
    return str(reference_of(text))


def _name_or_id(text: str) -> str:
    """What the engine may be asked about."""
    if not is_image_id(text):
        reference_of(text)
    return text
