"""Writing systems of characters, as coarse as word splitting needs them.

A change of script starts a new word even without a separator. Characters outside every range (digits,
spaces, most punctuation) belong to no script and never start a group. Source: semantics A.4.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

OTHER = ""

# Script -> ranges of code points in hexadecimal. The Latin-1 block counts as Latin as a whole.
_RANGES = {
    "latin": "41-5a 61-7a 80-2af 1d00-1d2a 1d2c-1d77 1d79-1dbf 1e00-1eff 2100-214f 2c60-2c7f a720-a7ff ab30-ab6f",
    "cyrillic": "400-484 487-52f 1d2b 1d78 2de0-2dff a640-a69d a69f",
    "arabic": "600-6ff 750-7ff 8a0-8ff fb50-fdff fe70-feff 10e60-10e7f 1ee00-1eeff",
    "devanagari": "900-97f 1cd0-1cff a8e0-a8ff",
    "hebrew": "590-5ff",
    "ethiopic": "1200-139f 2d80-2ddf ab00-ab2f",
    "georgian": "10a0-10ff",
    "bengali": "980-9ff",
    "hangul": "1100-11ff 3130-318f 3200-32ff a960-a97f ac00-d7ff ff00-ffef",
    "cj": "2e80-2e99 2e9b-2ef3 2f00-2fd5 3005 3007 3021-3029 3038-303b 3040-30ff 3400-4db5 4e00-9fcc f900-fa6d fa70-fad9",
    "greek": "370-3ff",
    "kannada": "c80-cff",
    "tamil": "b80-bff",
    "thai": "e00-e7f",
    "gujarati": "a80-aff",
    "gurmukhi": "a00-a7f",
    "telugu": "c00-c7f",
    "malayalam": "d00-d7f",
    "oriya": "b00-b7f",
    "myanmar": "1000-109f",
    "sinhala": "d80-dff",
    "khmer": "1780-17ff 19e0-19ff",
}


def _parse() -> list[tuple[int, int, str]]:
    table: list[tuple[int, int, str]] = []
    for script, ranges in _RANGES.items():
        for entry in ranges.split():
            first, _, last = entry.partition("-")
            table.append((int(first, 16), int(last or first, 16), script))
    return sorted(table)


_TABLE = _parse()
_STARTS = [first for first, _, _ in _TABLE]


def script_of(character: str) -> str:
    """Name of the character's script, or `OTHER`."""
    code = ord(character)
    place = bisect_right(_STARTS, code) - 1
    if place >= 0 and code <= _TABLE[place][1]:
        return _TABLE[place][2]
    return OTHER


#: A character of any script but Latin: texts without one need no grouping.
_FOREIGN = re.compile(
    "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last, script in _TABLE if script != "latin") + "]"
)
_ARMENIAN = re.compile("[\u0530-\u058f\ufb13-\ufb17]")
_LATIN = re.compile(
    "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last, s in _TABLE if s == "latin") + "]"
)


def script_groups(text: str) -> Iterator[tuple[str, str]]:
    """(script, part) for the longest parts of `text` that hold one script only."""
    if _ARMENIAN.search(text):
        for script, part in _groups(text):
            yield _main_script(script, part), part
    else:
        yield from _groups(text)


def _main_script(script: str, part: str) -> str:
    """Armenian letters start no group, but a group of mostly Armenian letters counts as Armenian."""
    own = sum(script_of(character) == script for character in part) if script != OTHER else 0
    return "armenian" if len(_ARMENIAN.findall(part)) > own else script


def _groups(text: str) -> Iterator[tuple[str, str]]:
    if text.isascii() or not _FOREIGN.search(text):
        yield ("latin" if _LATIN.search(text) else OTHER), text
        return
    current, start = OTHER, 0
    for place, character in enumerate(text):
        script = script_of(character)
        if script not in (OTHER, current):
            if current != OTHER:
                yield current, text[start:place]
                start = place
            current = script
    yield current, text[start:]
