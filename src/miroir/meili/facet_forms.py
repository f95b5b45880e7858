"""The form under which facet values are compared. Source: search-semantics D.5."""

from __future__ import annotations

import unicodedata


def normal_facet(text: str) -> str:
    """Trimmed, NFKD, lower case; accents stay."""
    trimmed = text.strip()
    if trimmed.isascii():
        return trimmed.lower()
    return unicodedata.normalize("NFKD", trimmed).lower()
