"""Vectors of documents for embedders whose vectors come from the client; one immutable version.

Every embedder keeps its vectors as rows of one matrix that versions share: a version sees the first `length`
rows and knows which of them are dead. Search is exact (all live rows are compared).
Source: api 4.4, search-semantics F.2.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from miroir.engine.persistent import PersistentMap
from miroir.meili.codes import ApiError
from miroir.meili.vector_values import SentVectors, check_forms, sent_vectors

Document = dict[str, Any]
Floats = npt.NDArray[np.float32]
_EPSILON = np.float32(np.finfo(np.float32).eps)
_FIRST_CAPACITY = 64
_DOCS_PER_STEP = 200

T = TypeVar("T")


class _Rows:
    """A growing matrix shared by versions; rows once written never change."""

    __slots__ = ("data", "docids", "used")

    def __init__(self, dimensions: int, capacity: int = _FIRST_CAPACITY) -> None:
        self.data: Floats = np.zeros((capacity, dimensions), dtype=np.float32)
        self.docids: npt.NDArray[np.uint32] = np.zeros(capacity, dtype=np.uint32)
        self.used = 0

    def appended(self, length: int, docids: Sequence[int], vectors: Floats) -> _Rows:
        """Rows whose first `length` are these, followed by the new ones; self when it can grow in place."""
        wanted = length + len(docids)
        rows = self
        if self.used != length or wanted > len(self.docids):
            rows = _Rows(self.data.shape[1], max(_FIRST_CAPACITY, 2 * wanted))
            rows.data[:length] = self.data[:length]
            rows.docids[:length] = self.docids[:length]
        rows.data[length:wanted] = vectors
        rows.docids[length:wanted] = docids
        rows.used = wanted
        return rows


@dataclass(frozen=True, slots=True)
class Distribution:
    """How similarities are spread: moved to a mean of 0.5 and a sigma of 0.4."""

    mean: float
    sigma: float

    def shifted(self, similarity: float) -> float:
        """The similarity on the common scale, in ]0, 1]; 32 bit arithmetic."""
        factor = np.float32(0.4) / np.float32(self.sigma)
        score = factor * np.float32(similarity) + (np.float32(0.5) - factor * np.float32(self.mean))
        return float(min(score, np.float32(1.0)) if score > 0 else _EPSILON)


@dataclass(frozen=True, slots=True)
class Embedder:
    """One embedder and its vectors. `regenerates`: documents whose vectors are not the client's own."""

    dimensions: int
    quantized: bool = False
    distribution: Distribution | None = None
    rows: _Rows | None = None
    length: int = 0
    dead: BitMap = field(default_factory=BitMap)
    rows_of: PersistentMap[int, tuple[int, ...]] = field(default_factory=PersistentMap)
    documents: BitMap = field(default_factory=BitMap)  #: with at least one vector
    known: BitMap = field(default_factory=BitMap)  #: that said something about this embedder
    regenerates: BitMap = field(default_factory=BitMap)

    def vectors_of(self, docid: int) -> list[list[float]]:
        """The vectors of a document; a quantized embedder keeps only the signs."""
        if self.rows is None:
            return []
        chosen = [self.rows.data[row] for row in self.rows_of.get(docid, ())]
        if self.quantized:
            chosen = [np.where(vector > 0, np.float32(1), np.float32(-1)) for vector in chosen]
        return [[float(x) for x in vector] for vector in chosen]

    def updated(self, changes: Mapping[int, SentVectors | None]) -> Embedder:
        """A version in which documents have other vectors; None: the document is gone."""
        docids: list[int] = []
        vectors: list[tuple[float, ...]] = []
        rows_of: dict[int, tuple[int, ...] | None] = {}
        dead, documents = self.dead.copy(), self.documents.copy()
        known, regenerates = self.known.copy(), self.regenerates.copy()
        for docid, sent in changes.items():
            dead.update(self.rows_of.get(docid, ()))
            embeddings = sent.embeddings or () if sent is not None else ()
            first = self.length + len(docids)
            rows_of[docid] = tuple(range(first, first + len(embeddings))) or None
            docids += [docid] * len(embeddings)
            vectors += embeddings
            for members, holds in (
                (documents, bool(embeddings)),
                (known, sent is not None),
                (regenerates, sent is not None and sent.regenerate),
            ):
                if holds:
                    members.add(docid)
                else:
                    members.discard(docid)
        rows = self.rows or _Rows(self.dimensions)
        if docids:
            rows = rows.appended(self.length, docids, np.asarray(vectors, dtype=np.float32))
        made = replace(
            self,
            rows=rows,
            length=self.length + len(docids),
            dead=dead,
            rows_of=self.rows_of.updated(rows_of),
            documents=documents,
            known=known,
            regenerates=regenerates,
        )
        return made._compacted() if len(dead) > 1024 and 2 * len(dead) > made.length else made

    def _compacted(self) -> Embedder:
        assert self.rows is not None
        live = np.ones(self.length, dtype=bool)
        live[np.asarray(list(self.dead), dtype=np.int64)] = False
        data, docids = self.rows.data[: self.length][live], self.rows.docids[: self.length][live]
        rows = _Rows(self.dimensions, max(_FIRST_CAPACITY, 2 * len(docids)))
        places: dict[int, tuple[int, ...]] = {}
        for row, docid in enumerate(docids.tolist()):
            places[docid] = (*places.get(docid, ()), row)
        rows = rows.appended(0, docids.tolist(), data)
        return replace(self, rows=rows, length=len(docids), dead=BitMap(), rows_of=PersistentMap(places))

    def nearest_by_slot(
        self, target: Sequence[float], universe: BitMap, limit: int
    ) -> list[tuple[int, float]]:
        """(docid, similarity) of documents near one vector, best first, equal ones by docid.

        The first vectors of all documents are one store, the second ones another, and so on; each store gives
        its `limit` best, so a document may come more than once. Similarities are 32 bit and shifted.
        """
        return self._near([target] * self.slots(), universe, limit)

    def near_document(self, docid: int, universe: BitMap, limit: int) -> list[tuple[int, float]]:
        """As `nearest_by_slot` for a document: its first vector meets first vectors only, and so on."""
        if self.rows is None:
            return []
        return self._near([self.rows.data[row] for row in self.rows_of.get(docid, ())], universe, limit)

    def slots(self) -> int:
        """The largest number of vectors of one document."""
        return max((len(rows) for rows in self.rows_of.values()), default=0)

    def _near(
        self, targets: Sequence[Sequence[float] | Floats], universe: BitMap, limit: int
    ) -> list[tuple[int, float]]:
        wanted = universe & self.documents
        if not wanted or self.rows is None or limit <= 0:
            return []
        places = [self.rows_of[docid] for docid in wanted]
        found: list[tuple[int, float]] = []
        for slot, target in enumerate(targets):
            rows = np.asarray([rows[slot] for rows in places if len(rows) > slot], dtype=np.int64)
            if not len(rows):
                break
            similarities = self._similarities(self.rows.data[rows], np.asarray(target, dtype=np.float32))
            docids = self.rows.docids[rows]
            best = np.lexsort((docids, -similarities))[:limit]
            found += zip(docids[best].tolist(), similarities[best].tolist(), strict=True)
        if len(targets) > 1:
            found.sort(key=lambda pair: (-pair[1], pair[0]))
        shift = self.distribution.shifted if self.distribution is not None else float
        return [(docid, shift(similarity)) for docid, similarity in found]

    def _similarities(self, data: Floats, target: Floats) -> Floats:
        one = np.float32(1)
        if self.quantized:
            different = ((data > 0) != (target > 0)).sum(axis=1).astype(np.float32)
            shared: Floats = (one - different / np.float32(self.dimensions)).astype(np.float32)
            return shared
        norms = np.sqrt((data * data).sum(axis=1, dtype=np.float32)) * np.sqrt(
            (target * target).sum(dtype=np.float32)
        )
        dots = (data * target).sum(axis=1, dtype=np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = np.clip(dots / norms, np.float32(-1), one)
        distances = np.where(norms > _EPSILON, (one - cosines) / np.float32(2), np.float32(0))
        similarities: Floats = (one - distances).astype(np.float32)
        return similarities


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """All embedders of one index version, by name."""

    embedders: Mapping[str, Embedder] = field(default_factory=dict)

    def updated(
        self,
        settings: Mapping[str, Any],
        changes: Sequence[tuple[int, Document | None, Document | None]],
        primary_key: str | None = None,
    ) -> VectorIndex:
        """The next version after (docid, old document, new document) changes under unchanged settings.

        A document that does not mention an embedder keeps the vectors it had.

        Raises:
            ApiError: a document's `_vectors` are wrong or missing; the batch must then be dropped.
        """
        for _, _, new in changes:
            if new is not None:
                check_forms(new, str(new.get(primary_key, "")) if primary_key is not None else "")
        if not self.embedders or not changes:
            return self
        return VectorIndex(
            {n: _last(_change_steps(n, e, changes, primary_key)) for n, e in self.embedders.items()}
        )

    def rebuilt(
        self, settings: Mapping[str, Any], documents: Mapping[int, Document], primary_key: str | None = None
    ) -> VectorIndex:
        """The version under new embedder settings; embedders that stay keep their vectors."""
        return _last(self.rebuild_steps(settings, documents, primary_key))

    def rebuild_steps(
        self, settings: Mapping[str, Any], documents: Mapping[int, Document], primary_key: str | None = None
    ) -> Generator[None, None, VectorIndex]:
        """As `rebuilt`, in small steps: yields so that searches can run in between."""
        embedders: dict[str, Embedder] = {}
        for name, config in sorted((settings.get("embedders") or {}).items()):
            fresh = _embedder(config)
            old = self.embedders.get(name)
            if old is not None and config.get("dimensions") is None:
                # a remote source that does not say its dimensions: what documents brought stays, as in the server
                fresh = replace(fresh, dimensions=old.dimensions)
            if old is not None and old.dimensions == fresh.dimensions:
                embedders[name] = replace(old, quantized=fresh.quantized, distribution=fresh.distribution)
                continue
            insertions = [(docid, None, document) for docid, document in sorted(documents.items())]
            embedders[name] = yield from _change_steps(name, fresh, insertions, primary_key)
        return VectorIndex(embedders)

    def cleared(self) -> VectorIndex:
        """The embedders without any vector."""
        return VectorIndex(
            {n: Embedder(e.dimensions, e.quantized, e.distribution) for n, e in self.embedders.items()}
        )

    def shown(self, docid: int, stored: Any) -> dict[str, Any]:
        """`_vectors` as `retrieveVectors` shows it: as sent for unknown embedders, explicit for the others."""
        entries = (
            {n: v for n, v in stored.items() if n not in self.embedders} if isinstance(stored, dict) else {}
        )
        for name, embedder in self.embedders.items():
            entries[name] = {
                "embeddings": embedder.vectors_of(docid),
                "regenerate": docid not in embedder.known or docid in embedder.regenerates,
            }
        return dict(sorted(entries.items()))

    @property
    def embedding_count(self) -> int:
        """Vectors of all embedders (`numberOfEmbeddings`)."""
        return sum(e.length - len(e.dead) for e in self.embedders.values())

    @property
    def embedded_document_count(self) -> int:
        """Documents with a vector (`numberOfEmbeddedDocuments`)."""
        return len(BitMap.union(BitMap(), *(e.documents for e in self.embedders.values())))


def _embedder(config: Mapping[str, Any]) -> Embedder:
    distribution = config.get("distribution")
    return Embedder(
        dimensions=int(config.get("dimensions") or 0),
        quantized=bool(config.get("binaryQuantized")),
        distribution=Distribution(distribution["mean"], distribution["sigma"]) if distribution else None,
    )


def _last(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result


def _change_steps(
    name: str,
    embedder: Embedder,
    changes: Sequence[tuple[int, Document | None, Document | None]],
    primary_key: str | None,
) -> Generator[None, None, Embedder]:
    found: dict[int, SentVectors | None] = {}
    missing: list[str] = []
    for place, (docid, _, new) in enumerate(changes):
        if place % _DOCS_PER_STEP == _DOCS_PER_STEP - 1:
            yield
        if new is None:
            found[docid] = None
            continue
        document_id = str(new.get(primary_key, "")) if primary_key is not None else ""
        sent = sent_vectors(new, name, embedder.dimensions, document_id)
        is_new = found[docid] is None if docid in found else docid not in embedder.known
        if sent is None:
            if is_new or docid in embedder.regenerates:
                missing.append(document_id)
        elif sent.embeddings is None and sent.regenerate:
            missing.append(document_id)
        elif sent.embeddings is not None or is_new:
            found[docid] = sent
    if missing:
        raise _nothing_provided(name, missing)
    docids = list(found)
    for start in range(0, len(docids), _DOCS_PER_STEP):
        if start:
            yield
        embedder = embedder.updated({docid: found[docid] for docid in docids[start : start + _DOCS_PER_STEP]})
    return embedder


def _nothing_provided(name: str, document_ids: Sequence[str]) -> ApiError:
    others = f" and at least {len(document_ids) - 1} other document(s)" if len(document_ids) > 1 else ""
    return ApiError(
        "vector_embedding_error",
        f"While embedding documents for embedder `{name}`: no vectors provided for document `{document_ids[0]}`{others}\n"
        f"- Note: `{name}` has `source: userProvided`, so documents must provide embeddings as an array in "
        f"`_vectors.{name}`.\n- Hint: opt-out for a document with `_vectors.{name}: null`",
    )
