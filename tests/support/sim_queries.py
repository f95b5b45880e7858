"""Random settings, documents and questions about them: everything a client may ask, errors included."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

INDEXES = ("films", "books")
#: few words, some a typo apart, some prefixes of others, one that splits into two
WORDS = (
    "amber", "ambers", "umber", "basil", "bas", "cedar", "cedars", "delta", "deltas", "ember", "sun", "flower",
    "sunflower", "river", "rivers", "night", "42", "2001", "the", "of",
)  # fmt: skip
GENRES = ("war", "love story", "myth", "éclair")
#: as documents spell them
SPELLINGS = (*GENRES, *GENRES, "Eclair")
FIELDS = (
    "id",
    "title",
    "overview",
    "genre",
    "tags",
    "year",
    "author",
    "author.name",
    "author.age",
    "unknown",
)
_MISSING = object()


def document(rng: random.Random, *, vectors: bool) -> dict[str, Any]:
    """One document; any field but the id may be missing or of another type."""
    number = rng.randrange(40)
    made: dict[str, Any] = {"id": number if rng.random() < 0.8 else f"key-{number}"}
    made["title"] = _text(rng, 1, 4)
    if rng.random() < 0.6:
        made["overview"] = _text(rng, 3, 12)
    if rng.random() < 0.8:
        made["genre"] = rng.choice((*SPELLINGS, None, ""))
    if rng.random() < 0.5:
        made["tags"] = rng.sample(SPELLINGS, rng.randint(0, 3))
    if rng.random() < 0.8:
        made["year"] = rng.choice((1990, 1990, 1990.5, 2001, 2001, -3, None, "late"))
    if rng.random() < 0.4:
        made["author"] = rng.choice(
            (
                {"name": _text(rng, 1, 2), "age": rng.choice((30, 40, "old"))},
                [{"name": "amber"}, {"age": 40}],
                {},
            )
        )
    if rng.random() < 0.4:
        made["_geo"] = {"lat": rng.choice((0, 1.5, 48.85)), "lng": rng.choice((0, 2, 2.35))}
    if vectors and rng.random() < 0.7:
        vector = [round(rng.uniform(-1, 1), 2), round(rng.uniform(-1, 1), 2)]
        made["_vectors"] = {"mine": rng.choice((vector, vector, None))}
    elif vectors:
        made["_vectors"] = {"mine": None}
    return made


def _text(rng: random.Random, least: int, most: int) -> str:
    words = rng.choices(WORDS, k=rng.randint(least, most))
    return rng.choice((" ", " ", " ", ", ", ". ")).join(words)


def settings(rng: random.Random) -> dict[str, Any]:
    """A change of one to five settings; now and then one that is refused."""
    names = rng.sample(sorted(_SETTINGS), k=rng.randint(1, 5))
    return {name: _SETTINGS[name](rng) for name in names}


def first_settings(rng: random.Random, *, vectors: bool) -> dict[str, Any]:
    """Settings that make most questions answerable."""
    made = settings(rng) | {
        "filterableAttributes": ["id", "genre", "tags", "year", "author", "_geo"],
        "sortableAttributes": ["year", "title", "_geo", "id"],
    }
    if vectors:
        made["embedders"] = {"mine": {"source": "userProvided", "dimensions": 2}}
    return made


def _some(*choices: Any) -> Callable[[random.Random], Any]:
    return lambda rng: rng.choice(choices)


def _rules(rng: random.Random) -> list[str] | None:
    rules = ["words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness"]
    dice = rng.random()
    if dice < 0.2:
        return None
    if dice < 0.5:
        rng.shuffle(rules)
        rules = rules[: rng.randint(1, 7)]
    if dice < 0.3:
        rules[rng.randrange(len(rules))] = "attribute"
    if rng.random() < 0.4:
        rules.insert(rng.randrange(len(rules) + 1), rng.choice(("year:desc", "title:asc", "author.age:asc")))
    return rules


_SETTINGS: dict[str, Callable[[random.Random], Any]] = {
    "searchableAttributes": _some(["*"], ["title"], ["overview", "title", "genre"], ["tags", "genre"], None),
    "displayedAttributes": _some(["*"], ["*"], ["id", "title", "year"], ["genre", "author.name"], None),
    "filterableAttributes": _some(
        ["id", "genre", "year"],
        ["genre", "tags", "_geo"],
        ["author.name", "year"],
        [{"attributePatterns": ["ye*", "genre"], "features": {"facetSearch": True, "filter": {"comparison": False}}}],
        ["*"],
    ),
    "sortableAttributes": _some(["year"], ["title", "year", "_geo"], ["author.age", "id"], None),
    "rankingRules": _rules,
    "stopWords": _some(["the", "of"], ["amber"], None),
    "synonyms": _some({"amber": ["basil"], "night": ["sun flower"]}, {"river": ["delta", "sun"]}, None),
    "distinctAttribute": _some("genre", "year", "author.name", "tags", None, None, None, None),
    "typoTolerance": _some(
        {"enabled": False},
        {"minWordSizeForTypos": {"oneTypo": 3, "twoTypos": 5}},
        {"disableOnWords": ["amber"], "disableOnAttributes": ["title"]},
        {"disableOnNumbers": True},
        None,
    ),
    "faceting": _some({"maxValuesPerFacet": 2}, {"sortFacetValuesBy": {"*": "count"}}, {"maxValuesPerFacet": 100}, None),
    "pagination": _some({"maxTotalHits": 5}, {"maxTotalHits": 30}, None),
    "separatorTokens": _some(["m"], None, None),
    "nonSeparatorTokens": _some([","], None, None),
    "dictionary": _some(["sun flower"], None, None),
    "proximityPrecision": _some("byAttribute", "byWord", None),
    "prefixSearch": _some("disabled", "indexingTime", None),
    "facetSearch": _some(False, True, True),
}  # fmt: skip

_FILTERS: tuple[Any, ...] = (
    "genre = war", "genre != war", "year > 1990", "year 1990 TO 2001", "year = 2001", "year EXISTS", "genre IS NULL",
    "genre IS EMPTY", "NOT genre = myth", "genre IN [war, myth] AND year >= 0", "id IN [1, 2, 3, key-4]", "tags = eclair",
    ["genre = war", ["year = 1990", "tags = myth"]], [["id = 5", "id = 6"]], "author.name = amber", "author.age > 35",
    "_geoRadius(48.85, 2.35, 300000)", "_geoBoundingBox([10, 10], [-1, -1])", "year NOT EXISTS", "genre STARTS WITH wa",
    "genre = 'love story' OR id = 1", "unknown = 1", "genre =", "year > many", "(genre = war", "", [], "id > 3 AND id < 30",
    "genre NOT IN [war]", "tags IS EMPTY", "year IS NOT NULL",
)  # fmt: skip
_SORTS: tuple[Any, ...] = (
    ["year:asc"], ["year:desc"], ["title:asc", "year:desc"], ["_geoPoint(48.8, 2.3):asc"], ["id:desc"], ["unknown:asc"],
    ["_geoPoint(0, 0):desc", "title:desc"], ["author.age:asc"], ["year"], [],
)  # fmt: skip


def query_text(rng: random.Random) -> str:
    """Words, prefixes, typos, phrases, exclusions, nothing."""
    parts = []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        word = rng.choice(WORDS)
        dice = rng.random()
        if dice < 0.2 and len(word) > 3:
            place = rng.randrange(1, len(word))
            word = word[:place] + rng.choice("aeiorst") + word[place + rng.randint(0, 1) :]
        elif dice < 0.35:
            word = word[: rng.randint(1, len(word))]
        elif dice < 0.42:
            word = f'"{word} {rng.choice(WORDS)}"'
        elif dice < 0.46:
            word = f"-{word}"
        parts.append(word)
    return " ".join(parts)


def _maybe(rng: random.Random, body: dict[str, Any], chance: float, name: str, *values: Any) -> None:
    if rng.random() < chance:
        body[name] = rng.choice(values)


def search(rng: random.Random, *, vectors: bool, inside: bool = False) -> dict[str, Any]:
    """Body of a search. `inside`: a query of a federation, which pages as a whole."""
    body: dict[str, Any] = {}
    if rng.random() < 0.85:
        body["q"] = query_text(rng)
    _maybe(rng, body, 0.35, "filter", *_FILTERS)
    _maybe(rng, body, 0.3, "sort", *_SORTS)
    if not inside:
        if rng.random() < 0.3:
            body |= {"page": rng.randint(0, 3), "hitsPerPage": rng.choice((0, 1, 3, 20))}
        else:
            _maybe(rng, body, 0.4, "limit", 0, 1, 3, 50, 2000)
            _maybe(rng, body, 0.3, "offset", 0, 1, 4, 35)
        _maybe(
            rng,
            body,
            0.3,
            "facets",
            ["genre"],
            ["genre", "year"],
            ["*"],
            ["tags", "unknown"],
            ["author.name"],
        )
    _maybe(rng, body, 0.12, "distinct", "genre", "year", "unknown", "author.name", "tags")
    _maybe(rng, body, 0.3, "matchingStrategy", "last", "all")
    _maybe(rng, body, 0.2, "attributesToRetrieve", ["id"], ["title", "author.name"], ["*"], [], ["unknown"])
    _maybe(rng, body, 0.15, "attributesToHighlight", ["*"], ["title", "genre"])
    _maybe(rng, body, 0.12, "attributesToCrop", ["overview"], ["*"], ["overview:2", "title"])
    _maybe(rng, body, 0.1, "cropLength", 2, 5)
    _maybe(rng, body, 0.15, "showMatchesPosition", True)
    _maybe(rng, body, 0.4, "showRankingScore", True)
    _maybe(rng, body, 0.25, "showRankingScoreDetails", True)
    _maybe(rng, body, 0.12, "rankingScoreThreshold", 0.2, 0.5, 0.9)
    _maybe(rng, body, 0.12, "attributesToSearchOn", ["title"], ["overview", "genre"], [])
    if vectors and rng.random() < 0.4:
        body["hybrid"] = {
            "embedder": rng.choice(("mine",) * 9 + ("other",)),
            "semanticRatio": rng.choice((0, 0.5, 1, 0.9)),
        }
        body["vector"] = rng.choice(([0.5, 0.5], [-1, 0.2], [0.1, 0.9], [1, 2, 3]))
        _maybe(rng, body, 0.3, "retrieveVectors", True)
    if rng.random() < 0.02:
        body[rng.choice(("limit", "q", "sort", "nonsense", "matchingStrategy"))] = rng.choice(
            (-1, True, "x", {"a": 1})
        )
    return body


def question(rng: random.Random, *, vectors: bool) -> tuple[str, str, Any]:
    """Any read: (method, path, body)."""
    index = rng.choice((*INDEXES, *INDEXES, *INDEXES, "ghost"))
    here = f"/indexes/{index}"
    dice = rng.random()
    if dice < 0.6:
        return "POST", f"{here}/search", search(rng, vectors=vectors)
    if dice < 0.68:
        queries = [
            {"indexUid": rng.choice(INDEXES)} | search(rng, vectors=vectors) for _ in range(rng.randint(1, 3))
        ]
        return "POST", "/multi-search", {"queries": queries}
    if dice < 0.78:
        return "POST", "/multi-search", _federation(rng, vectors=vectors)
    if dice < 0.84:
        body: dict[str, Any] = {"facetName": rng.choice(("genre", "tags", "year", "unknown"))}
        _maybe(rng, body, 0.7, "facetQuery", "w", "ecl", "lov", "wra", "")
        _maybe(rng, body, 0.3, "q", *WORDS)
        _maybe(rng, body, 0.3, "filter", *_FILTERS)
        return "POST", f"{here}/facet-search", body
    if dice < 0.93:
        body = {}
        _maybe(rng, body, 0.4, "filter", *_FILTERS)
        _maybe(
            rng,
            body,
            0.3,
            "sort",
            ["year:asc"],
            ["title:asc", "year:desc"],
            ["id:desc"],
            ["unknown:asc"],
            ["year"],
            ["_geoPoint(48.8, 2.3):asc"],
            ["year:asc", "_geoPoint(0, 1):desc"],
        )
        _maybe(rng, body, 0.3, "fields", ["id"], ["title", "year"], ["*"])
        _maybe(rng, body, 0.2, "ids", [1, 2, "key-3"], ["7"])
        _maybe(rng, body, 0.3, "offset", 0, 2, 50)
        _maybe(rng, body, 0.5, "limit", 0, 3, 1000)
        _maybe(rng, body, 0.3, "retrieveVectors", True)
        return "POST", f"{here}/documents/fetch", body
    if dice < 0.97:
        return "GET", f"{here}/documents/{rng.choice((1, 2, 3, 'key-1', 'no such', 999))}", None
    if vectors:
        body = {"id": rng.choice((1, 2, 3, "key-1")), "embedder": "mine"}
        _maybe(rng, body, 0.3, "filter", *_FILTERS)
        _maybe(rng, body, 0.3, "limit", 1, 5)
        _maybe(rng, body, 0.5, "showRankingScore", True)
        return "POST", f"{here}/similar", body
    return "GET", f"{here}/stats", None


def _federation(rng: random.Random, *, vectors: bool) -> dict[str, Any]:
    rng = random.Random(rng.getrandbits(32))  # what is asked here moves nothing that is asked later
    queries = []
    for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4))):
        uid = rng.choice((*INDEXES, *INDEXES, *INDEXES, *INDEXES, *INDEXES, "ghost"))
        query = {"indexUid": uid} | search(rng, vectors=vectors, inside=True)
        if rng.random() < 0.4:
            query["federationOptions"] = {"weight": rng.choice((0, 0.5, 1, 1, 2, 0.01))}
            _maybe(rng, query["federationOptions"], 0.03, "queryPosition", 0, 5)
        _maybe(
            rng,
            query,
            0.01,
            rng.choice(("limit", "page", "facets", "showPerformanceDetails")),
            1,
            ["genre"],
            True,
        )
        queries.append(query)
    if rng.random() < 0.6:  # half of all pairs rank by rules that cannot be compared
        for query in queries[1:]:
            query.pop("sort", None)
            query |= {name: queries[0][name] for name in ("sort", "matchingStrategy") if name in queries[0]}
    return {"federation": _federation_page(rng) | _federation_facets(rng), "queries": queries}


def _federation_page(rng: random.Random) -> dict[str, Any]:
    federation: dict[str, Any] = {}
    if rng.random() < 0.3:
        federation |= {"page": rng.randint(0, 3), "hitsPerPage": rng.choice((0, 1, 3, 20))}
        federation.pop(rng.choice(("page", "hitsPerPage", "both")), None)
    else:
        _maybe(rng, federation, 0.4, "limit", 0, 3, 50)
        _maybe(rng, federation, 0.3, "offset", 0, 2, 35)
    _maybe(rng, federation, 0.25, "distinct", "genre", "genre", "year", "author.name", "tags", "unknown")
    return federation


def _federation_facets(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.6:
        return {}
    facets = (
        ["genre"],
        ["genre"],
        ["year", "genre"],
        ["tags"],
        ["*"],
        ["ye*", "author"],
        ["unknown"],
        [],
        None,
    )
    federation: dict[str, Any] = {
        "facetsByIndex": {name: rng.choice(facets) for name in rng.sample(INDEXES, k=rng.choice((1, 2, 2)))}
    }
    _maybe(rng, federation["facetsByIndex"], 0.04, "ghost", ["genre"], None)
    _maybe(rng, federation, 0.5, "mergeFacets", {}, {"maxValuesPerFacet": 3}, {"maxValuesPerFacet": 1}, None)
    return federation
