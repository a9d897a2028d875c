"""`pullgate healthcheck`: for probes and people."""

import sys
from typing import TYPE_CHECKING

import click

from pullgate_cli.connecting import connects

if TYPE_CHECKING:
    from pullgate_client import Client


@click.command(
    epilog="""\b
Exit codes:
  0  SERVING
  1  NOT_SERVING
  3  the server could not be asked"""
)
@connects
def healthcheck(*, client: "Client") -> None:
    """Ask whether the server should be sent calls. Needs no token."""
    serving = client.is_serving()
    click.echo("SERVING" if serving else "NOT_SERVING")
    sys.exit(0 if serving else 1)
