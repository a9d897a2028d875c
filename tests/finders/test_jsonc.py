"""JSON with comments, made into JSON whose characters stay at their places."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_finders import jsonc
from pullgate_finders.yaml_nodes import InvalidYamlError, MappingNode, ScalarNode, walk
from tests.finders.looking import written_at

CASES = {
    "a comment to the end of the line": ('{"a": 1} // {"b": 2}', {"a": 1}),
    "a comment over lines": ('{/* x\n\n , */"a": 1}', {"a": 1}),
    "a comment that has no end": ('{"a": 1} /* x', {"a": 1}),
    "slashes and stars in a string are its own": ('{"a": "https://x /* y */ // z"}', {"a": "https://x /* y */ // z"}),
    "a quote in a comment opens no string": ('{ // "\n"a": "b" /* " */ }', {"a": "b"}),
    "an escaped quote closes no string": (r'{"a": "\" // \\", "b": 1 // "' + "\n}", {"a": '" // \\', "b": 1}),
    "commas behind the last value": ('{"a": [1, 2, ], "b": {"c": 3,\n}, }', {"a": [1, 2], "b": {"c": 3}}),
    "a comma behind the last value, and a comment": ("[1, // x\n]", [1]),
    "commas in strings": ('[",]", ",}"]', [",]", ",}"]),
    "tabs and other blanks": ('{\t"a"\t:\t1\r\n\t}', {"a": 1}),
    "escapes": (r'["\/\b\f\u00e9\n"]', ["/\b\f\u00e9\n"]),
    "half a character, and a whole one in two escapes": (
        r'["\ud83d", "\ud83d\ude00", "\\ud83d"]',
        ["\ufffd", "\ufffd\ufffd", r"\ud83d"],
    ),
}


@pytest.mark.parametrize(("text", "value"), CASES.values(), ids=CASES)
def test_what_is_beyond_json_becomes_blank(text, value):
    """Comments and last commas become blanks; what is left is JSON of the same length with the same line breaks."""
    blanked = jsonc.blank(text)

    assert json.loads(blanked) == value
    assert len(blanked) == len(text)
    assert [at for at, character in enumerate(blanked) if character == "\n"] == [
        at for at, character in enumerate(text) if character == "\n"
    ]


@pytest.mark.parametrize("text", [text for text, _ in CASES.values()], ids=CASES)
def test_what_is_left_is_read_with_places(text):
    """Values of it stand where they stood in the file, comments and all."""
    (root,) = jsonc.load("f.json", text)

    for node in walk(root):
        if isinstance(node, ScalarNode) and "\\" not in text:
            assert written_at(text, node.place) == node.text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\x7f")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=20), inner),
        max_leaves=10,
    ),
    st.sampled_from([None, 1, "\t"]),
)
def test_json_stays_json(value, indent):
    """JSON without comments comes to the same value, whatever its strings hold."""
    text = json.dumps(value, indent=indent)

    assert json.loads(jsonc.blank(text)) == json.loads(jsonc.blank(json.dumps(value)))
    if text.isascii() and "\\u" not in text:
        assert json.loads(jsonc.blank(text)) == value


@pytest.mark.parametrize("text", ['{"a": ', '{"a" "b"}', '["a": }', '{"a": "b', "{]"])
def test_what_is_no_json_is_refused(text):
    """A file that is cut off or wrong is refused; nothing else is raised."""
    with pytest.raises(InvalidYamlError) as error:
        list(jsonc.load("f.json", text))

    assert "YAML" in error.value.problem


def test_a_file_of_comments_holds_nothing():
    """Where there is no value there is none, and no error."""
    assert list(jsonc.load("f.json", "// nothing\n/* here */\n")) == []


@pytest.mark.parametrize(
    "text",
    ['"' + '\\"' * 200_000, "/*" * 200_000, '"\n' * 200_000, "," * 200_000 + " ", "//" * 200_000, '"\\\\' * 200_000],
)
def test_no_text_takes_more_than_its_length(text):
    """What is made to let patterns start over and over is gone through once; else this would take hours."""
    assert len(jsonc.blank(text)) == len(text)


def test_a_mapping_is_read_as_one():
    """A document of properties is a mapping whose keys are found by name."""
    (root,) = jsonc.load("f.json", '{"build": {"dockerfile": "D", // x\n}}')

    assert isinstance(root, MappingNode)
    assert (name := root.scalar("build", "dockerfile")) is not None
    assert name.text == "D"
