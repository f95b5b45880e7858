"""Everything one running engine holds; what the route handlers work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

from miroir.engine.catalog import LiveIndex
from miroir.engine.jobs import AnyJob
from miroir.engine.scheduler import Scheduler
from miroir.engine.store import Store
from miroir.meili.indexes import index_not_found
from miroir.meili.keys import Key, default_keys
from miroir.meili.tasks import Task, summary
from miroir.meili.webhooks import Webhook

_encode = msgspec.msgpack.Encoder().encode
_decode_key = msgspec.msgpack.Decoder(Key).decode
_decode_webhook = msgspec.msgpack.Decoder(Webhook).decode


class State:
    """One engine's memory, kept in step with its store."""

    def __init__(
        self,
        store: Store,
        scheduler: Scheduler,
        *,
        features: dict[str, bool],
        master_key: str | None,
        now_ns: Callable[[], int],
        new_uuid: Callable[[], str],
    ) -> None:
        self.store = store
        self.scheduler = scheduler
        self.master_key = master_key
        self.now_ns = now_ns
        self.new_uuid = new_uuid
        self.features = features  # shared with the scheduler
        self.keys = {uid: _decode_key(record) for uid, record in store.records("keys").items()}
        self.webhooks = {uid: _decode_webhook(record) for uid, record in store.records("webhooks").items()}
        if not self.keys:
            self._first_start()

    def _first_start(self) -> None:
        with self.store.transaction():
            if self.store.meta("instance_uid") is None:
                self.store.set_meta("instance_uid", self.new_uuid().encode())
            for key in default_keys([self.new_uuid() for _ in range(4)], self.now_ns()):
                self.put_key(key)

    # --- reading ----------------------------------------------------------------------------------

    def index(self, uid: str | None) -> LiveIndex:
        """The index as of now; 404 when there is none."""
        assert uid is not None
        live = self.scheduler.catalog.get(uid)
        if live is None:
            raise index_not_found(uid)
        return live

    def tasks(self) -> Sequence[Task]:
        """Every task, oldest first."""
        return list(self.scheduler.queue.tasks.values())

    def is_indexing(self, uid: str) -> bool:
        """Whether a task of the index is running."""
        tasks = self.scheduler.queue.tasks
        return any(tasks[task].index_uid == uid for task in self.scheduler.running)

    # --- writing ----------------------------------------------------------------------------------

    def enqueue(
        self,
        kind: str,
        job: AnyJob,
        *,
        index_uid: str | None = None,
        details: dict[str, Any] | None = None,
        custom_metadata: str | None = None,
        swaps: tuple[tuple[str, str], ...] = (),
    ) -> dict[str, Any]:
        """Queue a task; returns its summary as printed."""
        task = Task(
            uid=0,
            kind=kind,
            index_uid=index_uid,
            details=details,
            custom_metadata=custom_metadata,
            swaps=swaps,
        )
        return summary(self.scheduler.enqueue(task, job))

    def put_key(self, key: Key) -> None:
        self.store.put_record("keys", key.uid, _encode(key))
        self.keys[key.uid] = key

    def delete_key(self, key: Key) -> None:
        self.store.delete_record("keys", key.uid)
        del self.keys[key.uid]

    def put_webhook(self, webhook: Webhook) -> None:
        self.store.put_record("webhooks", webhook.uuid, _encode(webhook))
        self.webhooks[webhook.uuid] = webhook

    def delete_webhook(self, uuid: str) -> None:
        self.store.delete_record("webhooks", uuid)
        del self.webhooks[uuid]

    def set_features(self, changes: dict[str, bool]) -> None:
        self.features.update(changes)
        self.store.set_meta("features", orjson.dumps(self.features))
