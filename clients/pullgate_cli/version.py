"""`pullgate version`."""

import json
from importlib.metadata import version as version_of

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Versions as one JSON object.")
def version(as_json: bool) -> None:
    """Print the version."""
    versions = {name: version_of(name) for name in ("pullgate", "grpcio", "protobuf")}
    if as_json:
        click.echo(json.dumps(versions))
    else:
        click.echo(f"pullgate {versions['pullgate']} (grpcio {versions['grpcio']}, protobuf {versions['protobuf']})")
