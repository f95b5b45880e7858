"""Document edition functions, from their text to what they make of a document."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.rhai import library_arrays, library_maps, library_numbers, library_order, library_texts
from miroir.meili.rhai.errors import CompileError, ExitScript, RunError
from miroir.meili.rhai.interpreter import Interpreter
from miroir.meili.rhai.limits import FUNCTIONS_MAX
from miroir.meili.rhai.parser import parse
from miroir.meili.rhai.scope import Scope
from miroir.meili.rhai.values import flat, from_json, to_json

#: Their functions are registered by importing them.
LIBRARY_MODULES = (library_arrays, library_maps, library_numbers, library_order, library_texts)

_FAILED = "Document edition runtime error encountered while running the function: "
_NOT_COMPILED = "Document edition runtime error encountered while compiling the function: "
_CODE = "edit_documents_by_function_error"
#: Nested calls of our own that the deepest script needs: calls of functions, and expressions in each.
_FRAMES_MAX = 30_000
#: As deep as JSON is read.
_NESTING_MAX = 127


def compile_script(source: str) -> Callable[[dict[str, Any], dict[str, Any] | None], Any]:
    """A function (document, context) -> what `doc` is afterwards; neither argument is changed.

    Raises:
        ApiError: `bad_request`, the script is wrong. The returned function raises `edit_documents_by_function_error`.
    """
    try:
        script = parse(source)
    except CompileError as error:
        raise ApiError("bad_request", str(error)) from None

    def run(document: dict[str, Any], context: dict[str, Any] | None) -> Any:
        if len(script.functions) > FUNCTIONS_MAX:
            words = "Number of functions defined exceeds maximum limit"
            raise ApiError(_CODE, _NOT_COMPILED + words)
        scope = Scope()
        if context is not None:
            scope.push("context", from_json(context), constant=True)
        doc = scope.push("doc", from_json(document))
        frames = sys.getrecursionlimit()
        sys.setrecursionlimit(max(frames, _FRAMES_MAX))
        try:
            with contextlib.suppress(ExitScript):
                Interpreter(script.functions, scope).run(script)
            return _result(doc.get())
        except RunError as error:
            raise ApiError(_CODE, f"{_FAILED}{error}") from None
        except RecursionError:
            raise ApiError(_CODE, f"{_FAILED}Stack overflow") from None
        finally:
            sys.setrecursionlimit(frames)

    return run


def _result(value: Any) -> Any:
    """The document as JSON; deeper than JSON may be, it is refused."""
    if _depth(value) > _NESTING_MAX:
        raise RunError("ErrorDataTooLarge", "recursion limit exceeded")
    return to_json(value)


def _depth(value: Any) -> int:
    value = flat(value)
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
