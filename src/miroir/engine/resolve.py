"""Which documents a node of the query graph, a phrase, or a pair of neighbouring nodes finds.

One `Resolver` serves one search over one index version; results that depend only on the version are kept in
the version's cache. Source: semantics A.6, B.3 to B.6, C.7, C.8.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from miroir.engine.errors import Late
from miroir.engine.graph import Located, QueryGraph, Zero
from miroir.engine.neighbours import AttributeNeighbours, Neighbours, WordNeighbours
from miroir.engine.packed import (
    Packed,
    documents_of,
    fields_of,
    positions_of,
    union,
    within,
    within_documents,
)
from miroir.engine.positions import position_costs
from miroir.engine.query import Phrase, QueryTerm
from miroir.engine.text import TextIndex
from miroir.engine.text_rules import Restriction
from miroir.engine.version_cache import bitmap_weight

_ADJACENT = 1
_PHRASE_WINDOW = 3


_Labels: TypeAlias = npt.NDArray[np.int64]


def _packed_weight(packed: Packed) -> int:
    return packed.nbytes


class Resolver:
    """Answers for the nodes of one search; `terms` is what `Located.term` indexes."""

    def __init__(
        self,
        text: TextIndex,
        terms: Sequence[QueryTerm],
        restriction: Restriction | None = None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_late = is_late
        self.text = text
        self.terms = terms
        self.restriction = restriction
        self.neighbours: Neighbours = (
            AttributeNeighbours(self) if text.rules.by_attribute else WordNeighbours(self)
        )
        self._documents: dict[tuple[int, int, bool, bool], BitMap] = {}
        self._phrases: dict[Phrase, BitMap] = {}

    def check_time(self) -> None:
        """Raises Late when the time of the search is spent; to be called where work can grow long."""
        if self._is_late():
            raise Late

    # --- what a node stands for -------------------------------------------------------------------

    def words(self, node: Located) -> tuple[list[str], list[str]]:
        """Single words (as written, derived); derived ones are looked for in tolerant fields only."""
        term = self.terms[node.term]
        if node.one or node.two:
            term.complete(self.text, self.best_split)
        zero: list[str] = []
        if node.zero != Zero.NOTHING and term.exact is not None:
            zero.append(term.exact)
        if node.zero == Zero.ALL:
            zero.extend(term.prefix_of)
        derived: list[str] = []
        if node.one:
            derived.extend(term.typo_words.one)
        if node.two:
            derived.extend(term.typo_words.two)
        return ([], zero + derived) if term.ngram_words else (zero, derived)

    def phrases(self, node: Located) -> list[Phrase]:
        """Phrases of a node: the quoted one and synonyms whatever the allowed part, the split with one typo."""
        term = self.terms[node.term]
        found = list(term.synonyms) if term.phrase is None else [term.phrase]
        if node.one:
            term.complete(self.text, self.best_split)
            if term.split is not None and term.split not in found:
                found.append(term.split)
        return found

    def stored_prefix(self, node: Located) -> str | None:
        """The prefix that stands for all words starting with it, if the node may use it."""
        return self.terms[node.term].stored_prefix if node.zero != Zero.NOTHING else None

    def original_phrase(self, node: Located) -> Phrase | None:
        """The quoted phrase of the query, if the node is one."""
        return self.terms[node.term].phrase if node.zero != Zero.NOTHING else None

    def exact_term(self, node: Located) -> Phrase | None:
        """The word (as a phrase of one) or quoted phrase as written, if the node still allows and has it."""
        term = self.terms[node.term]
        if term.ngram_words or node.zero == Zero.NOTHING:
            return None
        if term.phrase is not None:
            return term.phrase
        return None if term.exact is None else (term.exact,)

    def is_mandatory(self, node: Located) -> bool:
        """Whether the matching strategy must keep the node."""
        return node.mandatory or self.original_phrase(node) is not None

    # --- documents --------------------------------------------------------------------------------

    def documents(self, node: Located) -> BitMap:
        """Documents that contain any derivation of the node; not to be changed by the caller."""
        key = (node.term, node.zero, node.one, node.two)
        found = self._documents.get(key)
        if found is None:
            found = self._documents[key] = self._compute_documents(node)
        return found

    def _compute_documents(self, node: Located) -> BitMap:
        found = self._word_documents(node)
        phrases = self.phrases(node)
        if phrases:
            found = BitMap.union(found, *map(self.phrase_documents, phrases))
        return found

    def _word_documents(self, node: Located) -> BitMap:
        def compute() -> BitMap:
            written, derived = self.words(node)
            arrays = [self._reachable(word, derived=False) for word in written]
            arrays.extend(self._reachable(word, derived=True) for word in derived)
            prefix = self.stored_prefix(node)
            if prefix is not None:
                arrays.append(self._prefix_reachable(prefix, derived=bool(self.terms[node.term].ngram_words)))
            return documents_of(union(arrays))

        return self.text.cache.get(("documents", self.key(node), self.restriction), compute, bitmap_weight)

    def word_documents(self, word: str, *, derived: bool = False) -> BitMap:
        """Documents that contain the word, within the searched attributes; as written unless `derived`."""
        return self.text.cache.get(
            ("word", word, derived, self.restriction),
            lambda: documents_of(self._reachable(word, derived=derived)),
            bitmap_weight,
        )

    def _reachable(self, word: str, *, derived: bool) -> Packed:
        if self.restriction is None:
            return self.text.tolerant_occurrences(word) if derived else self.text.occurrences(word)
        fields = self.restriction.tolerant if derived else self.restriction.fields
        return within(self.text.occurrences(word), fields)

    def _prefix_reachable(self, prefix: str, *, derived: bool) -> Packed:
        if self.restriction is not None:
            fields = self.restriction.tolerant if derived else self.restriction.fields
            return within(self.prefix_occurrences(prefix), fields)
        if not derived:
            return self.prefix_occurrences(prefix)
        words = self.text.words_starting_with(prefix, tolerant=True)
        return union([self.text.tolerant_occurrences(word) for word in words])

    def prefix_occurrences(self, prefix: str) -> Packed:
        """Occurrences of all words that start with the prefix."""
        return self.text.cache.get(
            ("prefix", prefix),
            lambda: union([self.text.occurrences(w) for w in self.text.words_starting_with(prefix)]),
            _packed_weight,
        )

    def key(self, node: Located) -> Hashable:
        """Identifies the words of a node within the index version."""
        term = self.terms[node.term]
        return (
            term.phrase or term.original,
            term.is_prefix,
            term.typos,
            term.ngram_words is not None,
            int(node.zero),
            node.one,
            node.two,
        )

    def word_occurrences(self, node: Located) -> Packed:
        """Occurrences of the node's single words in any field, a stored prefix left out."""

        def compute() -> Packed:
            written, derived = self.words(node)
            return union([self.text.occurrences(word) for word in (*written, *derived)])

        return self.text.cache.get(("words", self.key(node)), compute, _packed_weight)

    # --- phrases and pairs ------------------------------------------------------------------------

    def phrase_documents(self, phrase: Phrase) -> BitMap:
        """Documents that contain the words of the phrase in a row; None stands for any word between."""
        found = self._phrases.get(phrase)
        if found is None:
            key = ("phrase", phrase, self.restriction)
            if self.neighbours.is_lasting:
                found = self.text.cache.get(key, lambda: self._compute_phrase(phrase), bitmap_weight)
            else:
                found = self._compute_phrase(phrase)
            self._phrases[phrase] = found
        return found

    def _compute_phrase(self, phrase: Phrase) -> BitMap:
        words = [word for word in phrase if word is not None]
        if not words:
            return BitMap()
        found = BitMap.intersection(*[self.word_documents(word) for word in words])
        window = min(len(phrase), _PHRASE_WINDOW)
        for start in range(len(phrase) - window + 1):
            if not found:
                break
            part = phrase[start : start + window]
            for i, left in enumerate(part):
                for gap, right in enumerate(part[i + 1 :]):
                    if left is not None and right is not None:
                        found = found & self.neighbours.within_distance(left, right, gap + 1)
        return found

    def best_split(self, word: str) -> Phrase | None:
        """The cut in two whose halves stand side by side in most documents of the index; first wins."""
        best: Phrase | None = None
        best_count = self.neighbours.split_count_min - 1
        for cut in range(1, len(word)):
            left, right = word[:cut], word[cut:]
            if left not in self.text.postings or right not in self.text.postings:
                count = 0
            else:
                count = len(self.neighbours.within_distance(left, right, _ADJACENT))
            if count > best_count:
                best, best_count = (left, right), count
        return best

    # --- fields and positions ---------------------------------------------------------------------

    def placed_occurrences(self, node: Located) -> Packed:
        """Occurrences that place a node: its words, a stored prefix, and first words of phrases in documents
        that contain the phrase."""

        def compute() -> Packed:
            arrays = [self.word_occurrences(node)]
            prefix = self.stored_prefix(node)
            if prefix is not None:
                arrays.append(self.prefix_occurrences(prefix))
            for phrase in self.phrases(node):
                first = next((word for word in phrase if word is not None), None)
                if first is not None:
                    arrays.append(
                        within_documents(self.text.occurrences(first), self.phrase_documents(phrase))
                    )
            return union(arrays)

        return self.text.cache.get(("placed", self.key(node), self.restriction), compute, _packed_weight)

    def documents_by_weight(self, node: Located) -> dict[int, BitMap]:
        """Attribute weight -> documents that contain the node in an attribute of that weight."""

        def compute() -> dict[int, BitMap]:
            packed = self.placed_occurrences(node)
            if self.restriction is not None:
                packed = within(packed, self.restriction.fields)
            weights = np.zeros(0x10000, dtype=np.int64)
            for number in self.text.fields.values():
                weights[number] = self.text.weight(number)
            return _grouped(packed, weights[fields_of(packed)])

        return self.text.cache.get(("weights", self.key(node), self.restriction), compute, _groups_weight)

    def documents_by_position_cost(self, node: Located) -> dict[int, BitMap]:
        """Cost of the distance to the query position -> documents with the node there, in any field."""

        def compute() -> dict[int, BitMap]:
            packed = self.placed_occurrences(node)
            costs = position_costs(node.first_position, node.size)
            return _grouped(packed, costs[positions_of(packed)])

        key = ("positions", self.key(node), self.restriction, node.first_position, node.size)
        return self.text.cache.get(key, compute, _groups_weight)

    def graph_documents(self, graph: QueryGraph, universe: BitMap) -> BitMap:
        """Documents of `universe` that match some path through the graph."""
        reached: dict[int, BitMap] = {0: universe}

        def visit(number: int) -> BitMap:
            found = reached.get(number)
            if found is None:
                before = [visit(source) for source in graph.predecessors[number]]
                found = BitMap.union(*before) if before else BitMap()
                node = graph.nodes[number]
                if node is not None:
                    found = found & self.documents(node)
                reached[number] = found
            return found

        return visit(1)


def _grouped(packed: Packed, labels: _Labels) -> dict[int, BitMap]:
    return {int(label): documents_of(packed[labels == label]) for label in np.unique(labels)}


def _groups_weight(groups: dict[int, BitMap]) -> int:
    return sum(map(bitmap_weight, groups.values()))
