"""Acceptance of writes: checked, admitted, appended to the op log; nothing else happens before the 202."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from miroir.core.hashing import shard_of
from miroir.core.topology import NodeId
from miroir.core.writes.admission import Admission, admit
from miroir.core.writes.document_ids import document_ids, refuse_reserved_fields
from miroir.core.writes.ops import OpKind
from miroir.core.writes.write_limits import WriteLimits
from miroir.meili.codes import ApiError
from miroir.meili.commands import DocumentsDelete, DocumentsEdit, DocumentsWrite, SettingsWrite, Swap
from miroir.meili.refusals import compact_json
from miroir.meili.settings import details as settings_details
from miroir.meili.tasks import Task
from miroir.ports.store import Key
from miroir.services.cluster import Cluster
from miroir.services.writes.oplog import Draft, OpLog

Idempotency = tuple[Key, bytes] | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A durable op. `degraded` lists shards with fewer live copies than configured."""

    task: Task
    degraded: tuple[int, ...] = ()


class Ingest:
    """One method per kind of write. All raise ApiError, and then nothing was logged."""

    def __init__(self, log: OpLog, cluster: Cluster, limits: WriteLimits) -> None:
        self._log = log
        self._cluster = cluster
        self._limits = limits

    async def add(
        self, uid: str, write: DocumentsWrite, *, may_create: bool, idempotency: Idempotency = None
    ) -> Accepted:
        """Documents, replaced or merged."""
        refuse_reserved_fields(write.documents)
        admission = self._admit(uid, self._shards_of_documents(uid, write))
        args: dict[str, Any] = {"merge": write.kind == "merge", "may_create": may_create}
        if write.primary_key is not None:
            args["primary_key"] = write.primary_key
        if write.skip_creation:
            args["skip_creation"] = True
        draft = Draft(
            OpKind.DOCUMENTS_ADD,
            (uid,),
            uid,
            args,
            write.documents,
            {"receivedDocuments": len(write.documents), "indexedDocuments": None},
            write.custom_metadata,
            idempotency=idempotency,
        )
        return await self._append(draft, admission)

    async def delete(self, uid: str, what: DocumentsDelete, *, idempotency: Idempotency = None) -> Accepted:
        """Documents by ids, by filter, or all."""
        shards: Collection[int] | None = None
        args: dict[str, Any] = {}
        payload: list[str] | None = None
        details: dict[str, Any] = {"deletedDocuments": None}
        if what.ids is not None:
            kind = OpKind.DOCUMENTS_DELETE
            payload = list(what.ids)
            count = self._shard_count(uid)
            shards = {shard_of(document_id, count) for document_id in what.ids}
            details = {"providedIds": len(what.ids), "deletedDocuments": None, "originalFilter": None}
        elif what.filter is not None:
            kind = OpKind.DOCUMENTS_DELETE_FILTER
            args["filter"] = what.filter
            original = compact_json(what.filter)
            details = {"providedIds": 0, "deletedDocuments": None, "originalFilter": original}
        else:
            kind = OpKind.DOCUMENTS_CLEAR
        draft = Draft(
            kind, (uid,), uid, args, payload, details, what.custom_metadata, idempotency=idempotency
        )
        return await self._append(draft, self._admit_existing(uid, shards))

    async def edit(self, uid: str, edit: DocumentsEdit, *, idempotency: Idempotency = None) -> Accepted:
        """Documents through a function."""
        details = {
            "deletedDocuments": None,
            "editedDocuments": None,
            "originalFilter": None if edit.filter is None else compact_json(edit.filter),
            "context": edit.context,
            "function": edit.function,
        }
        args = {"filter": edit.filter, "function": edit.function, "context": edit.context}
        draft = Draft(
            OpKind.DOCUMENTS_EDIT,
            (uid,),
            uid,
            args,
            None,
            details,
            edit.custom_metadata,
            idempotency=idempotency,
        )
        return await self._append(draft, self._admit_existing(uid, None))

    async def settings(
        self, uid: str, write: SettingsWrite, *, may_create: bool, idempotency: Idempotency = None
    ) -> Accepted:
        """Settings changed or reset."""
        args = {
            "patch": write.patch,
            "reset_all": write.reset_all,
            "may_create": may_create and not write.is_deletion,
        }
        details = settings_details(write)
        draft = Draft(OpKind.SETTINGS, (uid,), uid, args, None, details, idempotency=idempotency)
        return await self._append(draft, self._admit(uid, None))

    async def create_index(
        self, uid: str, primary_key: str | None, *, idempotency: Idempotency = None
    ) -> Accepted:
        """A new index."""
        args = {"primary_key": primary_key}
        details = {"primaryKey": primary_key}
        draft = Draft(OpKind.INDEX_CREATE, (uid,), uid, args, None, details, idempotency=idempotency)
        return await self._append(draft, self._admit(uid, None))

    async def update_index(
        self, uid: str, primary_key: str | None, new_uid: str | None, *, idempotency: Idempotency = None
    ) -> Accepted:
        """Another primary key, another name."""
        details: dict[str, Any] = {"primaryKey": primary_key}
        names: tuple[str, ...] = (uid,)
        if new_uid is not None:
            details |= {"oldIndexUid": uid, "newIndexUid": new_uid}
            names = tuple(dict.fromkeys((uid, new_uid)))
        args = {"primary_key": primary_key, "new_uid": new_uid}
        draft = Draft(OpKind.INDEX_UPDATE, names, uid, args, None, details, idempotency=idempotency)
        return await self._append(draft, self._admit_existing(uid, None))

    async def delete_index(self, uid: str, *, idempotency: Idempotency = None) -> Accepted:
        """The index goes. Accepted with every node down: nothing is needed of them for that."""
        details = {"deletedDocuments": None}
        draft = Draft(OpKind.INDEX_DELETE, (uid,), uid, {}, None, details, idempotency=idempotency)
        return await self._append(draft, Admission())

    async def make_exact(self, uid: str, *, exact: bool) -> Accepted:
        """Exact mode on or off. Two ops, so that reads leave ghosts out while there are any.

        Turning on what is on makes every ghost anew, on every node.
        """
        steps: list[tuple[OpKind, dict[str, Any]]] = [(OpKind.INDEX_EXACT, {"exact": exact})]
        steps.insert(1 if exact else 0, (OpKind.INDEX_GHOSTS, {} if exact else {"remove": True}))
        for kind, args in steps:
            draft = Draft(kind, (uid,), uid, args, None, {})
            accepted = await self._append(draft, self._admit(uid, None))
        return accepted

    async def compact(self, uid: str, *, idempotency: Idempotency = None) -> Accepted:
        """Unused space goes back to the disks of the index's nodes."""
        draft = Draft(OpKind.INDEX_COMPACT, (uid,), uid, {}, None, {}, idempotency=idempotency)
        return await self._append(draft, Admission())

    async def dump(self, *, idempotency: Idempotency = None) -> Accepted:
        """A dump of everything accepted so far: it waits for every index there is or will be by then."""
        waiting = {name for op in self._log.ops.values() if op.stage == "accepted" for name in op.names}
        names = tuple(sorted({*self._cluster.sequenced.names, *waiting}))
        details = {"dumpUid": None}
        draft = Draft(OpKind.DUMP, names, None, {}, None, details, idempotency=idempotency)
        return await self._append(draft, Admission())

    async def swap(self, swaps: tuple[Swap, ...], *, idempotency: Idempotency = None) -> Accepted:
        """Exchange of names; an op of the catalogue alone."""
        pairs = tuple(swap.indexes for swap in swaps)
        names = tuple(dict.fromkeys(uid for pair in pairs for uid in pair))
        args = {"swaps": [[*swap.indexes, swap.rename] for swap in swaps]}
        details = {"swaps": [{"indexes": list(swap.indexes), "rename": swap.rename} for swap in swaps]}
        draft = Draft(
            OpKind.INDEX_SWAP, names, None, args, None, details, swaps=pairs, idempotency=idempotency
        )
        return await self._append(draft, Admission())

    # --- admission ----------------------------------------------------------------------------

    async def _append(self, draft: Draft, admission: Admission) -> Accepted:
        earlier = self._log.earlier(draft)
        if earlier is not None:
            return Accepted(earlier, admission.degraded)
        if admission.refused:
            raise ApiError(
                "miroir_no_quorum",
                f"{len(admission.refused)} of the shards this write touches have fewer than "
                f"{self._limits.min_in_sync_replicas} live in-sync replicas. Nothing was written. Retry later.",
            )
        return Accepted(await self._log.append(draft), admission.degraded)

    def _admit_existing(self, uid: str, shards: Collection[int] | None) -> Admission:
        """The same for ops on an index that must exist; without it the task tells, whatever the nodes do."""
        return Admission() if self._cluster.sequenced.find(uid) is None else self._admit(uid, shards)

    def _admit(self, uid: str, shards: Collection[int] | None) -> Admission:
        cluster, limits = self._cluster, self._limits
        index = cluster.sequenced.find(uid)
        physical = None if index is None else index.layout
        record = None if physical is None else cluster.placement.get(physical)
        if record is None:
            record = cluster.propose(limits.shards, limits.replication_factor)

        def writable(node: str, shard: int) -> bool:
            if NodeId(node) not in cluster.live:
                return False
            lane = None if physical is None else cluster.lanes.get((physical, node))
            return lane is None or not lane.lagging or (lane.behind is not None and shard not in lane.behind)

        return admit(
            record.shards,
            shards,
            writable=writable,
            group_of=lambda node: cluster.nodes[node].group,
            min_in_sync=limits.min_in_sync_replicas,
            majority=limits.write_quorum == "majority",
            replication_factor=cluster.replication_factor or limits.replication_factor,
        )

    def _shard_count(self, uid: str) -> int:
        index = self._cluster.sequenced.find(uid)
        record = None if index is None else self._cluster.placement.get(index.layout)
        return self._limits.shards if record is None else len(record.shards)

    def _shards_of_documents(self, uid: str, write: DocumentsWrite) -> Collection[int] | None:
        """Shards of the payload when they can be told now; None (all) when the task will have to tell."""
        index = self._cluster.sequenced.find(uid)
        primary_key = (index.primary_key if index is not None else None) or write.primary_key
        if primary_key is None:
            return None
        try:
            ids = document_ids(write.documents, primary_key)
        except ApiError:
            return ()  # the task will fail; no shard is touched
        count = self._shard_count(uid)
        return {shard_of(document_id, count) for document_id in ids}
