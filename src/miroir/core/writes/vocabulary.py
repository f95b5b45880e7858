"""Exact mode: every word of an index on every node, so that shards agree about which words exist.

What a node answers depends on the words it holds: which typos and prefixes it derives, whether a word exists at all,
which attributes it knows. In an exact index every node therefore holds hidden documents ("ghosts") with all words of
the whole index, each under the attribute it stands in, and with every attribute ever seen.

- Words are pieces of text between separators that no setting can take back, in their own spelling: the node does the
  rest. Where a word may be cut by what stands around it (scripts without spaces, languages that are guessed, mixed
  alphabets) the whole text is kept as a value of its own. Numbers and booleans are words as JSON prints them. The primary key's words stand under a dotted name below it
  (`id._miroir_id`), which shares its weight and rules, since a ghost needs an id of its own.
- Words are counted per document, so that those of the last document that had them go with it; attributes never go,
  as on a single node.
- Ghost 0 holds the attributes, the others up to `GHOST_WORDS` words each, a separator between them that keeps words
  apart. An op rewrites only the ghosts it changes.

Switched on for new indexes by `search.exact` (`WriteLimits.exact`), for one index by `PATCH /_miroir/indexes/{uid}`
(`Ingest.make_exact`), which also makes every ghost anew: what a node needs that gets the index later. docs/exact.md.

Source: reference/search-semantics.md, H.0, H3, H4, H5, H7. Pure; kept by `services/writes/vocabularies.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from miroir.core.reserved import GHOST_FIELD, GHOST_MARK, RESERVED_PREFIX
from miroir.core.writes.text_pieces import PIECE_MAX_CHARS, WHOLE, Path, Splitter, leaves, script_order
from miroir.core.writes.text_pieces import weight as weight_of

#: Weight of the words of one ghost; positions step by 8 and end at 65,536.
GHOST_WORDS = 2000
#: Literal key below the primary key: found where the primary key is searched, but no part of any id.
ID_WORDS = f"{RESERVED_PREFIX}id"

_UNSEEN = frozenset({"_vectors", "_geo", "_geojson"})
#: shows nothing, is no word, but makes its attribute known
_HARMLESS = GHOST_MARK


class Vocabulary:
    """The words of one index: who has them, which ghost holds them, what must be written again.

    Words are numbered per (path, spelling); a number is used again only after its word was gone.
    """

    def __init__(self, primary_key: str, splitter: Splitter) -> None:
        self.primary_key = primary_key
        self.splitter = splitter
        self.paths: dict[Path, int] = {}
        self._words: dict[tuple[int, str], int] = {}
        self._spelling: list[tuple[int, str] | None] = []
        self._counts: list[int] = []
        self._ghost_of: list[int] = []
        self._free: list[int] = []
        self._documents: dict[int, dict[str, tuple[int, ...]]] = {}
        self._held: list[set[int]] = [set()]  #: ghost -> words; ghost 0 holds attributes
        self._weight: list[int] = [0]
        self._filling = 0  #: ghost that new words go to, 0: none yet
        self._roomy: set[int] = set()  #: ghosts that lost half of their words
        self.stale: set[int] = set()  #: ghosts that nodes have otherwise
        self._changed = Changed()

    def put(self, seq: int, document: Mapping[str, Any], *, merge: bool) -> None:
        """A document was written; with `merge` only its top-level names change."""
        fresh = {name: self._take(name, value) for name, value in document.items() if name not in _UNSEEN}
        self._changed.documents.add(seq)
        before = self._documents.get(seq)
        if before is None:
            self._documents[seq] = fresh
            return
        if merge:
            gone = {name: before[name] for name in fresh if name in before}
            self._documents[seq] = {**before, **fresh}
        else:
            gone = before
            self._documents[seq] = fresh
        for numbers in gone.values():
            self._release(numbers)

    def remove(self, seqs: Iterable[int]) -> None:
        """Documents are gone."""
        for seq in seqs:
            self._changed.documents.add(seq)
            for numbers in self._documents.pop(seq, {}).values():
                self._release(numbers)

    def clear(self) -> None:
        """Every document is gone, and so are the ghosts on the nodes; attributes stay."""
        fresh = Vocabulary(self.primary_key, self.splitter)
        fresh.paths = self.paths
        fresh.mark_all()
        fresh._changed.everything = True
        self.__dict__.update(fresh.__dict__)

    def know(self, names: Iterable[str]) -> None:
        """Top-level names that some document once had."""
        for name in names:
            if name not in _UNSEEN:  # their values have a form of their own, which words have not
                self._path((name,))

    def know_paths(self, paths: Iterable[Path]) -> None:
        """Paths that some document once had."""
        for path in paths:
            if path[0] not in _UNSEEN:
                self._path(path)

    def mark_all(self, ghosts_min: int = 0) -> None:
        """Write every ghost again, and empty ones up to `ghosts_min`, to overwrite what nodes have there."""
        while len(self._held) < ghosts_min:
            self._open_ghost()
        self.stale.update(range(len(self._held)))

    @property
    def ghost_count(self) -> int:
        return len(self._held)

    def take_stale(self, embedders: Iterable[str] = ()) -> bytes:
        """NDJSON of the ghosts that changed since the last call; empty when none did."""
        lines = self.rendered(embedders)
        self.stale.clear()
        return lines

    def rendered(self, embedders: Iterable[str] = ()) -> bytes:
        """NDJSON of the stale ghosts; they stay so."""
        return b"".join(self._render(number, tuple(embedders)) for number in sorted(self.stale))

    # --- words --------------------------------------------------------------------------------

    def _take(self, name: str, value: Any) -> tuple[int, ...]:
        """Numbers of the distinct words of one top-level member, each counted once more."""
        numbers: dict[int, None] = {}
        for path, leaf in leaves(value, (name,)):
            number = self._path(path)
            if leaf is None:
                continue
            text = leaf if isinstance(leaf, str) else orjson.dumps(leaf).decode()
            if ".".join(path) == self.primary_key:
                number = self._path((f"{self.primary_key}.{ID_WORDS}",))
            for piece in self.splitter.pieces(text):
                if len(piece) <= PIECE_MAX_CHARS:
                    numbers[self._word(number, piece)] = None
        counts = self._counts
        for each in numbers:
            counts[each] += 1
        return tuple(numbers)

    def _path(self, path: Path) -> int:
        number = self.paths.get(path)
        if number is None:
            number = self.paths[path] = len(self.paths)
            self._changed.paths.append(path)
            self.stale.add(0)
        return number

    def _word(self, path: int, piece: str) -> int:
        key = (path, piece)
        number = self._words.get(key)
        if number is not None:
            return number
        ghost = self._ghost_with_room(weight_of(piece))
        if self._free:
            number = self._free.pop()
            self._spelling[number], self._counts[number], self._ghost_of[number] = key, 0, ghost
        else:
            number = len(self._spelling)
            self._spelling.append(key)
            self._counts.append(0)
            self._ghost_of.append(ghost)
        self._words[key] = number
        self._held[ghost].add(number)
        self.stale.add(ghost)
        self._changed.words.add(number)
        return number

    def _ghost_with_room(self, weight: int) -> int:
        """The ghost that words go to now; when it is full one that lost many, else a new one."""
        if not self._filling or self._weight[self._filling] + weight > GHOST_WORDS:
            roomy = [ghost for ghost in self._roomy if self._weight[ghost] + weight <= GHOST_WORDS]
            self._filling = min(roomy) if roomy else self._open_ghost()
            self._roomy.discard(self._filling)
        self._weight[self._filling] += weight
        return self._filling

    def _open_ghost(self) -> int:
        self._held.append(set())
        self._weight.append(0)
        return len(self._held) - 1

    def _release(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._counts[number] -= 1
            if self._counts[number] == 0:
                key = self._spelling[number]
                assert key is not None
                del self._words[key]
                self._spelling[number] = None
                self._free.append(number)
                self._changed.words.add(number)
                ghost = self._ghost_of[number]
                self._held[ghost].discard(number)
                self._weight[ghost] -= weight_of(key[1])
                self.stale.add(ghost)
                if ghost != self._filling and self._weight[ghost] <= GHOST_WORDS // 2:
                    self._roomy.add(ghost)

    # --- ghosts -------------------------------------------------------------------------------

    def _render(self, ghost: int, embedders: Sequence[str]) -> bytes:
        paths = list(self.paths)
        texts: dict[Path, list[str]] = {}
        if ghost == 0:
            texts = {path: [_HARMLESS] for path in paths}
        else:
            words: dict[int, list[str]] = {}
            for number in self._held[ghost]:
                key = self._spelling[number]
                assert key is not None
                words.setdefault(key[0], []).append(key[1])
            for path in sorted(words):
                texts[paths[path]] = self._values(words[path])
        document = _tree(texts)
        _plant(document, tuple(self.primary_key.split(".")), [ghost_id(ghost)])
        if embedders:
            document["_vectors"] = dict.fromkeys(embedders)
        document[GHOST_FIELD] = GHOST_MARK
        return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)

    def _values(self, pieces: Iterable[str]) -> list[str]:
        """Values that hold these pieces: one for all that need no context, one for each whole text."""
        ordered = sorted(pieces, key=script_order)
        joined = self.splitter.between.join(piece for piece in ordered if piece[0] != WHOLE)
        whole = [piece[1:] for piece in ordered if piece[0] == WHOLE]
        return [joined, *whole] if joined else whole

    # --- on disk ------------------------------------------------------------------------------

    def rewrite_rows(self) -> None:
        """Every row again: those that are stored are another vocabulary's."""
        self._changed.everything = True

    @property
    def changed(self) -> bool:
        """Whether rows are out of date."""
        changed = self._changed
        return bool(changed.everything or changed.paths or changed.words or changed.documents)

    def take_rows(self) -> Rows:
        """What changed since the last call: (kind, number) -> plain value, None where the row goes."""
        changed, self._changed = self._changed, Changed()
        rows: dict[tuple[str, int], Any] = {("head", 0): [self.primary_key, len(self._held)]}
        for path in self.paths if changed.everything else changed.paths:
            rows["path", self.paths[path]] = path
        for number in range(len(self._spelling)) if changed.everything else changed.words:
            key = self._spelling[number]
            rows["word", number] = None if key is None else [*key, self._ghost_of[number]]
        for seq in self._documents if changed.everything else changed.documents:
            rows["document", seq] = self._documents.get(seq)
        return Rows(changed.everything, rows)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, int, Any]], splitter: Splitter) -> Vocabulary | None:
        """Inverse of `take_rows`; rows of a kind come by number. None when there are none."""
        by_kind: dict[str, list[tuple[int, Any]]] = {}
        for kind, number, row in rows:
            by_kind.setdefault(kind, []).append((number, row))
        if "head" not in by_kind:
            return None
        primary_key, ghosts = by_kind["head"][0][1]
        found = cls(primary_key, splitter)
        for _, path in sorted(by_kind.get("path", [])):
            found.paths[tuple(path)] = len(found.paths)
        for _ in range(1, ghosts):
            found._open_ghost()
        words = by_kind.get("word", [])
        size = max((number for number, _ in words), default=-1) + 1
        found._spelling, found._counts, found._ghost_of = [None] * size, [0] * size, [0] * size
        for number, (path, piece, ghost) in words:
            found._spelling[number] = (path, piece)
            found._words[path, piece] = number
            found._ghost_of[number] = ghost
            found._held[ghost].add(number)
            found._weight[ghost] += weight_of(piece)
        found._free = [number for number, key in enumerate(found._spelling) if key is None]
        found._roomy = {g for g in range(1, ghosts) if found._weight[g] <= GHOST_WORDS // 2}
        for seq, members in by_kind.get("document", []):
            found._documents[seq] = {name: tuple(numbers) for name, numbers in members.items()}
            for numbers in members.values():
                for number in numbers:
                    found._counts[number] += 1
        found.stale.clear()
        found._changed = Changed()
        return found


@dataclass(slots=True)
class Changed:
    """Parts of a vocabulary whose rows are out of date."""

    everything: bool = False
    paths: list[Path] = field(default_factory=list)
    words: set[int] = field(default_factory=set)
    documents: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Rows:
    """`anew`: rows that are not here go as well."""

    anew: bool
    rows: Mapping[tuple[str, int], Any]


def ghost_id(number: int) -> str:
    """An id of separators alone, so that it adds no word."""
    bits = f"{number:024b}".replace("0", "-").replace("1", "_")
    return f"_--__--_{bits}_-_--_-_"


def is_ghost_id(document_id: str) -> bool:
    """Whether an id is one that `ghost_id` makes."""
    return document_id.startswith("_--__--_") and document_id.endswith("_-_--_-_") and len(document_id) == 40


def _tree(texts: Mapping[Path, Sequence[str]]) -> dict[str, Any]:
    """A document that has texts at their paths. A path that also has paths below it becomes an array."""
    root: dict[str, Any] = {}
    for path, values in texts.items():
        _plant(root, path, values)
    return root


def _plant(root: dict[str, Any], path: Path, values: Sequence[str]) -> None:
    place = root
    for key in path[:-1]:
        child = place.get(key)
        if isinstance(child, dict):
            place = child
        elif isinstance(child, list):
            place = child[-1] if isinstance(child[-1], dict) else _append(child)
        elif child is None:
            place[key] = place = {}
        else:
            place[key] = found = [child]
            place = _append(found)
    last = path[-1]
    known = place.get(last)
    below = known[-1] if isinstance(known, list) else known
    if isinstance(below, dict):
        place[last] = [*values, below]
    else:
        place[last] = values[0] if len(values) == 1 else list(values)


def _append(values: list[Any]) -> dict[str, Any]:
    fresh: dict[str, Any] = {}
    values.append(fresh)
    return fresh
