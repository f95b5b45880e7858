"""Whether the queries of a federation can be compared: the same kinds of ranking rules at the same places.

Judged on the clients' own rules: a node would also see the sequence rule we add. reference: search-semantics G.2.
"""

from __future__ import annotations

from collections.abc import Sequence

from miroir.core.search_plan import kind_of
from miroir.core.topology import IndexView
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery

_RELEVANCY = frozenset(
    {"words", "typo", "proximity", "attribute", "attributeRank", "wordPosition", "exactness"}
)
_DEFAULT_RULES = ("words", "typo", "proximity", "attributeRank", "sort", "wordPosition", "exactness")
#: (what is compared, its direction); the direction of relevancy is always down
Rule = tuple[str, str]
_WORDS = {
    ("relevancy", "desc"): "relevancy rule(s)",
    ("sort", "asc"): "ascending sort rule(s)",
    ("sort", "desc"): "descending sort rule(s)",
    ("geosort", "asc"): "ascending geosort rule(s)",
    ("geosort", "desc"): "descending geosort rule(s)",
}


def canonical_rules(index: IndexView, query: SearchQuery) -> list[Rule]:
    """The rules that will act, neighbouring relevancy rules as one."""
    kind = kind_of(query)
    ranks = bool(query.q and query.q.strip()) or kind != "keyword"
    rules: list[Rule] = []
    sorted_by: set[str] = set()
    relevancy_over = False
    for name in index.settings.get("rankingRules") or _DEFAULT_RULES:
        if name in _RELEVANCY:
            if ranks and not relevancy_over and (not rules or rules[-1][0] != "relevancy"):
                rules.append(("relevancy", "desc"))
            # a vector search has one relevancy rule, at the place of the first
            relevancy_over |= ranks and kind == "semantic"
            continue
        for entry in query.sort or () if name == "sort" else (name,):
            field, _, direction = entry.rpartition(":")
            geo = field.startswith("_geo")
            identity = "_geo" if geo else field
            if identity not in sorted_by:
                sorted_by.add(identity)
                rules.append(("geosort" if geo else "sort", direction))
    return rules


def check_comparable(queries: Sequence[tuple[IndexView, SearchQuery]]) -> None:
    """Raises ApiError invalid_multi_search_query_ranking_rules for the first query that fits no earlier one."""
    longest: tuple[int, list[Rule]] = (0, [])
    for position, (index, query) in enumerate(queries):
        rules = canonical_rules(index, query)
        for one, other in zip(longest[1], rules, strict=False):
            if one != other:
                raise ApiError(
                    "invalid_multi_search_query_ranking_rules",
                    f"Inside `.queries[{position}]`: The results of queries #{longest[0]} and #{position} are "
                    f"incompatible: \n  1. `queries[{longest[0]}]`: {_WORDS[one]}\n"
                    f"  2. `queries[{position}]`: {_WORDS[other]}\n  - {_problem(one, other)}",
                )
        if len(rules) > len(longest[1]):
            longest = (position, rules)


def _problem(one: Rule, other: Rule) -> str:
    if one[0] == other[0]:
        return f"cannot compare two {one[0]} rules in opposite directions"
    kinds = [kind for kind in ("relevancy", "sort", "geosort") if kind in (one[0], other[0])]
    return f"cannot compare a {kinds[0]} rule with a {kinds[1]} rule"
