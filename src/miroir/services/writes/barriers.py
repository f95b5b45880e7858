"""Ops that depend on what documents hold: once everything before them is applied, nodes are asked what they match.

A covering set is asked, each node in one request (one read transaction), so that the answer is the state at exactly
this position of the log. Until it is complete the op waits; later ops of the index wait behind it. Editions then read
the documents themselves, in pages by id: nothing changes them meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from miroir.core.reads.covering import Share, cover
from miroir.core.reads.node_errors import clean_message
from miroir.core.records import OpRecord
from miroir.core.reserved import SEQ_FIELD, SHARD_FIELD, decode_seq
from miroir.core.topology import IndexView, NodeId
from miroir.core.writes.document_edits import Editor, Edits
from miroir.core.writes.document_ids import document_ids
from miroir.core.writes.ops import OpKind
from miroir.core.writes.text_pieces import Splitter
from miroir.core.writes.vocabulary import Vocabulary
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.codes import ApiError
from miroir.meili.commands import SettingsWrite
from miroir.meili.settings import apply_write
from miroir.ports.nodes import NodeTransport
from miroir.services.cluster import Cluster
from miroir.services.document_pages import PAGE, DocumentPages
from miroir.services.writes.completion import Completion
from miroir.services.writes.resolver import Answer
from miroir.services.writes.sequencer import Sequencer

log = structlog.get_logger()

_ALL = 2**31 - 1

Work = Callable[[OpRecord], Awaitable[dict[str, Any]]]


async def _trust(node: NodeId) -> bool:
    return True


class Barriers:
    """Answers the sequencer's questions, one task each."""

    def __init__(
        self,
        transport: NodeTransport,
        cluster: Cluster,
        completion: Completion,
        limits: WriteLimits,
        rng: random.Random,
    ) -> None:
        self._cluster = cluster
        self._completion = completion
        self._limits = limits
        self._rng = rng
        self.sequencer: Sequencer | None = None  #: set by the write path
        self.pages = DocumentPages(transport, cluster, limits, rng)
        self.works: dict[OpKind, Work] = {}  #: kinds that are carried out here; what they return are details
        self._asked: list[OpRecord] = []
        self._wake = asyncio.Event()
        self.trusted: Callable[[NodeId], Awaitable[bool]] = (
            _trust  #: whether a node has the disk it is known by
        )

    def ask(self, op: OpRecord) -> None:
        """Find out what the op matches, once it is its turn."""
        self._asked.append(op)
        self._wake.set()

    def wake(self) -> None:
        """Tasks have ended."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                ready = [op for op in self._asked if self._completion.is_head(op.id)]
                # One that was canceled meanwhile is waited for by nobody.
                self._asked = [op for op in self._asked if op not in ready and self._is_waited_for(op)]
                for op in ready:
                    group.create_task(self._answer(op), name=f"barrier {op.id}")

    def _is_waited_for(self, op: OpRecord) -> bool:
        assert self.sequencer is not None
        return self.sequencer.waits_with(op.id)

    async def _answer(self, op: OpRecord) -> None:
        assert self.sequencer is not None
        answer: Answer
        try:
            answer = await self._found_out(op)
        except ApiError as error:
            answer = error
        except Exception as error:
            # It would end the next process too, which finds it in the log.
            log.error("op_cannot_be_carried_out", op=op.id, exc_info=error)
            answer = ApiError("internal", "An internal error has occurred.")
        self.sequencer.answer(op.id, answer)

    async def _found_out(self, op: OpRecord) -> Answer:
        """Ask until there is an answer; nodes come back. Raises ApiError."""
        work = self.works.get(OpKind(op.kind))
        if work is not None:
            self._completion.started(op)
            return await work(op)
        pause = self._limits.retry_first_s
        while True:
            view = self._cluster.snapshot().indexes.get(op.index_uid or "")
            if view is None:
                return []
            try:
                answer = await self._resolved(op, view)
            except ApiError as error:
                ours = error.code == "miroir_reserved_field"
                message = error.message if ours else clean_message(error.message, view)
                raise ApiError(error.code, f"Index `{view.uid}`: {message}") from error
            if answer is not None:
                return answer
            await asyncio.sleep(pause * (0.5 + self._rng.random() / 2))
            pause = min(pause * 2, self._limits.retry_last_s)

    async def _resolved(self, op: OpRecord, view: IndexView) -> list[str] | Edits | Vocabulary | None:
        """What the op comes to; None when some shard cannot be read now. Raises ApiError."""
        if op.kind in (OpKind.INDEX_GHOSTS, OpKind.SETTINGS):
            return await self._vocabulary(op, view)
        ids = await self._matching(view, op.args.get("filter"))
        if ids is None or op.kind != OpKind.DOCUMENTS_EDIT:
            return ids
        if not ids:
            return Edits()
        assert view.primary_key is not None
        editor = Editor(op.args["function"], op.args.get("context"), view.primary_key)
        for start in range(0, len(ids), PAGE):
            documents = await self.pages.page(view, ids[start : start + PAGE])
            if documents is None:
                return None
            editor.apply(documents)
        return editor.edits

    async def _vocabulary(self, op: OpRecord, view: IndexView) -> Vocabulary | list[str] | None:
        """Every word of the index, read from its documents, as the settings after the op cut them."""
        if view.primary_key is None or op.args.get("remove"):
            return []
        settings = view.settings
        if op.kind == OpKind.SETTINGS:
            write = SettingsWrite(patch=op.args["patch"], reset_all=op.args["reset_all"])
            settings = apply_write(dict(settings), write)
        ids = await self._matching(view, None)
        if ids is None:
            return None
        vocabulary = Vocabulary(view.primary_key, Splitter(settings))
        for start in range(0, len(ids), PAGE):
            documents = await self.pages.page(view, ids[start : start + PAGE])
            if documents is None:
                return None
            for document in documents:
                document.pop(SHARD_FIELD, None)
                vocabulary.put(decode_seq(document.pop(SEQ_FIELD)), document, merge=False)
        return vocabulary

    async def every_id(self, view: IndexView) -> list[str] | None:
        """Ids of all documents that nodes hold of an index; None when some shard cannot be read now."""
        try:
            return await self._matching(view, None)
        except ApiError:
            return None

    async def _matching(self, view: IndexView, wanted: Any) -> list[str] | None:
        """Ids of what matches; of an index without a primary key none, but its nodes still judge the filter."""
        covering = cover(self._cluster.snapshot(), view, rotation=self._rng.randrange(64))
        if covering.missing:
            return None
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask_node(view, share, wanted)) for share in covering.shares]
        found: list[str] = []
        for answer in [task.result() for task in tasks]:
            if isinstance(answer, ApiError):
                raise answer
            if answer is None:
                return None
            found.extend(answer)
        # A node that lost its disk since its last probe would have matched nothing.
        for share in covering.shares:
            if not await self.trusted(share.node):
                return None
        return found

    async def _ask_node(self, view: IndexView, share: Share, wanted: Any) -> list[str] | ApiError | None:
        parts = list(wanted) if isinstance(wanted, list) else [] if wanted is None else [wanted]
        if share.shard_filter is not None:
            parts.append(share.shard_filter)  # last: a node does not check what comes after nothing
        fields = [] if view.primary_key is None else [view.primary_key]
        body: dict[str, Any] = {"fields": fields, "limit": _ALL if fields else 0}
        if parts:
            body["filter"] = parts
        documents = await self.pages.fetch(view, share.node, body)
        if not isinstance(documents, list):
            return documents
        if view.primary_key is None:
            return []
        try:
            return document_ids(documents, view.primary_key)
        except ApiError:
            return None
