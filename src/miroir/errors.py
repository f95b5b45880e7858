"""The root of every error of ours.

MiroirError              errors.py      root; every error of ours is one
├── ApiError             meili/codes    the client's business: a code of the table and a message
├── NodeError            ports/nodes    a node was unreachable, late, or answered nonsense
├── StoreError           ports/store    the store did not do it
│   └── Conflict                        compare-and-set lost: load again
├── EngineError          engine/        the embedded engine cannot open or keep its data
└── ConfigError          config.py      path into the tree, what was found, what is allowed
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class MiroirError(Exception):
    """Root of every error of ours."""


def without_frames(error: E) -> E:
    """The same error, and those behind it, without the frames they came through.

    Frames of a read hold its snapshot, and often the error itself. Such a circle lives until the collector comes by, and
    a snapshot that lives counts as a reader.
    """
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    return error
