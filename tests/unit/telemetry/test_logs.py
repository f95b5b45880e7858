"""Logs: lines are JSON, carry the request id, and never a key."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from miroir.telemetry import logs


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.setup(level="info", form="json", stream=stream)
    yield stream
    structlog.reset_defaults()


def test_a_line_is_json_and_carries_the_request_id(lines: io.StringIO) -> None:
    with logs.request_context("r-1"):
        structlog.get_logger().info("request_served", status=200)
        assert logs.current_request_id() == "r-1"
    line = json.loads(lines.getvalue())
    assert (line["event"], line["request_id"], line["status"], line["level"]) == (
        "request_served",
        "r-1",
        200,
        "info",
    )
    assert logs.current_request_id() is None


def test_keys_are_starred_by_name_and_in_bearer_texts(lines: io.StringIO) -> None:
    structlog.get_logger().warning(
        "x_failed", master_key="hush", text="sent Bearer hush to it", index_uid="books"
    )
    assert "hush" not in lines.getvalue()
    assert json.loads(lines.getvalue())["index_uid"] == "books"


def test_less_than_the_level_is_not_logged(lines: io.StringIO) -> None:
    structlog.get_logger().debug("plan_made")
    assert lines.getvalue() == ""


@pytest.mark.parametrize("sent", [None, "", "with space", "x" * 129, "line\nbreak"])
def test_a_strange_request_id_is_replaced(sent: str | None) -> None:
    fresh = logs.request_id(sent)
    assert fresh != sent
    assert fresh != logs.request_id(sent)


def test_a_plain_request_id_is_kept() -> None:
    assert logs.request_id("abc-123.x:y_z") == "abc-123.x:y_z"


@pytest.mark.parametrize("fact", [2**80, "\ud800", {1: "a"}, {"b"}, ValueError("c")])
def test_any_fact_makes_a_line(lines: io.StringIO, fact: object) -> None:
    structlog.get_logger().info("x_seen", fact=fact)
    assert json.loads(lines.getvalue())["event"] == "x_seen"
