"""Images that kustomizations put instead of others, and kustomize itself where it is at hand."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from pullgate_finders import Search
from pullgate_finders.kustomize.finder import KustomizeFinder
from pullgate_finders.tree import FilesInMemory
from pullgate_policy import parse_reference
from tests.finders.looking import comes_to, damaged, is_where_it_says, look, problems, references

CORPUS = Path(__file__).parent / "corpus"
NEEDS_KUBECTL = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl, which carries kustomize, is not here"
)
DIGEST = "sha256:" + "0123456789abcdef" * 4

IMAGES = [
    ("a new tag", {"name": "nginx", "newTag": "1.27"}, "nginx:1.25", "nginx:1.27"),
    ("a new tag instead of a digest", {"name": "nginx", "newTag": "1.27"}, f"nginx@{DIGEST}", "nginx:1.27"),
    ("a digest instead of a tag", {"name": "nginx", "digest": DIGEST}, "nginx:1.25", f"nginx@{DIGEST}"),
    ("both", {"name": "a/b", "newTag": "2", "digest": DIGEST}, "a/b", f"docker.io/a/b:2@{DIGEST}"),
    ("a new name and a tag", {"name": "app", "newName": "ghcr.io/a/b", "newTag": "2"}, "app", "ghcr.io/a/b:2"),
    ("a name with a tag", {"name": "redis:7", "newTag": "8"}, "redis:7", "redis:8"),
    ("a registry with a port", {"name": "r:5000/a", "newTag": "8"}, "r:5000/a:7", "r:5000/a:8"),
    ("a new name alone: the tag stays", {"name": "app", "newName": "a/b"}, "app:5", "docker.io/a/b:5"),
    ("and no tag stays none", {"name": "app", "newName": "a/b"}, "app", "docker.io/a/b"),
    ("a digest stays too", {"name": "app", "newName": "a/b"}, f"app@{DIGEST}", f"docker.io/a/b@{DIGEST}"),
    ("an empty tag changes nothing", {"name": "app", "newName": "a/b", "newTag": ""}, "app:5", "docker.io/a/b:5"),
    ("a new name for one tag", {"name": "app:5", "newName": "a/b"}, "app:5", "docker.io/a/b:5"),
]


@pytest.mark.parametrize(("fact", "image", "before", "after"), IMAGES, ids=[case[0] for case in IMAGES])
def test_what_an_image_comes_to(fact, image, before, after):
    """Each case is what its sentence says."""
    assert comes_to(look(_tree(image, before), "kustomization.yaml")) == [after]


@NEEDS_KUBECTL
@pytest.mark.parametrize(("fact", "image", "before", "after"), IMAGES, ids=[case[0] for case in IMAGES])
def test_kustomize_makes_the_same_of_it(fact, image, before, after, tmp_path):
    """What is found is what kustomize puts into the resources."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"image": before}]}}
    made = _built(tmp_path, {"resources": ["pod.yaml"], "images": [image]}, pod)
    found = look(_tree(image, before), "kustomization.yaml")
    assert str(parse_reference(made)) == str(references(found)[0].reference)


NUMBERS = ["3.10", "553640e6", "010", "08", "0x1F", "1_000", "1e3", "17"]
NO_NUMBERS = ["7.4.1", "2024-08-03", "1e999", "12e", "'3.10'"]


@pytest.mark.parametrize("tag", [*NUMBERS, *NO_NUMBERS])
def test_a_tag_that_is_a_number_is_refused(tag):
    """A number without quotes is no tag for kustomize; the reason says so, and the repository is known."""
    (finding,) = references(look({"kustomization.yaml": f"images:\n- name: app\n  newTag: {tag}\n"}))
    assert (finding.reference is None) == (tag in NUMBERS)
    if finding.reference is None:
        assert finding.unresolved == f"newTag {tag} is a number, which kustomize refuses; put quotes around it"
        assert str(finding.repository) == "docker.io/library/app"


@NEEDS_KUBECTL
@pytest.mark.parametrize("tag", [*NUMBERS, *NO_NUMBERS])
def test_kustomize_refuses_the_same_numbers(tag, tmp_path):
    """What is told of numbers is what kustomize does."""
    (tmp_path / "kustomization.yaml").write_text(f"images:\n- name: app\n  newTag: {tag}\n", encoding="utf-8")
    command = ["kubectl", "kustomize", str(tmp_path)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ("cannot unmarshal number" in built.stderr) == (tag in NUMBERS)


POD = "kind: Pod\napiVersion: v1\nspec: {containers: [{name: a, image: 'app:1'}, {name: b, image: 'app:2'}]}\n"
RENAMED = "images: [{name: app, newName: a/b}]\n"
KEPT = [
    ("the tags of all resources", {"pod.yaml": POD}, "resources: [pod.yaml]\n", ["docker.io/a/b:1", "docker.io/a/b:2"]),
    (
        "those that an entry before put in",
        {"pod.yaml": POD},
        "resources: [pod.yaml]\nimages: [{name: app, newTag: '3'}, {name: app, newName: a/b}]\n",
        ["app:3", "docker.io/a/b:3"],
    ),
    (
        "those of a kustomization below, as its own images leave them",
        {"base/pod.yaml": POD, "base/kustomization.yml": "resources: [pod.yaml]\nimages: [{name: app, newTag: '3'}]\n"},
        "bases: [base]\n",
        ["docker.io/a/b:3"],
    ),
    ("no resource has the image", {"pod.yaml": POD.replace("app", "other")}, "resources: [pod.yaml]\n", ["?"]),
    (
        "a custom resource has it where kustomize does not look",
        {"a.yaml": "kind: Thing\napiVersion: a.io/v1\nspec: {image: 'app:3'}\n"},
        "resources: [a.yaml]\n",
        ["?"],
    ),
    ("a resource that is not here", {}, "resources: [https://example.com/pod.yaml]\n", ["?"]),
    (
        "one that is, and one that is not",
        {"pod.yaml": POD},
        "resources: [pod.yaml, no.yaml]\n",
        ["docker.io/a/b:1", "docker.io/a/b:2", "?"],
    ),
    ("a resource that is broken", {"pod.yaml": "a: ["}, "resources: [pod.yaml]\n", ["?"]),
    (
        "a component",
        {"pod.yaml": POD.replace("app:2", "app:1")},
        "resources: [pod.yaml]\ncomponents: [c]\n",
        ["docker.io/a/b:1", "?"],
    ),
    (
        "a patch with an image",
        {"pod.yaml": POD.replace("app:2", "app:1"), "p.yaml": "image: x"},
        "resources: [pod.yaml]\npatchesStrategicMerge: [p.yaml]\n",
        ["docker.io/a/b:1", "?"],
    ),
    (
        "a patch without one",
        {"pod.yaml": POD.replace("app:2", "app:1"), "p.yaml": "replicas: 1"},
        "resources: [pod.yaml]\npatches: [{path: p.yaml}, {patch: 'a: b'}]\n",
        ["docker.io/a/b:1"],
    ),
    ("a kustomization that names itself", {}, "resources: [.]\n", ["?"]),
]


@pytest.mark.parametrize(("fact", "files", "text", "expected"), KEPT, ids=[case[0] for case in KEPT])
def test_which_tag_stays(fact, files, text, expected):
    """A new name alone goes with the tags of the resources; where there may be others, that is told too."""
    images = RENAMED if "images" not in text else ""
    findings = look({**files, "kustomization.yaml": text + images}, "kustomization.yaml")
    assert sorted(comes_to([*findings])) == sorted(expected)


def test_a_kept_tag_says_where_it_is_from():
    """The resource is named, and where the tag is not known the repository still is."""
    found, open_one = references(
        look(
            {"p.yaml": POD, "kustomization.yaml": "resources: [p.yaml, no]\n" + RENAMED.replace("app", "app:1")},
            "kustomization.yaml",
        )
    )
    assert found.how == ("the tag stays that of app:1 (p.yaml:3)",)
    assert open_one.unresolved == (
        "its tag stays that of image app:1, which is not known: resource no of kustomization.yaml is not here; "
        "give a newTag"
    )
    assert str(open_one.repository) == "docker.io/a/b"


PATCHES = [
    ("a text of YAML", "- {op: replace, path: /spec/containers/0/image, value: 'acme/new:1'}"),
    ("a text of JSON", '[{"op": "add", "path": "/spec/containers/0/image", "value": "acme/new:1"}]'),
    ("a container as a whole", "- {op: replace, path: /spec/containers/0, value: {name: x, image: 'acme/new:1'}}"),
    ("a list of containers", "- {op: replace, path: /spec/containers, value: [{name: x, image: 'acme/new:1'}]}"),
    ("a whole PodSpec", "- {op: replace, path: /spec, value: {containers: [{name: x, image: 'acme/new:1'}]}}"),
    (
        "a merge patch",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: 'acme/new:1'}]}",
    ),
    (
        "a merge patch behind a line",
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: 'acme/new:1'}]}",
    ),
]


@pytest.mark.parametrize(("fact", "patch"), PATCHES, ids=[case[0] for case in PATCHES])
@pytest.mark.parametrize("style", ["|", '"', "'"])
def test_what_a_patch_puts_in(fact, patch, style):
    """Patches are found however they are written; in a literal block each image stands where it says."""
    text = "patches:\n" + yaml.safe_dump([{"patch": patch, "target": {"kind": "Pod"}}], default_style=style)
    findings = references(look({"kustomization.yaml": text}))
    assert comes_to([*findings]) == ["docker.io/acme/new:1"]
    assert is_where_it_says(findings[0], text) or findings[0].place.line < findings[0].place.end_line


@NEEDS_KUBECTL
@pytest.mark.parametrize(("fact", "patch"), PATCHES, ids=[case[0] for case in PATCHES])
def test_kustomize_puts_the_same_in(fact, patch, tmp_path):
    """Each of these patches is one for kustomize too."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "a", "image": "old"}]},
    }
    patches = [{"patch": patch, "target": {"kind": "Pod"}}]
    assert _built(tmp_path, {"resources": ["pod.yaml"], "patches": patches}, pod) == "acme/new:1"


NOTHING = [
    ("an entry that changes nothing", "images: [{name: a}]"),
    ("a patch that removes", "patches: [{patch: '[{op: remove, path: /spec/containers/0/image}]'}]"),
    ("a patch that only tests", "patches: [{patch: '[{op: test, path: /spec/containers/0/image, value: a}]'}]"),
    ("a label called image", "patches: [{patch: '[{op: add, path: /metadata/labels/x, value: {image: a}}]'}]"),
    ("wrong types", "images: {a: b}\npatches: [[], {patch: [x]}, {path: {}}]\nhelmCharts: [x, {valuesInline: []}]"),
    ("a patch elsewhere", "patches: [{path: 'https://example.com/image.yaml'}]"),
]


@pytest.mark.parametrize(("fact", "text"), NOTHING, ids=[case[0] for case in NOTHING])
def test_what_is_no_image(fact, text):
    """Each case puts no image in."""
    assert look({"kustomization.yaml": text + "\n"}) == []


def test_a_patch_that_cannot_be_read_is_told_of_where_it_is_named():
    """A patch file that is missing or outside of the tree is trouble at its name, and the rest is read."""
    text = "patches:\n- path: ../../x.yaml\n- path: no.yaml\nimages: [{name: a, newTag: b}]\n"
    findings = look({"a/kustomization.yaml": text})
    assert comes_to(findings) == ["!", "!", "a:b"]
    outside, missing = problems(findings)
    assert "lies outside" in outside
    assert "does not exist" in missing


def test_an_object_of_flux_is_told_from_a_kustomization():
    """Flux has a kind of that name, often in a file of that name: its images and values are found."""
    text = (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\n"
        "spec: {images: [{name: a, newName: b/c, newTag: d}]}\n"
    )
    for path in ("kustomization.yaml", "apps.yaml"):
        assert comes_to(look({path: text})) == ["docker.io/b/c:d"]


TEXTS = [path.read_text(encoding="utf-8") for path in sorted(CORPUS.glob("kustomize/**/*kustomization.y*ml"))]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(TEXTS))
def test_nothing_in_a_file_raises(text):
    """Whatever is damaged in a file: the finder goes on."""
    search = Search(files=FilesInMemory({"patches/image.json": text, "patches/merge.yaml": text}))
    for finding in KustomizeFinder().find("kustomization.yaml", text, search):
        assert finding.place.file in {"kustomization.yaml", "patches/image.json", "patches/merge.yaml"}


def _tree(image, before):
    """A kustomization with an entry, and its one resource."""
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": before}]}}
    return {
        "kustomization.yaml": yaml.safe_dump({"images": [image], "resources": ["pod.yaml"]}),
        "pod.yaml": yaml.safe_dump(pod),
    }


def _built(directory, kustomization, pod):
    """The image of the pod in what kustomize builds."""
    for container in pod["spec"]["containers"]:
        container.setdefault("name", "a")
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    (directory / "pod.yaml").write_text(yaml.safe_dump(pod), encoding="utf-8")
    command = ["kubectl", "kustomize", str(directory)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert built.returncode == 0, built.stderr
    return yaml.safe_load(built.stdout)["spec"]["containers"][0]["image"]
