"""Dates and durations as the API prints and reads them. Times are integers: nanoseconds since 1970, UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

NS = 1_000_000_000
_DAY = 86_400

_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?(?:([Zz])|([+-])(\d{2}):(\d{2}))"
)
_NAIVE = re.compile(r"(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2}):(\d{2})")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")


def format_date(at_ns: int, offset_s: int = 0) -> str:
    """RFC 3339, trailing zeros of the fraction dropped: `2026-11-22T14:26:38.773382634Z`, or with `+02:00`."""
    seconds, nanos = divmod(at_ns + offset_s * NS, NS)
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    if nanos:
        text += f".{nanos:09}".rstrip("0")
    if not offset_s:
        return text + "Z"
    hours, minutes = divmod(abs(offset_s) // 60, 60)
    return f"{text}{'-' if offset_s < 0 else '+'}{hours:02}:{minutes:02}"


def format_optional_date(at_ns: int | None) -> str | None:
    """`format_date`, or None for None."""
    return None if at_ns is None else format_date(at_ns)


def format_duration(duration_ns: int) -> str:
    """ISO 8601 in days and seconds only: `PT0.085238696S`, `PT90.5S`, `P1DT2S`; nothing is `PT0S`."""
    seconds, nanos = divmod(max(duration_ns, 0), NS)
    days, seconds = divmod(seconds, _DAY)
    if not seconds and not nanos:
        return f"P{days}D" if days else "PT0S"
    fraction = ""
    if nanos:
        digits = 3 if nanos % 1_000_000 == 0 else 6 if nanos % 1000 == 0 else 9
        fraction = "." + f"{nanos:09}"[:digits]
    return f"P{f'{days}D' if days else ''}T{seconds}{fraction}S"


def format_step(seconds: float) -> str:
    """How long a step took, in the largest unit of which there is one: `980ns`, `711.36µs`, `1.20ms`, `2.05s`."""
    for unit, per_second in (("s", 1), ("ms", 1_000), ("µs", 1_000_000)):
        if seconds * per_second >= 1:
            return f"{seconds * per_second:.2f}{unit}"
    return f"{seconds * NS:.0f}ns"


def _instant(
    year: str, month: str, day: str, hour: str = "0", minute: str = "0", second: str = "0"
) -> int | None:
    leap = second == "60"
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), 59 if leap else int(second), tzinfo=UTC
        )
    except ValueError:
        return None
    return (int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) + leap) * NS


def offset_seconds(text: str) -> int:
    """The offset that an RFC 3339 date-time names, in seconds; 0 for `Z` and for anything else."""
    found = _RFC3339.fullmatch(text)
    if found is None or not found[9]:
        return 0
    size = int(found[10]) * 3600 + int(found[11]) * 60
    return size if found[9] == "+" else -size


def parse_rfc3339(text: str) -> int | None:
    """An RFC 3339 date-time with its offset, or None."""
    found = _RFC3339.fullmatch(text)
    if found is None:
        return None
    instant = _instant(*found.group(1, 2, 3, 4, 5, 6))
    if instant is None:
        return None
    instant += int((found[7] or "0")[:9].ljust(9, "0"))
    if found[9] and (int(found[10]) > 23 or int(found[11]) > 59):
        return None
    instant -= offset_seconds(text) * NS
    return instant


def parse_naive(text: str) -> int | None:
    """`YYYY-MM-DDTHH:MM:SS` or with a space, taken as UTC, or None."""
    found = _NAIVE.fullmatch(text)
    return None if found is None else _instant(*found.groups())


def parse_day(text: str, *, next_day: bool = False) -> int | None:
    """Midnight that begins (or, with `next_day`, ends) the day `YYYY-MM-DD`, or None."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None
    days = day.toordinal() - date(1970, 1, 1).toordinal()
    return (days + next_day) * _DAY * NS
