"""The client's settings -> what a node gets, so that shards can be told apart, merged and agree.

Source: design.md D5 and D6, reference/search-semantics.md H.31. The client always reads its own settings from the
catalogue; what stands here never comes back to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miroir.core.reserved import GHOST_FIELD, SEQ_FIELD, SHARD_FIELD, STAND_IN

#: Facet values a node may answer: merged counts are exact only while no node truncates.
NODE_FACET_VALUES_MIN = 100_000
#: Behind experimental features that nodes do not have on, and of no use to one shard alone.
_NOT_FOR_NODES = ("foreignKeys", "chat")
#: Hits a node may list: what a client can reach is cut here, but counting may have to look further.
NODE_TOTAL_HITS_MIN = 100_000
_CUTOFF_DEFAULT_MS = 1500
_CUTOFF_FACTOR = 4


def _by_equality(name: str) -> dict[str, Any]:
    return {
        "attributePatterns": [name],
        "features": {"facetSearch": False, "filter": {"equality": True, "comparison": False}},
    }


def node_settings(client: Mapping[str, Any], *, exact: bool = False) -> dict[str, Any]:
    """Every setting a node gets, complete, so that sending it twice or late changes nothing.

    Args:
        client: the client's effective settings, canonical keys.
        exact: vocabulary documents are kept on the shards and must be told apart.
    """
    settings = {key: value for key, value in client.items() if key not in _NOT_FOR_NODES}
    settings["displayedAttributes"] = ["*"]
    ours = [_by_equality(SHARD_FIELD), _by_equality(SEQ_FIELD)]
    if exact:
        ours.append(_by_equality(GHOST_FIELD))
    # First: the first rule that matches a name wins, and a client's pattern may match ours. Error texts that number
    # the rules are corrected in core/reads/node_errors.py.
    settings["filterableAttributes"] = [*ours, *client.get("filterableAttributes", [])]
    settings["sortableAttributes"] = sorted({*client.get("sortableAttributes", []), SEQ_FIELD})
    settings["rankingRules"] = [*client.get("rankingRules", []), f"{SEQ_FIELD}:asc"]
    faceting = dict(client.get("faceting") or {})
    faceting["maxValuesPerFacet"] = max(faceting.get("maxValuesPerFacet") or 0, NODE_FACET_VALUES_MIN)
    settings["faceting"] = faceting
    pagination = dict(client.get("pagination") or {})
    pagination["maxTotalHits"] = max(pagination.get("maxTotalHits") or 0, NODE_TOTAL_HITS_MIN)
    settings["pagination"] = pagination
    settings["searchCutoffMs"] = (client.get("searchCutoffMs") or _CUTOFF_DEFAULT_MS) * _CUTOFF_FACTOR
    settings["stopWords"] = sorted({*(client.get("stopWords") or ()), STAND_IN})
    settings["embedders"] = {
        name: {key: value for key, value in config.items() if key != "distribution"}
        for name, config in (client.get("embedders") or {}).items()
    }
    return settings


def with_removed(settings: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` as a PATCH over a node that may hold `before`: embedders that went are named null."""
    gone = {
        name: None
        for name in (before.get("embedders") or {})
        if name not in (settings.get("embedders") or {})
    }
    if not gone:
        return settings
    return {**settings, "embedders": {**(settings.get("embedders") or {}), **gone}}
