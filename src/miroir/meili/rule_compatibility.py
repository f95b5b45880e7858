"""Whether the results of two queries can be merged: their rules must be of the same kinds in the same places.

The rules of each query are first brought to the list that really runs (canonicalised); an incompatibility is
explained with the changes that were made. Source: search-semantics G.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from miroir.meili.codes import ApiError
from miroir.meili.sorting import Sort

SearchKind = Literal["placeholder", "keyword", "vector"]
_RELEVANCY = frozenset(
    {"words", "typo", "proximity", "attribute", "attributeRank", "wordPosition", "exactness"}
)
_KIND_NAMES = {
    "relevancy": "relevancy",
    "asc": "ascending sort",
    "desc": "descending sort",
    "geo asc": "ascending geo sort",
    "geo desc": "descending geo sort",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a rule stands: a range of `rankingRules`, or one entry of `query.sort`."""

    first: int
    last: int
    sort: int | None = None

    @property
    def text(self) -> str:
        if self.sort is not None:
            return f"#{self.sort} in `query.sort` (as `sort` is #{self.first} in ranking rules)"
        return f"#{self.first} in ranking rules"


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    place: _Place
    shown: str


@dataclass(slots=True)
class CanonicalRules:
    """The rules of one query as they run, with notes on what was changed."""

    query_position: int
    index_uid: str
    rules: list[_Rule] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Canonicaliser:
    def __init__(
        self, ranking_rules: Sequence[str], sort: Sequence[Sort] | None, strategy: str, kind: SearchKind
    ):
        self._source = ranking_rules
        self._sort = sort
        self._strategy = strategy
        self._kind = kind
        self._criteria: list[str] = []
        self._sorts: list[Sort] = []
        self._seen: dict[str, int] = {}
        self._fields: dict[str, _Place] = {}
        self._words_prepended = False
        self.notes: list[str] = []

    def run(self) -> list[_Rule]:
        for place, name in enumerate(self._source):
            if name in _RELEVANCY:
                if not self._relevancy(name, place):
                    break
            elif name == "sort":
                self._sort_rule(place)
            else:
                self._custom(name, place)
        return self._coalesced()

    def _note(self, text: str) -> None:
        self.notes.append(text)

    def _duplicate(self, name: str, removed: str, earlier: str) -> None:
        self._note(
            f"Removed duplicate rule `{name}` at position {removed} as it already appears at position {earlier}"
        )

    def _relevancy(self, name: str, place: int) -> bool:
        position = f"#{place} in ranking rules"
        if self._kind == "placeholder":
            self._note(
                f"Removed relevancy rule `{name}` at position {position} because the query is a placeholder search "
                '(`q`: "")'
            )
            return True
        if self._kind == "vector":
            return self._vector(name, place, position)
        if name == "words":
            return self._words(place, position)
        if self._strategy != "all" and "words" not in self._seen and not self._words_prepended:
            self._note(f"Prepended rule `words` before first relevancy rule `{name}` at position {position}")
            self._criteria.append("words")
            self._words_prepended = True
        if name in self._seen:
            self._duplicate(name, position, f"#{self._seen[name]} in ranking rules")
        else:
            self._seen[name] = place
            self._criteria.append(name)
        return True

    def _vector(self, name: str, place: int, position: str) -> bool:
        if "vector" not in self._seen:
            self._seen["vector"] = place
            self._criteria.append(name)
            return True
        inserted = f"#{self._seen['vector']} in ranking rules"
        if not self._fields:
            self._note(
                f"Removed relevancy rule `{name}` at position {position} because the query is a vector search and "
                f"`vector` was already inserted at position {inserted}"
            )
            return True
        self._note(
            f"Truncated relevancy rule `{name}` at position {position} and later rules because the query is a vector "
            f"search and `vector` was inserted at position {inserted}"
        )
        return False

    def _words(self, place: int, position: str) -> bool:
        if self._strategy == "all":
            self._note(
                f"Removed rule `words` at position {position} because `query.matchingWords` is set to `all`"
            )
            return True
        if "words" in self._seen:
            self._duplicate("words", position, f"#{self._seen['words']} in ranking rules")
            return True
        if self._words_prepended:
            self._note(f"Removed rule `words` at position {position} because it was previously prepended")
        self._seen["words"] = place
        self._criteria.append("words")
        return True

    def _sort_rule(self, place: int) -> None:
        position = f"#{place} in ranking rules"
        if "sort" in self._seen:
            self._duplicate("sort", position, f"#{self._seen['sort']} in ranking rules")
        elif self._sort is None:
            self.notes.append(f" Removed rule `sort` at position {position} because `query.sort` is empty")
        else:
            self._seen["sort"] = place
            self._criteria.append("sort")
            self._canonical_sort(self._sort, place)

    def _canonical_sort(self, sort: Sequence[Sort], place: int) -> None:
        geo: _Place | None = None
        for number, entry in enumerate(sort):
            here = _Place(place, place, number)
            earlier = geo if entry.point is not None else self._fields.get(entry.name)
            if earlier is not None:
                self._duplicate(_source_name(self._source, sort, earlier), here.text, earlier.text)
                continue
            if entry.point is not None:
                geo = here
            else:
                self._fields[entry.name] = here
            self._sorts.append(entry)

    def _custom(self, name: str, place: int) -> None:
        attribute = name.rpartition(":")[0]
        here = _Place(place, place)
        earlier = self._fields.get(attribute)
        if earlier is not None:
            self._duplicate(_source_name(self._source, self._sort or (), earlier), here.text, earlier.text)
            return
        self._fields[attribute] = here
        self._criteria.append(name)

    def _coalesced(self) -> list[_Rule]:
        rules: list[_Rule] = []
        for place, name in enumerate(self._criteria):
            if name in _RELEVANCY:
                last = rules[-1] if rules else None
                if last is not None and last.kind == "relevancy":
                    merged = _Place(last.place.first, place)
                    shown = ", ".join(self._criteria[merged.first : place + 1])
                    rules[-1] = _Rule("relevancy", merged, shown)
                else:
                    rules.append(_Rule("relevancy", _Place(place, place), name))
            elif name == "sort":
                for number, entry in enumerate(self._sorts):
                    kind = f"geo {entry.direction}" if entry.point is not None else entry.direction
                    shown = "default" if entry.point is not None else f"on field `{entry.name}`"
                    rules.append(_Rule(kind, _Place(place, place, number), shown))
            else:
                attribute, _, direction = name.rpartition(":")
                kind = f"geo {direction}" if attribute == "_geo" else direction
                rules.append(_Rule(kind, _Place(place, place), name))
        return rules


def _source_name(ranking_rules: Sequence[str], sort: Sequence[Sort], place: _Place) -> str:
    if place.sort is None:
        return ranking_rules[place.first]
    entry = sort[place.sort]
    return f"_geo(..):{entry.direction}" if entry.point is not None else f"{entry.name}:{entry.direction}"


def canonical_rules(
    ranking_rules: Sequence[str],
    sort: Sequence[Sort] | None,
    *,
    strategy: str,
    kind: SearchKind,
    query_position: int,
    index_uid: str,
) -> CanonicalRules:
    """The rules of one query; `sort` None when the query has none."""
    canonicaliser = _Canonicaliser(ranking_rules, sort, strategy, kind)
    rules = canonicaliser.run()
    return CanonicalRules(query_position, index_uid, rules, canonicaliser.notes)


def check_compatible(previous: CanonicalRules, current: CanonicalRules) -> CanonicalRules:
    """Compare two queries' rules place by place; returns the one with more rules, to compare the next with.

    Raises:
        ApiError: `invalid_multi_search_query_ranking_rules`, with both rules and the notes.
    """
    for one, other in zip(previous.rules, current.rules, strict=False):
        if one.kind != other.kind:
            raise _incompatible(previous, current, one, other)
    return previous if len(previous.rules) > len(current.rules) else current


def _incompatible(previous: CanonicalRules, current: CanonicalRules, one: _Rule, other: _Rule) -> ApiError:
    first, second = previous.query_position, current.query_position
    lines = [
        f"The results of queries #{first} and #{second} are incompatible: ",
        f"  1. {_shown(previous, one)}",
        f"  2. {_shown(current, other)}",
        f"  - {_reason(one.kind, other.kind)}",
    ]
    for rules in (previous, current):
        if rules.notes:
            lines.append(
                f"  - note: The ranking rules of query #{rules.query_position} were modified during canonicalization:"
            )
            # The note about an unused `sort` is indented by one less.
            lines += [
                f"   {number}.{note}" if note.startswith(" ") else f"    {number}. {note}"
                for number, note in enumerate(rules.notes, 1)
            ]
    return ApiError("invalid_multi_search_query_ranking_rules", "\n".join(lines) + "\n")


def _shown(rules: CanonicalRules, rule: _Rule) -> str:
    place, query, uid = rule.place, rules.query_position, rules.index_uid
    if place.sort is not None:
        source = f"`queries[{query}].sort[{place.sort}]`, `{uid}.rankingRules[{place.first}]`"
    elif place.first != place.last:
        source = f"`queries[{query}]`, `{uid}.rankingRules[{place.first}..={place.last}]`"
    else:
        source = f"`queries[{query}]`, `{uid}.rankingRules[{place.first}]`"
    return f"{source}: {_KIND_NAMES[rule.kind]} rule(s) {rule.shown}"


def _reason(one: str, other: str) -> str:
    if "relevancy" in (one, other):
        kind = other if one == "relevancy" else one
        return (
            f"cannot compare a relevancy rule with a {'geosort' if kind.startswith('geo') else 'sort'} rule"
        )
    if one.startswith("geo") != other.startswith("geo"):
        return "cannot compare a sort rule with a geosort rule"
    return f"cannot compare two {'geosort' if one.startswith('geo') else 'sort'} rules in opposite directions"
