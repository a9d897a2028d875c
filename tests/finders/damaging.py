"""Files of continuous integration that are damaged: their text cut up, or their values of other kinds than is meant."""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from pullgate_finders import Finder, Found, Place, Search
from pullgate_finders.tree import FilesInMemory
from tests.finders.looking import damaged, is_where_it_says

CORPUS = Path(__file__).parent / "corpus"

_OTHER_BREAKS = re.compile("\r(?!\n)|[\x85\u2028\u2029]")
"""What ends a line in YAML, but not where lines are counted for people."""

_OTHERS: tuple[Any, ...] = (
    None,
    True,
    1,
    "",
    "x",
    "$X",
    "${{ a }}",
    "<< parameters.a >>",
    [],
    [[]],
    ["x", None],
    {},
    {"name": []},
)


def trees(directory: str) -> list[dict[str, str]]:
    """The trees of the corpus of a format: the texts of their files by path."""
    return [
        {
            path.relative_to(tree).as_posix(): path.read_bytes().decode("utf-8-sig")
            for path in sorted(tree.rglob("*"))
            if path.is_file()
        }
        for tree in sorted(CORPUS.glob(f"{directory}/*/"))
    ]


@st.composite
def damaged_trees(draw: Callable[[st.SearchStrategy], Any], directory: str) -> dict[str, str]:
    """A tree of the corpus with one of its files damaged."""
    files: dict[str, str] = dict(draw(st.sampled_from(trees(directory))))
    path = draw(st.sampled_from(sorted(files)))
    files[path] = draw(st.one_of(damaged([files[path]]), _with_other_values(files[path])))
    return files


def check(finder: Finder, files: dict[str, str]) -> None:
    """Looks into all the files that the finder claims: nothing may be raised, and each place must be right."""
    search = Search(files=FilesInMemory(files))
    for path in filter(finder.claims, sorted(files)):
        for finding in finder.find(path, files[path], search):
            if finding.place.line != finding.place.end_line:
                continue  # a text that is folded stands there in other words
            if finding.place == Place(finding.place.file, 1, 1, 1, 1):
                continue  # a frontend that a build argument names stands in no line of the Dockerfile
            if isinstance(finding, Found) and not _OTHER_BREAKS.search(files[finding.place.file]):
                assert is_where_it_says(finding, files[finding.place.file]), finding


@st.composite
def _with_other_values(draw: Callable[[st.SearchStrategy], Any], text: str) -> str:
    """The text with some of its values replaced by values of other kinds."""
    try:
        documents = list(yaml.load_all(text, _AnyTag))
    except yaml.YAMLError:
        return text
    for _ in range(draw(st.integers(1, 3))):
        spots = [spot for document in documents for spot in _spots(document, 0)]
        if spots:
            holder, key = draw(st.sampled_from(spots))
            holder[key] = copy.deepcopy(draw(st.sampled_from(_OTHERS)))
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=10_000)


def _spots(value: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        if depth < 20:
            yield from _spots(item, depth + 1)


class _AnyTag(yaml.SafeLoader):
    """Reads values whose tags it does not know as if they had none."""


def _without_tag(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return node.value


_AnyTag.add_multi_constructor("!", _without_tag)
