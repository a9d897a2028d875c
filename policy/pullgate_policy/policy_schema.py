"""The JSON Schema of policy documents, for editors and whatever writes policies."""

from pullgate_policy.document import Plain, Record
from pullgate_policy.policy import Policy


def policy_schema() -> dict[str, Plain]:
    """The JSON Schema (draft 2020-12) of a policy document, made from the definition that reads it.

    It never refuses what `parse_policy` reads, and `parse_policy` has the last word: some rules for texts, such as
    which names are reserved, no schema says.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:pullgate:policy",
        "title": "pullgate policy",
        **Record(Policy).json_schema(),
    }
