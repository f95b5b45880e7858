"""The bounded memory of a version."""

from __future__ import annotations

from miroir.engine.version_cache import VersionCache


def test_results_are_computed_once() -> None:
    cache, calls = VersionCache(10_000), []

    def compute() -> str:
        calls.append(1)
        return "result"

    assert [cache.get("key", compute, len) for _ in range(3)] == ["result"] * 3
    assert len(calls) == 1


def test_oldest_results_go_first() -> None:
    """Past the limit the first entry is forgotten; one that is too large is never kept."""
    cache, computed = VersionCache(4_000), []

    def ask(key: int, weight: int) -> None:
        def compute() -> int:
            computed.append(key)
            return key

        cache.get(key, compute, lambda _: weight)

    for key in range(5):
        ask(key, 700)
    ask(4, 700)
    assert computed == [0, 1, 2, 3, 4]
    ask(0, 700)
    ask(9, 5_000)
    ask(9, 5_000)
    assert computed == [0, 1, 2, 3, 4, 0, 9, 9]


def test_a_result_that_asks_for_itself_on_the_way_is_weighed_once() -> None:
    cache = VersionCache(4_000)

    def compute() -> int:
        return cache.get("inner", lambda: 1, lambda _: 700)

    for key in range(20):
        cache.get("inner", compute, lambda _: 700)
        for other in range(4):
            cache.get((key, other), lambda: 0, lambda _: 700)
    asked: list[int] = []
    for _ in range(2):
        cache.get("last", lambda: asked.append(1), lambda _: 700)
    assert len(asked) == 1
