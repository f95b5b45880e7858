"""What the demo decides before it starts anything."""

from pathlib import Path

import pytest

from miroir.cli.cluster_dir import ClusterDir, ClusterDirError, Keys
from miroir.cli.demo import Wishes, configuration, decide_shape, find_meilisearch, node_programs
from miroir.config import ConfigError

KEYS = Keys("master", "node-secret", "admin")


def wishes(tmp_path: Path, **given: object) -> Wishes:
    return Wishes(data=tmp_path, port=17000, **given)  # type: ignore[arg-type]


def test_a_new_cluster_has_three_nodes_and_two_copies(tmp_path: Path) -> None:
    shape = decide_shape(wishes(tmp_path), None, None)
    assert (shape.nodes, shape.replication_factor, shape.replica_groups, shape.shards) == (3, 2, 1, 64)
    assert len(set(shape.node_ports)) == 3


def test_a_second_start_keeps_the_shape_and_refuses_another(tmp_path: Path) -> None:
    shape = decide_shape(wishes(tmp_path), None, None)
    assert decide_shape(wishes(tmp_path, nodes=3, engine="embedded"), shape, None) == shape
    with pytest.raises(ClusterDirError, match="nodes of the cluster"):
        decide_shape(wishes(tmp_path, nodes=4), shape, None)
    with pytest.raises(ClusterDirError, match="engine of the cluster"):
        decide_shape(wishes(tmp_path, engine="meilisearch"), shape, Path("meilisearch"))


def test_a_later_meilisearch_on_the_path_does_not_change_the_engine(tmp_path: Path) -> None:
    shape = decide_shape(wishes(tmp_path), None, None)
    assert decide_shape(wishes(tmp_path), shape, Path("meilisearch")).engine == "embedded"


def test_groups_share_the_nodes_evenly(tmp_path: Path) -> None:
    shape = decide_shape(wishes(tmp_path, nodes=4, replica_groups=2, replication_factor=2), None, None)
    config = configuration(ClusterDir(tmp_path), shape, KEYS, 17000)
    assert [node.replica_group for node in config.nodes] == [0, 0, 1, 1]


def test_more_copies_than_nodes_are_refused(tmp_path: Path) -> None:
    shape = decide_shape(wishes(tmp_path, nodes=3, replica_groups=2, replication_factor=2), None, None)
    with pytest.raises(ConfigError, match="replication_factor"):
        configuration(ClusterDir(tmp_path), shape, KEYS, 17000)


@pytest.mark.parametrize("binary", [None, Path("meilisearch")])
def test_no_command_line_holds_a_key(tmp_path: Path, binary: Path | None) -> None:
    folder = ClusterDir(tmp_path)
    programs = node_programs(folder, decide_shape(wishes(tmp_path), None, binary), KEYS, binary)
    assert len(programs) == 3
    for program in programs:
        assert not any("node-secret" in word for word in program.argv)
        assert ("100MiB" in program.argv) == (binary is not None)
    assert folder.path("node.key").stat().st_mode & 0o777 == 0o600


def test_the_engine_is_the_meilisearch_that_is_there(tmp_path: Path) -> None:
    binary = tmp_path / "meilisearch"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o700)
    on_path = {"PATH": str(tmp_path)}
    assert find_meilisearch(wishes(tmp_path), {"PATH": ""}) is None
    assert find_meilisearch(wishes(tmp_path), on_path) == binary.resolve()
    assert find_meilisearch(wishes(tmp_path, engine="embedded"), on_path) is None
    assert (
        find_meilisearch(wishes(tmp_path), {"PATH": "", "MIROIR_MEILISEARCH": str(binary)})
        == binary.resolve()
    )
    with pytest.raises(ClusterDirError, match="no meilisearch found"):
        find_meilisearch(wishes(tmp_path, engine="meilisearch"), {"PATH": ""})
    with pytest.raises(ClusterDirError, match="not a program"):
        find_meilisearch(wishes(tmp_path, meilisearch=tmp_path / "none"), on_path)
