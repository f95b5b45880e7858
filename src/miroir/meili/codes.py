"""Error codes of Meilisearch: code -> type and HTTP status, and the error that carries one."""

from __future__ import annotations

from miroir.errors import MiroirError

_LINK = "https://docs.meilisearch.com/errors#"


class ApiError(MiroirError):
    """The client's business: one of Meilisearch's error codes (or ours, `miroir_*`) and a message.

    Raised anywhere below the edge; rendered once, by the edge (status, body), or stored in a task.
    """

    def __init__(self, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}

    @property
    def status(self) -> int:
        """HTTP status of the code."""
        return CODES[self.code][1]

    def body(self) -> dict[str, str]:
        """The four keys of an error object, in the order the server prints them."""
        return {"message": self.message, "code": self.code, "type": CODES[self.code][0], "link": _LINK + self.code}


#: code -> (type, HTTP status)
CODES: dict[str, tuple[str, int]] = {
    "bad_request": ("invalid_request", 400),
    "internal": ("internal", 500),
}
