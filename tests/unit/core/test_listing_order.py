"""Pages of sorted listings begin where a node's own begin, dropped documents counted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miroir.core.reads.listing_order import depends_on_dropped, sorted_page
from miroir.core.reserved import SEQ_FIELD
from miroir.engine.embedded import open_engine
from miroir.meili.commands import DocumentsQuery
from miroir.meili.http import HttpRequest

VALUES = st.sampled_from((1, 2, "a", None, [], [2, "b"], "absent"))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(VALUES, VALUES), max_size=12),
    st.integers(0, 8),
    st.integers(0, 5),
    st.sampled_from((("a:asc", "b:desc"), ("b:asc", "a:asc"), ("a:desc",))),
)
def test_pages_are_those_of_one_engine(
    rows: list[tuple[Any, Any]], offset: int, limit: int, sort: tuple[str, ...]
) -> None:
    documents = [
        {"id": number} | ({} if one == "absent" else {"a": one}) | ({} if other == "absent" else {"b": other})
        for number, (one, other) in enumerate(rows)
    ]
    query = DocumentsQuery(offset=offset, limit=limit, sort=sort)
    numbered = [{**document, SEQ_FIELD: f"{document['id']:03}"} for document in documents]
    assert [int(seq) for seq in sorted_page(numbered, query)] == asyncio.run(_page(documents, query))


async def _page(documents: list[dict[str, Any]], query: DocumentsQuery) -> list[int]:
    engine = await open_engine(None)

    async def ask(method: str, path: str, body: object) -> Any:
        headers = {"content-type": "application/json"}
        path, _, parameters = path.partition("?")
        reply = await engine.edge.respond(
            HttpRequest(method, path, parameters, headers, json.dumps(body).encode())
        )
        await engine.drain()
        return json.loads(reply.body)

    await ask("PATCH", "/indexes/x/settings", {"sortableAttributes": ["a", "b"]})
    await ask("POST", "/indexes/x/documents?primaryKey=id", [{"id": 999, "a": 1, "b": 1}, *documents])
    await ask("POST", "/indexes/x/documents/delete-batch", [999])
    body = {"offset": query.offset, "limit": query.limit, "sort": query.sort}
    found = await ask("POST", "/indexes/x/documents/fetch", body)
    engine.close()
    return [document["id"] for document in found["results"]]


def test_most_pages_are_told_from_those_of_the_nodes() -> None:
    assert not depends_on_dropped(DocumentsQuery(offset=5, sort=("a:asc",)))
    assert not depends_on_dropped(DocumentsQuery(sort=("a:asc", "b:asc")))
    assert depends_on_dropped(DocumentsQuery(offset=5, sort=("a:asc", "b:asc")))
