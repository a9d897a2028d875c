"""What every test of `pullgate check` stands on."""

from pathlib import Path

import pytest

from pullgate_cli import check as command
from pullgate_finders.formats import FINDERS
from tests.check.checking import ACME, CATALOGUE, ListFinder, write


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, which is the current directory; a policy and a catalogue beside it; a finder of lists."""
    write(tmp_path, {"acme.yaml": ACME, "catalogue.yaml": CATALOGUE})
    root = tmp_path / "repository"
    (root / ".git").mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.setattr(command, "FINDERS", (ListFinder(), *FINDERS))
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return root
