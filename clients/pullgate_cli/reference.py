"""`pullgate reference`: explains how references are read. Asks nobody."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from pullgate_cli.connecting import USAGE
from pullgate_cli.references import explain_position, read_references
from pullgate_policy import InvalidReferenceError, parse_reference


@click.command(
    epilog="""\b
Examples:
  pullgate reference nginx ghcr.io/a/b:1
  pullgate reference --json registry-1.docker.io/someuser/tool

\b
Exit codes:
  0  all of them are references
  2  at least one is not, or wrong usage"""
)
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def reference(references: Sequence[str], as_json: bool) -> None:
    """Explain how image references are read. `-` reads them from standard input, one a line."""
    code = 0
    for text in read_references(references):
        try:
            data = _data(text)
        except InvalidReferenceError as error:
            code = USAGE
            if as_json:
                click.echo(json.dumps({"input": text, "error": str(error)}, ensure_ascii=False))
            else:
                click.echo(f"{click.style('ERROR', fg='red', bold=True)}  {explain_position(error, indent=7)}")
            continue
        if as_json:
            click.echo(json.dumps(data, ensure_ascii=False))
        else:
            click.echo(click.style(data.pop("input"), bold=True))
            for name, value in data.items():
                shown = {True: "yes", False: "no", None: "-"}.get(value, value)
                click.echo(f"  {click.style(f'{name:<10}', dim=True)}  {shown}")
    sys.exit(code)


def _data(text: str) -> dict[str, Any]:
    parsed = parse_reference(text)
    return {
        "input": text,
        "registry": parsed.registry,
        "repository": parsed.repository,
        "namespace": parsed.path.partition("/")[0] if parsed.is_docker_hub else None,
        "tag": parsed.tag,
        "digest": parsed.digest,
        "normalized": str(parsed),
        "docker_hub": parsed.is_docker_hub,
    }
