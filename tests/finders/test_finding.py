"""References and how each is told once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pullgate_finders import Certainty, Finding, Found, Kind, Place, Search, Trouble
from pullgate_finders.finding import find
from pullgate_finders.found import found, no_image
from pullgate_finders.source_text import SourceText
from pullgate_finders.tree import FilesInMemory, FilesOnDisk
from pullgate_finders.values import Known, Unknown, joined, worked_out_from

HERE = Place("f", 1, 1, 1, 5)
THERE = Place("f", 2, 1, 2, 5)


@dataclass
class Given:
    """A finder that finds what it is given, in files of one suffix whose text has a mark."""

    suffix: str = ".x"
    mark: str = ""
    findings: Sequence[Finding] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    name = "given"

    def claims(self, path):
        """By its suffix."""
        return path.endswith(self.suffix)

    def recognises(self, text):
        """By its mark."""
        return self.mark in text

    def find(self, path, text, search):
        """What was given; remembers which file it was asked for."""
        self.asked.append(path)
        yield from self.findings


def run(finders, texts=None, **arguments):
    files = FilesInMemory({"f.x": "text"} if texts is None else texts)
    return find(list(files.paths()), Search(files=files), finders, **arguments)


@pytest.mark.parametrize(
    ("text", "reference", "unresolved", "certainty"),
    [
        (Known("nginx"), "docker.io/library/nginx:latest", "", Certainty.EXACT),
        (Known("nginx", ("default of V",), overridable=True), "docker.io/library/nginx:latest", "", Certainty.DEFAULT),
        (Unknown("V is not set"), "None", "V is not set", Certainty.UNRESOLVED),
        (
            Known("Bad/Name"),
            "None",
            'it comes to "Bad/Name", which is no image reference: "N" is uppercase',
            Certainty.UNRESOLVED,
        ),
        (
            Known("raw:"),
            "None",
            "this is no image reference: ",
            Certainty.UNRESOLVED,
        ),
    ],
)
def test_a_text_comes_to_a_reference_or_a_reason(text, reference, unresolved, certainty):
    """What a text comes to is normalised; where that is not known, or no reference, the reason stands in its place."""
    result = found(HERE, Kind.FROM, "raw:", text)

    assert str(result.reference) == reference
    assert result.unresolved.startswith(unresolved)
    assert bool(result.unresolved) == bool(unresolved)
    assert result.certainty is certainty


@pytest.mark.parametrize(
    ("parts", "repository"),
    [
        ([Known("acme/app:"), Unknown("?")], "docker.io/acme/app"),
        ([Known("acme/app:1-"), Unknown("?"), Known("-slim")], "docker.io/acme/app"),
        ([Known("nginx@"), Unknown("?")], "docker.io/library/nginx"),
        ([Known("ghcr.io:443/a/b:"), Unknown("?")], "ghcr.io:443/a/b"),
        ([Known("acme/app:1@sha256:"), Unknown("?")], "docker.io/acme/app"),
        ([Unknown("?", beginning="acme/app:"), Known("-slim")], "docker.io/acme/app"),
        ([Known("acme/app"), Unknown("?")], None),
        ([Known("acme/"), Unknown("?"), Known(":1")], None),
        ([Known("localhost:"), Unknown("?"), Known("/app")], None),
        ([Known("acme/Bad:"), Unknown("?")], None),
        ([Unknown("?"), Known("/app:1")], None),
        ([Known(":"), Unknown("?")], None),
    ],
)
def test_a_repository_may_be_known_where_its_tag_is_not(parts, repository):
    """What certainly is the whole name of a repository is known, and nothing that may go on is taken for one."""
    result = found(HERE, Kind.FROM, "raw", joined(*parts))

    assert result.reference is None
    assert (result.repository and str(result.repository)) == repository


def test_what_is_made_of_texts_in_another_way_has_no_beginning():
    """Of a text that something was cut off from, as by a pattern, nothing is known as long as a part is not."""
    assert worked_out_from(Known("acme/app:1"), Unknown("?")) == Unknown("?")


def test_a_condition_makes_it_conditional():
    """What is pulled under a condition is conditional, default or not."""
    result = found(HERE, Kind.IMAGE, "a", Known("a", overridable=True), condition="only with profile debug")

    assert result.certainty is Certainty.CONDITIONAL


def test_joined_texts_are_known_if_all_are():
    """Parts are known together, and unknown for the first reason; where they come from is kept, each step once."""
    tag = Known("1", ("default of TAG",), overridable=True)

    assert joined(Known("a:"), tag, tag) == Known("a:11", ("default of TAG",), overridable=True)
    assert joined(tag, Unknown("B is not set", ("b",)), Unknown("C is not set")) == Unknown(
        "B is not set", ("default of TAG", "b"), "1"
    )
    assert joined() == Known("")


def test_the_first_finder_that_recognises_a_file_reads_it():
    """Of the finders that claim a name the first that recognises the text reads the file, and no other."""
    blind, first, second = (
        Given(suffix=".y"),
        Given(mark="absent"),
        Given(findings=[found(HERE, Kind.FROM, "a", Known("a"))]),
    )
    third = Given()

    results = run([blind, first, second, third])

    assert results == second.findings
    assert (blind.asked, first.asked, second.asked, third.asked) == ([], [], ["f.x"], [])


def test_each_finding_is_told_once_by_place():
    """The same reference at the same place is one finding, and findings come in the order of their places."""
    one, other = found(THERE, Kind.FROM, "a", Known("a")), found(HERE, Kind.FROM, "b", Known("b"))
    trouble = Trouble(place=HERE, problem="is wrong")

    assert run([Given(findings=[one, other, one, trouble, trouble])]) == [other, trouble, one]


def test_the_surest_of_those_that_say_the_same_is_told():
    """What is pulled under a condition by one use, and always by another, is pulled always, whichever came first."""
    always = found(HERE, Kind.FROM, "a", Known("a"), within="service web")
    sometimes = found(HERE, Kind.FROM, "a", Known("a"), condition="only if stage test is built")

    assert run([Given(findings=[sometimes, always])]) == [always]
    assert run([Given(findings=[always, sometimes])]) == [always]


def test_two_values_of_a_place_are_two_findings():
    """A place that comes to several references, as with a matrix, has a finding for each."""
    pair = [found(HERE, Kind.IMAGE, "${{ matrix.v }}", Known(text)) for text in ("a:1", "a:2")]

    assert run([Given(findings=pair)]) == pair


def test_what_a_use_says_stands_instead_of_what_was_open_alone():
    """A Dockerfile alone leaves open what the file that builds it says, or says better why it is not known."""
    alone = found(HERE, Kind.FROM, "${B}", Unknown("B has no default"), alone=True)
    used = found(HERE, Kind.FROM, "${B}", Known("alpine", ("args of service web",)))
    used_elsewhere = found(THERE, Kind.FROM, "${B}", Known("alpine"))
    open_use = found(HERE, Kind.FROM, "${B}", Unknown("B is not given by service db"))

    assert run([Given(findings=[alone, used])]) == [used]
    assert run([Given(findings=[alone, open_use])]) == [open_use]
    assert run([Given(findings=[alone, used_elsewhere])]) == [alone, used_elsewhere]
    assert set(run([Given(findings=[alone, used, open_use])])) == {used, open_use}


def test_what_a_use_has_something_else_for_is_still_told():
    """A context that nobody may use hides no image: it is told as pulled where it is built without the context."""
    alone = found(HERE, Kind.FROM, "someuser/evil", Known("someuser/evil"), alone=True)
    other_use = found(HERE, Kind.FROM, "someuser/evil", Known("someuser/evil"))
    context = no_image(HERE, Kind.FROM, "someuser/evil", ["service web (compose.yaml:2)"])

    (told,) = run([Given(findings=[alone, context])])
    assert told.reference == alone.reference
    assert told.condition == "only where it is built without the build context of service web (compose.yaml:2)"
    assert run([Given(findings=[alone, context, other_use])]) == [other_use]


def test_a_use_under_a_condition_closes_nothing():
    """A service that is off by default does not show what a Dockerfile comes to: what is open on its own stays open."""
    alone = found(HERE, Kind.FROM, "${B}", Unknown("B has no default"), alone=True)
    used = found(HERE, Kind.FROM, "${B}", Known("alpine"), condition="only with profile never")

    assert run([Given(findings=[alone, used])]) == [alone, used]


def test_a_default_found_alone_stays_beside_what_a_use_says():
    """What a Dockerfile comes to on its own can still be built by hand, so it is told as well."""
    alone = found(HERE, Kind.FROM, "a:${V}", Known("a:1", overridable=True), alone=True)
    used = found(HERE, Kind.FROM, "a:${V}", Known("a:2"))

    assert run([Given(findings=[alone, used])]) == [alone, used]


def test_a_file_that_cannot_be_read_is_told_of_and_the_rest_is_read():
    """Trouble with one file is told at its start, and the others are looked into."""
    given = Given(findings=[found(HERE, Kind.FROM, "a", Known("a"))])
    files = FilesInMemory({"b.x": "text"})

    results = find(["../out.x", "b.x", "gone.x"], Search(files=files), [given])

    assert [str(item.place) for item in results] == ["../out.x:1:1", "f:1:1", "gone.x:1:1"]
    assert [item.problem for item in results if isinstance(item, Trouble)] == [
        "lies outside of what is checked",
        "does not exist",
    ]
    assert given.asked == ["b.x"]


@pytest.mark.parametrize(("beginning", "told"), [("mark", 1), ("data", 0)])
def test_a_large_file_is_told_of_if_it_looks_like_one_that_is_read(tmp_path, beginning, told):
    """Of files that are too large those are told of that a finder would read; large data of any other kind is not."""
    (tmp_path / "f.x").write_text(beginning + " " * (10 * 1024 * 1024))

    results = find(["f.x"], Search(files=FilesOnDisk(tmp_path)), [Given(mark="mark")])

    assert [item.problem for item in results if isinstance(item, Trouble)] == ["is larger than 10 MB"] * told


def test_a_comment_in_another_encoding_hides_no_image(tmp_path):
    """A file with a byte that is no UTF-8 is told of, and read all the same; one of no format is not told of."""
    (tmp_path / "f.x").write_bytes(b"# caf\xe9")
    given = Given(findings=[found(HERE, Kind.FROM, "a", Known("a"))], mark="caf")

    trouble, image = sorted(find(["f.x"], Search(files=FilesOnDisk(tmp_path)), [given]), key=str, reverse=True)
    assert isinstance(trouble, Trouble)
    assert trouble.problem == "is not UTF-8: byte 6 cannot be read; save it as UTF-8"
    assert isinstance(image, Found)
    assert find(["f.x"], Search(files=FilesOnDisk(tmp_path)), [Given(mark="other")]) == []


def test_a_file_asked_for_by_name_is_never_passed_over_in_silence():
    """What no finder reads is no finding in a tree, but trouble where it was asked for by name."""
    texts = {"notes.md": "text", "f.x": "other"}

    assert run([Given(mark="absent")], texts) == []
    assert [(item.place.file, type(item)) for item in run([Given(mark="absent")], texts, named=["notes.md"])] == [
        ("notes.md", Trouble)
    ]


def test_progress_is_told_for_each_file():
    """Whoever wants to show progress is told of each file before it is looked into."""
    seen: list[str] = []

    run([Given()], {"a.x": "", "b.md": ""}, on_file=seen.append)

    assert seen == ["a.x", "b.md"]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        (SourceText(file="f", text="ab\ncd"), Place("f", 2, 1, 2, 2)),
        (SourceText(file="f", text="ab\ncd", first_line=10, indentation=4), Place("f", 11, 5, 11, 6)),
        (SourceText(file="f", text="ab\ncd", whole=HERE), HERE),
    ],
)
def test_an_embedded_text_is_placed_in_its_file(source, place):
    """A position in a text that is embedded in another is one of the file."""
    assert source.place_of(3, 4) == place


def test_found_and_trouble_are_values():
    """Findings can be compared and kept in sets."""
    assert isinstance(found(HERE, Kind.FROM, "a", Known("a")), Found)
    assert len({found(HERE, Kind.FROM, "a", Known("a")), found(HERE, Kind.FROM, "a", Known("a"))}) == 1
