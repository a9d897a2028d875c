"""GitHub Actions: workflows and actions.

workflows.py        jobs, their containers and services, and the actions of a repository
steps.py            steps, and where what they name lies
docker_actions.py   what Docker's own actions pull, said or not
matrix.py           the jobs of a matrix
scope.py            what expressions may refer to
expressions.py      `${{ … }}`

Out of scope: images that commands name in a shell (`run: docker run …`), the files of docker/bake-action (they are
read as Bake files), and actions of other repositories: whether such an action is an image itself stands in its own
action.yml, and to say of every `uses:` that this is not known here would bury what is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pullgate_finders.found import Finding
from pullgate_finders.github_actions.steps import Reading
from pullgate_finders.github_actions.workflows import find_in_action, find_in_workflow
from pullgate_finders.port import Search

__all__ = ["GitHubActionsFinder"]

_WORKFLOW = re.compile(r"(?:.*/)?\.github/workflows/[^/]+\.ya?ml")
_ACTION = re.compile(r"(?:.*/)?action\.ya?ml")
_EVENTS = re.compile(r"^[\"']?on[\"']?\s*:", re.MULTILINE)
_JOBS = re.compile(r"^[\"']?jobs[\"']?\s*:", re.MULTILINE)
_RUNS = re.compile(r"^[\"']?runs[\"']?\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GitHubActionsFinder:
    """Finds references in workflows (`.github/workflows/*.yml`) and in actions (`action.yml`)."""

    name: str = "GitHub Actions"

    def claims(self, path: str) -> bool:
        """Whether it is a workflow or an action by its name."""
        return (_WORKFLOW.fullmatch(path) or _ACTION.fullmatch(path)) is not None

    def recognises(self, text: str) -> bool:
        """Whether there are jobs and the events that start them, or what an action runs."""
        return ((_JOBS.search(text) and _EVENTS.search(text)) or _RUNS.search(text)) is not None

    def find(self, path: str, text: str, search: Search) -> Iterator[Finding]:
        """The references in it, and in what it uses of the same repository."""
        root = path.partition(".github/")[0].rstrip("/") if "/.github/" in f"/{path}" else ""
        reading = Reading(search=search, root=root, files=(path,))
        yield from (find_in_workflow if _JOBS.search(text) else find_in_action)(text, reading)
