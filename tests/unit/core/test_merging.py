"""Merging shards gives back the one list they were cut from."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.merging import SEQ_RULE, inverted, merge, repair_scores, take_hits
from miroir.core.reserved import encode_seq

sort_values = st.one_of(st.none(), st.floats(-1e6, 1e6), st.text(max_size=4))


@st.composite
def ranked_hits(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Hits of one node with the default rules and a sort, in an order the rules allow."""
    descending = draw(st.booleans())
    name = "price:desc" if descending else "price:asc"
    count = draw(st.integers(0, 25))
    hits = []
    for number in range(count):
        exact = draw(st.sampled_from(["exactMatch", "matchesStart", "noExactMatch"]))
        details: dict[str, Any] = {
            "words": {"order": 0, "matchingWords": draw(st.integers(1, 2)), "maxMatchingWords": 2},
            "typo": {"order": 1, "typoCount": draw(st.integers(0, 2)), "maxTypoCount": 2, "score": 0.5},
            name: {"order": 2, "value": draw(sort_values)},
            "exactness": {"order": 3, "matchType": exact, "score": 1.0},
            SEQ_RULE: {"order": 4, "value": encode_seq(number)},
        }
        hits.append({"id": number, "_rankingScoreDetails": details, "_rankingScore": 0.5})
    return sorted(hits, key=lambda hit: reference_key(hit, descending))


def reference_key(hit: dict[str, Any], descending: bool) -> tuple[Any, ...]:
    """The order by the words of the specification, written apart from the code under test."""
    details = hit["_rankingScoreDetails"]
    value = next(detail["value"] for name, detail in details.items() if name.startswith("price"))
    if value is None:
        place: tuple[Any, ...] = (2,)
    elif isinstance(value, str):
        codes = [ord(character) for character in value]
        place = (1, [-code for code in codes] + [1] if descending else codes)
    else:
        place = (0, -value if descending else value)
    kinds = ["exactMatch", "matchesStart", "noExactMatch"]
    return (
        -details["words"]["matchingWords"],
        details["typo"]["typoCount"],
        place,
        kinds.index(details["exactness"]["matchType"]),
        details[SEQ_RULE]["value"],
    )


@given(ranked_hits(), st.randoms(use_true_random=False), st.integers(0, 30))
def test_shards_merge_to_the_one_list(hits: list[dict[str, Any]], random: Any, limit: int) -> None:
    wanted = [hit["id"] for hit in hits][:limit]
    shards: list[list[dict[str, Any]]] = [[], [], []]
    for hit in hits:
        random.choice(shards).append(copy.deepcopy(hit))
    lists = [take_hits(shard, number) for number, shard in enumerate(shards)]
    assert [hit.body["id"] for hit in merge(lists, limit)] == wanted


@given(st.text(max_size=6), st.text(max_size=6))
def test_inverted_sorts_the_other_way(one: str, other: str) -> None:
    assert (inverted(one) < inverted(other)) == (one.encode() > other.encode())


def hit(words: int, typos: int, most: int, score: float, seq: int) -> dict[str, Any]:
    return {
        "_rankingScore": score,
        "_rankingScoreDetails": {
            "words": {"order": 0, "matchingWords": words, "maxMatchingWords": 2, "score": words / 2},
            "typo": {"order": 1, "typoCount": typos, "maxTypoCount": most, "score": 1 - typos / (most + 1)},
            SEQ_RULE: {"order": 2, "value": encode_seq(seq)},
        },
    }


def test_scores_take_the_largest_typo_maximum_of_their_bucket() -> None:
    # ranks of the first: words 2/2, typo 2/3 -> 5/6; with a maximum of 3 typos: 3/4 -> 7/8
    lists = [take_hits([hit(2, 1, 2, 5 / 6, 1)], 0), take_hits([hit(2, 0, 3, 1.0, 2)], 1)]
    repair_scores(lists)
    assert abs(lists[0][0].score - 7 / 8) < 1e-12
    assert lists[0][0].details["typo"] == {"order": 1, "typoCount": 1, "maxTypoCount": 3, "score": 0.75}
    assert lists[1][0].score == 1.0


def test_buckets_of_other_words_do_not_mix_their_maxima() -> None:
    lists = [take_hits([hit(1, 0, 1, 0.5, 1)], 0), take_hits([hit(2, 0, 3, 1.0, 2)], 1)]
    repair_scores(lists)
    assert lists[0][0].details["typo"]["maxTypoCount"] == 1


def test_geo_distances_and_missing_points() -> None:
    def at(distance: float | None, seq: int) -> dict[str, Any]:
        rule = {"order": 0, "value": None, "distance": distance}
        details = {"_geoPoint(1, 2):desc": rule, SEQ_RULE: {"order": 1, "value": encode_seq(seq)}}
        return {"seq": seq, "_rankingScore": 1.0, "_rankingScoreDetails": details}

    lists = [take_hits([at(900.0, 1), at(None, 0)], 0), take_hits([at(1000.0, 3), at(900.0, 2)], 1)]
    assert [hit.body["seq"] for hit in merge(lists)] == [3, 1, 2, 0]
