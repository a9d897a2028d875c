"""`pullgate doctor`: looks at how pullgate is set up here, and says of each thing that is wrong what to do."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pullgate_cli.connecting import explain, names_connection
from pullgate_cli.doctor_docker import check_engine, check_plugin
from pullgate_cli.findings import Check, Finding, Health, Patient
from pullgate_cli.tables import print_table
from pullgate_docker.asking import ENGINE_SOCKET
from pullgate_docker.installing import DEFAULT_NAME

if TYPE_CHECKING:
    from pullgate_client import Connection

TO_MEND = 1
"""Exit code: something is to be mended."""

_PATH = click.Path(path_type=Path, dir_okay=False)


def check_service(patient: Patient) -> Iterator[Finding]:
    """Whether the service answers, and takes the token."""
    from pullgate_client import CallError, Client, ClientError

    about = "service"
    try:
        with Client(patient.connection) as client:
            caller = client.who_am_i()
    except CallError as error:
        to_do = "see 'pullgate decide --help' for how the service and its token are found"
        yield Finding(about=about, health=Health.MEND, found=explain(error, patient.connection), to_do=to_do)
    except ClientError as error:
        yield Finding(about=about, health=Health.MEND, found=str(error), to_do="mend the connection options")
    else:
        whose = f" of {caller.organization}" if caller.organization else ""
        found = f"{patient.connection.address} takes you for {caller.name}, {caller.role.value}{whose}"
        yield Finding(about=about, health=Health.OK, found=found)


CHECKS: tuple[Check, ...] = (check_service, check_plugin, check_engine)
"""All of them, in the order in which they are told."""


@click.command(
    context_settings={"max_content_width": 110},
    epilog="""\b
Exit codes:
  0  nothing is to be mended
  1  something is
  2  wrong usage""",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option(
    "--plugin", default=DEFAULT_NAME, show_default=True, help="What the Docker Engine of this machine calls the plugin."
)
@click.option("--plugin-socket", type=_PATH, help="Where it answers.  [default: where the engine looks for it]")
@click.option(
    "--engine-socket",
    type=_PATH,
    default=ENGINE_SOCKET,
    show_default=True,
    help="Where the engine answers.",
)
@names_connection("--address", envvar="PULLGATE_ADDRESS", help_text="HOST:PORT or unix:PATH of the service.")
def doctor(
    *, connection: "Connection", as_json: bool, plugin: str, plugin_socket: Path | None, engine_socket: Path
) -> None:
    """Find what is set up wrong on this machine, and say what to do. Changes nothing."""
    patient = Patient(
        connection=connection,
        plugin=plugin,
        plugin_socket=plugin_socket,
        engine_socket=engine_socket,
    )
    findings = [finding for check in CHECKS for finding in check(patient)]
    if as_json:
        for finding in findings:
            click.echo(json.dumps(_data(finding), ensure_ascii=False))
    else:
        rows = [(finding.health.value, finding.about, finding.found, finding.to_do) for finding in findings]
        print_table(("health", "about", "found", "to do"), rows, whole=("health", "about"), empty="")
    sys.exit(TO_MEND if any(finding.health is Health.MEND for finding in findings) else 0)


def _data(finding: Finding) -> dict[str, str]:
    return {
        "about": finding.about,
        "health": finding.health.value,
        "found": finding.found,
        "to_do": finding.to_do,
    }
