"""Nothing of ours in an error that reaches a client."""

from __future__ import annotations

import pytest

from miroir.core.reads.node_errors import as_api_error, clean_message, speaks_of_the_node
from tests.unit.core.views import index_view


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Index `miroir-000001`: no", "Index `books`: no"),
        (
            "Available filterable attribute patterns are: `_miroir_shard`, `_miroir_seq`, `a`, `b`.",
            "Available filterable attribute patterns are: `a`, `b`.",
        ),
        (
            "Available filterable attribute patterns are: `a`, `_miroir_shard`, `b`.",
            "Available filterable attribute patterns are: `a`, `b`.",
        ),
        (
            "Available sortable attributes are: `_miroir_seq, price, title`.",
            "Available sortable attributes are: `price, title`.",
        ),
        (
            "Available sortable attributes are: `_miroir_seq`.",
            "This index does not have configured sortable attributes.",
        ),
        (
            "Available filterable attribute patterns are: `_miroir_shard`, `_miroir_seq`.",
            "This index does not have configured filterable attributes.",
        ),
        (
            "  - Note: field `a` matched rule #3 in `filterableAttributes`",
            "  - Note: field `a` matched rule #1 in `filterableAttributes`",
        ),
    ],
)
def test_messages(said: str, shown: str) -> None:
    assert clean_message(said, index_view()) == shown


def test_an_unknown_code_is_internal() -> None:
    assert as_api_error({"code": "of_the_future", "message": "?"}, index_view()).code == "internal"
    assert as_api_error({"code": "invalid_search_sort", "message": "?"}, index_view()).status == 400


def test_lists_hide_what_is_not_displayed() -> None:
    index = index_view(displayedAttributes=["id", "price"])
    said = "Available sortable attributes are: `_miroir_seq, cost, price`."
    assert clean_message(said, index) == "Available sortable attributes are: `price, <..hidden-attributes>`."
    assert clean_message("Available sortable attributes are: `id, price`.", index).endswith("`id, price`.")


@pytest.mark.parametrize(
    ("status", "code", "message", "at_fault"),
    [
        (404, "index_not_found", "Index `miroir-000001` not found.", True),
        (400, "index_not_found", "Inside `.queries[0]`: Index `miroir-000001` not found.", True),
        (400, "invalid_search_filter", "Attribute `_miroir_shard` is not filterable.", True),
        (503, "too_many_search_requests", "", True),
        (403, "invalid_api_key", "", True),
        (404, "document_not_found", "Document `7` not found.", False),
        (
            400,
            "invalid_search_filter",
            "Attribute `x` is not filterable. Available filterable attribute patterns are: `_miroir_shard`.",
            False,
        ),
    ],
)
def test_a_node_that_lost_what_we_gave_it_is_at_fault_a_wrong_question_is_not(
    status: int, code: str, message: str, at_fault: bool
) -> None:
    assert speaks_of_the_node(status, {"code": code, "message": message}) is at_fault
