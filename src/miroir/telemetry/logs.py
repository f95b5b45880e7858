"""Logs: structlog set up once per process; JSON lines when nobody watches a terminal.

Event names are constant past-tense words, facts are fields. The request id travels in a context variable, so
that every line written while a request is served carries it. Keys never reach a line: fields with telling names
are starred here, whoever wrote them.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

import structlog

REQUEST_ID_HEADER = "x-request-id"
_ACCEPTED_ID = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
_TELLING = re.compile(r"authorization|api_?key|master_?key|node_?key|admin_?key|secret|password|token$", re.I)
_BEARER = re.compile(r"(Bearer\s+)\S+")
STARS = "********"


def setup(*, level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up logging of this process.

    Args:
        level: debug | info | warning | error.
        form: auto | json | console; auto means console on a terminal.
        stream: where lines go; standard error by default, so that output for programs stays clean.
    """
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    chain: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    if not console:
        chain.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*chain, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=out, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Star the values of fields whose names tell of secrets, and bearer tokens inside texts."""
    for name, value in event.items():
        if _TELLING.search(name):
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
    with structlog.contextvars.bound_contextvars(request_id=identity):
        yield


def current_request_id() -> str | None:
    """The id of the request being served, if any; for passing it on to nodes."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return str(found) if found is not None else None
