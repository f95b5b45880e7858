"""Who answers at a node's address: judged by the document of ours that names each node. Pure.

What is taken for a lost disk makes every replica of the node stale, the last ones too. So only a server's own word that
the document is not there counts, or a document that names this node anew. A page of a proxy is no word, and a document
that names somebody else means a wrong address: whoever is there is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec


class Who(StrEnum):
    """What the answer to the question for the document says."""

    ITSELF = "itself"
    MET = "met"  #: it carries our name already, and nobody had noted it
    NEW = "new"  #: never seen before, and empty of our document
    LOST = "lost"  #: the name is right, the disk another one, or an empty one
    STRANGER = "stranger"  #: another node, or a node of another cluster
    UNKNOWN = "unknown"  #: no answer of a server to that question
    SILENT = "silent"  #: no answer at all


class NodeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a node keeps of itself: whose it is, and which of its disks this one is."""

    id: str = "identity"
    cluster: str
    node: str
    uuid: str


@dataclass(frozen=True, slots=True)
class Found:
    """`uuid` is that of the disk that was MET."""

    who: Who
    uuid: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    code: str


_decode_document = msgspec.json.Decoder(NodeDocument).decode
_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_NOT_THERE = ("document_not_found", "index_not_found")


def identify(status: int, body: bytes, *, node: str, cluster: str, known: str | None) -> Found:
    """Judge an answer.

    Args:
        status: of the answer.
        body: of the answer.
        node: who should be there.
        cluster: id of this cluster.
        known: uuid of the disk the node was last seen with; None: never seen.
    """
    try:
        if status == 404:
            there = _decode_refusal(body).code not in _NOT_THERE
            return Found(Who.UNKNOWN if there else Who.NEW if known is None else Who.LOST)
        if status != 200:
            return Found(Who.UNKNOWN)
        document = _decode_document(body)
    except msgspec.MsgspecError:
        return Found(Who.UNKNOWN)
    if (document.cluster, document.node) != (cluster, node):
        return Found(Who.STRANGER)
    if known is None:
        return Found(Who.MET, document.uuid)
    return Found(Who.ITSELF if document.uuid == known else Who.LOST)
