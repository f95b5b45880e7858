"""Errors of the embedded engine."""

from miroir.errors import MiroirError


class EngineError(MiroirError):
    """The embedded engine cannot open or keep its data."""


class Aborted(Exception):  # noqa: N818 - a signal within the engine, never an error anyone sees
    """The running batch was asked to stop, because one of its tasks is being canceled."""


class Late(Exception):  # noqa: N818 - a signal within a search, never an error anyone sees
    """The time of the search is spent in the middle of a ranking rule."""
