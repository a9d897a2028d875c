"""Policies as documents: the same structure in YAML, in JSON, in the API and in the database."""

import yaml

from pullgate_policy.document import Plain, Record
from pullgate_policy.errors import InvalidPolicyError, Problem
from pullgate_policy.policy import Policy
from pullgate_policy.yaml_text import InvalidYamlError, load_yaml, load_yaml_documents

_policy: Record[Policy] = Record(Policy)


def parse_policy(data: object) -> Policy:
    """The policy that plain data (from YAML, JSON or a message) means.

    Raises:
        InvalidPolicyError: with every problem and its path.
    """
    problems: list[Problem] = []
    policy = _policy.read(data, "", problems)
    if policy is None:
        raise InvalidPolicyError(problems)
    return policy


def parse_policy_yaml(text: str) -> Policy:
    """The policy that a YAML (or JSON) text means; raises InvalidPolicyError."""
    try:
        data = load_yaml(text)
    except InvalidYamlError as error:
        raise InvalidPolicyError([Problem("", str(error))]) from error
    if data is None:
        raise InvalidPolicyError([Problem("", "the document is empty; begin with organization: NAME")])
    return parse_policy(data)


def parse_policies_yaml(text: str) -> tuple[Policy, ...]:
    """The policies that a YAML text means, a document each, which lines of --- separate; raises InvalidPolicyError."""
    try:
        documents = [document for document in load_yaml_documents(text) if document is not None]
    except InvalidYamlError as error:
        raise InvalidPolicyError([Problem("", str(error))]) from error
    if not documents:
        raise InvalidPolicyError([Problem("", "the document is empty; begin with organization: NAME")])
    policies: list[Policy] = []
    problems: list[Problem] = []
    for number, document in enumerate(documents, start=1):
        try:
            policies.append(parse_policy(document))
        except InvalidPolicyError as error:
            place = f"document {number}: " if len(documents) > 1 else ""
            problems.extend(Problem(f"{place}{problem.path}", problem.description) for problem in error.problems)
    if problems:
        raise InvalidPolicyError(problems)
    return tuple(policies)


def policy_data(policy: Policy) -> Plain:
    """The policy as plain data with every setting spelled out; `parse_policy` gives an equal policy back."""
    return _policy.write(policy)


def policy_yaml(policy: Policy) -> str:
    """The policy as a YAML document with every setting spelled out."""
    return yaml.safe_dump(policy_data(policy), sort_keys=False, allow_unicode=True)
