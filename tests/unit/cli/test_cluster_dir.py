"""The folder of a local cluster: what is kept, and who may read it."""

from pathlib import Path

import pytest

from miroir.cli.cluster_dir import ClusterDir, ClusterDirError, Shape

SHAPE = Shape(
    nodes=3, replication_factor=2, replica_groups=1, shards=64, engine="embedded", node_ports=(1, 2, 3)
)


@pytest.fixture
def folder(tmp_path: Path) -> ClusterDir:
    made = ClusterDir(tmp_path / "a" / "b")
    made.prepare()
    return made


def test_keys_are_made_once_and_only_their_owner_may_read_them(folder: ClusterDir) -> None:
    first = folder.keys(None)
    assert folder.keys(None) == first
    assert len({first.master_key, first.node_key, first.admin_key}) == 3
    assert folder.path("keys.json").stat().st_mode & 0o777 == 0o600
    assert first.master_key not in repr(first)


def test_a_given_master_key_is_kept(folder: ClusterDir) -> None:
    before = folder.keys("mine")
    assert before.master_key == "mine"
    assert folder.keys(None) == before


def test_a_shape_is_read_back(folder: ClusterDir) -> None:
    assert folder.shape() is None
    folder.keep_shape(SHAPE)
    assert folder.shape() == SHAPE


@pytest.mark.parametrize("text", ["{", "[]", '{"nodes": 1}'])
def test_foreign_files_are_refused(folder: ClusterDir, text: str) -> None:
    folder.path("demo.json").write_text(text)
    with pytest.raises(ClusterDirError):
        folder.shape()


def test_a_file_is_replaced_with_narrow_rights_whatever_it_had(folder: ClusterDir) -> None:
    folder.path("x.json").write_text("old")
    folder.path("x.json").chmod(0o644)
    folder.write_json("x.json", {"a": 1})
    assert folder.path("x.json").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClusterDirError, match="cannot be used"):
        ClusterDir(tmp_path / "file").prepare()
