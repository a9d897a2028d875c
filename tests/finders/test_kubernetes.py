"""Images in Kubernetes objects and custom resources."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullgate_finders import Found, Kind, Search, Trouble
from pullgate_finders.kubernetes import KubernetesFinder
from pullgate_finders.kubernetes.documents import MAX_BROKEN_DOCUMENTS
from pullgate_finders.tree import FilesInMemory
from tests.finders.looking import comes_to, damaged, is_where_it_says, look, problems, references, written_at

CORPUS = Path(__file__).parent / "corpus"
NOTHING_ELSE = Search(files=FilesInMemory({}))
POD = "apiVersion: v1\nkind: Pod\nspec:\n"
CUSTOM = "apiVersion: example.com/v1\nkind: Thing\nspec:\n"
DEFINITIONS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema/v1.37.0-local/_definitions.json"

CASES = [
    ("a container's image is what a node pulls", POD + "  containers: [{image: nginx}]", ["nginx"]),
    ("no image: something else fills it in, or the object is a patch", POD + "  containers: [{name: a}]", []),
    ("null is no image", POD + "  containers: [{image: ~}]", []),
    (
        "an empty image is refused by the API server, so something has to fill it in",
        POD + "  containers: [{image: ''}]",
        ["?"],
    ),
    ("a blank image is a token of OpenShift", POD + "  containers: [{image: ' '}]", ["?"]),
    ("space around an image counts for nothing", POD + "  containers: [{image: ' nginx '}]", ["nginx"]),
    ("an image that is a list is no image", POD + "  containers: [{image: [nginx]}]", ["!"]),
    ("nor is a mapping", POD + "  containers: [{image: {name: nginx}}]", ["!"]),
    ("braces without quotes are a template", POD + "  containers:\n  - image: {{ .Image }}", ["?"]),
    ("an environment variable is not known", POD + "  containers: [{image: 'a/b:$TAG'}]", ["?"]),
    (
        "of a key that is given twice the last value counts",
        POD + "  containers: [{image: a/a, image: b/b}]",
        ["docker.io/b/b"],
    ),
    ("merged keys count", POD + "  containers:\n  - &c {image: a/a:1}\n  - <<: *c\n    name: x", ["docker.io/a/a:1"]),
    ("Kubernetes has fields called image that are none: Ceph's", POD + "  volumes: [{rbd: {image: disk}}]", []),
    ("they are none in custom resources either", CUSTOM + "  volumes: [{rbd: {image: disk}}]", []),
    ("an image of a custom resource wherever it is", CUSTOM + "  a: [{b: {image: a/b:1}}]", ["docker.io/a/b:1"]),
    ("a number is none", CUSTOM + "  image: 22.04", []),
    ("a sentence is none", CUSTOM + "  image: Ubuntu 22.04 LTS", []),
    ("an address is none", CUSTOM + "  image: https://example.com/a", []),
    ("a picture is none", CUSTOM + "  image: static/cat.webp", []),
    ("a disk of a machine is none", CUSTOM + "  image: ami-0123456789abcdef0", []),
    ("nor is one by its path", CUSTOM + "  image: projects/debian-cloud/global/images/debian-12", []),
    ("a project of a registry is", CUSTOM + "  image: r.example.com/projects/a:1", ["r.example.com/projects/a:1"]),
    ("a mapping is none", CUSTOM + "  image: {repository: a/b, tag: c}", []),
    (
        "the values of a chart are read as such",
        CUSTOM + "  values: {image: {repository: a/b, tag: c}}",
        ["~docker.io/a/b:c"],
    ),
    (
        "a parameter with one default",
        CUSTOM + "  params: [{name: p, default: 'a/b:1'}]\n  image: $(params.p)",
        ["~docker.io/a/b:1"],
    ),
    (
        "a parameter with two is not known",
        CUSTOM + "  a: {params: [{name: p, default: a}]}\n  b: {params: [{name: p, value: b}]}\n  image: $(params.p)",
        ["?"],
    ),
    (
        "a parameter whose value is a placeholder is not known",
        CUSTOM + "  params: [{name: p, value: $(params.q)}]\n  image: $(params.p)",
        ["?"],
    ),
    (
        "workloads of other kinds may stand in one",
        CUSTOM + "  base: {apiVersion: v1, kind: Pod, spec: {containers: [{image: a/b}]}}",
        ["docker.io/a/b"],
    ),
    (
        "a list without kind in its items",
        "apiVersion: v1\nkind: PodList\nitems: [{spec: {containers: [{image: a/b}]}}]",
        ["docker.io/a/b"],
    ),
    (
        "a file that is indented as a whole",
        "  apiVersion: v1\n  kind: Pod\n  spec: {containers: [{image: nginx}]}",
        ["nginx"],
    ),
    ("quoted keys", '"apiVersion": v1\n"kind": Pod\nspec: {"containers": [{"image": nginx}]}', ["nginx"]),
    ("braces around a document", "--- {apiVersion: v1, kind: Pod, spec: {containers: [{image: nginx}]}}", ["nginx"]),
    ("ko makes what it names", CUSTOM + "  containers: [{image: 'ko://example.com/cmd'}]", ["?"]),
]

BROKEN = "apiVersion: v1\nkind: [\n---\n"


@pytest.mark.parametrize(("fact", "text", "expected"), CASES, ids=[case[0] for case in CASES])
def test_what_an_object_comes_to(fact, text, expected):
    """Each case is what its sentence says."""
    findings = look({"k8s/object.yaml": text + "\n"})
    assert comes_to(findings) == expected
    assert all(is_where_it_says(finding, text) for finding in findings if isinstance(finding, Found) and finding.raw)


def test_every_image_of_the_api_is_found_and_nothing_else():
    """Of every kind in the API of Kubernetes 1.37 each field that names an image of containers or volumes is found."""
    definitions = json.loads(DEFINITIONS.read_text(encoding="utf-8"))["$defs"]
    kinds = 0
    for definition in definitions.values():
        for gvk in definition.get("x-kubernetes-group-version-kind") or ():
            wanted: set[str] = set()
            skeleton = _skeleton(definition, definitions, itertools.count(), wanted, ())
            if not wanted or skeleton is None:
                continue
            kinds += 1
            skeleton |= {"apiVersion": f"{gvk['group']}/{gvk['version']}".lstrip("/"), "kind": gvk["kind"]}
            found = look({"a.yaml": yaml.safe_dump(skeleton)})
            assert {finding.raw for finding in found if isinstance(finding, Found)} == wanted, gvk
            assert not [finding for finding in found if isinstance(finding, Trouble)], gvk
    assert kinds >= 15


def _skeleton(definition, definitions, numbers, wanted, above):
    """An object of a definition with nothing but the fields that lead to something called image or reference."""
    made: dict[str, object] = {}
    for name, field in (definition.get("properties") or {}).items():
        is_list = field.get("type") == "array"
        reference = (field.get("items") or {}).get("$ref") if is_list else field.get("$ref")
        if reference is None:
            if name in {"image", "reference"} and "string" in str(field.get("type")):
                made[name] = image = f"example.com/{name}-{next(numbers)}:1"
                if _pulls(definition, name):
                    wanted.add(image)
            continue
        target = definitions[reference.rpartition("/")[2]]
        if target in above or name == "status":
            continue
        inner = _skeleton(target, definitions, numbers, wanted, (*above, definition))
        if inner:
            made[name] = [inner] if is_list else inner
    return made or None


def _pulls(definition, name):
    about = definition["properties"][name].get("description", "")
    return about.startswith("Container image name") or "Image or artifact reference" in about


RECOGNISED = [
    ("an object", POD + "  containers: [{image: a}]", True),
    ("an object in JSON", '{"apiVersion": "v1", "kind": "Pod", "image": 1}', True),
    ("an object behind comments and directives", "# image\n%YAML 1.2\n---\n# x\nkind: A\napiVersion: v1\n", True),
    ("the second document", "a: image\n---\napiVersion: v1\nkind: Pod\n", True),
    ("Compose", "services:\n  a:\n    image: nginx\n", False),
    (
        "Compose with an object in a text",
        "services:\n  a: {image: b}\nconfigs:\n  c:\n    content: |\n      apiVersion: v1\n      kind: Pod\n",
        False,
    ),
    (
        "a workflow that applies an object",
        "on: push\njobs:\n  a:\n    steps:\n    - run: |\n"
        "        apiVersion: v1\n        kind: Pod\n        image: x\n",
        False,
    ),
    ("GitLab", "image: ruby\njob: {script: 'echo apiVersion kind'}\n", False),
    ("values with objects in them", "image: {repository: a}\nextra:\n  - apiVersion: v1\n    kind: ConfigMap\n", False),
    ("an object without images", "apiVersion: v1\nkind: Service\n", False),
    ("nothing", "", False),
]


@pytest.mark.parametrize(("fact", "text", "expected"), RECOGNISED, ids=[case[0] for case in RECOGNISED])
def test_what_is_taken_for_kubernetes(fact, text, expected):
    """Only files with an object at their top are, whatever other formats have in them."""
    assert KubernetesFinder().recognises(text) is expected


def test_documents_around_a_broken_one_are_read():
    """A broken document is told of where it breaks; those before and after it are read."""
    text = POD + "  containers: [{image: a/a}]\n---\n" + BROKEN + POD + "  containers: [{image: b/b}]\n"
    findings = look({"a.yaml": text})
    assert comes_to(findings) == ["docker.io/a/a", "!", "docker.io/b/b"]
    assert findings[1].place.line in {7, 8}
    assert written_at(text, findings[2].place) == "b/b"


def test_so_many_broken_documents_are_told_of_and_no_more():
    """Behind twenty broken documents a file is not read on, and that is told too."""
    findings = look({"a.yaml": "# image\n" + BROKEN * 50})
    assert len(findings) == MAX_BROKEN_DOCUMENTS + 1
    assert sum("not read" in problem for problem in problems(findings)) == 1


def test_an_object_says_what_the_image_is_for():
    """Kind and name of the object and of the container are told, and volumes are told from containers."""
    text = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n"
        "      initContainers: [{name: wait, image: a/a}]\n      containers: [{name: app, image: a/b}, {image: a/c}]\n"
        "      volumes: [{name: data, image: {reference: a/d}}]\n"
    )
    findings = references(look({"a.yaml": text}))
    assert [(finding.within, finding.kind) for finding in findings] == [
        ("Deployment web, init container wait", Kind.IMAGE),
        ("Deployment web, container app", Kind.IMAGE),
        ("Deployment web", Kind.IMAGE),
        ("Deployment web, volume data", Kind.VOLUME),
    ]


def test_an_object_that_is_made_to_explode_is_told_of():
    """Aliases that would expand to millions of values are trouble, and so is a nesting that is too deep."""
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    deep = '{"containers":[' * 5000
    for text in (f"apiVersion: v1\nkind: image\na0: &a0 [x, x, x]\n{bomb}", f"apiVersion: v1\nkind: image\na: {deep}"):
        assert comes_to(look({"a.yaml": text})) == ["!"]


def test_lists_in_lists_are_read_as_deep_as_yaml_is():
    """Lists within lists are read, or told of where YAML itself is nested too deeply; never an error."""
    for depth in (5, 100, 400):
        text = '{"apiVersion": "v1", "kind": "List", "items": [' * depth
        text += '{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "a/b"}]}}' + "]}" * depth
        assert comes_to(look({"a.json": text})) in (["docker.io/a/b"], ["!"])


TEXTS = [path.read_text(encoding="utf-8") for path in sorted(CORPUS.glob("kubernetes/*/*.*"))]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(TEXTS))
def test_nothing_in_a_file_raises(text):
    """Whatever is damaged in a file: the finder goes on, and each image stands where it says."""
    for finding in KubernetesFinder().find("a.yaml", text, NOTHING_ELSE):
        if isinstance(finding, Found) and not set("\r\u2028\x85\ufeff") & set(text):
            assert is_where_it_says(finding, text)


FIELDS = (
    "apiVersion",
    "kind",
    "items",
    "spec",
    "containers",
    "image",
    "volumes",
    "reference",
    "name",
    "params",
    "value",
)
KEYS = st.sampled_from((*FIELDS, "default", "values", "from"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "nginx", "{{x}}", "$(params.a)", "a b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(KEYS, VALUES, max_size=6), st.sampled_from(["v1", "example.com/v1"]))
def test_wrong_types_raise_nothing(fields, version):
    """Whatever type a field has: the finder goes on."""
    text = json.dumps({"apiVersion": version, "kind": "Thing", **fields, "image": "x"})
    for name in ("a.yaml", "a.json"):
        for finding in KubernetesFinder().find(name, text, NOTHING_ELSE):
            assert finding.place.file == name
            assert replace(finding) == finding
