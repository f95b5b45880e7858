"""Every route but the reads: one table, from the groups of this package."""

from __future__ import annotations

from collections.abc import Mapping

from miroir.api.backend import Handler
from miroir.api.backend_documents import document_handlers
from miroir.api.backend_indexes import index_handlers
from miroir.api.backend_resources import resource_handlers
from miroir.api.backend_service import service_handlers
from miroir.api.backend_settings import settings_handlers
from miroir.api.backend_tasks import task_handlers
from miroir.services.writes.writes import WritePath


def write_handlers(writes: WritePath, *, master_key: str | None) -> Mapping[str, Handler]:
    """Route name -> handler, for `OrchestratorBackend`. The master key makes the values of API keys."""
    return {
        **document_handlers(writes),
        **index_handlers(writes),
        **settings_handlers(writes),
        **task_handlers(writes),
        **resource_handlers(writes, master_key),
        **service_handlers(writes),
    }
