"""The edge over ASGI: limits, encodings, CORS, request ids, hooks."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterable
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import payload
from miroir.meili.asgi import App, RequestEnd, asgi_app
from miroir.meili.codes import ApiError
from miroir.meili.edge import error_reply
from miroir.meili.http import HttpReply, HttpRequest

LONG = json.dumps({"text": "glass " * 100}).encode()


class Echo:
    """An edge that answers with what it was asked."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []

    def route_name(self, request: HttpRequest) -> str | None:
        return "documents.add" if request.path.endswith("/documents") else "search"

    async def respond(self, request: HttpRequest, *, body_error: ApiError | None = None) -> HttpReply:
        self.requests.append(request)
        if body_error is not None:
            return error_reply(body_error)
        return HttpReply(200, request.body or b"{}")


def call(
    app: App,
    method: str = "POST",
    path: str = "/indexes/m/search",
    chunks: Iterable[bytes] = (b"{}",),
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    bodies = list(chunks)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": i < len(bodies) - 1}
        for i, body in enumerate(bodies)
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    target, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": target, "raw_path": target.encode(),
        "query_string": query.encode(), "headers": raw,
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    if not sent:
        return 0, {}, b""
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(message["body"] for message in sent[1:])


PACKERS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "": bytes}


@given(st.sampled_from(sorted(PACKERS)), st.binary(max_size=3000), st.integers(1, 400))
def test_a_body_arrives_whole_however_it_is_packed_and_cut(encoding: str, body: bytes, size: int) -> None:
    packed = PACKERS[encoding](body)
    reader = payload.BodyReader(encoding, 3000)
    for at in range(0, len(packed), size):
        reader.feed(packed[at : at + size])
    assert reader.body() == body


@given(st.sampled_from(sorted(PACKERS)), st.binary(min_size=101, max_size=5000))
def test_the_limit_is_on_decoded_bytes(encoding: str, body: bytes) -> None:
    with pytest.raises(payload.BodyTooLargeError):
        payload.BodyReader(encoding, 100).feed(PACKERS[encoding](body))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_bomb_is_refused_before_it_is_unpacked(encoding: str) -> None:
    bomb = PACKERS[encoding](bytes(30_000_000))
    reader = payload.BodyReader(encoding, 1_000_000)
    with pytest.raises(payload.BodyTooLargeError):
        reader.feed(bomb)
    assert reader._size < 1_200_000


@pytest.mark.parametrize(
    ("encoding", "body", "what"),
    [
        (
            "gzip",
            gzip.compress(b"{}", mtime=0)[:-6],
            "InvalidInput, corrupt gzip stream does not have a matching checksum",
        ),
        ("gzip", b"[{}]", "InvalidInput, corrupt gzip stream does not have a matching checksum"),
        ("gzip", b"no gzip at all", "InvalidInput, invalid gzip header"),
        ("deflate", b"[{}]", "InvalidInput, corrupt deflate stream"),
        ("br", b"garbage not packed at all", "InvalidData, Invalid Data"),
    ],
)
def test_bodies_that_do_not_decode_as_observed(encoding: str, body: bytes, what: str) -> None:
    status, _, answered = call(asgi_app(Echo()), chunks=[body], content_encoding=encoding)
    kind, error = what.split(", ")
    start = "Error that occur during reading payload: payload reached EOF before completing: "
    message = f'{start}Some(Custom {{ kind: {kind}, error: "{error}" }})'
    assert (status, json.loads(answered)["message"]) == (400, message)


@pytest.mark.parametrize("encoding", ["deflate", "br"])
def test_of_a_stream_that_is_cut_there_is_what_came(encoding: str) -> None:
    reader = payload.BodyReader(encoding, 10_000)
    reader.feed(PACKERS[encoding](LONG)[:-2])
    assert reader.body()
    assert LONG.startswith(reader.body())


@pytest.mark.parametrize(
    ("path", "length", "status", "message"),
    [
        ("/indexes/m/documents", "20000", 413, "The provided payload reached the size limit. The maximum accepted payload size is 10 KiB."),
        ("/indexes/m/search", "20000", 500, "JSON payload (20000 bytes) is larger than allowed (limit: 10240 bytes)."),
        ("/indexes/m/search", "", 413, "JSON payload has exceeded limit (10240 bytes)."),
    ],
)  # fmt: skip
def test_bodies_over_the_limit(path: str, length: str, status: int, message: str) -> None:
    app = asgi_app(Echo(), max_body_bytes=10_240)
    found, _, body = call(app, path=path, chunks=[bytes(8000), bytes(12_000)], content_length=length)
    assert (found, json.loads(body)["message"]) == (status, message)


@pytest.mark.parametrize(
    ("size", "text"), [(100_000_000, "100 MB"), (10_240, "10 KiB"), (1_500_000, "1.5 MB"), (1000, "1 KB")]
)
def test_limits_in_words(size: int, text: str) -> None:
    assert payload.limit_text(size) == text


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        (None, None),
        ("zstd", None),
        ("gzip, br", "br"),
        ("gzip;q=0.5, deflate;q=0.8, *;q=0", "deflate"),
        ("*", None),
        ("br;q=0, gzip", "gzip"),
        ("gzip;q=x", None),
    ],
)
def test_the_encoding_of_an_answer(accepted: str | None, chosen: str | None) -> None:
    assert payload.choose_encoding(accepted) == chosen


def test_answers_are_packed_when_asked() -> None:
    status, headers, body = call(asgi_app(Echo()), chunks=[LONG], accept_encoding="gzip")
    assert (status, headers["content-encoding"], gzip.decompress(body)) == (200, "gzip", LONG)
    assert int(headers["content-length"]) == len(body) < len(LONG)
    for encoding, decode in (
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("br", brotli.decompress),
    ):
        _, headers, body = call(asgi_app(Echo()), chunks=[b"{}"], accept_encoding=encoding)
        assert (headers["content-encoding"], decode(body)) == (encoding, b"{}"), "small ones too"
    _, headers, _ = call(asgi_app(Echo()), chunks=[LONG])
    assert "content-encoding" not in headers


def test_preflights_never_reach_the_edge() -> None:
    echo = Echo()
    status, headers, body = call(
        asgi_app(echo), "OPTIONS", origin="https://shop.example", access_control_request_method="POST",
        access_control_request_headers="authorization,content-type",
    )  # fmt: skip
    assert (status, body, echo.requests) == (200, b"", [])
    assert headers["access-control-allow-origin"] == "*"
    assert headers["access-control-allow-headers"] == "authorization,content-type"
    assert headers["access-control-max-age"] == "86400"
    assert "POST" in headers["access-control-allow-methods"]
    status, _, body = call(asgi_app(echo), "OPTIONS", origin="x", access_control_request_method="PURGE")
    assert (status, body, echo.requests) == (400, b"Requested method is not allowed", [])


def test_origins_and_vary() -> None:
    vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    _, headers, _ = call(asgi_app(Echo()))
    assert headers["vary"] == vary
    assert "access-control-allow-origin" not in headers
    _, headers, _ = call(asgi_app(Echo()), origin="x")
    assert headers["access-control-allow-origin"] == "*"


def test_the_request_that_reaches_the_edge() -> None:
    echo = Echo()
    call(asgi_app(echo), "GET", "//indexes//a%20b/?limit=1&q=%20", chunks=[b""], X_Thing="1")
    request = echo.requests[0]
    assert (request.method, request.path, request.query) == ("GET", "/indexes/a%20b", "limit=1&q=%20")
    assert request.headers["x-thing"] == "1"


def test_a_client_that_leaves_is_not_answered() -> None:
    echo = Echo()
    assert call(asgi_app(echo), chunks=[]) == (0, {}, b"")
    assert echo.requests == []


def test_request_ids_and_the_end_of_a_request() -> None:
    ends: list[RequestEnd] = []
    ticks = iter([1.0, 3.5, 4.0, 4.0])
    app = asgi_app(Echo(), clock=lambda: next(ticks), on_end=ends.append, new_request_id=lambda: "fresh")
    assert call(app, x_request_id="mine")[1]["x-request-id"] == "mine"
    assert call(app)[1]["x-request-id"] == "fresh"
    assert ends[0] == RequestEnd("POST", "/indexes/m/search", "search", 200, 2.5, "mine")


def test_extra_handlers_take_their_paths_only() -> None:
    async def admin(request: HttpRequest) -> HttpReply:
        return HttpReply(203, request.path.encode(), "text/plain")

    echo = Echo()
    app = asgi_app(echo, extra=[("/_miroir/", admin)], max_body_bytes=10)
    assert call(app, path="/_miroir/nodes")[::2] == (203, b"/_miroir/nodes")
    assert call(app, path="/_miroir/nodes", chunks=[bytes(11)])[0] == 413
    assert echo.requests == []
    assert call(app, path="/_miroirs")[0] == 200


def test_lifespan_hooks() -> None:
    ran: list[str] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def started() -> None:
        ran.append("started")

    async def stopped() -> None:
        ran.append("stopped")

    app = asgi_app(Echo(), on_startup=started, on_shutdown=stopped)
    asyncio.run(app({"type": "lifespan"}, receive, send))  # type: ignore[arg-type]
    assert ran == ["started", "stopped"]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_large_bodies_share_a_budget_that_small_ones_do_not_need() -> None:
    free = payload.BodyBudget.FREE
    busy = ApiError("miroir_overloaded", "Too many large bodies at once.", headers={"Retry-After": "5"})

    class Nested(Echo):
        """While one large body is answered, others come."""

        def __init__(self) -> None:
            super().__init__()
            self.inner: list[int] = []

        async def respond(self, request: HttpRequest, *, body_error: ApiError | None = None) -> HttpReply:
            if len(request.body) > free and not self.inner:
                self.inner.append(await asyncio.to_thread(lambda: call(app, chunks=[large])[0]))
                self.inner.append(await asyncio.to_thread(lambda: call(app, chunks=[bytes(free)])[0]))
            return await super().respond(request, body_error=body_error)

    edge = Nested()
    app = asgi_app(edge, budget=payload.BodyBudget(1_000_000), busy=busy)
    large = bytes(free + 600_000)
    assert call(app, chunks=[large[:free], large[free:]])[0] == 200
    assert edge.inner == [503, 200]
    assert call(app, chunks=[large])[0] == 200, "what was taken is given back"
    status, headers, _ = call(app, chunks=[bytes(free), bytes(free)])
    assert status == 503
    assert headers["Retry-After"] == "5"
