"""Catalogue ops: what creating, deleting, renaming, swapping and configuring indexes becomes. Pure.

Each function looks at the sequenced catalogue and returns a `Resolution`, or raises ApiError: the op fails before
any node hears of it. Error texts are Meilisearch's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from miroir.core.catalogue import Catalogue
from miroir.core.records import CatalogueChange, IndexChange, IndexState, Resolution
from miroir.core.writes.document_ids import primary_key_taken
from miroir.core.writes.node_settings import node_settings, with_removed
from miroir.core.writes.ops import Action
from miroir.meili.codes import ApiError
from miroir.meili.indexes import index_not_found


def require(catalogue: Catalogue, uid: str) -> IndexState:
    """The index of this name. Raises ApiError index_not_found."""
    found = catalogue.find(uid)
    if found is None:
        raise index_not_found(uid)
    return found


def fresh_index(
    physical: str, settings: Mapping[str, Any], now_ns: int, primary_key: str | None
) -> IndexState:
    """An index that was just made."""
    return IndexState(
        physical=physical,
        created_at=now_ns,
        updated_at=now_ns,
        primary_key=primary_key,
        settings=dict(settings),
        field_order=(primary_key,) if primary_key and "." not in primary_key else (),
    )


def create(catalogue: Catalogue, uid: str, index: IndexState) -> Resolution:
    """Make `index` under the name `uid`; its nodes learn of it by its settings."""
    if catalogue.find(uid) is not None:
        raise ApiError("index_already_exists", f"Index `{uid}` already exists.")
    return Resolution(
        physical=index.physical,
        action=Action.SETTINGS.value,
        everywhere=True,
        node_settings=node_settings(index.settings, exact=index.exact),
        change=CatalogueChange(
            names={uid: index.physical}, indexes={index.physical: IndexChange(created=index)}
        ),
        details={"primaryKey": index.primary_key},
    )


def delete(catalogue: Catalogue, uid: str, document_count: int) -> Resolution:
    """Take the name away at once; the physical index goes when its lanes get there."""
    index = require(catalogue, uid)
    return Resolution(
        physical=index.physical,
        action=Action.DROP.value,
        everywhere=True,
        change=CatalogueChange(names={uid: None}),
        details={"deletedDocuments": document_count},
    )


def update(
    catalogue: Catalogue, uid: str, *, new_uid: str | None, primary_key: str | None, document_count: int
) -> Resolution:
    """Another primary key (only while the index is empty), another name, or both."""
    index = require(catalogue, uid)
    details: dict[str, Any] = {"primaryKey": primary_key}
    action = Action.NONE
    if primary_key is not None and primary_key != index.primary_key:
        if index.primary_key is not None and document_count:
            raise ApiError(
                "index_primary_key_already_exists",
                f"Index `{uid}`: {primary_key_taken(index.primary_key).message}",
            )
        action = Action.PRIMARY_KEY if index.primary_key is not None else Action.NONE
    names: dict[str, str | None] = {}
    relabel: dict[str, str] = {}
    if new_uid is not None:
        details.update(oldIndexUid=uid, newIndexUid=new_uid)
    if new_uid is not None and new_uid != uid:
        if catalogue.find(new_uid) is not None:
            raise ApiError("index_already_exists", f"Index `{new_uid}` already exists.")
        names = {uid: None, new_uid: index.physical}
        relabel = {uid: new_uid, new_uid: uid}
    change = IndexChange() if primary_key is None else IndexChange(primary_key=primary_key)
    return Resolution(
        physical=index.physical,
        action=action.value,
        everywhere=action is not Action.NONE,
        primary_key=primary_key,
        change=CatalogueChange(names=names, indexes={index.physical: change}, relabel=relabel),
        details=details,
    )


def swap(catalogue: Catalogue, swaps: Sequence[tuple[str, str, bool]]) -> Resolution:
    """Exchange names pairwise, or rename the first to the second; all of them or none."""
    missing = [
        uid
        for left, right, rename in swaps
        for uid in ((left,) if rename else (left, right))
        if catalogue.find(uid) is None
    ]
    if len(missing) == 1:
        raise index_not_found(missing[0])
    if missing:
        listed = ", ".join(f"`{uid}`" for uid in sorted(missing))
        raise ApiError("index_not_found", f"Indexes {listed} not found.")
    names: dict[str, str | None] = {}
    relabel: dict[str, str] = {}
    for left, right, rename in swaps:
        if rename:
            if catalogue.find(right) is not None:
                raise ApiError(
                    "index_already_exists",
                    f"Cannot rename `{left}` to `{right}` as the index already exists. "
                    f"Hint: You can remove `{right}` first and then do your remove.",
                )
            names[left] = None
        else:
            names[left] = catalogue.names[right]
        relabel.update({left: right, right: left})
        names[right] = catalogue.names[left]
    details = {"swaps": [{"indexes": [left, right], "rename": rename} for left, right, rename in swaps]}
    return Resolution(change=CatalogueChange(names=names, relabel=relabel), details=details)


def make_exact(index: IndexState, *, exact: bool, details: dict[str, Any] | None) -> Resolution:
    """From now on (or no longer) reads leave ghosts out; they come after this, and go before."""
    return Resolution(
        physical=index.physical,
        action=Action.SETTINGS.value,
        everywhere=True,
        node_settings=node_settings(index.settings, exact=exact),
        change=CatalogueChange(indexes={index.physical: IndexChange(exact=exact)}),
        details=details,
    )


def configure(index: IndexState, settings: Mapping[str, Any], details: dict[str, Any] | None) -> Resolution:
    """The client's effective settings become `settings`."""
    wanted = with_removed(node_settings(settings, exact=index.exact), index.settings)
    return Resolution(
        physical=index.physical,
        action=Action.SETTINGS.value,
        everywhere=True,
        node_settings=wanted,
        change=CatalogueChange(indexes={index.physical: IndexChange(settings=dict(settings))}),
        details=details,
    )


def with_made(resolution: Resolution, made: CatalogueChange, node_new: dict[str, Any] | None) -> Resolution:
    """The op also makes its index: one change of the catalogue, and settings before anything else."""
    (physical,) = made.indexes
    later = resolution.change
    patch = made.indexes[physical]
    if later is not None and physical in later.indexes:
        patch = msgspec.structs.replace(later.indexes[physical], created=patch.created)
    return msgspec.structs.replace(
        resolution,
        physical=physical,
        change=CatalogueChange(names=made.names, indexes={physical: patch}),
        node_settings=resolution.node_settings or node_new,
    )


def later(first: CatalogueChange | None, second: CatalogueChange | None) -> CatalogueChange:
    """Two changes of one index as one: what both say, the second says last."""
    assert first is not None
    assert second is not None
    ((physical, patch),) = first.indexes.items()
    last = second.indexes[physical]
    both = msgspec.structs.replace(
        patch, document_count=last.document_count, field_distribution=last.field_distribution
    )
    return CatalogueChange(indexes={physical: both})
