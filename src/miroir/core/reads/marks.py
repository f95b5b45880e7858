"""What highlights, crops and match positions mark: as on one node, whatever the shard of a hit came across.

A node looks the typos of a query word up when it first needs them: once some document matches all words before it. A
shard without such a document leaves them out, and then its hits show fewer marks than those of one node would. Where
details tell that this happened, the words in question are asked again behind words that the hits do match, and
the marks of all answers are put together. Pure. reference: search-semantics C.5, E.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miroir.core.reads.merging import Hit
from miroir.core.reads.word_frequency import Question, question
from miroir.core.reserved import NOWHERE, is_reserved
from miroir.core.topology import IndexView
from miroir.meili.commands import SearchQuery
from miroir.meili.settings_rules import is_inside

Body = dict[str, Any]
#: (attribute, places in the arrays around the value): one text
Place = tuple[str, tuple[int, ...]]
#: (start, length) of the marks of one text, in bytes, ascending
Spans = list[tuple[int, int]]

#: A separator behind which a node joins no words.
_APART = " . "


def shows_marks(query: SearchQuery) -> bool:
    """Whether the client sees at all which words match."""
    wanted = query.attributes_to_highlight or query.attributes_to_crop or query.show_matches_position
    return bool(wanted and query.q and query.q.strip())


@dataclass(frozen=True, slots=True)
class Reach:
    """`words` of a query, and how many of them, from the left, one node would find together in some document."""

    asked: Question
    together: int

    def kept(self, hit: Hit) -> int | None:
        """How many words a hit matches, from the left; None where its node counts other words than we do."""
        if "vectorSort" in hit.details:
            return -1
        words = hit.details.get("words")
        if words is None or words["maxMatchingWords"] != len(self.asked.words):
            return None
        return int(words["matchingWords"])

    def lacking(self, kept: int) -> range:
        """Words whose typos one node looks up, and a node with documents that match `kept` words does not."""
        return range(kept + 1, min(self.together + 1, len(self.asked.words)))

    def rewritten(self, kept: int, first: int) -> str:
        """The query without the words between the `kept` ones and word `first`, which so comes to be looked up.

        Words behind those that one node looks up stand behind a word that no document has.
        """
        end = min(self.together + 1, len(self.asked.words))
        runs = [self._run(0, kept), self._run(first, end)]
        if end < len(self.asked.words):
            runs += [NOWHERE, self._run(end, len(self.asked.words))]
        text = _APART.join(run for run in runs if run)
        return text if self.asked.open_end else text + " "

    def _run(self, first: int, end: int) -> str:
        """Some words in a row, as they stand in the query; what is no term between them keeps them apart."""
        text = self.asked.text
        parts: list[str] = []
        for number in range(max(first, 0), end):
            start, stop = self.asked.words[number]
            if parts:
                between = text[self.asked.words[number - 1][1] : start]
                parts.append(_APART if any(c.isalnum() for c in between) else between)
            parts.append(text[start:stop])
        return "".join(parts)


def question_of(index: IndexView, query: SearchQuery) -> Question | None:
    """The words of a query whose marks are shown; None where none are, or only a node can tell the words."""
    if not shows_marks(query) or "." in (index.settings.get("nonSeparatorTokens") or ()):
        return None
    asked = question(query.q or "", index.settings, cut=True)
    return None if asked is None or asked.phrase_words or not asked.words else asked


def reach_of(asked: Question, query: SearchQuery, hits: Iterable[Hit]) -> Reach | None:
    """What one node would have looked up, by the hits of all shards; None where no hit lacks it, or nobody knows."""
    if query.matching_strategy != "last":  # every word is looked up to see what may go missing
        return None
    reach = Reach(asked, 0)
    together = 0
    for hit in hits:
        kept = reach.kept(hit)
        if kept is None:
            return None
        together = max(together, kept)
    return Reach(asked, together)


def groups_lacking(
    reach: Reach, hits: Sequence[Hit], page: Sequence[Hit], *, alone: bool
) -> dict[int, dict[int, list[str]]]:
    """Share -> number of words kept -> sequences of the hits of the page that may show too few marks.

    `alone`: the bodies come from a request for the hits of the page alone, not for the list.
    """
    best: dict[int, int] = {}
    for hit in page if alone else hits:
        kept = reach.kept(hit)
        best[hit.share] = max(best.get(hit.share, -1), -1 if kept is None else kept)
    groups: dict[int, dict[int, list[str]]] = {}
    for hit in page:
        kept = reach.kept(hit)
        if kept is None:
            continue
        if reach.lacking(best.get(hit.share, -1)):
            groups.setdefault(hit.share, {}).setdefault(kept, []).append(hit.seq)
    return groups


def with_left_out(asked: Question, left_out: Sequence[int]) -> list[str]:
    """Queries for hits that were found without some words: for the words they match, then for each of the others.

    One node looks all of them up to see how frequent they are.
    """
    matched = [number for number in range(len(asked.words)) if number not in left_out]
    if asked.open_end:  # a prefix must stand last: behind it no other word is looked up
        matched = [number for number in matched if number != len(asked.words) - 1]
    return [asked.without(left_out), *(asked.only([*matched, number]) for number in left_out)]


# --- putting the marks of several answers together -----------------------------------------------


def remarked(bodies: Sequence[Body], query: SearchQuery) -> Body | None:
    """`_formatted` and `_matchesPosition` with the marks of all these; None where the first has them all.

    All bodies are of one document, with positions. Which words a crop shows follows from the marks: it is taken
    from the answer that has most of them.
    """
    each = [spans_of(body, query) for body in bodies]
    merged = merge_spans(each)
    if merged == each[0]:
        return None
    counts = [sum(map(len, spans.values())) for spans in each]
    place = counts.index(max(counts))
    most = bodies[place]
    return with_marks(most, each[place], merged, query) or {
        name: most[name] for name in ("_formatted", "_matchesPosition") if name in most
    }


def with_marks(
    body: Body, before: Mapping[Place, Spans], after: Mapping[Place, Spans], query: SearchQuery
) -> Body | None:
    """What of a hit changes when it is marked otherwise: positions, and tags where no text is cropped.

    `before` are its marks now. None: nothing.
    """
    if before == after:
        return None
    change: Body = {"_matchesPosition": _positions(after)}
    if "_formatted" in body:
        change["_formatted"] = _formatted(body["_formatted"], before, after, query)
    return change


def spans_of(body: Body, query: SearchQuery) -> dict[Place, Spans]:
    """The marks of a body by text.

    Of texts in an array positions tell only the last that has any; the others' are read off their tags.
    """
    found: dict[Place, Spans] = {}
    for path, entries in (body.get("_matchesPosition") or {}).items():
        for entry in entries:
            place = path, tuple(entry.get("indices") or ())
            found.setdefault(place, []).append((entry["start"], entry["length"]))
    if query.attributes_to_highlight and not query.attributes_to_crop:
        tags = query.highlight_pre_tag, query.highlight_post_tag
        for place, text in leaf_texts(body.get("_formatted") or {}):
            if place[1] and place not in found and (spans := _tagged(text, tags)):
                found[place] = spans
    return found


def _tagged(text: str, tags: tuple[str, str]) -> Spans:
    """Where a text has tags, as if it had none."""
    opening, closing = tags[0].encode(), tags[1].encode()
    if not opening or not closing:
        return []
    first, *parts = text.encode().split(opening)
    spans: Spans = []
    end = len(first)
    for part in parts:
        marked, _, rest = part.partition(closing)
        spans.append((end, len(marked)))
        end += len(marked) + len(rest)
    return spans


def leaf_texts(value: Any, path: str = "", indices: tuple[int, ...] = ()) -> Iterator[tuple[Place, str]]:
    """Every text and number of a document, as nodes search it; not what Miroir or the server put there."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if path or not (is_reserved(key) or key in _ADDED):
                yield from leaf_texts(each, f"{path}.{key}" if path else key, indices)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from leaf_texts(each, path, (*indices, place))
    elif isinstance(value, str):
        yield (path, indices), value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield (path, indices), repr(value)


_ADDED = frozenset({"_formatted", "_matchesPosition", "_vectors", "_geoDistance"})


def merge_spans(many: Iterable[Mapping[Place, Spans]]) -> dict[Place, Spans]:
    """All marks, the longer one first of those that begin together, without those that begin inside another."""
    merged: dict[Place, set[tuple[int, int]]] = {}
    for spans in many:
        for place, marks in spans.items():
            merged.setdefault(place, set()).update(marks)
    return {place: _without_overlap(marks) for place, marks in merged.items()}


def _without_overlap(marks: Iterable[tuple[int, int]]) -> Spans:
    kept: Spans = []
    end = 0
    for start, length in sorted(marks, key=lambda mark: (mark[0], -mark[1])):
        if start >= end:
            kept.append((start, length))
            end = start + length
    return kept


def _positions(merged: Mapping[Place, Spans]) -> Body:
    positions: Body = {}
    for (path, indices), marks in sorted(merged.items()):  # of an array the server shows the last text alone
        extra = {"indices": list(indices)} if indices else {}
        positions[path] = [{"start": start, "length": length, **extra} for start, length in marks]
    return positions


def _formatted(
    formatted: Body, before: Mapping[Place, Spans], after: Mapping[Place, Spans], query: SearchQuery
) -> Body:
    if query.attributes_to_crop or not query.attributes_to_highlight:
        return formatted
    names = query.attributes_to_highlight
    tags = query.highlight_pre_tag, query.highlight_post_tag

    def walk(value: Any, path: str, indices: tuple[int, ...]) -> Any:
        if isinstance(value, dict):
            return {key: walk(each, f"{path}.{key}" if path else key, indices) for key, each in value.items()}
        if isinstance(value, list):
            return [walk(each, path, (*indices, place)) for place, each in enumerate(value)]
        place = path, indices
        if not isinstance(value, str) or before.get(place, []) == after.get(place, []):
            return value
        if not any(name == "*" or is_inside(path, name) or is_inside(name, path) for name in names):
            return value
        return _retagged(value, before.get(place, []), after.get(place, []), tags)

    return {key: walk(value, key, ()) for key, value in formatted.items()}


def _retagged(text: str, before: Spans, after: Spans, tags: tuple[str, str]) -> str:
    """A marked text with other marks; as it is where it was not marked as said."""
    opening, closing, marked = tags[0].encode(), tags[1].encode(), text.encode()
    plain, place = b"", 0
    for start, length in before:
        gap = start - len(plain)
        plain += marked[place : place + gap]
        place += gap
        if not marked.startswith(opening, place):
            return text
        place += len(opening)
        plain += marked[place : place + length]
        place += length
        if not marked.startswith(closing, place):
            return text
        place += len(closing)
    plain += marked[place:]
    parts: list[bytes] = []
    end = 0
    for start, length in after:
        parts += (plain[end:start], opening, plain[start : start + length], closing)
        end = start + length
    return b"".join((*parts, plain[end:])).decode()
