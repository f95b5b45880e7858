"""Reads over nodes that fail: another replica, or an honest refusal."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson
import pytest

from miroir.core.reserved import SEQ_FIELD, encode_seq
from miroir.core.topology import NodeId, ReplicaState
from miroir.meili.codes import ApiError
from miroir.meili.commands import (
    DocumentGet,
    DocumentsQuery,
    Federation,
    Hybrid,
    MultiSearch,
    MultiSearchItem,
    SearchQuery,
    SimilarQuery,
)
from miroir.ports.nodes import NodeError, NodeRequest, NodeResponse
from miroir.services.reads.reads import Reads
from tests.support.virtual_time import run_virtual
from tests.unit.core.views import IN_SYNC, index_view, snapshot


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test to its end on a virtual-time loop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        run_virtual(test(*args, **kwargs))

    return run


Reply = Callable[[NodeRequest, dict[str, Any]], tuple[int, Any]]


class ScriptedNodes:
    """A NodeTransport whose nodes answer from functions; a node without one is down."""

    def __init__(self, nodes: Mapping[str, Reply]) -> None:
        self._nodes = nodes
        self.asked: list[tuple[str, str, Any]] = []

    def set_address(self, node: NodeId, address: str) -> None:
        raise AssertionError("reads set no addresses")

    async def send(self, request: NodeRequest, *, deadline: float) -> NodeResponse:
        assert deadline > asyncio.get_running_loop().time()
        body = orjson.loads(request.body) if request.body else {}
        self.asked.append((request.node, request.path, body.get("filter")))
        reply = self._nodes.get(request.node)
        if reply is None:
            raise NodeError(request.node, "connection refused", refused=True)
        status, value = reply(request, body)
        return NodeResponse(status, orjson.dumps(value))


def hit(seq: int) -> dict[str, Any]:
    rule = {"order": 0, "value": encode_seq(seq)}
    return {
        "id": seq,
        "_miroir_shard": "x",
        SEQ_FIELD: encode_seq(seq),
        "_rankingScore": 1.0,
        "_rankingScoreDetails": {f"{SEQ_FIELD}:asc": rule},
    }


def holding(*seqs: int) -> Reply:
    """A node that finds these documents, whatever it is asked."""

    def reply(_request: NodeRequest, body: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"hits": [hit(seq) for seq in seqs][: body["limit"]], "estimatedTotalHits": len(seqs)}

    return reply


def failing(status: int, code: str) -> Reply:
    return lambda _request, _body: (status, {"code": code, "message": "Index `miroir-000001`: said"})


def reads_over(
    placement: list[dict[str, ReplicaState]], nodes: Mapping[str, Reply]
) -> tuple[Reads, ScriptedNodes]:
    index = index_view(placement)
    transport = ScriptedNodes(nodes)
    picture = snapshot(index)
    return Reads(lambda: picture, transport, request_uid=lambda: "uid"), transport


SPLIT: list[dict[str, ReplicaState]] = [{"a": IN_SYNC}, {"b": IN_SYNC}]


@on_virtual_time
async def test_a_search_merges_and_hides_our_fields() -> None:
    reads, transport = reads_over(SPLIT, {"a": holding(1, 4), "b": holding(2, 3)})
    status, answer = await reads.search(
        "books",
        SearchQuery(offset=1, limit=2, show_ranking_score_details=True, show_performance_details=True),
    )
    assert status == 200
    assert answer.pop("processingTimeMs") < 1000
    assert list(answer.pop("performanceDetails")) == ["search"]
    assert answer == {
        "hits": [{"id": 2, "_rankingScoreDetails": {}}, {"id": 3, "_rankingScoreDetails": {}}],
        "query": "",
        "limit": 2,
        "offset": 1,
        "estimatedTotalHits": 4,
        "requestUid": "uid",
    }
    assert [node for node, _, _ in transport.asked] == ["a", "b"]


@pytest.mark.parametrize("fault", [None, failing(500, "internal"), failing(503, "too_many_search_requests")])
@on_virtual_time
async def test_another_replica_answers_for_a_failed_node(fault: Reply | None) -> None:
    both = [{"a": IN_SYNC, "b": IN_SYNC}] * 2
    nodes = {"b": holding(1, 2)} | ({} if fault is None else {"a": fault})
    reads, transport = reads_over(both, nodes)
    _, answer = await reads.search("books", SearchQuery())
    assert [each["id"] for each in answer["hits"]] == [1, 2]
    assert [node for node, _, _ in transport.asked] == ["a", "b"]


@on_virtual_time
async def test_only_the_failed_nodes_shards_are_asked_again() -> None:
    placement = [{"a": IN_SYNC, "c": IN_SYNC}, {"b": IN_SYNC}, {"b": IN_SYNC, "c": IN_SYNC}]
    reads, transport = reads_over(placement, {"b": holding(1), "c": holding(2)})
    _, answer = await reads.search("books", SearchQuery())
    assert [each["id"] for each in answer["hits"]] == [1, 2]
    assert [node for node, _, _ in transport.asked].count("b") == 1
    (shard_filter,) = [shard_filter for node, _, shard_filter in transport.asked if node == "c"]
    assert shard_filter is not None


@on_virtual_time
async def test_a_missing_shard_is_refused_not_left_out() -> None:
    reads, _ = reads_over(SPLIT, {"a": holding(1)})
    with pytest.raises(ApiError) as refused:
        await reads.search("books", SearchQuery())
    assert (refused.value.code, refused.value.status) == ("miroir_index_incomplete", 503)
    assert refused.value.message == "Index `books` is incomplete: 1 of 2 shards have no readable replica."


@on_virtual_time
async def test_stale_replicas_are_not_asked() -> None:
    reads, transport = reads_over([{"a": ReplicaState.STALE}], {"a": holding(1)})
    with pytest.raises(ApiError, match="incomplete"):
        await reads.search("books", SearchQuery())
    assert transport.asked == []


@on_virtual_time
async def test_a_nodes_refusal_is_the_clients_in_the_clients_words() -> None:
    reads, _ = reads_over(SPLIT, {"a": failing(400, "invalid_search_sort"), "b": holding(1)})
    with pytest.raises(ApiError) as refused:
        await reads.search("books", SearchQuery(sort=("x:asc",)))
    assert refused.value.body()["message"] == "Index `books`: said"
    assert refused.value.code == "invalid_search_sort"


@on_virtual_time
async def test_an_unknown_index_is_404_alone_and_400_inside() -> None:
    reads, _ = reads_over(SPLIT, {})
    with pytest.raises(ApiError) as alone:
        await reads.search("films", SearchQuery())
    assert (alone.value.status, alone.value.message) == (404, "Index `films` not found.")
    for federation in (None, Federation()):
        with pytest.raises(ApiError) as inside:
            await reads.multi_search(MultiSearch((MultiSearchItem("films", SearchQuery()),), federation))
        assert (inside.value.status, inside.value.message) == (
            400,
            "Inside `.queries[0]`: Index `films` not found.",
        )


@on_virtual_time
async def test_a_federation_marks_its_hits() -> None:
    reads, _ = reads_over(SPLIT, {"a": holding(1), "b": holding(2)})
    request = MultiSearch((MultiSearchItem("books", SearchQuery()),), Federation(limit=1, offset=1))
    _, answer = await reads.multi_search(request)
    mark = {"indexUid": "books", "queriesPosition": 0, "weightedRankingScore": 1.0}
    assert answer["hits"] == [{"id": 2, "_federation": mark}]
    assert answer["estimatedTotalHits"] == 2


@on_virtual_time
async def test_deep_pages_fetch_their_documents_in_a_second_request() -> None:
    everything = {"a": list(range(0, 600, 2)), "b": list(range(1, 600, 2))}

    def node(name: str) -> Reply:
        def reply(_request: NodeRequest, body: dict[str, Any]) -> tuple[int, Any]:
            found = [
                hit(seq)
                for seq in everything[name]
                if SEQ_FIELD not in str(body.get("filter")) or encode_seq(seq) in body["filter"]
            ]
            if body.get("attributesToRetrieve") == []:
                found = [{k: v for k, v in each.items() if k.startswith("_ranking")} for each in found]
            if not body.get("showRankingScore"):
                found = [{k: v for k, v in each.items() if not k.startswith("_ranking")} for each in found]
            return 200, {"hits": found[: body["limit"]], "estimatedTotalHits": 300}

        return reply

    reads, transport = reads_over(SPLIT, {"a": node("a"), "b": node("b")})
    _, answer = await reads.search("books", SearchQuery(offset=500, limit=3))
    assert answer["hits"] == [{"id": 500}, {"id": 501}, {"id": 502}]
    assert len(transport.asked) == 4


@on_virtual_time
async def test_an_embedder_is_looked_for_before_sorts_are_read() -> None:
    reads, transport = reads_over(SPLIT, {})
    with pytest.raises(ApiError) as refused:
        await reads.search("books", SearchQuery(q="x", hybrid=Hybrid("e"), sort=("year",)))
    assert (refused.value.code, transport.asked) == ("invalid_search_embedder", [])


@on_virtual_time
async def test_ranking_for_a_person_is_refused_after_everything_else() -> None:
    reads, _ = reads_over(SPLIT, {"a": failing(400, "invalid_search_sort"), "b": holding(1)})
    query = SearchQuery(personalize={"userContext": "x"})
    with pytest.raises(ApiError) as refused:
        await reads.search("books", query)
    assert refused.value.code == "invalid_search_sort"
    reads, _ = reads_over(SPLIT, {"a": holding(2), "b": holding(1)})
    with pytest.raises(ApiError) as refused:
        await reads.search("books", query)
    assert refused.value.code == "feature_not_enabled"


@on_virtual_time
async def test_a_document_that_a_tenant_may_not_see_has_no_similar_ones() -> None:
    def reply(request: NodeRequest, body: dict[str, Any]) -> tuple[int, Any]:
        if "/documents/" in request.path:
            vectors = {"e": {"embeddings": [[1.0, 0.0]], "regenerate": False}}
            return 200, {"id": 1, SEQ_FIELD: encode_seq(1), "_vectors": vectors}
        if request.path.endswith("/similar"):
            return 404, {"code": "not_found_similar_id", "message": "Document not found."}
        assert "kind = mine" in body["filter"]
        return 200, {"hits": [], "estimatedTotalHits": 0}

    reads, _ = reads_over(SPLIT, {"a": reply, "b": reply})
    with pytest.raises(ApiError) as refused:
        await reads.similar("books", SimilarQuery("1", "e", filter="kind = mine", rule="kind = mine"))
    assert (refused.value.code, refused.value.message) == ("not_found_similar_id", "Document `1` not found.")


@on_virtual_time
async def test_documents_by_insertion_order_and_by_id() -> None:
    def node(*seqs: int) -> Reply:
        def reply(request: NodeRequest, body: dict[str, Any]) -> tuple[int, Any]:
            documents = [{"title": "t", "id": seq, SEQ_FIELD: encode_seq(seq)} for seq in seqs]
            if request.method == "GET":
                return (
                    (200, documents[0])
                    if request.path.endswith("/1")
                    else (404, {"code": "document_not_found"})
                )
            return 200, {"results": documents[: body["limit"]], "total": len(seqs)}

        return reply

    reads, transport = reads_over(SPLIT, {"a": node(1, 4), "b": node(1, 2)})
    _, listed = await reads.documents_list("books", DocumentsQuery(limit=3))
    assert [list(each) for each in listed["results"]] == [["id", "title"]] * 3
    assert listed["total"] == 4
    transport.asked.clear()
    assert await reads.document_get("books", DocumentGet("1")) == (200, {"id": 1, "title": "t"})
    assert len(transport.asked) == 1
    with pytest.raises(ApiError, match=r"Document `7` not found\."):
        await reads.document_get("books", DocumentGet("7"))
