"""Keys, webhooks and experimental features: small tables, in memory and in the store."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import msgspec

from miroir.core.records import decode, encode
from miroir.meili.keys import Key, default_keys
from miroir.meili.webhooks import Webhook
from miroir.ports.store import Reader, Store, Table, Tx

_FEATURES = ("features",)


class Registry:
    """What clients configured about the server itself; each change is durable before it is seen."""

    def __init__(self, store: Store, now_ns: Callable[[], int], rng: random.Random) -> None:
        self._store = store
        self._now_ns = now_ns
        self._rng = rng
        self.keys: dict[str, Key] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.features: dict[str, bool] = {}

    def new_uuid(self) -> str:
        """A random UUID."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    async def open(self) -> None:
        """Load; the first start makes the default keys."""

        def load(reader: Reader) -> bytes | None:
            self.keys = {str(k[0]): decode(Key, v) for k, v in reader.scan(Table.KEYS)}
            self.webhooks = {str(k[0]): decode(Webhook, v) for k, v in reader.scan(Table.WEBHOOKS)}
            return reader.get(Table.FEATURES, _FEATURES)

        row = self._store.read(load)
        if row is not None:
            self.features = msgspec.msgpack.decode(row, type=dict[str, bool])
            return
        fresh = default_keys((self.new_uuid() for _ in range(16)), self._now_ns())

        def first(tx: Tx) -> None:
            tx.put(Table.FEATURES, _FEATURES, encode({}))
            for key in fresh:
                tx.put(Table.KEYS, (key.uid,), encode(key))

        await self._store.transact(first)
        self.keys = {key.uid: key for key in fresh}

    async def put_key(self, key: Key) -> None:
        await self._store.transact(lambda tx: tx.put(Table.KEYS, (key.uid,), encode(key)))
        self.keys = {**self.keys, key.uid: key}

    async def delete_key(self, uid: str) -> None:
        await self._store.transact(lambda tx: tx.delete(Table.KEYS, (uid,)))
        self.keys = {other: key for other, key in self.keys.items() if other != uid}

    async def put_webhook(self, webhook: Webhook) -> None:
        await self._store.transact(lambda tx: tx.put(Table.WEBHOOKS, (webhook.uuid,), encode(webhook)))
        self.webhooks = {**self.webhooks, webhook.uuid: webhook}

    async def delete_webhook(self, uid: str) -> None:
        await self._store.transact(lambda tx: tx.delete(Table.WEBHOOKS, (uid,)))
        self.webhooks = {other: hook for other, hook in self.webhooks.items() if other != uid}

    async def set_features(self, changes: dict[str, bool]) -> None:
        wanted = {**self.features, **changes}
        await self._store.transact(lambda tx: tx.put(Table.FEATURES, _FEATURES, encode(wanted)))
        self.features = wanted
