"""When an op has ended, and what that means for replicas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from miroir.core.writes.task_state import Verdict, judge, touched

NODES = "abcd"
shards = st.frozensets(st.integers(0, 3), min_size=1)
concerned = st.dictionaries(st.sampled_from(NODES), shards)
outcomes = st.dictionaries(st.sampled_from(NODES), st.sampled_from([None, {"code": "x"}]))
absent = st.frozensets(st.sampled_from(NODES))


@given(concerned, outcomes, absent)
def test_a_success_means_every_shard_has_one_and_everybody_else_is_dealt_with(concerned, outcomes, absent):
    verdict = judge(concerned, outcomes, absent=absent)
    if verdict is None:
        return
    for node, mine in concerned.items():
        good = node in outcomes and outcomes[node] is None
        if node not in outcomes:
            assert node in absent
            assert node in verdict.lagging
        elif not good:
            assert mine <= verdict.stale.get(node, frozenset()) | verdict.failed_shards
        else:
            assert node not in verdict.lagging
            assert node not in verdict.stale
    for shard in {s for mine in concerned.values() for s in mine}:
        holders = [n for n, mine in concerned.items() if shard in mine]
        wins = [n for n in holders if n in outcomes and outcomes[n] is None]
        assert bool(wins) != (shard in verdict.failed_shards)
    assert (verdict.error is None) == (not verdict.failed_shards)


@given(concerned, outcomes, absent, st.sampled_from(NODES))
def test_more_answers_never_turn_an_end_into_waiting(concerned, outcomes, absent, node):
    before = judge(concerned, outcomes, absent=absent)
    after = judge(concerned, {node: None, **outcomes}, absent=absent)
    assert before is None or after is not None


def test_one_replica_failing_alone_is_stale_and_the_task_succeeds():
    both = {"a": frozenset({1, 2}), "b": frozenset({2, 3})}
    verdict = judge({**both, "c": frozenset({1, 3})}, {"a": None, "b": {"code": "x"}, "c": None}, absent=())
    assert verdict == Verdict(stale={"b": frozenset({2, 3})})


def test_a_shard_failing_everywhere_is_the_clients_error():
    error = {"code": "x"}
    verdict = judge({"a": frozenset({1}), "b": frozenset({1})}, {"a": error, "b": error}, absent=())
    assert verdict is not None
    assert (verdict.error, verdict.failed_shards, verdict.stale) == (error, frozenset({1}), {})


def test_nobody_left_means_waiting_and_nobody_concerned_means_done():
    assert judge({"a": frozenset({1})}, {}, absent={"a"}) is None
    assert judge({}, {}, absent=()) == Verdict()


def test_touched_keeps_only_what_is_held():
    members = {"a": frozenset({1, 2}), "b": frozenset({3})}
    assert touched(members, (2, 5)) == {"a": frozenset({2})}


def test_documents_without_vectors_are_counted_over_all_nodes() -> None:
    def error(rest):
        message = f"Index `m`: no vectors provided for document `{rest}\n- Note: x"
        return {"code": "vector_embedding_error", "message": message}

    two, one = " and at least 2 other document(s)", " and at least 1 other document(s)"
    concerned = {"a": frozenset({0, 1}), "b": frozenset({1, 2}), "c": frozenset({2, 0})}
    outcomes = {
        "a": error("1`" + two),
        "b": error("4`"),
        "c": error("1`" + one),
    }
    found = judge(concerned, outcomes, absent=())
    assert found.error == error("1`" + two)
    found = judge(concerned, {**outcomes, "b": None}, absent=())
    assert found.error == error("1`" + one)
    refused = {"code": "vector_embedding_error", "message": "something else"}
    assert judge(concerned, {**outcomes, "a": refused}, absent=()).error == refused
