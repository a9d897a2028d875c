"""What is told of GitLab's pipelines beyond what the corpus labels."""

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_finders.gitlab_ci import GitLabCIFinder
from pullgate_finders.gitlab_ci.variables import Variable, expanded, with_inputs
from pullgate_finders.values import Known, Text, Unknown
from tests.finders.damaging import check, damaged_trees
from tests.finders.looking import comes_to, look, problems, references

HERE = ".gitlab-ci.yml"

VARIABLES = {
    "A": Variable(Known("alpine"), "variable A"),
    "B": Variable(Known("$A:$T"), "variable B"),
    "T": Variable(Known("3"), "variable T"),
    "RAW": Variable(Known("$A"), "variable RAW", is_expanded=False),
    "LOOP": Variable(Known("$POOL"), "variable LOOP"),
    "POOL": Variable(Known("${LOOP}"), "variable POOL"),
    "PART": Variable(Unknown("input x has no default"), "variable PART"),
    **{f"N{number}": Variable(Known(f"$N{number + 1}" * 9), "variable") for number in range(40)},
    "N40": Variable(Known(""), "variable"),
}
INPUTS: dict[str, Text] = {"tag": Known("1.2.3"), "none": Unknown("input none has no default")}


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("$A:1", "alpine:1", "a name ends where it cannot go on"),
        ("${A}1", "alpine1", "or with its braces"),
        ("$B", "alpine:3", "variables stand in the values of others"),
        ("$RAW", "$A", "unless that is switched off"),
        ("$$A", "$A", "a doubled dollar is one"),
        ("$1 ${ $", "$1 ${ $", "what is no name stays"),
        ("$NOPE", None, "what is not set is not known"),
        ("$CI_REGISTRY", None, "nor what GitLab sets"),
        ("$LOOP", None, "nor what refers to itself"),
        ("$PART", None, "nor what is made of such"),
        ("$N0", "", "a great many that come to nothing take no time"),
        ("$A" * 5000, None, "more characters than any reference"),
    ],
)
def test_what_variables_come_to(text, expected, why):
    """Each text comes to what GitLab's documentation says; all variables may be overridden."""
    result = expanded(Known(text), VARIABLES)

    assert (result.value if isinstance(result, Known) else None) == expected, why
    assert result.overridable == (expected is None or text.strip("$1{ ") not in {"", "A"} or text.startswith("$A"))


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("a:$[[ inputs.tag ]]", "a:1.2.3", "an input"),
        ("a:$[[inputs.tag|truncate(0,3)]]", "a:1.2", "a part of it"),
        ("a:$[[ inputs.tag | expand_vars | truncate(2,9) ]]", "a:2.3", "several functions"),
        ("$[[ inputs.none ]]", None, "one that is not given"),
        ("$[[ inputs.nope ]]", None, "one that is not declared"),
        ("$[[ inputs.tag | reverse ]]", None, "a function that is not known"),
        ("$[[ tag ]]", None, "what is no input"),
        ("$[[ inputs.tag", None, "what is not closed"),
    ],
)
def test_what_inputs_come_to(text, expected, why):
    """Each text comes to what GitLab's documentation says of inputs."""
    result = with_inputs(text, INPUTS)

    assert (result.value if isinstance(result, Known) else None) == expected, why


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("image: a\nj: {script: x}", ["a"], "an image for all jobs"),
        ("image: a\nj: {script: x, image: b}", ["%a", "b"], "one that no job takes"),
        ("default: {image: a}\nj: {inherit: {default: [services]}, script: x}", ["%a"], "one that is not inherited"),
        ("default: {image: a}\nj: {inherit: {default: [image]}, script: x}", ["a"], "one that is"),
        (".h: {image: a}\nj: {extends: .h, image: b}", ["%a", "b"], "one that the job says itself"),
        (".h: {image: a}\nj: {extends: [.h]}", ["a"], "one of a hidden job"),
        ("j: {trigger: {project: x/y}, image: a}", ["%a"], "a job that starts a pipeline of another project"),
        ("j: {services: [a, {name: b}, {alias: c}]}", ["a", "b"], "services"),
        ("j: {image: {name: ''}}", [], "an empty name is none"),
        ("include: {remote: 'https://x/y.yml'}\nj: {extends: .there}", ["?"], "what is extended may lie elsewhere"),
        ("include: /a/*.yml", ["!"], "a pattern that nothing matches"),
        ("include: ../a.yml", ["!"], "a path out of the project"),
        ("j: {image: $A, variables: {A: {value: a}}}", ["~a"], "a variable with a description"),
        ("variables: {A: x}\nj: {image: $A, inherit: {variables: false}}", ["?"], "a variable that is not inherited"),
        ("j: {parallel: {matrix: [{A: [a, b]}]}, image: $A}", ["~a", "~b"], "a matrix"),
        ("spec: {inputs: {}}\nj: {image: a}", ["a"], "a header needs a document after it"),
        ("---\n---\nj: {image: a}", ["a"], "empty documents are none"),
    ],
)
def test_what_files_come_to(text, expected, why):
    """Each small file comes to what is said of it."""
    assert comes_to(look({HERE: text + "\n# script: x\nstages: []\n"})) == expected, why


def test_what_is_included_is_told_within_its_job():
    """A reference in an included file stands there, within the job that takes it."""
    files = {HERE: "include: /ci/a.yml\nj: {extends: .h}\n", "ci/a.yml": ".h: {image: a}\n"}
    (finding,) = references(look(files))

    assert (finding.place.file, finding.place.line, finding.within, finding.condition) == ("ci/a.yml", 1, "job j", "")


def test_a_template_that_is_asked_for_is_read_in_its_pipeline():
    """A template is read with the variables of the file that includes it, and tells nothing of that file."""
    template = "t/a.gitlab-ci.yml"
    files = {
        HERE: f"include: {template}\nvariables: {{T: '2'}}\nother: {{image: b, script: x}}\n",
        template: "j: {image: 'a:$T', script: x}\n",
    }

    assert comes_to(look(files, template)) == ["~a:2"]
    assert comes_to(look({template: files[template]}, template)) == ["?"]


def test_conditions_say_when_an_image_is_taken():
    """What no job takes says of what it depends whether one does."""
    text = "default: {image: a}\n.h: {image: b}\nj: {image: c, script: x}\n"

    assert [finding.condition for finding in references(look({HERE: text}))] == [
        "only in a job that says nothing of its own",
        "only where a job takes it from .h",
        "",
    ]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({HERE: "j: {extends: .gone}\n"}, "there is no job .gone to extend"),
        ({HERE: ".a: {extends: .b}\n.b: {extends: .a}\nj: {extends: .a}\n"}, ".a extends itself, by way of .a and .b"),
        ({HERE: "include: .gitlab-ci.yml\n"}, ".gitlab-ci.yml includes itself, by way of .gitlab-ci.yml"),
        ({HERE: "j: {image: !reference [k, image]}\nstages: []\n"}, "there is nothing at k, image"),
        (
            {HERE: "include: a/*\n", **{f"a/{number:03}.yml": "x: {}\n" for number in range(151)}},
            "more than 150 files are included, which GitLab refuses",
        ),
        (
            {HERE: "".join(f".j{n}: {{extends: .j{n + 1}}}\n" for n in range(20)) + ".j20: {}\nj: {extends: .j0}\n"},
            "more than 11 jobs extend one another",
        ),
    ],
)
def test_what_is_wrong_is_told(files, problem):
    """What GitLab would refuse is told, and nothing goes on without end."""
    assert problem in problems(look(files, HERE))


def test_child_pipelines_that_start_one_another_come_to_an_end():
    """A child pipeline that starts itself is read once."""
    files = {HERE: "j: {trigger: {include: c.yml}}\n", "c.yml": "k: {trigger: {include: c.yml}}\nl: {image: a}\n"}

    assert comes_to(look(files, HERE)) == ["a"]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("j:\n  script: x\n", True),
        ("j:\r\n  image: x\r\n", True),
        ("image:\n  name: x\n", True),
        ("services:\n  - x\n", True),
        (".hidden:\n  variables: {}\n", True),
        ("services:\n  web:\n    image: x\n", False),
        ("apiVersion: v1\nspec:\n  image: x\n", False),
        ("pipelines:\n  default:\n    - step:\n        script: [x]\n", False),
        ("a: 1\n", False),
    ],
)
def test_a_pipeline_is_known_by_its_keywords(text, is_one):
    """A file of another name that is asked for is read as a pipeline if it looks like one and like nothing else."""
    assert GitLabCIFinder().recognises(text) is is_one


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(damaged_trees("gitlab-ci"))
def test_damaged_files_raise_nothing_and_places_are_right(files):
    """Whatever is in a file, nothing is raised, and each reference stands where its place says."""
    check(GitLabCIFinder(), files)
