"""What nodes get on top of the client's settings, and never less than the client asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reserved import GHOST_FIELD, SEQ_FIELD, SHARD_FIELD
from miroir.core.writes.node_settings import node_settings, with_removed
from miroir.meili.settings import defaults

names = st.lists(st.text("abc", min_size=1, max_size=3), max_size=4)


@given(names, names, st.integers(0, 200_000), st.one_of(st.none(), st.integers(0, 5000)))
def test_the_clients_settings_stay_and_ours_are_added(filterable, sortable, values, cutoff):
    client = defaults() | {
        "filterableAttributes": filterable,
        "sortableAttributes": sortable,
        "searchCutoffMs": cutoff,
        "displayedAttributes": ["a"],
        "faceting": {"maxValuesPerFacet": values, "sortFacetValuesBy": {"*": "count"}},
    }
    got = node_settings(client)
    assert got["displayedAttributes"] == ["*"]
    assert got["rankingRules"] == [*client["rankingRules"], f"{SEQ_FIELD}:asc"]
    assert set(got["sortableAttributes"]) == {*sortable, SEQ_FIELD}
    assert got["filterableAttributes"][-len(filterable) :] == filterable or not filterable
    assert got["filterableAttributes"][0]["attributePatterns"] == [SHARD_FIELD]
    assert got["faceting"]["maxValuesPerFacet"] >= values
    assert got["faceting"]["sortFacetValuesBy"] == {"*": "count"}
    assert got["searchCutoffMs"] >= (cutoff or 1500)
    assert got["searchableAttributes"] == client["searchableAttributes"]
    assert client["displayedAttributes"] == ["a"], "the client's settings are not touched"


def test_exact_indexes_can_tell_ghosts_apart():
    rules = node_settings(defaults(), exact=True)["filterableAttributes"]
    assert any(rule["attributePatterns"] == [GHOST_FIELD] for rule in rules)


def test_distributions_stay_here_and_removed_embedders_are_named():
    embedder = {"source": "userProvided", "dimensions": 2, "distribution": {"mean": 0.5, "sigma": 0.1}}
    got = node_settings(defaults() | {"embedders": {"e": embedder}})
    assert got["embedders"] == {"e": {"source": "userProvided", "dimensions": 2}}
    patch = with_removed(got, {"embedders": {"e": embedder, "gone": embedder}})
    assert patch["embedders"] == {**got["embedders"], "gone": None}
