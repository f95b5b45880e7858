"""Small indexes and short questions for tests of the search core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from miroir.engine.facets import FacetIndex
from miroir.engine.index import Document, Index
from miroir.engine.search import search
from miroir.engine.text import TextIndex
from miroir.engine.vectors import VectorIndex
from miroir.meili.commands import SearchQuery

DEFAULT_RULES = ["words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness"]


def text_index(documents: Sequence[Document], **settings: Any) -> TextIndex:
    """Documents get the docids 0, 1, 2..."""
    return TextIndex.empty(settings).updated(settings, [(i, None, d) for i, d in enumerate(documents)])


def make_index(documents: Sequence[Document], **settings: Any) -> Index:
    """An index of documents with the key `id`, in docid order."""
    settings = {"rankingRules": DEFAULT_RULES} | settings
    names = dict.fromkeys(name for document in documents for name in document)
    changes = [(i, None, d) for i, d in enumerate(documents)]
    return Index(
        settings=settings,
        primary_key="id",
        documents=dict(enumerate(documents)),
        docids={str(d["id"]): i for i, d in enumerate(documents)},
        field_ids=tuple(names),
        text=text_index(documents, **settings),
        facets=FacetIndex().rebuilt(settings, {}).updated(settings, changes),
        vectors=VectorIndex(),
    )


def one_field(texts: Mapping[int, Any] | Sequence[Any], **settings: Any) -> Index:
    """An index whose documents hold one text each; ids from 1 on. The id itself is not searchable."""
    entries = texts.items() if isinstance(texts, Mapping) else enumerate(texts, 1)
    documents = [{"id": number, "t": text} for number, text in entries]
    return make_index(documents, **({"searchableAttributes": ["t"]} | settings))


def answer(index: Index, q: str | None, **members: Any) -> dict[str, Any]:
    """The body of a search that shows scores."""
    members = {"show_ranking_score": True, "show_ranking_score_details": True, "limit": 100} | members
    return search(index, SearchQuery(q=q, **members))


def ids(index: Index, q: str | None, **members: Any) -> list[int]:
    """Ids of the hits, in order."""
    return [hit["id"] for hit in answer(index, q, **members)["hits"]]
