"""What holds of an image whose repository is known, and whose tag is not.

Of all that a policy says, entries of the allowlist alone can be narrowed by tag; so where none is about the repository,
what is denied is denied whatever the tag.
"""

from pullgate_cli.checking.deciding import Decider
from pullgate_cli.checking.report import Item, Result
from pullgate_cli.decide import reason_in_words
from pullgate_finders import Found
from pullgate_policy import Decision, Effect, Policy, Reason
from pullgate_policy.answer import Answer

_LIFTED_BY_ALLOWLIST = frozenset({Reason.CATEGORY_UNKNOWN, Reason.CATEGORY_NOT_ALLOWED})
"""Denials that come after the allowlist; it does not lift the others."""


def item_by_repository(finding: Found, result: Result, decider: Decider) -> Item:
    """What is unresolved, with what is known of it by the answer about its repository."""
    if not isinstance(result, Answer):
        return Item(finding=finding, result=result)
    about = _about(finding, result.decision, decider)
    return Item(finding=finding, about_repository=about) if about else Item(finding=finding, result=result)


def _about(finding: Found, decision: Decision, decider: Decider) -> str:
    """What is known of the repository, in a clause; empty where it is denied whatever the tag."""
    organization = decision.organization
    if decision.policy_effect is Effect.ALLOW:
        if decision.reason is Reason.ALLOWLISTED and ":" in decision.matched_rule.partition(": ")[2]:
            return f"organization {organization} allows some tags of its repository {finding.repository}"
        return f"its repository {finding.repository} is allowed"
    if decision.reason not in _LIFTED_BY_ALLOWLIST:
        return ""
    policy = decider.policy_of(organization)
    if policy is None:
        return (
            f"its repository {finding.repository} is denied ({reason_in_words(decision)}), unless the policy of "
            f"organization {organization}, which may not be read here, allows the tag"
        )
    if _narrows_by_tag(policy, decision):
        return f"organization {organization} denies its repository {finding.repository} but for some tags"
    return ""


def _narrows_by_tag(policy: Policy, decision: Decision) -> bool:
    """Whether an entry of the allowlist is about some tags of the repository that was decided about."""
    allowlist = policy.image_access.allowlist
    if decision.repository is None or not allowlist.enabled:
        return False
    return any(entry.repository.tags is not None for _, entry in allowlist.repositories.about(decision.repository))
