"""Which search a query asks for: by words, by similarity, or both. Source: search-semantics F.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from miroir.meili.codes import ApiError
from miroir.meili.commands import SearchQuery


def asks_embedder(query: SearchQuery) -> bool:
    """Whether a search compares vectors at all: not for a ratio of 0, nor without anything to compare with."""
    if query.hybrid is None or query.hybrid.semantic_ratio == 0:
        return False
    return query.vector is not None or query.media is not None or has_words(query)


def runs_semantic(query: SearchQuery) -> bool:
    """Whether a search compares nothing but vectors."""
    if query.hybrid is None or not asks_embedder(query):
        return False
    return query.hybrid.semantic_ratio == 1 or not has_words(query)


def has_words(query: SearchQuery) -> bool:
    """Whether there is something to look for in texts."""
    return query.q is not None and bool(query.q.strip())


def require_hybrid(query: SearchQuery) -> None:
    """`vector` and `media` need `hybrid`, and exclude each other. Checked once the index is known to exist.

    Raises:
        ApiError: `invalid_search_media_and_vector`, `missing_search_hybrid`.
    """
    if query.vector is not None and query.media is not None:
        raise ApiError(
            "invalid_search_media_and_vector",
            "Invalid request: both `media` and `vector` parameters are present.",
        )
    if query.hybrid is None and (query.vector is not None or query.media is not None):
        raise ApiError(
            "missing_search_hybrid",
            "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
        )


def check_media(query: SearchQuery, is_enabled: Callable[[str], bool]) -> None:
    """`media` is behind a feature, which is asked for once the embedder is known. Raises ApiError."""
    if query.media is not None and not is_enabled("multimodal"):
        raise ApiError(
            "feature_not_enabled",
            "passing `media` in a search query requires enabling the `multimodal` experimental feature. "
            "See https://github.com/orgs/meilisearch/discussions/846",
        )


def check_embedder(settings: Mapping[str, Any], query: SearchQuery) -> None:
    """Refuse an unknown embedder, or a vector that does not fit one whose dimensions are set.

    Raises:
        ApiError: `invalid_search_embedder`, `invalid_vector_dimensions`.
    """
    if query.hybrid is None or not asks_embedder(query):
        return
    name = query.hybrid.embedder
    embedder = (settings.get("embedders") or {}).get(name)
    if embedder is None:
        raise ApiError("invalid_search_embedder", f"Cannot find embedder with name `{name}`.")
    dimensions = embedder.get("dimensions")
    if query.vector is not None and dimensions is not None and len(query.vector) != dimensions:
        raise ApiError(
            "invalid_vector_dimensions",
            f"Invalid vector dimensions: expected: `{dimensions}`, found: `{len(query.vector)}`.",
        )
