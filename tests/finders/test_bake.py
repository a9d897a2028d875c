"""Bake files in HCL and JSON, and what their targets are built from."""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_finders import Found, Search, Settings, Trouble
from pullgate_finders.bake import BakeFinder, hcl
from pullgate_finders.tree import FilesInMemory
from tests.finders.looking import comes_to, damaged, is_where_it_says, look, written_at

HCL = "docker-bake.hcl"
JSON = "docker-bake.json"
VARIABLES = """
variable "V" { default = "3" }
variable "W" { default = "a-${V}" }
variable "NONE" {}
variable "NULL" { default = null }
variable "LIST" { default = ["a/b", "a/c:${V}"] }
variable "MAP" { default = { x = "docker-image://alpine:${V}", y = "docker-image://b" } }
variable "SELF" { default = "${SELF}" }
variable "GIVEN" { default = "no" }
fixed = "f-${V}"
plain = "p"
"""

CONTEXTS = [
    ("an image", '"docker-image://alpine:3"', ["alpine:3"]),
    ("an image without slashes", '"docker-image:alpine:3"', ["alpine:3"]),
    ("a variable in a text", '"docker-image://alpine:${V}"', ["~alpine:3"]),
    ("blanks in the braces", '"docker-image://alpine:${ V }"', ["~alpine:3"]),
    ("a variable that is all of a text", '"${W}"', []),
    ("a variable of variables", '"docker-image://${W}"', ["~a-3"]),
    ("a global attribute is overridden by nothing, but its variable is", '"docker-image://${fixed}"', ["~f-3"]),
    ("a global attribute", '"docker-image://${plain}"', ["p"]),
    ("a variable that was given", '"docker-image://${GIVEN}"', ["yes"]),
    ("an index", '"docker-image://${LIST[1]}"', ["~docker.io/a/c:3"]),
    ("an attribute", "MAP.x", ["~alpine:3"]),
    ("an attribute by index", 'MAP["y"]', ["~b"]),
    ("an attribute that is not there", "MAP.z", ["?"]),
    ("brackets", '( "docker-image://alpine" )', ["alpine"]),
    ("a dollar that is doubled", '"docker-image://a$${V}"', ["?"]),
    ("a dollar without a brace", '"docker-image://a$V"', ["?"]),
    ("escapes", r'"docker-image://\u0061lp\U00000069ne"', ["alpine"]),
    ("a heredoc", "<<E\ndocker-image://alpine\nE", ["?"]),
    ("a variable without a default", '"docker-image://a:${NONE}"', ["?"]),
    ("a variable that is null", '"docker-image://a:${NULL}"', ["?"]),
    ("a variable of itself", '"docker-image://a:${SELF}"', ["?"]),
    ("a variable that is not defined", '"docker-image://a:${NO}"', ["?"]),
    ("a variable of Bake", '"docker-image://a:${BAKE_LOCAL_PLATFORM}"', ["?"]),
    ("null", "null", []),
    ("a directory", '"./a"', []),
    ("a directory with what is not known", '"./${NONE}"', []),
    ("a URL", '"https://example.com/a.git"', []),
    ("what may be an image", "NONE", ["?"]),
    ("a function", 'upper("a")', ["?"]),
    ("a function in a text", '"docker-image://${upper("a }")}"', ["?"]),
    ("a condition", 'V == "3" ? "docker-image://a" : "docker-image://b"', ["?"]),
    ("an operator", '"docker-image://" + V', ["?"]),
    ("a directive", '"docker-image://%{ if V }a%{ endif }"', ["?"]),
    ("trimming", '"docker-image:// ${~ V ~} "', ["?"]),
    ("a target that is not there", '"target:nobody"', ["!"]),
    ("the target itself", '"target:t"', []),
]


@pytest.mark.parametrize(("fact", "value", "references"), CONTEXTS, ids=[case[0] for case in CONTEXTS])
def test_what_a_value_comes_to(fact, value, references):
    """Each case is what its sentence says: `~` stands before what the environment may override, `?` is not known."""
    text = VARIABLES + f'target "t" {{\n  dockerfile-inline = "FROM scratch"\n  contexts = {{ c = {value}\n }}\n}}\n'

    assert comes_to(look({HCL: text}, settings=Settings(variables={"GIVEN": "yes"}))) == references


ENTRIES = [
    ("an image", "cache-from", '["a/b"]', ["docker.io/a/b"]),
    ("a registry", "cache-from", '["type=registry,ref=a/b:${V}"]', ["~docker.io/a/b:3"]),
    ("in any order and case", "cache-from", '["Ref=a/b,mode=max,TYPE=registry"]', ["docker.io/a/b"]),
    ("another type", "cache-from", '["type=gha,scope=a/b"]', []),
    ("a map", "cache-from", '[{type = "registry", ref = "a/b:${V}"}]', ["~docker.io/a/b:3"]),
    ("a map of another type", "cache-from", '[{type = "local", src = "a/b"}]', []),
    ("an empty text", "cache-from", '["", null]', []),
    ("a variable that is a list", "cache-from", "LIST", ["~docker.io/a/b", "~docker.io/a/c:3"]),
    ("a variable that is a text", "cache-from", "[W]", ["~a-3"]),
    ("a loop", "cache-from", '[for a in LIST : "${a}"]', ["?"]),
    ("a function for the list", "cache-from", "concat(LIST, LIST)", ["?"]),
    ("the default generator", "attest", '["type=sbom"]', ["~docker.io/docker/buildkit-syft-scanner:stable-1"]),
    ("a generator", "attest", '["type=sbom,generator=a/b:${V}"]', ["~docker.io/a/b:3"]),
    ("a generator in a map", "attest", '[{type = "sbom", generator = "a/b"}]', ["docker.io/a/b"]),
    ("none of it", "attest", '["type=sbom,disabled=true", "type=provenance,mode=max"]', []),
    ("none of it in a map", "attest", '[{type = "sbom", disabled = true}]', []),
    ("the last one counts", "attest", '["type=sbom,generator=a/b", "type=sbom,generator=a/c"]', ["docker.io/a/c"]),
]


@pytest.mark.parametrize(("fact", "key", "value", "references"), ENTRIES, ids=[case[0] for case in ENTRIES])
def test_caches_and_generators(fact, key, value, references):
    """Each case is what its sentence says."""
    text = VARIABLES + f'target "t" {{\n  dockerfile-inline = "FROM scratch"\n  {key} = {value}\n}}\n'

    assert comes_to(look({HCL: text})) == references


ARGUMENTS = [
    ("a number has no zeros behind it", "1.20", "a:1.2"),
    ("a whole number", "3", "a:3"),
    ("a negative one", "-3", "?"),
    ("one with an exponent", "1e3", "a:1000"),
    ("a boolean", "true", "a:true"),
    ("a text", '"x"', "a:x"),
    ("null leaves the default", "null", "~a:dockerfile"),
    ("a variable that is null leaves it too", "NULL", "~a:dockerfile"),
    ("a variable", "V", "~a:3"),
    ("what is not known", "upper(V)", "?"),
]


@pytest.mark.parametrize(("fact", "value", "reference"), ARGUMENTS, ids=[case[0] for case in ARGUMENTS])
def test_what_an_argument_comes_to(fact, value, reference):
    """Arguments are texts for the Dockerfile."""
    files = {
        HCL: VARIABLES + f'target "t" {{ args = {{ A = {value} }} }}',
        "Dockerfile": "ARG A=dockerfile\nFROM a:$A\n",
    }

    assert comes_to(look(files, HCL)) == [reference]


def test_of_two_parents_the_later_one_wins_and_lists_are_added():
    """What a target says itself is put over its parents, and they over theirs; caches of all of them are taken."""
    text = """
    target "a" {
      args = { X = "a", Y = "a", Z = "a" }
      cache-from = ["c/a"]
    }
    target "b" {
      inherits = ["a"]
      args = { Y = "b" }
      cache-from = ["c/b"]
    }
    target "d" { args = { X = "d", Z = null } }
    target "t" {
      inherits = ["b", "d"]
      args = { W = "t" }
      dockerfile-inline = <<-E
        ARG W
        ARG X
        ARG Y
        ARG Z
        FROM $W-$X-$Y-$Z
      E
    }
    """

    assert comes_to(look({HCL: text})) == ["docker.io/c/a", "docker.io/c/b", "t-d-b-a"]


def test_a_matrix_is_a_target_for_each_combination():
    """Names of a matrix stand for each of their values, and the targets' names are what `name` comes to."""
    text = """
    target "t" {
      name = "t-${i.n}-${v}"
      matrix = { i = [{ n = "a" }, { n = "b" }], v = [1, "2"] }
      dockerfile-inline = "FROM ${i.n}:${v}"
    }
    target "u" { contexts = { x = "target:t-a-1", y = "target:t-c-1" } }
    """
    findings = look({HCL: text, "Dockerfile": "FROM scratch"}, HCL)

    assert comes_to(findings) == ["a:1", "a:2", "b:1", "b:2", "!"]
    assert isinstance(findings[0], Found)
    assert findings[0].how == (f"target t-a-1 ({HCL}:2)",)


def test_a_matrix_has_an_end():
    """A matrix of more combinations than are read is told of, and does not take all the time there is."""
    axes = ", ".join(f"x{number} = {json.dumps([str(value) for value in range(10)])}" for number in range(9))
    findings = look({HCL: f'target "t" {{\n matrix = {{ {axes} }}\n dockerfile-inline = "FROM a:${{x0}}" }}'})

    assert comes_to(findings)[0] == "!"


def test_targets_have_an_end():
    """Each target may build a large Dockerfile, so after so many the others are told of."""
    text = "\n".join(f'target "t{number}" {{ dockerfile-inline = "FROM a:{number}" }}' for number in range(1_001))

    assert comes_to(look({HCL: text}))[-1] == "!"
    assert len(look({HCL: text})) == 1_001


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(
            f'variable "v{number}" {{ default = "${{v{number + 1}}}${{v{number + 1}}}" }}' for number in range(40)
        )
        + '\nvariable "v40" { default = "0123456789" }\ntarget "t" { dockerfile-inline = "FROM ${v0}" }',
        "\n".join(f'variable "v{number}" {{ default = "${{v{number + 1}}}" }}' for number in range(3000))
        + '\ntarget "t" { dockerfile-inline = "FROM ${v0}" }',
    ],
    ids=["doubled", "chained"],
)
def test_variables_cannot_be_made_to_explode(text):
    """A text that variables double over and over, or a chain of them without end, is not known; nothing is raised."""
    assert comes_to(look({HCL: text})) == ["?"]


def test_targets_cannot_inherit_without_end():
    """A chain of targets that is too long is told of."""
    text = "\n".join(f'target "t{number}" {{ inherits = ["t{number + 1}"] }}' for number in range(900))
    findings = look({HCL: text + '\ntarget "t900" { dockerfile-inline = "FROM alpine" }'})

    problems = {finding.problem for finding in findings if isinstance(finding, Trouble)}
    assert "more than 50 targets inherit from each other" in problems
    assert "alpine" in comes_to(findings)


INLINE = """
variable "V" { default = "3" }
variable "NONE" {}
target "t" {
  dockerfile-inline = <<-E
      # syntax=acme/frontend:1
      FROM alpine:${V} AS a${V}
      FROM debian AS b
      RUN echo $${HOME} ${V}
      COPY --from=c/d /x${V} /y
      FROM  e/f:${NONE}
    E
}
"""


def test_an_inline_dockerfile_is_found_where_it_stands():
    """References stand at their places in the file; those that Bake fills in, where the variable stands."""
    findings = [finding for finding in look({HCL: INLINE}) if isinstance(finding, Found)]

    assert [(finding.raw, finding.certainty.value) for finding in findings] == [
        ("acme/frontend:1", "exact"),
        ("FROM alpine:${V} AS a${V}", "conditional"),
        ("debian", "conditional"),
        ("c/d", "conditional"),
        ("e/f:${NONE}", "unresolved"),
    ]
    assert all(written_at(INLINE, finding.place) == finding.raw for finding in findings)
    assert findings[1].how[-1] == f"default of variable V ({HCL}:2)"
    assert findings[-1].unresolved == f"variable NONE ({HCL}:3) has no default; give it with --env NONE=…"


def test_what_is_not_known_is_not_taken_for_nothing():
    """A variable that is not known leaves the argument open that it stands in, and the image that this stands in."""
    text = 'variable "N" {}\ntarget "t" {\n dockerfile-inline = <<E\nARG A=3.${N}\nFROM alpine:$A\nE\n}\n'
    (finding,) = look({HCL: text})

    assert isinstance(finding, Found)
    assert finding.unresolved == f"variable N ({HCL}:1) has no default; give it with --env N=…"


PATHS = [
    ("beside the file", "a/docker-bake.hcl", "", "a/Dockerfile"),
    ("in the context", "a/docker-bake.hcl", 'context = "b"', "a/b/Dockerfile"),
    ("in the context, with a name", "a/docker-bake.hcl", 'context = "b"\n dockerfile = "../c/D"', "a/c/D"),
    ("from the root, where Bake was called there", "a/docker-bake.hcl", 'context = "b"', "b/Dockerfile"),
    ("from where Bake is called", "docker-bake.hcl", 'context = "cwd://b"\n dockerfile = "cwd://c/D"', "c/D"),
]


@pytest.mark.parametrize(("fact", "bake", "attributes", "path"), PATHS, ids=[case[0] for case in PATHS])
def test_where_the_dockerfile_is(fact, bake, attributes, path):
    """Paths are relative to where Bake is called: the directory of the file, or else the root."""
    findings = look({bake: f'target "t" {{\n {attributes}\n}}', path: "FROM alpine"}, bake)

    assert [(finding.place.file, finding.raw) for finding in findings if isinstance(finding, Found)] == [
        (path, "alpine")
    ]


def test_a_named_context_reaches_the_dockerfile():
    """An image or target that stands instead of an image is not looked for under its name."""
    files = {
        HCL: 'target "base" { dockerfile-inline = "FROM scratch" }\n'
        'target "t" { contexts = { alpine = "target:base", debian = "docker-image://acme/debian:1" } }',
        "Dockerfile": "FROM alpine AS a\nFROM debian\nCOPY --from=a / /\nCOPY --from=busybox / /\n",
    }

    assert comes_to(look(files, HCL)) == ["busybox", "docker.io/acme/debian:1"]


def test_a_base_that_only_others_build_may_be_incomplete():
    """A target that others inherit from is not told of for what it lacks, unless something builds it."""
    files = {
        HCL: 'target "base" { dockerfile = "no/Dockerfile" }\n'
        'target "t" {\n inherits = ["base"]\n dockerfile = "Dockerfile"\n args = { B = "alpine" }\n}\n',
        "Dockerfile": "ARG B\nFROM $B",
    }
    built = files | {HCL: 'group "default" { targets = ["base", "t"] }\n' + files[HCL]}

    assert comes_to(look(files, HCL)) == ["alpine"]
    assert comes_to(look(built, HCL)) == ["alpine", "!"]


JSON_VALUES = [
    ("a template", {"t": {"contexts": {"c": "docker-image://a:${V}"}}}, ["~a:3"]),
    ("a list of blocks", [{"t": [{"contexts": {"c": "docker-image://a"}}]}, {"u": {"cache-from": ["b"]}}], ["a", "b"]),
    ("a comment", {"//": {"contexts": {"c": "docker-image://a"}}, "t": {"//": "x", "cache-from": ["b"]}}, ["b"]),
    ("a matrix", {"t": {"matrix": {"x": ["1", 2]}, "cache-from": ["a:${x}"]}}, ["a:1", "a:2"]),
    ("a number", {"t": {"args": {"A": 3.10}, "dockerfile-inline": "ARG A\nFROM a:$A"}}, ["a:3.1"]),
    ("parents", {"a": {"cache-from": ["x"]}, "t": {"inherits": ["a"], "cache-from": ["y"]}}, ["x", "y"]),
]


@pytest.mark.parametrize(("fact", "targets", "references"), JSON_VALUES, ids=[case[0] for case in JSON_VALUES])
@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_json_says_the_same(fact, targets, references, indent):
    """In JSON blocks are keys, and texts are templates as in HCL."""
    text = json.dumps({"variable": {"V": {"default": "3"}}, "target": targets}, indent=indent)

    assert comes_to(look({JSON: text, "Dockerfile": "FROM scratch"}, JSON)) == references


SYNTAX = [
    ("comments", '# a\n// b\n/* c\n "x" { */ target "t" /* d */ { # e\n cache-from = [ // f\n "a" /* g */, ] }'),
    ("one line", 'target "t" { cache-from = ["a"] }'),
    ("a label without quotes", 'target t { cache-from = ["a"] }'),
    ("other blocks", 'target "t" {\n x "y" {\n z = 1\n }\n cache-from = ["a"]\n}\nother "x" "y" { a = 1 }'),
    ("Windows line ends", 'target "t" {\r\n  cache-from = [\r\n"a"\r\n]\r\n}\r\n'),
    ("a string with brackets", 'target "t" {\n tags = ["}]${x("}\\"")}"]\n cache-from = ["a"]\n}'),
    ("a heredoc with brackets", 'target "t" {\n x = <<-E\n }]" ${y}\n  E\n cache-from = ["a"]\n}'),
    ("a value over lines", 'target "t" {\n x = f(1,\n 2)\n y = (\n 1 +\n 2\n)\n cache-from = ["a"]\n}'),
    ("keys of all kinds", 'target "t" {\n args = { a = 1, "b" : 2\n (c) = 3\n 4 = 5 }\n cache-from = ["a"]\n}'),
    (
        "loops and splats",
        'target "t" {\n x = {for k, v in y : k => v}\n z = y.*.a\n w = y[*].b[0]\n cache-from = ["a"]\n}',
    ),
    ("what is wrong in another block", 'target "u" { x = }\ntarget "t" { cache-from = ["a"] }'),
    ("a string without an end in another block", 'target "u" {\n x = "\n}\ntarget "t" { cache-from = ["a"] }'),
]


@pytest.mark.parametrize(("fact", "text"), SYNTAX, ids=[case[0] for case in SYNTAX])
def test_how_hcl_may_be_written(fact, text):
    """Whatever stands around it, the cache of the target is found where it stands."""
    (finding,) = [one for one in look({HCL: text, "Dockerfile": "FROM scratch"}, HCL) if isinstance(one, Found)]

    assert finding.raw == "a"
    assert written_at(text, finding.place) == "a"


PROBLEMS = [
    ("an equals sign", 'target "t" { args { ', '"}" is missing', 1),
    ("a value", 'target "t" {\n x =\n}', "a value is missing", 2),
    ("a quote", 'x = "a\n', "a string has no end", 1),
    ("a bracket", "x = [1,\n", '"]" is missing', 2),
    ("the end of a heredoc", "x = <<E\na\n", "the heredoc has no line E that ends it", 1),
    ("a comma", 'target "t" { x = [1 2] }', '"," is missing', 1),
    ("a new line", 'target "t" { x = 1 y = 2 }', "a new line is missing behind the value", 1),
    ("too many brackets", f"x = {'[' * 100}\n", "it is nested more than 64 deep", 1),
]


@pytest.mark.parametrize(("fact", "text", "problem", "line"), PROBLEMS, ids=[case[0] for case in PROBLEMS])
def test_what_is_wrong_is_said_where(fact, text, problem, line):
    """What is missing is told with its line."""
    ((place, said),) = hcl.read(HCL, text).problems

    assert said == f"not valid HCL: {problem}" or said.startswith(f"not valid HCL: {problem} before")
    assert place.line == line


def test_problems_have_an_end():
    """Of a file that is wrong all over only so many problems are told."""
    assert len(hcl.read(HCL, 'target "t" { x = }\n' * 10_000).problems) == hcl.MAX_PROBLEMS


@pytest.mark.parametrize(
    "text",
    [
        'x = "' + "${" * 100_000,
        "x = " + "{a=" * 100_000,
        "x = " + "-" * 100_000,
        "x = " + "f(" * 100_000,
        "/*" * 100_000,
        'x = "' + "\\" * 100_000,
        "target " * 100_000,
        "x = a" + ".a" * 100_000,
        'target "t" {\n x = <<E\n}\n' * 10_000,
        'target "t" { dockerfile-inline = "FROM ' + "$${" * 50_000 + '" }',
        json.dumps({"target": {"t": {"cache-from": ["${" * 50_000]}}}),
        '{"target": ' + "[" * 100_000,
        '{"target": {"t": {"args": ' + '{"a": ' * 400 + "1" + "}" * 400 + "}}}",
    ],
    ids=range(13),
)
def test_no_text_is_too_much(text):
    """What is made to nest, to fail late or to start over is read or told of in one go, and raises nothing."""
    path = JSON if text.startswith("{") else HCL

    list(BakeFinder().find(path, text, Search(files=FilesInMemory({path: text}))))


WHOLE = (
    VARIABLES
    + INLINE
    + """
group "default" { targets = ["t"] }
target "u" {
  inherits = ["t"] # comment
  matrix = { m = ["1", { x = 2 }] }
  contexts = { "a" = "docker-image://a:${V}", b = LIST[0], c = V ? "a" : "b" }
  args = { A = 1.50, B = null }
  cache-from = ["type=registry,ref=a/b", { type = "registry", ref = "c" }]
  attest = ["type=sbom,generator=g/h:${m.x}"]
}
"""
)
WHOLE_JSON = json.dumps(
    {
        "variable": {"V": {"default": "3"}},
        "target": {
            "t": {
                "matrix": {"m": ["1", "2"]},
                "inherits": ["u"],
                "contexts": {"c": "docker-image://a:${V}", "d": "docker-image:\u002f\u002fé"},
                "cache-from": [{"type": "registry", "ref": "a/${m}"}, "b"],
                "attest": ["type=sbom"],
            },
            "u": {"dockerfile-inline": "FROM a:${V}\nFROM b", "args": {"A": 1.5}},
        },
    },
    indent=1,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged([WHOLE, WHOLE.replace("\n", "\r\n")]))
def test_damaged_hcl_raises_nothing_and_places_are_right(text):
    """Whatever is in a file, nothing is raised, and each reference stands where its place says."""
    _check(HCL, text)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(damaged([WHOLE_JSON]))
def test_damaged_json_raises_nothing_and_places_are_right(text):
    """The same for JSON."""
    _check(JSON, text)


def _check(path, text):
    search = Search(files=FilesInMemory({path: text, "Dockerfile": "ARG A\nFROM alpine:$A\n"}))
    blanks = str.maketrans(dict.fromkeys("\x85\u2028\u2029", " ")) if path == JSON else {}
    for finding in BakeFinder().find(path, text, search):
        if isinstance(finding, Found) and finding.place.file == path and finding.place.line == finding.place.end_line:
            written = written_at(text.translate(blanks), finding.place)
            # A text with escapes, and one that is in a variable, is found where it stands as a whole.
            assert finding.raw == written or "\\" in written or written.isidentifier()


@pytest.mark.parametrize(
    ("path", "is_claimed"),
    [
        ("docker-bake.hcl", True),
        ("a/docker-bake.override.json", True),
        ("release.bake.hcl", True),
        ("bake.hcl", True),
        ("bake-release.hcl", True),
        ("main.hcl", False),
        ("bakery.json", False),
        ("package.json", False),
        ("docker-bake.yaml", False),
    ],
)
def test_which_names_are_claimed(path, is_claimed):
    """Names that Bake looks for, and those that say that they are for Bake."""
    assert BakeFinder().claims(path) is is_claimed


def test_is_where_it_says_holds_for_the_corpus_of_syntax():
    """The places of what stands in templates, lists and maps are right to the character."""
    for finding in look({HCL: WHOLE, "Dockerfile": "FROM scratch"}, HCL):
        if isinstance(finding, Found) and finding.place.file == HCL:
            assert is_where_it_says(finding, WHOLE)
