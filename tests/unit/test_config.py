"""The configuration: order of sources, refusals with their path, relations, secrets."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from miroir.config import Config, ConfigError, Secret, check, from_tree, load, to_tree

TWO_NODES = [{"id": "a", "address": "http://h1:7700"}, {"id": "b", "address": "http://h2:7700"}]


def test_defaults_are_valid_and_survive_yaml() -> None:
    config = Config()
    check(config)
    assert from_tree(yaml.safe_load(yaml.safe_dump(to_tree(config)))) == config


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("server: {port: 1, host: file}\nshards: 8\n")
    environ = {"MIROIR__SERVER__PORT": "2", "MIROIR__SERVER__HOST": "environment", "HOME": "x"}
    config = load(file, environ, {"server.port": 3, "logging.level": None})
    assert (config.server.port, config.server.host, config.shards) == (3, "environment", 8)


def test_environment_values_take_the_type_of_their_field() -> None:
    environ = {
        "MIROIR__TASK_STORE__PATH": "123",
        "MIROIR__WRITES__LAG_AFTER_S": "2.5",
        "MIROIR__NODES": "[{id: n, address: 'http://h:1'}]",
        "MIROIR_MASTER_KEY": "1234",
    }
    config = load(None, environ)
    assert config.task_store.path == "123"
    assert config.writes.lag_after_s == 2.5
    assert config.nodes[0].id == "n"
    assert config.master_key == Secret("1234")


def test_secrets_never_print() -> None:
    config = load(None, {"MIROIR_MASTER_KEY": "hush-hush", "MIROIR_ADMIN_API_KEY": "hush-hush"})
    assert "hush" not in repr(config) + str(config) + str(to_tree(config)) + f"{config.master_key}"
    assert to_tree(config, reveal=True)["master_key"] == "hush-hush"


@pytest.mark.parametrize(
    ("tree", "path", "words"),
    [
        ({"helth": {}}, "helth", "did you mean `health`"),
        ({"health": {"interval_s": 1}}, "health.interval_s", "did you mean `interval_ms`"),
        ({"nodes": [{"id": "a", "adress": "http://h:1"}]}, "nodes[0].adress", "did you mean `address`"),
        ({"health": {"interval_ms": "soon"}}, "health.interval_ms", "Expected `int`"),
        ({"server": {"port": 70000}}, "server.port", "<= 65535"),
        ({"nodes": []}, "nodes", "length >= 1"),
        ({"nodes": [*TWO_NODES, TWO_NODES[0]]}, "nodes[2].id", "used twice"),
        ({"nodes": [TWO_NODES[0], {**TWO_NODES[0], "id": "c"}]}, "nodes[1].address", "used twice"),
        ({"nodes": TWO_NODES, "replication_factor": 3}, "replication_factor", "group 0 has 2"),
        ({"nodes": TWO_NODES, "replica_groups": 2}, "replication_factor", "group 1 has 0"),
        ({"nodes": [{**TWO_NODES[0], "replica_group": 1}]}, "nodes[0].replica_group", "no group"),
        ({"health": {"timeout_ms": 1000}}, "health.timeout_ms", "below health.interval_ms"),
        ({"writes": {"min_in_sync_replicas": 2}}, "writes.min_in_sync_replicas", "1 replicas"),
        ({"master_key": ""}, "master_key", "non-empty"),
        ({"task_store": {"backend": "postgres"}}, "task_store.backend", "Invalid enum value"),
    ],
)
def test_wrong_configuration_is_refused_with_its_path(tree: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        from_tree(tree)
    assert refusal.value.path == path
    assert words in refusal.value.problem


@given(st.text())
def test_any_text_in_a_file_gives_a_configuration_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.mktemp("config") / "c.yaml"
    file.write_text(text, encoding="utf-8", errors="replace")
    with suppress(ConfigError):  # any other exception fails the test
        assert isinstance(load(file, {}), Config)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml", {})
