"""Whether the queries of a federation can be compared: judged on the clients' own ranking rules.

A node would also see the sequence rule we add, and only the queries of one index.
"""

from __future__ import annotations

from collections.abc import Sequence

from miroir.core.reads.search_plan import kind_of
from miroir.core.topology import IndexView
from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery
from miroir.meili.multi_search import inside
from miroir.meili.rule_compatibility import CanonicalRules, SearchKind, canonical_rules, check_compatible
from miroir.meili.settings import defaults
from miroir.meili.sorting import parse_sorts


def check_comparable(queries: Sequence[tuple[IndexView, SearchQuery]]) -> None:
    """Raise ApiError invalid_multi_search_query_ranking_rules for the first query that fits no earlier one.

    `queries` are compared as the server runs them: index by index, each index's in the order sent.
    """
    previous: CanonicalRules | None = None
    for position in sorted(range(len(queries)), key=lambda place: (queries[place][0].uid, place)):
        index, query = queries[position]
        try:
            rules = canonical_rules(
                index.settings.get("rankingRules") or defaults()["rankingRules"],
                parse_sorts(query.sort) if query.sort is not None else None,
                strategy=query.matching_strategy,
                kind=_search_kind(query),
                query_position=position,
                index_uid=index.uid,
            )
            previous = rules if previous is None else check_compatible(previous, rules)
        except ApiError as error:
            raise inside(position, error) from None


def _search_kind(query: SearchQuery) -> SearchKind:
    kind = kind_of(query)
    if kind == "semantic":
        return "vector"
    return "keyword" if query.q is not None and query.q.strip() else "placeholder"
