"""Marks of a short unfinished last word, such as `li`, in an index that is not exact.

A node that holds a hundred words or more with such a beginning looks none of them up. It marks the beginning of each only
if the beginning is a word by itself there; with fewer words it marks it anyway. So shards disagree where one node
would not: if the beginning is a word anywhere, all are marked; if it is none, but one shard holds a hundred such words,
none is. (Shards that hold fewer each, but a hundred together, cannot be told apart from few.) Pure.
reference: search-semantics A.9, E.2, H3.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from miroir.core.reads.marks import Body, Place, Spans, leaf_texts, merge_spans, spans_of, with_marks
from miroir.core.reads.word_frequency import Question
from miroir.core.topology import IndexView
from miroir.meili.commands import SearchQuery
from miroir.meili.folding import normalize_whole
from miroir.meili.scripts import script_groups

#: Longer beginnings are always looked up.
_PREFIX_BYTES_MAX = 4
#: Characters that are part of words besides letters and digits.
_IN_WORDS = frozenset("$^<>=|~")


def short_prefix(index: IndexView, query: SearchQuery, asked: Question) -> str | None:
    """The last word of a query if nodes may disagree about its marks, and those can be set here."""
    settings = index.settings
    if index.exact or not asked.open_end or settings.get("prefixSearch") == "disabled":
        return None
    if not (query.attributes_to_highlight or query.show_matches_position):
        return None
    if any(settings.get(name) for name in ("separatorTokens", "nonSeparatorTokens", "dictionary")):
        return None
    start, end = asked.words[-1]
    prefix = normalize_whole(asked.text[start:end])
    return prefix if 1 <= len(prefix.encode()) <= _PREFIX_BYTES_MAX else None


def can_exist(index: IndexView, prefix: str) -> bool:
    """Whether nodes keep the beginning as a word at all."""
    return prefix not in {normalize_whole(word) for word in index.settings.get("stopWords") or ()}


def shows_prefix(body: Body, prefix: str, query: SearchQuery) -> bool:
    """Whether a hit shows the beginning of a word marked."""
    if not query.attributes_to_highlight:
        size = len(prefix.encode())
        return any(length == size for spans in spans_of(body, query).values() for _, length in spans)
    opening, closing = query.highlight_pre_tag, query.highlight_post_tag
    for _, text in leaf_texts(body.get("_formatted") or {}):
        for part in text.split(opening)[1:] if opening else ():
            if normalize_whole(part.partition(closing)[0] if closing else part[: len(prefix)]) == prefix:
                return True
    return False


def with_prefix(body: Body, seen: Body, prefix: str, query: SearchQuery) -> Body | None:
    """What of a hit changes when all beginnings are marked; `seen` is the whole document, with positions."""
    before = _marks(body, seen, query)
    return with_marks(body, before, merge_spans([before, prefix_spans(seen, prefix)]), query)


def without_prefix(body: Body, seen: Body, prefix: str, query: SearchQuery) -> Body | None:
    """What of a hit changes when no beginning is marked."""
    before, beginnings = _marks(body, seen, query), prefix_spans(seen, prefix)
    after = {
        place: [span for span in spans if span not in beginnings.get(place, ())]
        for place, spans in before.items()
    }
    return with_marks(body, before, {place: spans for place, spans in after.items() if spans}, query)


def _marks(body: Body, seen: Body, query: SearchQuery) -> dict[Place, Spans]:
    formatted = {"_formatted": body["_formatted"]} if "_formatted" in body else {}
    return spans_of({**formatted, "_matchesPosition": seen.get("_matchesPosition")}, query)


def prefix_spans(document: Body, prefix: str) -> dict[Place, Spans]:
    """Where words of a document begin so, as far as separators and changes of script bound words."""
    found: dict[Place, Spans] = {}
    for place, text in leaf_texts(document):
        spans = list(_in_text(text, prefix))
        if spans:
            found[place] = spans
    return found


def _in_text(text: str, prefix: str) -> Iterator[tuple[int, int]]:
    start = 0
    for _, part in script_groups(text):
        in_word = False
        for place, character in enumerate(part):
            if not in_word and _is_in_word(character):
                size = _size_of(part[place:], prefix)
                if size:
                    before = len(text[: start + place].encode())
                    yield before, len(part[place : place + size].encode())
            in_word = _is_in_word(character) or (in_word and unicodedata.category(character)[0] == "M")
        start += len(part)


def _is_in_word(character: str) -> bool:
    return character.isalnum() or character in _IN_WORDS


def _size_of(text: str, prefix: str) -> int:
    """How many characters of a text give the prefix in their normal form; 0 when it begins otherwise."""
    normal = ""
    for size, character in enumerate(text, 1):
        normal += normalize_whole(character)
        if len(normal) >= len(prefix) or not prefix.startswith(normal):
            return size if normal.startswith(prefix) else 0
    return 0
