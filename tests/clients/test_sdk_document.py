"""The examples of docs/sdk.md run as written, one after the other, and print what the page says."""

import re
from pathlib import Path

import pullgate_client
from tests.docs.test_readme import ROOT, blocks_of, server_of, shell

PAGE = (ROOT / "docs/sdk.md").read_text()


def test_the_examples_of_the_page(tmp_path: Path) -> None:
    """All of them are one program, and its output is what stands below each."""
    blocks = [(language, text) for language, text in blocks_of(PAGE) if language != "sh"]
    program = "".join(text for language, text in blocks if language == "python")
    expected = "".join(text for language, text in blocks if language == "")
    script = tmp_path / "examples.py"
    script.write_text(f"{program}\nclient.close()\n")
    with server_of(tmp_path) as server:
        printed = shell(f"python {script}", tmp_path, server)

    assert printed == expected


def test_the_page_names_every_method_and_every_error() -> None:
    """What the SDK has stands on its page."""
    methods = [name for name in vars(pullgate_client.Client) if not name.startswith("_")]
    errors = [name for name in pullgate_client.__all__ if name.endswith("Error")]
    named = set(re.findall(r"\w+", PAGE))

    assert [name for name in (*methods, *errors) if name not in named] == []
