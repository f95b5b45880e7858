"""`miroir dump create` and `miroir dump import`: a whole server as one file, and such a file into a running cluster.

A dump of any Meilisearch can be imported; it is read as a stream and sent through the API in bounded
batches, so neither its size nor a search going on meanwhile matters. What the API cannot set is made anew: the times of
indexes and keys, and the history of tasks. What waited when the dump was made is asked for again.
"""

from __future__ import annotations

import tarfile
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from miroir.cli.client import CallError, Client
from miroir.cli.cluster_dir import ClusterDir, ClusterDirError
from miroir.errors import MiroirError
from miroir.meili import dump_format
from miroir.meili.dump_archive import size_of, source_of
from miroir.meili.dump_contents import DumpSource, IndexDump, PendingTask, read_dump
from miroir.meili.keys import Key

BATCH_BYTES = 8 << 20
BATCH_DOCUMENTS = 10_000
#: batches accepted but not finished
WINDOW = 8
_TASK_S = 3600.0


class DumpFileError(MiroirError):
    """The file is no dump that can be read."""


def run_create(url: str | None, key: str | None, data: Path) -> int:
    """Exit status: 0 when the dump is written, 1 when not."""
    try:
        client = _client(url, key, data)
        task = client.wait_task(client.ask("POST", "/dumps")["taskUid"], timeout_s=_TASK_S)
    except (CallError, ClusterDirError) as error:
        click.echo(str(error), err=True)
        return 1
    click.echo(f"{task['details']['dumpUid']}.dump")
    return 0


def run_import(file: Path, url: str | None, key: str | None, data: Path) -> int:
    """Exit status: 0 when everything is in, 1 when something failed (running it again is safe)."""
    try:
        client = _client(url, key, data)
        counts = import_dump(client, file, Console(stderr=True))
    except (CallError, ClusterDirError, DumpFileError) as error:
        click.echo(str(error), err=True)
        return 1
    for uid, count in counts.items():
        click.echo(f"{uid}: {count} documents")
    return 0


def import_dump(client: Client, file: Path, console: Console) -> dict[str, int]:
    """Send everything in a dump to a server; returns documents by index.

    Raises:
        DumpFileError: not a dump, or of another version; nothing was sent when the head of it is wrong.
        CallError: the server refused something.
    """
    try:
        with tarfile.open(file, "r:*") as archive:
            source = source_of(archive, time.time_ns(), lambda: str(uuid.uuid4()))
            contents = read_dump(source)
            _import_features(client, contents.features)
            counts = {}
            for index in contents.indexes:
                size = size_of(archive, index.documents)
                counts[index.uid] = _import_index(client, source, index, size, console)
            _import_keys(client, contents.keys)
            _import_webhooks(client, contents.webhooks)
            for pending in contents.pending:
                _repeat(client, source, pending)
    except (OSError, tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise DumpFileError(f"cannot import {file}: {error}") from error
    return counts


def _client(url: str | None, key: str | None, data: Path) -> Client:
    if url is not None:
        return Client(url, key)
    folder = ClusterDir(data)
    cluster = folder.cluster()
    if cluster is None:
        raise ClusterDirError(f"no cluster in {data}: give --url, or the folder with --data")
    return Client(cluster["orchestrator"]["url"], folder.keys(key).master_key)


def _import_features(client: Client, features: dict[str, Any]) -> None:
    """Only what the server knows, and only what is on."""
    known = client.ask("GET", "/experimental-features")
    wanted = {name: True for name, is_on in features.items() if is_on is True and name in known}
    if wanted:
        client.ask("PATCH", "/experimental-features", wanted)


def _import_keys(client: Client, keys: Iterable[Key]) -> None:
    """Keys that are there stay as they are; one that has expired cannot be made again."""
    now_ns = time.time_ns()
    for key in keys:
        if key.expires_at is not None and key.expires_at <= now_ns:
            continue
        status, answer = client.call("POST", "/keys", dump_format.key_request(key))
        if not 200 <= status < 300 and answer.get("code") != "api_key_already_exists":
            raise CallError(f"key {key.uid}: {answer.get('message')}")


def _import_webhooks(client: Client, hooks: dict[str, Any]) -> None:
    there = {hook["url"] for hook in client.ask("GET", "/webhooks")["results"]}
    for hook in hooks.values():
        if hook["url"] not in there:
            client.ask("POST", "/webhooks", {"url": hook["url"], "headers": hook.get("headers") or {}})


def _import_index(client: Client, source: DumpSource, index: IndexDump, size: int, console: Console) -> int:
    uid = index.uid
    if client.call("GET", f"/indexes/{uid}")[0] == 404:
        created = client.ask("POST", "/indexes", {"uid": uid, "primaryKey": index.primary_key})
        client.wait_task(created["taskUid"], timeout_s=_TASK_S)
    shown = {name: value for name, value in index.settings.items() if value is not None}
    changed = client.ask("PATCH", f"/indexes/{uid}/settings", shown)
    client.wait_task(changed["taskUid"], timeout_s=_TASK_S)
    if index.documents not in source.names:
        return 0
    with _progress(console) as progress:
        bar = progress.add_task(uid, total=size)
        return _send(
            client,
            "POST",
            _documents_path(uid, index.primary_key),
            source.lines(index.documents),
            lambda size: progress.advance(bar, size),
        )


def _documents_path(uid: str, primary_key: str | None) -> str:
    query = urlencode({"primaryKey": primary_key}) if primary_key else ""
    return f"/indexes/{uid}/documents?{query}"


def _repeat(client: Client, source: DumpSource, pending: PendingTask) -> None:
    """What waited when the dump was made is asked for again; that a task of it fails is no failure of the import."""
    uid, payload = pending.index_uid, pending.payload
    match pending.kind:
        case "add":
            method = "PUT" if payload["merge"] else "POST"
            lines = source.lines(pending.file or "")
            if pending.is_array:
                documents = orjson.loads(b"".join(lines) or b"[]")
                lines = [orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents]
            _send(client, method, _documents_path(uid, payload["primary_key"]), lines, None)
        case "delete":
            client.ask("POST", f"/indexes/{uid}/documents/delete-batch", payload["ids"])
        case "clear":
            client.ask("DELETE", f"/indexes/{uid}/documents")
        case "settings":
            settings = payload["settings"]
            shown = {name: settings[name] for name in settings if name not in dump_format.LEFT_OUT}
            client.ask("PATCH", f"/indexes/{uid}/settings", shown)
        case "create":
            client.ask("POST", "/indexes", {"uid": uid, "primaryKey": payload["primary_key"]})
        case "update":
            changed = {"primaryKey": payload["primary_key"], "uid": payload["new_uid"]}
            client.ask("PATCH", f"/indexes/{uid}", {k: v for k, v in changed.items() if v is not None})
        case "drop":
            client.ask("DELETE", f"/indexes/{uid}")


def _send(client: Client, method: str, path: str, lines: Iterable[bytes], advance: Any) -> int:
    """Documents in bounded batches, a bounded number of them under way; returns how many there were.

    Without `advance` a task may fail.
    """
    waiting: deque[tuple[int, int]] = deque()
    count = 0
    for batch in batches(lines):
        accepted = client.ask(method, path, b"".join(batch), content_type="application/x-ndjson")
        waiting.append((accepted["taskUid"], sum(map(len, batch))))
        count += len(batch)
        if len(waiting) >= WINDOW:
            _wait(client, waiting, advance)
    while waiting:
        _wait(client, waiting, advance)
    return count


def _wait(client: Client, waiting: deque[tuple[int, int]], advance: Any) -> None:
    task, size = waiting.popleft()
    try:
        client.wait_task(task, timeout_s=_TASK_S)
    except CallError:
        if advance is not None:
            raise
    if advance is not None:
        advance(size)


def batches(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Neighbouring lines up to `BATCH_BYTES` and `BATCH_DOCUMENTS`; one longer line goes alone."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (size + len(line) > BATCH_BYTES or len(batch) >= BATCH_DOCUMENTS):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
