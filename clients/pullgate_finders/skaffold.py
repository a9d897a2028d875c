"""Skaffold: what artifacts are built from and with, and the containers of verifications and actions.

Sources: the schema of `skaffold/v4beta14` (the names of fields are those of older versions, too), "Templated fields",
"Defining dependencies between artifacts" and the pages of the builders in Skaffold's documentation. The image of an
artifact is what comes out; where another field names it, nothing foreign is pulled.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pullgate_finders import dockerfile, yaml_nodes
from pullgate_finders.build_options import Range, flags_in, image_in_cache
from pullgate_finders.dockerfile import Build
from pullgate_finders.found import Finding, Found, Kind, Place, Trouble, found
from pullgate_finders.port import Search
from pullgate_finders.skaffold_profiles import with_profile
from pullgate_finders.tree import directory_of, join
from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, Node, ScalarNode

_VERSION = re.compile(r"""^["']?apiVersion["']?[ \t]*:[ \t]*["']?skaffold/""", re.MULTILINE)
_TEMPLATE = re.compile(r"\{\{[^{}]*+\}\}")
_VARIABLE = re.compile(r"\{\{-?\s*\.(\w++)\s*-?\}\}")
_CLOUD_BUILDERS = ("dockerImage", "kanikoImage", "mavenImage", "gradleImage", "packImage", "koImage")
_JIB_IMAGE = re.compile(r"(?:docker|registry)://")
_JIB_FILE = "tar://"
_BUILDPACK_IMAGE = "docker://"


@dataclass(frozen=True, slots=True)
class SkaffoldFinder:
    """Finds what Skaffold builds with and from, in files of any name, since `--filename` takes any."""

    name: str = "Skaffold"

    def claims(self, path: str) -> bool:
        """By the ending of YAML."""
        return path.endswith((".yaml", ".yml"))

    def recognises(self, text: str) -> bool:
        """By the version of the schema."""
        return "skaffold/" in text and _VERSION.search(text) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """What the configurations in the file lead to, those under a profile as conditional."""
        roots: list[MappingNode] = []
        try:
            for root in yaml_nodes.load(path, text):
                roots.extend([root] if isinstance(root, MappingNode) and _is_configuration(root) else [])
        except InvalidYamlError as error:
            place = Place(path, error.line, error.column, error.line, error.column)
            yield Trouble(place=place, problem=error.problem)
        made = frozenset(
            image.text for root in roots for artifact in _artifacts(root) if (image := artifact.scalar("image"))
        )
        reader = _Reader(path, search, made)
        try:
            # Of what is found twice in a place the first is told, so what is always pulled comes first.
            yield from sorted(
                (finding for root in roots for finding in _find_in_configuration(reader, root)), key=_is_conditional
            )
        except RecursionError:
            yield Trouble(place=Place(path, 1, 1, 1, 1), problem="what it says is nested too deeply to be read")


def _is_conditional(finding: Finding) -> bool:
    return isinstance(finding, Found) and bool(finding.condition)


def _is_configuration(root: MappingNode) -> bool:
    version = root.scalar("apiVersion")
    return version is not None and version.text.startswith("skaffold/")


def _artifacts(root: MappingNode) -> Iterator[MappingNode]:
    """The artifacts of a configuration and of its profiles."""
    for part in (root, *(profile for profile in root.items("profiles") if isinstance(profile, MappingNode))):
        yield from (artifact for artifact in part.items("build", "artifacts") if isinstance(artifact, MappingNode))


def _find_in_configuration(reader: "_Reader", root: MappingNode) -> Iterator[Finding]:
    units = list(_units(root))
    for kind, unit in units:
        yield from reader.find(kind, unit)
    seen = {id(unit) for _, unit in units}
    for profile in root.items("profiles"):
        if not isinstance(profile, MappingNode):
            continue
        name = profile.scalar("name")
        changed, troubles = with_profile(root, profile)
        yield from troubles
        for kind, unit in _units(changed):
            if id(unit) not in seen:
                for finding in reader.find(kind, unit):
                    yield _under(f"only with profile {name.text if name else '(without a name)'}", finding)


def _units(root: MappingNode) -> Iterator[tuple[str, MappingNode]]:
    """The parts of a configuration that are read each on its own."""
    for kind, path in (("artifact", ("build", "artifacts")), ("verify", ("verify",)), ("action", ("customActions",))):
        yield from ((kind, item) for item in root.items(*path) if isinstance(item, MappingNode))
    for kind, path in (("cloud", ("build", "googleCloudBuild")), ("deploy", ("deploy", "docker"))):
        node = root.get(*path)
        if isinstance(node, MappingNode):
            yield kind, node


def _under(condition: str, finding: Finding) -> Finding:
    if isinstance(finding, Trouble):
        return finding
    return replace(finding, condition=f"{condition}, {finding.condition}" if finding.condition else condition)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the parts of a configuration.

    Attributes:
        made: the images that artifacts are.
    """

    path: str
    search: Search
    made: frozenset[str]

    def find(self, kind: str, unit: MappingNode) -> Iterator[Finding]:
        match kind:
            case "artifact":
                yield from self.artifact(unit)
            case "cloud":
                for key in _CLOUD_BUILDERS:
                    yield from self.scalar(unit.scalar(key), Kind.BUILDER, "Google Cloud Build")
            case "verify":
                yield from self.container(unit.get("container"), f"verification {_name(unit)}")
            case "action":
                for container in unit.items("containers"):
                    within = f"action {_name(unit)}, container {_name(container)}"
                    yield from self.container(container, within)
            case "deploy":
                for image in unit.items("images"):
                    yield from self.scalar(image, Kind.IMAGE, "deployment in Docker")

    def container(self, container: Node | None, within: str) -> Iterator[Finding]:
        if isinstance(container, MappingNode):
            yield from self.scalar(container.scalar("image"), Kind.IMAGE, within)

    def artifact(self, artifact: MappingNode) -> Iterator[Finding]:
        within = f"artifact {_name(artifact, 'image')}"
        kaniko = artifact.get("kaniko")
        if isinstance(kaniko, MappingNode):
            yield from self.scalar(kaniko.scalar("image"), Kind.BUILDER, within)
            yield from self.scalar(kaniko.scalar("initImage"), Kind.BUILDER, within)
            yield from self.scalar(kaniko.scalar("cache", "repo"), Kind.CACHE, within)
        aliases = {
            required.scalar("alias") for required in artifact.items("requires") if isinstance(required, MappingNode)
        }
        built = {alias.text for alias in aliases if alias is not None}
        for path in (("buildpacks", "builder"), ("buildpacks", "runImage")):
            node = artifact.scalar(*path)
            if node is not None and node.text not in built:
                yield from self.scalar(node, Kind.BUILDER, within)
        for buildpack in artifact.items("buildpacks", "buildpacks"):
            yield from self.buildpack(buildpack, within)
        yield from self.jib(artifact.scalar("jib", "fromImage"), within)
        yield from self.scalar(artifact.scalar("ko", "fromImage"), Kind.FROM, within)
        yield from self.dockerfile(artifact, within)

    def buildpack(self, node: Node, within: str) -> Iterator[Finding]:
        """One that is named as an image; others are in the builder, in a directory or in a tar file."""
        if isinstance(node, ScalarNode) and node.text.startswith(_BUILDPACK_IMAGE):
            yield self.found(node, Kind.BUILDER, within, (len(_BUILDPACK_IMAGE), len(node.text)))

    def jib(self, node: ScalarNode | None, within: str) -> Iterator[Finding]:
        """Jib takes the image of a daemon or of a registry, or a tar file ("jib.from.image" of its plugins)."""
        if node is not None and not node.text.startswith(_JIB_FILE):
            prefix = _JIB_IMAGE.match(node.text)
            yield self.found(node, Kind.FROM, within, (prefix.end() if prefix else 0, len(node.text)))

    def scalar(self, node: Node | None, kind: Kind, within: str) -> Iterator[Finding]:
        """An image that a field names, unless it is an artifact, or nothing."""
        if isinstance(node, ScalarNode) and node.text and not node.is_null and node.text not in self.made:
            yield self.found(node, kind, within, (0, len(node.text)))

    def found(self, node: ScalarNode, kind: Kind, within: str, part: Range) -> Found:
        raw = node.text[part[0] : part[1]]
        return found(node.place_within(*part), kind, raw, self.text(raw), within=within)

    # Dockerfiles

    def dockerfile(self, artifact: MappingNode, within: str) -> Iterator[Finding]:
        """An artifact without a builder is built from a Dockerfile."""
        options, name = _dockerfile_options(artifact)
        if options is None:
            return
        for cache in options.items("cacheFrom"):
            if isinstance(cache, ScalarNode) and (part := image_in_cache(cache.text)):
                yield self.found(cache, Kind.CACHE, within, part)
        for flag in flags_in(options.items("cliFlags")):
            if part := flag.image:
                yield self.found(flag.node, flag.kind, within, part)
        named = options.scalar(name)
        named_at = named or artifact.scalar("context") or artifact.scalar("image")
        place = named_at.place if named_at is not None else artifact.place
        context = artifact.scalar("context")
        match self.text(context.text if context else "."), self.text(named.text if named else "Dockerfile"):
            case Known(directory), Known(file):
                path = self.dockerfile_path(directory, file)
                yield from dockerfile.find_in_build(path, place, self.search, self.build(artifact, options, within))
            case (Unknown(reason), _) | (_, Unknown(reason)):
                yield Trouble(place=place, problem=f"the Dockerfile of {within} is not known: {reason}")

    def dockerfile_path(self, context: str, name: str) -> str:
        """In the context, or else beside the configuration, where several contexts may share it."""
        directory = directory_of(self.path)
        in_context, beside = join(join(directory, context), name), join(directory, name)
        is_shared = not self.search.files.is_file(in_context) and self.search.files.is_file(beside)
        return beside if is_shared else in_context

    def build(self, artifact: MappingNode, options: MappingNode, within: str) -> Build:
        arguments: dict[str, Text] = {}
        contexts: dict[str, Text] = {}
        for required in artifact.items("requires"):
            image = required.scalar("image") if isinstance(required, MappingNode) else None
            if image is not None and isinstance(required, MappingNode):
                # The argument is an image that is built here, of a name that Skaffold makes up; no name in the
                # Dockerfile is replaced.
                alias = required.scalar("alias") or image
                built = f"the image that {image.text} is built as"
                arguments[alias.text] = Known(built, (f"requires of {within} ({self.path}:{image.place.line})",))
                contexts[built] = Known(f"target:{image.text}")
        for name, value in options.pairs("buildArgs"):
            step = f"buildArgs of {within} ({self.path}:{name.place.line})"
            if isinstance(value, ScalarNode):
                text: Text = Unknown(f"build argument {name.text} is taken from the environment of whoever builds")
                if not value.is_null:
                    text = self.text(value.text)
                arguments[name.text] = replace(text, how=(*text.how, step))
        for flag in flags_in(options.items("cliFlags")):
            given = {"--build-arg": arguments, "--build-context": contexts}.get(flag.name)
            if given is not None and flag.key:
                given[flag.key] = self.text(flag.value)
        target = options.scalar("target")
        image = artifact.scalar("image")
        line = image.place.line if image is not None else artifact.place.line
        return Build(
            arguments=arguments,
            contexts=contexts,
            target=self.text(target.text) if target is not None else Known(""),
            how=(f"{within} ({self.path}:{line})",),
        )

    def text(self, written: str) -> Text:
        """A text with its templates filled in ("Templated fields"): `{{.NAME}}` is a variable of the environment."""
        parts: list[Text] = []
        end = 0
        for match in _TEMPLATE.finditer(written):
            parts.extend((Known(written[end : match.start()]), self.template(match[0])))
            end = match.end()
        return joined(*parts, Known(written[end:]))

    def template(self, written: str) -> Text:
        variable = _VARIABLE.fullmatch(written)
        if variable is None:
            return Unknown(f"template {written} is worked out when Skaffold runs")
        name = variable[1]
        if name in self.search.settings.variables:
            return Known(self.search.settings.variables[name], (f"variable {name} that was given",))
        return Unknown(f"variable {name} is not known here; give it with --env {name}=…")


_OTHER_BUILDERS: Sequence[str] = ("bazel", "buildpacks", "jib", "ko")


def _dockerfile_options(artifact: MappingNode) -> tuple[MappingNode | None, str]:
    """What says how the Dockerfile is built, and the key that names it; None where there is none."""
    for path in (("docker",), ("kaniko",)):
        node = artifact.get(*path)
        if isinstance(node, MappingNode):
            return node, "dockerfile"
    if artifact.get("custom") is not None:
        node = artifact.get("custom", "dependencies", "dockerfile")
        return (node if isinstance(node, MappingNode) else None), "path"
    if any(artifact.get(builder) is not None for builder in _OTHER_BUILDERS):
        return None, ""
    return MappingNode(artifact.place, "", ()), "dockerfile"


def _name(node: Node | None, key: str = "name") -> str:
    name = node.scalar(key) if isinstance(node, MappingNode) else None
    return name.text if name is not None else "(without a name)"
