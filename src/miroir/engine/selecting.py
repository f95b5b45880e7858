"""Which documents of an index a request is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyroaring import BitMap

from miroir.engine.catalog import LiveIndex
from miroir.engine.filtering import filter_documents
from miroir.engine.index import Index
from miroir.meili import filters

_CODE = "invalid_document_filter"


def everything(index: Index) -> BitMap:
    """All documents."""
    return BitMap(index.documents)


def matching_documents(live: LiveIndex, value: Any, features: Mapping[str, bool]) -> BitMap:
    """The documents that a filter on a document route selects. Raises ApiError invalid_document_filter."""
    node = filters.parse(value, _CODE)
    filters.check_features(node, lambda feature: features.get(feature, False))
    return filter_documents(live.index, node, everything(live.index), _CODE)
