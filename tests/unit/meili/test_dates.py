"""Dates and durations in the API's forms."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.meili import dates

instants = st.integers(0, 4_102_444_800 * dates.NS)


@given(instants)
def test_a_printed_date_reads_back(at: int) -> None:
    assert dates.parse_rfc3339(dates.format_date(at)) == at


@given(instants, st.integers(-14 * 4, 14 * 4))
def test_a_printed_date_with_an_offset_reads_back(at: int, quarters: int) -> None:
    text = dates.format_date(at, quarters * 900)
    assert dates.parse_rfc3339(text) == at
    assert dates.offset_seconds(text) == quarters * 900


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_357_598_773_382_634, "2026-11-22T14:26:38.773382634Z"),
        (1_795_357_598_500_000_000, "2026-11-22T14:26:38.5Z"),
    ],
)
def test_dates(at: int, text: str) -> None:
    assert dates.format_date(at) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ns"), (9.8e-7, "980ns"), (0.00071136, "711.36µs"), (0.0012, "1.20ms"), (2.046, "2.05s")],
)
def test_steps(seconds: float, text: str) -> None:
    assert dates.format_step(seconds) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "PT0S"),
        (85_238_696, "PT0.085238696S"),
        (90_500_000_000, "PT90.500S"),
        (1_028_528_000, "PT1.028528S"),
        (86_402 * dates.NS, "P1DT2S"),
        (-5, "PT0S"),
    ],
)
def test_durations(ns: int, text: str) -> None:
    assert dates.format_duration(ns) == text


@pytest.mark.parametrize(
    "text", ["yesterday", "2020-13-01T00:00:00Z", "2020-01-01T00:00:00", "12:00", "2020-01-01"]
)
def test_what_is_no_date_time(text: str) -> None:
    assert dates.parse_rfc3339(text) is None


def test_days_and_naive_times() -> None:
    midnight = int(datetime(2026, 2, 28, tzinfo=UTC).timestamp()) * dates.NS
    assert dates.parse_day("2026-02-28") == midnight
    assert dates.parse_day("2026-02-28", next_day=True) == midnight + 86_400 * dates.NS
    assert dates.parse_naive("2026-02-28 00:00:01") == midnight + dates.NS
    assert dates.parse_day("2026-02-30") is None
    assert dates.parse_naive("2026-02-28") is None
