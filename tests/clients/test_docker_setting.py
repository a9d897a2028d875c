"""`pullgate policy import` and `export`: files in, documents out, and what is left out on standard error."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from pullgate_cli import docker_setting
from pullgate_client import Client
from pullgate_policy import parse_policy_yaml, policy_yaml, preset_policy
from pullgate_policy.presets import Preset

SETTING = {"restricted_images": {"enabled": True, "allow_official_images": True, "allow_verified_publishers": False}}
ATTRIBUTES = {"org_name": "acme", **SETTING["restricted_images"]}


def import_(*arguments: str, stdin: str = "") -> Result:
    """Run `pullgate policy import`."""
    return CliRunner().invoke(docker_setting.import_, arguments, input=stdin)


def export(*arguments: str, stdin: str = "") -> Result:
    """Run `pullgate policy export`."""
    return CliRunner().invoke(docker_setting.export, arguments, input=stdin)


@pytest.mark.parametrize(
    ("data", "arguments"), [(SETTING, ["--org", "acme"]), (ATTRIBUTES, ["--org", "acme"]), (ATTRIBUTES, [])]
)
def test_import_prints_a_policy(data: dict[str, object], arguments: list[str], tmp_path: Path) -> None:
    """A setting from a file or from standard input becomes a policy that `policy apply` reads."""
    (tmp_path / "setting.json").write_text(json.dumps(data))
    from_file = import_(*arguments, str(tmp_path / "setting.json"))
    from_standard_input = import_(*arguments, "-", stdin=json.dumps(data))

    assert (from_file.exit_code, from_standard_input.exit_code) == (0, 0)
    assert from_file.stdout == from_standard_input.stdout
    assert parse_policy_yaml(from_file.stdout) == preset_policy(Preset.STRICT, "acme")
    assert from_file.stderr == ""


def test_import_names_what_it_does_not_read() -> None:
    """Settings beside restricted images are named on standard error, and the policy is printed all the same."""
    result = import_("--org", "acme", "-", stdin=json.dumps({**SETTING, "badge": "x"}))

    assert result.exit_code == 0
    assert parse_policy_yaml(result.stdout).image_access.enabled
    assert result.stderr == 'note: "badge" does not restrict images, and no policy takes it over\n'


@pytest.mark.parametrize(
    ("stdin", "arguments", "told"),
    [
        ("{", ["--org", "acme", "-"], "standard input is not JSON"),
        ("[" * 100_000, ["--org", "acme", "-"], "standard input is not JSON"),
        ("", ["--org", "acme", "nowhere.json"], "nowhere.json cannot be read"),
        (
            json.dumps(SETTING),
            ["-"],
            "not a setting of Docker Hub: standard input\n  the setting does not name its org",
        ),
        ("[]", ["--org", "acme", "-"], "\n  expected a section with keys, got a list"),
        (json.dumps(ATTRIBUTES), ["--org", "globex", "-"], '\n  org_name: is "acme", and the policy is to be that of'),
    ],
)
def test_import_refuses(stdin: str, arguments: list[str], told: str) -> None:
    """What is no setting is told with its problems, and nothing is printed."""
    result = import_(*arguments, stdin=stdin)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


@pytest.mark.parametrize(("arguments", "printed"), [([], SETTING), (["--terraform"], ATTRIBUTES)])
def test_export_prints_the_setting(arguments: list[str], printed: dict[str, object], tmp_path: Path) -> None:
    """A policy file becomes the API's settings or Terraform's attributes; nothing is said where nothing is left out."""
    (tmp_path / "acme.yaml").write_text(policy_yaml(preset_policy(Preset.STRICT, "acme")))
    result = export(*arguments, "-f", str(tmp_path / "acme.yaml"))

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == printed


def test_export_says_what_it_leaves_out() -> None:
    """What the setting cannot say stands on standard error, one sentence a line."""
    document = policy_yaml(preset_policy(Preset.OPEN, "acme")) + "\n"
    result = export("-f", "-", stdin=document.replace("help: ''", "help: Ask us."))

    assert json.loads(result.stdout)["restricted_images"]["enabled"]
    assert [line.split(",")[0].split(":")[:2] for line in result.stderr.splitlines()] == [
        ["note", " community images are allowed here"],
        ["note", " the help text is left out"],
    ]


def test_export_asks_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an organization is named, its policy is the service's."""

    def get_policy(_client: Client, organization: str) -> SimpleNamespace:
        return SimpleNamespace(policy=preset_policy(Preset.STRICT, organization))

    monkeypatch.setattr(Client, "get_policy", get_policy)

    assert json.loads(export("--terraform", "globex").stdout) == {**ATTRIBUTES, "org_name": "globex"}


@pytest.mark.parametrize(
    ("stdin", "arguments", "told"),
    [
        ("", [], "say either ORG or -f FILE"),
        ("", ["acme", "-f", "-"], "say either ORG or -f FILE"),
        ("", ["-f", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (
            "organization: Acme\nx: 1",
            ["-f", "-"],
            'not a valid policy: standard input\n  organization: "Acme" is not lowercase; write "acme"\n  x: unknown',
        ),
    ],
)
def test_export_refuses(stdin: str, arguments: list[str], told: str) -> None:
    """What is no policy is told with its problems, and nothing is printed."""
    result = export(*arguments, stdin=stdin)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
