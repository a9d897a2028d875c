"""Words of a FROM: quotes, escapes, variables and patterns."""

import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullgate_finders.dockerfile.expansion import MAX_LENGTH, ExpansionError, Unset, expand, split_words
from pullgate_finders.values import Known, Text, Unknown

VALUES: dict[str, Text | Unset] = {
    "v": Known("1.2.3"),
    "empty": Known(""),
    "default": Known("d", ("default of build argument default (Dockerfile:1)",), overridable=True),
    "given": Unset(reason="build argument given has no default"),
    "platform": Unknown("it is the platform's"),
    "path": Known("a/b\\c/b"),
}


def comes_to(word: str, escape: str = "\\") -> Text:
    """What a word comes to with the values above."""
    return expand(word, escape, lambda name: VALUES.get(name, Unset()))


@pytest.mark.parametrize(
    ("word", "value", "why"),
    [
        ("a:$v", "a:1.2.3", "a name goes on as long as there are letters, digits and underscores"),
        ("a$v_", "a", "an underscore belongs to the name"),
        ("a$v-x", "a1.2.3-x", "a dash does not"),
        ("${v}0", "1.2.30", "braces end a name"),
        ("$", "$", "a dollar alone is one"),
        ("$.x$", "$.x$", "also before what is no name"),
        ("$1x", "x", "positional parameters are empty"),
        ("$12x", "x", "whatever their number"),
        ("a$@b$*c$#d$?e$-f$$g$!h", "abcdefgh", "so are special parameters"),
        ("${empty:-w}", "w", "with the colon an empty value is as none"),
        ("${empty-w}", "", "without it it is a value"),
        ("${nope-w}", "w", "what is not declared is unset"),
        ("${nope:-${empty:-${v}}}", "1.2.3", "words have variables of their own"),
        ("${nope:-'$v'}", "$v", "and quotes"),
        ("${nope:-a b}", "a b", "and spaces"),
        ("${nope:-\\}}", "}", "and escapes"),
        ("${nope:-}", "", "and may be empty"),
        ("${v:+w}", "w", "+ takes the word where there is a value"),
        ("${empty:+w}x", "x", "with the colon only one that is not empty"),
        ("${empty+w}", "w", "without it any"),
        ("${nope+w}x", "x", "and nothing where there is none"),
        ("${v?no}", "1.2.3", "? changes nothing where there is a value"),
        ("${empty?no}x", "x", "not even an empty one"),
        ("${v#*.}", "2.3", "# takes the shortest beginning away"),
        ("${v##*.}", "3", "## the longest"),
        ("${v%.*}", "1.2", "% the shortest end"),
        ("${v%%.*}", "1", "%% the longest"),
        ("${v#?}", ".2.3", "? is one character"),
        ("${v#2}", "1.2.3", "what does not match takes nothing away"),
        ("${v#\\*}", "1.2.3", "an escaped star is a star"),
        ("${v:#*.}", "2.3", "a colon before # means nothing"),
        ("${v/./-}", "1-2.3", "/ replaces the first match"),
        ("${v//./-}", "1-2-3", "// all of them"),
        ("${v//[0-9]/x}", "1.2.3", "brackets are no pattern"),
        ("${v/.*/}", "1", "a match is as long as can be"),
        ("${v/$default/x}", "1.2.3", "patterns have variables"),
        ("${v/1/$v}", "1.2.3.2.3", "and so have replacements"),
        ("${path/\\//-}", "a-b\\c/b", "a slash is escaped in a pattern"),
        ("${path//b*c/x}", "a/x/b", "a star goes over anything"),
        ("${path//\\\\/x}", "a/bxc/b", "an escaped backslash is one"),
        ("${empty/*/x}", "x", "a star matches nothing, too (Go's regexp)"),
        ("${v//*/x}", "x", "and nothing is not matched right behind a match"),
        ("${v///-}", "-1-.-2-.-3-", "an empty pattern matches everywhere"),
        ("a'$v\"'", 'a$v"', "single quotes keep everything"),
        ('"$v\'"', "1.2.3'", "double quotes keep single ones"),
        ('"\\$v \\" \\\\ \\a"', '$v " \\ \\a', "and escapes are for $, quotes and escapes alone"),
        ("\\$v\\a\\", "$va", "outside of quotes any character may be escaped, and at the end nothing is"),
        ("<<x <y", "<<x <y", "angle brackets are nothing but themselves"),
    ],
)
def test_words_come_to_what_buildkit_makes_of_them(word, value, why):
    """Each word comes to the text that BuildKit's lexer makes of it."""
    text = comes_to(word)
    assert isinstance(text, Known), text
    assert (text.value, text.overridable) == (value, "default" in word), why


def test_the_backtick_escapes_where_the_file_says_so():
    """With `# escape=` and a backtick the backslash is a character like others."""
    assert comes_to("a\\b`$v", "`") == Known("a\\b$v")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("${", "without its name"),
        ("${}", "without its name"),
        ("${:-x}", "without its name"),
        ("${{v}}", "without its name"),
        ("${v", "no substitution"),
        ("${v:-x", "without its '}'"),
        ("${v/x}", "without its '/'"),
        ("${v/x/y", "without its '}'"),
        ("${v:=x}", "no substitution"),
        ("${v=x}", "no substitution"),
        ("${v^^}", "no substitution"),
        ("${v:1:2}", "no substitution"),
        ("${#v}", "no substitution"),
        ("${v[0]}", "no substitution"),
        ("'x", "single quote"),
        ('"x', "double quote"),
        ('"x\\', "double quote"),
        ("${nope?}", "without a value of nope: it may not be unset"),
        ("${nope:?say it}", "without a value of nope: say it"),
        ("${empty:?}", "without a value of empty: it may not be empty"),
        ("${v:-${nope?x}}", "without a value of nope: x"),
        ("${v#\\a}", "invalid escape \\a"),
        ("${platform}", "platform's"),
        ("${platform:-x}", "platform's"),
        ("${platform-x}", "platform's"),
        ("${platform:+x}", "platform's"),
        ("${platform#x}", "platform's"),
        ("${platform/x/y}", "platform's"),
        ("${v/x/$platform}", "platform's"),
        ("${nope:-$platform}", "platform's"),
        ("$given", "no default"),
        ("${given}", "no default"),
        ("${given%x}", "no default"),
        ("${given:-$given}", "no default"),
    ],
)
def test_what_cannot_be_worked_out_says_why(word, reason):
    """What the build would fail on, or what is not known here, is unknown with the reason."""
    text = comes_to(word)
    assert isinstance(text, Unknown)
    assert reason in text.reason


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("${platform+x}", Known("x", overridable=True)),
        ("${given:-x}", Known("x", overridable=True)),
        ("${given:+x}", Known("", overridable=True)),
        ("${v:-$platform}", Known("1.2.3")),
        ("${nope:+$platform}", Known("")),
        ("${default}", Known("d", ("default of build argument default (Dockerfile:1)",), overridable=True)),
        ("${default:+x}", Known("x", ("default of build argument default (Dockerfile:1)",), overridable=True)),
    ],
)
def test_a_default_is_overridable_and_what_is_not_needed_may_be_unknown(word, expected):
    """Whether a build may change a word follows from what it was worked out of, and only that has to be known."""
    assert comes_to(word) == expected


def test_a_word_does_not_grow_without_end():
    """Variables that double each other end in a reason, not in gigabytes."""
    values: dict[str, Text | Unset] = {"a": Known("x" * 100)}
    for _ in range(40):
        values["a"] = expand("$a$a", "\\", lambda name: values[name])
    assert values["a"] == Unknown(f"it comes to more than {MAX_LENGTH:,} characters")


def test_depth_and_long_patterns_are_bounded():
    """Ten thousand braces within each other, and a pattern of many stars, end in an answer."""
    assert isinstance(comes_to("${nope:-" * 10_000 + "}" * 10_000), Unknown)
    assert isinstance(expand("${long/x/y}", "\\", lambda _: Known("a" * 2000)), Unknown)
    assert expand("${long//" + "*a" * 300 + "b/y}", "\\", lambda _: Known("a" * 1000)) == Known("a" * 1000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("a 'b c' d", ["a", "'b c'", "d"]),
        ("a\\ b", ["a\\ b"]),
        ("<<  EOF x", ["<<  EOF", "x"]),
        ("${x:- y} z", ["${x:-", "y}", "z"]),
        ("", []),
    ],
)
def test_words_are_split_outside_of_quotes(text, words):
    """For heredocs a line is split at its spaces; quotes, escapes and variables stay."""
    assert split_words(text, keep_quotes=True, keep_escapes=True) == words


def test_a_text_without_its_quote_cannot_be_split():
    """A quote without an end is refused, as BuildKit does."""
    with pytest.raises(ExpansionError, match="single quote"):
        split_words("it's", keep_quotes=True, keep_escapes=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed, which patterns are compared with")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.text("ab/", min_size=1, max_size=8),
            st.sampled_from(["#", "##", "%", "%%", "/", "//"]),
            st.text("ab*?", min_size=1, max_size=5).filter(lambda pattern: set(pattern) != {"*"}),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_patterns_match_what_they_match_in_bash(cases):
    """`#`, `%` and `/` take away and replace what they do in bash; only where nothing is matched the two differ."""
    script, ours = "", []
    for value, operator, pattern in cases:
        word = f"${{v{operator}{pattern}{'/x' if '/' in operator else ''}}}"
        script += f"v='{value}'; printf '%s\\n' \"{word}\"\n"
        ours.append(expand(word, "\\", {"v": Known(value)}.__getitem__))
    bash = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ours == [Known(line) for line in bash.stdout.split("\n")[:-1]]
