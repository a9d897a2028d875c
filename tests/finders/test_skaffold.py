"""What Skaffold builds from and with, and runs."""

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from pullgate_finders import Found, Search, Settings
from pullgate_finders.skaffold import SkaffoldFinder
from pullgate_finders.tree import FilesInMemory
from tests.finders.looking import comes_to, damaged, is_where_it_says, look

HERE = "skaffold.yaml"
DOCKERFILE = "ARG A=none\nFROM a:$A\n"


def configuration(**parts):
    return yaml.safe_dump({"apiVersion": "skaffold/v4beta14", "kind": "Config", **parts}, sort_keys=False)


ARTIFACTS = [
    ("a Dockerfile without more", {}, ["~a:none"]),
    ("an argument", {"docker": {"buildArgs": {"A": "1"}}}, ["a:1"]),
    ("a number", {"docker": {"buildArgs": {"A": 1}}}, ["a:1"]),
    ("an argument from the environment", {"docker": {"buildArgs": {"A": None}}}, ["?"]),
    ("a template", {"docker": {"buildArgs": {"A": "{{.V}}"}}}, ["?"]),
    ("a template that is given", {"docker": {"buildArgs": {"A": "x{{ .GIVEN }}"}}}, ["a:x9"]),
    ("a template that is worked out", {"docker": {"buildArgs": {"A": "{{cmd `ls`}}"}}}, ["?"]),
    ("caches", {"docker": {"cacheFrom": ["made", "b/c", "type=gha"]}}, ["~a:none", "made", "docker.io/b/c"]),
    ("options", {"docker": {"cliFlags": ["--build-arg=A=2", "--cache-from", "b"]}}, ["a:2", "b"]),
    ("a context by option", {"docker": {"cliFlags": ["--build-context=x=docker-image://b"]}}, ["~a:none", "b"]),
    ("kaniko", {"kaniko": {"image": "k", "initImage": "i", "buildArgs": {"A": "3"}}}, ["a:3", "k", "i"]),
    ("kaniko's cache", {"kaniko": {"cache": {"repo": "b/c"}}}, ["~a:none", "docker.io/b/c"]),
    ("buildpacks", {"buildpacks": {"builder": "b", "runImage": "r"}}, ["b", "r"]),
    ("a builder that is made here", {"buildpacks": {"builder": "made"}}, []),
    ("a builder of a template", {"buildpacks": {"builder": "b:{{.V}}"}}, ["?"]),
    ("a buildpack", {"buildpacks": {"builder": "b", "buildpacks": ["docker://c", "a/b@1", "x.tgz"]}}, ["b", "c"]),
    ("jib", {"jib": {"fromImage": "b"}}, ["b"]),
    ("jib from a registry", {"jib": {"fromImage": "registry://b"}}, ["b"]),
    ("jib from a daemon", {"jib": {"fromImage": "docker://b"}}, ["b"]),
    ("jib from a file", {"jib": {"fromImage": "tar:///b"}}, []),
    ("jib without more", {"jib": {}}, []),
    ("ko", {"ko": {"fromImage": "b"}}, ["b"]),
    ("bazel", {"bazel": {"target": "//:a"}}, []),
    ("a command", {"custom": {"buildCommand": "make"}}, []),
    ("a command with a Dockerfile", {"custom": {"dependencies": {"dockerfile": {"path": "Dockerfile"}}}}, ["~a:none"]),
    ("a Dockerfile that is missing", {"docker": {"dockerfile": "no"}}, ["!"]),
    ("a Dockerfile that is not known", {"docker": {"dockerfile": "{{.V}}"}}, ["!"]),
    ("a stage that is not known", {"docker": {"target": "{{.V}}"}}, ["%a:none"]),
]


@pytest.mark.parametrize(("fact", "artifact", "references"), ARTIFACTS, ids=[case[0] for case in ARTIFACTS])
def test_what_an_artifact_is_built_from(fact, artifact, references):
    """Each case is what its sentence says; the image of the artifact is what comes out."""
    files = {HERE: configuration(build={"artifacts": [{"image": "made", **artifact}]}), "Dockerfile": DOCKERFILE}

    assert comes_to(look(files, HERE, settings=Settings(variables={"GIVEN": "9"}))) == references


PARTS = [
    ("a verification", {"verify": [{"name": "v", "container": {"image": "b"}}]}, ["b"]),
    ("one of what is built", {"verify": [{"name": "v", "container": {"image": "made"}}]}, []),
    ("an action", {"customActions": [{"name": "c", "containers": [{"image": "b"}, {"image": "c"}]}]}, ["b", "c"]),
    ("a deployment", {"deploy": {"docker": {"images": ["made", "b"]}}}, ["b"]),
    ("a test is of what is built", {"test": [{"image": "made", "custom": [{"command": "x"}]}]}, []),
]


@pytest.mark.parametrize(("fact", "parts", "references"), PARTS, ids=[case[0] for case in PARTS])
def test_what_is_run(fact, parts, references):
    """Each case is what its sentence says."""
    build = {"artifacts": [{"image": "made", "bazel": {}}]}

    assert comes_to(look({HERE: configuration(build=build, **parts)})) == references


@pytest.mark.parametrize("key", ["dockerImage", "kanikoImage", "mavenImage", "gradleImage", "packImage", "koImage"])
def test_builders_of_google_cloud_build(key):
    """Each of the images that Google Cloud Build runs in is found."""
    assert comes_to(look({HERE: configuration(build={"googleCloudBuild": {key: "b"}})})) == ["b"]


PROFILES = [
    ("its own artifacts", {"build": {"artifacts": [{"image": "m", "ko": {"fromImage": "c"}}]}}, ["b", "%c"]),
    (
        "the same again is told once",
        {"build": {"artifacts": [{"image": "made", "ko": {"fromImage": "b"}}]}},
        ["b", "%b"],
    ),
    ("a patch", {"patches": [{"path": "/build/artifacts/0/ko/fromImage", "value": "c"}]}, ["b", "%c"]),
    (
        "a patch that adds",
        {"patches": [{"op": "add", "path": "/verify", "value": [{"container": {"image": "c"}}]}]},
        ["b", "%c"],
    ),
    (
        "a patch that inserts",
        {"patches": [{"op": "add", "path": "/build/artifacts/0", "value": {"image": "m", "ko": {"fromImage": "c"}}}]},
        ["b", "%c"],
    ),
    (
        "a patch of what the profile has",
        {
            "verify": [{"container": {"image": "x"}}],
            "patches": [{"op": "replace", "path": "/verify/0/container/image", "value": "c"}],
        },
        ["b", "%c"],
    ),
    (
        "a patch that copies",
        {"patches": [{"op": "copy", "from": "/build/artifacts/0", "path": "/build/artifacts/-"}]},
        ["b"],
    ),
    ("a patch that removes", {"patches": [{"op": "remove", "path": "/build/artifacts/0"}]}, ["b"]),
    ("a patch that tests", {"patches": [{"op": "test", "path": "/build/artifacts/7", "value": 1}]}, ["b"]),
    ("a path with escapes", {"patches": [{"op": "add", "path": "/build/a~1b~0", "value": 1}]}, ["b"]),
    ("a path that leads nowhere", {"patches": [{"path": "/build/artifacts/1/ko", "value": 1}]}, ["b", "!"]),
    ("a path into a text", {"patches": [{"path": "/apiVersion/x", "value": 1}]}, ["b", "!"]),
    ("no path", {"patches": [{"op": "add", "value": 1}]}, ["b", "!"]),
]


@pytest.mark.parametrize(("fact", "profile", "references"), PROFILES, ids=[case[0] for case in PROFILES])
def test_what_a_profile_changes(fact, profile, references):
    """What only a profile leads to is conditional; what it leaves as it is, is not told again."""
    build = {"artifacts": [{"image": "made", "ko": {"fromImage": "b"}}]}
    findings = look({HERE: configuration(build=build, profiles=[{"name": "p", **profile}])})

    assert comes_to(findings) == references
    assert {one.condition for one in findings if isinstance(one, Found)} <= {"", "only with profile p"}


def test_artifacts_that_are_built_on_each_other_are_not_pulled():
    """An argument that is another artifact's image leads to what is built here, not to an image of that name."""
    artifacts = [
        {"image": "gcr.io/a/base", "context": "base"},
        {"image": "app", "requires": [{"image": "gcr.io/a/base", "alias": "BASE"}]},
    ]
    files = {
        HERE: configuration(build={"artifacts": artifacts}),
        "base/Dockerfile": "FROM alpine\n",
        "Dockerfile": "ARG BASE\nFROM busybox AS b\nFROM $BASE\nCOPY --from=b / /\n",
    }

    assert comes_to(look(files, HERE)) == ["busybox", "alpine"]


PATHS = [
    ("in the context", {"context": "c"}, "s/c/Dockerfile"),
    ("in the context, by name", {"context": "c", "docker": {"dockerfile": "d/D"}}, "s/c/d/D"),
    ("shared beside the configuration", {"context": "c", "docker": {"dockerfile": "d/D"}}, "s/d/D"),
    ("above the configuration", {"context": "../c"}, "c/Dockerfile"),
]


@pytest.mark.parametrize(("fact", "artifact", "path"), PATHS, ids=[case[0] for case in PATHS])
def test_where_the_dockerfile_is(fact, artifact, path):
    """A Dockerfile is looked for in the context, and then where the configuration is."""
    text = configuration(build={"artifacts": [{"image": "made", **artifact}]})
    findings = look({"s/skaffold.yaml": text, path: "FROM alpine"}, "s/skaffold.yaml")

    assert [(one.place.file, one.raw) for one in findings if isinstance(one, Found)] == [(path, "alpine")]


@pytest.mark.parametrize(
    ("text", "is_recognised"),
    [
        ("apiVersion: skaffold/v4beta11\n", True),
        ("# x\n'apiVersion' : 'skaffold/v1'\n", True),
        ("apiVersion: v1\nkind: Pod\n# skaffold/v1\n", False),
        ("a:\n  apiVersion: skaffold/v1\n", False),
    ],
)
def test_what_is_recognised(text, is_recognised):
    """A configuration is known by the version of its schema, whatever the file is called."""
    assert SkaffoldFinder().recognises(text) is is_recognised


WHOLE = """apiVersion: skaffold/v4beta11
build:
  artifacts:
    - &a
      image: made
      docker: {buildArgs: {A: "{{.V}}", B: }, cacheFrom: [a/b, 'type=registry,ref=c/d']}
      requires: [{image: base, alias: A}]
    - {<<: *a, image: other, kaniko: {image: k}}
    - {image: pack, buildpacks: {builder: "b", buildpacks: ["docker://x/y"]}}
  googleCloudBuild: {dockerImage: g}
verify: [{name: v, container: {image: "w:{{.V}}"}}]
profiles:
  - name: p
    build: {artifacts: [{image: m, jib: {fromImage: "registry://z"}}]}
    patches: [{op: add, path: /build/artifacts/-, value: {image: n, ko: {fromImage: q}}}, {path: /verify/0, value: *a}]
---
apiVersion: skaffold/v4beta11
customActions: [{name: c, containers: [{image: u}]}]
"""


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged([WHOLE, WHOLE.replace("\n", "\r\n")]))
def test_damaged_files_raise_nothing_and_places_are_right(text):
    """Whatever is in a file, nothing is raised, and each reference stands where its place says."""
    search = Search(files=FilesInMemory({HERE: text, "Dockerfile": DOCKERFILE}))

    for finding in SkaffoldFinder().find(HERE, text, search):
        if isinstance(finding, Found) and finding.place.file == HERE and not {"\r", "\x85", "\u2028"} & set(text):
            assert is_where_it_says(finding, text)


VALUES: list[Any] = [None, True, 1, "", "x", [], [[]], [None], {}, {"a": {"b": []}}, [{"image": []}]]
KEYS = [("build",), ("build", "artifacts"), ("profiles",), ("verify",), ("customActions",), ("deploy",), ("requires",)]


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("path", KEYS, ids="/".join)
def test_wrong_types_raise_nothing(path, value):
    """A value of another type than is meant is passed over; the rest is found."""
    parts = {path[0]: {path[1]: value} if path[1:] else value}
    text = configuration(**{"verify": [{"container": {"image": "b"}}], **parts})

    look({HERE: text + "---\n" + configuration(**parts)})


def test_wrong_types_in_an_artifact_raise_nothing():
    """The same for each field of an artifact and of a patch."""
    fields = ["image", "context", "docker", "kaniko", "buildpacks", "jib", "ko", "custom", "requires"]
    inner = ["dockerfile", "buildArgs", "cacheFrom", "cliFlags", "target", "image", "builder", "buildpacks", "cache"]
    for value in VALUES:
        artifacts = [{"image": "made", field: value} for field in fields]
        artifacts += [{"image": "made", field: dict.fromkeys(inner, value)} for field in fields]
        patches = [{key: value} | {"path": "/build/artifacts/0"} for key in ("op", "path", "value", "from")]
        text = configuration(build={"artifacts": artifacts}, profiles=[{"name": value, "patches": patches}, value])

        look({HERE: text, "Dockerfile": DOCKERFILE}, HERE)
