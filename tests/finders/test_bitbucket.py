"""What is told of Bitbucket's pipelines beyond what the corpus labels."""

import pytest
from hypothesis import HealthCheck, given, settings

from pullgate_finders.bitbucket import BitbucketFinder
from tests.finders.damaging import check, damaged_trees
from tests.finders.looking import comes_to, look, problems, references

HERE = "bitbucket-pipelines.yml"


def test_a_step_is_told_by_its_pipeline_and_number():
    """Within what a reference stands is told by the kind of pipeline, its name and the number of the step."""
    text = "pipelines: {branches: {main: [{step: {image: a}}, {parallel: [{step: {image: b, script: [{pipe: docker://c}]}}]}]}}"
    within = {finding.raw: finding.within for finding in references(look({HERE: text}))}

    assert within == {
        "a": "pipeline branches main, step 1",
        "b": "pipeline branches main, step 2",
        "c": "pipeline branches main, step 2",
    }


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("pipelines: {default: [{step: {script: [ls]}}]}", ["~atlassian/default-image"], "the default image"),
        ("pipelines: {default: [{step: {image: ''}}]}", ["~atlassian/default-image"], "an empty image is none"),
        ("image: a\npipelines: {default: [{step: {image: {name: b}}}]}", ["%a", "b"], "an image that no step takes"),
        ("pipelines: {default: [{step: {image: a, script: [{pipe: x/y:1}]}}]}", ["a", "?"], "a pipe of a repository"),
        ("definitions: {services: {db: {image: {name: a}}}}", ["%a"], "a service that no step names"),
        ("definitions: {pipelines: {p: [{step: {image: a}}]}}", ["%a"], "a pipeline for others to import"),
        ("pipelines: {default: [{step: {image: a, services: [b]}}]}", ["a", "!"], "a service that is not defined"),
        ("pipelines: {default: {import: a:b:c}}", ["?"], "a pipeline of another repository"),
    ],
)
def test_what_files_come_to(text, expected, why):
    """Each small file comes to what is said of it."""
    assert [shown.replace("docker.io/", "") for shown in comes_to(look({HERE: text}))] == expected, why


def test_what_is_not_known_is_told_with_the_reason():
    """A pipe of a repository names where its image stands; a variable says who sets it."""
    text = "pipelines: {default: [{step: {image: $A, script: [{pipe: atlassian/x:1.0}]}}]}"

    assert [finding.unresolved for finding in references(look({HERE: text}))] == [
        "it depends on a variable, which the settings of the repository or of the workspace set",
        "the image stands in the pipe.yml of the repository atlassian/x:1.0, which is not read here",
    ]


def test_text_that_is_no_yaml_is_told():
    """A file that cannot be read is told of with the place and what is wrong with it."""
    assert problems(look({HERE: "pipelines:\n  default: ["}))[0].startswith("not valid YAML: ")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(damaged_trees("bitbucket"))
def test_damaged_files_raise_nothing_and_places_are_right(files):
    """Whatever is in a file, nothing is raised, and each reference stands where its place says."""
    check(BitbucketFinder(), files)
