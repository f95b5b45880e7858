"""Costs and scores as the real server gave them (reference, section I.2)."""

from __future__ import annotations

from typing import Any

import pytest

from miroir.engine.index import Index
from tests.unit.engine.searching import answer, ids, make_index, one_field

KNIGHTS = [
    {"id": 1, "title": "dark knight", "body": "x"},
    {"id": 2, "title": "knight of dark", "body": "y"},
    {"id": 3, "title": "dark", "body": "knight"},
    {"id": 4, "title": "zz", "body": "dark knight"},
    {"id": 5, "title": "darkknight"},
    {"id": 6, "title": "darkk knights", "body": "z"},
    {"id": 7, "title": "the dark old grey knight"},
    {"id": 8, "title": "dark"},
]
CARS = [
    "big red car",
    "big red",
    "big",
    "red car",
    "big car",
    "bigred car",
    "bigredcar",
    "car red big",
    "big redcar",
]

#: One hit: id, words, typo, proximity, attributeRank, wordPosition, exactness, score. None: rule absent.
Row = tuple[int, str | None, str, float, float | None, float, str, float]


def knights() -> Index:
    return make_index(KNIGHTS, searchableAttributes=["title", "body"])


def cars(**settings: Any) -> Index:
    return one_field(CARS, **({"searchableAttributes": ["t"]} | settings))


def _shown(hit: dict[str, Any]) -> Row:
    details = hit["_rankingScoreDetails"]
    words, typo, exactness = details.get("words"), details["typo"], details["exactness"]
    exact: str = exactness["matchType"]
    if exact == "noExactMatch":
        exact = f"none {exactness['matchingWords']}/{exactness['maxMatchingWords']}"
    return (
        hit["id"],
        None if words is None else f"{words['matchingWords']}/{words['maxMatchingWords']}",
        f"{typo['typoCount']}/{typo['maxTypoCount']}",
        round(details["proximity"]["score"], 4),
        round(details["attributeRank"]["score"], 4),
        round(details["wordPosition"]["score"], 4),
        exact,
        round(hit["_rankingScore"], 10),
    )


KNIGHT_ROWS: list[tuple[str, dict[str, Any], int, list[Row]]] = [
    (
        "dark knight",
        {},
        7,
        [
            (1, "2/2", "0/3", 1, 1, 1, "exactMatch", 1),
            (4, "2/2", "0/3", 1, 0.3333, 1, "exactMatch", 0.9791666667),
            (2, "2/2", "0/3", 0.5, 1, 0.8571, "none 2/2", 0.9356812169),
            (7, "2/2", "0/3", 0.5, 1, 0.8571, "none 2/2", 0.9356812169),
            (3, "2/2", "0/3", 0.25, 0.6667, 0.9524, "none 2/2", 0.8950066138),
            (5, "2/2", "2/3", 0.5, 1, 0.9524, "none 0/2", 0.6856261023),
            (8, "1/2", "0/1", 1, 1, 1, "exactMatch", 0.5),
        ],
    ),
    (
        "dark knight",
        {"matching_strategy": "all"},
        6,
        [
            (4, None, "0/3", 1, 0.3333, 1, "exactMatch", 0.9583333333),
            (5, None, "2/3", 0.5, 1, 0.9524, "none 0/2", 0.3712522046),
        ],
    ),
    (
        "knight dark ",
        {},
        6,
        [
            (2, "2/2", "0/2", 0.75, 1, 0.9524, "none 2/2", 0.9572310406),
            (1, "2/2", "0/2", 0.75, 1, 0.9048, "none 2/2", 0.9565696649),
            (7, "2/2", "0/2", 0.25, 1, 0.9048, "none 2/2", 0.8732363316),
            (6, "1/2", "1/1", 1, 1, 0.9091, "none 0/1", 0.2291666667),
        ],
    ),
    (
        "dark knight",
        {"attributes_to_search_on": ("body",)},
        1,
        [(4, "2/2", "0/2", 1, 0.3333, 1, "exactMatch", 0.9722222222)],
    ),
]


@pytest.mark.parametrize(("q", "members", "total", "rows"), KNIGHT_ROWS)
def test_two_attributes(q: str, members: dict[str, Any], total: int, rows: list[Row]) -> None:
    """Every rule of the default list, over two attributes."""
    body = answer(knights(), q, **members)
    assert body["estimatedTotalHits"] == total
    shown = {hit["id"]: _shown(hit) for hit in body["hits"]}
    assert [shown[row[0]] for row in rows] == rows
    order = [hit["id"] for hit in body["hits"]]
    assert [i for i in order if i in {row[0] for row in rows}] == [row[0] for row in rows]


CAR_SCORES: list[tuple[str, dict[str, Any], list[tuple[int, float]]]] = [
    (
        "big red car ",
        {},
        [
            (1, 1),
            (8, 0.9795186892),
            (9, 0.8526881720),
            (6, 0.8521146953),
            (7, 0.7527479092),
            (2, 0.6666666667),
            (3, 0.3333333333),
            (5, 0.3282828283),
        ],
    ),
    ("big red ca", {}, [(1, 0.9998719918), (8, 0.9794930876), (6, 0.8520788530)]),
    ('"big red" car ', {}, [(1, 1), (2, 0.6666666667)]),
    ("bigredcar ", {}, [(7, 1), (9, 0.6414141414)]),
    ("bigredcar ", {"typoTolerance": {"enabled": False}}, [(7, 1), (9, 0.4621212121)]),
    (
        "redcar ",
        {"typoTolerance": {"enabled": False}},
        [(9, 0.9242424242), (4, 0.4621212121), (1, 0.4166666667)],
    ),
    (
        "big red car ",
        {"stopWords": ["red"]},
        [(1, 1), (5, 0.9867724868), (8, 0.9629629630), (2, 0.5), (3, 0.5), (9, 0.4924242424)],
    ),
    (
        "big car ",
        {"proximityPrecision": "byAttribute"},
        [(5, 1), (1, 0.9966931217), (8, 0.9927248677), (3, 0.5), (2, 0.4924242424), (9, 0.4924242424)],
    ),
]


@pytest.mark.parametrize(("q", "settings", "expected"), CAR_SCORES)
def test_one_attribute(q: str, settings: dict[str, Any], expected: list[tuple[int, float]]) -> None:
    """N-grams, splits, phrases and stop words against the server's scores."""
    hits = answer(cars(**settings), q)["hits"]
    scores = [(hit["id"], round(hit["_rankingScore"], 10)) for hit in hits]
    wanted = {number for number, _ in expected}
    assert [pair for pair in scores if pair[0] in wanted] == expected


@pytest.mark.parametrize(
    ("q", "members", "count"),
    [("big red car ", {}, 8), ('"big red" car ', {}, 2), ("bigredcar ", {}, 2)],
)
def test_number_of_hits(q: str, members: dict[str, Any], count: int) -> None:
    """Only suffixes of the query may be missing; a phrase never."""
    assert answer(cars(), q, **members)["estimatedTotalHits"] == count


def test_words_rule_is_put_first() -> None:
    """A relevancy rule before `words` pulls it forward; the details show it once."""
    index = cars(rankingRules=["typo", "exactness", "words"])
    details = answer(index, "big red car ")["hits"][0]["_rankingScoreDetails"]
    assert list(details) == ["words", "typo", "exactness"]


def test_attribute_rule_is_one_detail() -> None:
    """The combined rule shows both halves under one order."""
    index = make_index(
        KNIGHTS, searchableAttributes=["title", "body"], rankingRules=["words", "attribute", "typo"]
    )
    details = answer(index, "dark knight")["hits"][-1]["_rankingScoreDetails"]
    assert list(details["attribute"]) == [
        "order",
        "attributeRankingOrderScore",
        "queryWordDistanceScore",
        "score",
    ]
    assert [part["order"] for part in details.values()] == [0, 1, 2]


def test_proximity_costs() -> None:
    """Distances of two words, and what separates them for good."""
    texts = [
        "one two three",
        "one x two",
        "two one",
        "one x y two",
        "one x y z two",
        "one. two",
        ["one", "two"],
    ]
    hits = answer(one_field(texts, rankingRules=["words", "proximity"]), "one two ")["hits"]
    scores = {hit["id"]: hit["_rankingScoreDetails"]["proximity"]["score"] for hit in hits}
    assert scores == {1: 1.0, 2: 0.75, 3: 0.75, 4: 0.5, 5: 0.25, 6: 0.25, 7: 0.25}


def test_position_costs() -> None:
    """The further from the start, the worse, in coarse steps."""
    places = [0, 1, 2, 4, 5, 8, 12, 15, 16, 23, 24, 64, 65, 256, 257, 1025]
    texts = [" ".join(["x"] * place + ["word"]) for place in places]
    hits = answer(one_field(texts, rankingRules=["words", "wordPosition"]), "word ")["hits"]
    costs = {hit["id"]: 11 - round(11 * hit["_rankingScoreDetails"]["wordPosition"]["score"]) for hit in hits}
    expected = [0, 1, 2, 2, 3, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 10]
    assert [costs[i + 1] for i in range(len(places))] == expected


def test_attributes_have_no_rank_in_star_mode() -> None:
    """With `*` every field weighs the same."""
    documents = [{"id": 1, "a": "x", "b": "word"}, {"id": 2, "a": "word", "b": "x"}]
    assert ids(make_index(documents), "word") == [1, 2]


def test_ties_come_in_insertion_order() -> None:
    """Nothing but the docid breaks ties."""
    assert ids(one_field({9: "same", 3: "same", 5: "same"}), "same") == [9, 3, 5]
