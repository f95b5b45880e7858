"""What goes wrong with a script: places, refusals of the compiler, errors while it runs, and their words."""

from __future__ import annotations

from typing import Any

#: Line and position in the line, both from one; None where an error has no place.
Place = tuple[int, int] | None

#: Errors that no `catch` sees, and that are told without the calls they happened in.
_SYSTEM = frozenset({"ErrorParsing", "ErrorTooManyOperations", "ErrorTooManyVariables", "ErrorStackOverflow"})


def with_place(message: str, place: Place) -> str:
    """The message and, where there is one, its place."""
    return message if place is None else f"{message} (line {place[0]}, position {place[1]})"


class CompileError(Exception):
    """A script that is refused before it runs."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def __str__(self) -> str:
        return with_place(self.message, self.place)


class RunError(Exception):
    """An error of a running script; `kind` and `fields` are what a `catch` is told besides the message.

    `value` is what was thrown (kind `ErrorRuntime` alone); `inner` is the error inside a called function.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        place: Place = None,
        *,
        fields: dict[str, Any] | None = None,
        value: Any = None,
        inner: RunError | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.place = place
        self.fields = fields or {}
        self.value = value
        self.inner = inner

    def __str__(self) -> str:
        text = self.message if self.inner is None else f"{self.inner}\n{self.message}"
        return with_place(text, self.place)

    @property
    def is_system(self) -> bool:
        """Passed through calls and catches as it is."""
        return self.kind in _SYSTEM or self.kind == "ErrorDataTooLarge"

    @property
    def innermost(self) -> RunError:
        """The error that all the calls around it were left by."""
        error = self
        while error.inner is not None:
            error = error.inner
        return error

    def at(self, place: Place) -> RunError:
        """Itself, at this place if it had none."""
        if self.place is None:
            self.place = place
        return self


class Leaving(BaseException):
    """No error, but a way out of what is running."""


class BreakLoop(Leaving):
    """`break` (with a value) or `continue`."""

    def __init__(self, value: Any, *, ends: bool) -> None:
        super().__init__()
        self.value = value
        self.ends = ends


class ReturnValue(Leaving):
    """`return` from a function or the script."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class ExitScript(Leaving):
    """`exit()`: the script ends here, well."""


def no_function(signature: str, place: Place = None) -> RunError:
    """No function has this name and takes these types."""
    return RunError(
        "ErrorFunctionNotFound", f"Function not found: {signature}", place, fields={"function": signature}
    )


def wrong_type(wanted: str, actual: str, place: Place = None) -> RunError:
    """A value is not of the type it has to be of."""
    words = f"Data type incorrect: {actual} (expecting {wanted})"
    return RunError("ErrorMismatchDataType", words, place, fields={"requested": wanted, "actual": actual})


def arithmetic(message: str) -> RunError:
    """A calculation that has no result; its place is filled in by whoever called."""
    return RunError("ErrorArithmetic", message)


def too_large(what: str, place: Place = None) -> RunError:
    """Data above a limit; `what` is `Length of string`, `Size of array/BLOB` or `Size of object map`."""
    return RunError("ErrorDataTooLarge", f"{what} too large", place, fields={"type": what})


def thrown(value: Any, words: str, place: Place) -> RunError:
    """`throw value`; `words` is the value printed, empty for none."""
    message = f"Runtime error: {words}" if words else "Runtime error"
    return RunError("ErrorRuntime", message, place, value=value)


def out_of_bounds(kind: str, length: int, index: int, place: Place = None) -> RunError:
    """An index outside of an `Array`, a `String` or a `Bit-field`."""
    what, unit = {"Array": ("array", "element"), "String": ("string", "character"), "BitField": ("", "")}[
        kind
    ]
    if kind == "BitField":
        words = f"Bit-field index {index} out of bounds: only {length} bits in bit-field"
    elif length == 0:
        words = f"{kind} index {index} out of bounds: {what} is empty"
    else:
        words = (
            f"{kind} index {index} out of bounds: only {length} {unit}{'' if length == 1 else 's'} in {what}"
        )
    fields = {"length": length, "index": index}
    return RunError(f"Error{kind}Bounds", words, place, fields=fields)
