"""YAML with positions, and what is made to explode."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, ScalarNode, load, walk

DOCUMENT = """\
plain: nginx:1.27   # a comment
"quoted": "redis:7"
single: 'it''s'
anchored: &base alpine
tagged: !reset null
block: |
  FROM alpine
    RUN true
folded: >-
  one
  two
ключ: образ
flow: {image: busybox, list: [a, "b"]}
"""


def scalars(text):
    return [node for root in load("f.yaml", text) for node in walk(root) if isinstance(node, ScalarNode)]


def at(text, place):
    """What stands in the text at a place on one line."""
    assert place.line == place.end_line
    return text.split("\n")[place.line - 1][place.column - 1 : place.end_column - 1]


@pytest.mark.parametrize("value", ["nginx:1.27", "redis:7", "alpine", "образ", "busybox", "a", "b"])
def test_a_scalar_stands_where_its_place_says(value):
    """The place of a plain or quoted scalar is that of its characters: no quotes, no anchor, no comment."""
    (node,) = [node for node in scalars(DOCUMENT) if node.text == value]

    assert at(DOCUMENT, node.place) == value


def test_lines_of_a_literal_block_stand_where_they_are():
    """What is within a literal block is placed by the lines of the file, behind their indentation."""
    (block,) = [node for node in scalars(DOCUMENT) if node.style == "|"]

    assert block.text == "FROM alpine\n  RUN true\n"
    assert at(DOCUMENT, block.place_within(5, 11)) == "alpine"
    assert at(DOCUMENT, block.place_within(14, 17)) == "RUN"


@pytest.mark.parametrize("style", ["'", ">"])
def test_a_scalar_whose_characters_are_not_the_file_s_has_one_place(style):
    """Folded and escaped texts have no place of their own for each character: all of them are where the scalar is."""
    (node,) = [node for node in scalars(DOCUMENT) if node.style == style]

    assert node.place_within(0, 1) == node.place_within(2, 3) == node.place


def test_types_are_not_guessed():
    """`on` stays a key, and what YAML 1.1 takes for a number in base sixty stays a text."""
    (root,) = load("f.yaml", "on: 22:22\nversion: 1.20\nempty:\nnull_text: 'null'\n")

    assert isinstance(root, MappingNode)
    assert [(key.text, getattr(value, "text", None)) for key, value in root.entries] == [
        ("on", "22:22"),
        ("version", "1.20"),
        ("empty", ""),
        ("null_text", "null"),
    ]
    assert root.scalar("empty") is None
    assert root.scalar("null_text") is not None


def test_merge_keys_give_way_to_own_ones():
    """`<<` brings the entries of one or several mappings; the first of several wins, and an own entry over all."""
    text = "a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {y: 3, <<: [*a, *b]}\n"
    (root,) = load("f.yaml", text)

    assert isinstance(root, MappingNode)
    values = [root.scalar("c", key) for key in "xyz"]
    assert [value and value.text for value in values] == ["1", "3", "2"]


def test_documents_before_a_broken_one_are_read():
    """In a file of several documents the ones before the error are given first."""
    documents = load("f.yaml", "a: 1\n---\nb: 2\n---\nc: [\n")

    assert [type(next(documents)), type(next(documents))] == [MappingNode, MappingNode]
    with pytest.raises(InvalidYamlError) as raised:
        next(documents)
    assert raised.value.line == 6


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 9)}]\n" for level in range(9)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (LAUGHS, "a document has more than 1,000,000 values, aliases expanded"),
        ("a: &a [*a]", "an alias contains itself"),
        ("{" * 600 + "}" * 600, "the YAML is nested too deeply to be read"),
        ("- " * 5000 + "x", "not valid YAML: exceeded maximum nesting depth"),
        ("a: [", "not valid YAML: did not find expected node content"),
        ("a: *nowhere", "not valid YAML: found undefined alias"),
        ("a: \x01", "not valid YAML: unacceptable character #x0001: control characters are not allowed"),
    ],
    ids=["laughs", "itself", "deep", "deeper", "open", "undefined", "control"],
)
def test_what_cannot_be_read_is_told(text, problem):
    """A document that explodes, contains itself, is nested without end or is no YAML is told of in a sentence."""
    with pytest.raises(InvalidYamlError) as raised:
        list(load("f.yaml", text))

    assert raised.value.problem == problem


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#\n \té%@`,?<\r\x85\u2028"), max_size=60))
def test_any_text_is_read_or_told_of(text):
    """Whatever the text, there are nodes or there is an InvalidYamlError, and every exact place is within the text."""
    lines = re.split("\r\n|[\n\r\x85\u2028]", text)
    try:
        nodes = scalars(text)
    except InvalidYamlError:
        return
    for node in nodes:
        if node.source.whole is None and node.style not in {"|", ">"}:
            assert lines[node.place.line - 1][node.place.column - 1 : node.place.end_column - 1] == node.text
        assert 1 <= node.place.line <= len(lines) + 1
