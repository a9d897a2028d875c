"""Development containers: `devcontainer.json` and `devcontainer-feature.json`.

Sources: the Development Container Specification (containers.dev: "devcontainer.json reference", "Dev Container Features
reference", "Features distribution"), and the reference implementation devcontainers/cli where it says more
(variableSubstitution.ts, containerCollectionsOCI.ts, containerFeaturesConfiguration.ts).
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pullgate_finders import dockerfile, jsonc
from pullgate_finders.build_options import flags_in, image_in_cache
from pullgate_finders.compose import ComposeFinder
from pullgate_finders.dockerfile import Build
from pullgate_finders.found import Finding, Found, Kind, Place, Trouble, found
from pullgate_finders.port import Search, UnreadableFileError
from pullgate_finders.tree import directory_of, join
from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, Node, ScalarNode, SequenceNode

_NAMES = frozenset({"devcontainer.json", ".devcontainer.json", "devcontainer-feature.json"})
_BEARERS = ('"image"', '"build"', '"dockerFile"', '"dockerComposeFile"', '"features"', '"dependsOn"')

_VARIABLE = re.compile(r"\$\{([^}\n]*)\}")
_FEATURES = "ghcr.io/devcontainers/features"
_KEPT_NAMES = (
    *("aws-cli", "azure-cli", "desktop-lite", "docker-from-docker", "docker-in-docker", "dotnet", "git", "git-lfs"),
    *(
        "github-cli",
        "java",
        "kubectl-helm-minikube",
        "node",
        "powershell",
        "python",
        "ruby",
        "rust",
        "sshd",
        "terraform",
    ),
)
_NEW_NAMES = {"golang": "go", "common": "common-utils", "gradle": "java", "maven": "java", "jupyterlab": "python"}
_MOVED = {**{name: name for name in _KEPT_NAMES}, **_NEW_NAMES}
"""Features that were part of the tool and go by a short name, and what they are called since
(getBackwardCompatibleFeatureId, updateDeprecatedFeaturesIntoOptions); major version 1 of them is taken."""


@dataclass(frozen=True, slots=True)
class DevContainerFinder:
    """Finds the image, the Dockerfile, the Compose files and the Features that a development container is made of."""

    name: str = "Dev Container"

    def claims(self, path: str) -> bool:
        """By the names that the specification gives."""
        return posixpath.basename(path) in _NAMES

    def recognises(self, text: str) -> bool:
        """Whether a property is there that leads to an image."""
        return any(bearer in text for bearer in _BEARERS)

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """What the file leads to; trouble where it cannot be read."""
        try:
            for root in jsonc.load(path, text):
                if isinstance(root, MappingNode):
                    yield from _Container(path, root, search).find()
                else:
                    yield Trouble(place=root.place, problem="holds no object; a development container is one")
        except InvalidYamlError as error:
            place = Place(path, error.line, error.column, error.line, error.column)
            yield Trouble(place=place, problem=error.problem.replace("YAML", "JSON"))


@dataclass(frozen=True, slots=True)
class _Container:
    """One file.

    Attributes:
        within: what its references belong to.
    """

    path: str
    root: MappingNode
    search: Search
    within: str = "development container"

    def find(self) -> Iterator[Finding]:
        image = self.root.scalar("image")
        if image is not None:
            yield self.found(image, Kind.IMAGE, (0, len(image.text)))
        yield from self.build()
        yield from self.compose()
        for key in ("features", "dependsOn"):
            for name, _ in self.root.pairs(key):
                yield from _feature(name)

    def build(self) -> Iterator[Finding]:
        """What is under `build`, or beside it, as before there was `build`."""
        build = self.root.get("build")
        options = build if isinstance(build, MappingNode) else self.root
        for cache in _one_or_many(options.get("cacheFrom")):
            if part := image_in_cache(cache.text):
                yield self.found(cache, Kind.CACHE, part)
        for flag in flags_in(options.items("options")):
            if part := flag.image:
                yield self.found(flag.node, flag.kind, part)
        named = options.scalar("dockerfile") or self.root.scalar("dockerFile")
        if named is None:
            return
        arguments = {
            name.text: self.given(name.place.line, self.text(value.text))
            for name, value in options.pairs("args")
            if isinstance(value, ScalarNode)
        }
        target = options.scalar("target")
        build_of_it = Build(
            arguments=arguments | self.pairs_in_flags(options, "--build-arg"),
            contexts=self.pairs_in_flags(options, "--build-context"),
            target=self.text(target.text) if target is not None else Known(""),
            how=(self.step(named.place.line),),
        )
        match self.text(named.text):
            case Unknown(reason):
                yield Trouble(place=named.place, problem=f"the Dockerfile is not known: {reason}")
            case Known(name):
                # The path is relative to this file, whatever the context of the build is.
                yield from dockerfile.find_in_build(self.beside(name), named.place, self.search, build_of_it)

    def pairs_in_flags(self, options: MappingNode, wanted: str) -> dict[str, Text]:
        """What `--build-arg` or `--build-context` give, by name."""
        return {
            flag.key: self.given(flag.node.place.line, self.text(flag.value))
            for flag in flags_in(options.items("options"))
            if flag.name == wanted and flag.key
        }

    def found(self, node: ScalarNode, kind: Kind, part: tuple[int, int]) -> Found:
        raw = node.text[part[0] : part[1]]
        return found(node.place_within(*part), kind, raw, self.text(raw), within=self.within)

    def compose(self) -> Iterator[Finding]:
        """Compose files whose names do not tell what they are; the others are found by their own."""
        finder = ComposeFinder()
        for named in _one_or_many(self.root.get("dockerComposeFile")):
            match self.text(named.text):
                case Unknown(reason):
                    yield Trouble(place=named.place, problem=f"the Compose file is not known: {reason}")
                case Known(name):
                    path = self.beside(name)
                    try:
                        text = self.search.files.read(path)
                    except UnreadableFileError as error:
                        yield Trouble(place=named.place, problem=str(error))
                        continue
                    if not finder.claims(path):
                        yield from finder.find(path, text, self.search)

    def text(self, written: str) -> Text:
        """A text with its variables replaced ("Variables in devcontainer.json")."""
        parts: list[Text] = []
        end = 0
        for match in _VARIABLE.finditer(written):
            parts.extend((Known(written[end : match.start()]), self.variable(match[0], *match[1].split(":"))))
            end = match.end()
        return joined(*parts, Known(written[end:]))

    def variable(self, written: str, kind: str, name: str = "", default: str = "", *_: str) -> Text:
        """What a variable stands for. Of a default only what stands before the next colon counts (lookupValue)."""
        match kind:
            case "localEnv" | "env" if name in self.search.settings.variables:
                return Known(self.search.settings.variables[name], (f"variable {name} that was given",))
            case "localEnv" | "env" if default:
                return Known(default, (f"default of local variable {name} ({self.path})",), overridable=True)
            case "localEnv" | "env":
                return Unknown(f"local variable {name} has no default here; give it with --env {name}=…")
            case "localWorkspaceFolder":
                return Known(posixpath.relpath(self.workspace or ".", directory_of(self.path) or "."))
            case "templateOption":
                return Unknown(f"option {name} of the template is chosen when the template is applied")
        return Unknown(f"{written} is known only where the container is started")

    @property
    def workspace(self) -> str:
        """The directory that is opened: the one that `.devcontainer` is in."""
        directory = directory_of(self.path)
        parts = directory.split("/")
        return "/".join(parts[: parts.index(".devcontainer")]) if ".devcontainer" in parts else directory

    def beside(self, name: str) -> str:
        return join(directory_of(self.path), name.replace("\\", "/"))

    def step(self, line: int) -> str:
        return f"{self.within} ({self.path}:{line})"

    def given(self, line: int, text: Text) -> Text:
        """A text with who gives it."""
        return replace(text, how=(*text.how, f"build arguments of {self.step(line)}"))


def _feature(name: ScalarNode) -> Iterator[Finding]:
    """A Feature that is an OCI artifact.

    One in a directory (`./go`), in a tar file (`https://…`) or in a release at GitHub (`owner/repository/id`, without
    the name of a registry) is none; neither is one of the few that are still part of the tool.
    """
    identifier = name.text
    how: tuple[str, ...] = ()
    if identifier in _MOVED:
        how = (f"the Feature that was {identifier} before",)
        identifier = f"{_FEATURES}/{_MOVED[identifier]}:1"
    registry, separator, _ = identifier.partition("/")
    if not separator or identifier.startswith(("https://", ".", "/")):
        return
    if "." in registry or registry.startswith("localhost"):
        # The whole identifier is put in lower case before it is looked up (getRef).
        text = Known(identifier.lower(), how)
        yield found(name.place, Kind.FEATURE, name.text, text, within="Features of the development container")


def _one_or_many(node: Node | None) -> Iterator[ScalarNode]:
    for item in node.items if isinstance(node, SequenceNode) else (node,):
        if isinstance(item, ScalarNode) and not item.is_null:
            yield item
