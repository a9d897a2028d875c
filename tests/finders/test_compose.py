"""The finder of references in Compose files: what the corpus does not show, and what must never happen."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_finders import Found, Search, Settings, Trouble
from pullgate_finders.compose import ComposeByContentFinder, ComposeFinder, dotenv
from pullgate_finders.compose.interpolation import MAX_NESTING, Variables, interpolated
from pullgate_finders.tree import FilesInMemory
from pullgate_finders.values import Known, Unknown

CORPUS = Path(__file__).parent / "corpus" / "compose"
BY_NAME, BY_CONTENT = ComposeFinder(), ComposeByContentFinder()


def look(files, path="compose.yaml", **options):
    """What is found in a file of a tree."""
    search = Search(files=FilesInMemory(files), settings=Settings(**options))
    return list(BY_NAME.find(path, files[path], search))


def service(text):
    """A file with one service."""
    return f"services:\n  a: {{{text}}}\n"


@pytest.mark.parametrize(
    ("path", "is_claimed"),
    [
        ("compose.yaml", True),
        ("a/b/compose.yml", True),
        ("docker-compose.yml", True),
        ("Docker-Compose.YAML", True),
        ("compose.override.yaml", True),
        ("compose.prod.yml", True),
        ("docker-compose-dev.yaml", True),
        ("dev.docker-compose.yml", True),
        ("compose.json", False),
        ("decompose.yaml", False),
        ("compose.yaml.j2", False),
        ("composer.yaml", False),
    ],
)
def test_files_are_claimed_by_name(path, is_claimed):
    """Compose files are known by the names that people give them."""
    assert BY_NAME.claims(path) is is_claimed


@pytest.mark.parametrize(
    ("about", "text", "is_recognised"),
    [
        ("services with an image", "services:\n  a:\n    image: b\n", True),
        ("services with a build", "version: '3'\r\n\r\nservices: # all\r\n\r\n  a:\r\n    build: .\r\n", True),
        ("an image in flow style", "services:\n  a: {image: b}\n", True),
        ("an anchor at the services", "services: &s\n  a:\n    image: b\n", True),
        ("a list of services, as GitLab and Drone have it", "services:\n  - image: b\n    image: c\n", False),
        ("services of a job, as GitHub has them", "jobs:\n  a:\n    services:\n      b:\n        image: c\n", False),
        ("a GitHub workflow with a key like ours", "on: push\nservices:\n  a:\n    image: b\n", False),
        ("an object of Kubernetes", "apiVersion: v1\nservices:\n  a:\n    image: b\n", False),
        ("an image that is a mapping, as in Helm values", "services:\n  a:\n    image:\n      repository: b\n", False),
        ("services without images", "services:\n  App\\Foo: {class: Foo}\n", False),
        ("services further in", "x:\n  services:\n    a:\n      image: b\n", False),
    ],
)
def test_other_names_are_known_by_what_is_in_the_file(about, text, is_recognised):
    """Under other names a file is Compose's when services with images or builds stand at its top."""
    assert BY_CONTENT.recognises(text) is is_recognised, about


def test_it_is_told_how_a_reference_was_reached():
    """Steps say who includes or extends a file, and where a variable's value or default stands."""
    files = {
        "compose.yaml": "include: [b/compose.yaml]\n",
        "b/compose.yaml": service("extends: {file: c.yaml, service: z}"),
        "b/c.yaml": "services: {z: {image: 'acme/${NAME}:${TAG:-1}'}}",
        "b/.env": "# names\nNAME=app\n",
    }
    (found,) = look(files)
    assert str(found.reference) == "docker.io/acme/app:1"
    assert found.how == (
        "included by compose.yaml:1",
        "extended by service a (b/compose.yaml:2)",
        "variable NAME (b/.env:2)",
        "default of variable TAG (b/c.yaml:1)",
    )
    assert found.within == "service a"


def test_an_override_says_what_is_pulled_without_it():
    """What an override replaces is told with the condition that it is not there."""
    files = {"compose.yaml": service("image: one, profiles: [p]"), "compose.override.yaml": service("image: two")}
    found = {str(finding.reference).rpartition("/")[2]: finding.condition for finding in look(files)}
    assert found == {
        "two:latest": "only with profile p",
        "one:latest": "only without compose.override.yaml, only with profile p",
    }


def test_an_override_alone_leads_to_its_project():
    """Asked for an override, the finder reads it over the file that it belongs to."""
    files = {
        "compose.yaml": service("image: one"),
        "compose.override.yaml": service("build: {dockerfile_inline: FROM x}"),
    }
    assert {finding.raw for finding in look(files, "compose.override.yaml")} == {"one", "x"}


def test_the_environment_of_the_machine_is_not_looked_at(monkeypatch):
    """The same files come to the same on every machine."""
    monkeypatch.setenv("TAG", "from-the-machine")
    (found,) = look({"compose.yaml": service("image: 'acme/a:${TAG:-default}'")})
    assert (str(found.reference), found.overridable) == ("docker.io/acme/a:default", True)


def test_variables_that_are_given_win():
    """Variables given by option win over those of `.env`, also within it."""
    files = {"compose.yaml": service("image: 'acme/a:$B'"), ".env": "A=file\nB=$A\n"}
    (found,) = look(files, variables={"A": "option"})
    assert str(found.reference) == "docker.io/acme/a:option"
    assert found.how == ("variable B (.env:2)", "variable A given by option")


@pytest.mark.parametrize(
    ("about", "text", "raws"),
    [
        (
            "places in a Dockerfile count what Compose takes out",
            "FROM a:$$V AS b\\nFROM c$$$${X}d",
            ["a:$$V", "c$$$${X}d"],
        ),
        ("a variable that is a whole line", "${L:-FROM x}", ["${L:-FROM x}"]),
        ("a variable that reaches into a word", "FRO${M:-M al}pine", ["${M:-M al}pine"]),
    ],
)
def test_dockerfiles_within_have_their_places_in_the_file(about, text, raws):
    """What is found in a Dockerfile with variables stands where it is written, before Compose fills it in."""
    lines = "".join(f"        {line}\n" for line in text.split("\\n"))
    source = f"services:\n  a:\n    build:\n      dockerfile_inline: |\n{lines}"
    findings = sorted(look({"compose.yaml": source}), key=lambda finding: finding.place)
    found = [finding for finding in findings if isinstance(finding, Found)]
    assert [finding.raw for finding in found] == raws, about
    for finding in found:
        line = source.split("\n")[finding.place.line - 1]
        assert line[finding.place.column - 1 : finding.place.end_column - 1] == finding.raw


HOSTILE = {
    "variables that double each other": (
        {
            "compose.yaml": service("image: $V60"),
            ".env": "V0=xxxxxxxxxx\n" + "".join(f"V{n + 1}=$V{n}$V{n}\n" for n in range(60)),
        },
        "come to more than",
    ),
    "defaults within defaults": (
        {"compose.yaml": service("image: '" + "${A:-" * (MAX_NESTING + 2) + "}" * (MAX_NESTING + 2) + "'")},
        "nested more than",
    ),
    "files that include each other twice": (
        {
            "compose.yaml": "include: [f0.yaml, f0.yaml]",
            **{f"f{n}.yaml": f"include: [{{path: f{n + 1}.yaml, env_file: e}}, f{n + 1}.yaml]" for n in range(40)},
            "e": "A=1",
        },
        "too many",
    ),
    "a file that includes itself": ({"compose.yaml": "include: [./compose.yaml]"}, "in a circle"),
    "services that extend each other": (
        {"compose.yaml": "services: {a: {extends: b}, b: {extends: a}}"},
        "in a circle",
    ),
    "a service that extends itself by way of a file": (
        {"compose.yaml": service("extends: {file: compose.yaml, service: a}")},
        "in a circle",
    ),
    "an alias within itself": ({"compose.yaml": "services: &s {a: *s}"}, "contains itself"),
    "a file out of the tree": ({"compose.yaml": "include: [../x.yaml]"}, "outside"),
    "what is nested too deeply": ({"compose.yaml": "services: " + "[" * 5000}, "nest"),
    "a context that is not known": ({"compose.yaml": service("build: $NOWHERE")}, "is not known"),
    "a quotation mark that is not closed": (
        {"compose.yaml": service("image: x"), ".env": 'A="\n' * 501},
        "not closed",
    ),
}


@pytest.mark.parametrize(("files", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_what_goes_wrong_is_told(files, problem):
    """Whatever stands in the files, the finder says what is wrong with it and comes to an end."""
    findings = look(files)
    told = [finding.problem if isinstance(finding, Trouble) else finding.unresolved for finding in findings]
    assert any(problem in text for text in told)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1\n=2\nB", {"A": "1"}),
        ("export A=1 # c\n  B : 'x y' # c", {"A": "1", "B": "x y"}),
        ("A='it\\'s'", {"A": "it's"}),
        ('A=x\nB="$A\\n"', {"A": "x", "B": "x\n"}),
    ],
)
def test_env_files(text, values):
    """Line ends, names without values, comments and quotes of `.env` files are read as Compose reads them."""
    read, findings = dotenv.read(".env", text, Variables())
    assert {name: value.value for name, value in read.items() if isinstance(value, Known)} == values
    assert findings == []


def test_what_is_not_known_stays_so():
    """A variable that is unknown makes the text unknown that it is part of, with its reason."""
    variables = Variables(values={"A": Unknown("nobody said")})
    assert interpolated("x${A:-y}", variables, "f:1") == Unknown("nobody said", beginning="x")
    assert isinstance(interpolated("${COMPOSE_PROJECT_NAME:-y}", variables, "f:1"), Unknown)


TEXTS = [path.read_text(encoding="utf-8") for path in sorted(CORPUS.glob("*/*compose*.y*ml"))]
PIECES = [
    "",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "\n",
    "\t",
    "'",
    '"',
    "&a ",
    "*a",
    "<<: ",
    "!reset ",
    "!override ",
    "${",
    "$",
    "|\n",
]
PLACES = (
    "image",
    "build",
    "volumes",
    "extends",
    "include",
    "args",
    "cache_from",
    "profiles",
    "models",
    "sbom",
    "pre_start",
)
VALUES = st.recursive(
    st.none()
    | st.sampled_from(("", "x", "$V", "${V:-x}", "${", "oci://a/b", "https://x/y", "a=b", "compose.yaml", "a")),
    lambda value: (
        st.lists(value, max_size=3)
        | st.dictionaries(st.sampled_from((*PLACES, "a", "service", "file")), value, max_size=4)
    ),
    max_leaves=8,
)


def assert_sound(files):
    """Nothing is raised, and each reference stands at its place where that is exact."""
    for finding in look(files):
        place = finding.place
        assert place.line >= 1
        assert place.column >= 1
        if isinstance(finding, Found) and place.file in files and place.line == place.end_line:
            line = files[place.file].split("\n")[place.line - 1]
            written = line[place.column - 1 : place.end_column - 1]
            assert finding.raw == written or written[:1] in {'"', "'", "&", "!", ""} or "\\" in line


@given(
    text=st.sampled_from(TEXTS),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), st.sampled_from(PIECES)), min_size=1, max_size=4),
)
def test_damaged_files_are_read_without_an_error(text, cuts):
    """Files with pieces taken out and put in lead to findings, never to an exception."""
    for where, length, piece in cuts:
        start = int(where * len(text))
        text = text[:start] + piece + text[start + length :]
    assert_sound({"compose.yaml": text, ".env": text[:200]})


@given(
    services=st.dictionaries(
        st.sampled_from("abc"), st.dictionaries(st.sampled_from(PLACES), VALUES, max_size=5) | VALUES, max_size=3
    ),
    include=VALUES,
    models=VALUES,
)
def test_wrong_types_are_read_without_an_error(services, include, models):
    """Whatever stands where a text, a list or a mapping is wanted, the rest is read."""
    root = {"services": services, "include": include, "models": models}
    assert_sound({"compose.yaml": json.dumps(root)})


def test_what_others_may_say_more_of_is_marked():
    """Of what is unresolved another use may say more, but not where the files themselves are included."""
    files = {"compose.yaml": "include: [b.yaml]\n" + service("image: $V"), "b.yaml": "services: {b: {image: $W}}"}
    assert {(finding.raw, finding.alone) for finding in look(files)} == {("$V", True), ("$W", False)}
    assert replace(look(files, "b.yaml")[0], alone=True) == look(files, "b.yaml")[0]
