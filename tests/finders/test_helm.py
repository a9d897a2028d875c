"""Images in the values and templates of Helm charts."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_finders import Found, Search
from pullgate_finders.helm import HelmTemplateFinder, HelmValuesFinder
from pullgate_finders.tree import FilesInMemory
from tests.finders.looking import comes_to, damaged, is_where_it_says, look, references

CORPUS = Path(__file__).parent / "corpus"
CHART = "apiVersion: v2\nname: c\nversion: 0.1.0\nappVersion: '1.5'\n"
HEX = "0123456789abcdef" * 4

VALUES = [
    ("repository and tag", "image: {repository: a/b, tag: '2'}", ["~docker.io/a/b:2"]),
    ("the default tag is the version of the application", "image: {repository: a/b}", ["~docker.io/a/b:1.5"]),
    ("an empty tag is none", "image: {repository: a/b, tag: ''}", ["~docker.io/a/b:1.5"]),
    ("null is none", "image: {repository: a/b, tag: }", ["~docker.io/a/b:1.5"]),
    ("a number without quotes is printed as a number", "image: {repository: a/b, tag: 1.20}", ["~docker.io/a/b:1.2"]),
    ("and a whole one without its zero", "image: {repository: a/b, tag: 3.0}", ["~docker.io/a/b:3"]),
    ("a number with quotes stays as it is", "image: {repository: a/b, tag: '1.20'}", ["~docker.io/a/b:1.20"]),
    ("a version with two dots is no number", "image: {repository: a/b, tag: 1.20.0}", ["~docker.io/a/b:1.20.0"]),
    (
        "a digest takes no default tag",
        f"image: {{repository: a/b, digest: 'sha256:{HEX}'}}",
        [f"~docker.io/a/b@sha256:{HEX}"],
    ),
    ("a digest without its algorithm", f"image: {{repository: a/b, sha: {HEX}}}", [f"~docker.io/a/b@sha256:{HEX}"]),
    ("a tag in the name", "image: {repository: 'a/b:3', pullPolicy: Always}", ["~docker.io/a/b:3"]),
    ("a registry", "image: {registry: quay.io, repository: a/b}", ["~quay.io/a/b:1.5"]),
    ("an empty registry is none", "image: {registry: '', repository: a/b}", ["~docker.io/a/b:1.5"]),
    (
        "a registry for all",
        "global: {imageRegistry: r.io}\nimage: {registry: q.io, repository: a/b}",
        ["~r.io/a/b:1.5"],
    ),
    (
        "but not before a name with its own",
        "global: {imageRegistry: r.io}\nimage: {repository: q.io/b}",
        ["~q.io/b:1.5"],
    ),
    ("the name under image", "a: {registry: r.io, image: b/c, tag: d}", ["~r.io/b/c:d"]),
    ("the name under name", "image: {name: b/c, tag: d}", ["~docker.io/b/c:d"]),
    ("a version as tag", "image: {repository: b/c, version: v3}", ["~docker.io/b/c:v3"]),
    ("a version of something else", "a: {repository: b/c, version: v3, pullPolicy: Always}", ["~docker.io/b/c:1.5"]),
    ("a text", "image: nginx", ["~nginx"]),
    ("a text with a tag beside it", "image: nginx\nimageTag: '1'", ["~nginx:1"]),
    ("a text under another name", "proxyImage: envoyproxy/envoy:v1", ["~docker.io/envoyproxy/envoy:v1"]),
    ("a template under another name", "proxyImage: '{{ .Values.r }}/b:1'\nr: q.io", ["~q.io/b:1"]),
    ("in a list", "initContainers: [{name: a, image: 'b/c:1'}]", ["~docker.io/b/c:1"]),
    ("images by name", "images: {web: 'b/c:1', other: 'd/e:2'}", ["~docker.io/b/c:1", "~docker.io/d/e:2"]),
    ("mappings by name", "images: {web: {repository: b/c, tag: '1'}}", ["~docker.io/b/c:1"]),
    ("a template in the values", "image: {repository: '{{ .Values.r }}/b', tag: x}\nr: q.io", ["~q.io/b:x"]),
    ("a template of a release is not known", "image: '{{ .Release.Name }}/b'", ["?"]),
    ("a tag alone belongs to what is not here", "image: {tag: '1'}", ["?"]),
    ("an empty text is none", "image: ''", []),
    ("null is none", "image: ~", []),
    ("a picture is none", "image: logo.svg\ncoverImage: /static/a/b.png", []),
    ("an address is none", "image: https://example.com/a", []),
    ("a switch is none", "image: true\nuseImage: false", []),
    ("a policy alone is none", "image: {pullPolicy: Always}", []),
    ("secrets are none", "imagePullSecrets: [{name: a/b}]\nimagePullPolicy: Always", []),
    ("a repository of git is none", "git: {repository: github.com/a/b, tag: v1}", []),
    ("a repository of charts is none", "a: {repository: 'https://charts.example.com', tag: v1}", []),
    ("an artifact's address is none", "a: {repository: 'oci://r.io/charts', tag: v1}", []),
]


@pytest.mark.parametrize(("fact", "text", "expected"), VALUES, ids=[case[0] for case in VALUES])
def test_what_values_come_to(fact, text, expected):
    """Each case is what its sentence says, in a chart whose application is 1.5."""
    findings = references(look({"c/Chart.yaml": CHART, "c/values.yaml": text + "\n"}, "c/values.yaml"))
    assert comes_to([*findings]) == expected
    assert all(is_where_it_says(finding, text) for finding in findings)


DEFAULTS = """
image: {repository: a/b, tag: '7'}
empty: ''
number: 1.20
nested: {deep: {name: c/d}}
text: '{{ .Values.image.tag }}'
endless: '{{ tpl .Values.endless . }}'
"""
IMAGES = [
    ("a literal", "nginx:1.2", ["nginx:1.2"]),
    ("a literal in quotes", '"nginx:1.2" # why', ["nginx:1.2"]),
    ("values", '"{{ .Values.image.repository }}:{{ .Values.image.tag }}"', ["~docker.io/a/b:7"]),
    ("values from the root", "{{ $.Values.image.repository }}", ["~docker.io/a/b"]),
    ("trimmed space", "{{- .Values.nested.deep.name -}}", ["~docker.io/c/d"]),
    ("the version of the application", "x/y:{{ .Chart.AppVersion }}", ["~docker.io/x/y:1.5"]),
    ("a default that is not needed", "x/y:{{ .Values.image.tag | default .Chart.AppVersion }}", ["~docker.io/x/y:7"]),
    ("a default for what is missing", 'x/y:{{ .Values.no | default "9" }}', ["~docker.io/x/y:9"]),
    ("a default for what is empty", "x/y:{{ default .Chart.AppVersion .Values.empty }}", ["~docker.io/x/y:1.5"]),
    ("a default in parentheses", 'x/y:{{ (.Values.no | default "9") | trimPrefix "v" }}', ["~docker.io/x/y:9"]),
    (
        "the first that is not empty",
        'x/y:{{ coalesce .Values.no .Values.empty .Values.image.tag "1" }}',
        ["~docker.io/x/y:7"],
    ),
    ("quotes that the template makes", "{{ .Values.nested.deep.name | quote }}", ["~docker.io/c/d"]),
    ("a number", "x/y:{{ .Values.number }}", ["~docker.io/x/y:1.2"]),
    ("printf", '{{ printf "%s:%v" .Values.image.repository .Values.image.tag }}', ["~docker.io/a/b:7"]),
    ("a template in a value", "x/y:{{ tpl .Values.text . }}", ["~docker.io/x/y:7"]),
    ("a template that leads to itself", "x/y:{{ tpl .Values.endless $ }}", ["?"]),
    ("an index", '{{ index .Values "nested" "deep" "name" }}', ["~docker.io/c/d"]),
    ("a value that must be there", '{{ required "give one" .Values.nested.deep.name }}', ["~docker.io/c/d"]),
    ("a value that is not there", "x/y:{{ .Values.no }}", ["?"]),
    ("a required value that is empty", '{{ required "give one" .Values.empty }}', ["?"]),
    ("a mapping", "{{ .Values.image }}", ["?"]),
    ("a helper", '{{ include "c.image" . }}', ["?"]),
    ("a release", "x/{{ .Release.Name }}", ["?"]),
    ("the dot", "{{ . }}", ["?"]),
    ("a field of the dot", "{{ .image }}", ["?"]),
    ("a variable", "{{ $image }}", ["?"]),
    ("a condition in the line", "x/y:{{ if .Values.a }}1{{ else }}2{{ end }}", ["?"]),
    ("a function that is not read", '{{ .Values.image.repository | replace "a" "b" }}', ["?"]),
    ("other verbs of printf", '{{ printf "%q" .Values.image.repository }}', ["?"]),
    ("too few values for printf", '{{ printf "%s:%s" .Values.image.repository }}', ["?"]),
    ("an unclosed parenthesis", "{{ (.Values.image.repository }}", ["?"]),
    ("an empty expression", "{{ }}", ["?"]),
    ("a template that is not closed", "{{ .Values.image.repository", ["?"]),
    ("nothing", "", []),
    ("nothing but a comment", "# nginx", []),
    ("a mapping in braces", "{repository: a/b}", []),
    ("a block of text", "|-", []),
]


@pytest.mark.parametrize(("fact", "image", "expected"), IMAGES, ids=[case[0] for case in IMAGES])
def test_what_a_line_of_a_template_comes_to(fact, image, expected):
    """Each case is what its sentence says, by the defaults of the chart."""
    template = f"{{{{/* x */}}}}\nkind: Pod\nspec:\n  containers:\n  - image: {image}\n"
    files = {"c/Chart.yaml": CHART, "c/values.yaml": DEFAULTS, "c/templates/a.yaml": template}
    findings = references(look(files, "c/templates/a.yaml"))
    assert comes_to([*findings]) == expected
    assert all(is_where_it_says(finding, template) for finding in findings)


def test_what_cannot_be_known_says_what_would_tell():
    """The reason names what is missing, and what renders the chart."""
    template = '{{/* x */}}\n- image: a:{{ .Values.no }}\n- image: {{ include "c.image" . }}\n'
    findings = references(look({"c/Chart.yaml": CHART, "c/templates/a.yaml": template}, "c/templates/a.yaml"))
    assert ".Values.no has no value" in findings[0].unresolved
    assert 'include "c.image"' in findings[1].unresolved
    assert all("`helm template`" in finding.unresolved for finding in findings)


def test_a_branch_is_told():
    """An image between `if` and `end` is pulled where its branch is taken; behind the `end` it always is."""
    template = (
        "{{- if .Values.on }}\n- image: a\n{{- else if .Values.two }}\n- image: b\n{{- else }}\n- image: c\n"
        "{{- end }}\n"
        '{{ define "x" }}\n- image: d\n{{ end }}\n- image: e\n'
    )
    findings = references(look({"c/Chart.yaml": CHART, "c/templates/a.yaml": template}, "c/templates/a.yaml"))
    assert comes_to([*findings]) == ["%a", "%b", "%c", "d", "e"]
    assert findings[0].condition == "only where its template comes to it: if .Values.on"
    assert findings[1].condition == "only where its template comes to it: else if .Values.two of if .Values.on"


def test_texts_in_config_maps_and_comments_are_no_images():
    """What stands in the data of a ConfigMap, in a comment of YAML or one of a template is not pulled."""
    template = (
        "{{- /*\nimage: a\n*/ -}}\n# image: {{ .Values.b }}\nkind: ConfigMap\ndata:\n  x: |\n    image: c\n"
        "---\nkind: Pod\nspec:\n  containers:\n  - image: d\n"
    )
    assert comes_to(look({"c/Chart.yaml": CHART, "c/templates/a.yaml": template}, "c/templates/a.yaml")) == ["d"]


def test_a_parent_chart_gives_values_to_its_subcharts():
    """What a chart says under a subchart's name wins in its templates; a tag alone takes the subchart's repository."""
    files = {
        "c/Chart.yaml": CHART + "dependencies: [{name: sub, alias: other, version: '1', repository: ''}]\n",
        "c/values.yaml": "sub: {image: {tag: '9'}}\nglobal: {imageRegistry: r.io}\n",
        "c/charts/sub/Chart.yaml": "name: sub\nappVersion: '3'\n",
        "c/charts/sub/values.yaml": "image: {repository: a/b, tag: '8'}\nnext: {image: {repository: a/c}}\n",
        "c/charts/sub/templates/a.yaml": "- image: {{ .Values.image.repository }}:{{ .Values.image.tag }}\n",
    }
    assert comes_to(look(files, "c/values.yaml")) == ["~docker.io/a/b:9"]
    assert comes_to(look(files, "c/charts/sub/values.yaml")) == ["~docker.io/a/b:8", "~docker.io/a/c:3"]
    assert comes_to(look(files, "c/charts/sub/templates/a.yaml")) == ["~docker.io/a/b:9"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ .Values.image.repository }}", "~docker.io/a/b:1"),
        ("{{ .Values.global.imageRegistry }}/{{ .Values.image.repository }}", "~r.io/a/b:1"),
        ('{{ include "common.images.image" . }}', "~r.io/a/b:1"),
    ],
)
def test_a_registry_for_all_images_counts_where_templates_use_it(template, expected):
    """A registry in the values that no template reads changes nothing, and would hide where images come from."""
    files = {
        "c/Chart.yaml": CHART,
        "c/values.yaml": "global: {imageRegistry: r.io}\nimage: {repository: a/b, tag: '1'}\n",
        "c/templates/a.yaml": f"x: {template}\n",
    }
    assert comes_to(look(files, "c/values.yaml")) == [expected]


def test_a_file_that_overrides_takes_the_rest_from_the_chart():
    """A tag in values-production.yaml is that of the repository in values.yaml."""
    files = {
        "c/Chart.yaml": CHART,
        "c/values.yaml": "image: {registry: q.io, repository: a/b, tag: '1'}\n",
        "c/values-production.yaml": "image: {tag: '2'}\n",
        "c/ci/kind-values.yaml": "image: {repository: x/y}\n",
    }
    assert comes_to(look(files, "c/values-production.yaml")) == ["~q.io/a/b:2"]
    assert comes_to(look(files, "c/ci/kind-values.yaml")) == ["~q.io/x/y:1"]


CLAIMED = [
    ("values.yaml", "values"),
    ("charts/a/values.yml", "values"),
    ("values-production.yaml", "values"),
    ("values.prod.yaml", "values"),
    ("ci/kind-values.yaml", "values"),
    ("app.values.yaml", "values"),
    ("myvalues.yaml", None),
    ("values.schema.json", None),
    ("values.yaml.gotmpl", None),
    ("c/templates/a.yaml", "template"),
    ("c/templates/deep/a.yml", "template"),
    ("c/templates/_helpers.tpl", "template"),
    ("c/templates/NOTES.txt", None),
    ("c/templates.yaml", None),
    ("Chart.yaml", None),
]


@pytest.mark.parametrize(("path", "by"), CLAIMED, ids=[case[0] for case in CLAIMED])
def test_which_files_are_claimed(path, by):
    """Values by their names, and templates by their directory."""
    claims = {"values": HelmValuesFinder().claims(path), "template": HelmTemplateFinder().claims(path)}
    assert [name for name, claimed in claims.items() if claimed] == ([by] if by else [])


def test_templates_of_others_are_left_to_others():
    """A directory called templates also holds templates of GitLab, of Azure or without any expressions."""
    for text in ("image: $[[ inputs.image ]]", "image: ${{ parameters.image }}", "kind: Pod\nimage: nginx"):
        assert not HelmTemplateFinder().recognises(text)
    assert HelmTemplateFinder().recognises("image: {{ .Values.image }}")


def test_a_chart_file_names_no_images():
    """Charts that a chart depends on are no images, wherever they come from."""
    text = CHART + "icon: https://example.com/image.png\ndependencies: [{name: a, repository: oci://r.io/image}]\n"
    assert look({"c/Chart.yaml": text}) == []


TEXTS = [
    path.read_text(encoding="utf-8")
    for path in sorted(CORPUS.glob("helm/**/*.*"))
    if path.suffix in {".yaml", ".tpl"} and "labels" not in path.name
]


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(TEXTS), damaged(TEXTS))
def test_nothing_in_a_file_raises(text, other):
    """Whatever is damaged in a file or in those beside it: the finders go on, and each image stands where it says."""
    files = {
        "c/Chart.yaml": other,
        "c/values.yaml": other,
        "c/charts/cache/Chart.yaml": text,
        "c/charts/cache/values.yaml": text,
    }
    search = Search(files=FilesInMemory(files))
    for finder, path in (
        (HelmValuesFinder(), "c/values.yaml"),
        (HelmTemplateFinder(), "c/charts/cache/templates/a.yaml"),
    ):
        for finding in finder.find(path, text, search):
            if isinstance(finding, Found) and not set("\r\u2028\x85\ufeff") & set(text):
                assert is_where_it_says(finding, text)
