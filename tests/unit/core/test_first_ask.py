"""Short lists that are said to suffice give the page that whole lists give."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.covering import Share
from miroir.core.reads.first_ask import first_limit, suffices
from miroir.core.reads.merging import SEQ_RULE, Hit, merge, repair_scores, take_hits
from miroir.core.reads.path_costs import repair_proximity
from miroir.core.reads.search_plan import plan_search
from miroir.core.reserved import encode_seq
from miroir.core.topology import NodeId
from miroir.meili.commands import SearchQuery
from tests.unit.core.views import IN_SYNC, index_view

SHARDS = 12
INDEX = index_view([{"n": IN_SYNC}] * SHARDS)


def share(count: int) -> Share:
    return Share(NodeId("n"), tuple(range(count)), None)


@st.composite
def shard_lists(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Lists of three nodes; each has a typo maximum of its own, and its own longest way, in every bucket."""
    lists: list[list[dict[str, Any]]] = []
    for node in range(3):
        most = {words: draw(st.integers(2, 4)) for words in (1, 2)}
        keys = draw(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 2), st.integers(1, 3)), max_size=14))
        hits = []
        for place, (words, typos, near) in enumerate(
            sorted(keys, key=lambda key: (-key[0], key[1], -key[2]))
        ):
            details = {
                "words": {"order": 0, "matchingWords": words, "maxMatchingWords": 2},
                "typo": {"order": 1, "typoCount": typos, "maxTypoCount": most[words]},
                "proximity": {"order": 2, "score": near / 4},
                SEQ_RULE: {"order": 3, "value": encode_seq(100 * node + place)},
            }
            score = (words - 1 + (most[words] - typos + near / 4) / (most[words] + 1)) / 2
            hits.append({"id": 100 * node + place, "_rankingScoreDetails": details, "_rankingScore": score})
        hits.sort(key=lambda hit: take_hits([copy.deepcopy(hit)], 0)[0].key)
        lists.append(hits)
    return lists


def page(lists: list[list[dict[str, Any]]], limits: list[int], depth: int) -> list[Any]:
    taken = taken_of(lists, limits)
    repair_scores(taken)
    repair_proximity(taken, 1, by_frequency=False)
    return [(hit.body, hit.score, hit.details) for hit in merge(taken, depth)]


def taken_of(lists: list[list[dict[str, Any]]], limits: list[int]) -> list[list[Hit]]:
    return [
        take_hits(copy.deepcopy(hits[:limit]), place)
        for place, (hits, limit) in enumerate(zip(lists, limits, strict=True))
    ]


@given(shard_lists(), st.lists(st.integers(1, 12), min_size=3, max_size=3), st.integers(8, 12))
def test_what_suffices_shows_the_same_page(
    lists: list[list[dict[str, Any]]], limits: list[int], depth: int
) -> None:
    plan = plan_search(INDEX, SearchQuery(q="knight", limit=depth))
    limits = [min(limit, depth) for limit in limits]
    if suffices(plan, taken_of(lists, limits), limits):
        assert page(lists, limits, depth) == page(lists, [depth] * 3, depth)


def test_less_is_asked_of_a_part_and_all_where_every_hit_counts() -> None:
    def limit(query: SearchQuery, shards: int = SHARDS // 3) -> int:
        return first_limit(plan_search(INDEX, query), share(shards))

    assert 7 <= limit(SearchQuery(q="a")) <= 15 < limit(SearchQuery(q="a"), SHARDS) == 20
    assert limit(SearchQuery(q="a", limit=5)) == 5
    assert limit(SearchQuery(q="a", distinct="series")) == 20
    assert limit(SearchQuery(q="a", ranking_score_threshold=0.5)) == 20
    assert limit(SearchQuery(q="a", offset=500)) == 520
    assert limit(SearchQuery(q="a", matching_strategy="frequency")) == 20
