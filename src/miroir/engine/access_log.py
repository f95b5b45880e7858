"""What a node was asked for, one line per request: method, path, status, and what it names.

Opt in: paths, filters and ids are what clients asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

from miroir.meili.asgi import Responder
from miroir.meili.codes import ApiError
from miroir.meili.http import HttpReply, HttpRequest

_NAMING = ("filter", "ids")


class AccessLog:
    """Says a line for every request when it has been answered."""

    def __init__(self, inner: Responder, say: Callable[[str], None]) -> None:
        self._inner = inner
        self._say = say

    def route_name(self, request: HttpRequest) -> str | None:
        """As it is."""
        return self._inner.route_name(request)

    async def respond(self, request: HttpRequest, *, body_error: ApiError | None = None) -> HttpReply:
        """Answer, then tell."""
        reply = await self._inner.respond(request, body_error=body_error)
        self._say(line(request, reply.status))
        return reply


def line(request: HttpRequest, status: int) -> str:
    """Method, path, status; of reads also the filters and ids that their bodies name, as ASCII JSON."""
    words = f"{request.method} {request.path} {status}"
    named = _named(request)
    return f"{words} {json.dumps(named)}" if named else words


def _named(request: HttpRequest) -> list[dict[str, Any]]:
    if request.method != "POST" or not request.path.endswith(("search", "/fetch", "/similar")):
        return []
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return []
    queries = body.get("queries", [body]) if isinstance(body, dict) else []
    return [
        {name: query[name] for name in _NAMING if query.get(name) is not None}
        for query in (queries if isinstance(queries, list) else [])
        if isinstance(query, dict)
    ]
