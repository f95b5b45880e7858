"""What of a document a client may see, and in which order: nodes show everything, hiding is done here.

Nodes have `displayedAttributes: ["*"]` because hidden sort values are needed to merge (search-semantics H15).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from miroir.core.reserved import GHOST_FIELD, SEQ_FIELD, SHARD_FIELD, is_reserved
from miroir.core.topology import IndexView
from miroir.meili.field_selection import retrieve, select_values
from miroir.meili.settings_rules import attribute_list

_RESERVED = (SHARD_FIELD, SEQ_FIELD, GHOST_FIELD)
#: Keys the server puts behind a document's own fields, in the order it prints them.
_VIRTUAL = ("_vectors", "_geoDistance", "_federation", "_formatted", "_matchesPosition", "_rankingScore")


def displayed(index: IndexView) -> tuple[str, ...] | None:
    """The index's displayed attributes, None when all of them are."""
    names = attribute_list(index.settings, "displayedAttributes")
    return None if "*" in names else tuple(names)


@dataclass(frozen=True, slots=True)
class Projection:
    """How hits of one search are asked from nodes and cut for the client.

    `retrieve` None: whole documents. `added` are attributes asked for our own use, not for the client.
    """

    retrieve: tuple[str, ...] | None
    added: tuple[str, ...]
    shown: tuple[str, ...] | None
    highlight: tuple[str, ...] | None
    crop: tuple[str, ...] | None
    field_order: Mapping[str, int]


def project(
    index: IndexView,
    attributes_to_retrieve: tuple[str, ...] | None,
    *,
    highlight: tuple[str, ...] | None = None,
    crop: tuple[str, ...] | None = None,
    needed: Iterable[str] = (),
) -> Projection:
    """The projection for one search; `needed` are attributes we must see whatever the client asked for."""
    shown = displayed(index)
    wanted = attributes_to_retrieve
    if wanted is not None and "*" in wanted:
        wanted = None
    if shown is None:
        retrieve = wanted
    else:
        retrieve = shown if wanted is None else tuple(name for name in wanted if name in shown)
    added: tuple[str, ...] = ()
    if retrieve is not None:
        added = tuple(name for name in needed if name not in retrieve)
        retrieve += added
        if not retrieve:
            retrieve = ()
    return Projection(
        retrieve=retrieve,
        added=added,
        shown=shown,
        highlight=_formattable(highlight, shown),
        crop=_formattable(crop, shown),
        field_order={name: place for place, name in enumerate(index.field_order)},
    )


def _formattable(names: tuple[str, ...] | None, shown: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Highlight or crop entries narrowed to displayed attributes (`name:length` for a crop)."""
    if names is None or shown is None:
        return names
    narrowed: list[str] = []
    for entry in names:
        name, colon, length = entry.rpartition(":")
        if not colon:
            name, length = entry, ""
        if name == "*":
            narrowed += [f"{each}{colon}{length}" for each in shown]
        elif name in shown:
            narrowed.append(entry)
    return tuple(narrowed)


class Finisher:
    """Turns a node's documents into what the client sees. One per answer: it remembers key orders."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._added = frozenset(projection.added)
        wanted = projection.retrieve or ()
        self._client = tuple(name for name in wanted if name not in self._added)
        self._orders: dict[tuple[str, ...], tuple[str, ...] | None] = {}

    def document(self, body: dict[str, Any]) -> dict[str, Any]:
        """Without reserved and added fields, top-level keys in the index's order."""
        for name in _RESERVED:
            body.pop(name, None)
        if self._added:
            body = self._without_added(body)
        formatted = body.get("_formatted")
        if formatted is not None:
            self._formatted(formatted)
            if formatted:
                body["_formatted"] = self._ordered(formatted)
            else:  # nothing of it was the client's; the server leaves an empty one out
                del body["_formatted"]
        positions = body.get("_matchesPosition")
        if positions is not None:
            body["_matchesPosition"] = self._positions(positions)
        return self._ordered(body)

    def _without_added(self, body: dict[str, Any]) -> dict[str, Any]:
        """The document as if the attributes of our own use had not been asked for."""
        if self._projection.retrieve is None:
            for name in self._added:
                remove_path(body, name)
            return body
        if "_geo" in self._added:
            body.pop("_geoDistance", None)  # shown only beside the point
        return retrieve(body, (*self._client, *_VIRTUAL))

    def _formatted(self, formatted: dict[str, Any]) -> None:
        for name in _RESERVED:
            formatted.pop(name, None)
        kept = {
            *(self._projection.highlight or ()),
            *(entry.rpartition(":")[0] or entry for entry in self._projection.crop or ()),
        }
        if self._added and "*" not in kept:
            shown = select_values(formatted, [*self._client, *kept])
            formatted.clear()
            formatted |= shown

    def _positions(self, positions: dict[str, Any]) -> dict[str, Any]:
        shown = self._projection.shown
        return {
            path: spans
            for path, spans in positions.items()
            if not is_reserved(path)
            and (shown is None or any(path == name or path.startswith(f"{name}.") for name in shown))
        }

    def _ordered(self, body: dict[str, Any]) -> dict[str, Any]:
        names = tuple(body)
        try:
            order = self._orders[names]
        except KeyError:
            order = self._orders[names] = self._order_of(names)
        return body if order is None else {name: body[name] for name in order}

    def _order_of(self, names: tuple[str, ...]) -> tuple[str, ...] | None:
        places = self._projection.field_order
        last = len(places)

        def place(name: str) -> tuple[int, int]:
            if name in places:
                return 0, places[name]
            return (1, _VIRTUAL.index(name)) if name in _VIRTUAL else (0, last)

        order = tuple(sorted(names, key=place))
        return None if order == names else order

    def details(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """Score details with the sort values of hidden attributes hidden, as a node does."""
        shown = self._projection.shown
        if shown is None:
            return dict(details)
        finished = {}
        for name, detail in details.items():
            if "value" in detail and "distance" not in detail and name.rpartition(":")[0] not in shown:
                finished[f"<hidden-rule-{detail['order']}>"] = {**detail, "value": "<hidden>"}
            else:
                finished[name] = detail
        return finished


def at_path(body: Any, path: str) -> Any:
    """The value under a (dotted) path, a literal key first; None when there is none. Arrays give lists of values."""
    if isinstance(body, list):
        found = [value for value in (at_path(item, path) for item in body) if value is not None]
        return found or None
    if not isinstance(body, dict):
        return None
    if path in body:
        return body[path]
    head, dot, rest = path.partition(".")
    while dot:
        if head in body:
            return at_path(body[head], rest)
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def remove_path(body: Any, path: str) -> None:
    """Take the value under a path out; objects and lists that become empty go too."""
    if isinstance(body, list):
        for item in body:
            remove_path(item, path)
        body[:] = [item for item in body if item != {}]
    elif isinstance(body, dict):
        if path in body:
            del body[path]
            return
        head, dot, rest = path.partition(".")
        if dot and head in body:
            remove_path(body[head], rest)
            if body[head] in ({}, []):
                del body[head]
