"""Workflows and actions of a repository (GitHub's documentation: "Workflow syntax", "Metadata syntax")."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from pullgate_finders import dockerfile
from pullgate_finders.continuous_integration import documents
from pullgate_finders.dockerfile import Build
from pullgate_finders.found import Finding, Kind, Trouble
from pullgate_finders.github_actions.docker_actions import find_in_step
from pullgate_finders.github_actions.expressions import Value, Values
from pullgate_finders.github_actions.matrix import combinations, varies
from pullgate_finders.github_actions.scope import Scope, evaluated
from pullgate_finders.github_actions.steps import (
    DOCKER,
    Reading,
    Step,
    action_of,
    steps_of,
    variables,
)
from pullgate_finders.port import UnreadableFileError
from pullgate_finders.tree import directory_of, join
from pullgate_finders.values import Known, Unknown
from pullgate_finders.yaml_nodes import MappingNode, Node, ScalarNode, SequenceNode, walk

MAX_NESTING = 10
"""How many workflows or actions may use one another; GitHub allows as many."""

_CALLS = frozenset({"workflow_call", "workflow_dispatch"})

_Inputs = Mapping[str, Values]
_Read = Callable[[str, Reading, _Inputs], Iterator[Finding]]


def find_in_workflow(text: str, reading: Reading, given: _Inputs | None = None) -> Iterator[Finding]:
    """The references in a workflow.

    Args:
        given: the inputs of whoever calls it, by name in lower case; None where it is read on its own.
    """
    for document in documents(reading.files[-1], text):
        if isinstance(document, Trouble):
            yield document
        elif isinstance(document, MappingNode):
            scope = Scope(env=None, inputs=_inputs_of_workflow(document, given))
            common = variables(document.get("env"), replace(scope, env={}))
            for key, job in document.pairs("jobs"):
                if isinstance(job, MappingNode):
                    yield from _job(key, job, scope, common, reading)


def _job(
    key: ScalarNode, job: MappingNode, scope: Scope, common: Mapping[str, Values], reading: Reading
) -> Iterator[Finding]:
    within = f"job {key.text}"
    called = job.scalar("uses")
    wanted: Callable[[Node], bool] = _any
    for combination in combinations(job, scope):
        # GitHub offers env to the steps of a job alone, not to its container and services.
        outer = replace(scope, matrix=combination.values, matrix_otherwise=combination.otherwise)
        yield from _container(job.get("container"), Kind.IMAGE, outer, within, reading)
        services = job.get("services")
        if isinstance(services, ScalarNode):
            yield from reading.tell(services, Kind.SERVICE, evaluated(services, outer), within=within)
        for name, service in job.pairs("services"):
            yield from _container(service, Kind.SERVICE, outer, f"{within}, service {name.text}", reading)
        inner = replace(outer, env={**common, **variables(job.get("env"), outer)})
        for step in steps_of(job.items("steps"), inner, within, wanted):
            yield from _step(step, reading)
        if called is not None:
            yield from _called(called, job, outer, within, reading)
        if wanted is _any:
            # The other steps come to the same in every job of the matrix.
            wanted = frozenset(
                step for step in walk(job) if isinstance(step, MappingNode) and varies(step)
            ).__contains__


def _any(_: Node) -> bool:
    return True


def _container(node: Node | None, kind: Kind, scope: Scope, within: str, reading: Reading) -> Iterator[Finding]:
    """A container is an image, or a mapping with one; an expression may come to either."""
    if isinstance(node, MappingNode):
        node = node.get("image")
    if not isinstance(node, ScalarNode):
        return
    for value in evaluated(node, scope):
        if isinstance(value.content, MappingNode):
            image = value.content.scalar("image")
            images = () if image is None else evaluated(image, scope)
            images = tuple(replace(item, how=(*value.how, *item.how)) for item in images)
            yield from reading.tell(node, kind, _bare(images), within=within)
        else:
            yield from reading.tell(node, kind, _bare((value,)), within=within)


def _bare(values: Values) -> Values:
    """Images without `docker://`, which the runner allows before them."""
    return tuple(
        replace(value, content=value.content.removeprefix(DOCKER)) if isinstance(value.content, str) else value
        for value in values
    )


def _step(step: Step, reading: Reading) -> Iterator[Finding]:
    uses = step.uses
    if uses.text.startswith(DOCKER):
        image = uses.text.removeprefix(DOCKER)
        place = uses.place_within(len(DOCKER), len(uses.text))
        text = Unknown("GitHub allows no expressions in uses") if "${{" in image else Known(image)
        yield reading.tell_text(place, image, Kind.ACTION, text, within=step.within)
    elif uses.text.startswith("./"):
        yield from _local_action(step, reading)
    else:
        yield from find_in_step(step, action_of(uses), reading)


def _local_action(step: Step, reading: Reading) -> Iterator[Finding]:
    """An action of the repository: what is in its directory, given the inputs of the step."""
    located = step.locate(step.uses.text, reading.root)
    if isinstance(located, Unknown):
        return  # an action of another repository
    candidates = [join(located.value, name) for name in ("action.yml", "action.yaml", "Dockerfile")]
    path = next((path for path in candidates if reading.search.files.is_file(path)), None)
    if path is None:
        problem = f"there is no action.yml, action.yaml or Dockerfile in {step.uses.text}"
        yield Trouble(place=step.uses.place, problem=problem)
    elif path.endswith("Dockerfile"):
        build = Build(how=(*reading.how, step.where))
        yield from dockerfile.find_in_build(path, step.uses.place, reading.search, build)
    else:
        yield from _used(path, step.uses, step.where, _given(step.inputs, step.scope), reading, find_in_action)


def _called(uses: ScalarNode, job: MappingNode, scope: Scope, within: str, reading: Reading) -> Iterator[Finding]:
    """A workflow that a job calls: of this repository, given the inputs of the job, or of another one."""
    if not uses.text.startswith("./"):
        reason = "the workflow lies in another repository, and is not read here"
        yield reading.tell_text(uses.place, uses.text, Kind.INCLUDE, Unknown(reason), within=within)
        return
    where = f"{within} ({uses.place.file}:{uses.place.line})"
    given = _given(job.get("with"), scope)
    yield from _used(join(reading.root, uses.text), uses, where, given, reading, find_in_workflow)


def _given(node: Node | None, scope: Scope) -> _Inputs:
    entries = node.entries if isinstance(node, MappingNode) else ()
    given: dict[str, Values] = {}
    for key, item in entries:
        step = f"input {key.text} ({item.place.file}:{item.place.line})"
        given[key.text.lower()] = tuple(replace(value, how=(*value.how, step)) for value in evaluated(item, scope))
    return given


def _used(
    path: str, named_at: ScalarNode, where: str, given: _Inputs, reading: Reading, read: _Read
) -> Iterator[Finding]:
    """What a workflow or an action comes to that is used here."""
    if path in reading.files:
        way = " and ".join(reading.files[reading.files.index(path) :])
        yield Trouble(place=named_at.place, problem=f"{path} uses itself, by way of {way}")
        return
    if len(reading.files) > MAX_NESTING:
        yield Trouble(place=named_at.place, problem=f"more than {MAX_NESTING} workflows or actions use one another")
        return
    try:
        text = reading.search.files.read(path)
    except UnreadableFileError as error:
        yield Trouble(place=named_at.place, problem=str(error))
        return
    inner = replace(reading, files=(*reading.files, path), how=(*reading.how, where))
    yield from read(text, inner, given)


def find_in_action(text: str, reading: Reading, given: _Inputs | None = None) -> Iterator[Finding]:
    """The references in the description of an action: one that is an image, or one made of steps.

    Args:
        given: the inputs of the step that uses it, by name in lower case; None where it is read on its own.
    """
    path = reading.files[-1]
    for document in documents(path, text):
        if isinstance(document, Trouble):
            yield document
        elif isinstance(document, MappingNode):
            scope = Scope(inputs=_declared(document.pairs("inputs"), given))
            image = document.scalar("runs", "image")
            using = document.scalar("runs", "using")
            if image is not None and using is not None and using.text.lower() == "docker":
                yield from _image_of_action(image, path, reading)
            for step in steps_of(document.items("runs", "steps"), scope, ""):
                yield from _step(step, reading)


def _image_of_action(image: ScalarNode, path: str, reading: Reading) -> Iterator[Finding]:
    """`runs.image`: an image, or the Dockerfile that it is built from, relative to the action."""
    if image.text.startswith(DOCKER):
        raw = image.text.removeprefix(DOCKER)
        place = image.place_within(len(DOCKER), len(image.text))
        yield reading.tell_text(place, raw, Kind.ACTION, Known(raw), within="")
    else:
        build = Build(how=(*reading.how, f"action ({path}:{image.place.line})"))
        built = join(directory_of(path), image.text)
        yield from dockerfile.find_in_build(built, image.place, reading.search, build)


def _inputs_of_workflow(document: MappingNode, given: _Inputs | None) -> _Inputs:
    """What the inputs of a workflow come to, for each of the events that give some."""
    events = document.get("on")
    if not isinstance(events, MappingNode):
        return {}
    if given is not None:
        return _declared(document.pairs("on", "workflow_call", "inputs"), given)
    inputs: dict[str, Values] = {}
    has_others = any(key.text not in _CALLS for key, _ in events.entries)
    for event in sorted(_CALLS):
        declared = _declared(document.pairs("on", event, "inputs"), None)
        for name, values in declared.items():
            by_event = tuple(replace(value, or_empty=has_others) for value in values)
            inputs[name] = (*inputs.get(name, ()), *by_event)
    return inputs


def _declared(pairs: Sequence[tuple[ScalarNode, Node]], given: _Inputs | None) -> _Inputs:
    """What declared inputs come to: what is given, else their defaults."""
    return {
        key.text.lower(): (given or {}).get(key.text.lower()) or _default(key, node, is_used=given is not None)
        for key, node in pairs
    }


def _default(key: ScalarNode, node: Node, *, is_used: bool) -> Values:
    """What an input comes to that is not given.

    Args:
        is_used: whether it is known that it is not given; else another use may give it.
    """
    entries = node if isinstance(node, MappingNode) else None
    default = entries.get("default") if entries is not None else None
    if default is not None:
        step = f"default of input {key.text} ({default.place.file}:{default.place.line})"
        values = evaluated(default, Scope(env=None))
        own = tuple(Value(value.content, (step,), overridable=not is_used) for value in values)
    elif is_used:
        return (Value(""),)
    else:
        own = ()
    options = _options(key, entries, {value.content for value in own}) if entries is not None and not is_used else ()
    reason = f"input {key.text} has no default; whoever starts this gives it"
    return (*own, *options) or (Value(Unknown(reason)),)


def _options(key: ScalarNode, declaration: MappingNode, known: set[object]) -> Values:
    """The values that whoever starts a workflow by hand may choose from."""
    options = declaration.get("options")
    nodes = options.items if isinstance(options, SequenceNode) else ()
    return tuple(
        Value(node.text, (f"option of input {key.text} ({node.place.file}:{node.place.line})",), overridable=True)
        for node in nodes
        if isinstance(node, ScalarNode) and node.text not in known
    )
