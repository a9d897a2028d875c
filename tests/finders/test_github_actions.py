"""What is told of GitHub's workflows and actions beyond what the corpus labels."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullgate_finders import Kind
from pullgate_finders.github_actions import GitHubActionsFinder
from pullgate_finders.github_actions.expressions import Value
from pullgate_finders.github_actions.scope import Scope, evaluated_text
from pullgate_finders.values import Unknown
from tests.finders.damaging import check, damaged_trees
from tests.finders.looking import comes_to, look, problems, references

HERE = ".github/workflows/ci.yml"
STEPS = "on: push\njobs:\n  j:\n    steps:\n"

SCOPE = Scope(
    env={"NAME": (Value("alpine"),)},
    inputs={"given": (Value("acme/app", ("input",), overridable=True),), "sometimes": (Value("a", or_empty=True),)},
    matrix={"os": (Value("bookworm"),)},
)


def values(text: str) -> list[str]:
    """What a text comes to: `?` where that is not known, `~` before what another run may override."""
    shown = []
    for value in evaluated_text(text, SCOPE):
        mark = "~" if value.overridable else ""
        shown.append("?" if isinstance(value.text, Unknown) else mark + value.text.value)
    return shown


@pytest.mark.parametrize(
    ("text", "expected", "why"),
    [
        ("alpine", ["alpine"], "a text without expressions is itself"),
        ("${{ env.NAME }}:3", ["alpine:3"], "a variable"),
        ("${{ env.name }}", ["?"], "variables have their case"),
        ("${{ ENV['NAME'] }}", ["alpine"], "contexts do not, and may be asked by brackets"),
        ("${{inputs.GIVEN}}", ["~acme/app"], "nor do inputs"),
        ("${{ matrix.os }}-${{ matrix.nothing }}", ["bookworm-"], "what a job of the matrix lacks is empty"),
        ("${{ matrix[env.NAME] }}", [""], "a part may be chosen by another"),
        ("${{ matrix[github.ref] }}", ["?"], "but not by what only the run knows"),
        ("${{ vars.X || 'a' }}", ["~a"], "a default after what is not known"),
        ("${{ '' || 'a' || 'b' }}", ["a"], "the first that is not empty"),
        ("${{ inputs.sometimes || 'b' }}", ["a", "~b"], "what only some events give may be empty"),
        ("${{ github.x && 'a' || 'b' }}", ["~a", "~b"], "both ways of a condition"),
        ("${{ !github.x && 'a' || 'b' }}", ["~a", "~b"], "also of a negated one"),
        ("${{ !!'x' && 'a' || 'b' }}", ["a"], "two negations are none"),
        ("${{ 'A' == 'a' && 'same' || 'other' }}", ["same"], "texts are compared without regard to case"),
        ("${{ 1 < 2 }}", ["?"], "order is not worked out"),
        ("${{ 1 == '1' }}", ["?"], "nor is what compares different kinds"),
        ("${{ (env.NAME) }}", ["alpine"], "parentheses"),
        ("${{ format('{0}:{{{1}}}', env.NAME, 3.10) }}", ["alpine:{3.1}"], "format, with braces and a number"),
        ("${{ format('{1}', 'a') }}", ["?"], "format with too few arguments"),
        ("${{ startsWith(env.NAME, 'AL') && endsWith('xy', 'y') && 'a' }}", ["a"], "functions of texts"),
        ("${{ hashFiles('x') }}", ["?"], "functions that need the run"),
        ("${{ toJSON(matrix) }}", ["?"], "also such of what is known"),
        ("${{ 0x10 }}", ["16"], "numbers are written as GitHub writes them"),
        ("${{ null }}${{ true }}", ["true"], "null is empty"),
        ("${{ 'a", ["?"], "a text that is not closed"),
        ("${{ a..b }}", ["?"], "a path with a hole"),
        ("${{ }}", ["?"], "nothing at all"),
        ("${{ (((((((((1) }}", ["?"], "parentheses that are not closed"),
        ("${{ " + "(" * 100_000 + " }}", ["?"], "more of them than GitHub allows"),
        ("${{ github.a.* }}", ["?"], "all of something"),
        ("${{ github.x && 'a' }}".join([""] * 20), ["?"], "more ways than are of use"),
        ("${{ env.NAME }}" * 5_000, ["?"], "more characters than any reference"),
    ],
)
def test_what_expressions_come_to(text, expected, why):
    """Each expression comes to what GitHub's documentation says, or is told not to be known."""
    assert values(text) == expected, why


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="a.'()[]|&=!<>{}$0, *-", max_size=40))
def test_no_expression_raises(text):
    """Whatever stands between the braces, it comes to at least one value."""
    assert evaluated_text("${{" + text, SCOPE)


@pytest.mark.parametrize(
    ("step", "expected", "why"),
    [
        ("{uses: docker://a}", ["a"], "a step that is an image"),
        ("{uses: acme/action@v1}", [], "an action of another repository is not read"),
        ("{uses: docker/setup-buildx-action@v3}", ["~moby/buildkit:buildx-stable-1"], "what builds by default"),
        ("{uses: docker/setup-buildx-action@v3, with: {driver: remote}}", [], "a builder that runs elsewhere"),
        (
            "{uses: docker/setup-buildx-action@v3, with: {driver: '${{ vars.D }}'}}",
            ["~moby/buildkit:buildx-stable-1"],
            "a driver that is not known may be the default one",
        ),
        ("{uses: docker/setup-buildx-action@v3, with: {driver-opts: 'env.A=image,image=a'}}", ["a"], "an image named"),
        ("{uses: docker/setup-buildx-action@v3, with: {driver-opts: '\"image=a:${{ vars.T }}\"'}}", ["?"], "not known"),
        ("{uses: docker/setup-qemu-action@v3}", ["~tonistiigi/binfmt"], "emulators by default"),
        ("{uses: docker/setup-qemu-action@v3, with: {IMAGE: a}}", ["a"], "names of inputs have no case"),
        ("{uses: docker/build-push-action@v6, with: {context: f}}", ["alpine"], "a Dockerfile in a context"),
        ("{uses: docker/build-push-action@v6, with: {file: ./f/Dockerfile}}", ["alpine"], "one that is named"),
        ("{uses: docker/build-push-action@v6, with: {context: '${{ github.workspace }}/f'}}", ["alpine"], "workspace"),
        ("{uses: docker/build-push-action@v6, with: {context: '${{ env.NOPE }}'}}", ["?"], "one that is not known"),
        ("{uses: docker/build-push-action@v6, with: {context: g}}", ["!"], "one that is not there"),
        (
            "{uses: docker/build-push-action@v6, with: {context: f, sbom: false, attests: type=provenance}}",
            ["alpine"],
            "no list",
        ),
        (
            "{uses: docker/build-push-action@v6, with: {context: f, attests: type=sbom}}",
            ["~docker/buildkit-syft-scanner:stable-1", "alpine"],
            "what lists contents by default",
        ),
        (
            "{uses: docker/build-push-action@v6, with: {context: f, cache-from: '\"type=registry,ref=a\"'}}",
            ["a", "alpine"],
            "a cache in quotes of its own",
        ),
        (
            "{uses: docker/build-push-action@v6, with: {context: f, build-contexts: 'x=${{ vars.C }}'}}",
            ["?", "alpine"],
            "a named context that is not known",
        ),
        ("{uses: ./f}", ["alpine"], "an action that is nothing but a Dockerfile"),
    ],
)
def test_what_steps_come_to(step, expected, why):
    """Each step pulls what is said of it, whether it names that or not."""
    findings = look({HERE: f"{STEPS}      - {step}\n", "f/Dockerfile": "FROM alpine\n"}, HERE)

    assert [shown.replace("docker.io/", "") for shown in comes_to(findings)] == expected, why


def test_arguments_of_a_build_reach_the_dockerfile():
    """A build argument is told from the workflow to the base that it makes, step by step."""
    step = "{uses: docker/build-push-action@v6, with: {build-args: 'BASE=a:${{ matrix.v }}'}}"
    text = f"{STEPS}      - {step}\n    strategy: {{matrix: {{v: [1, 2]}}}}\n"
    findings = references(look({HERE: text, "Dockerfile": "ARG BASE\nFROM $BASE\n"}, HERE))

    assert [str(finding.reference) for finding in findings] == ["docker.io/library/a:1", "docker.io/library/a:2"]
    assert findings[0].place.file == "Dockerfile"
    assert "matrix value v (.github/workflows/ci.yml:6)" in findings[0].how
    assert "build-args of job j, step 1 (.github/workflows/ci.yml:5)" in findings[0].how
    assert "job j, step 1 (.github/workflows/ci.yml:5)" in findings[0].how


def test_variables_that_a_step_may_change_are_only_defaults():
    """A step that writes to GITHUB_ENV may change what later steps are given."""
    step = "{uses: docker/setup-qemu-action@v3, with: {image: '${{ env.I }}'}}"
    text = f"env: {{I: a}}\n{STEPS}      - {step}\n      - run: echo I=b >> $GITHUB_ENV\n      - {step}\n"

    assert comes_to(look({HERE: text})) == ["a", "~a"]


def test_a_workflow_in_a_repository_below_is_read_from_there():
    """A path in a workflow is relative to the repository that the workflow is in."""
    files = {
        "one/.github/workflows/a.yml": f"{STEPS}      - uses: ./act\n",
        "one/act/action.yml": "runs: {using: docker, image: 'docker://a'}\n",
    }
    (finding,) = references(look(files, "one/.github/workflows/a.yml"))

    assert (finding.kind, finding.place.file, str(finding.reference)) == (
        Kind.ACTION,
        "one/act/action.yml",
        "docker.io/library/a:latest",
    )
    assert finding.how == ("job j, step 1 (one/.github/workflows/a.yml:5)",)


def test_files_of_other_names_are_read_by_their_content():
    """A workflow that is asked for by name is read as one, wherever it lies; what starts nothing is none."""
    finder = GitHubActionsFinder()
    workflow = "on: push\njobs: {j: {container: a}}\n"

    assert finder.recognises(workflow)
    assert not finder.recognises("jobs: {j: {docker: []}}\n")
    assert not finder.claims("ci/workflow.yml")
    assert comes_to(look({HERE: workflow}, HERE)) == ["a"]


def test_more_jobs_than_github_makes_are_not_worked_out():
    """A matrix that explodes comes to one reference that is not known, with the reason."""
    vectors = ", ".join(f"v{number}: {list(range(9))}" for number in range(9))
    text = f"on: push\njobs: {{j: {{strategy: {{matrix: {{{vectors}}}}}, container: 'a:${{{{ matrix.v1 }}}}'}}}}"
    (finding,) = references(look({HERE: text}))

    assert finding.unresolved == "the matrix makes more than 256 jobs, which GitHub refuses"


def test_workflows_that_call_one_another_without_end_are_told():
    """A chain of more workflows than GitHub allows is cut, and that is told."""
    files = {
        f".github/workflows/w{number}.yml": (
            f"on: {{workflow_call: {{}}}}\njobs: {{j: {{uses: ./.github/workflows/w{number + 1}.yml}}}}\n"
        )
        for number in range(12)
    }

    assert problems(look(files, ".github/workflows/w0.yml")) == [
        "more than 10 workflows or actions use one another",
    ]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(damaged_trees("github-actions"))
def test_damaged_files_raise_nothing_and_places_are_right(files):
    """Whatever is in a file, nothing is raised, and each reference stands where its place says."""
    check(GitHubActionsFinder(), files)
