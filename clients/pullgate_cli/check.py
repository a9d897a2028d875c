"""`pullgate check`: finds every image that a repository uses, and says which of them may not be used."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from pullgate_cli.checking.baseline import Baseline, read_baseline
from pullgate_cli.checking.deciding import Decider, OfflineDecider, ServiceDecider
from pullgate_cli.checking.items import decided, found_in, marked, unread, unused_ignores
from pullgate_cli.checking.progress import progress
from pullgate_cli.checking.report import FailOn, Report, Status, counted
from pullgate_cli.checking.tree import Exclusion, tree_of
from pullgate_cli.checking.writing import FORMATS, append_summary, write_file, written
from pullgate_cli.connecting import NO_ANSWER, names_connection, say_error
from pullgate_cli.files import FILE, read_policies, read_text, refuse
from pullgate_cli.identities import StatedIdentity, states_identity
from pullgate_finders import Settings
from pullgate_finders.compose import dotenv
from pullgate_finders.compose.interpolation import Variables
from pullgate_finders.formats import FINDERS
from pullgate_finders.values import Known
from pullgate_policy import InvalidCatalogueError
from pullgate_policy.catalogue import CatalogueEntry, parse_catalogue

if TYPE_CHECKING:
    from pullgate_client import Connection

_FILE = click.Path(path_type=Path, dir_okay=False)

_CONNECTION = ("address", "token", "token_file", "data_dir", "tls", "ca", "cert", "key")
"""The options of `names_connection`."""


def _assignments(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> Mapping[str, str]:
    """NAME=VALUE each; a NAME alone takes its value from the environment, if it is there, as `docker build` does it."""
    given: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not name:
            raise click.BadParameter(f"{text!r} has no name before the =", context, parameter)
        if equals:
            given[name] = value
        elif name in os.environ:
            given[name] = os.environ[name]
    return given


def _contexts(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> Mapping[str, str]:
    without = [text for text in values if not text.partition("=")[2]]
    if without:
        raise click.BadParameter(f"{without[0]!r} is not NAME=VALUE", context, parameter)
    return _assignments(context, parameter, values)


def _reports(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> Mapping[str, Path]:
    given: dict[str, Path] = {}
    for text in values:
        form, _, file = text.partition("=")
        if form not in FORMATS or not file:
            raise click.BadParameter(
                f"{text!r} is not FORMAT=FILE, with one of {', '.join(FORMATS)}", context, parameter
            )
        if form in given:
            raise click.BadParameter(f"{form} is said twice; each form is written to one file", context, parameter)
        given[form] = Path(file)
    return given


@click.command(
    epilog="""\b
Examples:
  pullgate check                                  # this directory, for oneself
  pullgate check --org acme --user ci services/ Dockerfile
  pullgate check --policy policies/acme.yaml      # offline: nothing is asked or sent
  pullgate check --build-arg VERSION=3.19 --target release Dockerfile
  pullgate check --format github --report sarif=pullgate.sarif
  pullgate check --baseline .pullgate-baseline.json --write-baseline

\b
What is known and accepted is ignored by a comment on the same line or the one before, which says why:
  # pullgate: ignore only used in tests, until 2027

\b
Exit codes (the highest that applies):
  0  nothing is denied
  1  at least one image is denied
  2  wrong usage
  3  not known: the service could not be asked or had no answer, or a PATH could not be read;
     and with --fail-on unresolved also what could not be resolved or read below one""",
    context_settings={"max_content_width": 110},
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path, exists=True, readable=False))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=FILE,
    help="Decide by this policy, offline: a file, or a folder of them; repeatable. Without --org for its organization.",
)
@click.option("--catalogue", type=_FILE, help="Categories for --policy, besides the few that are shipped.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help="Form of the report.",
)
@click.option("--output", type=_FILE, help="Write the report to this file.")
@click.option(
    "--report",
    "reports",
    multiple=True,
    callback=_reports,
    metavar="FORMAT=FILE",
    help="Also write it in this form to this file; repeatable.",
)
@click.option(
    "--fail-on",
    type=click.Choice([choice.value for choice in FailOn]),
    default=FailOn.DENIED.value,
    show_default=True,
    help="unresolved: also fail for what could not be resolved or read.",
)
@click.option(
    "--exit-zero",
    is_flag=True,
    help="End with 0 whatever is found; not where there is no answer or a PATH cannot be read.",
)
@click.option(
    "--exclude",
    "excluded",
    multiple=True,
    metavar="GLOB",
    help="Leave files out, as by test or deploy/**/*.yaml; repeatable.",
)
@click.option("--no-ignores", is_flag=True, help="Comments that have a finding not count are passed over.")
@click.option("--baseline", "baseline_file", type=_FILE, help="Findings that it lists do not count.")
@click.option("--write-baseline", is_flag=True, help="Write what is found now to --baseline.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Also tell of images that are allowed, ignored, or in the baseline."
)
@click.option(
    "--build-arg",
    "build_arguments",
    multiple=True,
    callback=_assignments,
    metavar="NAME=VALUE",
    help="Build argument of Dockerfiles; repeatable.",
)
@click.option(
    "--build-context",
    "build_contexts",
    multiple=True,
    callback=_contexts,
    metavar="NAME=VALUE",
    help="Named context of Dockerfiles, as base=docker-image://alpine; repeatable.",
)
@click.option("--target", default="", metavar="STAGE", help="The stage of Dockerfiles that is built.")
@click.option(
    "--env",
    "variables",
    multiple=True,
    callback=_assignments,
    metavar="NAME=VALUE",
    help="Variable for what Compose and Bake interpolate; repeatable.",
)
@click.option("--env-file", "env_files", multiple=True, type=_FILE, help="Such variables, one a line; repeatable.")
@states_identity
@names_connection(
    "--address", envvar="PULLGATE_ADDRESS", help_text="HOST:PORT or unix:PATH of the service.", needless_with="policies"
)
def check(
    *,
    connection: "Connection | None",
    who: StatedIdentity,
    paths: Sequence[Path],
    policies: Sequence[Path],
    catalogue: Path | None,
    format_name: str,
    output: Path | None,
    reports: Mapping[str, Path],
    fail_on: str,
    exit_zero: bool,
    excluded: Sequence[str],
    no_ignores: bool,
    baseline_file: Path | None,
    write_baseline: bool,
    verbose: bool,
    build_arguments: Mapping[str, str],
    build_contexts: Mapping[str, str],
    target: str,
    variables: Mapping[str, str],
    env_files: Sequence[Path],
) -> None:
    """Find every image that the files below PATH (default: here) use, and say which may not be used."""
    if write_baseline and baseline_file is None:
        raise click.UsageError("--write-baseline writes to --baseline; say it too")
    if catalogue is not None and not policies:
        raise click.UsageError("--catalogue goes with --policy: the service has categories of its own")
    _check_connection(policies)
    _check_files(format_name, output, reports)
    baseline = _baseline(baseline_file, write_baseline)
    settings = Settings(
        build_arguments=build_arguments,
        build_contexts=build_contexts,
        variables={**_env_variables(env_files), **variables},
        target=target,
    )
    here = Path.cwd()
    with _decider(connection, who, policies, catalogue) as decider, progress() as told:
        tree = tree_of(paths or (Path(),), here, Exclusion(excluded, here))
        findings = found_in(tree, settings, FINDERS, told)
        found = decided(findings, decider, told)
        items = marked(found, tree, baseline, ignores=not no_ignores)
        warnings = [decider.warning] if decider.warning else []
    looked_at = frozenset(tree.paths)
    report = Report(
        items=items,
        files=len(tree.paths),
        root=tree.root,
        here=here,
        fail_on=FailOn(fail_on),
        outdated=baseline.outdated(items, looked_at, tree.root),
        unread=unread(tree, findings, FINDERS),
        unused_ignores=() if no_ignores else unused_ignores(items, tree),
        warnings=warnings,
    )
    for warning in warnings:
        click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {warning}", err=True)
    failure = decider.failure
    if failure:
        say_error(failure)
    _tell(report, {format_name: output, **reports}, verbose=verbose, told_before=failure)
    if write_baseline and baseline_file is not None:
        _write_baseline(baseline_file, baseline.written_anew(items, looked_at, tree.root), report)
        sys.exit(0)
    sys.exit(report.ends_with(exit_zero=exit_zero))


def _check_connection(policies: Sequence[Path]) -> None:
    """Raises click.UsageError for options that say how to ask where nobody is asked."""
    context = click.get_current_context()
    typed = [name for name in _CONNECTION if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if policies and typed:
        option = f"--{typed[0].replace('_', '-')}"
        raise click.UsageError(f"with --policy nothing is asked, so {option} says nothing; leave one of them out")


def _check_files(format_name: str, output: Path | None, reports: Mapping[str, Path]) -> None:
    """Raises click.UsageError where one report would take the place of another."""
    if format_name in reports:
        raise click.UsageError(f"--report {format_name} is the report of --format; say --output for its file")
    files = [*([] if output is None else [output]), *reports.values()]
    for index, file in enumerate(files):
        if os.path.realpath(file) in map(os.path.realpath, files[:index]):
            raise click.UsageError(f"two reports would be written to {file}; say another file for one of them")


@contextmanager
def _decider(
    connection: "Connection | None", who: StatedIdentity, policies: Sequence[Path], catalogue: Path | None
) -> Iterator[Decider]:
    """What answers, while it lasts: the service, or the policies where some are given."""
    if connection is None:
        yield OfflineDecider(read_policies(policies), _catalogue(catalogue), who, datetime.now(UTC))
        return
    from pullgate_client import Client, ConnectionSettingsError

    try:
        with Client(connection) as client:
            yield ServiceDecider(client, who)
    except ConnectionSettingsError as error:
        raise click.UsageError(str(error)) from error


def _catalogue(path: Path | None) -> Sequence[CatalogueEntry]:
    if path is None:
        return ()
    try:
        return parse_catalogue(read_text(path))
    except InvalidCatalogueError as error:
        refuse("not a valid catalogue", {path: error.problems})


def _env_variables(files: Sequence[Path]) -> dict[str, str]:
    """The variables that these files set, the last one winning; raises click.UsageError."""
    values: dict[str, str] = {}
    for file in files:
        read, troubles = dotenv.read(
            str(file), read_text(file), Variables(values={name: Known(value) for name, value in values.items()})
        )
        for trouble in troubles:
            raise click.UsageError(f"{trouble.place}: {trouble.problem}")
        values |= {name: text.value for name, text in read.items() if isinstance(text, Known)}
    return values


def _baseline(path: Path | None, write: bool) -> Baseline:
    if path is None or (write and not path.exists()):
        return Baseline({})
    return read_baseline(path)


def _tell(report: Report, forms: Mapping[str, Path | None], *, verbose: bool, told_before: str) -> None:
    """Write the report in each form to its file, or to standard output where there is none."""
    for format_name, file in forms.items():
        text = written(report, format_name, verbose=verbose, told_before=told_before)
        if file is not None:
            write_file(file, click.unstyle(text))
        elif format_name == "text" and os.environ.get("GITHUB_ACTIONS") == "true":
            # Lines of the files are shown, and the runner would take commands out of them.
            resume = secrets.token_hex(16)
            click.echo(f"::stop-commands::{resume}\n{text}::{resume}::")
        else:
            click.echo(text, nl=False)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if "github" in forms and summary:
        append_summary(report, Path(summary))


def _write_baseline(path: Path, baseline: Baseline, report: Report) -> None:
    """Write the baseline, unless it would leave out what nobody knows."""
    undecided = report.count(Status.UNDECIDED)
    if undecided:
        say_error(f"{path} is not written: there is no answer about {counted(undecided, 'image reference')}")
        sys.exit(NO_ANSWER)
    write_file(path, baseline.text())
    count = sum(baseline.entries.values())
    click.echo(f"{path}: {counted(count, 'finding')} written, which will not count from now on", err=True)
