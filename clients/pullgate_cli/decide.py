"""`pullgate decide`: asks, and prints the answers for a person or for a program."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from pullgate_cli.connecting import NO_ANSWER, USAGE, connects, explain, say_error
from pullgate_cli.evidence import category_in_words, evidence_data
from pullgate_cli.identities import StatedIdentity, say_what_to_state, states_identity
from pullgate_cli.moments import moment_data
from pullgate_cli.references import explain_position, read_references
from pullgate_policy import Decision, Effect, Identity, InvalidReferenceError, Reason, parse_reference
from pullgate_policy.answer import Answer

if TYPE_CHECKING:
    import pullgate_client

DENIED = 1
"""Exit code: at least one image is denied."""

DETAILED = 5
"""Up to so many answers are printed with all their details; more are printed one a line, with a summary."""

REASONS = {
    Reason.POLICY_DISABLED: "organization {organization} restricts nothing",
    Reason.NOT_SIGNED_IN: "not signed in with organization {organization}, which does not require it",
    Reason.ORGANIZATION_OWNER: "owners of organization {organization} are exempt",
    Reason.NOT_GOVERNED: "not an image of Docker Hub, so image access does not govern it",
    Reason.ALLOWLISTED: "on the allowlist of organization {organization}",
    Reason.CATEGORY_ALLOWED: "{category} images are allowed by organization {organization}",
    Reason.CATEGORY_UNKNOWN: "its category is unknown, which organization {organization} allows",
}
"""What an ALLOW means in words; a denial has a message of its own."""


@click.command(
    epilog="""\b
Examples:
  pullgate decide nginx                        # for oneself, with a token of one's own
  pullgate decide --org acme --user dev nginx
  pullgate decide --org acme --user ada --team data-science someuser/tool:1.4 ghcr.io/a/b
  pullgate decide --org acme --anonymous --json nginx
  cat images.txt | pullgate decide --org acme --user ci -

\b
Exit codes (the highest that applies):
  0  all images are allowed
  1  at least one is denied
  2  wrong usage, or a text that is no image reference
  3  no decision was made: the service could not be asked, or had no answer"""
)
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
@states_identity
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connects
def decide(
    *,
    client: "pullgate_client.Client",
    references: Sequence[str],
    who: StatedIdentity,
    as_json: bool,
) -> None:
    """Ask whether an identity may use images. `-` reads references from standard input, one a line."""
    from pullgate_client import CallError

    identity = who.identity(client.connection.current_token())
    inputs = read_references(references)
    started = time.perf_counter()
    try:
        results = _ask(client, identity, inputs, who.asked)
    except CallError as error:
        say_what_to_state(error)
        results = _without_answers(client, inputs, error)
        if not as_json:
            _tell_once(error, results)
    seconds = time.perf_counter() - started
    if as_json:
        for text, result in zip(inputs, results, strict=True):
            click.echo(json.dumps({"input": text, **_data(result)}, ensure_ascii=False))
    elif len(results) <= DETAILED:
        for text, result in zip(inputs, results, strict=True):
            click.echo("\n".join(_detailed(text, result)))
    else:
        _print_list(inputs, results, seconds)
    sys.exit(max((_exit_code(result) for result in results), default=0))


def _ask(
    client: "pullgate_client.Client", identity: Identity | str, inputs: Sequence[str], organizations: Sequence[str]
) -> list[Any]:
    """A result for each input, in order. What is no reference is known here and not sent."""
    results: list[Any] = [_bad_reference(text) for text in inputs]
    asked = [index for index, result in enumerate(results) if result is None]
    if len(asked) == 1:
        results[asked[0]] = client.decide(identity, inputs[asked[0]], organizations=organizations)
    elif asked:
        answers = client.decide_all(identity, [inputs[index] for index in asked], organizations=organizations)
        for index, answer in zip(asked, answers, strict=True):
            results[index] = answer
    return results


def _tell_once(error: "pullgate_client.CallError", results: Sequence[Any]) -> None:
    """Say why there is no answer at all, and leave, unless there is more to say about single references."""
    if not any(isinstance(result, InvalidReferenceError) for result in results):
        say_error(error.message)
        sys.exit(_exit_code(error))


def _without_answers(
    client: "pullgate_client.Client", inputs: Sequence[str], error: "pullgate_client.CallError"
) -> list[Any]:
    """A result for each input when the service gave no answer at all."""
    error.message = explain(error, client.connection)
    return [_bad_reference(text) or error for text in inputs]


def _bad_reference(text: str) -> InvalidReferenceError | None:
    try:
        parse_reference(text)
    except InvalidReferenceError as error:
        return error
    return None


def _exit_code(result: Any) -> int:
    match result:
        case Answer():
            return DENIED if result.decision.effect is Effect.DENY else 0
        case InvalidReferenceError():
            return USAGE
        case _:
            return USAGE if result.code.name == "INVALID_ARGUMENT" else NO_ANSWER


def _data(result: Any) -> dict[str, Any]:
    """The result as plain data, in the API's names."""
    match result:
        case InvalidReferenceError():
            return {"error": {"code": "INVALID_ARGUMENT", "message": str(result)}}
        case Answer():
            return answer_data(result)
        case _:
            return {"error": {"code": result.code.name, "message": result.message}}


def answer_data(answer: Answer) -> dict[str, Any]:
    """The answer as plain data, in the API's names."""
    decision = answer.decision
    evidence = decision.evidence
    return {
        "effect": decision.effect.name,
        "policy_effect": decision.policy_effect.name,
        "enforced": decision.enforced,
        "reason": decision.reason.name,
        "message": decision.message,
        "help": decision.help,
        "category": evidence.category.name if evidence else None,
        "evidence": evidence_data(evidence) if evidence else None,
        "reference": str(decision.reference),
        "repository": str(decision.repository) if decision.repository else None,
        "organization": decision.organization,
        "matched_rule": decision.matched_rule,
        "policy_revision": answer.policy_revision,
        "decision_id": answer.decision_id,
        "cacheable_for": f"{answer.cacheable_for.total_seconds():g}s",
        "notes": list(answer.notes),
        "known_as_of": moment_data(answer.known_as_of),
    }


def _effect(decision: Decision) -> str:
    """ALLOW or DENY, in its colour and always of the same width."""
    if decision.effect is Effect.DENY:
        return click.style("DENY ", fg="red", bold=True)
    return click.style("ALLOW", fg="green" if decision.enforced else "yellow", bold=True)


def reason_in_words(decision: Decision) -> str:
    """The answer in words."""
    if decision.message:
        return decision.message if decision.enforced else f"monitor mode; enforcing it would be: {decision.message}"
    if decision.reason is Reason.NOT_GOVERNED and decision.matched_rule == "image_access.enabled":
        return f"organization {decision.organization} does not restrict images"
    category = decision.evidence.category.value if decision.evidence else ""
    # What a newer service says stands as a reason that is known here, perhaps beside an effect it never had.
    words = REASONS.get(decision.reason, "allowed by organization {organization}")
    return words.format(organization=decision.organization, category=category)


def _detailed(text: str, result: Any) -> Iterable[str]:
    match result:
        case InvalidReferenceError():
            yield f"{click.style('ERROR', fg='red', bold=True)}  {explain_position(result, indent=7)}"
        case Answer():
            decision = result.decision
            yield f"{_effect(decision)}  {decision.reference}"
            yield f"       {reason_in_words(decision)}"
            for name, value in _explanation(result):
                yield f"       {click.style(f'{name:<9}', dim=True)} {value}"
        case _:
            yield f"{click.style('ERROR', fg='red', bold=True)}  {text}\n       {result.message}"


def _explanation(answer: Answer) -> Iterable[tuple[str, str]]:
    decision = answer.decision
    evidence = decision.evidence
    if evidence is not None:
        word = category_in_words(evidence)
        source = f", says {evidence.source}" if evidence.source else ""
        detail = f": {evidence.detail}" if evidence.detail else ""
        checked = f" ({evidence.checked_at:%Y-%m-%d})" if evidence.checked_at else ""
        stale = ", stale" if evidence.stale else ""
        yield "category", f"{word}{source}{detail}{checked}{stale}"
    if decision.matched_rule:
        yield "rule", f"{decision.matched_rule} of {decision.organization} at revision {answer.policy_revision}"
    if decision.help:
        yield "help", decision.help
    for note in answer.notes:
        yield "note", note
    if answer.known_as_of is not None:
        yield "known", f"as of {answer.known_as_of:%Y-%m-%d %H:%M:%S} UTC: what is newer is out of reach"
    yield "decision", answer.decision_id


def _print_list(inputs: Sequence[str], results: Sequence[Any], seconds: float) -> None:
    width = min(max(map(len, inputs)), 60)
    for text, result in zip(inputs, results, strict=True):
        if isinstance(result, Answer):
            click.echo(f"{_effect(result.decision)}  {text:<{width}}  {reason_in_words(result.decision)}")
        else:
            problem = result.problem if isinstance(result, InvalidReferenceError) else result.message
            click.echo(f"{click.style('ERROR', fg='red', bold=True)}  {text:<{width}}  {problem}")
    denied = sum(_exit_code(result) == DENIED for result in results)
    failed = sum(_exit_code(result) > DENIED for result in results)
    allowed = len(results) - denied - failed
    click.echo(f"\n{allowed} allowed, {denied} denied, {failed} without a decision; asked in {seconds:.3f} s", err=True)
