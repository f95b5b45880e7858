"""Whether the document holds the query words exactly as written. Source: semantics C.9.

Two rules in a row: `ExactAttributeRule` asks whether a whole attribute is, or starts with, the query;
`ExactWordsRule` counts the words that occur exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pyroaring import BitMap

from miroir.engine.graph import Located, QueryGraph, Zero
from miroir.engine.occurrences import COUNTED_WORDS_MAX
from miroir.engine.packed import documents_of, fields_of
from miroir.engine.positions import stored_position, stored_positions_of
from miroir.engine.query import Phrase
from miroir.engine.ranking.graph_rule import Condition, GraphRule
from miroir.engine.ranking.rule import Bucket
from miroir.engine.ranking.score import RankDetail
from miroir.engine.resolve import Resolver

_CLASSES = 3


class ExactAttributeRule:
    """Three classes: an attribute is the query (3), starts with it (2), neither (1)."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    def start(self, universe: BitMap, graph: QueryGraph | None) -> None:
        assert graph is not None, "exactness needs a query"
        equal, starting = self._classes(universe, graph)
        # Without candidates the engine goes straight to the last class.
        self._pending = [] if equal is None else [(2, starting), (3, equal)]

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        if self._pending:
            rank, documents = self._pending.pop()
            return Bucket(documents & universe, RankDetail("exactAttribute", rank, _CLASSES))
        return Bucket(universe.copy(), RankDetail("exactAttribute", 1, _CLASSES))

    def _classes(self, universe: BitMap, graph: QueryGraph) -> tuple[BitMap | None, BitMap]:
        terms = _exact_terms(self._resolver, graph)
        ids = [node.first_id for node, _ in terms]
        if not ids or ids[0] != 0 or any(b - a > 1 for a, b in pairwise(ids)):
            return None, BitMap()
        candidates = self._at_their_places(universe, terms)
        if not candidates:
            return None, BitMap()
        length = sum(node.last_position - node.first_position + 1 for node, _ in terms)
        equal, starting = BitMap(), BitMap()
        words = [word for _, phrase in terms for word in phrase if word is not None]
        for number in sorted(self._resolver.text.fields.values()):
            holding = self._with_all_words(words, number, candidates)
            if holding:
                counted = self._with_word_count(number, length)
                equal |= holding & counted
                starting |= holding - counted
        return equal, starting

    def _at_their_places(self, universe: BitMap, terms: Sequence[tuple[Located, Phrase]]) -> BitMap:
        """Documents that hold every word at its query position, in whichever attribute."""
        candidates = universe
        for node, phrase in terms:
            for offset, word in enumerate(phrase):
                if word is None:
                    continue
                candidates = candidates & self._at_position(word, node.first_position + offset)
                if not candidates:
                    return candidates
        return candidates

    def _at_position(self, word: str, position: int) -> BitMap:
        text = self._resolver.text
        wanted = stored_position(position)

        def compute() -> BitMap:
            packed = text.occurrences(word)
            return documents_of(packed[stored_positions_of(packed) == wanted])

        return text.cache.get(("at", word, wanted), compute, lambda found: 64 + 4 * len(found))

    def _with_all_words(self, words: Sequence[str], field_number: int, candidates: BitMap) -> BitMap:
        restriction = self._resolver.restriction
        if restriction is not None and field_number not in restriction.fields:
            return BitMap()
        for word in words:
            candidates = candidates & self._in_field(word, field_number)
            if not candidates:
                break
        return candidates

    def _in_field(self, word: str, field_number: int) -> BitMap:
        text = self._resolver.text

        def compute() -> BitMap:
            packed = text.occurrences(word)
            return documents_of(packed[fields_of(packed) == np.uint64(field_number)])

        return text.cache.get(("in", word, field_number), compute, lambda found: 64 + 4 * len(found))

    def _with_word_count(self, field_number: int, length: int) -> BitMap:
        if length > COUNTED_WORDS_MAX:
            return BitMap()
        return self._resolver.text.counts.get((field_number, length), BitMap())


def _exact_terms(resolver: Resolver, graph: QueryGraph) -> list[tuple[Located, Phrase]]:
    """Nodes that still allow the words as written, the first one per term, in query order."""
    found: dict[int, tuple[Located, Phrase]] = {}
    for _, node in graph.terms():
        phrase = resolver.exact_term(node)
        if phrase is not None:
            found.setdefault(node.first_id, (node, phrase))
    return [found[term_id] for term_id in sorted(found)]


class ExactWordsRule(GraphRule):
    """Cost: the number of terms that do not occur exactly as written."""

    name = "exactWords"

    def conditions(self, source: Located | None, target: Located) -> Sequence[tuple[int, Condition]]:
        exact = target._replace(mandatory=True)
        if self.resolver.exact_term(target) is not None:
            exact = exact._replace(zero=Zero.EXACT, one=False, two=False)
        return [(0, Condition(exact, ("exact", target))), (target.size, Condition(target, None))]

    def documents(self, condition: Condition, universe: BitMap) -> BitMap:
        if condition.key is None:
            return self.resolver.documents(condition.node)
        phrase = self.resolver.exact_term(condition.node)
        if phrase is None:
            return BitMap()
        if self.resolver.terms[condition.node.term].phrase is None:
            assert phrase[0] is not None
            return self.resolver.word_documents(phrase[0])
        return self.resolver.phrase_documents(phrase)
