"""Goes through HCL: blanks, comments, strings, heredocs, and to the end of what is not understood.

Source: "HCL Native Syntax Specification".
"""

import re
from bisect import bisect_right
from collections.abc import Iterator

from pullgate_finders.bake.syntax import Computed, InvalidBakeError, Template
from pullgate_finders.found import Place
from pullgate_finders.source_text import SourceText

MAX_DEPTH = 64
"""How deep values may be nested."""

BLANK = re.compile(r"(?:[ \t\r]++|#[^\n]*+|//[^\n]*+|/\*.*?(?:\*/|\Z))*+", re.DOTALL)
BLANK_LINES = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+|//[^\n]*+|/\*.*?(?:\*/|\Z))*+", re.DOTALL)
WORD = re.compile(r"[^\W\d][\w-]*+")
CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_LINE_BREAK = re.compile(r"\n")
_PLAIN = re.compile(r"[^\"\\$%\n]++")
_HEREDOC = re.compile(r"<<(?P<indented>-?)(?P<marker>[^\W\d][\w-]*+)[ \t\r]*\n")
_OPENING = re.compile(r"\$?\$\{|%?%\{")
_TOKEN_TO_SKIP = re.compile(r"[^\"(){}\[\],\n#/<:]++|[:/<#]")


class Scanner:
    """A text, and how far it was read.

    Attributes:
        index: of the character that comes next.
        depth: how many values within each other are open.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.index = 0
        self.depth = 0
        self._lines = [0, *(match.end() for match in _LINE_BREAK.finditer(text))]

    # Steps

    def skip(self, blank: re.Pattern[str]) -> None:
        """Goes behind blanks and comments."""
        match = blank.match(self.text, self.index)
        self.index = match.end() if match else self.index

    def skip_balanced(self, closing: str) -> None:
        """Goes behind the bracket that closes what is open."""
        open_brackets = [closing]
        while open_brackets:
            self._skip_token()
            character = self.text[self.index : self.index + 1]
            if not character:
                raise InvalidBakeError(f'"{open_brackets[-1]}" is missing', self.index)
            if character in CLOSED_BY:
                open_brackets.append(CLOSED_BY[character])
            elif character == open_brackets[-1]:
                open_brackets.pop()
            elif character in ")]}":
                raise InvalidBakeError(f'"{open_brackets[-1]}" is missing', self.index)
            self.index += 1

    def skip_rest(self, *, over_lines: bool) -> None:
        """Goes to the end of a value: what separates or closes, or the end of the line unless it goes over lines."""
        while True:
            self._skip_token()
            character = self.text[self.index : self.index + 1]
            if character in {"", ",", ")", "]", "}"} or (character == "\n" and not over_lines):
                return
            self.index += 1
            if character in CLOSED_BY:
                self.skip_balanced(CLOSED_BY[character])

    def _skip_token(self) -> None:
        """Goes behind blanks, strings and all else up to a bracket, a comma or the end of the line."""
        while self.index < len(self.text):
            self.skip(BLANK)
            if self.text.startswith('"', self.index):
                self.deeper()
                self.string()
                self.depth -= 1
            elif _HEREDOC.match(self.text, self.index):
                self.heredoc()
            elif match := _TOKEN_TO_SKIP.match(self.text, self.index):
                self.index = match.end()
            else:
                return

    def word(self, wanted: str = "a name") -> str:
        """A name; raises InvalidBakeError where there is none."""
        match = WORD.match(self.text, self.index)
        if match is None:
            shown = self.text[self.index : self.index + 1].strip()
            raise InvalidBakeError(f"{wanted} is missing" + (f' before "{shown}"' if shown else ""), self.index)
        self.index = match.end()
        return match[0]

    def takes(self, character: str) -> bool:
        """Goes behind a character if it comes next, and tells whether it does."""
        if not self.text.startswith(character, self.index):
            return False
        self.index += 1
        return True

    def expect(self, character: str) -> None:
        """Goes behind a character; raises InvalidBakeError where another comes."""
        if not self.takes(character):
            raise InvalidBakeError(f'"{character}" is missing', self.index)

    def closes(self, character: str) -> bool:
        """Goes behind blank lines and a closing bracket if it comes; raises InvalidBakeError at the end of the text."""
        self.skip(BLANK_LINES)
        if self.index >= len(self.text):
            raise InvalidBakeError(f'"{character}" is missing', self.index)
        return self.takes(character)

    def deeper(self) -> None:
        """Counts one more value within another; raises InvalidBakeError where there are too many."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InvalidBakeError(f"it is nested more than {MAX_DEPTH} deep", self.index)

    def computed(self, start: int, by: str) -> Computed:
        """A value from `start` up to here that is only known when it is built."""
        end = self.index
        while end > start and self.text[end - 1] in " \t\r\n":
            end -= 1
        return Computed(place=self.place(start, end), raw=self.text[start:end], by=by)

    def place(self, start: int, end: int) -> Place:
        """The range between two indexes."""
        line, end_line = bisect_right(self._lines, start), bisect_right(self._lines, end)
        return Place(self.path, line, start - self._lines[line - 1] + 1, end_line, end - self._lines[end_line - 1] + 1)

    # Strings

    def string(self) -> Template:
        """A string in quotes."""
        start = self.index + 1
        self.index = start
        while True:
            character = self.text[self.index : self.index + 1]
            if character in {"", "\n"}:
                raise InvalidBakeError("a string has no end", start - 1)
            if character == '"':
                break
            if self.text.startswith(("${", "%{"), self.index) and not self._is_doubled():
                self.index += 2
                self.skip_balanced("}")
            elif plain := _PLAIN.match(self.text, self.index):
                self.index = plain.end()
            else:
                self.index += 2 if character == "\\" else 1
        raw = self.text[start : self.index]
        place = self.place(start, self.index)
        self.index += 1
        source = SourceText(file=self.path, text=raw, first_line=place.line, indentation=place.column - 1)
        if "\\" in raw or "\n" in raw:
            source = SourceText(file=self.path, text=raw, whole=place)
        return Template(place=place, raw=raw, source=source, escaped=True)

    def _is_doubled(self) -> bool:
        """Whether `${` is `$${`, which stands for the characters themselves."""
        return self.text[self.index - 1 : self.index] == self.text[self.index]

    def heredoc(self) -> Template:
        """A string of several lines, up to the word that ends it."""
        opening = _HEREDOC.match(self.text, self.index)
        if opening is None:
            raise InvalidBakeError("a heredoc needs a word behind << and nothing else on its line", self.index)
        start = opening.end()
        closing = re.compile(rf"^[ \t]*{re.escape(opening['marker'])}(?=[ \t\r]*$)", re.MULTILINE).search(
            self.text, start
        )
        if closing is None:
            raise InvalidBakeError(f"the heredoc has no line {opening['marker']} that ends it", self.index)
        raw = self.text[start : closing.start()]
        place = self.place(start, max(start, closing.start() - 1))
        self.index = closing.end()
        indentation = 0
        if opening["indented"]:
            lines = [line for line in raw.split("\n") if line.strip()]
            indentation = min((len(line) - len(line.lstrip(" \t")) for line in lines), default=0)
            raw = "\n".join(line[indentation:] for line in raw.split("\n"))
        source = SourceText(file=self.path, text=raw, first_line=place.line, indentation=indentation)
        return Template(place=place, raw=raw, source=source, escaped=False)


def template_parts(text: str) -> Iterator[tuple[str, int, int]]:
    """What a template is made of, and where: `text`, `value` (within `${…}`), `directive` (within `%{…}`), `escaped`.

    The last is `$${` or `%%{` without its first character, which is what it stands for. A value that also takes blanks
    off the text beside it (`${~ x ~}`) counts as a directive. Raises InvalidBakeError where a part has no end.
    """
    reader = Scanner("", text)
    while reader.index < len(text):
        opening = _OPENING.search(text, reader.index)
        if opening is None:
            yield "text", reader.index, len(text)
            return
        if opening.end() - opening.start() > len("${"):
            yield "text", reader.index, opening.start()
            yield "escaped", opening.start() + 1, opening.end()
            reader.index = opening.end()
            continue
        yield "text", reader.index, opening.start()
        reader.index = opening.end()
        reader.skip_balanced("}")
        start, end = opening.end(), reader.index - 1
        is_value = opening[0] == "${" and "~" not in {text[start : start + 1], text[end - 1 : end]}
        yield "value" if is_value else "directive", start, end
