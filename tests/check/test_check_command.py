"""`pullgate check`, offline: what it looks into, what it tells a person, and how it ends."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pullgate_cli.checking.alternatives import official_images
from tests.check.checking import offline, report, run, write
from tests.clients.test_command_line import OFFICIAL_IMAGES
from tests.conftest import clean_environment


def references(data):
    """Where what was found."""
    return [(finding["file"], finding["line"], finding["reference"]) for finding in data["findings"]]


def test_what_a_person_reads(repository):
    """By file: the line with a mark, the image, why, its category, its use, how it was reached, and a way out."""
    write(
        repository,
        {
            "services/web/Dockerfile": "ARG VERSION=1.25\nFROM bitnami/nginx:${VERSION}\n",
            "tools.images": "image someuser/tool\nimage nginx\nunknown $X | variable X has no value\n",
        },
    )
    result = offline()

    assert result.exit_code == 1
    assert (
        result.stdout
        == """\
services/web/Dockerfile
  2 | FROM bitnami/nginx:${VERSION}
    |      ^^^^^^^^^^^^^^^^^^^^^^^^
  DENY  docker.io/bitnami/nginx:1.25
    image access denied: verified publisher images not allowed
    category  verified publisher, says catalogue: seen there
    use       base image in stage 0
    by        default of build argument VERSION (services/web/Dockerfile:1)
    instead   nginx, the official image of that name

tools.images
  1 | image someuser/tool
    |       ^^^^^^^^^^^^^
  DENY  docker.io/someuser/tool:latest
    image access denied: community images not allowed
    category  community, says catalogue: seen there
    use       image of a container
    instead   organization acme allows organization and official images
  3 | unknown $X | variable X has no value
    |         ^^
  UNRESOLVED  $X
    variable X has no value
    use       image of a container

acme: Ask in the platform channel.

4 image references in 2 files: 1 allowed, 2 denied, 1 unresolved
"""
    )


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        ("image nginx", [], 0),
        ("image ghcr.io/a/b", [], 0),
        ("image someuser/x", [], 1),
        ("image someuser/x", ["--team", "data-science"], 0),
        ("image someuser/x", ["--role", "owner"], 0),
        ("image someuser/x", ["--anonymous"], 0),
        ("image someuser/x", ["--exit-zero"], 0),
        ("unknown $X | no X", [], 0),
        ("unknown $X | no X", ["--fail-on", "unresolved"], 3),
        ("unknown $X | no X", ["--fail-on", "unresolved", "--exit-zero"], 0),
        ("image Bad/Name/", ["--fail-on", "unresolved"], 3),
        ("trouble cannot be read", [], 0),
        ("trouble cannot be read", ["--fail-on", "unresolved"], 3),
        ("unknown $X | no X\nimage someuser/x", ["--fail-on", "unresolved"], 3),
        ("", [], 0),
    ],
)
def test_how_it_ends(repository, text, arguments, code):
    """0 for allowed, 1 for denied, 3 for not known where that is to fail; the highest that applies."""
    write(repository, {"x.images": text})

    assert offline(*arguments).exit_code == code


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "'nowhere' does not exist"),
        (["--policy", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--policy", "../acme.yaml", "--org", "globex"], "no --policy is of organization globex"),
        (["--catalogue", "../catalogue.yaml"], "--catalogue goes with --policy"),
        (["--policy", "../acme.yaml", "--catalogue", "../acme.yaml"], "not a valid catalogue"),
        (["--policy", "../catalogue.yaml"], "not a valid policy"),
        (["--write-baseline"], "--write-baseline writes to --baseline"),
        (["--build-arg", "=x"], "has no name before the ="),
        (["--build-context", "base"], "is not NAME=VALUE"),
        (["--report", "sarif"], "is not FORMAT=FILE"),
        (["--report", "text=x"], "--report text is the report of --format"),
        (["--anonymous", "--user", "dev"], "--anonymous is nobody"),
        (["--policy", "../acme.yaml", "--output", "no/such/directory/x"], "cannot be written: No such file"),
        (["--env-file", "../bad.env"], "../bad.env:1:1: "),
    ],
)
def test_wrong_usage(repository, arguments, told):
    """What is asked wrongly is told in words, and ends with 2."""
    write(repository.parent, {"bad.env": "A='\n"})
    result = run(*arguments)

    assert result.exit_code == 2, result.output
    assert told in result.output


def test_what_is_looked_into(repository):
    """Directories are walked, files named by hand are read whatever they are called, and each is read once."""
    write(
        repository,
        {
            "a/x.images": "image a",
            "a/b/x.images": "image b",
            "node_modules/x.images": "image not-mine",
            "image-of-web": "FROM c\n",
            "notes.txt": "nothing\n",
        },
    )
    found = report("a", "a/b", "a/x.images", "image-of-web")

    assert [finding["file"] for finding in found["findings"]] == ["a/b/x.images", "a/x.images", "image-of-web"]
    assert found["summary"]["files"] == 3
    assert [trouble["problem"] for trouble in report("notes.txt")["troubles"]] == [
        "is in no format that is read; see the documentation"
    ]


def test_names_are_those_seen_from_here(repository, monkeypatch):
    """Files are named from the current directory if they lie below, and else in full."""
    write(repository, {"a/x.images": "image a", "b/x.images": "image b"})
    monkeypatch.chdir(repository / "a")
    data = report_of_parent(repository)

    assert [file for file, *_ in references(data)] == ["x.images", f"{repository}/b/x.images"]
    assert data["root"] == str(repository)


def report_of_parent(repository):
    """The report about the directory above the current one."""
    import json

    return json.loads(run("--policy", repository.parent / "acme.yaml", "--format", "json", "..").stdout)


@pytest.mark.parametrize(
    ("excluded", "left"),
    [
        ([], ["a/b/x.images", "a/x.images", "test/x.images", "x.images"]),
        (["test"], ["a/b/x.images", "a/x.images", "x.images"]),
        (["a/b/"], ["a/x.images", "test/x.images", "x.images"]),
        (["a/*.images"], ["a/b/x.images", "test/x.images", "x.images"]),
        (["a/**", "x.images"], []),
        (["**/b"], ["a/x.images", "test/x.images", "x.images"]),
        (["./a"], ["test/x.images", "x.images"]),
        (["?"], ["test/x.images", "x.images"]),
        (["*.imag"], ["a/b/x.images", "a/x.images", "test/x.images", "x.images"]),
    ],
)
def test_what_is_excluded(repository, excluded, left):
    """A pattern without / means names on the way, one with / paths from here; directories go with all below."""
    write(repository, dict.fromkeys(["x.images", "a/x.images", "a/b/x.images", "test/x.images"], "image a"))
    options = [option for pattern in excluded for option in ("--exclude", pattern)]

    assert [file for file, *_ in references(report(*options))] == left


def test_settings_reach_the_finders(repository, monkeypatch):
    """Build arguments, contexts and the stage are what the options say; a name alone is taken from the environment."""
    monkeypatch.setenv("TAG", "7")
    text = "ARG NAME\nARG TAG\nFROM ${NAME}:${TAG} AS one\nFROM base AS two\nFROM unused\n"
    write(repository, {"Dockerfile": text})
    context = "base=docker-image://alpine:3"
    options = ("--build-arg", "NAME=redis", "--build-arg", "TAG", "--build-context", context, "--target", "two")
    found = {finding["reference"]: finding["condition"] for finding in report(*options)["findings"]}

    assert "docker.io/library/redis:7" in found
    assert "docker.io/library/base:latest" not in found
    assert found["docker.io/library/unused:latest"]


def test_variables_reach_compose(repository):
    """--env-file sets variables, a later file and --env win, and what is not set stays unresolved."""
    services = "".join(f"  {name}: {{image: 'redis:${{{name.upper()}}}'}}\n" for name in ("a", "b", "c", "d"))
    write(
        repository,
        {
            "compose.yaml": f"services:\n{services}",
            "one.env": "# of one\nA=1\nB='2'\nexport C=3\n",
            "two.env": "B=two-${A}\n",
        },
    )
    found = report("--env-file", "one.env", "--env-file", "two.env", "--env", "C=c", "--env", "D")["findings"]

    assert [finding["reference"] and finding["reference"].rpartition(":")[2] for finding in found[:3]] == [
        "1",
        "two-1",
        "c",
    ]
    assert found[3]["raw"] == "redis:${D}"


def test_offline_needs_no_grpc(repository):
    """Deciding by a policy at hand loads no gRPC, whose start would be half of the time of a small check."""
    write(repository, {"Dockerfile": "FROM nginx\n"})
    script = (
        "import sys; from pullgate_cli.check import check; "
        "check.main(['--policy', '../acme.yaml'], standalone_mode=False)"
    )
    told = f"try:\n    {script}\nexcept SystemExit: pass\nprint('grpc' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=60)

    assert result.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("image", "instead"),
    [
        ("bitnami/nginx:1.25", ("nginx", "nginx, the official image of that name")),
        ("ghcr.io/x/nginx", None),
        ("someuser/loki:3", ("grafana/loki", "grafana/loki, which is on the allowlist of organization acme")),
        (
            "someuser/tool:1.4",
            ("someteam/tool:1.4", "someteam/tool:1.4, which is on the allowlist of organization acme"),
        ),
        ("someuser/tool:2", (None, "organization acme allows organization and official images")),
        ("someuser/other", (None, "organization acme allows organization and official images")),
    ],
)
def test_what_would_be_allowed_instead(repository, image, instead):
    """The official image of the same name, an entry of the allowlist, or the kinds of images that are allowed."""
    write(repository, {"x.images": f"image {image}"})
    (finding,) = report()["findings"]

    assert finding["instead"] == (None if instead is None else {"reference": instead[0], "sentence": instead[1]})


def test_no_alternative_is_named_that_is_denied(repository):
    """Where official images are denied none is named."""
    policy = "{organization: acme, image_access: {enabled: true, allow: {organization_images: false}}}"
    write(repository, {"x.images": "image bitnami/nginx", "../closed.yaml": policy})
    result = run("--policy", "../closed.yaml")

    assert "instead   organization acme allows only images on its allowlist" in result.stdout
    assert "the official image" not in result.stdout


def test_monitor_mode_denies_nothing_and_is_told(repository):
    """An image that only monitor mode lets through is told of, and does not fail."""
    write(repository, {"x.images": "image someuser/x", "../monitored.yaml": MONITORED})
    result = run("--policy", "../monitored.yaml")

    assert result.exit_code == 0
    assert "MONITORED  docker.io/someuser/x:latest" in result.stdout
    assert "monitor mode; enforcing it would be: image access denied" in result.stdout
    assert "0 allowed, 1 denied in monitor mode" in result.stdout


MONITORED = "{organization: acme, image_access: {enabled: true, mode: monitor, on_unknown_category: deny}}"


def test_the_official_images_are_dated_and_those_of_the_tests():
    """The shipped list of official images says of which day it is, and is the one that decisions are tested with."""
    import pullgate_cli.checking as package

    text = Path(package.__file__).with_name("official_images.txt").read_text()

    assert "as of 2026-11-23" in text
    assert official_images() == set(OFFICIAL_IMAGES)


def test_several_reports_in_one_run(repository):
    """One run writes a report to standard output, and others to files, without colours."""
    write(repository, {"x.images": "image someuser/x"})
    result = offline("--format", "github", "--report", "json=x.json", "--report", "text=x.txt")

    assert result.stdout.startswith("::error file=x.images")
    assert '"status": "denied"' in (repository / "x.json").read_text()
    assert "DENY  docker.io/someuser/x" in (repository / "x.txt").read_text()
    assert "\x1b" not in (repository / "x.txt").read_text()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\timage someuser/x", ["  1 |     image someuser/x", "    |           ^^^^^^^^^^"]),
        ("image sömeuser/漢字", ["  1 | image sömeuser/漢字", "    |       ^^^^^^^^^^^^^"]),
        ("image a\x1b[31mb\x07", [r"  1 | image a\x1b[31mb\x07", "    |       ^^^^^^^^^^^^^^"]),
        (f"{' ' * 500}image {'x' * 500}/y", [f"  1 | …{' ' * 44}image {'x' * 50}…", f"    |  {' ' * 50}{'^' * 50}"]),
    ],
    ids=["tab", "wide characters", "control characters", "long line"],
)
def test_the_mark_stands_under_what_is_meant(repository, line, shown):
    """Tabs, characters two cells wide, escaped ones and long lines leave the mark where it belongs."""
    write(repository, {"x.images": line})

    assert offline("-v").stdout.splitlines()[1:3] == shown


def test_no_commands_reach_the_runner_from_the_lines_that_are_shown(repository):
    """In GitHub Actions the text, which shows lines of the files, is wrapped so that none of it is a command."""
    write(repository, {"x.images": "image someuser/x # ##[add-path]/evil"})
    lines = offline(environment={"GITHUB_ACTIONS": "true"}).stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")

    assert len(token) == 32
    assert lines[-1] == f"::{token}::"
    assert token not in "".join(lines[1:-1])


def test_progress_is_for_terminals_alone(repository):
    """On a terminal it is shown what goes on, on standard error; in a pipe there is nothing but the report."""
    write(repository, {"Dockerfile": "FROM nginx\n"})
    command = [sys.executable, "-m", "pullgate_cli", "check", "--policy", "../acme.yaml"]
    main, terminal = pty.openpty()
    environment = {**clean_environment(), "TERM": "xterm"}
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, env=environment, check=True, timeout=60)
    os.close(terminal)
    on_terminal = os.read(main, 10_000).decode()
    os.close(main)
    piped = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=60)

    assert "1 file, 1 image answered" in on_terminal
    assert piped.stderr == b""
    assert shown.stdout == piped.stdout == b"1 image reference in 1 file: 1 allowed\n"


def test_help_has_examples_and_exit_codes():
    """--help shows how it is called and how it ends."""
    result = run("--help")

    assert "pullgate check --policy policies/acme.yaml" in result.output
    assert "Exit codes (the highest that applies):" in result.output
