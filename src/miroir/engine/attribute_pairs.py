"""Pairs of words in one attribute, for `proximityPrecision: byAttribute`.

The server remembers a pair, for the length of one search, as it was within the documents that first asked
for it; later buckets of the search may then miss documents. Answers show this, so it is kept. Only pairs
that splitting a word asked for are known in full. Source: semantics C.7, and comparison with a server.
"""

from __future__ import annotations

from collections.abc import Callable

from pyroaring import BitMap

Words = frozenset[str]


class AttributePairs:
    """Memory of one search. `same_field` gives all documents with one of each side in a common attribute."""

    def __init__(self, same_field: Callable[[Words, Words], BitMap]) -> None:
        self._same_field = same_field
        #: (left words, right words, documents at the time or None for all), no pair in two entries.
        self._asked: list[tuple[Words, Words, BitMap | None]] = []

    def documents(self, left: Words, right: Words, universe: BitMap | None) -> BitMap:
        """Documents of any pair (one of `left`, one of `right`), each as when it was first asked for."""
        found = BitMap()
        fresh = [(left, right)] if left and right else []
        for known_left, known_right, known_universe in self._asked:
            rest: list[tuple[Words, Words]] = []
            for lefts, rights in fresh:
                common_left, common_right = lefts & known_left, rights & known_right
                if not common_left or not common_right:
                    rest.append((lefts, rights))
                    continue
                found |= self._within(common_left, common_right, known_universe)
                if lefts - known_left:
                    rest.append((lefts - known_left, rights))
                if rights - known_right:
                    rest.append((common_left, rights - known_right))
            fresh = rest
            if not fresh:
                return found
        then = None if universe is None else universe.copy()
        for lefts, rights in fresh:
            self._asked.append((lefts, rights, then))
            found |= self._within(lefts, rights, then)
        return found

    def _within(self, left: Words, right: Words, universe: BitMap | None) -> BitMap:
        documents = self._same_field(left, right)
        return documents if universe is None else documents & universe
