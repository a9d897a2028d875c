"""Files on the command line: texts and policies that a person names, and how what is wrong with them is told."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from pullgate_cli.connecting import USAGE
from pullgate_policy import InvalidPolicyError, Policy, Problem, parse_policies_yaml
from pullgate_policy.yaml_text import InvalidYamlError, load_yaml

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
    files = [file for file in yaml_files(path) if not _is_test(file)]
    if not files:
        raise click.UsageError(f"there are no policies in {path}: no YAML files but tests")
    yield from files


def yaml_files(folder: Path) -> Sequence[Path]:
    """A folder's YAML files, those in hidden folders left aside, in order."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in {".yaml", ".yml"}
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def has_cases(text: str) -> bool:
    """Whether a file is meant as tests. One that is no YAML is, if it looks so: it must not go missing unseen."""
    try:
        data = load_yaml(text)
    except InvalidYamlError:
        return re.search(r"^cases\s*:", text, re.MULTILINE) is not None
    return isinstance(data, dict) and "cases" in data


def _is_test(file: Path) -> bool:
    """Whether a file beside policies holds tests of them; one that cannot be read is told of when it is read."""
    try:
        return has_cases(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return False
