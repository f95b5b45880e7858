"""Every read route of the orchestrator. A request takes one snapshot and uses it to its end.

Where that snapshot cannot answer, because nodes failed on the way or a replica is only about to be readable, the request
begins anew on a later one, as long as there is hope and time. An answer never mixes two.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from miroir.core.reads.covering import hopeless
from miroir.core.reads.failover import Trouble
from miroir.core.topology import IndexView, NodeId, Snapshot
from miroir.errors import without_frames
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
from miroir.meili.search import check_features, check_personalize, check_query
from miroir.ports.nodes import NodeTransport
from miroir.services.reads.document_reads import DocumentReads
from miroir.services.reads.facet_search import FacetSearch
from miroir.services.reads.federated import FederatedSearch
from miroir.services.reads.scatter import INCOMPLETE, Reading, Scatter, ShiftedError, together
from miroir.services.reads.search import IndexSearch
from miroir.services.reads.similar import Similar

Answer = tuple[int, Any]
T = TypeVar("T")

#: pauses before a request begins anew
_PAUSE_FIRST_S = 0.05
_PAUSE_LAST_S = 0.5


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """`timeout_s`: from a request's arrival to its last node answer. `parallel_queries`: of one multi-search.

    `late_s`: a node that has not answered by then gets a rival. `wait_s`: so long a request waits for replicas that may be
    back in a moment.
    """

    timeout_s: float = 30.0
    replica_rounds: int = 3
    parallel_queries: int = 8
    late_s: float = 1.0
    wait_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt at a request. `trouble`: what the attempts before had with nodes."""

    snapshot: Snapshot
    deadline: float
    trouble: Trouble = field(default_factory=Trouble)


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
        trusted: Callable[[NodeId], Awaitable[bool]] | None = None,
    ) -> None:
        """`is_enabled` tells experimental features; `trusted` whether a node that is not live is still itself."""
        self._is_enabled = is_enabled
        self._snapshot = snapshot
        self._limits = limits or ReadLimits()
        self._request_uid = request_uid
        self._rotation = itertools.count()
        self._scatter = Scatter(
            nodes,
            rounds=self._limits.replica_rounds,
            on_round=on_round,
            late_s=self._limits.late_s,
            trusted=trusted,
        )
        self._search = IndexSearch(self._scatter)
        self._facet_search = FacetSearch(self._scatter)
        self._similar = Similar(self._scatter)
        self._documents = DocumentReads(self._scatter)
        self._federated = FederatedSearch(self._scatter, parallel=self._limits.parallel_queries)

    async def search(self, index_uid: str, query: SearchQuery, *, include_metadata: bool = False) -> Answer:
        """GET and POST /indexes/{uid}/search."""
        started = _now()
        check_features(query, self._is_enabled)

        async def once(attempt: Try) -> tuple[dict[str, Any], Any]:
            reading = self._open(attempt, index_uid)
            check_query(query, reading.index.settings)
            result = await self._search.search(reading, query)
            check_personalize(query)
            return result, self._described(reading.index, query) if include_metadata else None

        result, metadata = await self._steadily([index_uid], once)
        return 200, self._complete(result, started, metadata, shows_times=query.show_performance_details)

    async def multi_search(self, request: MultiSearch, *, include_metadata: bool = False) -> Answer:
        """POST /multi-search, federated or not."""
        started = _now()
        uids = [item.index_uid for item in request.queries]
        if request.federation is None:
            return 200, {
                "results": await self._steadily(
                    uids, lambda attempt: self._each(attempt, request, include_metadata)
                )
            }
        check_federation(request, self._is_enabled)

        async def once(attempt: Try) -> tuple[dict[str, Any], Any]:
            indexes = attempt.snapshot.indexes
            result = await self._federated.search(
                indexes, lambda index: self._reading(attempt, index), request
            )
            return result, [self._described(indexes[item.index_uid], item.search) for item in request.queries]

        result, metadata = await self._steadily(uids, once)
        check_personalize(request.federation)
        answer = self._complete(result, started, metadata if include_metadata else None)
        return 200, answer | _times(started, is_shown=request.federation.show_performance_details)

    async def _each(self, attempt: Try, request: MultiSearch, include_metadata: bool) -> list[Any]:
        """Independent searches, some at a time; the first that fails (in the order sent) fails the request."""
        gate = asyncio.Semaphore(self._limits.parallel_queries)

        async def one(position: int) -> Any:
            item = request.queries[position]
            async with gate:
                started = _now()
                try:
                    check_item(request, position)
                    check_features(item.search, self._is_enabled)
                    reading = self._open_inside(attempt, item.index_uid, position)
                    check_query(item.search, reading.index.settings)
                    result = await self._search.search(reading, item.search)
                    check_personalize(item.search)
                except ApiError as error:
                    return inside(error, position)
            metadata = self._described(reading.index, item.search) if include_metadata else None
            shows_times = item.search.show_performance_details
            answer = self._complete(result, started, metadata, shows_times=shows_times)
            return {"indexUid": item.index_uid, **answer}

        results = await together(map(one, range(len(request.queries))))
        for result in results:
            if isinstance(result, ApiError):
                raise result
        return results

    async def facet_search(self, index_uid: str, query: FacetSearchQuery) -> Answer:
        """POST /indexes/{uid}/facet-search."""
        started = _now()
        result = await self._of(index_uid, lambda reading: self._facet_search.search(reading, query))
        result["processingTimeMs"] = _ms_since(started)
        return 200, result

    async def similar(self, index_uid: str, query: SimilarQuery) -> Answer:
        """GET and POST /indexes/{uid}/similar."""
        started = _now()
        result = await self._of(index_uid, lambda reading: self._similar.search(reading, query))
        result["processingTimeMs"] = _ms_since(started)
        return 200, result | _times(started, is_shown=query.show_performance_details)

    async def documents_list(self, index_uid: str, query: DocumentsQuery) -> Answer:
        """GET /indexes/{uid}/documents and POST .../documents/fetch."""

        async def once(reading: Reading) -> dict[str, Any]:
            filter_ = filters.parse(query.filter, "invalid_document_filter")
            filters.check_features(filter_, self._is_enabled)
            return await self._documents.list(reading, query)

        return 200, await self._of(index_uid, once)

    async def document_get(self, index_uid: str, query: DocumentGet) -> Answer:
        """GET /indexes/{uid}/documents/{id}."""
        return 200, await self._of(index_uid, lambda reading: self._documents.get(reading, query))

    async def fields(self, index_uid: str, query: FieldsQuery) -> Answer:
        """POST /indexes/{uid}/fields."""
        found = await self._of(index_uid, lambda reading: self._documents.fields(reading, query))
        page = Page(query.offset, query.limit)
        return 200, page_view(cut(found, page), page, len(found))

    # --- attempts -----------------------------------------------------------------------------

    async def _of(self, index_uid: str, read: Callable[[Reading], Awaitable[T]]) -> T:
        """One read of one index."""

        async def once(attempt: Try) -> T:
            return await read(self._open(attempt, index_uid))

        return await self._steadily([index_uid], once)

    async def _steadily(self, uids: Sequence[str], once: Callable[[Try], Awaitable[T]]) -> T:
        """What `once` answers, on as many snapshots as it takes, one after the other.

        Raises ApiError: what is no failure of nodes, or miroir_index_incomplete when there is no hope or time left.
        """
        started = _now()
        deadline = started + self._limits.timeout_s
        give_up = min(deadline, started + self._limits.wait_s)
        trouble = Trouble()
        pause = _PAUSE_FIRST_S
        while True:
            try:
                return await once(Try(self._snapshot(), deadline, trouble))
            except ShiftedError as error:
                without_frames(error)
                if _now() >= deadline:
                    raise ApiError(INCOMPLETE, "The nodes did not answer in time.") from None
                continue  # each time there is more trouble known, so this ends
            except ApiError as error:
                without_frames(error)  # nothing may hold the snapshot while we wait
                if error.code != INCOMPLETE or _now() + pause > give_up or self._is_hopeless(uids):
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_LAST_S)
            trouble = Trouble(late=trouble.late)  # those that failed may have come back

    def _is_hopeless(self, uids: Sequence[str]) -> bool:
        """Whether some shard has no replica that may be readable in a moment."""
        snapshot = self._snapshot()
        indexes = [index for uid in uids if (index := snapshot.indexes.get(uid)) is not None]
        return any(hopeless(snapshot, index) for index in indexes)

    def _open(self, attempt: Try, index_uid: str) -> Reading:
        index = attempt.snapshot.indexes.get(index_uid)
        if index is None:
            raise ApiError("index_not_found", f"Index `{index_uid}` not found.")
        return self._reading(attempt, index)

    def _open_inside(self, attempt: Try, index_uid: str, position: int) -> Reading:
        try:
            return self._open(attempt, index_uid)
        except ApiError as error:
            raise inside(error, position) from error

    def _reading(self, attempt: Try, index: IndexView) -> Reading:
        return self._scatter.open(
            attempt.snapshot,
            index,
            rotation=next(self._rotation),
            deadline=attempt.deadline,
            trouble=attempt.trouble,
        )

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
