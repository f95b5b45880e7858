"""Random writes for simulations, clients that send them until they know the outcome, and readers that check.

A client marks every write with an idempotency key and sends it again until it is answered: so each write is in the
log exactly once, however often connections break.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.sim_cluster import ConnectionLostError, SimCluster

INDEXES = ("films", "books", "songs")
WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "haven")
GENRES = ("war", "love", "myth")
IDS = 30


@dataclass(frozen=True)
class Write:
    """One write as a client sends it. `adds`: ids it writes; `removes`: ids it may remove, None for all."""

    method: str
    path: str
    body: Any = None
    indexes: tuple[str, ...] = ()
    adds: frozenset[str] = frozenset()
    removes: frozenset[str] | None = frozenset()


@dataclass
class Sent:
    """A write on its way, accepted, refused, or ended as far as its client has seen."""

    write: Write
    uid: int | None = None
    refused: bool = False
    succeeded: bool = False


def random_document(rng: random.Random, document_id: int | str) -> dict[str, Any]:
    document: dict[str, Any] = {"id": document_id, "title": " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))}
    if rng.random() < 0.7:
        document["genre"] = rng.choice(GENRES)
    if rng.random() < 0.7:
        document["year"] = rng.choice((1990, 2000, 2000.5, "2001", None))
    if rng.random() < 0.3:
        document["tags"] = rng.sample(GENRES, k=rng.randint(0, 3))
    if rng.random() < 0.1:
        document[rng.choice(("extra", "note"))] = {"deep": rng.choice(WORDS)}
    return document


def _random_id(rng: random.Random) -> int | str:
    number = rng.randrange(IDS)
    return number if rng.random() < 0.8 else f"k{number}"


def _adding(rng: random.Random, index: str) -> Write:
    documents = [random_document(rng, _random_id(rng)) for _ in range(rng.randint(1, 8))]
    fault = rng.random()
    adds = frozenset(str(document["id"]) for document in documents)
    if fault < 0.04:
        documents[-1]["id"] = "no id!"
        adds = frozenset()
    elif fault < 0.06:
        del documents[-1]["id"]
        adds = frozenset()
    query = []
    if rng.random() < 0.2:
        query.append("primaryKey=" + ("id" if rng.random() < 0.8 else "title"))
    if rng.random() < 0.1:
        query.append("skipCreation=true")
        adds = frozenset()
    if "primaryKey=title" in query:
        adds = frozenset()
    method = "POST" if rng.random() < 0.5 else "PUT"
    path = f"/indexes/{index}/documents" + ("?" + "&".join(query) if query else "")
    return Write(method, path, documents, (index,), adds)


def _settings(rng: random.Random) -> dict[str, Any]:
    choices: list[tuple[str, list[Any]]] = [
        ("filterableAttributes", [["id", "genre", "year"], ["genre"], ["*"], None]),
        ("sortableAttributes", [["year"], ["id", "year"], None]),
        ("searchableAttributes", [["title"], ["genre", "title"], ["*"], None]),
        ("displayedAttributes", [["id", "title"], ["*"], None]),
        ("distinctAttribute", ["genre", None, None]),
        ("stopWords", [["amber"], None]),
        ("rankingRules", [["words", "typo", "year:desc"], None]),
        ("pagination", [{"maxTotalHits": 10}, None]),
    ]
    picked = rng.sample(choices, k=rng.randint(1, 2))
    settings = {name: rng.choice(values) for name, values in picked}
    if rng.random() < 0.05:
        settings["rankingRules"] = ["nonsense"]
    return settings


def random_write(rng: random.Random) -> Write:
    """Any kind of write but those that Miroir refuses."""
    index = rng.choice(INDEXES)
    here = f"/indexes/{index}"
    other = rng.choice(INDEXES)
    ids = [_random_id(rng) for _ in range(rng.randint(1, 5))]
    names = frozenset(map(str, ids))
    dice = rng.random()
    if dice < 0.55:
        return _adding(rng, index)
    if dice < 0.62:
        return Write("POST", f"{here}/documents/delete-batch", ids, (index,), removes=names)
    if dice < 0.66:
        return Write("DELETE", f"{here}/documents/{ids[0]}", None, (index,), removes=frozenset({str(ids[0])}))
    if dice < 0.73:
        wanted = rng.choice(
            ("genre = war", "year > 1995", "id < 5", "genre EXISTS", ["genre = love"], "nope =")
        )
        return Write("POST", f"{here}/documents/delete", {"filter": wanted}, (index,), removes=None)
    if dice < 0.76:
        return Write("DELETE", f"{here}/documents", None, (index,), removes=None)
    if dice < 0.87:
        return Write("PATCH", f"{here}/settings", _settings(rng), (index,))
    if dice < 0.88:
        return Write("DELETE", f"{here}/settings", None, (index,))
    if dice < 0.92:
        return Write("POST", "/indexes", {"uid": index, "primaryKey": rng.choice((None, "id"))}, (index,))
    if dice < 0.95:
        return Write("DELETE", here, None, (index,), removes=None)
    if dice < 0.98 and other != index:
        body = [{"indexes": [index, other]}]
        return Write("POST", "/swap-indexes", body, (index, other), removes=None)
    return Write("PATCH", here, {"primaryKey": "id"}, (index,))


@dataclass
class Workload:
    """All clients of one run and what they know."""

    cluster: SimCluster
    rng: random.Random
    sent: list[Sent] = field(default_factory=list)
    reads: int = 0
    full_reads: int = 0

    async def client(self, writes: int) -> None:
        """Send writes one after another; for some, wait until they ended."""
        for _ in range(writes):
            await asyncio.sleep(self.rng.random() ** 3 * 2)
            sent = Sent(random_write(self.rng))
            self.sent.append(sent)
            await self.submit(sent)
            if sent.uid is not None and self.rng.random() < 0.6:
                await self.follow(sent, patience_s=20.0)

    async def submit(self, sent: Sent) -> None:
        """Until there is an answer."""
        write = sent.write
        key = f"write-{id(sent)}-{self.rng.getrandbits(64)}"
        while True:
            try:
                reply = await self.cluster.ask(
                    write.method, write.path, write.body, headers={"idempotency-key": key}
                )
            except ConnectionLostError:
                await asyncio.sleep(0.1 + self.rng.random() * 0.3)
                continue
            if reply.status == 503:
                await asyncio.sleep(0.5)
                continue
            if reply.status == 202:
                sent.uid = reply.body["taskUid"]
            else:
                assert 400 <= reply.status < 500, reply
                sent.refused = True
            return

    async def follow(self, sent: Sent, *, patience_s: float) -> None:
        """Watch its task for a while."""
        end = asyncio.get_running_loop().time() + patience_s
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02 + self.rng.random() * 0.2)
            try:
                reply = await self.cluster.ask("GET", f"/tasks/{sent.uid}")
            except ConnectionLostError:
                continue
            assert reply.status == 200, f"acknowledged task {sent.uid} is gone: {reply}"
            if reply.body["status"] in ("succeeded", "failed"):
                sent.succeeded = reply.body["status"] == "succeeded"
                return

    async def reader(self) -> None:
        """Read for ever; every answer must hold what must be there, each document once."""
        while True:
            await asyncio.sleep(self.rng.random() * 0.5)
            index = self.rng.choice(INDEXES)
            known = [sent for sent in self.sent if sent.succeeded and index in sent.write.indexes]
            try:
                found = await self._read(index)
            except ConnectionLostError:
                continue
            self.reads += 1
            if found is None:
                continue
            self.full_reads += 1
            must = self._must_be_there(index, known)
            assert len(found) == len(set(found)), f"twice in {index}: {sorted(found)}"
            missing = must.keys() - set(found)
            assert not missing, f"{index} lacks { {name: must[name] for name in sorted(missing)} }"

    async def _read(self, index: str) -> list[str] | None:
        """Ids of all documents; None when the answer is an error, or cannot show them all."""
        if self.rng.random() < 0.5 or self._may_dedupe():
            path, body = f"/indexes/{index}/documents/fetch", {"limit": 1000, "fields": ["id"]}
        else:
            path, body = f"/indexes/{index}/search", {"limit": 1000, "attributesToRetrieve": ["id"]}
        reply = await self.cluster.ask("POST", path, body)
        if reply.status in (404, 503):
            return None
        assert reply.status == 200, reply
        answer = reply.body
        if "results" in answer:
            assert len(answer["results"]) == answer["total"], answer
            documents = answer["results"]
        else:
            documents = answer["hits"]
            if len(documents) < 15:  # `maxTotalHits` may be set
                return None
        return [str(document.get("id")) for document in documents if "id" in document]

    def _may_dedupe(self) -> bool:
        """Whether a distinct attribute was ever sent, to whichever index had the name then: searches hide documents."""
        bodies = (sent.write.body for sent in self.sent)
        return any(isinstance(body, dict) and body.get("distinctAttribute") for body in bodies)

    def _must_be_there(self, index: str, known: Iterable[Sent]) -> dict[str, int]:
        """Document id -> task, of every document that was written before the read and not removed since."""
        must: dict[str, int] = {}
        removals = [s for s in self.sent if index in s.write.indexes and s.write.removes != frozenset()]
        for sent in known:
            assert sent.uid is not None
            later = [s for s in removals if not s.refused and (s.uid is None or s.uid > sent.uid)]
            if any(s.write.removes is None for s in later):
                continue
            gone = frozenset().union(*(s.write.removes or () for s in later))
            must |= dict.fromkeys(sent.write.adds - gone, sent.uid)
        return must
