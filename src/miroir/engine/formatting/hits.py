"""A document as a hit: selected fields, `_vectors`, `_geoDistance`, `_formatted`, positions, scores.

Source: search-semantics E.1 to E.3; api 7.2 for the order of keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from miroir.engine.formatting.crop import crop_bounds
from miroir.engine.formatting.matcher import Matcher, MatchingWords
from miroir.engine.formatting.selection import map_leaves
from miroir.engine.languages import three_letters
from miroir.engine.ranking.score import Detail, details_json, global_score
from miroir.engine.sorting import hit_distance
from miroir.engine.tokens import Tokenizer
from miroir.meili.commands import SearchQuery
from miroir.meili.field_selection import retrieve, select_values
from miroir.meili.refusals import compact_json
from miroir.meili.settings_rules import attribute_list, is_inside
from miroir.meili.sorting import Sort

if TYPE_CHECKING:
    from miroir.engine.index import Index

JsonObject = dict[str, Any]
VECTORS_FIELD = "_vectors"


@dataclass(frozen=True, slots=True)
class FormatOptions:
    """How the values of one field are shown in `_formatted`; `crop` is a number of words."""

    highlight: bool = False
    crop: int | None = None

    @property
    def changes_text(self) -> bool:
        """Whether anything is to be done at all."""
        return self.highlight or self.crop is not None

    def merged(self, other: FormatOptions) -> FormatOptions:
        """Both wishes together; the own crop length goes first."""
        return FormatOptions(
            self.highlight or other.highlight, other.crop if self.crop is None else self.crop
        )


class FieldNames:
    """Which paths the index knows and shows. `["*"]` shows everything that any document ever had."""

    def __init__(self, index: Index) -> None:
        self._top = {name: place for place, name in enumerate(index.field_ids)}
        self._faceted = index.facets.known
        self._parents = index.text.cache.get(
            "parents of faceted paths", lambda: _parents(index.facets.known), lambda _: 0
        )
        self._searchable = attribute_list(index.settings, "searchableAttributes")
        displayed = attribute_list(index.settings, "displayedAttributes")
        self.shows_all = "*" in displayed
        self.displayed = frozenset(displayed)

    def knows(self, path: str) -> bool:
        """Whether the path has a field id: a top-level name, or a nested one that is indexed."""
        if path in self._top or path in self._faceted or path in self._parents:
            return True
        parent = path.partition(".")[0]
        return parent in self._top and (
            "*" in self._searchable or any(is_inside(path, s) for s in self._searchable)
        )

    def is_displayed(self, path: str) -> bool:
        """Whether the path itself is shown (a listed parent is not enough)."""
        return self.knows(path) and (self.shows_all or path in self.displayed)

    def displayed_names(self) -> list[str]:
        """Known shown names in order of field ids; with `["*"]` the top-level ones, which cover the rest."""
        if self.shows_all:
            return list(self._top)
        return [name for name in self._top if name in self.displayed] + sorted(
            name for name in self.displayed if name not in self._top and self.knows(name)
        )

    def in_order(self, document: Mapping[str, Any]) -> JsonObject:
        """The document with its keys in order of field ids."""
        last = len(self._top)
        return {key: document[key] for key in sorted(document, key=lambda name: self._top.get(name, last))}


def _parents(paths: Collection[str]) -> frozenset[str]:
    """Every dotted parent of a path."""
    return frozenset(
        path[:place] for path in paths for place, character in enumerate(path) if character == "."
    )


class HitMaker:
    """Makes the hits of one search."""

    def __init__(
        self, index: Index, query: SearchQuery, words: MatchingWords | None = None, sort: Sequence[Sort] = ()
    ) -> None:
        self._index = index
        self._query = query
        self._words = words or MatchingWords()
        self._sort = sort
        self._names = FieldNames(index)
        self._displayed = self._names.displayed_names()
        self._retrieved = _retrieved(self._names, self._displayed, query.attributes_to_retrieve)
        self._options = _formatted_options(self._names, self._displayed, query, self._retrieved)
        self._tokenizer = Tokenizer.of(index.settings, stop_words=False)
        self._by_path: dict[str, FormatOptions | None] = {}
        self._with_vectors = query.retrieve_vectors and self._vectors_may_show()

    def _vectors_may_show(self) -> bool:
        if self._names.shows_all:
            return True
        # The server's test is the other way round once some document had the field.
        listed = VECTORS_FIELD in self._names.displayed
        return not listed if VECTORS_FIELD in self._index.field_ids else listed

    def make(self, docid: int, details: Sequence[Detail], federation: JsonObject | None = None) -> JsonObject:
        """The hit of one document; `federation` becomes `_federation`."""
        stored = self._names.in_order(self._index.documents[docid])
        without = {key: value for key, value in stored.items() if key != VECTORS_FIELD}
        hit = retrieve(without, self._retrieved)
        if self._with_vectors:
            hit[VECTORS_FIELD] = self._index.vectors.shown(docid, stored.get(VECTORS_FIELD))
        distance = hit_distance(self._sort, hit)
        if distance is not None:
            hit["_geoDistance"] = distance
        if federation is not None:
            hit["_federation"] = federation
        if self._options or self._query.show_matches_position:
            positions, formatted = self._format(self._without_embedders(stored))
            if formatted:
                hit["_formatted"] = formatted
            if self._query.show_matches_position:
                hit["_matchesPosition"] = positions
        if self._query.show_ranking_score:
            hit["_rankingScore"] = global_score(details)
        if self._query.show_ranking_score_details:
            hit["_rankingScoreDetails"] = details_json(details)
        return hit

    def _without_embedders(self, stored: JsonObject) -> JsonObject:
        """The document less the vectors of embedders: the server keeps those apart, others are plain values."""
        vectors = stored.get(VECTORS_FIELD)
        if not isinstance(vectors, dict):
            return stored
        kept = {name: v for name, v in vectors.items() if name not in self._index.vectors.embedders}
        rest = {key: value for key, value in stored.items() if key != VECTORS_FIELD or kept}
        return {**rest, VECTORS_FIELD: kept} if kept else rest

    def _format(self, document: JsonObject) -> tuple[JsonObject, JsonObject]:
        positions: JsonObject = {}
        wants_positions = self._query.show_matches_position

        def map_leaf(path: str, indices: tuple[int, ...], value: Any) -> Any:
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                return value
            text = value if isinstance(value, str) else compact_json(value)
            options = self._options_of(path)
            if not wants_positions and options is None:
                return text
            matcher = Matcher(text, self._tokenizer, self._words, self._languages(path))
            if wants_positions and matcher.matches:
                positions[path] = [_bounds(start, length, indices) for start, length in matcher.bounds()]
            return text if options is None else self._formatted_text(matcher, options)

        names = self._displayed if wants_positions else list(self._options)
        mapped = map_leaves(select_values(document, names), self._displayed, map_leaf)
        return dict(sorted(positions.items())), select_values(mapped, self._options)

    def _languages(self, path: str) -> Sequence[str] | None:
        """The languages of a value: those asked for, else what the settings say of the attribute."""
        if self._query.locales is not None:
            return three_letters(self._query.locales)
        rules = self._index.text.rules
        return rules.languages(path) if rules.localized else None

    def _options_of(self, path: str) -> FormatOptions | None:
        if path not in self._by_path:
            merged: FormatOptions | None = None
            for name, options in self._options.items():
                if options.changes_text and (is_inside(path, name) or is_inside(name, path)):
                    merged = options if merged is None else merged.merged(options)
            self._by_path[path] = merged
        return self._by_path[path]

    def _formatted_text(self, matcher: Matcher, options: FormatOptions) -> str:
        text, marker = matcher.text, self._query.crop_marker
        start, end = 0, len(text)
        if options.crop:
            start, end = crop_bounds(text, matcher.tokens, matcher.matches, options.crop)
        parts = [marker] if start > 0 else []
        place = start
        for match in matcher.matches if options.highlight else ():
            first = matcher.tokens[match.first].start
            last = matcher.tokens[match.last].start + len(matcher.tokens[match.last].text)
            if last < start or first > end:
                continue
            first, last = max(first, start), min(last, end)
            marked = min(first + match.char_count, last)
            parts += [
                text[place:first],
                self._query.highlight_pre_tag,
                text[first:marked],
                self._query.highlight_post_tag,
                text[marked:last],
            ]
            place = last
        parts.append(text[place:end])
        if end < len(text):
            parts.append(marker)
        return "".join(parts)


def _bounds(start: int, length: int, indices: tuple[int, ...]) -> JsonObject:
    bounds: JsonObject = {"start": start, "length": length}
    if indices:
        bounds["indices"] = list(indices)
    return bounds


def _retrieved(names: FieldNames, displayed: Sequence[str], wanted: Collection[str] | None) -> list[str]:
    if wanted is None or "*" in wanted:
        return list(displayed)
    return [name for name in dict.fromkeys(wanted) if names.is_displayed(name)]


def _formatted_options(
    names: FieldNames, displayed: Sequence[str], query: SearchQuery, retrieved: Sequence[str]
) -> dict[str, FormatOptions]:
    options: dict[str, FormatOptions] = {}
    highlighted = query.attributes_to_highlight or ()
    for name in displayed if "*" in highlighted else highlighted:
        if names.is_displayed(name):
            options[name] = FormatOptions(highlight=True)
    for entry in query.attributes_to_crop or ():
        name, colon, length = entry.rpartition(":")
        if not colon:
            name, length = entry, ""
        size = int(length) if length.isascii() and length.removeprefix("+").isdigit() else query.crop_length
        for cropped in displayed if name == "*" else (name,):
            if names.is_displayed(cropped):
                options[cropped] = FormatOptions(options.get(cropped, _PLAIN).highlight, size)
    if options:
        for name in retrieved:
            options.setdefault(name, _PLAIN)
    return options


_PLAIN = FormatOptions()
