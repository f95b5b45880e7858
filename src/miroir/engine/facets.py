"""Facet tables: for every faceted path the documents by number, by string, and by existence.

A `FacetIndex` is one immutable version; `updated` gives the next one at a cost proportional to the changes.
Source of the rules: search-semantics A.2 and A.8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pyroaring import BitMap

from miroir.engine.attribute_rules import GEO_FIELD, AttributeRules
from miroir.engine.facet_tree import FacetTree
from miroir.engine.facet_values import PathValues, document_values
from miroir.engine.occurrences import differing_parts
from miroir.engine.persistent import OrderedKeys, PersistentMap
from miroir.engine.shapes import Figure
from miroir.meili.geo_field import document_point
from miroir.meili.geojson import GEOJSON_FIELD, document_shape

Document = dict[str, Any]
Point = tuple[float, float]
Change = tuple[int, Document | None, Document | None]

K = TypeVar("K", float, str)

_NO_VALUES = PathValues()
_VECTORS = "_vectors"


@dataclass(frozen=True, slots=True)
class FieldFacets:
    """The table of one path. Keys of `strings` are normalised; `values` has what each document holds."""

    numbers: PersistentMap[float, BitMap] = field(default_factory=PersistentMap)
    strings: PersistentMap[str, BitMap] = field(default_factory=PersistentMap)
    values: PersistentMap[int, PathValues] = field(default_factory=PersistentMap)
    number_order: OrderedKeys[float] = field(default_factory=OrderedKeys)
    string_order: OrderedKeys[str] = field(default_factory=OrderedKeys)
    with_number: BitMap = field(default_factory=BitMap)  #: documents with at least one number
    with_string: BitMap = field(default_factory=BitMap)
    null: BitMap = field(default_factory=BitMap)
    empty: BitMap = field(default_factory=BitMap)
    exists: BitMap = field(default_factory=BitMap)
    number_tree: FacetTree = field(default_factory=FacetTree)
    string_tree: FacetTree = field(default_factory=FacetTree)
    touched_numbers: frozenset[float] = frozenset()  #: changed since the trees were settled
    touched_strings: frozenset[str] = frozenset()

    def settled(self) -> FieldFacets:
        """A version whose trees know all values; at the end of a batch."""
        if not self.touched_numbers and not self.touched_strings:
            return self
        return replace(
            self,
            number_tree=self.number_tree.grown(self.number_order.keys, self.touched_numbers),
            string_tree=self.string_tree.grown(self.string_order.keys, self.touched_strings),
            touched_numbers=frozenset(),
            touched_strings=frozenset(),
        )

    @property
    def number_shape(self) -> FacetTree:
        """The tree over the numbers; inside a batch that is not settled, one as if loaded at once."""
        return FacetTree.built(self.number_order.keys) if self.touched_numbers else self.number_tree

    @property
    def string_shape(self) -> FacetTree:
        """As `number_shape`, over the strings."""
        return FacetTree.built(self.string_order.keys) if self.touched_strings else self.string_tree

    def original(self, docid: int, key: str) -> str:
        """The spelling under which a document holds a key."""
        return self.values[docid].strings[key]

    def updated(self, changes: Mapping[int, tuple[PathValues | None, PathValues | None]]) -> FieldFacets:
        """A version in which each document's values are replaced; None means nothing at this path."""
        numbers = _Postings(self.numbers)
        strings = _Postings(self.strings)
        flags = {
            name: getattr(self, name).copy()
            for name in ("with_number", "with_string", "null", "empty", "exists")
        }
        for docid, (old, new) in changes.items():
            before, after = old or _NO_VALUES, new or _NO_VALUES
            numbers.change(docid, before.numbers, after.numbers)
            strings.change(docid, before.strings, after.strings)
            for name, holds in (
                ("with_number", bool(after.numbers)),
                ("with_string", bool(after.strings)),
                ("null", after.is_null),
                ("empty", after.is_empty),
                ("exists", new is not None),
            ):
                if holds:
                    flags[name].add(docid)
                else:
                    flags[name].discard(docid)
        new_numbers, number_changes = numbers.finished()
        new_strings, string_changes = strings.finished()
        return FieldFacets(
            numbers=new_numbers,
            strings=new_strings,
            values=self.values.updated({docid: new for docid, (_, new) in changes.items()}),
            number_order=self.number_order.updated(*number_changes),
            string_order=self.string_order.updated(*string_changes),
            number_tree=self.number_tree,
            string_tree=self.string_tree,
            touched_numbers=self.touched_numbers.union(numbers.touched),
            touched_strings=self.touched_strings.union(strings.touched),
            **flags,
        )


class _Postings(Generic[K]):
    """Collects the changes of one batch to a table of key -> documents."""

    def __init__(self, table: PersistentMap[K, BitMap]) -> None:
        self._table: PersistentMap[K, BitMap] = table
        self._added: dict[K, list[int]] = defaultdict(list)
        self._removed: dict[K, list[int]] = defaultdict(list)

    def change(self, docid: int, before: Iterable[K], after: Iterable[K]) -> None:
        old, new = set(before), set(after)
        for key in new - old:
            self._added[key].append(docid)
        for key in old - new:
            self._removed[key].append(docid)

    @property
    def touched(self) -> set[K]:
        """Keys whose documents changed."""
        return self._added.keys() | self._removed.keys()

    def finished(self) -> tuple[PersistentMap[K, BitMap], tuple[list[K], list[K]]]:
        """The new table, and the keys that came and went."""
        changes: dict[K, BitMap | None] = {}
        came: list[K] = []
        gone: list[K] = []
        for key in self.touched:
            current = self._table.get(key)
            documents = BitMap() if current is None else current.copy()
            documents.update(self._added.get(key, ()))
            documents.difference_update(BitMap(self._removed.get(key, ())))
            changes[key] = documents or None
            if current is None and documents:
                came.append(key)
            elif current is not None and not documents:
                gone.append(key)
        return self._table.updated(changes), (came, gone)


@dataclass(frozen=True, slots=True)
class FacetIndex:
    """One version of all facet tables.

    `fields` has an entry for every faceted path that any document ever had; `known` also all other paths
    that were seen, and top-level names of documents that were left out or replaced within their payload,
    since an unknown attribute behaves differently from an empty one.
    """

    rules: AttributeRules = field(default_factory=AttributeRules)
    fields: Mapping[str, FieldFacets] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    points: PersistentMap[int, Point] = field(default_factory=PersistentMap)
    with_point: BitMap = field(default_factory=BitMap)
    shapes: PersistentMap[int, Figure] = field(default_factory=PersistentMap)

    def updated(
        self, settings: Mapping[str, Any], changes: Sequence[Change], primary_key: str | None = None
    ) -> FacetIndex:
        """The next version after (docid, old document, new document) changes under unchanged settings.

        Raises:
            ApiError: `invalid_document_geo_field`; the batch must then be dropped.
        """
        rules = self.rules if self.rules == AttributeRules.of(settings) else AttributeRules.of(settings)
        by_path: dict[str, dict[int, tuple[PathValues | None, PathValues | None]]] = defaultdict(dict)
        points: dict[int, Point | None] = {}
        shapes: dict[int, Figure | None] = {}
        names: set[str] = set()
        for docid, old, new in changes:
            id_text = _id_text(new, primary_key) if new is not None else ""
            if old is not None and new is not None:
                old, new = differing_parts(old, new)
            before = document_values(old, rules) if old is not None else {}
            after = document_values(new, rules) if new is not None else {}
            for path in before.keys() | after.keys():
                pair = before.get(path), after.get(path)
                if pair[0] != pair[1]:
                    by_path[path][docid] = pair
            names.update(new or ())
            names.update(nested_paths(new or {}))
            names.update(after)
            if rules.has_geo and ((old and GEO_FIELD in old) or (new and GEO_FIELD in new)):
                points[docid] = document_point(new, id_text) if new is not None else None
            if rules.has_shapes and ((old and GEOJSON_FIELD in old) or (new and GEOJSON_FIELD in new)):
                shape = document_shape(new or {})
                shapes[docid] = None if shape is None else Figure.of(shape)
        fields = dict(self.fields)
        for path, path_changes in by_path.items():
            fields[path] = fields.get(path, FieldFacets()).updated(path_changes)
        with_point = self.with_point
        if points:
            with_point = (with_point - BitMap(points)) | BitMap(d for d, point in points.items() if point)
        return FacetIndex(
            rules=rules,
            fields=fields,
            known=self.known if names <= self.known else self.known | names,
            points=self.points.updated(points),
            with_point=with_point,
            shapes=self.shapes.updated(shapes),
        )

    def knowing(self, names: Iterable[str]) -> FacetIndex:
        """The same with names that payloads mentioned, also in documents that were not kept."""
        known = self.known.union(names)
        return self if len(known) == len(self.known) else replace(self, known=known)

    def emptied(self, settings: Mapping[str, Any]) -> FacetIndex | None:
        """Tables for new settings, to be filled with every document; None when these serve them as well."""
        rules = AttributeRules.of(settings)
        if rules == self.rules:
            return None
        return FacetIndex(
            rules=rules,
            known=self.known,
            fields={n: FieldFacets() for n in self.known if rules.is_faceted(n)},
        )

    def rebuilt(
        self, settings: Mapping[str, Any], documents: Mapping[int, Document], primary_key: str | None = None
    ) -> FacetIndex:
        """The tables under new settings, in one go; names once known stay known."""
        empty = self.emptied(settings)
        if empty is None:
            return self
        return empty.updated(
            settings, [(docid, None, document) for docid, document in documents.items()], primary_key
        )

    def settle_steps(self) -> Generator[None, None, FacetIndex]:
        """The version that ends a batch, in small steps: the shapes of the facet trees follow whole batches."""
        fields: dict[str, FieldFacets] = {}
        for path, table in self.fields.items():
            if table.touched_numbers or table.touched_strings:
                yield
            fields[path] = table.settled()
        return replace(self, fields=fields)

    def cleared(self) -> FacetIndex:
        """The tables without any document; names stay known."""
        return replace(
            self, fields={n: FieldFacets() for n in self.fields}, points=PersistentMap(), with_point=BitMap()
        )

    def table(self, path: str) -> FieldFacets | None:
        """The table of a path, None when the path was never seen or is not faceted."""
        return self.fields.get(path)


def nested_paths(document: Document) -> Iterator[str]:
    """The dotted paths of everything below the top level, null or not."""
    for name, value in document.items():
        if isinstance(value, dict | list) and name != _VECTORS:
            yield from _paths_below(name, value)


def _paths_below(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.{name}"
            if isinstance(item, dict | list):
                yield from _paths_below(f"{path}.{name}", item)
    else:
        for item in value:
            if isinstance(item, dict | list):
                yield from _paths_below(path, item)


def _id_text(document: Document, primary_key: str | None) -> str:
    return str(document.get(primary_key, "")) if primary_key is not None else ""
