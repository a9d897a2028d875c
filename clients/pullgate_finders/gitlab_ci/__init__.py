"""GitLab CI: `.gitlab-ci.yml` and what it includes of the same project.

configuration.py    files, what they include, and how they are merged
jobs.py             jobs, what they extend, and what they run in
variables.py        `$NAME` and `$[[ inputs.name ]]`

Out of scope: images that commands name in a shell (`script: docker run …`), and the image that a runner takes for a
job that names none: its administrator sets that.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding, Trouble
from pullgate_finders.gitlab_ci.configuration import Configuration
from pullgate_finders.gitlab_ci.jobs import Jobs
from pullgate_finders.gitlab_ci.variables import Variables
from pullgate_finders.port import Search, UnreadableFileError
from pullgate_finders.tree import directory_of, join
from pullgate_finders.yaml_nodes import Node, ScalarNode, walk

__all__ = ["GitLabCIFinder"]

_MAIN = ".gitlab-ci.yml"
_NAME = re.compile(r"(?:.*/)?(?:[^/]*\.)?gitlab-ci\.ya?ml")
_KEYWORD = re.compile(
    r"^(?:stages|include|default|spec|workflow|before_script|\.[\w.-]+)[ \t]*:"
    r"|[ \t{,](?:script|trigger|extends)[ \t]*:"
    r"|(?:^|[ \t{,])(?:image|services)[ \t]*:(?:[ \t]*[^\s#]|\s*+(?:-|name[ \t]*:))",
    re.MULTILINE,
)
_OTHERS = re.compile(
    r"^(?:(?:apiVersion|jobs|pipelines)[ \t]*:|services[ \t]*:(?:[ \t\r]*(?:#[^\n]*)?\n)++[ \t]+[\w.-]+[ \t]*:)",
    re.MULTILINE,
)
"""What stands in files of Kubernetes, of others that run jobs, and of Compose, whose services are a mapping."""

MAX_DEPTH = 2
"""How deeply GitLab lets child pipelines nest."""

MAX_CHILDREN = 100
"""How many child pipelines are looked into."""


@dataclass(frozen=True, slots=True)
class GitLabCIFinder:
    """Finds references in `.gitlab-ci.yml`, in what it includes, and in templates (`*.gitlab-ci.yml`)."""

    name: str = "GitLab CI"

    def claims(self, path: str) -> bool:
        """Whether it is named as the configuration of a pipeline is, or a template of one."""
        return _NAME.fullmatch(path) is not None

    def recognises(self, text: str) -> bool:
        """Whether there are the keywords of a pipeline, and not those of another format."""
        return _KEYWORD.search(text) is not None and _OTHERS.search(text) is None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The references in the file and in what it includes. A template is read as part of what includes it."""
        main = _main_of(path, search)
        if main is not None and main != path:
            try:
                files, findings = _pipeline(main, search.files.read(main), search)
            except UnreadableFileError:
                files, findings = frozenset(), []
            if path in files:
                yield from (finding for finding in findings if finding.place.file == path)
                return
        yield from _pipeline(path, text, search, alone=path != main)[1]


def _main_of(path: str, search: Search) -> str | None:
    """The configuration of the project that a file is in; None if there is none."""
    if path.rpartition("/")[2] == _MAIN:
        return path
    directory = path
    while directory:
        directory = directory_of(directory)
        if search.files.is_file(join(directory, _MAIN)):
            return join(directory, _MAIN)
    return None


def _pipeline(path: str, text: str, search: Search, *, alone: bool = False) -> tuple[frozenset[str], list[Finding]]:
    """The files that belong to a pipeline, and what is found in them."""
    main = _main_of(path, search)
    configuration = Configuration(search=search, root=directory_of(main or ""), alone=alone)
    configuration.add(path, text, None)
    return _read(configuration, {}, (), set())


def _read(
    configuration: Configuration, given: Variables, above: tuple[frozenset[str], ...], seen: set[object]
) -> tuple[frozenset[str], list[Finding]]:
    """What is found in a configuration, and in the child pipelines that its jobs start.

    Args:
        given: variables of the pipeline that starts it.
        above: the files of the pipelines that led to it.
        seen: the child pipelines that were looked into, with their variables.
    """
    whole = configuration.merged()
    if whole is None:
        return configuration.files, configuration.findings
    jobs = Jobs(configuration=configuration, whole=whole, outer=given)
    findings = [*configuration.findings, *jobs.findings()]
    files = configuration.files
    above = (*above, files)
    for key, included, variables in jobs.bridges() if len(above) <= MAX_DEPTH else ():
        entry = (
            tuple(node.text for node in walk(included) if isinstance(node, ScalarNode)),
            frozenset(variables.items()),
        )
        if entry in seen:
            continue
        if len(seen) >= MAX_CHILDREN:
            problem = f"more than {MAX_CHILDREN} child pipelines are started; this one is not looked into"
            findings.append(Trouble(place=key.place, problem=problem))
            continue
        seen.add(entry)
        child = _child(configuration, key, included)
        if child.files in above:
            findings += child.findings
        else:
            child_files, child_findings = _read(child, variables, above, seen)
            files |= child_files
            findings += child_findings
    return files, findings


def _child(configuration: Configuration, key: ScalarNode, included: Node) -> Configuration:
    where = f"child pipeline of job {key.text} ({key.place.file}:{key.place.line})"
    child = Configuration(
        search=configuration.search,
        root=configuration.root,
        alone=configuration.alone,
        how=(*configuration.how, where),
    )
    child.include(included, ())
    return child
