"""The edge as an ASGI application: bodies within limits, encodings, CORS, request ids; no framework.

Clocks and ids are injected, so that this module stays pure and a simulation can call the application directly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from miroir.meili import payload
from miroir.meili.codes import ApiError
from miroir.meili.http import HttpReply, HttpRequest

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[HttpRequest], Awaitable[HttpReply]]

DEFAULT_MAX_BODY_BYTES = 100_000_000
_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
_METHODS = "HEAD, OPTIONS, CONNECT, GET, POST, PATCH, PUT, TRACE, DELETE"
_MAX_REQUEST_ID = 200


class Responder(Protocol):
    """What the application needs of `meili/edge.py`."""

    async def respond(self, request: HttpRequest, *, body_error: ApiError | None = None) -> HttpReply: ...
    def route_name(self, request: HttpRequest) -> str | None: ...


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """One finished request, for logs and metrics. `route` None: no such route; `duration` in seconds."""

    method: str
    path: str
    route: str | None
    status: int
    duration: float
    request_id: str | None


class _DisconnectedError(Exception):
    """The client went away while sending."""


def asgi_app(
    edge: Responder,
    *,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    extra: Sequence[tuple[str, Handler]] = (),
    clock: Callable[[], float] | None = None,
    on_end: Callable[[RequestEnd], None] | None = None,
    new_request_id: Callable[[], str] | None = None,
    on_startup: Callable[[], Awaitable[None]] | None = None,
    on_shutdown: Callable[[], Awaitable[None]] | None = None,
    budget: payload.BodyBudget | None = None,
    busy: ApiError | None = None,
) -> App:
    """An ASGI application around an edge.

    `extra`: (path prefix, handler) for paths outside the API; bodies over the limit never reach a handler.
    `budget` bounds large bodies of all requests together; one too many is answered with `busy`.
    `clock` in seconds; without it durations are 0. `on_end` is called after the last byte was sent.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, on_startup, on_shutdown)
        elif scope["type"] == "http":
            await serve(scope, receive, send)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        held = _Held(budget, busy)
        try:
            await answer(scope, receive, send, held)
        finally:
            held.release()

    async def answer(scope: Scope, receive: Receive, send: Send, held: _Held) -> None:
        began = clock() if clock else 0.0
        headers = _headers(scope["headers"])
        request = _request(scope, headers)
        request_id = headers.get("x-request-id", "")[:_MAX_REQUEST_ID] or (
            new_request_id() if new_request_id else None
        )
        route = None
        if _is_preflight(request):
            reply = _preflight(headers)
        else:
            handler = next((found for prefix, found in extra if request.path.startswith(prefix)), None)
            route = edge.route_name(request) if handler is None else None
            try:
                body, body_error = await _read_body(
                    receive, headers, max_body_bytes, held, documents=route == "documents.add"
                )
            except _DisconnectedError:
                return
            request = HttpRequest(request.method, request.path, request.query, headers, body)
            if handler is None:
                reply = await edge.respond(request, body_error=body_error)
            elif body_error is not None:
                reply = HttpReply(413 if body_error.status == 500 else body_error.status, content_type=None)
            else:
                reply = await handler(request)
        await _send_reply(send, reply, headers, request_id)
        if on_end is not None:
            duration = clock() - began if clock else 0.0
            on_end(RequestEnd(request.method, request.path, route, reply.status, duration, request_id))

    return app


async def _lifespan(
    receive: Receive,
    send: Send,
    on_startup: Callable[[], Awaitable[None]] | None,
    on_shutdown: Callable[[], Awaitable[None]] | None,
) -> None:
    while True:
        message = await receive()
        hook = on_startup if message["type"] == "lifespan.startup" else on_shutdown
        if hook is not None:
            await hook()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip(" \t") for name, value in raw}


def _request(scope: Scope, headers: Mapping[str, str]) -> HttpRequest:
    raw_path: bytes | None = scope.get("raw_path")
    path = raw_path.decode("latin-1") if raw_path else quote(scope["path"])
    segments = [segment for segment in path.partition("?")[0].split("/") if segment]
    query = scope.get("query_string", b"").decode("latin-1")
    return HttpRequest(scope["method"], "/" + "/".join(segments), query, headers)


class _Held:
    """What one request has taken of the budget."""

    def __init__(self, budget: payload.BodyBudget | None, busy: ApiError | None) -> None:
        self._budget = budget
        self._busy = busy
        self._taken = 0

    def grow(self, size: int) -> ApiError | None:
        """The body has `size` bytes by now; the refusal when they are too many."""
        more = size - payload.BodyBudget.FREE - self._taken
        if self._budget is None or self._busy is None or more <= 0:
            return None
        if not self._budget.take(more):
            return self._busy
        self._taken += more
        return None

    def release(self) -> None:
        if self._budget is not None:
            self._budget.give(self._taken)
        self._taken = 0


async def _read_body(
    receive: Receive, headers: Mapping[str, str], limit: int, held: _Held, *, documents: bool
) -> tuple[bytes, ApiError | None]:
    """The decoded body, or an empty one and what is wrong with it.

    A refused body is read to its end, so that the client reads the answer, but not beyond another limit.
    """
    length = headers.get("content-length", "")
    content_length = int(length) if length.isdigit() else None
    reader = payload.BodyReader(headers.get("content-encoding", "").strip().lower(), limit)
    error: ApiError | None = None
    wasted = 0
    while wasted <= limit:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _DisconnectedError
        chunk = message.get("body", b"")
        if error is not None:
            wasted += len(chunk)
        else:
            try:
                reader.feed(chunk)
                error = held.grow(reader.size)
            except payload.BodyTooLargeError:
                error = payload.body_too_large(
                    documents=documents, limit=limit, content_length=content_length
                )
            except payload.BrokenEncodingError as broken:
                error = payload.broken_body(broken, documents=documents)
        if not message.get("more_body", False):
            break
    if error is not None:
        return b"", error
    try:
        return reader.body(), None
    except payload.BrokenEncodingError as broken:
        return b"", payload.broken_body(broken, documents=documents)


def _is_preflight(request: HttpRequest) -> bool:
    return request.method == "OPTIONS" and bool(request.headers.get("access-control-request-method"))


def _preflight(headers: Mapping[str, str]) -> HttpReply:
    if headers["access-control-request-method"] not in _METHODS.split(", "):
        return HttpReply(400, b"Requested method is not allowed", content_type=None)
    answer = {"access-control-allow-methods": _METHODS, "access-control-max-age": "86400"}
    if "access-control-request-headers" in headers:
        answer["access-control-allow-headers"] = headers["access-control-request-headers"]
    return HttpReply(200, content_type=None, headers=answer)


async def _send_reply(
    send: Send, reply: HttpReply, request: Mapping[str, str], request_id: str | None
) -> None:
    body = reply.body
    headers = {**reply.headers, "vary": _VARY}
    if reply.content_type is not None:
        headers["content-type"] = reply.content_type
    if "origin" in request:
        headers["access-control-allow-origin"] = "*"
    if request_id is not None:
        headers["x-request-id"] = request_id
    if body and "content-encoding" not in headers:
        encoding = payload.choose_encoding(request.get("accept-encoding"))
        if encoding is not None:
            body = payload.encode(body, encoding)
            headers["content-encoding"] = encoding
            headers["vary"] += ", accept-encoding"
    if reply.status != 204:
        headers["content-length"] = str(len(body))
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
