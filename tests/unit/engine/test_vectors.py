"""Vectors: what documents may send, what stays over updates, similarity, hybrid merges as observed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from miroir.engine.hybrid import VectorSortRule, compare_values, is_good_enough, merge_hybrid
from miroir.engine.ranking.score import RankDetail, SortDetail, VectorDetail
from miroir.engine.vectors import Distribution, Embedder, VectorIndex
from miroir.meili.codes import ApiError
from miroir.meili.document_payload import Format, read_documents
from miroir.meili.vector_forms import keep_wrong_entries

SETTINGS = {"embedders": {"e": {"source": "userProvided", "dimensions": 2}}}
EMPTY = VectorIndex().rebuilt(SETTINGS, {})


def document(vectors: Any) -> dict[str, Any]:
    return {"id": "7", "_vectors": {"e": vectors}}


def added(index: VectorIndex, docid: int, sent: dict[str, Any]) -> VectorIndex:
    return index.updated(SETTINGS, [(docid, None, sent)], "id")


@pytest.mark.parametrize(
    ("vectors", "embeddings", "regenerate"),
    [
        ([1, 2], [[1.0, 2.0]], False),
        ([[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]], False),
        ({"embeddings": [1, 2], "regenerate": True}, [[1.0, 2.0]], True),
        (None, [], False),
    ],
)
def test_every_form_of_vectors(vectors: Any, embeddings: list[list[float]], regenerate: bool) -> None:
    index = added(EMPTY, 0, document(vectors))
    assert index.shown(0, {"e": vectors, "other": [0]}) == {
        "e": {"embeddings": embeddings, "regenerate": regenerate},
        "other": [0],
    }


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        ({"id": "7"}, "vector_embedding_error", "no vectors provided for document `7`\n- Note: `e` has"),
        (document({"regenerate": True}), "vector_embedding_error", "no vectors provided"),
        (document([1, 2, 3]), "invalid_vector_dimensions", "embedding #0 has dimensions 3"),
        (document(["a"]), "invalid_vectors_type", 'expected a number or an array, but found a string: `"a"`'),
        (document("x"), "invalid_vectors_type", "Expected `._vectors.e` to be an array of floats"),
        (document({"embeddings": [1, 2]}), "invalid_vectors_type", "Missing field `._vectors.e.regenerate`"),
        (
            {"id": "7", "_vectors": 3},
            "internal",
            "invalid type: integer `3`, expected a map at line 1 column 1",
        ),
        (
            {"id": "7", "_vectors": ""},
            "internal",
            'invalid type: string "", expected a map at line 1 column 2',
        ),
        (
            {"id": "7", "_vectors": [1]},
            "internal",
            "invalid type: sequence, expected a map at line 1 column 0",
        ),
    ],
)
def test_refusals(sent: dict[str, Any], code: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        added(EMPTY, 0, sent)
    assert refused.value.code == code
    assert message in refused.value.message


def test_replacing_a_document_without_vectors_keeps_its_own() -> None:
    index = added(EMPTY, 0, document([1, 2]))
    kept = index.updated(SETTINGS, [(0, document([1, 2]), {"id": "7"})], "id")
    assert kept.embedders["e"].vectors_of(0) == [[1.0, 2.0]]
    gone = kept.updated(SETTINGS, [(0, {"id": "7"}, None)], "id")
    assert not gone.embedders["e"].documents
    with pytest.raises(ApiError):
        added(gone, 0, {"id": "7"})


vectors = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), max_size=3)


@given(st.lists(st.tuples(st.integers(0, 4), vectors | st.none()), max_size=12))
def test_versions_share_rows_but_never_see_each_other(
    history: list[tuple[int, list[tuple[int, int]] | None]],
) -> None:
    index, model = EMPTY, dict[int, list[list[float]]]()
    versions = []
    for docid, sent in history:
        change = None if sent is None else document([list(v) for v in sent])
        index.updated(SETTINGS, [(docid, None, document([9, 9]))], "id")  # a batch that is dropped
        index = index.updated(SETTINGS, [(docid, None, change)], "id")
        if sent is None:
            model.pop(docid, None)
        else:
            model[docid] = [[float(x) for x in v] for v in sent]
        versions.append((index, dict(model)))
    for version, expected in versions:
        embedder = version.embedders["e"]
        assert {docid: embedder.vectors_of(docid) for docid in embedder.known} == expected
        assert set(embedder.documents) == {docid for docid, own in expected.items() if own}
        assert version.embedding_count == sum(map(len, expected.values()))


def filled(quantized: bool = False, distribution: Distribution | None = None) -> Embedder:
    """Documents 1 to 6; 5 has no vector, 4 has two."""
    texts = {1: [[1, 0]], 2: [[0.9, 0.1]], 3: [[0, 1]], 4: [[-1, 0], [0.8, 0.2]], 5: None, 6: [[-1, 0]]}
    index = EMPTY.updated(SETTINGS, [(docid, None, document(v)) for docid, v in texts.items()], "id")
    embedder = index.embedders["e"]
    return Embedder(
        2,
        quantized,
        distribution,
        embedder.rows,
        embedder.length,
        embedder.dead,
        embedder.rows_of,
        embedder.documents,
    )


def test_similarity_is_half_of_one_plus_cosine_and_the_best_vector_counts() -> None:
    near = filled().nearest_by_slot([1, 0], BitMap(range(1, 7)), 6)
    assert [docid for docid, _ in near] == [1, 2, 4, 3, 4, 6]
    found = dict(reversed(near))
    assert found[1] == 1.0
    assert found[3] == 0.5
    assert found[6] == 0.0
    assert found[4] == pytest.approx((1 + 0.8 / (0.68**0.5)) / 2, abs=1e-6)


def test_rule_gives_documents_without_vector_last() -> None:
    rule, left = VectorSortRule(filled(), [1, 0], 6), BitMap(range(1, 7))
    rule.start(left, None)
    order: list[tuple[list[int], float | None]] = []
    while left and (bucket := rule.next_bucket(left)) is not None:
        assert isinstance(bucket.detail, VectorDetail)
        order.append((list(bucket.docids), bucket.detail.similarity))
        left -= bucket.docids
    assert [docids for docids, _ in order] == [[1], [2], [4], [3], [6], [5]]
    assert order[-1][1] is None


def test_distribution_shifts_and_clamps() -> None:
    shift = Distribution(mean=0.7, sigma=0.1)
    assert shift.shifted(0.7) == pytest.approx(0.5, abs=1e-6)
    assert shift.shifted(0.1) == pytest.approx(1.1920929e-07)
    assert shift.shifted(1.0) == 1.0


def keyword(*scores: tuple[int, int]) -> list[tuple[int, list[RankDetail]]]:
    return [(docid, [RankDetail("words", percent, 100)]) for docid, percent in scores]


def semantic(*scores: tuple[int, float]) -> list[tuple[int, list[VectorDetail]]]:
    return [(docid, [VectorDetail(similarity)]) for docid, similarity in scores]


def test_hybrid_prefers_the_semantic_list_on_ties_and_keeps_each_document_once() -> None:
    merged = merge_hybrid(
        keyword((1, 100), (5, 98), (3, 10)),
        semantic((1, 1.0), (2, 0.997), (4, 0.985), (3, 0.5), (6, 0.0)),
        ratio=0.5,
        offset=0,
        limit=10,
    )
    assert [docid for docid, _ in merged.hits] == [1, 2, 4, 5, 3, 6]
    assert merged.semantic_count == 5


def test_keyword_list_is_enough_only_when_full_and_good() -> None:
    assert is_good_enough(keyword((1, 100), (2, 90)), 2, 0.5)
    assert not is_good_enough(keyword((1, 100), (2, 89)), 2, 0.5)
    assert not is_good_enough(keyword((1, 100)), 2, 0.5)


def test_a_zero_score_loses_against_a_sort_value_and_a_longer_list_wins() -> None:
    value = SortDetail("p", True, 1.0)
    assert compare_values([0.0], [value], 1, 1) < 0
    assert compare_values([0.1], [value], 1, 1) > 0
    assert compare_values([0.5, value], [0.5], 1, 1) > 0
    assert compare_values([value], [SortDetail("p", True, "a")], 1, 1) > 0


def test_every_slot_of_vectors_gives_its_own_nearest() -> None:
    near = filled().nearest_by_slot([1, 0], BitMap(range(1, 7)), 1)
    assert [docid for docid, _ in near] == [1, 4]


def test_a_document_is_compared_slot_by_slot() -> None:
    near = filled().near_document(4, BitMap([1, 2, 3, 6]), 5)
    assert [docid for docid, _ in near] == [6, 3, 2, 1]


def test_rule_looks_for_more_when_the_nearest_are_used_up() -> None:
    rule, left = VectorSortRule(filled(), [1, 0], 1), BitMap([1, 2, 3])
    rule.start(left, None)
    order = []
    while left and (bucket := rule.next_bucket(left)) is not None:
        order += list(bucket.docids)
        left -= bucket.docids
    assert order == [1, 2, 3]


@pytest.mark.parametrize("sent", [1, None, "x", [], True])
def test_vectors_that_are_no_object_are_refused_whatever_embedders_there_are(sent: object) -> None:
    with pytest.raises(ApiError) as refused:
        VectorIndex().updated({}, [(0, None, {"id": 1, "_vectors": sent})])
    assert refused.value.code == "internal"
    assert ", expected a map at line 1 column " in refused.value.message


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"x": 1}, "Could not parse `._vectors.f`: trailing characters at line 1 column 5"),
        (
            {"regenerate": True, "z": 1},
            "Could not parse `._vectors.f`: trailing characters at line 1 column 23",
        ),
        (
            {"regenerate": None},
            "Could not parse `._vectors.f.regenerate`: invalid type: null, expected a boolean at line 1 column 18",
        ),
        (1e2, "but got the number `100`"),
    ],
)
def test_the_form_of_vectors_without_an_embedder_is_checked_as_observed(sent: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        VectorIndex().updated({}, [(0, None, {"id": 7, "_vectors": {"f": sent}})], "id")
    assert caught.value.code == "invalid_vectors_type"
    assert caught.value.message.endswith(message)


@pytest.mark.parametrize(
    ("body", "form", "message"),
    [
        (
            b'[{"id": 7, "_vectors": {"f": {"x" : 1}}}]',
            "json",
            "`._vectors.f`: trailing characters at line 1 column 6",
        ),
        (
            b'[{"id": 7, "_vectors": {"f": {"regenerate": "x" , "embeddings": [1]}}}]',
            "json",
            "`._vectors.f`: trailing comma at line 1 column 20",
        ),
        (
            b'{"id": 7, "_vectors": {"f": {"embeddings": [1, 2],  "regenerate": 1}}}',
            "ndjson",
            "`._vectors.f.regenerate`: invalid type: integer `1`, expected a boolean at line 1 column 39",
        ),
        (
            b'{"id": 7, "_vectors": {"f": { "x" : 1}}}',
            "json",
            "`._vectors.f`: trailing characters at line 1 column 5",
        ),
        (
            b'[{"id": 7, "_vectors": {"f": {"regenerate": [1]}}}]',
            "json",
            "`._vectors.f`: trailing characters at line 1 column 16",
        ),
    ],
)
def test_columns_are_those_of_the_text_that_was_sent(body: bytes, form: Format, message: str) -> None:
    documents = list(read_documents(body, form))
    keep_wrong_entries(documents, body, form)
    with pytest.raises(ApiError) as caught:
        VectorIndex().updated({}, [(0, None, document) for document in documents], "id")
    assert caught.value.message.endswith(f"Could not parse {message}")


def test_numbers_of_vectors_without_an_embedder_are_not_looked_at() -> None:
    sent = {"a": ["x"], "b": None, "c": {"regenerate": True, "embeddings": "x"}}
    assert VectorIndex().updated({}, [(0, None, {"id": 7, "_vectors": sent})], "id") == VectorIndex()


def test_an_embedder_turned_into_a_remote_one_keeps_what_documents_brought() -> None:
    before = {"embedders": {"default": {"source": "userProvided", "dimensions": 2}}}
    after = {"embedders": {"default": {"source": "openAi", "model": "text-embedding-3-small"}}}
    documents = {0: {"id": 1, "_vectors": {"default": [1.0, 2.0]}}}
    index = VectorIndex().rebuilt(before, documents, "id").rebuilt(after, documents, "id")
    assert index.embedders["default"].vectors_of(0) == [[1.0, 2.0]]
