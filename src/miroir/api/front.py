"""Around the front desk: request ids, the bound of requests in flight, metrics, and one log line per request.

`/_miroir/` requests go to the admin routes, all others to the Meilisearch edge.
"""

from __future__ import annotations

import asyncio

import structlog
from prometheus_client import Counter, Histogram

from miroir.api.admin import PREFIX, Admin
from miroir.api.backend import no_space_left
from miroir.meili.asgi import Responder
from miroir.meili.codes import ApiError
from miroir.meili.edge import error_reply
from miroir.meili.http import HttpReply, HttpRequest
from miroir.ports.store import StoreFullError
from miroir.telemetry import logs
from miroir.telemetry.metrics import Metrics

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

log = structlog.get_logger()


class Front:
    """What the ASGI application calls: a `meili.asgi.Responder` around another one."""

    def __init__(
        self, edge: Responder, admin: Admin, metrics: Metrics, *, max_concurrent_requests: int
    ) -> None:
        self._edge = edge
        self._admin = admin
        self._metrics = metrics
        self._limit = max_concurrent_requests
        self._in_flight = 0
        self._instruments: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

    def route_name(self, request: HttpRequest) -> str | None:
        """The route's name: bounded, and nothing a client chose; None for an unknown one."""
        if request.path.startswith(PREFIX):
            return self._admin.label(request.path)
        return self._edge.route_name(request)

    async def respond(self, request: HttpRequest, *, body_error: ApiError | None = None) -> HttpReply:
        """Answer one request; never raises but for cancellation."""
        identity = logs.request_id(request.headers.get(logs.REQUEST_ID_HEADER))
        begun = asyncio.get_running_loop().time()
        self._in_flight += 1
        self._metrics.requests_in_flight.set(self._in_flight)
        try:
            with logs.request_context(identity):
                reply = await self._answer(request, body_error)
                self._account(request, reply, asyncio.get_running_loop().time() - begun)
        finally:
            self._in_flight -= 1
            self._metrics.requests_in_flight.set(self._in_flight)
        headers = {**reply.headers, logs.REQUEST_ID_HEADER: identity}
        return HttpReply(reply.status, reply.body, reply.content_type, headers)

    async def _answer(self, request: HttpRequest, body_error: ApiError | None) -> HttpReply:
        try:
            if self._in_flight > self._limit:
                raise ApiError(
                    "miroir_overloaded", "Too many requests at once.", headers={"retry-after": "1"}
                )
            if request.path.startswith(PREFIX):
                return await self._admin.serve(request)
            return await self._edge.respond(request, body_error=body_error)
        except ApiError as error:
            return error_reply(error)
        except StoreFullError:
            return error_reply(no_space_left())
        except Exception as error:  # noqa: BLE001 - admin routes have no other place where a bug becomes a 500
            note_failure(request, error)
            return error_reply(ApiError("internal", "An internal error has occurred."))

    def _instruments_of(self, labels: tuple[str, str, str]) -> tuple[Counter, Histogram]:
        """Looked up among the labels once; these are bounded, so is what is kept."""
        found = self._instruments.get(labels)
        if found is None:
            found = self._instruments[labels] = (
                self._metrics.requests_total.labels(*labels),
                self._metrics.request_duration_seconds.labels(*labels),
            )
        return found

    def _account(self, request: HttpRequest, reply: HttpReply, took_s: float) -> None:
        method = request.method if request.method in _METHODS else "OTHER"
        labels = (method, self.route_name(request) or "unknown", str(reply.status))
        requests, durations = self._instruments_of(labels)
        requests.inc()
        durations.observe(took_s)
        if reply.status in (401, 403):
            self._metrics.auth_failures_total.labels("missing" if reply.status == 401 else "refused").inc()
        log.info(
            "request_served",
            method=method,
            route=labels[1],
            status=reply.status,
            duration_ms=round(took_s * 1000, 2),
            degraded=reply.headers.get("x-miroir-degraded") or reply.headers.get("X-Miroir-Degraded"),
        )


def note_failure(request: HttpRequest, error: Exception) -> None:
    """Log an exception that became a 500; for `Edge(on_error=...)`."""
    log.error("request_failed", method=request.method, exc_info=error)
