"""`/_miroir/indexes/{uid}`: what Miroir keeps of an index beyond what Meilisearch's API can say.

    GET   /_miroir/indexes/movies                    {"uid": "movies", "exact": false, ...}
    PATCH /_miroir/indexes/movies  {"exact": true}   202 and the task, as for any settings change

`exact` true: every node knows all words of the index (docs/exact.md). Sent again to an index that is exact, it makes
its hidden documents anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson

from miroir.core.topology import IndexView, Snapshot
from miroir.meili.codes import ApiError
from miroir.meili.http import HttpReply, HttpRequest
from miroir.meili.tasks import summary
from miroir.services.writes.ingest import Ingest

ROUTE = "indexes"


class IndexAdmin:
    """Answers requests below `/_miroir/indexes/`; the caller has checked the admin key."""

    def __init__(self, snapshot: Callable[[], Snapshot], ingest: Ingest) -> None:
        self._snapshot = snapshot
        self._ingest = ingest

    async def respond(self, request: HttpRequest, name: str) -> HttpReply:
        """Answer one request; `name` is what follows `indexes/`. Raises ApiError."""
        uid = unquote(name)
        index = self._snapshot().indexes.get(uid)
        if index is None:
            raise ApiError("index_not_found", f"Index `{uid}` not found.")
        if request.method == "GET":
            return _json(200, _shown(index))
        if request.method != "PATCH":
            return HttpReply(405, content_type=None, headers={"allow": "GET, PATCH"})
        accepted = await self._ingest.make_exact(uid, exact=_wanted(request.body))
        return _json(202, summary(accepted.task))


def _wanted(body: bytes) -> bool:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError("malformed_payload", f"The json payload provided is malformed. `{error}`.") from None
    if not isinstance(asked, dict) or asked.keys() != {"exact"} or not isinstance(asked["exact"], bool):
        raise ApiError("miroir_invalid_request", 'Expected an object with one boolean: {"exact": true}.')
    return asked["exact"]


def _shown(index: IndexView) -> dict[str, Any]:
    return {
        "uid": index.uid,
        "exact": index.exact,
        "primaryKey": index.primary_key,
        "shards": index.shard_count,
    }


def _json(status: int, value: Any) -> HttpReply:
    return HttpReply(status, orjson.dumps(value))
