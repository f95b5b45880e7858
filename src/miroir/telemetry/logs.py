"""Logs: structlog set up once per process; JSON lines when nobody watches a terminal.

Event names are constant past-tense words, facts are fields. The request id travels in a context variable, so
that every line written while a request is served carries it. Keys never reach a line: fields with telling names
are starred here, whoever wrote them.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO

import orjson
import structlog

REQUEST_ID_HEADER = "x-request-id"
_ACCEPTED_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_TELLING = re.compile(r"authorization|api_?key|master_?key|node_?key|admin_?key|secret|password|token$", re.I)
_BEARER = re.compile(r"(Bearer\s+)\S+")
STARS = "********"
_REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


def setup(*, level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up logging of this process.

    Args:
        level: debug | info | warning | error.
        form: auto | json | console; auto means console on a terminal.
        stream: where lines go; standard error by default, so that output for programs stays clean.
    """
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(_json)
    chain: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    if not console:
        chain.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*chain, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=out, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _json(event: Any, *, default: Callable[[Any], Any]) -> str:
    try:
        return orjson.dumps(event, default=default, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # integers beyond 64 bits, text that is no Unicode
        return json.dumps(event, default=default)


def _add_request_id(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    identity = _REQUEST_ID.get()
    if identity is not None:
        event.setdefault("request_id", identity)
    return event


@lru_cache(maxsize=1024)
def _tells(name: str) -> bool:
    return _TELLING.search(name) is not None


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Star the values of fields whose names tell of secrets, and bearer tokens inside texts."""
    for name, value in event.items():
        if _tells(name):
            event[name] = STARS
        elif isinstance(value, str) and "Bearer" in value:
            event[name] = _BEARER.sub(rf"\1{STARS}", value)
    return event


def request_id(sent: str | None) -> str:
    """The id of a request: the client's, when it is short and plain, else a fresh one."""
    if sent and _ACCEPTED_ID.match(sent):
        return sent
    return secrets.token_hex(8)


@contextmanager
def request_context(identity: str) -> Iterator[None]:
    """Every line logged inside carries `request_id`."""
    token = _REQUEST_ID.set(identity)
    try:
        yield
    finally:
        _REQUEST_ID.reset(token)


def current_request_id() -> str | None:
    """The id of the request being served, if any; for passing it on to nodes."""
    return _REQUEST_ID.get()
