"""From the settings' `rankingRules` to the list of rules that one search executes. Source: semantics C.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from miroir.engine.facets import FacetIndex
from miroir.engine.ranking.attribute import AttributeRankRule, WordPositionRule
from miroir.engine.ranking.exactness import ExactAttributeRule, ExactWordsRule
from miroir.engine.ranking.proximity import ProximityRule
from miroir.engine.ranking.rule import RankingRule
from miroir.engine.ranking.typo import TypoRule
from miroir.engine.ranking.words import Strategy, WordsRule
from miroir.engine.resolve import Resolver
from miroir.engine.sorting import GeoSortRule, sort_rule
from miroir.meili.sorting import Sort

DEFAULT_RULES = ("words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness")
_RELEVANCY = frozenset(
    ("words", "typo", "proximity", "attribute", "attributeRank", "wordPosition", "exactness")
)
_ATTRIBUTE_RULES = frozenset(("attributeRank", "wordPosition"))


class RulePlanner:
    """Plans for one index version and one request's sort."""

    def __init__(self, settings: Mapping[str, Any], facets: FacetIndex, sort: Sequence[Sort]) -> None:
        self._settings = settings
        self._facets = facets
        self._sort = sort
        names = settings.get("rankingRules")
        self._names: Sequence[str] = DEFAULT_RULES if names is None else names

    def keyword_rules(self, resolver: Resolver, strategy: Strategy) -> list[RankingRule]:
        """Rules of a search with words."""
        rules: list[RankingRule] = []
        done: set[str] = set()
        sorted_fields: set[str] = set()
        for name in self._names:
            if name not in _RELEVANCY:
                rules.extend(self._value_rules(name, done, sorted_fields))
                continue
            if "words" not in done:
                # Every relevancy rule works on the words that are left, so the rule `words` comes first.
                done.add("words")
                if strategy != "all":
                    rules.append(WordsRule(resolver, strategy))
            if name in done or _is_blocked(name, done):
                continue
            done.add(name)
            rules.extend(_relevancy_rules(name, resolver))
        return rules

    def placeholder_rules(self) -> list[RankingRule]:
        """Rules of a search without words."""
        done: set[str] = set()
        sorted_fields: set[str] = set()
        return [rule for name in self._names for rule in self._value_rules(name, done, sorted_fields)]

    def vector_rules(self, vector_rule: RankingRule) -> list[RankingRule]:
        """Rules of a semantic search: the vector rule stands where the first relevancy rule stood."""
        rules: list[RankingRule] = []
        done: set[str] = set()
        sorted_fields: set[str] = set()
        for name in self._names:
            if name in _RELEVANCY:
                if "vector" not in done:
                    done.add("vector")
                    rules.append(vector_rule)
            else:
                rules.extend(self._value_rules(name, done, sorted_fields))
        return rules

    def _value_rules(self, name: str, done: set[str], sorted_fields: set[str]) -> Iterator[RankingRule]:
        """Rules of `sort` or of a custom `field:asc`; none for relevancy rules and repetitions."""
        if name == "sort":
            if "sort" not in done:
                done.add("sort")
                for criterion in self._sort:
                    yield from self._criterion_rules(criterion, sorted_fields)
            return
        field, colon, direction = name.rpartition(":")
        if colon and field not in sorted_fields:
            sorted_fields.add(field)
            yield sort_rule(self._facets, self._settings, field, ascending=direction == "asc")

    def _criterion_rules(self, criterion: Sort, sorted_fields: set[str]) -> Iterator[RankingRule]:
        ascending = criterion.direction == "asc"
        if criterion.point is not None:
            yield GeoSortRule(self._facets, criterion.point, ascending=ascending)
        elif criterion.name not in sorted_fields:
            sorted_fields.add(criterion.name)
            yield sort_rule(self._facets, self._settings, criterion.name, ascending=ascending)


def _is_blocked(name: str, done: set[str]) -> bool:
    """`attribute` and its two halves exclude one another; the first one named wins."""
    if name == "attribute":
        return not done.isdisjoint(_ATTRIBUTE_RULES)
    return name in _ATTRIBUTE_RULES and "attribute" in done


def _relevancy_rules(name: str, resolver: Resolver) -> list[RankingRule]:
    if name == "typo":
        return [TypoRule(resolver)]
    if name == "proximity":
        return [ProximityRule(resolver)]
    if name == "attribute":
        return [AttributeRankRule(resolver, unified=True), WordPositionRule(resolver, unified=True)]
    if name == "attributeRank":
        return [AttributeRankRule(resolver)]
    if name == "wordPosition":
        return [WordPositionRule(resolver)]
    if name == "exactness":
        return [ExactAttributeRule(resolver), ExactWordsRule(resolver)]
    return []
