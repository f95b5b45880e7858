"""Numbers, rows and counts of resolved ops, against a plain model of one Meilisearch's internal ids."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from miroir.core.hashing import shard_of
from miroir.core.reserved import SEQ_FIELD, SHARD_FIELD, decode_seq, decode_shard, encode_seq
from miroir.core.writes.rendering import in_sequence, render_documents, seq_mark, split_ids
from miroir.core.writes.sequencing import BookDelta, IndexBook, sequence_add, sequence_delete

SHARDS = 8
ids = st.lists(st.integers(0, 12).map(str), max_size=8)
writes = st.tuples(st.just("add"), ids, st.booleans(), st.booleans())
deletes = st.tuples(st.just("delete"), ids, st.just(False), st.just(False))


def names_of(document_id: str, position: int) -> list[str]:
    return ["id", f"f{(int(document_id) + position) % 3}"]


def model_add(held, document_ids, merge, skip):
    """The same by the words of the reference: holes below the maximum, ascending, then above it."""
    numbers = {seq for seq, _ in held.values()}
    top = max(numbers, default=-1)
    free = [n for n in range(top) if n not in numbers]
    seqs = []
    for position, document_id in enumerate(document_ids):
        names = set(names_of(document_id, position))
        if document_id in held:
            seq, old = held[document_id]
            held[document_id] = (seq, old | names if merge else names)
        elif skip:
            seqs.append(-1)
            continue
        else:
            if free:
                seq = free.pop(0)
            else:
                top += 1
                seq = top
            held[document_id] = (seq, names)
        seqs.append(seq)
    return seqs


@given(st.lists(st.one_of(writes, deletes), max_size=12))
def test_any_history_gives_the_numbers_and_counts_of_one_node(history):
    book, rows, held = IndexBook(), {}, {}
    for kind, document_ids, merge, skip in history:
        known = {i: rows[i] for i in document_ids if i in rows}
        if kind == "add":
            documents = [dict.fromkeys(names_of(i, n), 0) for n, i in enumerate(document_ids)]
            added = sequence_add(
                documents,
                document_ids,
                known,
                book,
                shard_count=SHARDS,
                merge=merge,
                skip_creation=skip,
                field_order=(),
            )
            assert added.seqs == model_add(held, document_ids, merge, skip)
            assert added.distinct_count == len(set(document_ids))
            assert added.shards == tuple(
                sorted({shard_of(i, SHARDS) for i, s in zip(document_ids, added.seqs, strict=True) if s >= 0})
            )
            sizes = book.size_after(added.delta), book.distribution_after(added.delta)
            rows.update(added.rows)
            book.apply(added.delta)
        else:
            deleted = sequence_delete(document_ids, known, shard_count=SHARDS)
            assert deleted.ids == [i for i in dict.fromkeys(document_ids) if i in held]
            sizes = book.size_after(deleted.delta), book.distribution_after(deleted.delta)
            book.apply(deleted.delta)
            for i in deleted.ids:
                del rows[i], held[i]
        assert {i: r.seq for i, r in rows.items()} == {i: seq for i, (seq, _) in held.items()}
        counts: dict[str, int] = {}
        for _, names in held.values():
            for name in names:
                counts[name] = counts.get(name, 0) + 1
        assert sizes == (len(held), dict(sorted(counts.items())))


def test_a_cleared_book_starts_from_zero():
    book = IndexBook()
    book.insert_all([(5, book.intern(("id",)))])
    cleared = BookDelta(cleared=True)
    assert (book.size_after(cleared), book.distribution_after(cleared)) == (0, {})
    book.apply(cleared)
    assert next(book.free_numbers()) == 0


@given(st.lists(st.integers(-50, 50), max_size=20, unique=True))
def test_rendering_puts_every_written_document_in_its_shard_marked(numbers):
    documents = [{"id": n, "t": "x"} for n in numbers]
    texts = [str(n) for n in numbers]
    seqs = [n if n % 5 else -1 for n in range(len(numbers))]
    import orjson

    lines = render_documents(documents, texts, seqs, SHARDS)
    seen = {}
    for shard, parts in lines.items():
        for line in parts:
            document = orjson.loads(line)
            assert line.endswith(b"\n")
            assert decode_shard(document.pop(SHARD_FIELD)) == shard == shard_of(str(document["id"]), SHARDS)
            seen[decode_seq(document.pop(SEQ_FIELD))] = document
    assert seen == {seq: d for seq, d in zip(seqs, documents, strict=True) if seq >= 0}


@given(st.integers(0, 14**9 - 1))
def test_cached_marks_are_the_marks(seq):
    assert seq_mark(seq) == encode_seq(seq)


@given(st.lists(st.text("abc123-_", min_size=1, max_size=5)))
def test_split_ids_loses_nothing_and_keeps_order(texts):
    parts = split_ids(texts, SHARDS)
    assert sorted(i for part in parts.values() for i in part) == sorted(texts)
    for shard, part in parts.items():
        assert part == [i for i in texts if shard_of(i, SHARDS) == shard]


def test_lines_of_several_shards_go_in_the_order_of_their_numbers() -> None:
    documents = [{"id": number, "n": place} for place, number in enumerate([5, 3, 9, 1, 3])]
    lines = render_documents(documents, ["5", "3", "9", "1", "3"], [40, 20000, 41, 7, 20000], 8)
    shuffled = [line for shard in sorted(lines) for line in lines[shard]]
    assert [orjson.loads(line)["n"] for line in in_sequence(shuffled)] == [3, 0, 2, 1, 4]
