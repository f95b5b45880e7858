"""The numbers of a move are those of what was moved."""

from __future__ import annotations

import itertools

import orjson

from miroir.cli import bench_moving
from miroir.cli.bench_moving import Moving


def test_rates_and_percentiles_are_shown() -> None:
    quiet = [number / 1000 for number in range(1, 101)]
    moving = Moving(50_000, 30_000_000, 10.0, quiet, [2 * latency for latency in quiet])
    assert [value for _, value in moving.rows()] == [
        "5,000 docs/s",
        "3.00 MB/s",
        "50.5, 101.0 ms",
        "96.0, 191.9 ms",
    ]


def test_documents_have_ids_of_their_own() -> None:
    count = 4_000  # more than the sample has
    documents = [orjson.loads(line) for line in itertools.islice(bench_moving._documents(count), count)]
    assert len({document["id"] for document in documents}) == count
