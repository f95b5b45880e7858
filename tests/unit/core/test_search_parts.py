"""Distinct, hybrid, federation, projection, scores, document lists: small worked cases."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.reads.covering import Share
from miroir.core.reads.distinct import deduplicate, duplicates_filter, needs_listing, shown_once
from miroir.core.reads.document_reads import fetch_body, merge_documents
from miroir.core.reads.federation_merge import QueryHits, federate, federate_index
from miroir.core.reads.hybrid_merge import keyword_suffices, mix, shift
from miroir.core.reads.merging import Hit
from miroir.core.reads.projection import Finisher, at_path, project, remove_path
from miroir.core.reads.scores import score_values
from miroir.core.reserved import SEQ_FIELD, SHARD_FIELD, encode_seq
from miroir.core.topology import NodeId
from miroir.meili.commands import DocumentsQuery
from tests.unit.core.views import index_view

TYPO = {"order": 1, "typoCount": 0, "maxTypoCount": 2, "score": 1.0}


def keyword_hit(seq: int, score: float, **body: Any) -> Hit:
    hit = Hit({"id": seq, **body}, {"typo": TYPO}, score, 0)
    hit.seq = encode_seq(seq)
    hit.key = (-score, hit.seq)
    return hit


def vector_hit(seq: int, similarity: float | None) -> Hit:
    hit = Hit({"id": seq}, {"vectorSort": {"order": 0, "similarity": similarity}}, similarity or 0.0, 0)
    hit.seq = encode_seq(seq)
    return hit


def ids(hits: list[Hit]) -> list[int]:
    return [hit.body["id"] for hit in hits]


def test_distinct_survivors_of_lists_and_types() -> None:
    values: list[Any] = [["a", "b"], ["b", "c"], ["c"], [], "-", "A", 1, "1", True, None]
    hits = [keyword_hit(number, 1.0, f=value) for number, value in enumerate(values)]
    kept, keys = deduplicate(hits, "f")
    assert ids(kept) == [0, 2, 3, 4, 6, 7, 8, 9]
    assert duplicates_filter("f", keys) == '"f" IN ["-", "1", "a", "b", "c", "true"]'
    assert duplicates_filter("f", [[]]) is None


def test_empty_strings_are_no_facets_but_shown_once_where_a_search_names_the_attribute() -> None:
    values: list[Any] = ["", ["a", ""], [["", "b"]], ["", 1], [["", "c"]], " ", [[" "]]]
    hits = [keyword_hit(number, 1.0, f=value) for number, value in enumerate(values)]
    kept, _ = deduplicate(hits, "f")
    assert ids(kept) == [0, 1, 2, 3, 4, 5]
    shown, dropped = shown_once(kept, "f")
    assert (ids(shown), ids(dropped)) == ([0, 2, 4], [1, 3, 5])
    assert needs_listing(hits[:1], "f", named=True)
    assert not needs_listing(hits[:1], "f", named=False)


def test_hybrid_takes_the_better_half_and_semantic_on_ties() -> None:
    keyword = [keyword_hit(1, 1.0), keyword_hit(2, 0.9), keyword_hit(5, 0.8)]
    semantic = [vector_hit(1, 1.0), vector_hit(4, 0.95), vector_hit(3, 0.5), vector_hit(6, None)]
    mixed = mix(keyword, semantic, 0.5, 1)
    assert ids(mixed) == [1, 4, 2, 5, 3, 6]
    assert "vectorSort" in mixed[0].details


def test_good_keyword_hits_suffice() -> None:
    assert keyword_suffices([keyword_hit(1, 0.9)], 1, 0.5)
    assert not keyword_suffices([keyword_hit(1, 0.89)], 1, 0.5)
    assert not keyword_suffices([keyword_hit(1, 1.0)], 2, 0.5)


def test_distribution_shifts_and_clamps() -> None:
    shape = {"mean": 0.7, "sigma": 0.2}
    assert abs(shift(0.7, shape) - 0.5) < 1e-6
    assert shift(1.0, {"mean": 0.1, "sigma": 0.1}) == 1.0
    assert 0.0 < shift(0.0, shape) < 1e-6


@given(st.floats(0, 1), st.integers(1, 3))
def test_one_run_of_rules_is_the_global_score(score: float, count: int) -> None:
    details = {"typo": TYPO, "_x:asc": {"order": 9, "value": 1.0}, "words": {"order": 0, "score": 1.0}}
    assert score_values(details, score, count) == [("score", score), ("sort", True, 1.0)]


def test_runs_around_a_sort_are_split_by_their_ranks() -> None:
    details = {
        "words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 2, "score": 1.0},
        "typo": {"order": 1, "typoCount": 1, "maxTypoCount": 2, "score": 2 / 3},
        "n:desc": {"order": 2, "value": "x"},
        "wordPosition": {"order": 3, "score": 20 / 21},
    }
    # ranks 2/2, 2/3, 20/21: ((1*3+1)*21+19+1)/(2*3*21) = 104/126
    values = score_values(details, 104 / 126, 1)
    assert [value[0] for value in values] == ["score", "sort", "score"]
    assert abs(values[0][1] - 5 / 6) < 1e-12
    assert abs(values[2][1] - 20 / 21) < 1e-12


def query_hits(uid: str, position: int, weight: float, *hits: Hit) -> QueryHits:
    return QueryHits(uid, position, position, weight, hits, 1)


def test_federation_weighs_deduplicates_and_keeps_order() -> None:
    books = [
        query_hits("books", 0, 1.0, keyword_hit(1, 0.9), keyword_hit(2, 0.5)),
        query_hits("books", 1, 0.5, keyword_hit(2, 1.0), keyword_hit(3, 0.2)),
    ]
    films = [query_hits("films", 2, 1.0, keyword_hit(1, 0.5))]
    found = federate([federate_index(books, 10, None).kept, federate_index(films, 10, None).kept], None)
    assert [(each.query.index_uid, each.hit.body["id"]) for each in found.kept] == [
        ("books", 1),
        ("books", 2),
        ("films", 1),
        ("books", 3),
    ]
    assert found.rejected == []
    assert len(federate_index(books, 1, None).kept) == 1


def test_federation_wide_distinct() -> None:
    books = [query_hits("books", 0, 1.0, keyword_hit(1, 0.9, g="x"))]
    films = [query_hits("films", 1, 1.0, keyword_hit(2, 0.8, g="X "), keyword_hit(3, 0.7, g="y"))]
    both = federate_index([*books, *films], 10, "g")  # as if they were one index
    apart = federate([federate_index(books, 10, "g").kept, federate_index(films, 10, "g").kept], "g")
    for found in (both, apart):
        assert [each.hit.body["id"] for each in found.kept] == [1, 3]
        assert [each.hit.body["id"] for each in found.rejected] == [2]


def test_runs_of_rules_are_told_apart_where_details_hide_how_many_words_are_exact() -> None:
    details = {
        "words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 2, "score": 1.0},
        "typo": {"order": 1, "typoCount": 0, "maxTypoCount": 2, "score": 1.0},
        "proximity": {"order": 2, "score": 0.5},
        "attributeRank": {"order": 3, "score": 1.0},
        "title:desc": {"order": 4, "value": "x"},
        "wordPosition": {"order": 5, "score": 19 / 21},
        "exactness": {"order": 6, "matchType": "matchesStart", "score": 2 / 3},
    }
    last = ((19 - 1) * 9 + (2 - 1) * 3 + 2) / (21 * 9)  # only one of two words is exact
    values = score_values(details, (22 - 1 + last) / 24, 1)
    assert values == [("score", 22 / 24), ("sort", False, "x"), ("score", last)]


def test_projection_hides_what_is_not_displayed() -> None:
    index = index_view(field_order=("id", "title", "tags"), displayedAttributes=["id", "title"])
    projection = project(index, None, highlight=("*",), crop=("secret", "title:3"), needed=("series.name",))
    assert projection.retrieve == ("id", "title", "series.name")
    assert projection.highlight == ("id", "title")
    assert projection.crop == ("title:3",)
    body = {
        "title": "T",
        "id": 1,
        SEQ_FIELD: "x",
        "series": {"name": "s"},
        "_formatted": {"title": "<em>T</em>", "id": "1", SHARD_FIELD: "x", "series": {"name": "s"}},
        "_matchesPosition": {"title": [], "secret": []},
    }
    finished = Finisher(projection).document(body)
    assert finished == {
        "id": 1,
        "title": "T",
        "_formatted": {"id": "1", "title": "<em>T</em>"},
        "_matchesPosition": {"title": []},
    }
    assert list(finished) == ["id", "title", "_formatted", "_matchesPosition"]
    details = {"secret:asc": {"order": 3, "value": 7}, "title:asc": {"order": 4, "value": "t"}}
    assert Finisher(projection).details(details) == {
        "<hidden-rule-3>": {"order": 3, "value": "<hidden>"},
        "title:asc": {"order": 4, "value": "t"},
    }


def test_paths() -> None:
    body = {"a": {"b": 1, "c": 2}, "x.y": 3, "l": [{"m": 4}, {"m": 5}, {}]}
    assert [at_path(body, path) for path in ("a.b", "x.y", "l.m", "q", "a.q")] == [1, 3, [4, 5], None, None]
    remove_path(body, "a.b")
    remove_path(body, "l.m")
    assert body == {"a": {"c": 2}, "x.y": 3}


def test_documents_merge_by_shown_sort_values_then_sequence() -> None:
    query = DocumentsQuery(offset=1, limit=2, sort=("n:desc",), fields=("t",))
    body = fetch_body(index_view(), query, Share(NodeId("n1"), (0,), None))
    assert body == {
        "offset": 0,
        "limit": 3,
        "sort": ["n:desc", "_miroir_seq:asc"],
        "fields": ["t", "_miroir_seq", "n"],
    }

    def document(seq: int, value: float, *, told: bool) -> dict[str, Any]:
        shown = (
            {"_federation": {"weightedScoreValues": [{"sort": {"asc": False, "value": value}}]}}
            if told
            else {}
        )
        return {"id": seq, "n": value, SEQ_FIELD: encode_seq(seq), **shown}

    for told in (True, False):
        lists = [[document(3, 9.0, told=told), document(1, 5.0, told=told)], [document(0, 5.0, told=told)]]
        assert [each["id"] for each in merge_documents(lists, query)] == [0, 1]
