"""Routes about the server itself: health, version, statistics, features, dumps, metrics."""

from __future__ import annotations

from miroir.engine.catalog import LiveIndex
from miroir.engine.jobs import Simple
from miroir.engine.routing import ACCEPTED, Answer, Handler
from miroir.engine.state import State
from miroir.meili import experimental
from miroir.meili.codes import ApiError
from miroir.meili.commands import Call
from miroir.meili.http import HttpReply
from miroir.meili.reference import ABOUT
from miroir.meili.stats import IndexStats, in_pages, index_stats_view, stats_view


def _root(_: State, __: Call) -> Answer:
    return 200, {"status": "Meilisearch is running"}


def _health(_: State, __: Call) -> Answer:
    return 200, {"status": "available"}


def _version(_: State, __: Call) -> Answer:
    return 200, ABOUT


def _numbers(state: State, live: LiveIndex) -> IndexStats:
    size = in_pages(live.raw_size)
    return IndexStats(
        documents=len(live.index.documents),
        raw_size=size,
        is_indexing=state.is_indexing(live.uid),
        embeddings=live.index.vectors.embedding_count,
        embedded_documents=live.index.vectors.embedded_document_count,
        field_distribution=live.field_counts,
        internal_sizes={"documents": size},
    )


def _stats(state: State, call: Call) -> Answer:
    seen = {uid: live for uid, live in state.scheduler.catalog.items() if call.access.sees(uid)}
    size = state.store.size_bytes()
    return 200, stats_view(
        {uid: _numbers(state, live) for uid, live in seen.items()},
        call.args,
        database_size=size,
        used_database_size=size,
        last_update=max((live.updated_at for live in seen.values()), default=None),
    )


def _index_stats(state: State, call: Call) -> Answer:
    return 200, index_stats_view(_numbers(state, state.index(call.index_uid)), call.args)


def _features(state: State, _: Call) -> Answer:
    return 200, experimental.view(state.features)


def _update_features(state: State, call: Call) -> Answer:
    state.set_features(call.args)
    return 200, experimental.view(state.features)


def _metrics(state: State, _: Call) -> HttpReply:
    lines = ["# HELP meilisearch_index_docs_count Meilisearch Index Docs Count"]
    lines.append("# TYPE meilisearch_index_docs_count gauge")
    lines += [
        f'meilisearch_index_docs_count{{index="{uid}"}} {len(live.index.documents)}'
        for uid, live in sorted(state.scheduler.catalog.items())
    ]
    lines.append("# HELP meilisearch_db_size_bytes Meilisearch DB Size In Bytes")
    lines.append("# TYPE meilisearch_db_size_bytes gauge")
    lines.append(f"meilisearch_db_size_bytes {state.store.size_bytes()}")
    return HttpReply(200, ("\n".join(lines) + "\n").encode(), "text/plain; version=0.0.4")


def _dump(state: State, _: Call) -> Answer:
    return ACCEPTED, state.enqueue("dumpCreation", Simple(), details={"dumpUid": None})


def _snapshot(state: State, _: Call) -> Answer:
    return ACCEPTED, state.enqueue("snapshotCreation", Simple())


def _not_served(_: State, call: Call) -> Answer:
    raise ApiError("bad_request", f"The embedded engine does not serve `{call.request.path}`.")


ROUTES: dict[str, Handler] = {
    "root": _root,
    "health": _health,
    "version": _version,
    "stats": _stats,
    "index.stats": _index_stats,
    "experimental.get": _features,
    "experimental.update": _update_features,
    "metrics": _metrics,
    "dumps.create": _dump,
    "snapshots.create": _snapshot,
    **dict.fromkeys(
        (
            "export",
            "logs.stream",
            "logs.stream_stop",
            "logs.stderr",
            "network.get",
            "network.update",
            "network.control",
            "chats.list",
            "chats.get",
            "chats.delete",
            "chats.settings.get",
            "chats.settings.update",
            "chats.settings.reset",
            "chats.completions",
            "dsr.list",
            "dsr.clear",
            "dsr.get",
            "dsr.update",
            "dsr.delete",
            "render_template",
            "tasks.compact",
        ),
        _not_served,
    ),
}
