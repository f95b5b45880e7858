"""Routes about the server itself, and clear refusals of what a cluster does not do."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.api.accepting import accepted_reply, idempotency_of, uid_of
from miroir.api.backend import Answer, Handler
from miroir.api.backend_indexes import visible_index
from miroir.core.writes.ops import OpKind
from miroir.meili import experimental
from miroir.meili.codes import ApiError
from miroir.meili.commands import Call
from miroir.meili.http import HttpReply
from miroir.meili.indexes import index_not_found
from miroir.meili.metrics_text import CONTENT_TYPE, exposition
from miroir.meili.reference import ABOUT
from miroir.meili.stats import index_stats_view, stats_view
from miroir.services.writes.writes import WritePath

_REFUSED = (
    "snapshots.create",
    "export",
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
    "logs.stream",
    "logs.stream_stop",
    "logs.stderr",
    "dsr.list",
    "dsr.clear",
    "dsr.get",
    "dsr.update",
    "dsr.delete",
    "render_template",
    "tasks.compact",
)


def service_handlers(writes: WritePath) -> Mapping[str, Handler]:
    """Route name -> handler."""

    async def root(_: Call) -> Answer:
        return 200, {"status": "Meilisearch is running"}

    async def health(_: Call) -> Answer:
        return 200, {"status": "available"}

    async def version(_: Call) -> Answer:
        return 200, ABOUT

    async def stats(call: Call) -> Answer:
        indexes = writes.cluster.snapshot().indexes
        found = await writes.stats.read([uid for uid in indexes if call.access.sees(uid)])
        return 200, stats_view(
            found.indexes,
            call.args,
            database_size=found.database_size,
            used_database_size=found.used_database_size,
            last_update=found.last_update,
        )

    async def index_stats(call: Call) -> Answer:
        uid = visible_index(writes, uid_of(call)).uid
        found = await writes.stats.read([uid])
        if uid not in found.indexes:  # it goes this very moment
            raise index_not_found(uid)
        return 200, index_stats_view(found.indexes[uid], call.args)

    async def features(_: Call) -> Answer:
        return 200, experimental.view(writes.registry.features)

    async def update_features(call: Call) -> Answer:
        await writes.registry.set_features(call.args)
        await writes.prober.send_features_to_all()
        return 200, experimental.view(writes.registry.features)

    async def metrics(_: Call) -> Answer:
        found = await writes.stats.read(list(writes.cluster.snapshot().indexes))
        page = exposition(
            documents={uid: index.documents for uid, index in found.indexes.items()},
            database_size=found.database_size,
            used_database_size=found.used_database_size,
            last_update_s=(found.last_update or 0) // 1_000_000_000,
            tasks=writes.tasks.all(),
        )
        return HttpReply(200, page, CONTENT_TYPE)

    async def dump(call: Call) -> Answer:
        if OpKind.DUMP not in writes.barriers.works:
            return await refuse(call)
        return accepted_reply(await writes.ingest.dump(idempotency=idempotency_of(call)))

    async def refuse(call: Call) -> Answer:
        raise ApiError("miroir_not_supported", f"`{call.request.path}` is not available through Miroir.")

    return {
        "root": root,
        "health": health,
        "version": version,
        "stats": stats,
        "index.stats": index_stats,
        "experimental.get": features,
        "experimental.update": update_features,
        "metrics": metrics,
        "dumps.create": dump,
        **dict.fromkeys(_REFUSED, refuse),
    }
