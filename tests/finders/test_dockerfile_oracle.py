"""The reading of lines against BuildKit's own parser, as the package `dockerfile` (3.4.0) carries it.

It is that of BuildKit 0.12, in Go, and runs in a process of its own: a Go runtime has no place in that of the tests.
Where it differs from the language as it is today is written down here:

- `RUN << EOF`, with a space, is a heredoc today; there it is none;
- `${v#p}`, `${v%p}` and `${v/p/w}` are known today; there a line with one has no heredocs;
- a list in JSON with text behind it is no list today; there the text is dropped;
- `# check=` is a directive today; there it ends the directives;
- flags are read byte by byte there, which breaks what is not ASCII;
- the flags of what ONBUILD takes are lost there; they are compared by parsing that alone.

The arguments of ENV, LABEL and HEALTHCHECK name no image and are not split here, so they are compared as they stand.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pullgate_finders import Trouble
from pullgate_finders.dockerfile import directives
from pullgate_finders.dockerfile.heredocs import heredocs
from pullgate_finders.dockerfile.instructions import Instruction, read_instructions
from pullgate_finders.source_text import SourceText

pytestmark = pytest.mark.skipif(
    find_spec("dockerfile") is None,
    reason="the package dockerfile (3.4.0), which carries BuildKit's parser, is not installed",
)

CORPUS = Path(__file__).parent / "corpus"
NOT_SPLIT_HERE = {"env", "label", "healthcheck"}
REFUSED_FOR_WHAT_IS_NOT_READ_HERE = re.compile(
    r"must have two arguments|can't find =|comprised of strings only|file with no instructions|"
    r"invalid escape|only one \w+ parser directive|unterminated heredoc|line greater than max"
)
ORACLE = r"""
import dataclasses, json, sys
import dockerfile
for line in sys.stdin:
    try:
        answer = [command._asdict() for command in dockerfile.parse_string(json.loads(line))]
    except Exception as error:
        answer = str(error)
    print(json.dumps(answer, default=lambda value: value._asdict()), flush=True)
"""


@dataclass(frozen=True)
class Read:
    """An instruction as one of the two reads it."""

    name: str
    text: str
    first_line: int
    last_line: int
    flags: tuple[str, ...]
    is_json: bool
    values: tuple[str, ...] | None


class Oracle:
    """BuildKit's parser in a process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ORACLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def read(self, text: str) -> list[Read] | str:
        """The instructions of a text, or why it is refused."""
        self._questions.write(json.dumps(text) + "\n")
        self._questions.flush()
        answer = json.loads(self._answers.readline())
        return answer if isinstance(answer, str) else [self._command(command) for command in answer]

    def close(self) -> None:
        """Ends the process."""
        self._questions.close()
        self._process.wait(timeout=30)
        self._answers.close()

    def _command(self, command: dict[str, Any]) -> Read:
        name = (command["cmd"] or "").lower()  # what is empty is None there
        flags = tuple(command["flags"])
        if name == "onbuild" and command["sub_cmd"]:
            alone = re.sub(r"^\S+[\t\v\f\r ]+", "", command["original"].split("\n")[0].strip())
            inner = self.read("\n".join([alone, *(heredoc.name for heredoc in heredocs(alone))]))
            flags = inner[0].flags if isinstance(inner, list) else flags
        return Read(
            name=f"{name} {(command['sub_cmd'] or '').lower()}".strip(),
            text=(command["original"] or "").split("\n")[0],
            first_line=command["start_line"],
            last_line=command["end_line"],
            flags=flags,
            is_json=command["json"],
            values=None if name in NOT_SPLIT_HERE else tuple(value for value in command["value"] if value),
        )


@pytest.fixture(scope="module")
def oracle():
    oracle = Oracle()
    yield oracle
    oracle.close()


def ours(text: str) -> tuple[list[Read], list[Trouble]]:
    """The instructions of a text as they are read here, and what was wrong with it."""
    source = SourceText(file="Dockerfile", text=text)
    escape, troubles = directives.escape(source)
    read = []
    for item in read_instructions(source, escape):
        if isinstance(item, Trouble):
            troubles.append(item)
        else:
            read.append(_read(item, escape))
    return read, troubles


def _read(instruction: Instruction, escape: str) -> Read:
    valued = (instruction.inner() or instruction) if instruction.name == "onbuild" else instruction
    is_known = valued.json_list is not None and valued.name in WITH_JSON
    return Read(
        name=instruction.name if valued is instruction else f"onbuild {valued.name}",
        text=instruction.line.text,
        first_line=instruction.line.first_line,
        last_line=instruction.last_line,
        flags=tuple(flag.text for flag in valued.flags),
        is_json=is_known and valued is instruction,
        values=_values(valued, escape),
    )


WITH_JSON = {"add", "cmd", "copy", "entrypoint", "run", "shell", "volume"}


def _values(instruction: Instruction, escape: str) -> tuple[str, ...] | None:
    name = instruction.name
    if name in NOT_SPLIT_HERE:
        return None
    if name in WITH_JSON and instruction.json_list is not None:
        return tuple(str(value) for value in instruction.json_list if value)
    match name:
        case "from" | "copy" | "add" | "volume" | "expose":
            return tuple(word.text for word in instruction.words())
        case "arg":
            return tuple(word.text for word in instruction.quoted_words(escape))
        case "run" | "cmd" | "entrypoint" | "shell" | "user" | "workdir" | "stopsignal" | "maintainer":
            return (instruction.rest,) if instruction.rest else ()
    return ()


def is_read_otherwise_today(text: str) -> bool:
    """Whether a text has one of the differences that are listed above."""
    if re.search(r"<<[ \t]|(?im:^\s*#\s*check\s*=)", text) or ("<<" in text and re.search(r"\$\{\w+[#%/]", text)):
        return True
    source = SourceText(file="Dockerfile", text=text)
    instructions = read_instructions(source, directives.escape(source)[0])
    read = [item for item in instructions if isinstance(item, Instruction)]
    if any(item.name == "onbuild" and item.rest.endswith(("\\", "`")) for item in read):
        return True  # parsed alone it goes on with the next line
    if re.search(r"(?i)onbuild[\s\\`]+(-|onbuild)", text):  # its own flags, and itself in itself, which is forbidden
        return True
    parts = [part for item in read for part in (item, item.inner()) if part]
    return any(
        _has_text_behind_list(part.rest) or not part.line.text[part.start : part.arguments_start].isascii()
        for part in parts
    )


def _has_text_behind_list(rest: str) -> bool:
    try:
        _, end = json.JSONDecoder().raw_decode(rest)
    except ValueError:
        return False
    return rest.startswith("[") and bool(rest[end:].strip())


def compare(text: str, oracle: Oracle) -> None:
    """Fails unless both read the text alike."""
    expected = oracle.read(text)
    read, troubles = ours(text)
    if isinstance(expected, str):
        assert REFUSED_FOR_WHAT_IS_NOT_READ_HERE.search(expected), expected
        if "unterminated heredoc" in expected:
            assert any("ends the heredoc" in trouble.problem for trouble in troubles)
        return
    if not expected:
        return
    assert not troubles
    assert read == expected


def dockerfiles_of_the_corpus():
    """The texts of the corpus that are Dockerfiles by name."""
    paths = sorted(path for path in CORPUS.rglob("*") if path.is_file() and re.search("ocker|ontainer", path.name))
    return [path for path in paths if path.suffix not in {".yaml", ".yml", ".json", ".dockerignore"}]


@pytest.mark.parametrize("path", dockerfiles_of_the_corpus(), ids=lambda path: str(path.relative_to(CORPUS)))
def test_the_corpus_is_read_as_buildkit_reads_it(path, oracle):
    """Instructions, their lines, flags and values in each Dockerfile of the corpus are those of BuildKit's parser."""
    text = path.read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
    if is_read_otherwise_today(text):
        pytest.skip("has what BuildKit 0.12 reads otherwise; the differences stand at the top of this file")
    compare(text, oracle)


WORDS = st.sampled_from(
    [
        *("alpine", "AS", "as", "build", "a:1", '"q w"', "'s w'", "$V", "${V:-x}", "${V#*.}", "${V:-a b}", "A=1"),
        *(
            'B="x y"',
            "C='z'",
            "--from=x",
            "--from='y z'",
            '--from="a"',
            "--link",
            "--",
            "-",
            "--mount=type=bind,from=i",
        ),
        *("\\", "\\\\", "`", "``", "\\ ", '\\"', "#", "# x", "<<EOF", "<<-EOF", "<<'EOF'", '<<"E F"', "<<E1", "3<<EOF"),
        *('"<<EOF"', "<<", "<<<x", "x<<EOF", "${#a}", '["a", "b"]', "[]", '["a", 1]', "[a", "\\'", '"', "'", "é", "="),
        *(
            "--x=\\",
            "a\\b",
            "--from=\\x",
            "<<$V",
            "<<${V}",
            "${V:- <<EOF}",
            "$(x)",
            "a=",
            "\v",
            "\t",
            "\x0b\x0c",
            "\u00a0x",
        ),
    ]
)
NAMES = st.sampled_from(
    [
        *("FROM", "from", "Run", "RUN", "COPY", "copy", "ADD", "ARG", "ENV", "LABEL", "CMD", "ONBUILD", "EXPOSE"),
        *("USER", "WORKDIR", "VOLUME", "SHELL", "MAINTAINER", "foo"),
    ]
)
CONTINUED = st.sampled_from(["\\", "\\ \t", "`", "` ", "\\\\", "\\x"])
BODIES = st.sampled_from(["EOF", "\tEOF", "E1", "E F", " EOF", "FROM evil", "$V", "", "  ", "# comment", "  # c", "x"])
INSTRUCTIONS = st.builds(
    lambda indent, name, gap, words, end: f"{indent}{name}{gap}{' '.join(words)}{end}",
    st.sampled_from(["", "", "", "  ", "\t", "\\\n"]),
    NAMES,
    st.sampled_from([" ", " ", "  ", "\t", "", " \\\n", " ONBUILD ", " RUN ", " COPY "]),
    st.lists(WORDS, max_size=6),
    st.sampled_from(["", "", "", " ", "\t"]),
)
LINES = st.one_of(
    INSTRUCTIONS,
    INSTRUCTIONS,
    st.builds(lambda line, mark: line + mark, INSTRUCTIONS, CONTINUED),
    st.builds(lambda line: f"{line} <<EOF\nFROM evil\nEOF", INSTRUCTIONS),
    BODIES,
)
DIRECTIVES = st.sampled_from(
    [
        "",
        "",
        "",
        "# escape=`\n",
        "#escape = \\\n",
        "  # Escape=`\n",
        "\n# escape=`\n",
        "# syntax=a\n# escape=`\n",
        "#!x\n",
    ]
)
TEXTS = st.builds(
    lambda top, lines, newline, end: top.replace("\n", newline) + newline.join(lines).replace("\n", newline) + end,
    DIRECTIVES,
    st.lists(LINES, max_size=12),
    st.sampled_from(["\n", "\n", "\r\n"]),
    st.sampled_from(["", "\n", "\\\n", "\r"]),
)


@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(TEXTS)
@example("FROM a\\\n\n# c\n  b\n")
@example("RUN a <<EOF \\\n <<'B C'\nEOF\nx\nB C\nFROM a")
def test_generated_texts_are_read_as_buildkit_reads_them(oracle, text):
    """Whatever is put together of instructions, quotes, escapes, continuations and heredocs is read as by BuildKit."""
    if not is_read_otherwise_today(text):
        compare(text, oracle)
