"""How a category is known, for people and for programs."""

from pullgate_cli.moments import moment_data
from pullgate_policy import CategoryEvidence


def category_in_words(evidence: CategoryEvidence) -> str:
    """The category, and its sub-class if it is of one."""
    sub_class = f" ({evidence.community_class.value})" if evidence.community_class else ""
    return evidence.category.value + sub_class


def evidence_data(evidence: CategoryEvidence) -> dict[str, object]:
    """The evidence as `--json` has it; the category itself stands beside it."""
    return {
        "source": evidence.source,
        "detail": evidence.detail,
        "checked_at": moment_data(evidence.checked_at),
        "stale": evidence.stale,
        "refresh_at": moment_data(evidence.refresh_at),
        "community_class": evidence.community_class.name if evidence.community_class else None,
    }
