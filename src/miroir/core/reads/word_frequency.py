"""`matchingStrategy: frequency` over shards: which words may go missing is decided by counts of the whole index.

A node drops the words that are most frequent on it; shards would drop different ones. So words are counted over all
shards, and where some node would decide otherwise the search is asked level by level: all words, then without the most
frequent one, and so on. A word that is left out is replaced by a stop word of ours, which keeps its place. Of each
answer only hits that match all that is left count.

Not seen here: n-grams of a dropped word and its neighbour, and text that is not cut at separators (Chinese, Thai, ...),
which nodes go on deciding by themselves. reference: search-semantics C.5, H11. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from miroir.core.reads.scores import fold, ranks_of
from miroir.core.reserved import STAND_IN
from miroir.core.writes.text_pieces import Splitter
from miroir.meili.folding import decompose

_TERMS_MAX = 10
#: Searches for one question; beyond it nodes decide by themselves.
_LEVELS_MAX = 24
_NEVER = 1 << 62
_CLOSE = 1e-9
#: Alphabets in which separators alone cut words, by code point.
_CUT_BY_SEPARATORS = ((0, 0x0590), (0x1E00, 0x2000))


@dataclass(frozen=True, slots=True)
class Question:
    """A query text with the places of its words: (start, end) each, in order; `phrase_words` are not among them."""

    text: str
    words: tuple[tuple[int, int], ...]
    phrase_words: int
    open_end: bool  #: the last word is a prefix

    def without(self, removed: Sequence[int]) -> str:
        """The text with some words replaced by the stand-in."""
        parts: list[str] = []
        place = 0
        for number in sorted(removed):
            start, end = self.words[number]
            parts += (self.text[place:start], STAND_IN)
            place = end
        parts.append(self.text[place:])
        text = "".join(parts)
        return text + " " if text.endswith(STAND_IN) else text

    def only(self, numbers: Sequence[int]) -> str:
        """Some words, far apart from each other; the last one a prefix only if it is one in the whole."""
        text = " . ".join(self.text[slice(*self.words[number])] for number in numbers)
        is_prefix = self.open_end and numbers[-1] == len(self.words) - 1
        return text + ("" if is_prefix else " ")

    def word(self, number: int) -> str:
        """One word as a query of its own; a prefix only if it is one in the whole."""
        start, end = self.words[number]
        is_prefix = self.open_end and number == len(self.words) - 1
        return self.text[start:end] + ("" if is_prefix else " ")


def question(text: str, settings: Mapping[str, Any], *, cut: bool = False) -> Question | None:
    """Where the words of a query are, None where that cannot be told without a node's tokenizer.

    None also where there are more words than a node reads, unless they are to be `cut` as there.
    """
    if any(character.isalnum() and not _is_plain(character) for character in text):
        return None
    if any(word in text for word in settings.get("dictionary") or ()):
        return None
    splitter = Splitter({**settings, "dictionary": []})
    stop_words = set(settings.get("stopWords") or ())
    words: list[tuple[int, int]] = []
    phrase_words, quotes, place = 0, 0, 0
    for piece in splitter.pieces(text):
        start = text.find(piece, place)
        if start < 0:  # a text of several alphabets, kept whole
            return None
        quotes += text.count('"', place, start)
        before = text[place:start]
        place = end = start + len(piece)
        is_stop_word = decompose(piece) in stop_words
        if quotes % 2:
            phrase_words += not is_stop_word
            continue
        excluded = before.endswith(" -") or (before == "-" and start == 1)
        if excluded or (is_stop_word and end < len(text)):
            continue
        words.append((start, end))
    if len(words) + bool(phrase_words) > _TERMS_MAX:
        if not cut or phrase_words:
            return None
        words = words[:_TERMS_MAX]
        text = text[: words[-1][1]] + " "
    return Question(text, tuple(words), phrase_words, bool(words) and words[-1][1] == len(text))


def _is_plain(character: str) -> bool:
    code = ord(character)
    return any(start <= code < end for start, end in _CUT_BY_SEPARATORS)


def grouped(counts: Sequence[int]) -> list[list[int]]:
    """Words by how often they occur, the most frequent first; words that never occur before all others."""
    found: dict[int, list[int]] = {}
    for number, count in enumerate(counts):
        found.setdefault(count or _NEVER, []).append(number)
    return [found[count] for count in sorted(found, reverse=True)]


@dataclass(frozen=True, slots=True)
class Levels:
    """What may go missing. `removed` by cost: every set of words of that size that may be left out together."""

    removed: tuple[tuple[tuple[int, ...], ...], ...]
    best_rank: int
    always: tuple[int, ...]  #: words left out to count everything that matches


def levels(groups: Sequence[Sequence[int]], phrase_words: int) -> Levels | None:
    """The levels of a question, None when there are too many."""
    removable = list(groups) if phrase_words else list(groups[:-1])
    if sum(2 ** len(group) for group in removable) > _LEVELS_MAX:
        return None
    by_cost: dict[int, list[tuple[int, ...]]] = {0: [()]}
    gone: tuple[int, ...] = ()
    for group in removable:
        for size in range(1, len(group) + 1):
            for chosen in combinations(group, size):
                by_cost.setdefault(len(gone) + size, []).append((*gone, *chosen))
        gone = (*gone, *group)
    costs = tuple(tuple(by_cost[cost]) for cost in range(len(gone) + 1))
    return Levels(costs, 1 + max(0, phrase_words - 1) + len(gone), gone)


def leaves_gap(size: int, removed: Sequence[int]) -> bool:
    """Whether words that stay stand behind one that is left out: then no attribute matches from its start."""
    return any(number < size - len(removed) for number in removed)


def not_from_start(body: dict[str, Any], searchable_count: int) -> None:
    """Give a hit the exactness that it has behind a gap: the stand-in makes a node count words from there."""
    details = body["_rankingScoreDetails"]
    exactness = details.get("exactness")
    if exactness is None or exactness["matchType"] == "noExactMatch":
        return
    terms = details["words"]["matchingWords"]
    exact_words = terms - int(details.get("typo", {}).get("typoCount", 0) > 0)
    before = _score_of(details, terms, searchable_count)
    details["exactness"] = {
        "order": exactness["order"],
        "matchType": "noExactMatch",
        "matchingWords": exact_words,
        "maxMatchingWords": terms,
        "score": (exact_words + 1) / (3 * (terms + 1)),
    }
    if abs(before - body["_rankingScore"]) < _CLOSE:
        body["_rankingScore"] = _score_of(details, terms, searchable_count)


def _score_of(details: Mapping[str, Any], terms: int, searchable_count: int) -> float:
    """The score that these details make; sort values have no part in it."""
    rules = sorted(details.items(), key=lambda item: item[1]["order"])
    ranked = [item for item in rules if "value" not in item[1] and "distance" not in item[1]]
    return fold([rank for name, detail in ranked for rank in ranks_of(name, detail, terms, searchable_count)])


def ranked_at(raw: Sequence[dict[str, Any]], rank: int, best_rank: int) -> list[dict[str, Any]]:
    """Hits of one level that match all of its words, with the rank and the score that they have in the whole.

    Changes the details. `words` must be the first rule.
    """
    hits = []
    for body in raw:
        words = body["_rankingScoreDetails"]["words"]
        largest = words["maxMatchingWords"]
        if words["matchingWords"] < largest:
            continue
        below = body["_rankingScore"] * largest - (largest - 1)
        body["_rankingScore"] = (rank - 1 + below) / best_rank
        words.update(matchingWords=rank, maxMatchingWords=best_rank, score=rank / best_rank)
        hits.append(body)
    return hits
