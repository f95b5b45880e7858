"""Every read route of the orchestrator. A request takes one snapshot and uses it to its end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from miroir.core.topology import IndexView, Snapshot
from miroir.meili import filters
from miroir.meili.codes import ApiError
from miroir.meili.commands import (
    DocumentGet,
    DocumentsQuery,
    FacetSearchQuery,
    FieldsQuery,
    MultiSearch,
    Page,
    SearchQuery,
    SimilarQuery,
)
from miroir.meili.dates import format_step
from miroir.meili.federation_requests import check_federation
from miroir.meili.indexes import cut, page_view
from miroir.meili.multi_search import check_item
from miroir.meili.search import check_features, check_query
from miroir.ports.nodes import NodeTransport
from miroir.services.reads.document_reads import DocumentReads
from miroir.services.reads.facet_search import FacetSearch
from miroir.services.reads.federated import FederatedSearch
from miroir.services.reads.scatter import Reading, Scatter
from miroir.services.reads.search import IndexSearch
from miroir.services.reads.similar import Similar

Answer = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """`timeout_s`: from a request's arrival to its last node answer. `parallel_queries`: of one multi-search."""

    timeout_s: float = 30.0
    replica_rounds: int = 3
    parallel_queries: int = 8


class Reads:
    """Reads over the whole cluster: (status, JSON value), or ApiError.

    `snapshot` gives the cluster as of now; `request_uid` a fresh uid to print in an answer. Raises ApiError
    miroir_index_incomplete (503) when a shard has no readable replica: never a silent part of an index.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        nodes: NodeTransport,
        *,
        request_uid: Callable[[], str],
        limits: ReadLimits | None = None,
        on_round: Callable[[int, int], None] | None = None,
        is_enabled: Callable[[str], bool] = lambda feature: False,
    ) -> None:
        """`is_enabled` tells experimental features."""
        self._is_enabled = is_enabled
        self._snapshot = snapshot
        self._limits = limits or ReadLimits()
        self._request_uid = request_uid
        self._rotation = itertools.count()
        self._scatter = Scatter(nodes, rounds=self._limits.replica_rounds, on_round=on_round)
        self._search = IndexSearch(self._scatter)
        self._facet_search = FacetSearch(self._scatter)
        self._similar = Similar(self._scatter)
        self._documents = DocumentReads(self._scatter)
        self._federated = FederatedSearch(self._scatter, parallel=self._limits.parallel_queries)

    async def search(self, index_uid: str, query: SearchQuery, *, include_metadata: bool = False) -> Answer:
        """GET and POST /indexes/{uid}/search."""
        started = _now()
        check_features(query, self._is_enabled)
        reading = self._open(self._snapshot(), index_uid)
        check_query(query)
        result = await self._search.search(reading, query)
        metadata = self._described(reading.index, query) if include_metadata else None
        return 200, self._complete(result, started, metadata, shows_times=query.show_performance_details)

    async def multi_search(self, request: MultiSearch, *, include_metadata: bool = False) -> Answer:
        """POST /multi-search, federated or not."""
        started = _now()
        snapshot = self._snapshot()
        if request.federation is not None:
            check_federation(request, self._is_enabled)
            result = await self._federated.search(
                snapshot.indexes, lambda index: self._reading(snapshot, index), request
            )
            metadata = [
                self._described(snapshot.indexes[item.index_uid], item.search) for item in request.queries
            ]
            answer = self._complete(result, started, metadata if include_metadata else None)
            return 200, answer | _times(started, is_shown=request.federation.show_performance_details)
        results = await self._each(snapshot, request, include_metadata)
        return 200, {"results": results}

    async def _each(self, snapshot: Snapshot, request: MultiSearch, include_metadata: bool) -> list[Any]:
        """Independent searches, some at a time; the first that fails (in the order sent) fails the request."""
        gate = asyncio.Semaphore(self._limits.parallel_queries)

        async def one(position: int) -> Any:
            item = request.queries[position]
            async with gate:
                started = _now()
                try:
                    check_item(request, position)
                    check_features(item.search, self._is_enabled)
                    reading = self._open_inside(snapshot, item.index_uid, position)
                    check_query(item.search)
                    result = await self._search.search(reading, item.search)
                except ApiError as error:
                    return inside(error, position)
            metadata = self._described(reading.index, item.search) if include_metadata else None
            shows_times = item.search.show_performance_details
            answer = self._complete(result, started, metadata, shows_times=shows_times)
            return {"indexUid": item.index_uid, **answer}

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(position)) for position in range(len(request.queries))]
        results = [task.result() for task in tasks]
        for result in results:
            if isinstance(result, ApiError):
                raise result
        return results

    async def facet_search(self, index_uid: str, query: FacetSearchQuery) -> Answer:
        """POST /indexes/{uid}/facet-search."""
        started = _now()
        reading = self._open(self._snapshot(), index_uid)
        result = await self._facet_search.search(reading, query)
        result["processingTimeMs"] = _ms_since(started)
        return 200, result

    async def similar(self, index_uid: str, query: SimilarQuery) -> Answer:
        """GET and POST /indexes/{uid}/similar."""
        started = _now()
        reading = self._open(self._snapshot(), index_uid)
        result = await self._similar.search(reading, query)
        result["processingTimeMs"] = _ms_since(started)
        return 200, result | _times(started, is_shown=query.show_performance_details)

    async def documents_list(self, index_uid: str, query: DocumentsQuery) -> Answer:
        """GET /indexes/{uid}/documents and POST .../documents/fetch."""
        reading = self._open(self._snapshot(), index_uid)
        filter_ = filters.parse(query.filter, "invalid_document_filter")
        filters.check_features(filter_, self._is_enabled)
        return 200, await self._documents.list(reading, query)

    async def document_get(self, index_uid: str, query: DocumentGet) -> Answer:
        """GET /indexes/{uid}/documents/{id}."""
        return 200, await self._documents.get(self._open(self._snapshot(), index_uid), query)

    async def fields(self, index_uid: str, query: FieldsQuery) -> Answer:
        """POST /indexes/{uid}/fields."""
        found = await self._documents.fields(self._open(self._snapshot(), index_uid), query)
        page = Page(query.offset, query.limit)
        return 200, page_view(cut(found, page), page, len(found))

    async def index_stats(self, index_uid: str) -> dict[str, Any]:
        """Sums over the index, every shard once (raw byte counts, no reserved fields).

        Keys: numberOfDocuments, rawDocumentDbSize, avgDocumentSize, numberOfEmbeddings,
        numberOfEmbeddedDocuments, fieldDistribution. Not `isIndexing`: that is the task queue's to say.
        """
        return await self._documents.stats(self._open(self._snapshot(), index_uid))

    def _open(self, snapshot: Snapshot, index_uid: str) -> Reading:
        index = snapshot.indexes.get(index_uid)
        if index is None:
            raise ApiError("index_not_found", f"Index `{index_uid}` not found.")
        return self._reading(snapshot, index)

    def _open_inside(self, snapshot: Snapshot, index_uid: str, position: int) -> Reading:
        try:
            return self._open(snapshot, index_uid)
        except ApiError as error:
            raise inside(error, position) from error

    def _reading(self, snapshot: Snapshot, index: IndexView) -> Reading:
        deadline = _now() + self._limits.timeout_s
        return self._scatter.open(snapshot, index, rotation=next(self._rotation), deadline=deadline)

    def _described(self, index: IndexView, query: SearchQuery) -> dict[str, Any]:
        """The `metadata` object of one query."""
        found: dict[str, Any] = {} if query.q is None else {"query": query.q}
        key = index.primary_key
        named = {} if key is None else {"primaryKey": key}
        return {**found, "queryUid": self._request_uid(), "indexUid": index.uid, **named}

    def _complete(
        self, result: dict[str, Any], started: float, metadata: Any, *, shows_times: bool = False
    ) -> dict[str, Any]:
        """Fill in what only the request as a whole knows, and put the last keys in the server's order."""
        result["processingTimeMs"] = _ms_since(started)
        tail = result.pop("semanticHitCount", None)
        result["requestUid"] = self._request_uid()
        if metadata is not None:
            result["metadata"] = metadata
        result |= _times(started, is_shown=shows_times)
        if tail is not None:
            result["semanticHitCount"] = tail
        return result


def inside(error: ApiError, position: int) -> ApiError:
    """The error of one query of a multi-search; a missing index is the request's fault there (400, not 404)."""
    prefix = f"Inside `.queries[{position}]`: "
    if error.message.startswith("Inside `."):
        return error
    return _InsideQueryError(error.code, prefix + error.message, headers=error.headers)


class _InsideQueryError(ApiError):
    @property
    def status(self) -> int:
        return 400 if self.code == "index_not_found" else super().status


def _times(started: float, *, is_shown: bool) -> dict[str, Any]:
    """`performanceDetails`, of the one step that is the same however many nodes were asked."""
    return {"performanceDetails": {"search": format_step(_now() - started)}} if is_shown else {}


def _now() -> float:
    return asyncio.get_running_loop().time()


def _ms_since(started: float) -> int:
    return int((_now() - started) * 1000)
