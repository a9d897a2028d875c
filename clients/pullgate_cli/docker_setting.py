"""`pullgate policy import` and `export`: between policies and Docker Hub's own setting, restricted images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pullgate_cli.connecting import connects
from pullgate_cli.files import FILE, name_of, read_policies, read_text, refuse
from pullgate_policy import InvalidPolicyError, Policy, policy_yaml
from pullgate_policy.errors import shown
from pullgate_policy.restricted_images import policy_from_restricted_images, restricted_images, settings_not_read

if TYPE_CHECKING:
    from pullgate_client import Client


@click.command(
    "import",
    epilog="""\b
Examples:
  curl -H "Authorization: Bearer $TOKEN" https://hub.docker.com/v2/orgs/acme/settings |
    pullgate policy import --org acme - | pullgate policy apply --yes -f -

\b
Exit codes:
  0  done
  2  wrong usage, or what is no setting""",
)
@click.argument("file", metavar="FILE", type=FILE)
@click.option(
    "--org", "organization", default="", help="Whose policy it becomes. Default: as Terraform's org_name says."
)
def import_(file: Path, organization: str) -> None:
    """Print Docker Hub's setting as a policy in YAML; - for standard input.

    FILE is JSON: an organization's settings from Docker Hub's API, or the attributes of Terraform's resource
    docker_org_setting_image_access_management.
    """
    text = read_text(file)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{name_of(file)} is not JSON: {error}") from error
    try:
        policy = policy_from_restricted_images(data, organization)
    except InvalidPolicyError as error:
        refuse("not a setting of Docker Hub", {file: error.problems})
    click.echo(policy_yaml(policy), nl=False)
    for name in settings_not_read(data):
        _tell_left_out(f"{shown(name)} does not restrict images, and no policy takes it over")


@click.command(
    epilog="""\b
Examples:
  pullgate policy export acme
  pullgate policy export --terraform -f acme.yaml

\b
Exit codes:
  0  done; what was left out stands on standard error
  2  wrong usage, a policy that is not valid or not there
  3  the service could not be asked""",
)
@click.argument("organization", metavar="[ORG]", required=False)
@click.option(
    "-f", "--file", "file", type=FILE, help="A policy in YAML instead of the service's; - for standard input."
)
@click.option("--terraform", is_flag=True, help="The attributes of docker_org_setting_image_access_management.")
@connects
def export(*, client: "Client", organization: str | None, file: Path | None, terraform: bool) -> None:
    """Print a policy as Docker Hub's setting in JSON, and on standard error what that leaves out."""
    if (organization is None) == (file is None):
        raise click.UsageError("say either ORG or -f FILE")
    policy = _only_policy(file) if file is not None else client.get_policy(organization or "").policy
    exported = restricted_images(policy)
    click.echo(json.dumps(exported.terraform_data if terraform else exported.data, indent=2))
    for sentence in exported.left_out:
        _tell_left_out(sentence)


def _only_policy(file: Path) -> Policy:
    policies = read_policies([file])
    if len(policies) > 1:
        raise click.UsageError(f"{name_of(file)} holds {len(policies)} policies, and one is exported at a time")
    return policies[0]


def _tell_left_out(sentence: str) -> None:
    click.echo(f"{click.style('note:', fg='yellow', bold=True)} {sentence}", err=True)
