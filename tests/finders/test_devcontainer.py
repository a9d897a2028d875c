"""What development containers are made of."""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_finders import Found, Search, Settings, Trouble
from pullgate_finders.devcontainer import DevContainerFinder
from pullgate_finders.tree import FilesInMemory
from tests.finders.looking import comes_to, damaged, is_where_it_says, look

HERE = ".devcontainer/devcontainer.json"
DIGEST = "sha256:" + "0123456789abcdef" * 4

FEATURES = [
    ("one of the registry", "ghcr.io/devcontainers/features/go:1", ["ghcr.io/devcontainers/features/go:1"]),
    ("one without a version is the latest", "ghcr.io/a/b/c", ["ghcr.io/a/b/c"]),
    ("one with a digest", f"ghcr.io/a/b/c@{DIGEST}", [f"ghcr.io/a/b/c@{DIGEST}"]),
    ("capitals are looked up in lower case", "GHCR.io/A/B/C:1", ["ghcr.io/a/b/c:1"]),
    ("a registry on the machine", "localhost:5000/a/b:1", ["localhost:5000/a/b:1"]),
    ("a short name of before is that of the registry", "node", ["ghcr.io/devcontainers/features/node:1"]),
    ("one that was renamed", "common", ["ghcr.io/devcontainers/features/common-utils:1"]),
    ("one that became an option of another", "jupyterlab", ["ghcr.io/devcontainers/features/python:1"]),
    ("a short name that stayed in the tool is none", "homebrew", []),
    ("a directory is none", "./local", []),
    ("a directory above is none", "../local", []),
    ("a tar file is none", "https://example.com/devcontainer-feature-x.tgz", []),
    ("a release at GitHub is none", "owner/repository/feature@v1", []),
]


@pytest.mark.parametrize(("fact", "identifier", "references"), FEATURES, ids=[case[0] for case in FEATURES])
def test_which_features_are_artifacts(fact, identifier, references):
    """Each case is what its sentence says."""
    assert comes_to(look({HERE: json.dumps({"features": {identifier: {}}})})) == references


TEXTS = [
    ("a plain image", "alpine:3", "alpine:3"),
    ("a default", "python:${localEnv:V:3.12}", "~python:3.12"),
    ("the older name of the same", "python:${env:V:3.12}", "~python:3.12"),
    ("a default ends at a colon", "${localEnv:V:python:3.12}", "~python"),
    ("an empty default is none", "python:${localEnv:V:}", "?"),
    ("no default", "python:${localEnv:V}", "?"),
    ("a variable that was given", "python:${localEnv:GIVEN:3}", "python:9"),
    ("a variable of the container", "python:${containerEnv:V:3}", "?"),
    ("an option of a template", "python:${templateOption:variant}", "?"),
    ("the name of the directory", "acme/${localWorkspaceFolderBasename}", "?"),
    ("what is no variable", "python:$V", "?"),
]


@pytest.mark.parametrize(("fact", "image", "reference"), TEXTS, ids=[case[0] for case in TEXTS])
def test_what_variables_come_to(fact, image, reference):
    """Each case is what its sentence says."""
    given_ = Settings(variables={"GIVEN": "9"})

    assert comes_to(look({HERE: json.dumps({"image": image})}, settings=given_)) == [reference]


DOCKERFILES = [
    ("beside the file", {"dockerfile": "Dockerfile"}, ".devcontainer/Dockerfile"),
    ("whatever the context is", {"dockerfile": "../d/D", "context": "../.."}, "d/D"),
    ("from the directory that is opened", {"dockerfile": "${localWorkspaceFolder}/d/D"}, "d/D"),
    ("with the separators of Windows", {"dockerfile": "..\\d\\D"}, "d/D"),
]


@pytest.mark.parametrize(("fact", "build", "path"), DOCKERFILES, ids=[case[0] for case in DOCKERFILES])
def test_where_the_dockerfile_is(fact, build, path):
    """Its path is relative to the file that names it."""
    findings = look({HERE: json.dumps({"build": build}), path: "FROM alpine:3\n"}, HERE)

    assert [finding.place.file for finding in findings] == [path]
    assert comes_to(findings) == ["alpine:3"]


def test_a_dockerfile_is_built_as_it_says():
    """Arguments, target and named contexts reach the Dockerfile, those among the options of docker build too."""
    build = {
        "dockerfile": "Dockerfile",
        "target": "dev",
        "args": {"A": "alpine:1", "N": 3.10},
        "options": [
            "--build-arg=B=alpine:2",
            "--build-context",
            "tools=docker-image://acme/tools:1",
            "--add-host",
            "x:1",
        ],
    }
    text = "ARG A\nARG B\nFROM $A AS dev\nCOPY --from=tools /a /a\nFROM $B\n"
    findings = look({HERE: json.dumps({"build": build}), ".devcontainer/Dockerfile": text}, HERE)

    assert comes_to(findings) == ["alpine:1", "%alpine:2", "docker.io/acme/tools:1"]
    assert isinstance(findings[0], Found)
    assert findings[0].how == (
        f"development container ({HERE}:1)",
        f"build arguments of development container ({HERE}:1)",
    )


TROUBLES = [
    ("it is cut off", '{"image": "alpine"', 2),
    ("it is a list", '["image"]', 1),
    ("the Dockerfile is missing", '{"build": {"dockerfile": "no"}}', 1),
    ("the Dockerfile is outside", '{"build": {"dockerfile": "../../../etc/passwd"}}', 1),
    ("the Dockerfile is not known", '{"build": {"dockerfile": "${localEnv:D}"}}', 1),
    ("the Compose file is missing", '{"dockerComposeFile": "no.yml"}', 1),
    ("the Compose file is not known", '{"dockerComposeFile": "${localEnv:D}.yml"}', 1),
]


@pytest.mark.parametrize(("fact", "text", "line"), TROUBLES, ids=[case[0] for case in TROUBLES])
def test_what_is_in_the_way_is_told(fact, text, line):
    """What cannot be read is trouble at the place that names it."""
    (trouble,) = look({HERE: text})

    assert isinstance(trouble, Trouble)
    assert (trouble.place.file, trouble.place.line) == (HERE, line)


def test_only_files_of_its_names_are_claimed():
    """The names are those of the specification, in any directory; what has nothing that leads to an image is left."""
    finder = DevContainerFinder()

    assert [
        path
        for path in (HERE, ".devcontainer.json", "a/devcontainer.json", "my.json", "devcontainer.jsonc")
        if finder.claims(path)
    ] == [
        HERE,
        ".devcontainer.json",
        "a/devcontainer.json",
    ]
    assert finder.recognises('{"image": "x"}')
    assert not finder.recognises('{"name": "x"}')


BLANKS = str.maketrans(dict.fromkeys("\r\x85\u2028\u2029", " "))
"""Of what YAML takes for the end of a line JSON's strings may hold some; as blanks they are read."""

WHOLE = """{
\t// "image": "no",
\t"image": "alpine:${localEnv:V:3}",
\t"build": {"dockerfile": "Dockerfile", "args": {"A": "x", "B": null}, "cacheFrom": ["a/b", "type=registry,ref=c/d"],
\t\t"options": ["--build-context=x=docker-image://e/f"], "target": "t"},
\t"dockerComposeFile": ["compose.txt"],
\t"features": {"ghcr.io/a/b/c:1": {}, "git": "latest",},
}
"""


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged([WHOLE, WHOLE.replace("\n", "\r\n"), json.dumps({"image": "\u00e9\\", "features": {"a.b/c": 1}})]))
def test_damaged_files_raise_nothing_and_places_are_right(text):
    """Whatever is in a file, nothing is raised, and each reference stands where its place says."""
    search = Search(files=FilesInMemory({HERE: text, ".devcontainer/compose.txt": "services: {a: {image: b}}"}))

    for finding in DevContainerFinder().find(HERE, text, search):
        if isinstance(finding, Found) and finding.place.file == HERE:
            assert is_where_it_says(finding, text.translate(BLANKS))


@pytest.mark.parametrize("value", [None, True, 1, "", "x", [], [[]], {}, {"a": {"b": []}}])
@pytest.mark.parametrize(
    "key", ["image", "build", "dockerFile", "dockerComposeFile", "features", "dependsOn", "args", "target"]
)
def test_wrong_types_raise_nothing(key, value):
    """A value of another type than is meant is passed over or told of; the rest is found."""
    text = json.dumps({"features": {"ghcr.io/a/b/c": {}}, "build": {key: value, "dockerfile": "D"}} | {key: value})

    look({HERE: text, ".devcontainer/D": "FROM alpine\n"})
