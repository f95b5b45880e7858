"""A draft comes to what the catalogue would have come to, and the catalogue knows nothing of it until then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.catalogue import Catalogue, Draft
from miroir.core.records import CatalogueChange, IndexChange, IndexState

logical = st.sampled_from("abcd")
physical = st.sampled_from(["p1", "p2", "p3", "p4"])


def state(uid: str) -> IndexState:
    return IndexState(physical=uid, created_at=1, updated_at=1)


@st.composite
def changes(draw: st.DrawFn) -> CatalogueChange:
    kind = draw(st.sampled_from(["create", "drop", "swap", "patch", "rename"]))
    left, right, uid = draw(logical), draw(logical), draw(physical)
    if kind == "create":
        return CatalogueChange(names={left: uid}, indexes={uid: IndexChange(created=state(uid))})
    if kind == "patch":
        return CatalogueChange(indexes={uid: IndexChange(document_count=draw(st.integers(0, 9)))})
    if kind == "swap":
        return CatalogueChange(names={left: uid, right: draw(physical)})
    return CatalogueChange(names={left: None} if kind == "drop" else {left: None, right: uid})


@given(st.lists(changes(), max_size=6), st.lists(changes(), max_size=6))
def test_a_draft_comes_to_the_same(before: list[CatalogueChange], after: list[CatalogueChange]) -> None:
    one, two = Catalogue(), Catalogue()
    for change in before:
        one.apply(change, now_ns=5)
        two.apply(change, now_ns=5)
    names, indexes = dict(two.names), dict(two.indexes)
    draft = Draft(two)
    applied = [draft.apply(change, now_ns=9) for change in after]
    assert applied == [one.apply(change, now_ns=9) for change in after]
    assert (dict(two.names), dict(two.indexes)) == (names, indexes)
    for rows in applied:
        two.take(rows)
    assert (dict(two.names), dict(two.indexes)) == (dict(one.names), dict(one.indexes))
