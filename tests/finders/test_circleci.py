"""What is told of CircleCI's configuration beyond what the corpus labels."""

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_finders.circleci import CircleCIFinder
from tests.finders.damaging import check, damaged_trees
from tests.finders.looking import comes_to, look, problems, references

HERE = ".circleci/config.yml"
RUN = "workflows: {w: {jobs: [j]}}\n"


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        (RUN + "jobs: {j: {docker: [{image: a}, {image: b}]}}", ["a", "b"], "the first container, and one beside it"),
        ("jobs: {j: {docker: [{image: a}]}}", ["%a"], "a job that no workflow runs"),
        ("jobs: {build: {docker: [{image: a}]}}", ["a"], "without workflows the job build runs"),
        ("executors: {e: {docker: [{image: a}]}}", ["%a"], "an executor that no job uses"),
        (RUN + "jobs: {j: {machine: {image: ubuntu-2404:current}}}", [], "a virtual machine is no image"),
        (RUN + "jobs: {j: {docker: [{image: 'a:<< x.y >>'}]}}", ["?"], "what only the run knows"),
        (RUN + "jobs: {j: {docker: [{image: 'a:<<# parameters.x >>b<</ parameters.x >>'}]}}", ["?"], "a section"),
        (RUN + "jobs: {j: {executor: e}}", ["!"], "an executor that is not there"),
        (RUN + "jobs: {j: {executor: o/e}}\norbs: {o: circleci/x@1}", ["?"], "one of an orb from elsewhere"),
        (
            RUN + "jobs: {j: {executor: o/e}}\norbs: {o: {executors: {e: {docker: [{image: a}]}}}}",
            ["a"],
            "one of an orb",
        ),
        ("workflows: {w: {jobs: [{hold: {type: approval}}]}}", [], "an approval runs nothing"),
    ],
)
def test_what_files_come_to(text, expected, why):
    """Each small file comes to what is said of it."""
    assert comes_to(look({HERE: text})) == expected, why


def test_how_an_image_was_reached_is_told():
    """The value of a parameter is told from where it is given to where it is used."""
    text = (
        "executors: {e: {parameters: {tag: {type: string}}, docker: [{image: 'a:<< parameters.tag >>'}]}}\n"
        "jobs: {j: {parameters: {v: {type: string, default: '1'}}, executor: {name: e, tag: << parameters.v >>}}}\n"
        "workflows: {w: {jobs: [j, {j: {v: '2'}}]}}\n"
    )
    first, second = references(look({HERE: text}))

    assert (str(first.reference), first.how) == (
        "docker.io/library/a:1",
        ("default of parameter v (.circleci/config.yml:2)",),
    )
    assert (str(second.reference), second.how) == (
        "docker.io/library/a:2",
        ("parameter v of job j (.circleci/config.yml:3)",),
    )
    assert {finding.within for finding in (first, second)} == {"job j"}


def test_a_pipeline_parameter_may_always_be_given():
    """The default of a parameter of the pipeline is one that whoever starts it may override."""
    text = "parameters: {p: {type: string, default: a}}\n" + RUN
    (finding,) = references(look({HERE: text + "jobs: {j: {docker: [{image: << pipeline.parameters.p >>}]}}"}))

    assert finding.overridable


def test_a_matrix_that_explodes_is_told():
    """A matrix with more jobs than CircleCI makes is told of instead of worked out."""
    values = ", ".join(f"p{number}: {list(range(9))}" for number in range(9))
    text = f"jobs: {{j: {{docker: []}}}}\nworkflows: {{w: {{jobs: [{{j: {{matrix: {{parameters: {{{values}}}}}}}}}]}}}}"

    assert problems(look({HERE: text})) == ["the matrix of job j in workflow w makes more than 128 jobs"]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(damaged_trees("circleci"))
def test_damaged_files_raise_nothing_and_places_are_right(files):
    """Whatever is in a file, nothing is raised, and each reference stands where its place says."""
    check(CircleCIFinder(), files)
