"""What a node says it was asked for."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from miroir.engine.access_log import AccessLog, line
from miroir.meili.http import HttpReply, HttpRequest


def _request(method: str, path: str, body: object = None) -> HttpRequest:
    return HttpRequest(method, path, "", {}, b"" if body is None else orjson.dumps(body))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (_request("GET", "/indexes/m/documents/7"), "GET /indexes/m/documents/7 200"),
        (_request("POST", "/indexes/m/documents", [{"id": 1}]), "POST /indexes/m/documents 200"),
        (
            _request("POST", "/indexes/m/search", {"q": "secret", "filter": "a = \u0700"}),
            'POST /indexes/m/search 200 [{"filter": "a = \\u0700"}]',
        ),
        (
            _request("POST", "/multi-search", {"queries": [{"q": "x", "filter": ["a = 1"]}, {"q": "y"}]}),
            'POST /multi-search 200 [{"filter": ["a = 1"]}, {}]',
        ),
        (
            _request("POST", "/indexes/m/documents/fetch", {"ids": ["1"], "limit": 3}),
            'POST /indexes/m/documents/fetch 200 [{"ids": ["1"]}]',
        ),
        (HttpRequest("POST", "/indexes/m/search", "", {}, b"{"), "POST /indexes/m/search 200"),
        (_request("POST", "/multi-search", {"queries": 3}), "POST /multi-search 200"),
    ],
)
def test_a_line_names_filters_and_ids_and_nothing_else(request_: HttpRequest, said: str) -> None:
    assert line(request_, 200) == said


def test_every_answer_is_told_of_and_goes_on_as_it_is() -> None:
    class Inner:
        def route_name(self, request: HttpRequest) -> str | None:
            return "a.route"

        async def respond(self, request: HttpRequest, *, body_error: object = None) -> HttpReply:
            return HttpReply(404, b"no")

    said: list[str] = []
    log = AccessLog(Inner(), said.append)
    assert asyncio.run(log.respond(_request("GET", "/x"))).status == 404
    assert log.route_name(_request("GET", "/x")) == "a.route"
    assert said == ["GET /x 404"]
