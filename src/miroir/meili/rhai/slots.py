"""Places that hold a value: variables, items, members, parts of texts and numbers."""

from __future__ import annotations

from typing import Any

from miroir.meili.rhai.errors import wrong_type
from miroir.meili.rhai.operators import shifted_left
from miroir.meili.rhai.values import Char, Shared, flat, to_string, type_name


class Slot:
    """A value that can be replaced; `constant` ones are not to be."""

    __slots__ = ("constant",)

    constant: bool

    def get(self) -> Any:
        """The value, not a copy."""
        raise NotImplementedError

    def set(self, value: Any) -> None:
        """Put another in its place."""
        raise NotImplementedError


class Cell(Slot):
    """A variable, or a value that nobody else has."""

    __slots__ = ("value",)

    def __init__(self, value: Any, *, constant: bool = False) -> None:
        self.value = value
        self.constant = constant

    def get(self) -> Any:
        return flat(self.value)

    @property
    def shared(self) -> Shared | None:
        """What a closure has too, if one has."""
        return self.value if type(self.value) is Shared else None

    def set(self, value: Any) -> None:
        if type(self.value) is Shared:
            self.value.value = value
        else:
            self.value = value

    def share(self) -> Shared:
        """Make it one that a closure has too."""
        if type(self.value) is not Shared:
            self.value = Shared(self.value)
        shared: Shared = self.value
        return shared


class ItemSlot(Slot):
    """An item of an array or member of a map."""

    __slots__ = ("holder", "key")

    def __init__(self, holder: Any, key: Any, *, constant: bool) -> None:
        self.holder = holder
        self.key = key
        self.constant = constant

    def get(self) -> Any:
        return self.holder[self.key]

    def set(self, value: Any) -> None:
        self.holder[self.key] = value


class PartSlot(Slot):
    """A part of a text or number that is in another slot."""

    __slots__ = ("length", "start", "whole")

    def __init__(self, whole: Slot, start: int, length: int) -> None:
        self.whole = whole
        self.start = start
        self.length = length
        self.constant = whole.constant


class CharSlot(PartSlot):
    """A character of a text; `at` is where one that is assigned goes."""

    __slots__ = ("at",)

    def __init__(self, whole: Slot, start: int, at: int) -> None:
        super().__init__(whole, start, 1)
        self.at = at

    def get(self) -> Any:
        return Char(self.whole.get()[self.start])

    def set(self, value: Any) -> None:
        if not isinstance(value, Char):
            raise wrong_type("char", type_name(value))
        text = self.whole.get()
        if self.at < len(text):
            self.whole.set(text[: self.at] + value.text + text[self.at + 1 :])


class SliceSlot(PartSlot):
    """A part of a text."""

    __slots__ = ()

    def get(self) -> Any:
        return self.whole.get()[self.start : self.start + self.length]

    def set(self, value: Any) -> None:
        text = self.whole.get()
        self.whole.set(text[: self.start] + to_string(value) + text[self.start + self.length :])


class BitSlot(PartSlot):
    """One bit of an integer, as a truth value."""

    __slots__ = ()

    def get(self) -> Any:
        return bool(self.whole.get() >> self.start & 1)

    def set(self, value: Any) -> None:
        if type(value) is not bool:
            raise wrong_type("bool", type_name(value))
        self.whole.set(with_bits(self.whole.get(), self.start, 1, int(value)))


class BitsSlot(PartSlot):
    """Some bits of an integer."""

    __slots__ = ()

    def get(self) -> Any:
        return bits_of(self.whole.get(), self.start, self.length)

    def set(self, value: Any) -> None:
        if type(value) is not int:
            raise wrong_type("i64", type_name(value))
        self.whole.set(with_bits(self.whole.get(), self.start, self.length, value))


def bits_of(number: int, start: int, length: int) -> int:
    """Bits as a number."""
    return number if length == 64 else number >> start & ((1 << length) - 1)


def with_bits(number: int, start: int, length: int, value: int) -> int:
    """The number with some bits replaced, as 64 bits with a sign."""
    mask = (1 << length) - 1
    return shifted_left((number & ~(mask << start)) | (value & mask) << start, 0)
