"""What a node would refuse in a document is refused before the payload is split."""

from typing import Any

import pytest

from miroir.core.writes.document_checks import check_documents
from miroir.meili.codes import ApiError

_BY_NAME: list[Any] = ["_geojson", {"attributePatterns": ["a", "_geojson"]}]


@pytest.mark.parametrize("rule", _BY_NAME)
def test_shapes_are_checked_where_they_are_filterable(rule: Any) -> None:
    good = {"id": 1, "_geojson": {"type": "Point", "coordinates": [1, 2]}}
    wrong = {"id": 2, "_geojson": {"type": "Point", "coordinates": [1]}}
    settings = {"filterableAttributes": [rule]}
    check_documents([good], ["1"], settings, ())
    check_documents([good, wrong], ["1", "2"], {"filterableAttributes": ["b", "_geo*"]}, ())
    with pytest.raises(ApiError, match="A position must contain two or more elements") as refusal:
        check_documents([good, wrong], ["1", "2"], settings, ())
    assert refusal.value.code == "invalid_document_geo_field"


def test_points_are_checked_where_they_are_filterable_or_sortable() -> None:
    wrong = {"id": 1, "_geo": {"lat": "north"}}
    check_documents([wrong], ["1"], {"filterableAttributes": ["a"]}, ())
    for name in ("filterableAttributes", "sortableAttributes"):
        with pytest.raises(ApiError) as refusal:
            check_documents([wrong], ["1"], {name: ["_geo"]}, ())
        assert refusal.value.code == "invalid_document_geo_field"
