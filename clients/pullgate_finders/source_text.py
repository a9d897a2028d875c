"""A text and where its characters stand in a file; also a text that is embedded in another, as a Dockerfile in YAML."""

from dataclasses import dataclass

from pullgate_finders.found import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceText:
    """A text in a file.

    Attributes:
        file: relative to the root of the tree, with `/`.
        first_line: the line of the file on which the text begins, from 1.
        indentation: characters that stand before each of its lines in the file.
        whole: where the text stands if its own lines and columns are not those of the file, as in a quoted scalar with
            escapes; every place in it is then this one.
    """

    file: str
    text: str
    first_line: int = 1
    indentation: int = 0
    whole: Place | None = None

    def place(self, line: int, column: int, end_line: int | None = None, end_column: int | None = None) -> Place:
        """A range by the text's own lines and columns, from 1; without an end it is one character long."""
        if self.whole is not None:
            return self.whole
        end_line = line if end_line is None else end_line
        end_column = column + 1 if end_column is None else end_column
        return Place(
            self.file,
            line + self.first_line - 1,
            column + self.indentation,
            end_line + self.first_line - 1,
            end_column + self.indentation,
        )

    def place_of(self, start: int, end: int) -> Place:
        """A range by indexes into the text, the end being the first character after it."""
        line = self.text.count("\n", 0, start) + 1
        end_line = line + self.text.count("\n", start, end)
        column = start - self.text.rfind("\n", 0, start)
        end_column = end - self.text.rfind("\n", 0, end)
        return self.place(line, column, end_line, end_column)
