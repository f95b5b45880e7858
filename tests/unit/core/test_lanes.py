"""A lane under every order of answers, losses, duplicates and crashes ends with the node holding the right state."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.writes.lane_requests import LaneOp, NodeTask, Request
from miroir.core.writes.lanes import Lane, Phase
from miroir.core.writes.ops import Action, parse_tag


@dataclass
class World:
    """One node, the network before it, and the lane in front; a seeded schedule drives them."""

    ops: list[LaneOp]
    rng: random.Random
    bad: frozenset[int] = frozenset()  #: ops that the node refuses
    applied_on_node: list[int] = field(default_factory=list)
    tasks: list[NodeTask] = field(default_factory=list)
    queue: list[tuple[int, Request]] = field(default_factory=list)  #: enqueued on the node, not run
    wire: list[Request] = field(default_factory=list)  #: may still arrive, nobody waits
    outcomes: dict[int, bool] = field(default_factory=dict)
    lane: Lane = field(default_factory=lambda: Lane(applied=-1))
    stored_applied: int = -1
    stored_tagged: int | None = -1
    calm: bool = False
    reply: int | None = None

    def enqueue(self, request: Request) -> int:
        uid = len(self.tasks)
        kind = "settingsUpdate" if request.action is Action.SETTINGS else "documentAdditionOrUpdate"
        self.tasks.append(NodeTask(uid, "enqueued", kind, parse_tag(request.tag)))
        self.queue.append((uid, request))
        return uid

    def run_one(self) -> None:
        uid, request = self.queue.pop(0)
        old = self.tasks[uid]
        failed = any(op.id in self.bad for op in request.ops)
        self.tasks[uid] = NodeTask(
            uid, "failed" if failed else "succeeded", old.kind, old.ops, {"code": "x"} if failed else None
        )
        if not failed:
            self.applied_on_node.extend(op.id for op in request.ops)

    def crash(self) -> None:
        """The orchestrator dies and starts again with what it had stored."""
        if self.lane.out is not None and self.rng.random() < 0.5:
            self.wire.append(self.lane.out)
        self.reply = None
        known = [op for op in self.ops if op.id > self.stored_applied - 50]
        added = {op.id for op in self.lane.log} | {op.id for op in self.ops if op.id <= self.lane.applied}
        self.lane = Lane(applied=self.stored_applied, tagged=self.stored_tagged)
        for op in known:
            if op.id in added:
                self.lane.add(op)

    def step(self) -> None:
        rng, lane = self.rng, self.lane
        dice = rng.random()
        if not self.calm and dice < 0.05:
            self.crash()
        elif dice < 0.15 and self.wire:
            self.enqueue(self.wire.pop(rng.randrange(len(self.wire))))
        elif dice < 0.4 and self.queue:
            self.run_one()
        elif dice < 0.6:
            self.watch()
        elif dice < 0.7:
            # As much of it as tasks had ended by then.
            self.stored_applied = rng.randint(self.stored_applied, max(self.stored_applied, lane.applied))
            self.stored_tagged = lane.last_named(self.stored_applied)
        elif lane.phase is Phase.RECOVERING:
            lane.recover(self.tasks)
        elif lane.phase is Phase.SENDING:
            self.answer()
        elif lane.phase is Phase.UNSURE:
            lane.on_listed(self.tasks)
        else:
            lane.next_request(window=3, documents_max=4, bytes_max=1000)

    def answer(self) -> None:
        request = self.lane.out
        assert request is not None
        dice = 1.0 if self.calm else self.rng.random()
        if dice < 0.1:
            self.lane.on_refused()
        elif dice < 0.2:
            self.wire.append(request)
            self.lane.on_unsure()
        elif dice < 0.3:
            self.enqueue(request)
            self.lane.on_unsure()
        else:
            uid = self.enqueue(request)
            if not self.calm and self.rng.random() < 0.15:
                self.wire.append(request)  # the network delivers it once more, later
            self.lane.on_accepted(uid)

    def watch(self) -> None:
        for task in self.tasks:
            for outcome in self.lane.observe(task)[1]:
                self.outcomes.setdefault(outcome.op, outcome.error is None)


def effect(ops: list[int], kinds: dict[int, LaneOp]) -> dict[str, int]:
    """Final state of the node: the newest settings, and the newest writer of each of three documents."""
    state: dict[str, int] = {}
    for op in ops:
        if kinds[op].action is Action.SETTINGS:
            state["settings"] = op
        elif kinds[op].action is Action.CLEAR:
            state = {k: v for k, v in state.items() if k == "settings"}
        else:
            key = f"doc{op % 3}"
            if kinds[op].action is Action.DELETE:
                state.pop(key, None)
            else:
                state[key] = op
    return state


actions = st.sampled_from([Action.ADD] * 5 + [Action.DELETE, Action.DELETE, Action.CLEAR, Action.SETTINGS])


@given(
    st.lists(actions, min_size=1, max_size=12), st.integers(0, 2**32), st.sets(st.integers(0, 11), max_size=2)
)
def test_any_schedule_ends_in_the_state_of_applying_each_op_once(kinds, seed, bad):
    ops = [LaneOp(n * 2, kind, documents=1, size_bytes=1) for n, kind in enumerate(kinds)]
    by_id = {op.id: op for op in ops}
    refused = frozenset(n * 2 for n in bad if n < len(kinds))
    world = World(ops, random.Random(seed), bad=refused)
    waiting = list(ops)
    for _ in range(150):
        if waiting and world.rng.random() < 0.3:
            world.lane.add(waiting.pop(0))
        world.step()
    for op in waiting:
        world.lane.add(op)
    world.calm = True
    for _ in range(3000):
        world.step()
        if world.lane.idle and not world.wire and not world.queue:
            world.watch()  # strays that have arrived by now
            if world.lane.idle:
                break
    assert world.lane.idle
    assert not world.lane.lost
    good = [op.id for op in ops if op.id not in refused]
    assert effect(world.applied_on_node, by_id) == effect(good, by_id)
    assert world.outcomes == {op.id: op.id not in refused for op in ops}
    assert world.lane.applied == ops[-1].id


def lane_with(*ops: LaneOp) -> Lane:
    lane = Lane(applied=-1, phase=Phase.READY)
    for op in ops:
        lane.add(op)
    return lane


def ask(lane: Lane, window: int = 8) -> Request | None:
    return lane.next_request(window=window, documents_max=10, bytes_max=100)


def test_neighbours_of_one_kind_go_together_within_bounds():
    lane = lane_with(
        LaneOp(1, Action.ADD, documents=4, size_bytes=30),
        LaneOp(2, Action.ADD, documents=4, size_bytes=30),
        LaneOp(3, Action.ADD, documents=4, size_bytes=30),
        LaneOp(4, Action.ADD, merge=True, documents=1),
        LaneOp(5, Action.SETTINGS),
    )
    sent = []
    while request := ask(lane):
        sent.append([op.id for op in request.ops])
        lane.on_accepted(len(sent))
    assert sent == [[1, 2], [3], [4], [5]]


def test_nothing_is_sent_while_an_answer_is_missing():
    lane = lane_with(LaneOp(1, Action.ADD), LaneOp(2, Action.DELETE))
    assert ask(lane) is not None
    assert ask(lane) is None
    lane.on_unsure()
    assert ask(lane) is None
    lane.on_listed([NodeTask(7, "enqueued", ops=(1, 1))])
    assert ask(lane) is not None


def test_window_bounds_unfinished_requests():
    lane = lane_with(LaneOp(1, Action.ADD), LaneOp(2, Action.DELETE), LaneOp(3, Action.ADD))
    for uid in (10, 11):
        assert ask(lane, window=2) is not None
        lane.on_accepted(uid)
    assert ask(lane, window=2) is None
    assert lane.observe(NodeTask(10, "succeeded", ops=(1, 1)))[1]
    assert ask(lane, window=2) is not None


def test_an_old_request_that_arrives_again_is_followed_by_a_replay_that_hides_the_replica():
    lane = lane_with(LaneOp(1, Action.ADD), LaneOp(2, Action.DELETE))
    for uid in (10, 11):
        ask(lane)
        lane.on_accepted(uid)
        lane.observe(NodeTask(uid, "succeeded", ops=(uid - 9, uid - 9)))
    assert lane.idle
    lane.observe(NodeTask(12, "enqueued", ops=(1, 1)))
    assert lane.replaying
    request = ask(lane)
    assert request is not None
    assert request.first == 2
    lane.on_accepted(13)
    lane.observe(NodeTask(13, "succeeded", ops=(2, 2)))
    assert not lane.replaying


def test_a_replay_of_forgotten_ops_means_the_replica_is_lost():
    lane = lane_with(LaneOp(1, Action.ADD), LaneOp(2, Action.DELETE), LaneOp(3, Action.ADD))
    for op in (1, 2, 3):
        ask(lane)
        lane.on_accepted(op)
        lane.observe(NodeTask(op, "succeeded", ops=(op, op)))
    lane.forget(3)
    lane.observe(NodeTask(9, "enqueued", ops=(1, 1)))
    assert lane.lost
    assert ask(lane) is None


def test_what_is_sent_again_to_keep_the_order_has_not_ended_before():
    lane = lane_with(LaneOp(1, Action.ADD), LaneOp(2, Action.ADD), LaneOp(3, Action.DELETE))
    for uid in (10, 11):
        assert ask(lane) is not None
        lane.on_accepted(uid)
    assert lane.observe(NodeTask(10, "failed", ops=(1, 2), error={"code": "x"}))[1] == []
    assert lane.observe(NodeTask(11, "succeeded", ops=(3, 3)))[1] == [], "the two before it come after it now"
    ended = []
    for uid in (12, 13, 14):
        request = ask(lane)
        assert request is not None
        lane.on_accepted(uid)
        done = NodeTask(uid, "succeeded", ops=(request.first, request.last))
        ended.extend(outcome.op for outcome in lane.observe(done)[1])
    assert ended == [1, 2, 3]
    assert lane.idle


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 1 << 19)), max_size=30),
    st.integers(0, 29),
    st.integers(0, 5),
)
def test_a_lane_is_near_when_little_is_left(work: list[tuple[int, int]], op: int, sent: int) -> None:
    lane = Lane(applied=-1)
    lane.recover([])
    for number, (documents, size) in enumerate(work):
        lane.add(LaneOp(number, Action.ADD, documents=documents, size_bytes=size))
    for uid in range(sent):
        request = lane.next_request(window=8, documents_max=500, bytes_max=1 << 20)
        if request is not None:
            lane.on_accepted(uid)
    left = work[: op + 1]
    documents, size = (sum(part) for part in zip(*left, strict=True)) if left else (0, 0)
    little = len(left) <= 6 or (documents <= 1000 and size <= 1 << 20)
    assert lane.is_near(op) == little, "sent or not, what has not ended is left"


def restarted(lane: Lane, tasks: list[NodeTask]) -> Lane:
    """The lane of another process, which finds only what was stored."""
    after = Lane(applied=lane.applied, forgotten=lane.forgotten, tagged=lane.last_named(lane.applied))
    for op in lane.log:
        after.add(op)
    after.recover(tasks)
    return after


@pytest.mark.parametrize("forgets", [False, True])
def test_a_start_after_something_without_a_tag_sends_nothing_again(forgets):
    lane = lane_with(LaneOp(1, Action.ADD), LaneOp(2, Action.SETTINGS))
    tasks = []
    for uid in (10, 11):
        request = ask(lane)
        assert request is not None
        lane.on_accepted(uid)
        tasks.append(NodeTask(uid, "succeeded", ops=parse_tag(request.tag)))
        lane.observe(tasks[-1])
    if forgets:
        lane.forget(3)
    after = restarted(lane, tasks)
    assert not after.lost
    assert not after.replaying
    assert after.idle
    after.add(LaneOp(3, Action.ADD))
    request = ask(after)
    assert request is not None
    assert request.first == 3


def test_of_neighbours_that_went_together_each_counts():
    """The store may know of the first one's end only, and an older request come again."""
    lane = lane_with(*(LaneOp(n, Action.ADD) for n in (1, 2, 3)))
    lane.alone_until = 1
    for uid in (10, 11):
        request = ask(lane)
        assert request is not None
        lane.on_accepted(uid)
        lane.observe(NodeTask(uid, "succeeded", ops=parse_tag(request.tag)))
    assert lane.last_named(2) == 2
    after = Lane(applied=2, tagged=lane.last_named(2))
    for op in lane.log:
        after.add(op)
    tasks = [NodeTask(10, "succeeded", ops=(1, 1)), NodeTask(11, "succeeded", ops=(2, 3))]
    after.recover([*tasks, NodeTask(12, "succeeded", ops=(1, 1))])
    request = ask(after)
    assert request is not None
    assert request.first == 2


@pytest.mark.parametrize("forgets", [False, True])
def test_a_start_after_an_old_request_came_again_replays_or_gives_up(forgets):
    ops = [LaneOp(1, Action.ADD), LaneOp(2, Action.DELETE), LaneOp(3, Action.SETTINGS)]
    lane = lane_with(*ops)
    tasks = []
    for uid in (10, 11, 12):
        request = ask(lane)
        assert request is not None
        lane.on_accepted(uid)
        tasks.append(NodeTask(uid, "succeeded", ops=parse_tag(request.tag)))
        lane.observe(tasks[-1])
    if forgets:
        lane.forget(4)
    after = restarted(lane, [*tasks, NodeTask(13, "succeeded", ops=(1, 1))])
    assert after.lost if forgets else after.replaying
