"""What the finders for files of continuous integration share."""

from collections.abc import Iterator

from pullgate_finders.found import Place, Trouble
from pullgate_finders.values import Known, Text, Unknown, joined
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, Node, ScalarNode, load

MAX_LENGTH = 4096
"""Characters that a text may come to. A reference has at most 1,024; without a limit a few variables make gigabytes."""


def documents(file: str, text: str) -> Iterator[Node | Trouble]:
    """The documents of a YAML file; trouble instead of what cannot be read, which is all that follows."""
    try:
        yield from load(file, text)
    except InvalidYamlError as error:
        place = Place(file, error.line, error.column, error.line, error.column)
        yield Trouble(place=place, problem=error.problem)


def image_in(node: Node | None, key: str) -> ScalarNode | None:
    """The image that a value names: the value itself, or what stands under a key of it; None where there is none."""
    if isinstance(node, MappingNode):
        node = node.get(key)
    if isinstance(node, ScalarNode) and not node.is_null and node.text.strip():
        return node
    return None


def limited(*parts: Text) -> Text:
    """The texts one after another, as `values.joined` gives them; unknown if that is too long."""
    if sum(len(part.value) for part in parts if isinstance(part, Known)) > MAX_LENGTH:
        return Unknown(f"it comes to more than {MAX_LENGTH} characters")
    return joined(*parts)
