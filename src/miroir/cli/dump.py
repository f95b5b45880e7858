"""`miroir dump create` and `miroir dump import`: a whole server as one file, and such a file into a running cluster.

A dump of any Meilisearch from 1.0 on can be imported; it is read as a stream and sent through the API in bounded
batches, so neither its size nor a search going on meanwhile matters. What the API cannot set is made anew: the times of
indexes and keys.
"""

from __future__ import annotations

import tarfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from miroir.cli.client import CallError, Client
from miroir.cli.cluster_dir import ClusterDir, ClusterDirError
from miroir.errors import MiroirError
from miroir.meili import dump_format

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
            members = {member.name.removeprefix("./"): member for member in archive.getmembers()}
            dump_format.check_metadata(_read(archive, members, dump_format.METADATA))
            _import_features(client, _read(archive, members, dump_format.FEATURES))
            counts = {}
            for uid in dump_format.index_uids(members):
                counts[uid] = _import_index(client, archive, members, uid, console)
            _import_keys(client, _read(archive, members, dump_format.KEYS))
            _import_webhooks(client, _read(archive, members, dump_format.WEBHOOKS))
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


_Members = dict[str, tarfile.TarInfo]


def _open(archive: tarfile.TarFile, members: _Members, name: str) -> IO[bytes] | None:
    member = members.get(name)
    return None if member is None else archive.extractfile(member)


def _read(archive: tarfile.TarFile, members: _Members, name: str) -> bytes:
    found = _open(archive, members, name)
    return b"" if found is None else found.read()


def _import_features(client: Client, body: bytes) -> None:
    """Only what the server knows, and only what is on."""
    known = client.ask("GET", "/experimental-features")
    wanted = {
        name: True for name, is_on in orjson.loads(body or b"{}").items() if is_on is True and name in known
    }
    if wanted:
        client.ask("PATCH", "/experimental-features", wanted)


def _import_keys(client: Client, body: bytes) -> None:
    """Keys that are there stay as they are; one that has expired cannot be made again."""
    now_ns = time.time_ns()
    for key in dump_format.read_keys(body, now_ns):
        if key.expires_at is not None and key.expires_at <= now_ns:
            continue
        status, answer = client.call("POST", "/keys", dump_format.key_request(key))
        if not 200 <= status < 300 and answer.get("code") != "api_key_already_exists":
            raise CallError(f"key {key.uid}: {answer.get('message')}")


def _import_webhooks(client: Client, body: bytes) -> None:
    there = {hook["url"] for hook in client.ask("GET", "/webhooks")["results"]}
    for hook in (orjson.loads(body or b"{}").get("webhooks") or {}).values():
        if hook["url"] not in there:
            client.ask("POST", "/webhooks", {"url": hook["url"], "headers": hook.get("headers") or {}})


def _import_index(
    client: Client, archive: tarfile.TarFile, members: _Members, uid: str, console: Console
) -> int:
    about = orjson.loads(_read(archive, members, f"indexes/{uid}/metadata.json"))
    settings = orjson.loads(_read(archive, members, f"indexes/{uid}/settings.json") or b"{}")
    if client.call("GET", f"/indexes/{uid}")[0] == 404:
        created = client.ask("POST", "/indexes", {"uid": uid, "primaryKey": about["primaryKey"]})
        client.wait_task(created["taskUid"], timeout_s=_TASK_S)
    shown = {
        name: value
        for name, value in settings.items()
        if value is not None and name not in dump_format.LEFT_OUT
    }
    changed = client.ask("PATCH", f"/indexes/{uid}/settings", shown)
    client.wait_task(changed["taskUid"], timeout_s=_TASK_S)
    name = dump_format.documents_file(uid)
    source = _open(archive, members, name)
    if source is None:
        return 0
    query = urlencode({"primaryKey": about["primaryKey"]}) if about["primaryKey"] else ""
    with _progress(console) as progress:
        bar = progress.add_task(uid, total=members[name].size)
        return _send(
            client, f"/indexes/{uid}/documents?{query}", source, lambda size: progress.advance(bar, size)
        )


def _send(client: Client, path: str, lines: Iterable[bytes], advance: Any) -> int:
    """Documents in bounded batches, a bounded number of them under way; returns how many there were."""
    waiting: deque[tuple[int, int]] = deque()
    count = 0
    for batch in batches(lines):
        accepted = client.ask("POST", path, b"".join(batch), content_type="application/x-ndjson")
        waiting.append((accepted["taskUid"], sum(map(len, batch))))
        count += len(batch)
        if len(waiting) >= WINDOW:
            _wait(client, waiting, advance)
    while waiting:
        _wait(client, waiting, advance)
    return count


def _wait(client: Client, waiting: deque[tuple[int, int]], advance: Any) -> None:
    task, size = waiting.popleft()
    client.wait_task(task, timeout_s=_TASK_S)
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
