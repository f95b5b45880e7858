"""The root of every error of ours.

MiroirError              errors.py      root; every error of ours is one
├── ApiError             meili/codes    the client's business: a code of the table and a message
├── NodeError            ports/nodes    a node was unreachable, late, or answered nonsense
├── StoreError           ports/store    the store did not do it
│   └── Conflict                        compare-and-set lost: load again
├── EngineError          engine/        the embedded engine cannot open or keep its data
└── ConfigError          config.py      path into the tree, what was found, what is allowed
"""


class MiroirError(Exception):
    """Root of every error of ours."""
