"""Marks of hits whose shard looked up fewer words than one node would have: asked again, of those hits alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from miroir.core.reads.covering import Share
from miroir.core.reads.marks import Reach, groups_lacking, remarked
from miroir.core.reads.merging import Hit
from miroir.core.reads.search_plan import SearchPlan, remarking
from miroir.core.reserved import SEQ_FIELD
from miroir.services.reads.scatter import Ask, Reading, Scatter

#: Searches of one node for one page; what would need more is shown as it came.
_SEARCHES_MAX = 40


class Marker:
    """Completes the marks of a page."""

    def __init__(self, scatter: Scatter) -> None:
        self._scatter = scatter

    async def complete(
        self,
        reading: Reading,
        plan: SearchPlan,
        shares: Sequence[Share],
        reach: Reach,
        hits: Sequence[Hit],
        page: Sequence[Hit],
    ) -> None:
        """Change `_formatted` and `_matchesPosition` of hits of the page; `hits` are all of the list.

        Raises NodeRefusal, ApiError miroir_index_incomplete.
        """
        groups = groups_lacking(reach, hits, page, alone=plan.two_phase)
        if not groups:
            return

        def build(share: Share, origin: int) -> Ask | None:
            queries: list[dict[str, Any]] = []
            for kept, seqs in groups.get(origin, {}).items():
                texts = [reach.rewritten(kept, first) for first in reach.lacking(kept)]
                queries += remarking(plan, share, seqs, texts)
            if not 0 < len(queries) <= _SEARCHES_MAX:
                return None
            return Ask("", {"queries": queries}, absolute="/multi-search")

        answers = await self._scatter.ask(reading, build, shares=shares)
        bodies: dict[str, list[dict[str, Any]]] = {}
        for answer in answers:
            for result in answer.value["results"]:
                for body in result["hits"]:
                    bodies.setdefault(body[SEQ_FIELD], []).append(body)
        for hit in page:
            found = bodies.get(hit.seq)
            change = remarked(found, plan.query) if found else None
            if change is not None:
                hit.body |= change if plan.query.show_matches_position else _without_positions(change)


def _without_positions(change: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in change.items() if name != "_matchesPosition"}
