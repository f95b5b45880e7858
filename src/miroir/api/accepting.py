"""What all write routes share: the 202 with its summarised task, the degraded header, the idempotency key."""

from __future__ import annotations

from dataclasses import replace

from miroir.meili.commands import Call
from miroir.meili.edge import json_reply
from miroir.meili.http import HttpReply
from miroir.meili.tasks import summary
from miroir.ports.store import Key
from miroir.services.writes.ingest import Accepted, Idempotency
from miroir.services.writes.oplog import request_digest

IDEMPOTENCY_KEY = "idempotency-key"
DEGRADED = "x-miroir-degraded"


def uid_of(call: Call) -> str:
    """The index the route names."""
    assert call.index_uid is not None
    return call.index_uid


def idempotency_of(call: Call) -> Idempotency:
    """Scope and digest of a request that carries an Idempotency-Key, else None."""
    request = call.request
    sent = request.headers.get(IDEMPOTENCY_KEY)
    if not sent:
        return None
    scope: Key = (call.access.key_uid or "", request.method, request.path, sent.replace("\0", ""))
    kind = request.headers.get("content-type", "")
    return scope, request_digest(request.query.encode(), kind.encode(), request.body)


def accepted_reply(accepted: Accepted) -> HttpReply:
    """202, and what redundancy the write lacks: `reason=replicas;ids=3,7` lists shards with copies missing."""
    reply = json_reply(202, summary(accepted.task))
    if not accepted.degraded:
        return reply
    ids = ",".join(str(shard) for shard in accepted.degraded)
    return replace(reply, headers={**reply.headers, DEGRADED: f"reason=replicas;ids={ids}"})
