"""How `pullgate check` comes to where it is used: a pre-commit hook, a GitHub action, a GitLab template."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pullgate_cli.check import check
from pullgate_finders.formats import FINDERS
from tests.check.checking import write
from tests.conftest import clean_environment

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
CHECK_STEP = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "check")
JOB = yaml.safe_load((ROOT / "deploy/gitlab/pullgate-check.yml").read_text())["pullgate-check"]

HOSTILE = ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", '"; touch pwned; "', "--exit-zero", "*", "~"]
"""What an input may not be: read by a shell, or taken for an option."""

POLICY = "{organization: acme, image_access: {enabled: true, allow: {official_images: true}}}"


def shell(script, folder, environment):
    """Run a script as the runners do, with this installation in the place of the one that they would make."""
    temporary = folder / "runner"
    (temporary / "pullgate/bin").mkdir(parents=True, exist_ok=True)
    for name in ("pullgate", "python"):
        link = temporary / "pullgate/bin" / name
        if not link.is_symlink():
            link.symlink_to(BIN / name)
    path = f"{temporary / 'pullgate/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**clean_environment(), "PATH": path, "RUNNER_TEMP": str(temporary), **environment}
    environment |= {
        "HOME": str(folder),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "md"),
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder / "repository",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """A repository with a denied image and an allowed one, and room for the runner's own files."""
    write(
        tmp_path / "repository",
        {"Dockerfile": "FROM nginx\n", "bad/Dockerfile": "FROM someuser/x\n", "acme.yaml": POLICY, ".git/HEAD": ""},
    )
    return tmp_path


def inputs(**given):
    """The environment of the action's step: the inputs, or their defaults."""
    values = {name: declared["default"] for name, declared in ACTION["inputs"].items()} | given
    names = {f"${{{{ inputs.{name} }}}}": name for name in values}
    return {variable: values[names[expression]] for variable, expression in CHECK_STEP["env"].items()}


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_hooks_are_what_pre_commit_reads(hook):
    """Each hook has the fields that pre-commit requires, none that it does not know, and an entry that there is."""
    required, known = (
        {"id", "name", "entry", "language"},
        {"description", "files", "exclude", "pass_filenames", "require_serial"},
    )
    program, command, *_ = shlex.split(hook["entry"])

    assert required <= hook.keys() <= required | known
    assert (program, command, hook["language"]) == ("pullgate", check.name, "python")
    re.compile(hook["files"])


@pytest.mark.parametrize(
    ("path", "hooks"),
    [
        ("Dockerfile", "both"),
        ("web/Dockerfile.dev", "both"),
        ("web/api.dockerfile", "both"),
        ("Containerfile", "both"),
        ("compose.yaml", "both"),
        ("docker-compose.override.yml", "both"),
        (".github/workflows/ci.yml", "both"),
        (".gitlab-ci.yml", "both"),
        (".circleci/config.yml", "both"),
        ("bitbucket-pipelines.yml", "both"),
        ("docker-bake.hcl", "both"),
        ("docker-bake.override.json", "both"),
        (".devcontainer/devcontainer.json", "both"),
        (".devcontainer.json", "both"),
        ("skaffold.yaml", "both"),
        ("k8s/web.yaml", "one"),
        ("chart/values.yaml", "one"),
        (".env", "one"),
        ("README.md", "none"),
        ("package.json", "none"),
        ("src/dockerfile.py", "none"),
        ("Dockerfile.md", "none"),
        ("Dockerfile.dockerignore", "none"),
    ],
)
def test_when_hooks_run(path, hooks):
    """Both hooks run for what is of a format by its name, as a finder reads it; for other YAML the thorough one."""
    runs = [
        hook["id"] for hook in HOOKS.values() if re.search(hook["files"], path) and not re.search(hook["exclude"], path)
    ]

    assert len(runs) == {"none": 0, "one": 1, "both": 2}[hooks], runs
    assert hooks != "both" or any(finder.claims(path) for finder in FINDERS)
    if hooks == "one":
        assert runs == ["pullgate-check"]


def test_the_hook_runs(folder):
    """The entry, with arguments and the names of files behind it, checks them."""
    hook = HOOKS["pullgate-check-files"]
    allowed = shell(f"{hook['entry']} --policy acme.yaml Dockerfile", folder, {})
    denied = shell(f"{hook['entry']} --policy acme.yaml Dockerfile bad/Dockerfile", folder, {})

    assert (allowed.returncode, denied.returncode) == (0, 1), allowed.stderr + denied.stderr
    assert "DENY  docker.io/someuser/x" in denied.stdout


def test_the_action_reports_and_fails(folder):
    """The action annotates, writes SARIF and a summary, says how it ended, and ends so."""
    result = shell(CHECK_STEP["run"], folder, inputs(policy="acme.yaml"))

    assert result.returncode == 1, result.stderr
    assert result.stdout.startswith("::error file=bad/Dockerfile,line=1,")
    assert (folder / "output").read_text() == "exit-code=1\nsarif=pullgate.sarif\n"
    log = json.loads((folder / "repository/pullgate.sarif").read_text())
    assert [result["ruleId"] for result in log["runs"][0]["results"]] == ["PG001"]
    assert "| denied |" in (folder / "md").read_text()


def test_inputs_of_several_lines(folder):
    """Paths, policies and patterns are one a line, and empty lines are nothing."""
    given = {"policy": "acme.yaml\n", "paths": "Dockerfile\n\nbad\n", "exclude": "no\nbad\n", "build-args": "A=1 2\n"}

    assert shell(CHECK_STEP["run"], folder, inputs(**given)).returncode == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("paths", text) for text in HOSTILE),
        *((name, " ".join(HOSTILE)) for name in sorted(set(ACTION["inputs"]) - {"paths", "token"})),
    ],
)
def test_no_input_is_read_by_the_shell(folder, name, text):
    """Whatever an input is, it is a value: nothing is run, expanded, or taken for another option."""
    result = shell(CHECK_STEP["run"], folder, inputs(**{"policy": "acme.yaml", name: text}))

    assert not list(folder.rglob("pwned"))
    assert result.returncode != 0 or name in {"exclude", "build-args", "user", "address", "sarif"}


def test_no_expression_stands_in_a_script():
    """GitHub replaces expressions before a shell reads the script, so none stands in one."""
    assert not [step["name"] for step in ACTION["runs"]["steps"] if "${{" in step["run"]]
    assert {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]} == set(CHECK_STEP["env"].values())


def test_an_output_is_one_line(folder):
    """A name with a line break in it does not become a second output."""
    shell(CHECK_STEP["run"], folder, inputs(policy="acme.yaml", sarif="x\nexit-code=0"))

    assert (folder / "output").read_text().splitlines()[0] == "exit-code=1"
    assert len((folder / "output").read_text().splitlines()) == 2


def test_paths_of_several_lines_in_gitlab(folder):
    """The job's paths are one a line, with spaces in them, and empty lines are nothing; any POSIX shell reads it so."""
    write(folder / "repository", {"a b/Dockerfile": "FROM nginx\n", "*": "FROM someuser/x\n"})
    bin_folder = folder / "runner/pullgate/bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "pip").write_text("#!/bin/sh\n")
    (bin_folder / "pip").chmod(0o755)

    def checked(paths):
        variables = {**JOB["variables"], "PULLGATE_POLICY": "acme.yaml", "PULLGATE_PATHS": paths}
        script = f"sh -ec {shlex.quote(chr(10).join(JOB['script']))}"
        return shell(script, folder, variables)

    assert "2 image references in 2 files: 2 allowed" in checked("Dockerfile\n\na b\n").stdout
    assert checked("Dockerfile\nbad\n").returncode == 1


@pytest.mark.parametrize("text", [".", *HOSTILE])
def test_the_gitlab_job(folder, text):
    """The job's script checks, writes both reports, and reads no variable as a part of itself."""
    bin_folder = folder / "runner/pullgate/bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "pip").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$HOME/installed"\n')
    (bin_folder / "pip").chmod(0o755)
    variables = {**JOB["variables"], "PULLGATE_POLICY": "acme.yaml", "PULLGATE_PATHS": text}
    result = shell("\n".join(JOB["script"]), folder, variables)

    assert not list(folder.rglob("pwned"))
    assert (folder / "installed").read_text() == "install\n--quiet\npullgate\n"
    if text == ".":
        assert result.returncode == 1, result.stderr
        reports = JOB["artifacts"]["reports"]
        assert len(json.loads((folder / "repository" / reports["codequality"]).read_text())) == 1
        assert 'failures="1"' in (folder / "repository" / reports["junit"]).read_text()
    else:
        assert result.returncode == 2
