"""Documents of a large body, kept as text and decoded one at a time: as objects they take many times the memory."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import orjson

#: Bodies from this size on are kept as text.
LARGE_BYTES = 1 << 20
_PAGE_BYTES = 64 << 10
_NAMES_MAX = 1_000

Span = tuple[int, int]


class LargeDocuments(Sequence[dict[str, Any]]):
    """A list of documents whose every pass decodes them anew."""

    def __init__(self) -> None:
        #: primary key -> ids, of the last primary key asked for: reading them takes a pass
        self.kept_ids: dict[str, list[str]] = {}

    @abstractmethod
    def lines(self) -> Iterator[bytes]:
        """Every document as one line of JSON without its newline, as orjson writes it."""

    @abstractmethod
    def line(self, number: int) -> bytes:
        """One of them."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(orjson.loads, self.lines())

    @overload
    def __getitem__(self, number: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, number: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, number: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        found: dict[str, Any] = orjson.loads(self.line(range(len(self))[number]))
        return found


class SentDocuments(LargeDocuments):
    """Documents where they stand in a text; `sizes` are those of their lines. Make them with `sent_documents`."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text
        self._starts = array("Q")
        self._ends = array("Q")
        self._as_written = True
        self.sizes = array("Q")
        #: every list of top-level names there is, None when there are very many
        self.names: set[tuple[str, ...]] | None = set()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, start: int, end: int) -> bool:
        """One more; False when it is no object, or none that can be written again."""
        sent = self._text[start:end]
        try:
            value = orjson.loads(sent)
            if type(value) is not dict:
                return False
            written = orjson.dumps(value)
        except (orjson.JSONDecodeError, TypeError):
            return False
        self._as_written = self._as_written and written == sent
        self._starts.append(start)
        self._ends.append(end)
        self.sizes.append(len(written))
        if self.names is not None:
            self.names.add(tuple(value))
            if len(self.names) > _NAMES_MAX:
                self.names = None
        return True

    def lines(self) -> Iterator[bytes]:
        return map(self.line, range(len(self)))

    def line(self, number: int) -> bytes:
        sent = self._text[self._starts[number] : self._ends[number]]
        return sent if self._as_written else orjson.dumps(orjson.loads(sent))

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """(number of the first document, lines joined by newlines), in order."""
        first, lines, size = 0, list[bytes](), 0
        for number, line in enumerate(self.lines()):
            lines.append(line)
            size += len(line)
            if size >= _PAGE_BYTES:
                yield first, b"\n".join(lines)
                first, lines, size = number + 1, [], 0
        if lines:
            yield first, b"\n".join(lines)


def sent_documents(text: bytes, spans: Iterable[Span]) -> SentDocuments | None:
    """The documents at (start, end) of a text; None when one of them needs a closer look."""
    found = SentDocuments(text)
    return found if all(found.add(start, end) for start, end in spans) else None
