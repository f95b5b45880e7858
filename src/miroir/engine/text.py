"""The words of one index version: postings, dictionary, word counts. Immutable once published.

Per word one sorted array of packed occurrences (`occurrences.py`) is kept; documents, fields, positions and
neighbourhoods of words and of sets of words are derived from it and remembered per version. An update costs
what its documents hold, plus a shallow copy of the tables.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from pyroaring import BitMap

from miroir.engine.occurrences import Collector, FieldTable, differing_parts
from miroir.engine.packed import NOWHERE, Packed, fields_of
from miroir.engine.text_rules import TextRules
from miroir.engine.tokens import Tokenizer, is_numeric
from miroir.engine.version_cache import VersionCache

Document: TypeAlias = dict[str, Any]
Change: TypeAlias = tuple[int, Document | None, Document | None]  #: (docid, old, new)

#: A prefix of 1 to 4 bytes is resolved as a whole when so many dictionary words start with it.
PREFIX_WORDS_MIN = 100
PREFIX_BYTES_MAX = 4

_CACHE_BYTES = 64 << 20
_DOCS_PER_STEP = 32
_WORDS_PER_STEP = 2048
_FIRST_OCCURRENCES = 16
_FEW = 64
_LAST = "\U0010ffff"


@dataclass(frozen=True)
class TextIndex:
    """One version. `fields` numbers the searchable attribute paths that any document ever had."""

    rules: TextRules = field(default_factory=TextRules)
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    fields: Mapping[str, int] = field(default_factory=dict)
    postings: Mapping[str, Packed] = field(default_factory=dict)
    words: Sequence[str] = ()  #: all words, in byte order
    tolerant_words: Sequence[str] = ()  #: those that typos can reach: the dictionary
    counts: Mapping[tuple[int, int], BitMap] = field(default_factory=dict)
    synonyms: Mapping[tuple[str, ...], tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    cache: VersionCache = field(default_factory=lambda: VersionCache(_CACHE_BYTES), compare=False, repr=False)

    # --- building ---------------------------------------------------------------------------------

    @classmethod
    def empty(cls, settings: Mapping[str, Any]) -> TextIndex:
        """A version without documents under these settings."""
        tokenizer = Tokenizer.of(settings)
        return cls(
            rules=TextRules.of(settings), tokenizer=tokenizer, synonyms=_read_synonyms(settings, tokenizer)
        )

    def updated(self, settings: Mapping[str, Any], changes: Sequence[Change]) -> TextIndex:
        """The next version after document changes under the settings this version was made for."""
        steps = self.update_steps(changes)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    def update_steps(self, changes: Sequence[Change]) -> Generator[None, None, TextIndex]:
        """As `updated`, in small steps: yields so that searches can run in between."""
        table = FieldTable(self.rules, self.fields)
        removed = Collector(self.tokenizer, table)
        added = Collector(self.tokenizer, table)
        for place, (docid, old, new) in enumerate(changes):
            if place % _DOCS_PER_STEP == 0:
                yield
            if old is not None and new is not None:
                old, new = differing_parts(old, new)
            if old:
                removed.add(docid, old)
            if new:
                added.add(docid, new)
        postings = dict(self.postings)
        came: list[str] = []
        gone: list[str] = []
        touched = added.occurrences.keys() | removed.occurrences.keys()
        for place, word in enumerate(touched):
            if place % _WORDS_PER_STEP == 0:
                yield
            before = postings.get(word)
            after = _changed(before, removed.occurrences.get(word), added.occurrences.get(word))
            if len(after):
                postings[word] = after
                if before is None:
                    came.append(word)
            elif before is not None:
                del postings[word]
                gone.append(word)
        yield
        words = _merged_order(self.words, came, gone)
        fields = table.searchable()
        tolerant = words
        if self.rules.exact_attributes or self.rules.exact_numbers:
            tolerant = yield from self._tolerant_after(postings, fields, touched)
        return replace(
            self,
            fields=fields,
            postings=postings,
            words=words,
            tolerant_words=tolerant,
            counts=_changed_counts(self.counts, removed.counts, added.counts),
            cache=VersionCache(_CACHE_BYTES),
        )

    def _tolerant_after(
        self, postings: Mapping[str, Packed], fields: Mapping[str, int], touched: Iterable[str]
    ) -> Generator[None, None, Sequence[str]]:
        exact = _exact_fields(self.rules, fields)
        came, gone = [], []
        for place, word in enumerate(touched):
            if place % _WORDS_PER_STEP == 0:
                yield
            was = self._is_tolerant(word)
            packed = postings.get(word)
            now = packed is not None and _has_tolerant_part(self.rules, exact, word, packed)
            if now and not was:
                came.append(word)
            elif was and not now:
                gone.append(word)
        return _merged_order(self.tolerant_words, came, gone)

    def _is_tolerant(self, word: str) -> bool:
        place = bisect_left(self.tolerant_words, word)
        return place < len(self.tolerant_words) and self.tolerant_words[place] == word

    # --- reading ----------------------------------------------------------------------------------

    @property
    def exact_fields(self) -> frozenset[int]:
        """Numbers of the fields whose words are found only as written."""
        return self.cache.get("exact fields", lambda: _exact_fields(self.rules, self.fields), lambda _: 0)

    def occurrences(self, word: str) -> Packed:
        """All occurrences of a word, sorted."""
        return self.postings.get(word, NOWHERE)

    def tolerant_occurrences(self, word: str) -> Packed:
        """Occurrences that derived words (typos, n-grams) may use: not in exact fields."""
        packed = self.postings.get(word)
        if packed is None:
            return NOWHERE
        part = _tolerant_part(self.rules, self.exact_fields, word, packed)
        return NOWHERE if part is None else part

    def words_starting_with(self, prefix: str, *, tolerant: bool = False) -> Sequence[str]:
        """In byte order; `tolerant` leaves out the words that typos cannot reach."""
        words = self.tolerant_words if tolerant else self.words
        return words[bisect_left(words, prefix) : bisect_right(words, prefix + _LAST)]

    def is_stored_prefix(self, prefix: str) -> bool:
        """Whether the prefix is common enough to be resolved as a whole (semantics A.9)."""
        if not 1 <= len(prefix.encode()) <= PREFIX_BYTES_MAX:
            return False
        words = self.tolerant_words
        return bisect_right(words, prefix + _LAST) - bisect_left(words, prefix) >= PREFIX_WORDS_MIN

    def weight(self, field_number: int) -> int:
        """The attribute weight of a searchable field number."""
        return self._weights[field_number]

    @property
    def _weights(self) -> dict[int, int]:
        def compute() -> dict[int, int]:
            return {number: self.rules.weight(path) or 0 for path, number in self.fields.items()}

        return self.cache.get("weights", compute, lambda _: 0)


def _exact_fields(rules: TextRules, fields: Mapping[str, int]) -> frozenset[int]:
    return frozenset(number for path, number in fields.items() if rules.is_exact_path(path))


def _tolerant_part(rules: TextRules, exact: frozenset[int], word: str, packed: Packed) -> Packed | None:
    """Occurrences outside exact fields; None if there are none."""
    if rules.exact_numbers and is_numeric(word):
        return None
    if not exact:
        return packed
    keep = ~np.isin(fields_of(packed), np.fromiter(exact, dtype=np.uint64))
    if keep.all():
        return packed
    return packed[keep] if keep.any() else None


def _has_tolerant_part(rules: TextRules, exact: frozenset[int], word: str, packed: Packed) -> bool:
    """As `_tolerant_part`, which is slow for the many words of few occurrences."""
    if rules.exact_numbers and is_numeric(word):
        return False
    if any(field not in exact for field in fields_of(packed[:_FIRST_OCCURRENCES]).tolist()):
        return True
    return len(packed) > _FIRST_OCCURRENCES and _tolerant_part(rules, exact, word, packed) is not None


def _changed(before: Packed | None, removed: array[int] | None, added: array[int] | None) -> Packed:
    current = NOWHERE if before is None else before
    if removed is not None and added is not None:
        # Texts that changed a little keep most of their occurrences.
        if removed == added:
            return current
        kept = set(removed) & set(added)
        if kept:
            removed = array("Q", [place for place in removed if place not in kept])
            added = array("Q", [place for place in added if place not in kept])
    if removed and len(current):
        if len(removed) <= _FEW:
            current = _without(current, removed)
        else:
            current = np.setdiff1d(current, np.frombuffer(removed, dtype=np.uint64), assume_unique=True)
    if not added:
        return current
    fresh = np.array(added, dtype=np.uint64)
    if len(fresh) > 1 and (fresh[1:] < fresh[:-1]).any():
        fresh.sort()
    if not len(current):
        return fresh
    merged = np.concatenate((current, fresh))
    if current[-1] > fresh[0]:
        merged.sort(kind="stable")
    return merged


def _without(current: Packed, gone: array[int]) -> Packed:
    keep = np.ones(len(current), dtype=bool)
    places = current.searchsorted(np.frombuffer(gone, dtype=np.uint64)).tolist()
    for place, occurrence in zip(places, gone, strict=True):
        if place < len(current) and current[place] == occurrence:
            keep[place] = False
    return current[keep]


def _merged_order(order: Sequence[str], came: list[str], gone: list[str]) -> Sequence[str]:
    """A sorted list after additions and removals."""
    if not came and not gone:
        return order
    if len(came) + len(gone) > 256:
        dropped = set(gone)
        kept = [word for word in order if word not in dropped] if dropped else list(order)
        kept.extend(came)
        kept.sort()
        return kept
    result = list(order)
    for word in gone:
        del result[bisect_left(result, word)]
    for word in came:
        insort(result, word)
    return result


def _changed_counts(
    counts: Mapping[tuple[int, int], BitMap],
    removed: Mapping[tuple[int, int], list[int]],
    added: Mapping[tuple[int, int], list[int]],
) -> Mapping[tuple[int, int], BitMap]:
    result = dict(counts)
    for key in removed.keys() | added.keys():
        documents = result[key].copy() if key in result else BitMap()
        documents -= BitMap(removed.get(key, ()))
        documents |= BitMap(added.get(key, ()))
        if documents:
            result[key] = documents
        else:
            result.pop(key, None)
    return result


def _read_synonyms(
    settings: Mapping[str, Any], tokenizer: Tokenizer
) -> dict[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Synonyms by the words of their key; keys that normalise alike share their values."""
    found: dict[tuple[str, ...], dict[tuple[str, ...], None]] = {}
    for key, meanings in (settings.get("synonyms") or {}).items():
        words = tuple(tokenizer.words(key))
        if not words:
            continue
        for meaning in sorted(set(meanings)):
            phrase = tuple(tokenizer.words(meaning))
            if phrase:
                found.setdefault(words, {})[phrase] = None
    return {key: tuple(phrases) for key, phrases in found.items()}
