"""Hits as the real server gave them (reference, section I.3 and the observed facts of B and C)."""

from __future__ import annotations

from typing import Any

import pytest
from pyroaring import BitMap

from miroir.engine.index import Index
from miroir.engine.ranking.graph_rule import GraphRule
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import SkippedDetail
from miroir.engine.search import find
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery
from tests.unit.engine.searching import answer, ids, make_index, one_field

GREETINGS = ["hello", "hallo", "jello", "hell", "helo", "hlelo", "heello", "hellooo", "helloween", "helsinki"]
FOXES = ["the quick brown fox", "brown quick fox", "quick red brown", "fox", "quick. brown"]


def texts(index: Index, q: str, **members: Any) -> list[str]:
    return [hit["t"] for hit in answer(index, q, **members)["hits"]]


def typos(index: Index, q: str) -> dict[str, int]:
    return {hit["t"]: hit["_rankingScoreDetails"]["typo"]["typoCount"] for hit in answer(index, q)["hits"]}


def test_one_typo() -> None:
    """The first letter never counts as one typo; swaps, drops, additions and replacements do."""
    assert typos(one_field(GREETINGS), "hello ") == {
        "hello": 0,
        "hallo": 1,
        "hell": 1,
        "helo": 1,
        "hlelo": 1,
        "heello": 1,
    }
    assert {word for word, count in typos(one_field(GREETINGS), "hello").items() if count == 0} == {
        "hello",
        "hellooo",
        "helloween",
    }


def test_two_typos() -> None:
    """A wrong first letter counts as two."""
    words = ["application", "aplication", "abplication", "aplicaton", "bpplication", "pplication"]
    assert typos(one_field(words), "application ") == dict(zip(words, [0, 1, 1, 2, 2, 2], strict=True))


def test_words_without_typos_stay_targets() -> None:
    """`disableOnWords` is about query words only."""
    index = one_field(["hello", "hallo"], typoTolerance={"disableOnWords": ["hello"]})
    assert texts(index, "hello ") == ["hello"]
    assert texts(index, "hallo ") == ["hallo", "hello"]


def test_numbers_without_typos() -> None:
    """`disableOnNumbers`: only as written, or by prefix."""
    index = one_field(["12345", "12346"], typoTolerance={"disableOnNumbers": True})
    assert texts(index, "12345 ") == ["12345"]
    assert texts(index, "1234") == ["12345", "12346"]


def test_attributes_without_typos() -> None:
    """Words of such an attribute are found as written only."""
    documents = [{"id": 1, "t": "hullo"}, {"id": 2, "e": "hullo"}, {"id": 3, "t": "hallo"}]
    index = make_index(
        documents, searchableAttributes=["t", "e"], typoTolerance={"disableOnAttributes": ["e"]}
    )
    assert set(ids(index, "hullo ")) == {1, 2, 3}
    assert ids(index, "hullx ") == [1]


def test_synonyms() -> None:
    """Directional as configured; a key of several words works through its n-gram, at two typos."""
    synonyms = {"nyc": ["new york"], "new york": ["nyc"]}
    index = one_field(["nyc", "new york city", "york new"], synonyms=synonyms)
    assert typos(index, "nyc") == {"nyc": 0, "new york city": 0}
    assert typos(index, "new york") == {"new york city": 0, "york new": 0, "nyc": 2}


def test_split_takes_the_most_frequent_pair() -> None:
    """The pair of most documents, not the sensible one, and only one."""
    index = one_field(["sun flower", "sunf lower", "sunf lower", "sunflower"])
    assert typos(index, "sunflower ") == {"sunflower": 0, "sunf lower": 1}


def test_phrases_and_stop_words() -> None:
    """A stop word in a phrase stands for any word; a last stop word is a prefix."""
    titles = ["lord of the rings", "lord rings", "rings of lord"]
    index = one_field(titles, stopWords=["of", "the"])
    assert set(texts(index, '"lord of the rings"')) == set(titles)
    assert texts(index, '"lord rings"') == ["lord rings"]
    assert texts(index, "of the") == []
    assert texts(index, '"of the"') == titles


def test_stop_words_are_case_sensitive() -> None:
    """Classification happens before lower-casing."""
    index = one_field(["The cat", "the dog"], stopWords=["the"])
    assert texts(index, "The ") == ["The cat"]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("-fox", [3, 5]),
        ('-"quick brown" quick', [2, 3, 5]),
        ("quick -brown", []),
        ("fox-quick", [2, 1, 4]),
        ("fox -", [4, 1, 2]),
        ('"quick', [3, 5, 1, 2]),
        ('""', [1, 2, 3, 4, 5]),
        ('"quick. brown"', [5, 3, 1, 2]),
        ('quick "brown"', [1, 3, 2, 5]),
    ],
)
def test_negatives_and_phrases(q: str, expected: list[int]) -> None:
    """What a minus and quotes do."""
    assert ids(one_field(FOXES), q) == expected


@pytest.mark.parametrize(
    ("q", "expected"), [("1", {1, 3}), ("1.0", {1, 3}), ("-5", {1, 3}), ("5", {2}), ("1000", {3})]
)
def test_numbers_are_words(q: str, expected: set[int]) -> None:
    """Numbers are searched as JSON prints them."""
    documents = [{"id": 1, "n": 1.0}, {"id": 2, "n": -5}, {"id": 3, "n": 1000}]
    assert set(ids(make_index(documents, searchableAttributes=["n"]), q)) == expected


def test_ten_terms() -> None:
    """The eleventh word and what follows is ignored; a phrase is one term."""
    words = [f"w{i:02}" for i in range(12)]
    index = one_field([" ".join(words[:9]), " ".join(words)])
    hits = answer(index, " ".join(words) + " ")["hits"]
    assert [(h["id"], h["_rankingScoreDetails"]["words"]["matchingWords"]) for h in hits] == [(2, 10), (1, 9)]
    details = answer(index, '"' + " ".join(words[:11]) + '"')["hits"][0]["_rankingScoreDetails"]
    assert details["words"]["maxMatchingWords"] == 11


@pytest.mark.parametrize(
    ("names", "expected"), [(["a.b"], [1]), (["a"], [2]), (["a.*"], [1]), (["t"], []), (["*"], [1, 2])]
)
def test_searching_on_attributes(names: list[str], expected: list[int]) -> None:
    """A name covers exactly one path."""
    index = make_index(
        [{"id": 1, "a": {"b": "hello"}}, {"id": 2, "a": "hello"}], searchableAttributes=["a", "t"]
    )
    assert ids(index, "hello", attributes_to_search_on=tuple(names)) == expected


def test_unknown_attribute_to_search_on() -> None:
    """Refused when the searchable attributes are listed, ignored when everything is searchable."""
    documents = [{"id": 1, "a": {"b": "hello"}}, {"id": 2, "a": "hello"}]
    with pytest.raises(ApiError) as refused:
        ids(make_index(documents, searchableAttributes=["a", "t"]), "hello", attributes_to_search_on=("zz",))
    assert refused.value.code == "invalid_search_attributes_to_search_on"
    assert "`a, a.b`" in refused.value.message
    assert ids(make_index(documents), "hello", attributes_to_search_on=("zz",)) == []


def test_a_stored_prefix_is_not_found_reversed() -> None:
    """With 100 words sharing it, a prefix is resolved as a whole, and reversed order costs the most."""
    many = [f"ba{i:03}" for i in range(100)]
    rare, common = one_field(["bat fast", "fast bat"]), one_field(["bat fast", "fast bat", *many])

    def costs(index: Index) -> dict[int, float]:
        return {
            hit["id"]: hit["_rankingScoreDetails"]["proximity"]["score"]
            for hit in answer(index, "fast ba")["hits"]
            if hit["_rankingScoreDetails"]["words"]["matchingWords"] == 2
        }

    assert costs(rare) == {2: 1.0, 1: 0.75}
    assert costs(common) == {2: 1.0, 1: 0.25}


def test_frequency_strategy_drops_the_common_word() -> None:
    """The rarest word must match."""
    index = one_field(["common rare", "common", "common", "rare"])
    assert ids(index, "common rare ", matching_strategy="frequency") == [1, 4]
    assert ids(index, "common rare ", matching_strategy="all") == [1]


def test_threshold_keeps_the_best_hits() -> None:
    """Hits below are gone; page mode counts exactly."""
    index = one_field(["big red car", "big red", "big"])
    assert ids(index, "big red car ", ranking_score_threshold=0.6) == [1, 2]
    assert (
        answer(index, "big red car ", ranking_score_threshold=0.6, page=1, hits_per_page=1)["totalHits"] == 2
    )


def test_page_mode_members() -> None:
    """Exact totals, and no hits beyond the last page."""
    body = answer(one_field(["a", "a", "a"]), "a", page=2, hits_per_page=2)
    assert [hit["id"] for hit in body["hits"]] == [3]
    assert (body["hitsPerPage"], body["page"], body["totalPages"], body["totalHits"]) == (2, 2, 2, 3)


def test_only_reachable_hits_are_capped() -> None:
    """`maxTotalHits` limits hits, not the count."""
    body = answer(one_field(["a"] * 5, pagination={"maxTotalHits": 3}), "a")
    assert (len(body["hits"]), body["estimatedTotalHits"]) == (3, 5)


def test_late_search_comes_out_unsorted() -> None:
    """Without time left all hits are skipped, in docid order, with score 0."""
    found = find(one_field(["x a", "a"]), SearchQuery(q="a"), 10, is_late=lambda: True)
    assert list(found.docids) == [0, 1]
    assert [type(d).__name__ for d in found.details[0]] == ["SkippedDetail"]


def test_time_may_be_spent_anywhere() -> None:
    """Whenever the clock strikes, also within a rule, all hits come out, the sorted ones first."""
    index = one_field(
        ["sun flower fire fly", "sunflower firefly", "flower sun", "fire sun flower fly", "fly"]
    )
    query = SearchQuery(q="sun flower fire fly")
    in_time = find(index, query, 10)
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    find(index, query, 10, is_late=count)
    rules_skipped = set()
    for allowed in range(asked + 1):
        left = iter([False] * allowed)
        found = find(index, query, 10, is_late=lambda left=left: next(left, True))  # type: ignore[misc]
        assert set(found.docids) == set(in_time.docids)
        in_order = [
            docid
            for docid, details in zip(found.docids, found.details, strict=True)
            if not any(isinstance(detail, SkippedDetail) for detail in details)
        ]
        assert in_order == list(in_time.docids)[: len(in_order)]
        rules_skipped |= {len(details) for details in found.details if isinstance(details[-1], SkippedDetail)}
    assert in_order == list(in_time.docids)
    assert len(rules_skipped) > 3


def test_time_is_looked_at_within_a_rule() -> None:
    """A long query makes many paths of one cost: spent time ends the walk over them, not only the next bucket."""
    index = one_field(["a b c d e f g h i j"])
    buckets = 0
    next_bucket = GraphRule.next_bucket

    def counted(rule: GraphRule, universe: BitMap) -> Bucket | None:
        nonlocal buckets
        buckets += 1
        return next_bucket(rule, universe)

    asked = 0

    def is_late() -> bool:
        nonlocal asked
        asked += 1
        return asked > 30

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GraphRule, "next_bucket", counted)
        find(index, SearchQuery(q="a b c d e f g h i j"), 10, is_late=is_late)
    assert buckets < 10
    assert 30 < asked < 50


def test_a_text_shows_the_first_word_met_that_it_begins_with() -> None:
    """Words with one and two typos are met together, in byte order; words as typed before them."""
    index = one_field(["abcdefghi", "abcdefgh"])

    def shown(q: str) -> list[int]:
        hits = answer(index, q, show_matches_position=True)["hits"]
        return [hit["_matchesPosition"]["t"][0]["length"] for hit in hits]

    assert shown("abcdefghij") == [8, 8]
    assert shown("abcdefghi") == [9, 8]
