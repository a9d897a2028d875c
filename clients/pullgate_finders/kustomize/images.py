"""The `images` of a kustomization: what it puts instead of the images of its resources.

What they come to follows kustomize's api/filters/imagetag/updater.go: a new tag or digest replaces tag and digest of
the image; without one they stay, and are looked up in the resources as far as those lie in the tree.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pullgate_finders.compose.numbers import number
from pullgate_finders.found import Finding, Kind, found
from pullgate_finders.values import Known, Text, Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode

_TAG_AND_DIGEST = re.compile(r"(?::[A-Za-z0-9_.{}-]*)?(?:@sha256:[A-Za-z0-9_.{}-]*)?")
_TAG_OR_DIGEST = re.compile(r"(?::[^:/@]*)?(?:@.*)?$")
_KEYS = ("name", "newName", "newTag", "digest", "tagSuffix")
MAX_ENTRIES = 1000
"""So many entries are followed where tags stay; a kustomization with more is made, not written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """The images of a kustomization's resources.

    Attributes:
        images: as they are, with the place where each was written first: `pod.yaml:3`.
        doubt: why there may be others; empty where there are none.
    """

    images: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""

    def of(self, name: str) -> list[str]:
        """Those that an entry of that name replaces."""
        return [text for text in self.images if text.startswith(name) and _TAG_AND_DIGEST.fullmatch(text, len(name))]

    def after(self, entries: Iterable["Entry"]) -> "Resources":
        """The resources when entries have changed their images, one after another."""
        images, doubt = dict(self.images), self.doubt
        for number_of_entry, entry in enumerate(entries):
            if number_of_entry == MAX_ENTRIES:
                doubt = doubt or f"more than {MAX_ENTRIES} entries change the images"
                break
            doubt = doubt or entry.refusal
            if entry.suffix:
                doubt = doubt or f"tagSuffix {entry.suffix} is put behind it"
            for text in Resources(images=images).of(entry.name):
                where = images.pop(text)
                images.setdefault(entry.instead_of(text), where)
        return Resources(images=images, doubt=doubt)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `images` with what is given in it."""

    given: dict[str, ScalarNode] = field(default_factory=dict)

    @classmethod
    def of(cls, image: Node) -> "Entry | None":
        """The entry that a value is; None where it changes nothing."""
        if not isinstance(image, MappingNode):
            return None
        scalars = ((key, image.scalar(key)) for key in _KEYS)
        entry = cls({key: scalar for key, scalar in scalars if scalar is not None and scalar.text})
        is_change = entry.given.keys() & {"name", "newName"} and entry.given.keys() - {"name"}
        return entry if is_change else None

    @property
    def keeps_tag(self) -> bool:
        """Whether tag and digest stay those of the image that it replaces."""
        return not self.given.keys() & {"newTag", "digest", "tagSuffix"}

    @property
    def name(self) -> str:
        """The images it is for; a name may say which tag it replaces."""
        return self._text("name")

    @property
    def repository(self) -> str:
        """What stands before tag and digest in the end."""
        return self._text("newName") or _divided(self.name)[0]

    @property
    def refusal(self) -> str:
        """Why kustomize refuses it; empty where it does not.

        A text that YAML takes for a number is none for it (`cannot unmarshal number … of type string`).
        """
        for key, scalar in self.given.items():
            if not scalar.style and number(scalar.text) is not None:
                return f"{key} {scalar.text} is a number, which kustomize refuses; put quotes around it"
        return ""

    @property
    def suffix(self) -> str:
        """What is put behind the tag."""
        return self._text("tagSuffix")

    def texts(self, there: Resources) -> Iterator[Text]:
        """What is pulled because of it: a text for each tag that stays."""
        beginning = f"{self.repository}:"
        if self.refusal:
            yield Unknown(self.refusal, beginning=beginning)
        elif self.suffix:
            replaced = _divided(self.name)[0]
            reason = f"its tag is that of image {replaced} with {self.suffix} behind it, once per kustomization"
            yield Unknown(reason, beginning=beginning)
        elif not self.keeps_tag:
            yield Known(self.instead_of(self.name))
        else:
            texts = there.of(self.name)
            for text in texts:
                yield Known(self.instead_of(text), (f"the tag stays that of {text} ({there.images[text]})",))
            doubt = there.doubt or ("" if texts else "no resource that is here has it")
            if doubt:
                reason = f"its tag stays that of image {self.name}, which is not known: {doubt}; give a newTag"
                yield Unknown(reason, beginning=beginning)

    def instead_of(self, image: str) -> str:
        """What it makes of an image."""
        tag, digest = self._text("newTag"), self._text("digest")
        rest = (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        return self.repository + (rest or _divided(image)[1])

    def _text(self, key: str) -> str:
        return self.given[key].text if key in self.given else ""


def find_in_images(
    images: Iterable[Node], within: str, resources: Callable[[], Resources] | None = None
) -> Iterator[Finding]:
    """What the entries come to: at `newName` where there is one, else at `name`.

    Args:
        resources: reads those of the kustomization; None where they lie elsewhere.
    """
    entries = entries_of(images)
    there = Resources(doubt="the resources are elsewhere")
    if resources is not None and any(entry.keeps_tag for entry in entries):
        there = resources()
    for position, entry in enumerate(entries):
        at = entry.given.get("newName") or entry.given["name"]
        for text in entry.texts(there):
            yield found(at.place, Kind.IMAGE, at.source.text, text, within=within)
        if position == MAX_ENTRIES:
            there = Resources(doubt=f"more than {MAX_ENTRIES} entries change the images")
        there = there.after([entry])


def entries_of(images: Iterable[Node]) -> list[Entry]:
    """The entries among values that change something."""
    return [entry for image in images if (entry := Entry.of(image)) is not None]


def _divided(image: str) -> tuple[str, str]:
    """A name, and the tag and digest behind it."""
    match = _TAG_OR_DIGEST.search(image)
    end = match.start() if match else len(image)
    return image[:end], image[end:]
