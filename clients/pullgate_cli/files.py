"""Files on the command line: texts and policies that a person names, and how what is wrong with them is told."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from pullgate_cli.connecting import USAGE
from pullgate_policy import InvalidPolicyError, Policy, Problem, parse_policies_yaml

FILE = click.Path(path_type=Path, allow_dash=True)
"""An option or argument that names a file, or standard input as `-`."""


def name_of(file: Path) -> str:
    """The file as a person calls it."""
    return "standard input" if str(file) == "-" else str(file)


def read_text(file: Path) -> str:
    """The file's text; raises click.UsageError."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{name_of(file)} cannot be read: {error}") from error


def read_policies(files: Iterable[Path]) -> Sequence[Policy]:
    """The policies in files, of which each may hold several, and in the YAML files of folders.

    Tells all problems of all files and leaves, if there are any. One organization may have one policy.
    """
    problems: dict[Path, list[Problem]] = {}
    found: dict[str, tuple[Path, Policy]] = {}
    for file in (item for path in files for item in _policy_files(path)):
        try:
            policies = parse_policies_yaml(read_text(file))
        except InvalidPolicyError as error:
            problems[file] = list(error.problems)
            continue
        for policy in policies:
            first, _ = found.setdefault(policy.organization, (file, policy))
            if found[policy.organization][1] is not policy:
                problem = Problem("", f"{policy.organization} has a policy in {name_of(first)} already")
                problems.setdefault(file, []).append(problem)
    if problems:
        refuse("not a valid policy", problems)
    return [policy for _, policy in found.values()]


def refuse(what: str, problems: Mapping[Path, Iterable[Problem]]) -> NoReturn:
    """Say what is wrong in which file, and leave."""
    for file, items in problems.items():
        click.echo(f"{click.style(f'{what}:', fg='red', bold=True)} {name_of(file)}", err=True)
        for problem in items:
            click.echo(f"  {problem}", err=True)
    sys.exit(USAGE)


def _policy_files(path: Path) -> Iterator[Path]:
    """The file itself, or a folder's YAML files that are no tests of policies."""
    if not path.is_dir():
        yield path
        return
    files = [
        file
        for file in sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
        if not any(part.startswith(".") for part in file.relative_to(path).parts) and not _is_test(file)
    ]
    if not files:
        raise click.UsageError(f"there are no policies in {path}: no YAML files but tests")
    yield from files


def _is_test(file: Path) -> bool:
    """Whether a file beside policies holds tests of them, as `pullgate policy test` reads."""
    try:
        return any(line.startswith("cases:") for line in file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return False
