"""The front desk of the API: an HTTP request in, a decoded `Call` to a backend, an HTTP answer out.

Used by the embedded engine and by the orchestrator alike, so that both check, refuse and print the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson

from miroir.meili.auth import KeyRecord, authenticate
from miroir.meili.codes import ApiError
from miroir.meili.commands import Call
from miroir.meili.http import HttpReply, HttpRequest
from miroir.meili.indexes import check_uid
from miroir.meili.refusals import compact_json
from miroir.meili.routes import ROUTER, Incoming, Route, Router
from miroir.meili.webhooks import path_uuid

#: In the order in which a refusal lists them.
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

__all__ = ["Backend", "Edge", "KeyRecord", "error_reply", "json_reply"]


class Backend(Protocol):
    """What stands behind the front desk."""

    @property
    def master_key(self) -> str | None:
        """None: every route but /keys is open."""
        ...

    def keys(self) -> Mapping[str, KeyRecord]:
        """Every API key by uid, as of now."""
        ...

    def now_ns(self) -> int:
        """Wall-clock time, ns since 1970."""
        ...

    async def handle(self, call: Call) -> HttpReply | tuple[int, Any]:
        """Answer one call: a finished reply, or (status, JSON value; None is `null`). Raises ApiError."""
        ...


def json_reply(status: int, value: Any) -> HttpReply:
    """A JSON answer; one that says there is no content has no body."""
    if status == 204:
        return HttpReply(status, b"", None)
    try:
        return HttpReply(status, orjson.dumps(value))
    except TypeError:  # integers beyond 64 bits
        return HttpReply(status, compact_json(value).encode())


def error_reply(error: ApiError) -> HttpReply:
    """The answer that carries an error; every 503 asks to come back in ten seconds."""
    headers = {"retry-after": "10"} if error.status == 503 else {}
    return HttpReply(error.status, orjson.dumps(error.body()), headers=headers | error.headers)


class Edge:
    """Routes, authenticates, decodes, lets the backend answer, renders.

    `on_error` is told of every exception that is no ApiError; the client then sees a 500 `internal`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        on_error: Callable[[HttpRequest, Exception], None] | None = None,
        router: Router = ROUTER,
    ) -> None:
        self.backend = backend
        self._on_error = on_error
        self._router = router

    async def respond(self, request: HttpRequest, *, body_error: ApiError | None = None) -> HttpReply:
        """Answer one request; never raises but for cancellation.

        `body_error`: the body could not be read (too large, broken encoding); raised where it would be decoded.
        """
        found = self._router.find(request.path)
        if found is None:
            return HttpReply(404, content_type=None)
        methods, path = found
        route = methods.get(request.method)
        if route is None:
            return HttpReply(
                405, content_type=None, headers={"allow": ", ".join(sorted(methods, key=_METHODS.index))}
            )
        try:
            answer = await self.backend.handle(self._call(route, request, path, body_error))
        except ApiError as error:
            return error_reply(error)
        except Exception as error:  # noqa: BLE001 - the edge is where a bug becomes a 500
            if self._on_error is not None:
                self._on_error(request, error)
            return error_reply(ApiError("internal", "An internal error has occurred."))
        return answer if isinstance(answer, HttpReply) else json_reply(*answer)

    def route_name(self, request: HttpRequest) -> str | None:
        """Name of the route a request would take, for logs and metrics; None when there is none."""
        found = self._router.find(request.path)
        route = found and found[0].get(request.method)
        return route.name if route else None

    def _call(
        self, route: Route, request: HttpRequest, path: dict[str, str], body_error: ApiError | None
    ) -> Call:
        backend = self.backend
        index_uid = path.pop("index_uid", None)
        now_ns = backend.now_ns()
        header = request.headers.get("authorization")
        access = authenticate(
            header if route.actions else None,
            route.actions,
            index_uid,
            master_key=backend.master_key,
            keys=backend.keys(),
            now_ns=now_ns,
        )
        incoming = Incoming(request, path, now_ns, body_error)
        if route.first is not None and index_uid is not None:
            route.first(incoming)
            check_uid(index_uid)
        args = None if route.decode is None else route.decode(incoming)
        if index_uid is not None:
            check_uid(index_uid)
        if "uuid" in path:
            path["uuid"] = path_uuid(path["uuid"])
        if route.check is not None:
            args = route.check(args, access)
        return Call(route.name, access, request, index_uid, path, args)
