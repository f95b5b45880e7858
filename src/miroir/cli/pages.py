"""Pages made from the code: configuration reference, example file, JSON Schema, list of metrics.

`./dev docs` writes them; a test fails when what is committed differs.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import msgspec
import yaml

from miroir.config import (
    SECRET_VARIABLES,
    Config,
    ConfigError,
    Secret,
    json_schema,
    load,
    section_fields,
    to_tree,
)
from miroir.telemetry.metrics import Metrics

_MADE = "made by `./dev docs`; do not edit"


def config_form(form: str, file: Path | None, environ: Mapping[str, str]) -> str:
    """What `miroir config FORM` prints."""
    if form == "check":
        try:
            return yaml.safe_dump(_plain(to_tree(load(file, environ))), sort_keys=False)
        except ConfigError as error:
            raise click.ClickException(str(error)) from error
    return {"example": example, "schema": schema, "reference": reference}[form]()


def pages() -> dict[str, str]:
    """Path below docs/ -> text."""
    return {
        "configuration.md": reference(),
        "config.example.yaml": example(),
        "config.schema.json": schema(),
        "metrics.md": metrics(),
    }


def schema() -> str:
    """JSON Schema of the configuration file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def example() -> str:
    """A file with every key at its default, each with its sentence; secrets as comments."""
    lines = [f"# Every key at its default ({_MADE})."]
    lines += list(_example_lines(Config, to_tree(Config()), ""))
    return "\n".join(lines) + "\n"


def _example_lines(section: type[Any], values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, kind in section_fields(section).items():
        yield f"{indent}# {_sentence(section, name)}"
        if kind is Secret:
            yield f"{indent}# {name}: ..."
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield f"{indent}{name}:"
            yield from _example_lines(kind, values[name], indent + "  ")
        else:
            text = yaml.safe_dump({name: _plain(values[name])}, sort_keys=False).rstrip()
            yield from (indent + line for line in text.splitlines())


def reference() -> str:
    """The reference page."""
    lines = [
        "# Configuration",
        "",
        f"<!-- {_MADE} -->",
        "",
        "One YAML file (`miroir serve --config FILE`), below the environment, below flags. A key `a.b` is",
        "`MIROIR__A__B` in the environment; lists are given as YAML there. Unknown keys are refused with their path.",
        "`miroir config check --config FILE` prints what is in force; `miroir config example` a file to start from.",
        "",
        "Secrets have names of their own in the environment: "
        + ", ".join(f"`{name}`" for name in SECRET_VARIABLES)
        + ". They are never printed.",
        "",
        "| key | type | default | what it is |",
        "|---|---|---|---|",
    ]
    lines += list(_reference_rows(Config, to_tree(Config()), ""))
    return "\n".join(lines) + "\n"


def _reference_rows(section: type[Any], values: Mapping[str, Any] | None, prefix: str) -> Iterator[str]:
    for name, kind in section_fields(section).items():
        value = values.get(name) if values else None
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _reference_rows(kind, value, f"{prefix}{name}.")
            continue
        default = "" if values is None or kind is Secret else f"`{json.dumps(_plain(value))}`"
        yield f"| `{prefix}{name}` | {_kind(kind)} | {default} | {_sentence(section, name)} |"
        if get_origin(kind) is tuple:
            yield from _reference_rows(get_args(kind)[0], None, f"{prefix}{name}[].")


def metrics() -> str:
    """The list of metrics."""
    lines = [
        "# Metrics",
        "",
        f"<!-- {_MADE} -->",
        "",
        "`GET /_miroir/metrics`, with the admin key, in Prometheus' text format.",
        "",
        "| name | type | labels | what it is |",
        "|---|---|---|---|",
    ]
    for name, kind, text, labels in Metrics().instruments():
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |")
    return "\n".join(lines) + "\n"


def _sentence(section: type[Any], name: str) -> str:
    hint = typing.get_type_hints(section, include_extras=True)[name]
    return str(next(meta.description for meta in hint.__metadata__ if isinstance(meta, msgspec.Meta)))


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "list"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Secret: "secret"}
    return names[kind]


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML and JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def write(folder: Path) -> None:
    """Write every page."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
