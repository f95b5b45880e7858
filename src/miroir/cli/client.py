"""A small blocking HTTP client for the command line: JSON in and out, one connection at a time."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from miroir.errors import MiroirError


class CallError(MiroirError):
    """A server could not be reached, or answered with an error."""


class Client:
    """One server and the key to use there."""

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self._key = key
        self._https = parts.scheme == "https"
        self._where = (parts.hostname or "127.0.0.1", parts.port or (443 if self._https else 80))
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Send one request; returns (status, JSON value or text). Raises CallError when there is no answer."""
        payload = body if isinstance(body, bytes | None) else json.dumps(body, ensure_ascii=False).encode()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if payload is not None:
            headers["Content-Type"] = content_type
        try:
            connection = self._connect()
            connection.request(method, path, payload, headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise CallError(f"{method} {self.url}{path}: {error or type(error).__name__}") from error
        return answer.status, _decoded(raw, answer.headers.get("Content-Type") or "")

    def ask(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Any:
        """Like `call`, but anything but 2xx raises CallError."""
        status, value = self.call(method, path, body, content_type=content_type)
        if not 200 <= status < 300:
            message = value.get("message", value) if isinstance(value, dict) else value
            raise CallError(f"{method} {self.url}{path}: {status}: {message}")
        return value

    def wait_task(self, uid: int, *, timeout_s: float = 600.0) -> dict[str, Any]:
        """Follow a task to its end; raises CallError when it failed or takes too long."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(self.ask("GET", f"/tasks/{uid}"))
            return found["status"] in ("succeeded", "failed", "canceled")

        if not wait_until(ended, timeout_s=timeout_s, pause_s=0.05):
            raise CallError(f"task {uid} did not end within {timeout_s:.0f} s")
        if found["status"] != "succeeded":
            raise CallError(f"task {uid} {found['status']}: {(found.get('error') or {}).get('message')}")
        return found

    def answers(self, path: str) -> bool:
        """Whether the server answers 200 there now; leaves no connection open."""
        try:
            return self.call("GET", path)[0] == 200
        except CallError:
            return False
        finally:
            self.close()

    def close(self) -> None:
        """Drop the connection; the next call opens another."""
        if self._connection:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
            self._connection = kind(*self._where, timeout=self._timeout_s)
        return self._connection


def wait_until(holds: Callable[[], bool], *, timeout_s: float, pause_s: float = 0.1) -> bool:
    """Ask again and again until it holds; False when it did not in time."""
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(pause_s)
    return True


def _decoded(raw: bytes, content_type: str) -> Any:
    if "json" in content_type:
        return json.loads(raw)
    return raw.decode("utf-8", "replace")
