"""Metrics: names, units, families."""

from miroir.telemetry.metrics import Metrics


def test_every_instrument_has_the_prefix_and_a_text() -> None:
    for name, kind, text, _ in Metrics().instruments():
        assert name.startswith("miroir_")
        assert text
        assert name.endswith("_total") == (kind == "counter"), name


def test_every_family_asked_for_is_there() -> None:
    names = " ".join(name for name, *_ in Metrics().instruments())
    for family in ("request", "node", "scatter", "lane", "tasks", "task", "placement", "shard", "oplog"):
        assert f"miroir_{family}" in names


def test_two_sets_of_instruments_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()
    one.scatter_retries_total.inc()
    assert b"miroir_scatter_retries_total 1.0" in one.render()
    assert b"miroir_scatter_retries_total 0.0" in other.render()


def test_labels_are_bounded_by_us() -> None:
    allowed = {
        "method",
        "route",
        "status",
        "reason",
        "node_id",
        "operation",
        "error_type",
        "kind",
        "phase",
        "to",
        "state",
        "version",
    }
    assert {label for *_, labels in Metrics().instruments() for label in labels} <= allowed
