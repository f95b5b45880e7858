"""Which documents hold words of two neighbouring query terms close to each other. Source: semantics A.6, C.7.

`byWord` compares positions; `byAttribute` asks only for a common attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from pyroaring import BitMap

from miroir.engine.attribute_pairs import AttributePairs, Words
from miroir.engine.packed import D16, Packed, adjacent, documents_of, union, within
from miroir.engine.version_cache import bitmap_weight

if TYPE_CHECKING:
    from miroir.engine.graph import Located
    from miroir.engine.query import Phrase
    from miroir.engine.text import TextIndex
    from miroir.engine.text_rules import Restriction

#: Occurrences at one end of a pair, what identifies them, and the phrase that must be there too.
_Side: TypeAlias = "tuple[Hashable, Packed, Phrase | None]"


class Terms(Protocol):
    """What the nodes of one search stand for; a `resolve.Resolver`, which has neighbours of its own."""

    @property
    def text(self) -> TextIndex:
        """The words of the index."""

    @property
    def restriction(self) -> Restriction | None:
        """The fields the search is limited to."""

    def words(self, node: Located) -> tuple[list[str], list[str]]:
        """Single words (as written, derived)."""

    def phrases(self, node: Located) -> list[Phrase]:
        """Phrases of a node."""

    def stored_prefix(self, node: Located) -> str | None:
        """The prefix that stands for all words starting with it."""

    def phrase_documents(self, phrase: Phrase) -> BitMap:
        """Documents that contain the phrase."""

    def word_documents(self, word: str, *, derived: bool = False) -> BitMap:
        """Documents that contain the word, within the searched attributes."""

    def word_occurrences(self, node: Located) -> Packed:
        """Occurrences of the node's single words."""

    def prefix_occurrences(self, prefix: str) -> Packed:
        """Occurrences of all words that start with the prefix."""

    def key(self, node: Located) -> Hashable:
        """Identifies the words of a node within the index version."""


class Neighbours(Protocol):
    """`is_lasting`: answers depend on the index version only. A split needs `split_count_min` documents."""

    is_lasting: bool
    split_count_min: int

    def within_distance(self, left: str, right: str, distance: int) -> BitMap:
        """Documents where `right` follows `left` within `distance`."""

    def near(self, left: Located, right: Located, forward: int, backward: int, universe: BitMap) -> BitMap:
        """Documents where `right` follows `left` at exactly `forward`, or precedes it at `backward` (if >= 1).

        May hold documents outside `universe`.
        """


class WordNeighbours:
    """By the positions of the words."""

    is_lasting = True
    split_count_min = 1

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._text = terms.text

    def within_distance(self, left: str, right: str, distance: int) -> BitMap:
        """Documents where `right` follows `left` within `distance`."""

        def compute() -> BitMap:
            first, second = self._text.occurrences(left), self._text.occurrences(right)
            return BitMap.union(*[adjacent(first, second, k) for k in range(1, distance + 1)])

        return self._text.cache.get(("pair", left, right, distance), compute, bitmap_weight)

    def near(self, left: Located, right: Located, forward: int, backward: int, universe: BitMap) -> BitMap:
        """As the protocol says; reversed order counts for single words only."""
        found = self._near_prefix(left, right, forward, backward, universe)
        for one in self._side(left, -1):
            for other in self._side(right, 0):
                documents = self._adjacent(one, other, forward)
                if one[2] is None and other[2] is None:
                    found |= documents
                    if backward >= 1:
                        found |= self._adjacent(other, one, backward)
                    continue
                for phrase in (one[2], other[2]):
                    if phrase is not None and documents:
                        documents = documents & self._terms.phrase_documents(phrase)
                found |= documents
        return found

    def _near_prefix(
        self, left: Located, right: Located, forward: int, backward: int, universe: BitMap
    ) -> BitMap:
        found = BitMap()
        prefix = self._terms.stored_prefix(right)
        if prefix is None:
            return found
        after: _Side = (("prefix", prefix), self._terms.prefix_occurrences(prefix), None)
        words, *phrases = self._side(left, -1)
        found |= self._adjacent(words, after, forward)
        if backward >= 1:
            # In reversed order only the prefix itself, taken as a word, counts.
            found |= self._adjacent((("word", prefix), self._text.occurrences(prefix), None), words, backward)
        for side in phrases:
            assert side[2] is not None
            if not universe.isdisjoint(self._terms.phrase_documents(side[2])):
                found |= self._adjacent(side, after, forward)
        return found

    def _side(self, node: Located, end: int) -> list[_Side]:
        """The node's single words together, then the outer word of each of its phrases."""
        words = self._terms.word_occurrences(node)
        side: list[_Side] = [(("words", self._terms.key(node)), words, None)]
        for phrase in self._terms.phrases(node):
            word = phrase[end]
            if word is not None:
                side.append((("word", word), self._text.occurrences(word), phrase))
        return side

    def _adjacent(self, left: _Side, right: _Side, distance: int) -> BitMap:
        if not len(left[1]) or not len(right[1]):
            return BitMap()
        return self._text.cache.get(
            ("adjacent", left[0], right[0], distance),
            lambda: adjacent(left[1], right[1], distance),
            bitmap_weight,
        )


class AttributeNeighbours:
    """By a common attribute, whatever the distance and the order."""

    is_lasting = False
    split_count_min = 0

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._text = terms.text
        self._pairs = AttributePairs(self._same_field)
        self._prefix_pairs = AttributePairs(self._same_field_as_prefix)

    def within_distance(self, left: str, right: str, distance: int) -> BitMap:
        """Documents with both words in one attribute."""
        return self._pairs.documents(frozenset((left,)), frozenset((right,)), None)

    def near(self, left: Located, right: Located, forward: int, backward: int, universe: BitMap) -> BitMap:
        """Documents with both sides in one attribute, as far as the memory of pairs has them."""
        found = self._near_prefix(left, right, backward, universe)
        right_words = frozenset(self._all_words(right))
        right_phrases = [p for p in self._terms.phrases(right) if p[0] is not None]
        left_words = frozenset(self._all_words(left))
        if len(right_words) + len(right_phrases) > 1:
            left_words = self._occurring(left, universe)
        lefts: list[tuple[Words, Phrase | None]] = [(left_words, None)]
        lefts += [(frozenset((p[-1],)), p) for p in self._terms.phrases(left) if p[-1] is not None]
        rights: list[tuple[Words, Phrase | None]] = [(right_words, None)]
        rights += [(frozenset((p[0],)), p) for p in right_phrases if p[0] is not None]
        for one, left_phrase in lefts:
            for other, right_phrase in rights:
                candidates = universe
                for phrase in (left_phrase, right_phrase):
                    if phrase is not None:
                        candidates = candidates & self._terms.phrase_documents(phrase)
                if not candidates:
                    continue
                found |= self._pairs.documents(one, other, candidates)
                if backward >= 1 and left_phrase is None and right_phrase is None:
                    found |= self._pairs.documents(other, one, candidates)
        return found

    def _near_prefix(self, left: Located, right: Located, backward: int, universe: BitMap) -> BitMap:
        found = BitMap()
        prefix = self._terms.stored_prefix(right)
        if prefix is None:
            return found
        itself = frozenset((prefix,))
        words = frozenset(self._all_words(left))
        found |= self._prefix_pairs.documents(words, itself, universe)
        if backward >= 1:
            found |= self._pairs.documents(itself, words, universe)
        for phrase in self._terms.phrases(left):
            candidates = universe & self._terms.phrase_documents(phrase)
            if phrase[-1] is not None and candidates:
                found |= self._prefix_pairs.documents(frozenset((phrase[-1],)), itself, candidates)
        return found

    def _all_words(self, node: Located) -> list[str]:
        written, derived = self._terms.words(node)
        return written + derived

    def _occurring(self, node: Located, universe: BitMap) -> Words:
        """The node's words that some document of the universe has."""
        written, derived = self._terms.words(node)
        documents = self._terms.word_documents
        return frozenset(
            [w for w in written if not universe.isdisjoint(documents(w))]
            + [w for w in derived if not universe.isdisjoint(documents(w, derived=True))]
        )

    def _same_field(self, left: Words, right: Words) -> BitMap:
        return self._common_fields(left, right, lambda: self._union(right))

    def _same_field_as_prefix(self, left: Words, prefix: Words) -> BitMap:
        (text,) = prefix
        return self._common_fields(left, ("prefix", text), lambda: self._terms.prefix_occurrences(text))

    def _common_fields(self, left: Words, right_key: Hashable, right: Callable[[], Packed]) -> BitMap:
        def compute() -> BitMap:
            common = np.intersect1d(self._union(left) >> D16, right() >> D16) << D16
            if self._terms.restriction is not None:
                common = within(common, self._terms.restriction.fields)
            return documents_of(common)

        key = ("same field", left, right_key, self._terms.restriction)
        return self._text.cache.get(key, compute, bitmap_weight)

    def _union(self, words: Words) -> Packed:
        return union([self._text.occurrences(word) for word in words])
