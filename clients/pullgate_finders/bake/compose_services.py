"""Services of Compose files, which Bake reads as targets where they stand beside a Bake file.

A target of the same name is merged over the service, and targets inherit from services ("Building with Bake from a
Compose file"). What services pull themselves is found in the Compose files; here targets are made of them.
"""

import posixpath
from collections.abc import Iterator, Mapping

from pullgate_finders.bake.evaluation import Scalar, Scope
from pullgate_finders.bake.syntax import Literal
from pullgate_finders.bake.targets import Attribute, Target
from pullgate_finders.compose.interpolation import Variables
from pullgate_finders.compose.loading import Loader, directory_at
from pullgate_finders.compose.parts import Branch, Leaf
from pullgate_finders.compose.projects import NAMES
from pullgate_finders.port import Search
from pullgate_finders.tree import join
from pullgate_finders.values import Known

_SINGLE = {"dockerfile": "dockerfile", "dockerfile_inline": "dockerfile-inline", "target": "target"}
_SCOPE = Scope(definitions={}, given={})


def services_in(directory: str, search: Search) -> Mapping[str, Target]:
    """The services that are built, of the Compose files in a directory that Bake looks for, by the names of targets."""
    files = [path for name in NAMES if search.files.is_file(path := join(directory, name))]
    if not files:
        return {}
    loader = Loader(search=search, texts={})
    environment = join(directory, ".env")
    given = Variables(values={name: Known(value) for name, value in search.settings.variables.items()})
    variables = loader.variables([environment] if search.files.is_file(environment) else [], given, [])
    try:
        services = loader.project(files, directory, variables).services
    except RecursionError:
        return {}
    targets = (
        _target(name, build, directory) for name, service in services.branches() if (build := service.branch("build"))
    )
    return {target.name: target for target in targets}


def _target(name: str, build: Branch, directory: str) -> Target:
    arguments = build.branch("args")
    return Target(
        # A dot may stand in the name of a service, but not in that of a target (sanitizeTargetName).
        name=name.replace(".", "_"),
        place=build.at,
        single=dict(_single(build, directory)),
        keyed={
            "args": {
                key: _attribute(leaf)
                for key, leaf in (arguments.entries.items() if arguments else ())
                if isinstance(leaf, Leaf) and not leaf.is_empty
            }
        },
    )


def _single(build: Branch, directory: str) -> Iterator[tuple[str, Attribute]]:
    for key, name in _SINGLE.items():
        leaf = build.leaf(key)
        if leaf is not None:
            yield name, _attribute(leaf)
    context = build.leaf("context")
    if context is not None:
        text = context.text
        if isinstance(text, Known) and "://" not in text.value:
            path = directory_at(context.scope.directory, text.value)
            text = Known(posixpath.relpath(path or ".", directory or "."), text.how, text.overridable)
        at = Literal(place=context.place, raw=context.raw, text=None)
        yield "context", Attribute(value=Scalar(text, at), scope=_SCOPE)


def _attribute(leaf: Leaf) -> Attribute:
    at = Literal(place=leaf.place, raw=leaf.raw, text=None)
    return Attribute(value=Scalar(leaf.text, at), scope=_SCOPE)
