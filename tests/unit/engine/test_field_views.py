"""The fields of an index: what is listed though nobody can search it."""

from miroir.engine.field_views import field_views
from miroir.meili.commands import FieldsQuery
from tests.unit.engine.searching import make_index


def test_points_and_vectors_are_listed_and_never_searchable() -> None:
    document = {"id": 1, "_vectors": {"e": [1, 2]}, "_geo": {"lat": 1, "lng": 2}}
    views = field_views(make_index([document], searchableAttributes=["*"]), FieldsQuery())
    searchable = {view["name"]: view["searchable"]["enabled"] for view in views}
    assert searchable == {"_geo": False, "_geo.lat": False, "_geo.lng": False, "_vectors": False, "id": True}
