"""Catalogues as documents."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullgate_policy import Category, CategoryEvidence, CommunityClass
from pullgate_policy.catalogue import CatalogueEntry, catalogue_yaml, parse_catalogue

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EVIDENCE = st.builds(
    lambda category, detail, checked_at: CategoryEvidence(
        category=category[0], community_class=category[1], source="catalogue", detail=detail, checked_at=checked_at
    ),
    st.sampled_from(
        [
            (Category.OFFICIAL, None),
            (Category.VERIFIED_PUBLISHER, None),
            (Category.COMMUNITY, None),
            (Category.COMMUNITY, CommunityClass.SPONSORED_OPEN_SOURCE),
        ]
    ),
    st.text(st.characters(exclude_categories=["C", "Z"]), max_size=50),
    st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
NAMES = st.from_regex(r"[a-z0-9]+(?:-[a-z0-9]+)?(?:/[a-z0-9]+)?", fullmatch=True)


@given(st.dictionaries(NAMES, EVIDENCE, max_size=5))
def test_what_is_exported_can_be_read(known: dict[str, CategoryEvidence]) -> None:
    """Whatever is known comes back from the catalogue that was written of it, with its words and its moment."""
    entries = [CatalogueEntry.of_evidence(name, evidence, NOW) for name, evidence in known.items()]
    read = {entry.name: entry.evidence("catalogue") for entry in parse_catalogue(catalogue_yaml(entries))}

    assert read == known


def test_an_export_says_who_said_so() -> None:
    """What another source than a catalogue said goes with that source's name."""
    evidence = CategoryEvidence(category=Category.COMMUNITY, source="docker-hub", detail="a user's namespace")
    entry = CatalogueEntry.of_evidence("someuser", evidence, NOW)

    assert (entry.source, entry.retrieved_at) == ("docker-hub: a user's namespace", NOW)


@pytest.mark.parametrize("category", [Category.UNKNOWN, Category.ORGANIZATION])
def test_no_entry_is_made_of_what_is_no_knowledge(category: Category) -> None:
    """A catalogue holds neither what is unknown nor whose namespace an organization's own is."""
    with pytest.raises(ValueError, match="is not a valid CatalogueCategory"):
        CatalogueEntry.of_evidence("someuser", CategoryEvidence(category=category), NOW)
