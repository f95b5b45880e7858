"""Lanes as they run: one track each, found by node or by index without looking at the others.

There may be a hundred thousand; one that has nothing to do costs memory only, and no task of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from miroir.core.topology import NodeId
from miroir.core.writes.lanes import Lane

Key = tuple[str, str]  #: (physical uid, node id)


class Bell:
    """Remembers that it was rung; the first ring after an answer calls somebody."""

    __slots__ = ("_call", "rung")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self.rung = False

    def set(self) -> None:
        """Ring."""
        if not self.rung:
            self.rung = True
            self._call()

    def clear(self) -> None:
        """Answer."""
        self.rung = False


@dataclass(slots=True, eq=False)
class Track:
    """One lane and the little that its tasks share about it."""

    node: NodeId
    physical: str
    lane: Lane
    wake: Bell
    stuck_since: float | None = None  #: loop time since which its node has taken nothing
    dropped: bool = False  #: the index is gone from the node
    running: bool = False  #: a task serves it
    settings_seen: int = -1  #: foreign settings tasks of its lane that were looked at


class Tracks:
    """All tracks; `busy` are those whose lane waits for tasks of its node."""

    def __init__(self) -> None:
        self._all: dict[Key, Track] = {}
        self._of_node: dict[str, dict[str, Track]] = {}
        self._of_index: dict[str, dict[str, Track]] = {}
        self._busy: dict[str, dict[str, Track]] = {}
        #: lanes whose node may have other settings than it should; nobody has looked at a new one
        self.suspects: dict[Key, Track] = {}

    def __len__(self) -> int:
        return len(self._all)

    def get(self, key: Key) -> Track | None:
        return self._all.get(key)

    def values(self) -> Iterator[Track]:
        return iter(list(self._all.values()))

    def items(self) -> Iterator[tuple[Key, Track]]:
        return iter(list(self._all.items()))

    def add(self, track: Track) -> None:
        """A new lane."""
        self._all[track.physical, track.node] = track
        self.suspects[track.physical, track.node] = track
        self._of_node.setdefault(track.node, {})[track.physical] = track
        self._of_index.setdefault(track.physical, {})[track.node] = track

    def pop(self, key: Key) -> Track | None:
        """Forget a lane."""
        track = self._all.pop(key, None)
        self.suspects.pop(key, None)
        if track is not None:
            physical, node = key
            for table, outer, inner in (
                (self._of_node, node, physical),
                (self._of_index, physical, node),
                (self._busy, node, physical),
            ):
                found = table.get(outer, {})
                found.pop(inner, None)
                if not found:
                    table.pop(outer, None)
        return track

    def of_node(self, node: str) -> list[Track]:
        """Lanes to one node."""
        return list(self._of_node.get(node, {}).values())

    def of_index(self, physical: str) -> list[Track]:
        """Lanes of one index."""
        return list(self._of_index.get(physical, {}).values())

    def note(self, track: Track) -> None:
        """The lane took or ended a task of its node, or saw one."""
        if track.lane.foreign_settings != track.settings_seen and track.settings_seen >= 0:
            self.suspects.setdefault((track.physical, track.node), track)
        if track.lane.accepted and self._all.get((track.physical, track.node)) is track:
            self._busy.setdefault(track.node, {})[track.physical] = track
        elif self._busy.get(track.node, {}).get(track.physical) is track:
            del self._busy[track.node][track.physical]

    def busy(self, node: str) -> list[Track]:
        """Lanes to one node that wait for tasks of it."""
        return [track for track in self._busy.get(node, {}).values() if track.lane.accepted]
