"""Where the words of a document stand.

An occurrence is packed into 64 bits: docid << 32 | field << 16 | position. Positions count per attribute
path: one step per word, eight across a hard separator or from one value to the next. Source: semantics A.2, A.5.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from miroir.engine.text_rules import TextRules
from miroir.engine.tokens import MAX_WORD_BYTES, Kind, Tokenizer

FAR = 8  #: distance between words that do not belong together
POSITIONS_MAX = 65_536
#: Word counts above this are not kept, so such a field never matches exactly.
COUNTED_WORDS_MAX = 30


def values(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every visited (path, value) in document order; containers appear as None (they hold a place, no text)."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _object_values(value, name)
        elif isinstance(value, list):
            yield from _array_values(value, name)
        else:
            yield name, value


def _object_values(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    if not value:
        yield path, None
    for key, child in value.items():
        child_path = f"{path}.{key}" if path else key
        if isinstance(child, dict):
            yield child_path, None
            yield from _object_values(child, child_path)
        elif isinstance(child, list):
            yield child_path, None
            yield from _array_values(child, child_path)
        else:
            yield child_path, child


def _array_values(elements: list[Any], path: str) -> Iterator[tuple[str, Any]]:
    if not elements:
        yield path, None
    for element in elements:
        if isinstance(element, dict):
            yield from _object_values(element, path)
        elif isinstance(element, list):
            yield from _array_values(element, path)
        else:
            yield path, element


def text_of(value: Any) -> str | None:
    """The text of a scalar as the index sees it; None for null."""
    if isinstance(value, str):
        return value
    if value is None:
        return None
    return orjson.dumps(value).decode()


def differing_parts(old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both versions of a document without the members that put the same under their paths in both.

    Members may share paths (`a.b` and the `b` of `a`), and positions go on along a path, so members that
    begin with the same name stay or go together, and they must come in the same order.
    """
    before, after = _by_first_name(old), _by_first_name(new)
    if "" in before or "" in after:
        return old, new  # what is below an empty name shares paths with anything
    same = {name for name, members in before.items() if after.get(name) == members}
    return (
        {key: value for key, value in old.items() if key.partition(".")[0] not in same},
        {key: value for key, value in new.items() if key.partition(".")[0] not in same},
    )


def _by_first_name(document: Mapping[str, Any]) -> dict[str, list[tuple[str, type, str]]]:
    """Members by the first part of their names; equal values that are written otherwise differ."""
    found: dict[str, list[tuple[str, type, str]]] = {}
    for key, value in document.items():
        shown = value if isinstance(value, str) else repr(value)
        found.setdefault(key.partition(".")[0], []).append((key, type(value), shown))
    return found


class FieldTable:
    """Numbers of attribute paths, given at first sight and never reused; remembers which are searchable."""

    __slots__ = ("ids", "rules")

    def __init__(self, rules: TextRules, ids: Mapping[str, int]) -> None:
        self.rules = rules
        self.ids: dict[str, int | None] = dict(ids)

    def number(self, path: str) -> int | None:
        """The field number of a path, None if it is not searchable."""
        if path in self.ids:
            return self.ids[path]
        number = None
        if self.rules.weight(path) is not None:
            number = sum(known is not None for known in self.ids.values())
        self.ids[path] = number
        return number

    def searchable(self) -> dict[str, int]:
        """Paths that have a number."""
        return {path: number for path, number in self.ids.items() if number is not None}


class Collector:
    """Gathers occurrences of many documents, word by word, and their word counts per field."""

    def __init__(self, tokenizer: Tokenizer, fields: FieldTable) -> None:
        self._tokenizer = tokenizer
        self._fields = fields
        self.occurrences: dict[str, array[int]] = {}
        self.counts: dict[tuple[int, int], list[int]] = {}  #: (field, number of words) -> docids

    def add(self, docid: int, document: Mapping[str, Any]) -> None:
        """Gather one document; its docids must come in any order but only once."""
        positions: dict[int, int] = {}
        counted: dict[int, int] = {}
        base = docid << 32
        for path, value in values(document):
            field = self._fields.number(path)
            if field is None:
                continue
            position = positions.get(field)
            position = 0 if position is None else position + FAR
            positions[field] = position
            if value is None or position >= POSITIONS_MAX:
                continue
            text = text_of(value)
            if text:
                languages = self._languages(path) if isinstance(value, str) else None
                position, count = self._add_text(text, languages, base | field << 16, position)
                positions[field] = position
                counted[field] = counted.get(field, 0) + count
        for field, count in counted.items():
            if 0 < count <= COUNTED_WORDS_MAX:
                self.counts.setdefault((field, count), []).append(docid)

    def _languages(self, path: str) -> tuple[str, ...] | None:
        rules = self._fields.rules
        return rules.languages(path) if rules.localized else None

    def _add_text(
        self, text: str, languages: tuple[str, ...] | None, base: int, start: int
    ) -> tuple[int, int]:
        """Returns the position of the last indexed word (`start` without one) and how many were indexed."""
        occurrences = self.occurrences
        place, last, count = start, start, 0
        step = 0  # distance of the next word; nothing before the first one
        begun = False
        for kind, lemma, _ in self._tokenizer.classified(text, languages):
            if kind <= Kind.STOP_WORD:
                if begun:
                    place += step
                begun = True
                step = 1
                if place >= POSITIONS_MAX:
                    break
                if kind == Kind.STOP_WORD:
                    continue
                if len(lemma) > MAX_WORD_BYTES // 4 and len(lemma.encode()) > MAX_WORD_BYTES:
                    continue
                last = place
                count += 1
                found = occurrences.get(lemma)
                if found is None:
                    occurrences[lemma] = array("Q", (base | place,))
                else:
                    found.append(base | place)
            elif kind == Kind.HARD and begun:
                step = FAR
        return last, count
