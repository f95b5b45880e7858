"""What a node says is taken as a whole or not at all; what else stands at its address is no answer."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.writes.lane_requests import NodeTask
from miroir.core.writes.node_answers import error_of, index_uids, task_page, task_uid
from miroir.core.writes.ops import shards_tag, tag

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["results", "uid", "status", "type", "indexUid", "error", "code", "message", "taskUid"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(values | st.binary(max_size=20))
def test_whatever_is_said_is_understood_or_refused(said: object) -> None:
    body = said if isinstance(said, bytes) else orjson.dumps(said)
    for read in (task_page, task_uid, index_uids):
        try:
            read(body)
        except ValueError:
            continue
    error = error_of(body)
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)


def test_a_page_names_tasks_of_no_index_too() -> None:
    listed = [
        {"uid": 7, "status": "succeeded", "type": "taskDeletion", "indexUid": None, "later": [1]},
        {
            "uid": 5,
            "status": "failed",
            "type": "documentDeletion",
            "indexUid": "miroir-000001",
            "customMetadata": tag(3, 4),
            "error": {"code": "x", "message": "y"},
        },
        {"uid": 4, "status": "enqueued", "indexUid": "b", "customMetadata": shards_tag("copy", [2, 1])},
    ]
    page = task_page(orjson.dumps({"results": listed, "next": None}))
    assert page.uids == [7, 5, 4]
    assert page.tasks == [
        ("miroir-000001", NodeTask(5, "failed", "documentDeletion", (3, 4), {"code": "x", "message": "y"})),
        ("b", NodeTask(4, "enqueued", "", None, None, (1, 2))),
    ]


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"results":[{}]}', b'{"results":[{"uid":1}]}', b'{"results":null}', b'"x"']
)
def test_what_is_no_task_list_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a task list"):
        task_page(body)


def test_a_gateway_s_error_is_shown_as_text() -> None:
    body = b'{"code": 400, "status": "Bad Request"}'
    assert error_of(body) == {"message": body.decode(), "code": "internal", "type": "internal", "link": ""}
    said = {"message": "m", "code": "index_not_found", "type": "invalid_request", "link": "l"}
    assert error_of(orjson.dumps(said)) == said
