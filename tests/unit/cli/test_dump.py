"""Importing a dump: what is sent, in which pieces, and what is refused."""

import io
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from miroir.cli import dump
from miroir.meili import dump_format
from miroir.meili.keys import Key

KEY = Key(
    uid="4d5e6f70-3333-4c44-8d55-000000000001",
    actions=("search",),
    indexes=("*",),
    created_at=1,
    updated_at=1,
)


class FakeClient:
    """Remembers what is asked; every task succeeds at once."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.answers: dict[str, Any] = {
            "GET /experimental-features": {"metrics": False, "containsFilter": False},
            "GET /webhooks": {"results": [{"url": "http://known/"}]},
        }

    def call(self, method: str, path: str, body: Any = None, **_: Any) -> tuple[int, Any]:
        self.calls.append((method, path, body))
        if method == "GET" and path.startswith("/indexes/"):
            return 404, {}
        return 200, self.answers.get(f"{method} {path}", {"taskUid": len(self.calls)})

    def ask(self, method: str, path: str, body: Any = None, **_: Any) -> Any:
        return self.call(method, path, body)[1]

    def wait_task(self, uid: int, **_: Any) -> dict[str, Any]:
        return {"uid": uid}


def written(path: Path, documents: bytes, version: str = "V6") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, body in (
            ("metadata.json", orjson.dumps({"dumpVersion": version})),
            ("experimental-features.json", b'{"metrics":true,"containsFilter":false,"future":true}'),
            ("keys.jsonl", dump_format.key_lines([KEY])),
            (
                "webhooks.json",
                b'{"webhooks":{"u":{"url":"http://known/"},"v":{"url":"http://new/","headers":{"a":"b"}}}}',
            ),
            ("indexes/m/metadata.json", b'{"uid":"m","primaryKey":"k"}'),
            ("indexes/m/settings.json", b'{"stopWords":["a"],"searchCutoffMs":null}'),
            ("indexes/m/documents.jsonl", documents),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return path


def test_everything_of_a_dump_is_sent(tmp_path: Path) -> None:
    client = FakeClient()
    lines = b"".join(b'{"k":%d}\n' % n for n in range(25_000))
    counts = dump.import_dump(client, written(tmp_path / "d.dump", lines), Console(quiet=True))  # type: ignore[arg-type]
    assert counts == {"m": 25_000}
    sent = [body for method, path, body in client.calls if path == "/indexes/m/documents?primaryKey=k"]
    assert b"".join(sent) == lines
    assert [body.count(b"\n") for body in sent] == [10_000, 10_000, 5_000]
    assert ("PATCH", "/experimental-features", {"metrics": True}) in client.calls
    assert ("PATCH", "/indexes/m/settings", {"stopWords": ["a"]}) in client.calls
    assert ("POST", "/webhooks", {"url": "http://new/", "headers": {"a": "b"}}) in client.calls
    assert [body["uid"] for _, path, body in client.calls if path == "/keys"] == [KEY.uid]


@pytest.mark.parametrize("version", ["V0", "V7"])
def test_another_version_sends_nothing(tmp_path: Path, version: str) -> None:
    client = FakeClient()
    with pytest.raises(dump.DumpFileError, match=version):
        dump.import_dump(client, written(tmp_path / "d.dump", b"", version), Console(quiet=True))  # type: ignore[arg-type]
    assert client.calls == []


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a tar")
    with pytest.raises(dump.DumpFileError, match="cannot import"):
        dump.import_dump(FakeClient(), tmp_path / "x", Console(quiet=True))  # type: ignore[arg-type]


def test_batches_are_bounded_and_lose_nothing() -> None:
    lines = [b"x" * size for size in (10, dump.BATCH_BYTES, 5, 5)]
    found = list(dump.batches(lines))
    assert [line for batch in found for line in batch] == lines
    assert [len(batch) for batch in found] == [1, 1, 2]
