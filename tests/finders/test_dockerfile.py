"""What is told of references in Dockerfiles beyond the labels of the corpus: how, within what, when, of which build."""

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullgate_finders import Found, Kind, Place, Search, Settings, Trouble
from pullgate_finders.dockerfile import Build, DockerfileFinder, find_in_build, find_in_text
from pullgate_finders.source_text import SourceText
from pullgate_finders.tree import FilesInMemory
from pullgate_finders.values import Known, Unknown

FILE = "Dockerfile"


def find(text: str, build: Build | None = None, options: Settings | None = None) -> list[Found | Trouble]:
    """What is found in the text of a Dockerfile."""
    return list(find_in_text(SourceText(file=FILE, text=text), build or Build(), options))


def references(findings: Iterable[Found | Trouble]) -> list[str]:
    """The references, or `unresolved`, in order."""
    return [str(finding.reference or "unresolved") for finding in findings if isinstance(finding, Found)]


def problems(findings: Iterable[Found | Trouble]) -> list[str]:
    """What was wrong, in order."""
    return [finding.problem for finding in findings if isinstance(finding, Trouble)]


def only(findings: list[Found | Trouble]) -> Found:
    """The one reference there is."""
    (finding,) = findings
    assert isinstance(finding, Found)
    return finding


def test_how_a_base_was_reached_is_told_step_by_step():
    """A base that is put together of defaults names each of them with its line."""
    finding = only(find("ARG V=1\nARG W=$V-x\nFROM acme/app:${W} AS app\n"))
    assert finding.how == ("default of build argument V (Dockerfile:1)", "default of build argument W (Dockerfile:2)")
    assert (finding.within, finding.condition, finding.overridable) == ("stage app", "", True)


def test_arguments_that_are_not_given_are_told():
    """An argument without default is unresolved with its line; where a substitute stands, that is told."""
    unresolved = only(find("ARG BASE\nFROM ${BASE}\n"))
    assert unresolved.unresolved == "build argument BASE (Dockerfile:1) has no default; give it as a build argument"
    substitute = only(find("ARG TAG\nFROM alpine:${TAG:-3}\n"))
    assert (str(substitute.reference), substitute.overridable) == ("docker.io/library/alpine:3", True)
    assert substitute.how == ("build argument TAG is not given (Dockerfile:1)",)
    empty = only(find("FROM alpine:$TAG\n"))
    assert empty.how == ("TAG is empty: no ARG before the first FROM declares it",)
    assert empty.unresolved.startswith('it comes to "alpine:"')


@pytest.mark.parametrize(
    ("text", "target", "conditions"),
    [
        (
            "FROM a AS x\nFROM b\nFROM c",
            Known(""),
            [*(f"only if stage {name} is built: the last stage does not use it" for name in ("x", 1)), ""],
        ),
        ("FROM a AS x\nFROM b AS y", Known("X"), ["", "only if stage y is built: target x does not use it"]),
        ("FROM a AS x\nFROM b AS y\nCOPY --from=0 / /", Known(""), ["", ""]),
        ("FROM a AS x\nFROM b AS y\nRUN --mount=from=X true", Known(""), ["", ""]),
        ("FROM a AS x\nFROM x AS y\nFROM y", Known(""), [""]),
        (
            "ARG V=x\nFROM a AS x\nFROM b AS z\nFROM $V",
            Known(""),
            ["", "only if stage z is built: the last stage may use it, given other build arguments"],
        ),
        (
            "FROM a AS x",
            Unknown("variable STAGE is not set"),
            ["only if stage x is built: which stage is built is not known here: variable STAGE is not set"],
        ),
    ],
)
def test_stages_that_are_not_built_have_a_condition(text, target, conditions):
    """Of each stage that the one that is built does not use it is told when it is built all the same."""
    assert [
        finding.condition for finding in find(text, Build(target=target)) if isinstance(finding, Found)
    ] == conditions


def test_a_stage_that_only_fires_through_onbuild_is_reached():
    """A trigger of a base in the same file reaches the stage that it copies from."""
    text = "FROM a AS tools\nFROM b AS base\nONBUILD COPY --from=tools / /\nFROM base\n"
    findings = find(text)
    assert references(findings) == ["docker.io/library/a:latest", "docker.io/library/b:latest"]
    assert all(isinstance(finding, Found) and not finding.condition for finding in findings)


def test_triggers_say_that_child_builds_are_meant():
    """ONBUILD that fires elsewhere has a condition, which says so if a stage there may have the name."""
    node, tools = (find(f"FROM a\nONBUILD COPY --from={name} / /\n")[1] for name in ("acme/node:1", "tools"))
    assert isinstance(node, Found)
    assert isinstance(tools, Found)
    assert node.condition == "only in builds that are based on this image"
    assert tools.condition == "only in builds that are based on this image, where they have no stage of that name"


def test_of_a_build_its_arguments_win_over_those_by_option():
    """Both kinds of arguments are taken, the build's own first, and each says where it is from."""
    build = Build(arguments={"A": Known("build", ("args of service web (compose.yaml:7)",))}, how=("service web",))
    options = Settings(build_arguments={"A": "option", "B": "option"})
    first, second = find("ARG A\nARG B=1\nFROM acme/$A AS x\nFROM acme/$B", build, options)
    assert references([first, second]) == ["docker.io/acme/build:latest", "docker.io/acme/option:latest"]
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert first.how == ("service web", "args of service web (compose.yaml:7)")
    assert second.how == ("service web", "build argument B given by option")
    assert not first.overridable


def test_an_unknown_argument_of_a_build_keeps_its_reason():
    """What the build does not know is unresolved for the build's reason."""
    build = Build(arguments={"A": Unknown("secret A is known to the pipeline only")})
    assert only(find("ARG A=1\nFROM acme/$A", build)).unresolved == "secret A is known to the pipeline only"


def test_contexts_of_a_build_replace_and_are_not_reported_here():
    """Images and stages that a build's contexts stand for are gone; whoever made the build reports the contexts."""
    build = Build(contexts={"alpine": Known("docker-image://acme/a"), "x": Known("./dir"), "src": Unknown("no")})
    text = "FROM alpine:latest AS y\nFROM golang AS x\nCOPY --from=acme/b / /\nFROM y\n"
    findings = find(f"{text}COPY --from=src / /\nCOPY --from=x / /", build)
    (image,) = [finding for finding in findings if isinstance(finding, Found) and finding.is_image]
    assert str(image.reference) == "docker.io/acme/b:latest"
    assert image.condition == "only to be looked up: a build context stands instead of stage x"


def test_contexts_by_option_are_reported_where_they_are_used():
    """A context by option that is an image stands at what it replaces, and one for a platform beside it."""
    options = Settings(build_contexts={"alpine": "docker-image://acme/a:1", "node:22::linux/arm64": "docker-image://b"})
    findings = find("FROM alpine AS x\nFROM node:22\nCOPY --from=x / /", options=options)
    first, second, third = [finding for finding in findings if isinstance(finding, Found) and finding.is_image]
    assert references([first, second, third]) == [
        "docker.io/acme/a:1",
        "docker.io/library/b:latest",
        "docker.io/library/node:22",
    ]
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert (first.kind, first.raw, first.how) == (Kind.CONTEXT, "alpine", ("build context alpine given by option",))
    assert second.condition == "only for platform linux/arm64"


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("FROM a", "dockerfile.v0", []),
        ("# syntax=x:1\nFROM a", "dockerfile.v0", []),
        ("# syntax=x:1\nFROM a", "acme/f:2 --option", [("x:1", "docker.io/acme/f:2", 10)]),
        ("FROM a", "acme/f:2", [("acme/f:2", "docker.io/acme/f:2", 1)]),
    ],
)
def test_the_argument_for_the_frontend_wins_over_the_directive(text, value, expected):
    """BUILDKIT_SYNTAX names the frontend instead of the file, at the directive or the beginning of the file."""
    found = find(text, Build(arguments={"BUILDKIT_SYNTAX": Known(value)}))
    syntax = [item for item in found if isinstance(item, Found) and item.kind is Kind.SYNTAX]
    assert [(item.raw, str(item.reference), item.place.column) for item in syntax] == expected


def test_a_target_that_is_not_there_leaves_the_last_stage():
    """Where the stage to be built does not exist, conditions speak of the last stage, which may have no name."""
    findings = find("FROM a AS dev\nFROM b", Build(target=Known("nope")))
    conditions = [finding.condition for finding in findings if isinstance(finding, Found)]
    assert conditions == ["only if stage dev is built: the last stage does not use it", ""]


def test_find_marks_what_it_finds_as_read_alone():
    """What a Dockerfile comes to on its own says so, that a use of it may show better."""
    search = Search(files=FilesInMemory({}))
    first, second = DockerfileFinder().find(FILE, "ARG A\nFROM $A AS a\nFROM b\nCOPY --from=a / /", search)
    assert isinstance(first, Found)
    assert isinstance(second, Found)
    assert first.alone
    assert second.alone


def test_a_dockerfile_that_is_not_there_is_told_where_it_is_named():
    """What a build names and is missing is trouble at the build, not at the file."""
    named_at = Place("compose.yaml", 3, 5, 3, 15)
    search = Search(files=FilesInMemory({"a/Dockerfile": "FROM alpine"}))
    assert list(find_in_build("b/Dockerfile", named_at, search, Build())) == [
        Trouble(place=named_at, problem="b/Dockerfile does not exist")
    ]
    assert references(find_in_build("a/Dockerfile", named_at, search, Build())) == ["docker.io/library/alpine:latest"]


def test_places_in_an_embedded_dockerfile_are_those_of_the_file_around_it():
    """In a text that stands indented in another file, places count from the beginning of that file."""
    source = SourceText(
        file="compose.yaml", text="FROM alpine AS \\\n  x\nCOPY --from=b / /\n", first_line=7, indentation=8
    )
    first, second = find_in_text(source, Build())
    assert first.place == Place("compose.yaml", 7, 14, 7, 20)
    assert second.place == Place("compose.yaml", 9, 21, 9, 22)


@pytest.mark.parametrize(
    ("size", "is_trouble"),
    [(65_535, False), (65_536, True)],
)
def test_lines_that_buildkit_refuses_are_told_and_read(size, is_trouble):
    """A line of more than 65,535 bytes fails the build; what comes after it is found all the same."""
    line = "RUN " + "ä" * ((size - 4) // 2)
    findings = find(f"FROM a\n{line}{'x' * (size - len(line.encode()))}\nCOPY --from=b / /\n")
    assert references(findings) == ["docker.io/library/a:latest", "docker.io/library/b:latest"]
    assert bool(problems(findings)) == is_trouble


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FROM a\nFOO x\nBAR y", 'there is no instruction "foo"'),
        ("FROM a b", 'FROM takes a base, or a base, "AS" and a name'),
        ("FROM a AS -x", "the name of a stage is a letter"),
        ("RUN x\nFROM a", "RUN stands before the first FROM"),
        ("# nothing", "there is no FROM in it"),
        ("", "there is no FROM in it"),
        ("FROM a\nCOPY --from=7 / /", "there is no stage 7"),
        ("FROM a AS x\nCOPY --from=x / /", "stage x is this very stage"),
        ("FROM a\nCOPY --from=x / /\nFROM b AS x\nCOPY --from=0 / /", "stage x comes later"),
        ("FROM a\nRUN --mount=type=secret,from=b true", "a mount of type secret takes no from"),
        ('FROM a\nRUN --mount=\\"from=b true', "a field of a mount is without the quote"),
        ('FROM a\nRUN --mount=a\\"b true', "a quote stands within a field"),
        ('FROM a\nRUN --mount=\\"a\\"b true', "a quote stands within a field"),
        ("FROM a\nADD --from=b / /", "ADD takes no --from"),
        ("FROM a\nONBUILD ONBUILD RUN x", "ONBUILD takes no ONBUILD"),
        ("FROM a\nONBUILD", "ONBUILD is without an instruction"),
        ("FROM a\nRUN <<A <<B\nA\n", 'no line "B" ends the heredoc'),
        ("// syntax=a\nFROM b", "the frontend a reads this file"),
    ],
)
def test_what_fails_a_build_is_told(text, problem):
    """Each fault is told once, with what is wrong."""
    (told,) = problems(find(text))
    assert problem in told


@pytest.mark.parametrize(
    ("path", "is_claimed"),
    [
        *((f"a/b/{name}", True) for name in ("Dockerfile", "Containerfile", "dockerfile", "containerfile")),
        *((name, True) for name in ("Dockerfile.prod", "Containerfile.x86", "Dockerfile-ci", "Containerfile-ci")),
        *((name, True) for name in ("api.Dockerfile", "api.dockerfile", "api.Containerfile", "api.containerfile")),
        *((name, False) for name in (".dockerignore", "Dockerfile.dockerignore", "Containerfile.containerignore")),
        *((name, False) for name in ("Dockerfiles", "docker-compose.yaml", "dockerfile.py", "Dockerfile.md", "x/y")),
        ("dockerfile.dev", True),
        ("Dockerfile_prod", True),
        ("Dockerfile2", True),
        ("DockerFile", True),
        ("DOCKERFILE", True),
        ("containerfile.x", True),
        ("api.Dockerfile.dev", True),
        ("a/Dockerfile.sh", False),
        ("Dockerfile.swp", False),
        ("Dockerfiles", False),
        ("dockerfile_test.go", False),
    ],
)
def test_files_are_claimed_by_their_names(path, is_claimed):
    """Dockerfiles go by a few patterns of names; what is ignored or documented by such a name is none."""
    assert DockerfileFinder().claims(path) == is_claimed


@pytest.mark.parametrize(
    ("text", "is_recognised"),
    [
        ("from x", True),
        ("\t RUN\\\n x", True),
        ("# syntax=x", True),
        ("//syntax=x", True),
        ('{"syntax": "x"}', True),
        ("", False),
        ("# FROM x", False),
        ("FROMAGE x", False),
        ("a FROM x", False),
    ],
)
def test_texts_are_recognised_by_an_instruction_or_a_directive(text, is_recognised):
    """A text with neither an instruction nor a directive has nothing to do with images."""
    assert DockerfileFinder().recognises(text) == is_recognised


SNIPPETS = st.sampled_from(
    [
        *(
            "FROM ",
            "FROM a AS b\n",
            "ARG V=1\n",
            "ARG ",
            "$V",
            "${V:-",
            "}",
            "${V//a/",
            "COPY --from=",
            "b ",
            "0 ",
            "RUN ",
        ),
        *(
            "--mount=from=x,target=/y ",
            "--mount=type=cache,",
            "ONBUILD ",
            "\\\n",
            "\n",
            "\r\n",
            "<<EOF\n",
            "EOF\n",
            "'",
            '"',
        ),
        *(
            "# escape=`\n",
            "# syntax=x:1 y\n",
            "// syntax=x\n",
            '{"syntax": "x"}',
            "#!x\n",
            "`",
            "\\",
            "/ /\n",
            ",",
            '""',
            "\ufeff",
        ),
        *(
            "--",
            "--from",
            "=",
            "é",
            "\0",
            "\x85",
            "\u2028",
            "scratch\n",
            '["a", "b"]\n',
            "[",
            "a/b:c@d ",
            "AS ",
            "<<",
            "\t",
        ),
    ]
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(SNIPPETS, st.text(max_size=3)), max_size=30).map("".join))
def test_nothing_in_a_file_raises_and_each_reference_stands_at_its_place(text):
    """Whatever stands in a file, the finder answers, and what it says stands at a place does."""
    options = Settings(build_contexts={"b": "docker-image://c"}, build_arguments={"V": "2"}, target="b")
    lines = text.split("\n")
    for finding in DockerfileFinder().find(FILE, text, Search(files=FilesInMemory({}), settings=options)):
        place = finding.place
        assert place.line <= place.end_line <= max(len(lines), 1)
        if isinstance(finding, Found) and place.line == place.end_line:
            assert lines[place.line - 1][place.column - 1 : place.end_column - 1] == finding.raw


def test_json_with_a_frontend_is_placed_within_its_text():
    """The value of `syntax` is found in a file of JSON, where it has escapes, too."""
    first, _ = find('{"x": {"syntax": "no"},\n "syntax":\n  "acme/\\u0066:1"}')
    assert isinstance(first, Found)
    assert (str(first.reference), first.place) == ("docker.io/acme/f:1", Place(FILE, 3, 4, 3, 17))
    assert first.raw == "acme/\\u0066:1"
