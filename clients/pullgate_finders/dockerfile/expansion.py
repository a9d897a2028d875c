"""Words with quotes, escapes and variables, expanded as BuildKit's lexer does (frontend/dockerfile/shell/lex.go).

    $v ${v}                  the value, or nothing
    ${v:-w} ${v-w}           w if v is unset; with the colon also if it is empty
    ${v:+w} ${v+w}           w if v is set; with the colon only if it is not empty
    ${v:?w} ${v?w}           the build fails if v is unset; with the colon also if it is empty
    ${v#p} ${v##p}           the value without its shortest, longest beginning that matches p
    ${v%p} ${v%%p}           the value without its shortest, longest end that matches p
    ${v/p/w} ${v//p/w}       the value with the first match, with all matches of p replaced by w

A word may itself have variables; a pattern knows `*` and `?`. Everything within a pair of braces is read even where it
is not used, so what is wrong there is wrong always.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pullgate_finders.dockerfile.lines import SPACES
from pullgate_finders.dockerfile.patterns import InvalidPatternError, Pattern
from pullgate_finders.values import Known, Text, Unknown, joined, worked_out_from

MAX_LENGTH = 4096
"""Characters that a word may come to. A reference has at most 1,024; without a limit ten variables make gigabytes."""

MAX_STEPS = 16
"""Steps that are told of how a word was worked out."""

_SPECIAL = frozenset("@*#?-$!")
_MODIFIERS = frozenset("+-?#%")


@dataclass(frozen=True, slots=True)
class Unset:
    """A variable without a value.

    Attributes:
        reason: why it has none though a build may give one; empty where none can.
        how: what to tell of that.
    """

    reason: str = ""
    how: tuple[str, ...] = ()


Lookup = Callable[[str], Text | Unset]


class ExpansionError(Exception):
    """A word on which the build fails.

    Attributes:
        problem: why, in a sentence that begins with a lower-case letter.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def expand(word: str, escape: str, lookup: Lookup) -> Text:
    """What a word comes to; unknown also where the build would fail on it."""
    try:
        return _Lexer(word, escape, lookup).expand()
    except ExpansionError as error:
        return Unknown(error.problem)
    except RecursionError:
        return Unknown("its variables are nested too deeply to be worked out")


def split_words(text: str, *, keep_quotes: bool, keep_escapes: bool) -> list[str]:
    """The words of a text, split at spaces outside of quotes; variables stay as they are.

    Raises:
        ExpansionError: for what the lexer refuses, as a quote without an end.
    """
    lexer = _Lexer(text, "\\", None, keep_quotes=keep_quotes, keep_escapes=keep_escapes)
    try:
        return lexer.words()
    except RecursionError:
        raise ExpansionError("its variables are nested too deeply to be read") from None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a word; a literal one is not split at spaces."""

    text: Text
    literal: bool


class _Lexer:
    """Reads a word from left to right. Without a `lookup` variables stay as they are written."""

    def __init__(
        self, text: str, escape: str, lookup: Lookup | None, *, keep_quotes: bool = False, keep_escapes: bool = False
    ) -> None:
        self._text = text
        self._escape = escape
        self._lookup = lookup
        self._keep_quotes = keep_quotes
        self._keep_escapes = keep_escapes
        self._at = 0

    def expand(self) -> Text:
        return _together(self._pieces(""))

    def words(self) -> list[str]:
        words: list[str] = []
        word = ""
        for piece in self._pieces(""):
            value = _written(piece.text)
            if piece.literal:
                word += value
                continue
            for character in value:
                if character not in SPACES:
                    word += character
                elif word:
                    words.append(word)
                    word = ""
        return [*words, word] if word else words

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _pieces(self, stop: str) -> list[_Piece]:
        """What stands before the character `stop`, which is read too; before the end if it is empty."""
        pieces: list[_Piece] = []
        while character := self._peek():
            if character == stop:
                self._next()
                return pieces
            pieces.append(self._piece(character))
        if stop:
            raise ExpansionError(f"a variable is without its {stop!r}: {self._text}")
        return pieces

    def _piece(self, character: str) -> _Piece:
        match character:
            case "$":
                return _Piece(self._dollar(), literal=False)
            case "'":
                return _Piece(self._single_quoted(), literal=True)
            case '"':
                return _Piece(self._double_quoted(), literal=True)
            case "<":
                return _Piece(Known(self._less_than()), literal=True)
            case self._escape:
                return _Piece(Known(self._escaped()), literal=True)
        return _Piece(Known(self._next()), literal=False)

    def _escaped(self) -> str:
        kept = self._next() if self._keep_escapes else self._next()[:0]
        return kept + self._next()

    def _less_than(self) -> str:
        """`<<` and the spaces after it, which belong to the word that a heredoc ends with."""
        start = self._at
        self._next()
        if self._peek() == "<":
            self._next()
            while self._peek() in {" ", "\t", "\r"}:
                self._next()
        return self._text[start : self._at]

    def _single_quoted(self) -> Text:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise ExpansionError("a single quote is without its end")
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        return Known(f"'{inner}'" if self._keep_quotes else inner)

    def _double_quoted(self) -> Text:
        quote = self._next() if self._keep_quotes else self._next()[:0]
        parts: list[Text] = [Known(quote)]
        while character := self._peek():
            if character == '"':
                self._next()
                return _joined([*parts, Known(quote)])
            if character == "$":
                parts.append(self._dollar())
                continue
            self._next()
            if character == self._escape:
                if self._keep_escapes:
                    parts.append(Known(character))
                if not self._peek():
                    break
                if self._peek() in {'"', "$", self._escape}:
                    character = self._next()
            parts.append(Known(character))
        raise ExpansionError("a double quote is without its end")

    def _dollar(self) -> Text:
        start = self._at
        self._next()
        if self._peek() != "{":
            name = self._name()
            return self._value(name, start) if name else Known("$")
        self._next()
        if self._peek() in {"", "{", "}", ":"}:
            raise ExpansionError(f"a variable is without its name: {self._text}")
        name = self._name()
        operator = self._next()
        if operator == "}":
            return self._value(name, start)
        if operator == "/":
            return self._replaced(name, start)
        if operator == ":" or operator in _MODIFIERS:
            return self._modified(name, operator, start)
        raise ExpansionError(f"${{{name}{operator}…}} is no substitution that a Dockerfile knows")

    def _name(self) -> str:
        start = self._at
        if self._peek().isdecimal():
            while self._peek().isdecimal():
                self._next()
        elif self._peek() in _SPECIAL:
            self._next()
        else:
            while self._peek().isalpha() or self._peek().isdecimal() or self._peek() == "_":
                self._next()
        return self._text[start : self._at]

    def _value(self, name: str, start: int) -> Text:
        if self._lookup is None:
            return Known(self._text[start : self._at])
        value = self._lookup(name)
        if isinstance(value, Unset):
            return Unknown(value.reason, value.how) if value.reason else Known("", value.how)
        return value

    def _modified(self, name: str, operator: str, start: int) -> Text:
        empty_is_unset = operator == ":"
        modifier = self._next() if empty_is_unset else operator
        word = self._within("}", keep_escapes=modifier in {"#", "%"})
        if self._lookup is None:
            return Known(self._text[start : self._at])
        if modifier not in _MODIFIERS:
            raise ExpansionError(f"${{{name}{operator}{modifier}…}} is no substitution that a Dockerfile knows")
        value = self._lookup(name)
        if modifier in {"#", "%"}:
            return self._trimmed(modifier, self._value(name, start), word)
        if isinstance(value, Unknown) and (empty_is_unset or modifier != "+"):
            return value
        return _chosen(name, modifier, value, word, empty_is_unset=empty_is_unset)

    def _trimmed(self, end: str, value: Text, word: Text) -> Text:
        if isinstance(value, Unknown) or isinstance(word, Unknown):
            return worked_out_from(value, word)
        longest = word.value.startswith(end)
        pattern = _pattern(word.value[1:] if longest else word.value, value.value)
        trim = pattern.without_beginning if end == "#" else pattern.without_end
        return _based_on(trim(value.value, longest=longest), value, word)

    def _replaced(self, name: str, start: int) -> Text:
        everywhere = self._peek() == "/"
        if everywhere:
            self._next()
        searched = self._within("/", keep_escapes=True)
        replacement = self._within("}", keep_escapes=True)
        value = self._value(name, start)
        if self._lookup is None:
            return value
        if isinstance(value, Unknown) or isinstance(searched, Unknown) or isinstance(replacement, Unknown):
            return worked_out_from(value, searched, replacement)
        pattern = _pattern(searched.value, value.value)
        text = pattern.replaced(value.value, replacement.value, everywhere=everywhere)
        return _based_on(text, value, searched, replacement)

    def _within(self, stop: str, *, keep_escapes: bool) -> Text:
        before, self._keep_escapes = self._keep_escapes, keep_escapes
        try:
            return _together(self._pieces(stop))
        finally:
            self._keep_escapes = before


def _chosen(name: str, modifier: str, value: Text | Unset, word: Text, *, empty_is_unset: bool) -> Text:
    """What `-`, `+` or `?` makes of a variable and a word."""
    is_unset = isinstance(value, Unset) or (empty_is_unset and isinstance(value, Known) and not value.value)
    match modifier:
        case "-" if is_unset:
            return _instead(word, value)
        case "+":
            return _instead(Known("") if is_unset else word, value)
        case "?" if is_unset:
            message = _written(word) or ("it may not be empty" if empty_is_unset else "it may not be unset")
            raise ExpansionError(f"the build fails without a value of {name}: {message}")
    return value if not isinstance(value, Unset) else Known("")


def _instead(word: Text, value: Text | Unset) -> Text:
    """A word that stands instead of a value: another value may lead to something else."""
    how = (*value.how, *word.how)
    if isinstance(word, Unknown):
        return Unknown(word.reason, how)
    may_differ = bool(value.reason) if isinstance(value, Unset) else value.overridable
    return Known(word.value, how, word.overridable or may_differ)


def _pattern(text: str, value: str) -> Pattern:
    try:
        return Pattern(text, value)
    except InvalidPatternError as error:
        raise ExpansionError(error.problem) from error


def _based_on(value: str, *parts: Known) -> Known:
    basis = joined(*parts)
    return Known(value, basis.how, basis.overridable)


def _together(pieces: list[_Piece]) -> Text:
    return _joined([piece.text for piece in pieces])


def _joined(texts: list[Text]) -> Text:
    if sum(len(text.value) for text in texts if isinstance(text, Known)) > MAX_LENGTH:
        raise ExpansionError(f"it comes to more than {MAX_LENGTH:,} characters")
    text = joined(*texts)
    if len(text.how) <= MAX_STEPS:
        return text
    how = text.how[:MAX_STEPS]
    return replace(text, how=how)


def _written(text: Text) -> str:
    return text.value if isinstance(text, Known) else ""
