"""The way through ranked buckets, gone again over a list, ends where a node's own way ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from miroir.core.reads.candidates import by_insertion, falls_in_score, listing, needs_everything, walk
from miroir.core.reads.merging import Hit
from miroir.core.reads.search_plan import plan_search
from miroir.engine.ranking.bucket_sort import Distinct, bucket_sort
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import VectorDetail
from miroir.meili.commands import Hybrid, SearchQuery
from miroir.meili.settings import DEFAULTS
from tests.unit.core.views import index_view


class Buckets:
    """A ranking rule with given buckets."""

    def __init__(self, buckets: Sequence[tuple[float, BitMap]]) -> None:
        self._buckets = iter(buckets)

    def start(self, universe: BitMap, graph: object) -> None:
        pass

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        for score, documents in self._buckets:
            if documents & universe:
                return Bucket(documents & universe, VectorDetail(score))
        return None


def distinct_by(values: Mapping[int, frozenset[str]]) -> Distinct:
    def apply(candidates: BitMap) -> tuple[BitMap, BitMap]:
        kept, excluded = BitMap(), BitMap()
        for docid in candidates:
            if docid not in excluded:
                excluded |= BitMap(d for d, mine in values.items() if mine & values[docid])
                kept.add(docid)
        return kept, excluded

    return apply


DOCUMENTS = st.lists(
    st.tuples(
        st.sampled_from((0.2, 0.5, 0.9)), st.integers(0, 3), st.frozensets(st.sampled_from("abc"), max_size=2)
    ),
    max_size=12,
)


@given(DOCUMENTS, st.integers(0, 6), st.sampled_from((None, 0.4, 0.95)), st.booleans(), st.booleans())
def test_a_list_is_walked_as_a_node_walks_its_buckets(
    documents: list[tuple[float, int, frozenset[str]]],
    depth: int,
    threshold: float | None,
    is_paged: bool,
    by_value: bool,
) -> None:
    buckets: dict[int, list[int]] = {}
    for docid, (_, bucket, _) in enumerate(documents):
        buckets.setdefault(bucket, []).append(docid)
    scores = {bucket: documents[docids[0]][0] for bucket, docids in buckets.items()}
    values = {docid: mine for docid, (_, _, mine) in enumerate(documents)}
    distinct = distinct_by(values) if by_value else None
    theirs = bucket_sort(
        [Buckets([(scores[bucket], BitMap(buckets[bucket])) for bucket in sorted(buckets)])],
        None,
        BitMap(range(len(documents))),
        depth,
        distinct=distinct,
        threshold=threshold,
        evaluate_max=100 if is_paged and threshold is not None else None,
    )
    counted = theirs.candidates
    if is_paged and distinct is not None:
        counted = distinct(counted)[0]

    everything = listing(
        [
            hit(docid, bucket, scores[bucket], values[docid])
            for bucket in sorted(buckets)
            for docid in buckets[bucket]
        ],
        "tag" if by_value else None,
    )
    ours = walk(everything, depth, threshold, whole=is_paged)
    found = by_insertion(everything, ours.counted) if is_paged else ours.counted
    assert [int(each.seq) for each in ours.hits] == theirs.docids
    assert sorted(int(seq) for seq in found) == list(counted)


def hit(docid: int, bucket: int, score: float, values: frozenset[str]) -> Hit:
    made = Hit({"tag": sorted(values)}, {}, score, 0)
    made.seq = f"{docid:03}"
    made.key = (bucket, made.seq)
    return made


def plan(query: SearchQuery, *, semantic: bool = False, **settings: Any) -> Any:
    index = index_view(**{**DEFAULTS, "filterableAttributes": ["tag"], **settings})
    return plan_search(index, query, kind="semantic" if semantic else "keyword")


@pytest.mark.parametrize(
    ("query", "rules", "semantic", "falls"),
    [
        (SearchQuery(q="a"), ["words", "sort", "typo"], False, True),
        (SearchQuery(q="a", sort=("n:asc",)), ["words", "sort", "typo"], False, False),
        (SearchQuery(q="a", sort=("n:asc",)), ["words", "typo", "sort"], False, True),
        (SearchQuery(q="a"), ["n:desc", "words"], False, False),
        (SearchQuery(), ["n:desc", "words"], False, True),
        (SearchQuery(vector=(1.0,), hybrid=Hybrid("e", 1.0)), ["words", "n:desc", "typo"], True, True),
        (SearchQuery(vector=(1.0,), hybrid=Hybrid("e", 1.0)), ["n:desc", "words"], True, False),
    ],
)
def test_scores_fall_where_nothing_is_sorted_before_words(
    query: SearchQuery, rules: list[str], semantic: bool, falls: bool
) -> None:
    assert falls_in_score(plan(query, semantic=semantic, rankingRules=rules)) is falls


def test_plain_searches_are_never_listed() -> None:
    for query in (
        SearchQuery(q="a", facets=("tag",)),
        SearchQuery(q="a", page=2),
        SearchQuery(q="a", ranking_score_threshold=0.5),
        SearchQuery(q="a", distinct="tag"),
    ):
        assert not needs_everything(plan(query), counted=True)
