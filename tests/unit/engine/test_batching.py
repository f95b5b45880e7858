"""The fold from queued tasks to the next batch, as a table: letters of tasks -> what runs first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miroir.engine.batching import Batch, Plan, Queued, Verb, next_batch

# i: import that may create, n: import that may not, d: delete, f: delete by filter, c: clear, s: settings,
# S: settings that may not create, e: edit, C U D W: create, update, delete, swap an index
_VERBS = {
    "i": (Verb.IMPORT, True),
    "n": (Verb.IMPORT, False),
    "d": (Verb.DELETE, False),
    "f": (Verb.DELETE_BY_FILTER, False),
    "c": (Verb.CLEAR, False),
    "s": (Verb.SETTINGS, True),
    "S": (Verb.SETTINGS, False),
    "e": (Verb.EDIT, False),
    "C": (Verb.CREATE_INDEX, False),
    "U": (Verb.UPDATE_INDEX, False),
    "D": (Verb.DELETE_INDEX, False),
    "W": (Verb.SWAP, False),
}


def _batch(letters: str, *, exists: bool = True, key: str | None = None, keys: str = "") -> Batch:
    queued = [
        Queued(uid, *_VERBS[letter], keys[uid] if uid < len(keys) and keys[uid] != "." else None)
        for uid, letter in enumerate(letters)
    ]
    return next_batch(queued, index_exists=exists, primary_key=key, exhausted="all")


@pytest.mark.parametrize(
    ("letters", "plan", "count"),
    [
        ("i", Plan.OPERATIONS, 1),
        ("iiin", Plan.OPERATIONS, 4),
        ("iddi", Plan.OPERATIONS, 4),
        ("if", Plan.OPERATIONS, 1),
        ("fi", Plan.OPERATIONS, 2),
        ("fif", Plan.OPERATIONS, 2),
        ("dfdi", Plan.OPERATIONS, 4),
        ("di", Plan.OPERATIONS, 2),
        ("ddf", Plan.DELETIONS, 3),
        ("is", Plan.OPERATIONS, 1),
        ("ds", Plan.DELETIONS, 1),
        ("ic", Plan.CLEAR, 2),
        ("idcdf", Plan.CLEAR, 5),
        ("ci", Plan.CLEAR, 1),
        ("cs", Plan.CLEAR, 1),
        ("ss", Plan.SETTINGS, 2),
        ("si", Plan.SETTINGS, 1),
        ("sd", Plan.SETTINGS, 1),
        ("sc", Plan.CLEAR_AND_SETTINGS, 2),
        ("scsdc", Plan.CLEAR_AND_SETTINGS, 5),
        ("sci", Plan.CLEAR_AND_SETTINGS, 2),
        ("iD", Plan.DELETE_INDEX, 2),
        ("sccD", Plan.DELETE_INDEX, 4),
        ("cDi", Plan.DELETE_INDEX, 2),
        ("Di", Plan.DELETE_INDEX, 1),
        ("ie", Plan.OPERATIONS, 1),
        ("ei", Plan.EDIT, 1),
        ("CC", Plan.CREATE_INDEX, 1),
        ("Ui", Plan.UPDATE_INDEX, 1),
        ("Wi", Plan.SWAP, 1),
        ("iW", Plan.OPERATIONS, 1),
    ],
)
def test_tasks_that_run_together_in_an_existing_index(letters: str, plan: Plan, count: int) -> None:
    batch = _batch(letters)
    assert (batch.plan, batch.all_uids) == (plan, tuple(range(count)))


@pytest.mark.parametrize(
    ("letters", "count", "creates"),
    [
        ("in", 2, True),  # the first import makes the index, so rights no longer matter
        ("ni", 1, False),
        ("nn", 2, False),
        ("di", 1, False),
        ("dn", 2, False),
        ("fi", 2, False),
        ("Ss", 1, False),
        ("sS", 2, True),
        ("C", 1, True),
        ("D", 1, False),
        ("iD", 2, True),
    ],
)
def test_rights_to_create_decide_while_the_index_is_missing(letters: str, count: int, creates: bool) -> None:
    batch = _batch(letters, exists=False)
    assert (len(batch.all_uids), batch.creates_index) == (count, creates)


@pytest.mark.parametrize(
    ("letters", "index_key", "keys", "count"),
    [
        ("ii", None, "a.", 2),
        ("ii", None, ".a", 1),  # could interfere with guessing
        ("ii", None, "aa", 2),
        ("ii", None, "ab", 1),
        ("ii", "a", "b.", 1),  # fails alone, soon
        ("ii", "a", "ab", 1),
        ("iii", "a", "a.a", 3),
        ("fi", None, ".a", 2),
    ],
)
def test_primary_keys_that_differ_do_not_meet(
    letters: str, index_key: str | None, keys: str, count: int
) -> None:
    assert len(_batch(letters, key=index_key, keys=keys).all_uids) == count


@given(st.text("indfcsSeCUDW", min_size=1, max_size=12), st.booleans())
def test_a_batch_is_a_prefix_of_the_queue_and_says_why_it_ends(letters: str, exists: bool) -> None:
    batch = _batch(letters, exists=exists)
    assert batch.all_uids == tuple(range(len(batch.all_uids)))
    assert batch.all_uids
    assert batch.reason
    if len(batch.all_uids) < len(letters):
        assert batch.reason != "all"


@given(st.text("indfcsS", min_size=1, max_size=8))
def test_more_tasks_behind_never_shrink_a_batch(letters: str) -> None:
    sizes = [len(_batch(letters[:end]).all_uids) for end in range(1, len(letters) + 1)]
    assert sizes == sorted(sizes)
