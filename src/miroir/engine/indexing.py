"""Makes the next version of an index from document or settings changes, in steps that let others run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from miroir.engine.document_changes import Change
from miroir.engine.facets import FacetIndex
from miroir.engine.index import Document, Index
from miroir.engine.persistent import PersistentMap
from miroir.engine.text import TextIndex
from miroir.engine.vectors import VectorIndex
from miroir.meili.codes import ApiError

Breathe = Callable[[], Awaitable[None]]
T = TypeVar("T")
Triple = tuple[int, Document | None, Document | None]

#: Documents whose facets and vectors are worked on between two breaths.
_STEP = 100


def empty_index(
    settings: Mapping[str, Any], primary_key: str | None = None, field_ids: Sequence[str] = ()
) -> Index:
    """An index without documents."""
    if primary_key is not None and not field_ids and "." not in primary_key:
        field_ids = (primary_key,)
    documents: PersistentMap[int, Document] = PersistentMap()
    docids: PersistentMap[str, int] = PersistentMap()
    return Index(
        settings=settings,
        primary_key=primary_key,
        documents=documents,
        docids=docids,
        field_ids=tuple(field_ids),
        text=TextIndex.empty(settings),
        facets=FacetIndex().rebuilt(settings, {}),
        vectors=VectorIndex().rebuilt(settings, {}),
    )


async def with_changes(
    index: Index,
    changes: Sequence[Change],
    *,
    primary_key: str | None,
    names: Sequence[str],
    breathe: Breathe,
) -> Index:
    """The version after a batch of document changes. Raises ApiError when the batch must be dropped."""
    triples: list[Triple] = [(change.docid, change.old, change.new) for change in changes]
    facets, vectors = index.facets, index.vectors
    for start in range(0, len(triples), _STEP):
        part = triples[start : start + _STEP]
        facets = facets.updated(index.settings, part, primary_key)
        vectors = vectors.updated(index.settings, part, primary_key)
        await breathe()
    facets = await _stepwise(facets.settle_steps(), breathe)
    text = await _stepwise(index.text.update_steps(triples), breathe)
    return replace(
        index,
        primary_key=primary_key,
        documents=_persistent(index.documents).updated({change.docid: change.new for change in changes}),
        docids=_persistent(index.docids).updated(
            {change.id: None if change.new is None else change.docid for change in changes}
        ),
        field_ids=tuple(names) or index.field_ids,
        text=text,
        facets=facets.knowing(names) if len(names) > 1 else facets,
        vectors=vectors,
    )


async def with_settings(index: Index, settings: Mapping[str, Any], breathe: Breathe) -> Index:
    """The version under new settings; only what they touch is made anew."""
    await breathe()
    facets = await _facets(index, settings, breathe)
    vectors = await _stepwise(
        index.vectors.rebuild_steps(settings, index.documents, index.primary_key), breathe
    )
    await breathe()
    empty = TextIndex.empty(settings)
    if empty.rules == index.text.rules and _same_words(index.settings, settings):
        text = replace(index.text, synonyms=empty.synonyms, tokenizer=empty.tokenizer, cache=empty.cache)
    else:
        text = await _stepwise(
            empty.update_steps([(docid, None, document) for docid, document in index.documents.items()]),
            breathe,
        )
    return replace(index, settings=settings, text=text, facets=facets, vectors=vectors)


async def _facets(index: Index, settings: Mapping[str, Any], breathe: Breathe) -> FacetIndex:
    facets = index.facets.emptied(settings)
    if facets is None:
        return index.facets
    docids = sorted(index.documents)
    for start in range(0, len(docids), _STEP):
        part: list[Triple] = [
            (docid, None, index.documents[docid]) for docid in docids[start : start + _STEP]
        ]
        facets = facets.updated(settings, part, index.primary_key)
        await breathe()
    return await _stepwise(facets.settle_steps(), breathe)


_WORD_SETTINGS = ("stopWords", "separatorTokens", "nonSeparatorTokens", "dictionary", "localizedAttributes")


def _same_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return all(before.get(name) == after.get(name) for name in _WORD_SETTINGS)


async def _stepwise(steps: Generator[None, None, T], breathe: Breathe) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            made: T = stop.value
            return made
        await breathe()


def _persistent(items: Mapping[Any, Any]) -> PersistentMap[Any, Any]:
    return items if isinstance(items, PersistentMap) else PersistentMap(items)


def prefixed(error: ApiError, uid: str) -> ApiError:
    """The error as tasks show those that indexing raises: with the index's name in front."""
    return ApiError(error.code, f"Index `{uid}`: {error.message}")
