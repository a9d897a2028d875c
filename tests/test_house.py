"""What holds the house together: versions, arrows, what is installed with what, and documents that say what is."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import clean_environment

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STUBS = sorted((ROOT / "protos/pullgate/v1").glob("*_pb2*.py"))


def floor(name: str, requirements: list[str]) -> tuple[int, ...]:
    """The lowest version that a list of requirements admits."""
    (requirement,) = (item for item in requirements if re.match(rf"{name}(\[\w+\])?>=", item))
    match = re.search(r">=([\d.]+)", requirement)
    assert match is not None
    return version(match[1])


def version(text: str) -> tuple[int, ...]:
    """A version as a tuple that compares."""
    return tuple(int(part) for part in text.split(".")[:3])


def test_the_floors_are_the_generators_of_the_stubs() -> None:
    """The stubs refuse to load under anything older than what generated them, so the requirements say the same."""
    protobuf = {match for stub in STUBS for match in re.findall(r"Protobuf Python Version: ([\d.]+)", stub.read_text())}
    grpc = {match for stub in STUBS for match in re.findall(r"GRPC_GENERATED_VERSION = '([\d.]+)'", stub.read_text())}

    assert [floor("protobuf", PROJECT["dependencies"])] == [version(text) for text in protobuf]
    assert [floor("grpcio", PROJECT["dependencies"])] == [version(text) for text in grpc]
    generators = (ROOT / "protos/generators.txt").read_text()
    assert f"grpcio-tools=={grpc.pop()}" in generators


def test_the_server_stays_below_the_slow_releases() -> None:
    """docs/decisions/0001 sets the ceiling of the server's grpcio, and only there: the SDK goes with any."""
    assert "grpcio>=1.80.1,<1.84" in PROJECT["optional-dependencies"]["server"]
    assert not any("<" in requirement for requirement in PROJECT["dependencies"])


def test_the_arrows_point_one_way() -> None:
    """The import contract of pyproject.toml holds."""
    result = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    "module",
    ["pullgate_policy", "pullgate_client", "pullgate_cli.decide", "pullgate_cli.sidecar", "pullgate.v1.mapping"],
)
def test_clients_load_without_the_server(module: str) -> None:
    """Importing the policy, the SDK or a client command loads no server, database or event loop library."""
    heavy = {"pullgate_server", "sqlalchemy", "alembic", "aiocache", "structlog", "uvloop"}
    script = f"import sys, {module}; print({heavy} & {{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "package",
    [
        "pullgate",
        "pullgate_policy",
        "pullgate_server",
        "pullgate_client",
        "pullgate_cli",
        "pullgate_docker",
        "pullgate_finders",
        "pgcurl",
    ],
)
def test_every_package_is_typed(package: str) -> None:
    """Type checkers of users read the annotations of every package."""
    (folder,) = [path for path in ROOT.glob(f"*/{package}") if path.is_dir() and path.parent.name != "tests"]

    assert (folder / "py.typed").exists()


def test_the_wheel_holds_what_it_should(tmp_path: Path) -> None:
    """The wheel has the eight packages, contract, catalogue and migrations included, and nothing else at top level."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True
    )
    import zipfile

    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert {
        "pullgate",
        "pullgate_policy",
        "pullgate_server",
        "pullgate_client",
        "pullgate_cli",
        "pullgate_docker",
        "pullgate_finders",
        "pgcurl",
        f"pullgate-{PROJECT['version']}.dist-info",
    } == {name.split("/")[0] for name in names}
    assert {
        "pullgate/v1/policy_decision.proto",
        "pullgate/v1/policy_decision_pb2.pyi",
        "pullgate/envoy/v3/external_authorization.proto",
        "pullgate_policy/starter.yaml",
        "pullgate_server/stores/migrations/versions/0001_initial.py",
        "pullgate_server/stores/migrations/env.py",
    } <= set(names)


def test_the_version_is_said_once() -> None:
    """What is installed is what pyproject.toml says."""
    assert PROJECT["version"] == metadata.version("pullgate")


def test_the_configuration_document_is_generated() -> None:
    """docs/configuration.md is what docs/generate_configuration.py prints."""
    printed = subprocess.run(
        [sys.executable, ROOT / "docs/generate_configuration.py"], capture_output=True, text=True, check=True
    ).stdout

    assert (ROOT / "docs/configuration.md").read_text() == printed


def test_a_contract_that_breaks_its_users_is_refused(tmp_path: Path) -> None:
    """`buf breaking` sees a field that is gone, as `make check` runs it."""
    for name in ("protos", "buf.yaml"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    proto = tmp_path / "protos/pullgate/v1/policy_decision.proto"
    proto.write_text(proto.read_text().replace("  string reference = 2;", "  string reference = 9;", 1))
    buf = Path(sys.executable).parent / "buf"
    same = subprocess.run(
        [buf, "breaking", tmp_path, "--against", tmp_path], capture_output=True, text=True, check=False
    )
    other = subprocess.run(
        [buf, "breaking", tmp_path, "--against", ROOT], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert same.returncode == 0, same.stderr
    assert other.returncode != 0
    assert "policy_decision.proto" in other.stdout


def test_pullgate_serve_without_the_server_says_what_to_install() -> None:
    """With the SDK alone `pullgate serve` says which extra it needs."""
    script = "import sys; sys.modules['sqlalchemy'] = None\nfrom pullgate_cli.main import main\nmain(['serve'])"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=clean_environment()
    )

    assert result.returncode == 2
    assert "pip install 'pullgate[server]'" in result.stderr


def test_the_help_of_the_group_names_every_command() -> None:
    """Commands are loaded when called; their help in a sentence is in the group's."""
    from pullgate_cli.main import COMMANDS, main

    printed = CliRunner().invoke(main, ["--help"]).output

    assert all(name in printed and sentence in printed for name, (_, sentence) in COMMANDS.items())
