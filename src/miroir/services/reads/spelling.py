"""How a facet value is shown that documents spell differently: as in the first of the documents counted.

Nodes show the spelling of their own first document. Only where they disagree the first one of all is looked up.
reference: search-semantics D.5, D.6, H9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from miroir.core.reads.facet_merge import FacetHits, FacetSum
from miroir.core.reads.projection import at_path
from miroir.core.reads.search_plan import Matching, first_document, only, quoted, sequences
from miroir.core.reserved import SEQ_FIELD
from miroir.meili.facet_forms import normal_facet
from miroir.services.reads.scatter import Ask, Reading, Scatter, together

#: Values looked up for one answer; further ones are shown as the node with most of them does.
_LOOKUPS_MAX = 50
_PARALLEL = 8


class Speller:
    """Looks spellings up."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def settle(
        self,
        reading: Reading,
        facets: FacetSum,
        candidates: int,
        asked: Sequence[str],
        counted: Sequence[Matching],
    ) -> None:
        """Of a facet distribution; `counted` are the searches whose matches it counts."""
        doubts = facets.doubtful(reading.index, candidates, asked)
        for (field, _), text in zip(doubts, await self._look_up(reading, doubts, counted), strict=False):
            if text is not None:
                facets.spell(field, text)

    async def settle_hits(self, reading: Reading, hits: FacetHits, facet: str) -> None:
        """Of a facet search: the first document of the whole index."""
        doubts = [(facet, text) for text in hits.doubtful(reading.index, facet)]
        for text in await self._look_up(reading, doubts, [Matching({}, None)]):
            if text is not None:
                hits.spell(text)

    async def _look_up(
        self, reading: Reading, doubts: Sequence[tuple[str, str]], counted: Sequence[Matching]
    ) -> list[str | None]:
        gate = asyncio.Semaphore(_PARALLEL)

        async def one(field: str, text: str) -> str | None:
            async with gate:
                return await self._spelling(reading, field, text, counted)

        return await together(one(*doubt) for doubt in doubts[:_LOOKUPS_MAX])

    async def _spelling(
        self, reading: Reading, field: str, text: str, counted: Sequence[Matching]
    ) -> str | None:
        wanted = f"{quoted(field)} = {quoted(text)}"
        first: dict[str, Any] | None = None
        for matching in counted:
            if matching.is_plain:
                found = await self._first(reading, field, matching, wanted)
            else:
                found = await self._first_match(reading, field, matching, wanted)
            if found is not None and (first is None or found[SEQ_FIELD] < first[SEQ_FIELD]):
                first = found
        return None if first is None else _spelled(at_path(first, field), normal_facet(text))

    async def _first(
        self, reading: Reading, field: str, matching: Matching, wanted: str
    ) -> dict[str, Any] | None:
        """The first document of those that pass a filter."""
        answers = await self._scatter.ask(
            reading,
            lambda share, _: Ask("/documents/fetch", first_document(share, field, matching.filter, wanted)),
        )
        documents = [document for answer in answers for document in answer.value["results"]]
        return min(documents, key=lambda document: document[SEQ_FIELD], default=None)

    async def _first_match(
        self, reading: Reading, field: str, matching: Matching, wanted: str
    ) -> dict[str, Any] | None:
        """The first document of those that a search finds."""
        answers = await self._scatter.ask(
            reading, lambda share, _: Ask("/search", sequences(matching, share, wanted))
        )
        seqs = [seq for answer in answers for seq in found_sequences(answer.value)]
        if not seqs:
            return None
        return await self._first(reading, field, Matching({}, None), only([min(seqs)]))


def found_sequences(value: dict[str, Any]) -> list[str]:
    """The sequences of everything that matched, from an answer to `sequences`."""
    return list((value.get("facetDistribution") or {}).get(SEQ_FIELD) or ())


def _spelled(value: Any, key: str) -> str | None:
    """The last spelling of a normal form in a document."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return value if normal_facet(value) == key else None
    if isinstance(value, list):
        for each in reversed(value):
            if (found := _spelled(each, key)) is not None:
                return found
    return None
