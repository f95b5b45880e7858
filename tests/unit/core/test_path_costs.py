"""Proximities of shards that found ways of different length through a query."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.merging import SEQ_RULE, Hit, take_hits
from miroir.core.reads.path_costs import repair_proximity
from miroir.core.reads.scores import fold
from miroir.core.reserved import encode_seq


def hit(number: int, *, cost: int, largest: int, position: int, typos: int = 2) -> dict[str, Any]:
    """One hit of two words as a node shows it that rates proximity from 1 to `largest`."""
    rank = largest - cost
    ranks = [(2, 2), (4 - typos, 4), (rank, largest), (1, 1), (position, 21), (1, 3), (1, 3)]
    details = {
        "words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 2, "score": 1.0},
        "typo": {"order": 1, "typoCount": typos, "maxTypoCount": 3, "score": (4 - typos) / 4},
        "proximity": {"order": 2, "score": rank / largest},
        "attributeRank": {"order": 3, "score": 1.0},
        "wordPosition": {"order": 4, "score": position / 21},
        "exactness": {
            "order": 5,
            "matchType": "noExactMatch",
            "matchingWords": 0,
            "maxMatchingWords": 2,
            "score": 1 / 9,
        },
        SEQ_RULE: {"order": 6, "value": encode_seq(number)},
    }
    return {"id": number, "_rankingScore": fold(ranks), "_rankingScoreDetails": details}


def shown(hits: list[Hit]) -> list[tuple[float, float]]:
    return [(each.details["proximity"]["score"], round(each.score, 9)) for each in hits]


@given(st.integers(1, 21), st.integers(1, 21))
def test_a_short_way_is_rated_as_in_one_node(near: int, far: int) -> None:
    both = [hit(1, cost=2, largest=4, position=near)]  # this shard found the two words apart
    joined = [hit(2, cost=1, largest=2, position=far)]  # this one only their concatenation
    whole = [hit(2, cost=1, largest=4, position=far), hit(1, cost=2, largest=4, position=near)]
    lists = [take_hits(both, 0), take_hits(joined, 1)]
    repair_proximity(lists, 1, by_frequency=False)
    assert shown([*lists[1], *lists[0]]) == shown(take_hits(whole, 0))
    assert lists[1][0].key < lists[0][0].key


def test_other_buckets_are_left_alone() -> None:
    lists = [
        take_hits([hit(1, cost=2, largest=4, position=9, typos=3)], 0),
        take_hits([hit(2, cost=1, largest=2, position=9)], 1),
    ]
    before = [shown(hits) for hits in lists]
    repair_proximity(lists, 1, by_frequency=False)
    assert [shown(hits) for hits in lists] == before


def test_with_words_left_out_even_ways_without_typos_differ() -> None:
    def lists() -> list[list[Hit]]:
        near = hit(1, cost=1, largest=4, position=9, typos=0)  # here the words are neighbours in the query
        apart = hit(2, cost=0, largest=1, position=9, typos=0)  # one between them was left out
        return [take_hits([near], 0), take_hits([apart], 1)]

    left = lists()
    repair_proximity(left, 1, by_frequency=False)
    assert [shown(hits) for hits in left] == [shown(hits) for hits in lists()]
    repair_proximity(left, 1, by_frequency=True)
    whole = take_hits([hit(2, cost=0, largest=4, position=9, typos=0)], 0)
    assert shown(left[1]) == shown(whole)
    assert shown(left[0]) == shown(lists()[0])


def test_a_hit_that_fits_several_scales_says_nothing_about_others() -> None:
    """As nothing takes anything off what comes after the proximity, one of 1 looks like seven of seven."""
    perfect = hit(1, cost=0, largest=1, position=21, typos=0)
    details = perfect["_rankingScoreDetails"]
    details["exactness"] = {"order": 5, "matchType": "exactMatch", "score": 1.0}
    perfect["_rankingScore"] = 1.0
    other = hit(2, cost=0, largest=1, position=9, typos=0)
    lists = [take_hits([perfect], 0), take_hits([other], 1)]
    before = [shown(hits) for hits in lists]
    repair_proximity(lists, 1, by_frequency=True)
    assert [shown(hits) for hits in lists] == before
