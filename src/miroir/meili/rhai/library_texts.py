"""Functions of strings and characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from miroir.meili.rhai.errors import too_large
from miroir.meili.rhai.library import Machine, changing, native
from miroir.meili.rhai.limits import TEXT_MAX
from miroir.meili.rhai.slots import Slot
from miroir.meili.rhai.values import INT_MAX, Char, Range, Stream

Native = Callable[..., Any]


def _bare(value: str | Char) -> str:
    return value if isinstance(value, str) else value.text


def _registered(names: str, first: str = "string") -> Callable[[Native], Native]:
    """Register a function of a string and a string or character."""

    def register(run: Native) -> Native:
        def bare(machine: Machine, text: str, part: str | Char, *more: Any) -> Any:
            return run(machine, text, _bare(part), *more)

        extra = first.removeprefix("string").strip()
        for kind in ("string", "char"):
            native(names, f"string {kind} {extra}")(bare)
        return run

    return register


# --- looking ------------------------------------------------------------------------------------


@native("len get$len", "string")
def _len(_: Machine, text: str) -> int:
    return len(text)


@native("is_empty get$is_empty", "string")
def _is_empty(_: Machine, text: str) -> bool:
    return not text


@native("bytes get$bytes", "string")
def _bytes(_: Machine, text: str) -> int:
    return len(text.encode())


@_registered("contains")
def _contains(_: Machine, text: str, part: str) -> bool:
    return part in text


@_registered("starts_with")
def _starts_with(_: Machine, text: str, part: str) -> bool:
    return text.startswith(part)


@_registered("ends_with")
def _ends_with(_: Machine, text: str, part: str) -> bool:
    return text.endswith(part)


@_registered("index_of")
def _index_of(_: Machine, text: str, part: str) -> int:
    return text.find(part) if text else -1


@_registered("index_of", "string i64")
def _index_of_from(_: Machine, text: str, part: str, start: int) -> int:
    if not text or start >= len(text):
        return -1
    return text.find(part, start if start >= 0 else max(len(text) + start, 0))


@native("get", "string i64")
def _get(_: Machine, text: str, index: int) -> Any:
    at = index if index >= 0 else len(text) + index
    return Char(text[at]) if 0 <= at < len(text) else None


@native("min", "string string")
def _min(_: Machine, one: str, other: str) -> str:
    return min(one, other)


@native("max", "string string")
def _max(_: Machine, one: str, other: str) -> str:
    return max(one, other)


@native("min", "char char")
def _min_char(_: Machine, one: Char, other: Char) -> Char:
    return one if one.text <= other.text else other


@native("max", "char char")
def _max_char(_: Machine, one: Char, other: Char) -> Char:
    return one if one.text >= other.text else other


# --- parts --------------------------------------------------------------------------------------


def _part(text: str, start: int, count: int) -> str:
    if count <= 0 or start >= len(text):
        return ""
    at = start if start >= 0 else max(len(text) + start, 0)
    return text[at : at + count]


@native("sub_string", "string i64 i64")
def _sub_string(_: Machine, text: str, start: int, count: int) -> str:
    return _part(text, start, count)


@native("sub_string", "string i64")
def _sub_string_from(_: Machine, text: str, start: int) -> str:
    return _part(text, start, len(text))


@native("sub_string", "string ranges")
def _sub_string_range(_: Machine, text: str, span: Range) -> str:
    return _part(text, *span.span())


@changing("crop", "string i64 i64")
def _crop(_: Machine, slot: Slot, start: int, count: int) -> None:
    slot.set(_part(slot.get(), start, count))


@changing("crop", "string i64")
def _crop_from(_: Machine, slot: Slot, start: int) -> None:
    slot.set(_part(slot.get(), start, len(slot.get())))


@changing("crop", "string ranges")
def _crop_range(_: Machine, slot: Slot, span: Range) -> None:
    slot.set(_part(slot.get(), *span.span()))


@native("split", "string i64")
def _split_at(_: Machine, text: str, index: int) -> list[str]:
    at = index if index > 0 else len(text) + index
    return ["", text] if at < 0 else [text[:at], text[at:]]


@native("split", "string")
def _split_words(machine: Machine, text: str) -> list[str]:
    return _limited(machine, text.split() if text else [text])


@native("to_chars", "string")
def _to_chars(machine: Machine, text: str) -> list[Char]:
    return _limited(machine, [Char(char) for char in text])


def _pieces(text: str, delimiter: str, segments: int) -> list[str]:
    if delimiter:
        return text.split(delimiter, segments - 1)
    pieces = ["", *text, ""]
    return pieces if len(pieces) <= segments else [*pieces[: segments - 1], "".join(pieces[segments - 1 :])]


def _pieces_from_end(text: str, delimiter: str, segments: int) -> list[str]:
    if delimiter:
        return text.rsplit(delimiter, segments - 1)[::-1]
    pieces = ["", *text[::-1], ""]
    if len(pieces) <= segments:
        return pieces
    return [*pieces[: segments - 1], "".join(pieces[segments - 1 :])[::-1]]


def _limited(machine: Machine, items: list[Any]) -> list[Any]:
    machine.budget.spend(len(items))
    machine.budget.check(items)
    return items


@_registered("split")
def _split(machine: Machine, text: str, delimiter: str) -> list[Any]:
    return _limited(machine, _pieces(text, delimiter, len(text) + 3) if text else [text])


@_registered("split", "string i64")
def _split_some(machine: Machine, text: str, delimiter: str, segments: int) -> list[Any]:
    if segments <= 1 or not text:
        return [text]
    return _limited(machine, _pieces(text, delimiter, min(segments, len(text) + 3)))


@_registered("split_rev")
def _split_rev(machine: Machine, text: str, delimiter: str) -> list[Any]:
    return _limited(machine, _pieces_from_end(text, delimiter, len(text) + 3) if text else [text])


@_registered("split_rev", "string i64")
def _split_rev_some(machine: Machine, text: str, delimiter: str, segments: int) -> list[Any]:
    if segments <= 1 or not text:
        return [text]
    return _limited(machine, _pieces_from_end(text, delimiter, min(segments, len(text) + 3)))


@native("chars get$chars", "string")
def _chars(_: Machine, text: str) -> Stream:
    return Stream(iter([Char(char) for char in text]))


@native("chars", "string i64")
def _chars_from(_: Machine, text: str, start: int) -> Stream:
    return Stream(iter([Char(char) for char in _part(text, start, INT_MAX)]))


@native("chars", "string i64 i64")
def _chars_part(_: Machine, text: str, start: int, count: int) -> Stream:
    return Stream(iter([Char(char) for char in _part(text, start, count)]))


@native("chars", "string ranges")
def _chars_range(_: Machine, text: str, span: Range) -> Stream:
    return Stream(iter([Char(char) for char in _part(text, *span.span())]))


# --- changing -----------------------------------------------------------------------------------


@native("to_upper", "string")
def _to_upper(machine: Machine, text: str) -> str:
    return machine.budget.text(text.upper())


@native("to_lower", "string")
def _to_lower(machine: Machine, text: str) -> str:
    return machine.budget.text(text.lower())


@native("to_upper", "char")
def _to_upper_char(_: Machine, char: Char) -> Char:
    return Char(char.text.upper()) if len(char.text.upper()) == 1 else char


@native("to_lower", "char")
def _to_lower_char(_: Machine, char: Char) -> Char:
    return Char(char.text.lower()) if len(char.text.lower()) == 1 else char


@changing("make_upper", "string")
def _make_upper(machine: Machine, slot: Slot) -> None:
    slot.set(_to_upper(machine, slot.get()))


@changing("make_lower", "string")
def _make_lower(machine: Machine, slot: Slot) -> None:
    slot.set(_to_lower(machine, slot.get()))


@changing("make_upper", "char")
def _make_upper_char(machine: Machine, slot: Slot) -> None:
    slot.set(_to_upper_char(machine, slot.get()))


@changing("make_lower", "char")
def _make_lower_char(machine: Machine, slot: Slot) -> None:
    slot.set(_to_lower_char(machine, slot.get()))


@changing("trim", "string")
def _trim(_: Machine, slot: Slot) -> None:
    slot.set(slot.get().strip())


@changing("clear", "string")
def _clear(_: Machine, slot: Slot) -> None:
    slot.set("")


@changing("truncate", "string i64")
def _truncate(_: Machine, slot: Slot, count: int) -> None:
    slot.set(slot.get()[: max(count, 0)])


@changing("pop", "string")
def _pop(_: Machine, slot: Slot) -> Any:
    text = slot.get()
    slot.set(text[:-1])
    return Char(text[-1]) if text else None


@changing("pop", "string i64")
def _pop_some(_: Machine, slot: Slot, count: int) -> str:
    text: str = slot.get()
    at = len(text) - max(count, 0)
    slot.set(text[: max(at, 0)])
    return text[max(at, 0) :]


@changing("set", "string i64 char")
def _set(_: Machine, slot: Slot, index: int, char: Char) -> None:
    text = slot.get()
    at = index if index >= 0 else len(text) + index
    if 0 <= at < len(text):
        slot.set(text[:at] + char.text + text[at + 1 :])


@changing("append", "string any")
def _append(machine: Machine, slot: Slot, item: Any) -> None:
    slot.set(machine.budget.appended(slot.get(), machine.budget.printed(item)))


def _remove(_: Machine, slot: Slot, part: str | Char) -> None:
    slot.set(slot.get().replace(_bare(part), ""))


def _replace(machine: Machine, slot: Slot, find: str | Char, by: str | Char) -> None:
    text, find, by = slot.get(), _bare(find), _bare(by)
    if text:
        count = text.count(find)
        machine.budget.room(len(text) + count * (len(by) - len(find)))
        slot.set(text.replace(find, by))


def _pad(machine: Machine, slot: Slot, length: int, by: str | Char) -> None:
    text, padding = slot.get(), _bare(by)
    if length > TEXT_MAX:
        raise too_large("Length of string")
    missing = length - len(text)
    if missing > 0 and padding:
        machine.budget.room(length)
        slot.set(text + (padding * (missing // len(padding) + 1))[:missing])


for _kind in ("string", "char"):
    changing("remove", f"string {_kind}")(_remove)
    changing("pad", f"string i64 {_kind}")(_pad)
    for _other in ("string", "char"):
        changing("replace", f"string {_kind} {_other}")(_replace)
