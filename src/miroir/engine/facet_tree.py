"""The shape of the server's facet tree, which decides the order of equally frequent values.

Level 0 are the values of a field in order; a group of level n stands for neighbouring members of level n - 1 and
is named by its first value. Few changed values move the groups around them, many let the tree be built
anew, so the shape depends on the batches that made it. Only that shape is kept here, no documents.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_GROUP = 4
_GROUP_MAX = 8
_LEVEL_MIN = 5
#: From so many changed values of a field in one batch on, its tree is built anew.
_BULK_FROM = 1000

#: Values of one kind (all numbers or all strings), ascending.
Keys = Sequence[Any]


@dataclass(frozen=True, slots=True)
class FacetTree:
    """`levels` from level 1 on: the first values of the groups, ascending."""

    levels: tuple[Keys, ...] = ()

    @staticmethod
    def built(keys: Keys) -> FacetTree:
        """The tree that loading all values at once makes."""
        levels: list[Keys] = []
        below = keys
        while len(below) // _GROUP >= _LEVEL_MIN:
            below = below[::_GROUP]
            levels.append(below)
        return FacetTree(tuple(levels))

    def grown(self, keys: Keys, changed: Iterable[Any]) -> FacetTree:
        """The tree after one batch: `keys` are the values now, `changed` those whose documents changed."""
        children = sorted(changed, reverse=True)
        if len(children) >= _BULK_FROM:
            return FacetTree.built(keys)
        levels: list[list[Any]] = [list(keys), *(list(level) for level in self.levels)]
        level = 0
        while children:
            children = _regroup(levels, level, children)
            level += 1
        top = levels[-1]
        if len(top) >= _GROUP * _LEVEL_MIN:
            levels.append(top[::_GROUP])
        elif len(top) < _LEVEL_MIN and len(levels) > 1:
            levels.pop()
        return FacetTree(tuple(levels[1:]))


def _regroup(levels: list[list[Any]], level: int, children: Sequence[Any]) -> list[Any]:
    """Rework the changed groups of a level, last first; returns the changed groups above."""
    above = levels[level + 1] if level + 1 < len(levels) else []
    changed: list[Any] = []
    for place, child in enumerate(children):
        if changed and child >= changed[-1]:
            _split(levels, level, child)
            continue
        found = bisect_right(above, child)
        if found:
            changed.append(above[found - 1])
            _split(levels, level, child)
            continue
        if above:
            # Left of everything: the first group above is to start with the lowest of these.
            del above[0]
            changed.append(children[-1])
        for rest in children[place:]:
            _split(levels, level, rest)
        break
    return changed


def _split(levels: list[list[Any]], level: int, first: Any) -> None:
    """Share the members of one group out anew."""
    if level == 0:
        return
    groups, below = levels[level], levels[level - 1]
    following = bisect_right(groups, first)
    is_last = following >= len(groups)
    start = bisect_left(below, first)
    end = len(below) if is_last else bisect_left(below, groups[following])
    old = following - 1
    if old >= 0 and groups[old] == first and (start == end or below[start] != first):
        del groups[old]
    while start < end:
        # Past the last group the server counts what follows in its database too: enough for full groups.
        count = 2 * _GROUP_MAX if is_last else end - start
        size = _GROUP_MAX if count >= 2 * _GROUP_MAX else count // 2 if count >= _GROUP else count
        name = below[start]
        here = bisect_left(groups, name)
        if here == len(groups) or groups[here] != name:
            insort(groups, name)
        start += size
