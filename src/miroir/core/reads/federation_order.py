"""In which order a federation is looked at, and what it is refused for on the way: decided as one node would.

A node would see the sequence rule we add, and only the queries of one index; so nodes are asked only about what a
search by itself is refused for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from miroir.core.topology import IndexView
from miroir.errors import without_frames
from miroir.meili.codes import ApiError
from miroir.meili.commands import Federation, MultiSearch
from miroir.meili.facet_checks import check_facets
from miroir.meili.federation_checks import FederationChecks, groups_of
from miroir.meili.settings_rules import matches_pattern, value_order

Indexes = Mapping[str, IndexView]


@dataclass(frozen=True, slots=True)
class Judged:
    """`reached` are the positions of the queries that one node would run, in its order, before it refuses."""

    reached: tuple[int, ...]
    refusal: ApiError | None = None


def judge(request: MultiSearch, indexes: Indexes, known_facets: Mapping[str, Sequence[str]]) -> Judged:
    """Walk through a federation. `known_facets`: by index, what `facets_in_doubt` asked for."""
    federation = request.federation
    assert federation is not None
    checks = FederationChecks(federation, lambda uid: known_facets.get(uid, ()))
    reached: list[int] = []
    try:
        groups = groups_of(request)
        for uid, group in groups.items():
            index = indexes.get(uid)
            if index is None:
                raise checks.missing(uid, group)
            checks.begin(uid, index.settings, group)
            for i, item in group:
                checks.query(uid, index.settings, i, item)
                reached.append(i)
            checks.end(uid, index.settings, group)
        for uid in federation.facets_by_index:
            if uid not in groups:
                unused = indexes.get(uid)
                checks.unused(uid, None if unused is None else unused.settings)
    except ApiError as error:
        return Judged(tuple(reached), without_frames(error))
    return Judged(tuple(reached))


def facets_in_doubt(federation: Federation, indexes: Indexes) -> dict[str, list[str]]:
    """Facets whose paths must be known to tell whether indexes order them differently, by index.

    Empty where their settings agree, which is nearly always.
    """
    asked = {
        uid: [pattern for pattern in patterns if _is_allowed(indexes[uid], pattern)]
        for uid, patterns in federation.facets_by_index.items()
        if patterns and uid in indexes
    }
    if federation.merge_facets is None or len(asked) < 2:
        return {}
    settings = [indexes[uid].settings for uid in asked]
    named = {path for each in settings for path in _ordered_by_name(each)}
    orders = {tuple(value_order(each, path) for path in sorted(named)) for each in settings}
    return asked if len(orders) > 1 else {}


def _ordered_by_name(settings: Mapping[str, object]) -> Sequence[str]:
    faceting = settings.get("faceting")
    orders = faceting.get("sortFacetValuesBy") if isinstance(faceting, dict) else None
    return ["*", *(orders or ())]


def _is_allowed(index: IndexView, pattern: str) -> bool:
    try:
        check_facets(index.settings, [pattern])
    except ApiError:
        return False
    return True


def value_orders(
    federation: Federation, indexes: Indexes, found: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """`alpha` or `count` for each facet that is merged, of the paths `found` by index.

    A path that comes only with its parent has no order of its own.
    """
    return {
        path: value_order(indexes[uid].settings, path)
        for uid, paths in found.items()
        for path in paths
        if any(matches_pattern(pattern, path) for pattern in federation.facets_by_index[uid] or ())
    }


def names_facet(patterns: Sequence[str], path: str) -> bool:
    """Whether requested facets name a path or a parent of it: nodes were asked for more where we count duplicates."""
    parents = [path, *(path[:place] for place, character in enumerate(path) if character == ".")]
    return any(matches_pattern(pattern, each) for pattern in patterns for each in parents)


def hits_needed(federation: Federation, index: IndexView) -> tuple[str, ...]:
    """Attributes that hits must bring along so that those dropped by `distinct` can be taken off the facets."""
    if federation.distinct is None:
        return ()
    needed = [federation.distinct]
    for pattern in federation.facets_by_index.get(index.uid) or ():
        if "*" not in pattern:
            needed.append(pattern)
        else:
            needed += [name for name in index.field_order if _may_hold(name, pattern)]
    return tuple(dict.fromkeys(needed))


def _may_hold(name: str, pattern: str) -> bool:
    """Whether a path that matches the pattern may stand at or below a top-level name."""
    return matches_pattern(pattern, name) or pattern.startswith(("*", f"{name}."))
