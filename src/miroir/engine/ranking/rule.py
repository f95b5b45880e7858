"""What a ranking rule is: something that splits a universe of documents into buckets, best first.

The bucket sort (`ranking/bucket_sort.py`) calls `start` with the documents of a parent bucket, then
`next_bucket` until it has enough. The universe handed to `next_bucket` is what of the parent is left: the
documents of earlier buckets are gone, and `distinct` or a threshold may have removed more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pyroaring import BitMap

from miroir.engine.ranking.score import Detail

if TYPE_CHECKING:
    from miroir.engine.graph import QueryGraph


@dataclass(frozen=True, slots=True)
class Bucket:
    """Documents that are equal for one rule.

    `docids` must be a subset of the universe given to `next_bucket`; an empty bucket is allowed and skipped.
    `graph` is the query graph for the rules after this one; None keeps the one the rule was started with.
    """

    docids: BitMap
    detail: Detail
    graph: QueryGraph | None = None


class RankingRule(Protocol):
    """A rule instance serves one search and is restarted for every parent bucket."""

    def start(self, universe: BitMap, graph: QueryGraph | None) -> None:
        """Begin on a new parent bucket; `graph` is None in placeholder and vector searches."""

    def next_bucket(self, universe: BitMap) -> Bucket | None:
        """The best documents of `universe`, or None when the rule is done. Never changes `universe`."""
