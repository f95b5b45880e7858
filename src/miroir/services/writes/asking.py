"""A question to a node whose answer is wanted but not needed."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from miroir.ports.nodes import NodeError, NodeRequest, NodeTransport


async def ask(transport: NodeTransport, request: NodeRequest, timeout_s: float) -> dict[str, Any] | None:
    """The object that the node answered with; None when it refused, did not answer, or answered something else."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    try:
        answer = await transport.send(request, deadline=deadline)
        value = orjson.loads(answer.body) if answer.status in (200, 202) else None
    except (NodeError, ValueError):
        return None
    return value if isinstance(value, dict) else None
