"""The shape of a route handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from miroir.engine.state import State
from miroir.meili.commands import Call
from miroir.meili.http import HttpReply

#: (status, JSON value; None for no body)
Answer = tuple[int, Any]
Handler = Callable[[State, Call], HttpReply | Answer | Awaitable[HttpReply | Answer]]

ACCEPTED = 202
