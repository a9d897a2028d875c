"""Kubernetes objects: the PodSpec of any workload, and the images of custom resources.

A PodSpec is recognised by its shape: `containers`, `initContainers` and `ephemeralContainers` with `image`, and
`volumes[].image.reference` (Kubernetes API reference, PodSpec, Container and ImageVolumeSource). So it is found in
every workload, in every kind of list, and in custom resources that embed one.

Custom resources also name images as `image: text` at places of their own, as Tekton's steps do. There a text counts
only if it reads as an image reference and not as the image of a machine's disk or a picture. A mapping is none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding, Found, Kind, Place, Trouble, found
from pullgate_finders.helm.chart import Chart
from pullgate_finders.helm.images import find_in_values
from pullgate_finders.kubernetes.parameters import NO_PARAMETERS, Parameters, declared
from pullgate_finders.kustomize.images import find_in_images
from pullgate_finders.values import Known, Text, Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode

_CONTAINERS = {
    "containers": "container",
    "initContainers": "init container",
    "ephemeralContainers": "ephemeral container",
}

_OWN_GROUPS = frozenset({"apps", "batch", "extensions", "policy", "autoscaling"})
"""Kubernetes' own API groups besides the nameless one and those under k8s.io."""

_OPAQUE_KINDS = frozenset({"ConfigMap", "Secret", "CustomResourceDefinition", "CompositeResourceDefinition"})
"""Kinds that hold data of others, or the shape of it: a field called `image` in there is pulled by nobody."""

_SKIPPED_KEYS = frozenset(
    {"metadata", "status", "data", "stringData", "encryptedData", "schema", "openAPIV3Schema", "rbd"}
)
"""Below these nothing is pulled: what is said about an object, what was observed, data, shapes, disks of Ceph."""

_VALUES_KEYS = frozenset({"values", "valuesObject"})
"""Below these in custom resources are values for Helm charts (Flux HelmRelease, Argo CD Application, Fleet)."""

_OUTPUT_KEYS = frozenset({"output", "outputs"})
"""Below these is what a build makes (Shipwright, OpenShift)."""

_GROUPS_WITHOUT_IMAGES = (
    "infrastructure.cluster.x-k8s.io",  # disks of machines, as in the three below
    "machine.openshift.io",
    "kops.k8s.io",
    "cnrm.cloud.google.com",
    "crossplane.io",
    "upbound.io",
    "image.toolkit.fluxcd.io",  # repositories whose tags are watched; nothing is pulled
)

_NO_CONTAINER_IMAGE = re.compile(
    r"[-+]?[0-9.]+|true|false"
    r"|ami-[0-9a-f]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:projects/)?[^/]+/global/images/.+"
    r"|.+\.(?:png|svg|jpe?g|gif|webp|ico|bmp|avif|iso|qcow2|vmdk|raw)",
    re.IGNORECASE,
)
"""Numbers, disks of machines in clouds, and files with pictures or disks."""


def find_in_object(
    root: MappingNode, *, text: str = "", api_version: str = "", kind: str = "", parameters: Parameters | None = None
) -> Iterator[Finding]:
    """The images of an object, and of those in it if it is a list; nothing if it is no Kubernetes object.

    Args:
        text: of the file, where its lines are those of the object's places.
        api_version, kind: what it is where it does not say so itself, as the items of a PodList.
        parameters: those of the object that it is in.
    """
    api_version = _text(root, "apiVersion") or api_version
    kind = _text(root, "kind") or kind
    if not api_version or not kind or kind in _OPAQUE_KINDS:
        return
    if kind.endswith("List") and isinstance(root.get("items"), SequenceNode):
        of_item = kind.removesuffix("List")
        for item in root.items("items"):
            if isinstance(item, MappingNode):
                yield from find_in_object(item, text=text, api_version=api_version, kind=of_item, parameters=parameters)
        return
    group = api_version.rpartition("/")[0]
    name = _text(root, "metadata", "name") or _text(root, "metadata", "generateName")
    within = f"{kind} {name}".strip()
    is_custom = _is_custom(group)
    if parameters is None:
        parameters = declared(root) if is_custom or kind == "Template" else NO_PARAMETERS
    has_images = is_custom and not group.endswith(_GROUPS_WITHOUT_IMAGES)
    walk = _Walk(within=within, is_custom=is_custom, has_images=has_images, parameters=parameters, text=text)
    yield from walk.findings(root)
    if group == "kustomize.toolkit.fluxcd.io":
        yield from find_in_images(root.items("spec", "images"), within)


def find_in_fragment(root: Node, within: str) -> Iterator[Finding]:
    """The images of a part of an object, as a patch has it."""
    yield from _Walk(within=within, is_custom=False, has_images=False, parameters=NO_PARAMETERS, text="").findings(root)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """Goes through an object.

    Attributes:
        has_images: whether `image: text` outside of containers may be a container image.
        text: of the file.
    """

    within: str
    is_custom: bool
    has_images: bool
    parameters: Parameters
    text: str

    def findings(self, root: Node) -> Iterator[Finding]:
        pending: list[tuple[Node, str, str, Parameters]] = [(root, "", self.within, self.parameters)]
        while pending:
            node, key, within, parameters = pending.pop()
            if isinstance(node, SequenceNode):
                pending.extend((item, key, self._named(item, key), parameters) for item in node.items)
            elif (
                isinstance(node, MappingNode) and node is not root and node.scalar("apiVersion") and node.scalar("kind")
            ):
                yield from find_in_object(node, text=self.text, parameters=parameters if parameters.values else None)
            elif isinstance(node, MappingNode) and key in _CONTAINERS:
                yield from self._container(node, within, parameters)
            elif isinstance(node, MappingNode) and key in _VALUES_KEYS and self.is_custom:
                yield from find_in_values(node, Chart.unknown("the chart is not here"), within)
            elif isinstance(node, MappingNode):
                inner = parameters.within(node)
                yield from self._images(node, key, within, inner)
                pending.extend(
                    (value, name, within, inner)
                    for name, value in _last_values(node)
                    if name not in _SKIPPED_KEYS and not (name in _OUTPUT_KEYS and self.is_custom)
                )

    def _named(self, item: Node, key: str) -> str:
        """What a value in a list is called."""
        name = _text(item, "name") if isinstance(item, MappingNode) else ""
        return f"{self.within}, {_CONTAINERS.get(key, key.removesuffix('s'))} {name}" if name else self.within

    def _container(self, container: MappingNode, within: str, parameters: Parameters) -> Iterator[Finding]:
        image = container.get("image")
        match image:
            case ScalarNode(is_null=False):
                yield _found(image, Kind.IMAGE, _required(image, parameters), within)
            case MappingNode(entries=()):
                # `{{ .Image }}` without quotes is YAML: a mapping whose key is a mapping.
                reason = "it is a template, which this file is not read as; check what is made of the file instead"
                yield found(image.place, Kind.IMAGE, self._written(image.place), Unknown(reason), within=within)
            case MappingNode() if self.is_custom:
                pass
            case MappingNode() | SequenceNode():
                yield Trouble(place=image.place, problem="the image of a container is to be a text")

    def _written(self, place: Place) -> str:
        lines = self.text.split("\n")[place.line - 1 : place.end_line]
        return lines[0][place.column - 1 : place.end_column - 1] if len(lines) == 1 else "{{ }}"

    def _images(self, node: MappingNode, key: str, within: str, parameters: Parameters) -> Iterator[Finding]:
        """What a mapping that is no container says of images itself."""
        reference = node.get("image", "reference") if key == "volumes" else None
        if isinstance(reference, ScalarNode) and not reference.is_null:
            yield _found(reference, Kind.VOLUME, _required(reference, parameters), within)
        image = node.get("image")
        if self.has_images and isinstance(image, ScalarNode) and not image.is_null:
            yield from _likely(image, within, parameters)
        if self.has_images and _text(node, "kind") == "DockerImage":
            name = node.scalar("name")
            if name is not None:
                yield _found(name, Kind.IMAGE, parameters.text_of(name.text), within)


def _required(image: ScalarNode, parameters: Parameters) -> Text:
    """The API server refuses an empty image (validation.go: validateContainerCommon), but not a blank one."""
    if not image.text.strip():
        return Unknown("the image is empty, which is no valid container, so something else has to fill it in")
    return parameters.text_of(image.text)


def _likely(image: ScalarNode, within: str, parameters: Parameters) -> Iterator[Finding]:
    """An image where none has to be: only what reads as one counts."""
    if not image.text.strip() or _NO_CONTAINER_IMAGE.fullmatch(image.text):
        return
    text = parameters.text_of(image.text)
    candidate = _found(image, Kind.IMAGE, text, within)
    if isinstance(text, Unknown) or candidate.reference is not None:
        yield candidate


def _found(scalar: ScalarNode, kind: Kind, text: Text, within: str) -> Found:
    if isinstance(text, Known) and text.value == scalar.text:
        text = Known(scalar.text.strip())
    return found(scalar.place, kind, scalar.source.text, text, within=within)


def _text(node: MappingNode, *path: str) -> str:
    scalar = node.scalar(*path)
    return scalar.text if scalar is not None else ""


def _last_values(node: MappingNode) -> list[tuple[str, Node]]:
    """Of a key that is given twice the last value counts."""
    return list({key.text: value for key, value in node.entries}.items())


def _is_custom(group: str) -> bool:
    own = group in _OWN_GROUPS or not group or (group.endswith(".k8s.io") and not group.endswith("x-k8s.io"))
    return not own or group == "kops.k8s.io"
