"""Rhai, the language of document edition functions: read, checked and run here, without I/O and within limits.

Text -> `lexer` -> `parser` (with `expressions` and `control`) -> tree (`syntax`) -> `interpreter` (with `chains` and
`calls`) over `values` in `slots`, with the functions of `library_*`. Missing: modules, time, byte arrays, decimals.
"""

from miroir.meili.rhai.script import compile_script
from miroir.meili.rhai.values import same_json

__all__ = ["compile_script", "same_json"]
