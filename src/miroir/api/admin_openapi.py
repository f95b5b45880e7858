"""The OpenAPI description of the `/_miroir/` routes, served by us."""

from __future__ import annotations

from typing import Any

from miroir.core.reserved import SHARDS_MAX

_DRY_RUN = {
    "name": "dry_run",
    "in": "query",
    "schema": {"type": "boolean", "default": False},
    "description": "Only answer what would be done: moves, documents, bytes, seconds, peak disk per node.",
}
_FORCE = {
    "name": "force",
    "in": "query",
    "schema": {"type": "boolean", "default": False},
    "description": "Also remove a node that holds replicas, but never the last in-sync copy of a shard.",
}
_NODE = {
    "type": "object",
    "required": ["id", "address"],
    "properties": {
        "id": {"type": "string"},
        "address": {"type": "string"},
        "replica_group": {"type": "integer", "default": 0},
        "weight": {"type": "number", "default": 1, "description": "Shards it takes, relative to others."},
    },
}
_GROUP_BODY = {
    "type": "object",
    "required": ["id", "nodes"],
    "properties": {"id": {"type": "integer"}, "nodes": {"type": "array", "items": _NODE}},
}
_WEIGHT_BODY = {
    "type": "object",
    "required": ["weight"],
    "properties": {"weight": {"type": "number", "exclusiveMinimum": 0}},
}
_FACTOR_BODY = {
    "type": "object",
    "required": ["replication_factor"],
    "properties": {"replication_factor": {"type": "integer", "minimum": 1}},
}
_SHARDS_BODY = {
    "type": "object",
    "required": ["shards"],
    "properties": {
        "shards": {"type": "integer", "minimum": 1, "maximum": SHARDS_MAX},
        "retention_s": {
            "type": "number",
            "minimum": 0,
            "description": "How long the old layout is kept; rebalancer.reshard_retention_s without it.",
        },
    },
}
_BOUNDS_BODY = {
    "type": "object",
    "description": "Holds until the next start, which takes rebalancer.* of the configuration again.",
    "properties": {
        "max_concurrent_copies": {"type": "integer", "minimum": 1},
        "documents_per_s": {"type": "number", "minimum": 0, "description": "Of each copy; 0: no bound."},
        "bytes_per_s": {"type": "number", "minimum": 0, "description": "Of each copy; 0: no bound."},
    },
}
#: open to everyone
_READY = {
    "summary": "Whether every shard can be read.",
    "security": [],
    "responses": {"200": {"description": "Yes."}, "503": {"description": "No."}},
}


def _answers(**extra: str) -> dict[str, Any]:
    base = {"401": "No admin key.", "403": "A wrong admin key."}
    return {status: {"description": words} for status, words in {**base, **extra}.items()}


def _begins(summary: str, *parameters: Any, body: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "parameters": [*parameters, _DRY_RUN],
        "responses": _answers(
            **{
                "200": "The plan (dry_run).",
                "202": "The operation that has begun; follow it at /_miroir/operations/{id}.",
                "400": "The request is not understood.",
                "404": "What it names does not exist.",
                "409": "It cannot be done now; the message says what to do instead.",
            }
        ),
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def _reads(summary: str, *parameters: Any) -> dict[str, Any]:
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": _answers(**{"200": "A JSON object."}),
    }


def _path(name: str, kind: str = "string") -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": kind}}


def _index() -> dict[str, Any]:
    index, missing = _path("uid"), {"404": "No such index."}
    body = {"type": "object", "required": ["exact"], "properties": {"exact": {"type": "boolean"}}}
    return {
        "get": {
            "summary": "What Miroir keeps of an index: whether it is exact, its shards.",
            "parameters": [index],
            "responses": _answers(**missing, **{"200": "A JSON object."}),
        },
        "patch": {
            "summary": "Make an index exact, or exact no longer: every node then knows all its words.",
            "parameters": [index],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": _answers(
                **missing, **{"202": "The task, as for any settings change.", "400": "It is not understood."}
            ),
        },
    }


def openapi() -> dict[str, Any]:
    """The whole document."""
    node, group, operation = _path("id"), _path("id", "integer"), _path("id", "integer")
    control = {"404": "No such operation.", "409": "It has ended already.", "202": "The operation."}
    paths: dict[str, Any] = {
        "/_miroir/ready": {"get": _READY},
        "/_miroir/topology": {"get": _reads("Nodes, indexes, health.")},
        "/_miroir/shards": {"get": _reads("Every replica and its state.")},
        "/_miroir/metrics": {
            "get": {"summary": "Metrics as Prometheus reads them.", "responses": _answers(**{"200": "Text."})}
        },
        "/_miroir/nodes": {
            "get": _reads("All nodes ever known."),
            "post": _begins("Add a node; its share of shards moves to it.", body=_NODE),
        },
        "/_miroir/nodes/{id}": {
            "delete": _begins("Let an empty node go.", node, _FORCE),
            "patch": _begins(
                "Change a node's weight; shards move to where they now belong.", node, body=_WEIGHT_BODY
            ),
        },
        "/_miroir/nodes/{id}/drain": {"post": _begins("Move everything off a node.", node)},
        "/_miroir/nodes/{id}/undrain": {"post": _begins("Take a drain back.", node)},
        "/_miroir/replica_groups": {"post": _begins("Add a replica group.", body=_GROUP_BODY)},
        "/_miroir/replica_groups/{id}": {"delete": _begins("Remove a replica group and its nodes.", group)},
        "/_miroir/replication_factor": {
            "put": _begins("Copies of every shard in each group.", body=_FACTOR_BODY)
        },
        "/_miroir/rebalance": {
            "post": _begins("Bring every index to where it should stand."),
            "patch": {
                **_reads("Change the bounds of copying at once."),
                "requestBody": {"required": True, "content": {"application/json": {"schema": _BOUNDS_BODY}}},
            },
        },
        "/_miroir/rebalance/status": {"get": _reads("What is moving now.")},
        "/_miroir/operations": {"get": _reads("All operations, newest first.")},
        "/_miroir/operations/{id}": {"get": _reads("One operation, plan and actual.", operation)},
        "/_miroir/indexes/{uid}": _index(),
        "/_miroir/indexes/{uid}/reshard": {
            "post": _begins(
                "Give an index another number of shards, while it is read and written. Readers go to the new layout when "
                "it is verified; until its retention ends, cancelling the operation goes back to the old one and loses nothing.",
                _path("uid"),
                body=_SHARDS_BODY,
            )
        },
        "/_miroir/verify": {"post": _begins("Compare all replicas with each other; rebuild what differs.")},
    }
    for verb in ("pause", "resume", "cancel"):
        paths[f"/_miroir/operations/{{id}}/{verb}"] = {
            "post": {
                "summary": f"{verb.capitalize()} an operation.",
                "parameters": [operation],
                "responses": _answers(**control),
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Miroir admin API", "version": "1"},
        "security": [{"admin_key": []}, {"admin_header": []}],
        "components": {
            "securitySchemes": {
                "admin_key": {"type": "http", "scheme": "bearer"},
                "admin_header": {"type": "apiKey", "in": "header", "name": "X-Admin-Key"},
            }
        },
        "paths": paths,
    }
