"""A disk counts as lost by the node's own word only."""

from __future__ import annotations

import orjson
import pytest

from miroir.core.node_identity import Who, identify

OURS = {"id": "identity", "cluster": "c", "node": "n", "uuid": "u", "_more": 1}


def who(status: int, body: object, known: str | None) -> Who:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return identify(status, raw, node="n", cluster="c", known=known).who


@pytest.mark.parametrize("code", ["document_not_found", "index_not_found"])
def test_what_a_server_says_is_not_there_is_new_or_lost(code: str) -> None:
    assert who(404, {"code": code, "message": "m"}, None) is Who.NEW
    assert who(404, {"code": code, "message": "m"}, "u") is Who.LOST


@pytest.mark.parametrize("known", [None, "u"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b""),
        (404, b"<html>no such page</html>"),
        (404, {"code": 404, "message": "no route"}),
        (404, {"code": "route_not_found"}),
        (200, b"<html>welcome</html>"),
        (200, []),
        (200, {"id": "identity", "uuid": 5}),
        (401, {"code": "invalid_api_key"}),
        (503, b""),
        (301, b""),
    ],
)
def test_what_no_server_of_ours_would_say_tells_nothing(status: int, body: object, known: str | None) -> None:
    assert who(status, body, known) is Who.UNKNOWN


def test_documents_tell_who_is_there() -> None:
    assert who(200, OURS, "u") is Who.ITSELF
    assert who(200, OURS, "v") is Who.LOST
    assert who(200, OURS, None) is Who.MET


@pytest.mark.parametrize("known", [None, "u"])
@pytest.mark.parametrize("other", [{"node": "m"}, {"cluster": "d"}])
def test_somebody_else_is_left_alone_whatever_is_known(other: dict[str, str], known: str | None) -> None:
    assert who(200, {**OURS, **other}, known) is Who.STRANGER
