"""What the pages say is what the code does."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from miroir.cli import pages, sample
from miroir.cli.demo import EXAMPLES
from miroir.cli.main import main
from miroir.config import Config, from_tree

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(pages.pages()))
def test_generated_pages_equal_the_code(name: str) -> None:
    """Mend with `./dev docs`."""
    assert text_of(f"docs/{name}") == pages.pages()[name]


def test_the_example_configuration_is_the_default() -> None:
    assert from_tree(yaml.safe_load(pages.example())) == Config()


def test_every_section_and_key_is_in_the_schema() -> None:
    schema = json.loads(pages.schema())
    assert set(schema["$defs"]["Config"]["properties"]) == set(yaml.safe_load(pages.example())) | {
        "master_key",
        "node_master_key",
        "admin_api_key",
    }
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def commands() -> list[tuple[str, str]]:
    """Every `miroir ...` and `./dev ...` line of a code block or code span."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        spans = re.findall(r"^(?:\$ )?((?:\.venv/bin/)?miroir \w[^\n]*|\./dev \w[^\n]*)$", text, re.M)
        spans += re.findall(r"`((?:\.venv/bin/)?miroir \w[^`\n]*|\./dev \w[^`\n]*)`", text)
        found += [(page.name, span.partition("#")[0].strip()) for span in spans]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_that_pages_mention_exist(page: str, line: str) -> None:
    program, word, *rest = shlex.split(line.replace("[", "").replace("]", ""))
    if program == "./dev":
        assert re.search(rf"^{word}\)", text_of("dev"), re.M), line
        word = word if word in ("demo", "bench") else "test"
        if word == "test":
            return
    command = main.commands.get(word)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("--"):
        command = command.commands.get(rest.pop(0))
    assert command is not None, line
    known = {option for parameter in command.params for option in parameter.opts}
    assert {one for one in rest if one.startswith("--")} <= known, line


def every_command(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield name, command
        if isinstance(command, click.Group):
            yield from every_command(command)


def test_every_command_and_option_has_a_help_text() -> None:
    for name, command in every_command(main):
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name not in ("replication_factor", "engine"):
                assert parameter.help, (name, parameter.name)


def test_the_readme_shows_the_demos_curl_lines() -> None:
    """The three requests worth trying are the same on the screen and on the page, and ask for what is there."""
    indexes = sample.indexes()
    for path, body in EXAMPLES:
        assert body in text_of("README.md")
        question = json.loads(body)
        settings = indexes[path.split("/")[2]]["settings"]
        assert set(question.get("facets", [])) <= set(settings["filterableAttributes"])


def test_sample_data_is_what_its_page_says() -> None:
    page = text_of("src/miroir/sample/README.md")
    for uid, index in sample.indexes().items():
        documents = [json.loads(line) for line in sample.lines(uid)]
        assert f"| `{uid}.ndjson.gz` | {len(documents):,} |" in page
        ids = [document[index["primaryKey"]] for document in documents]
        assert len(set(ids)) == len(ids)


def test_every_invariant_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (\d+) \| .* \| (.+) \|$", text_of("ARCHITECTURE.md"), re.M)
    assert len(rows) >= 8
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    for number, guards in rows:
        named = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", guards)
        assert named, f"invariant {number} names no test"
        for path, function in named:
            source = text_of(path)
            assert not function or f"def {function}(" in source, f"{path}::{function}"


def test_packages_of_the_code_map_exist() -> None:
    mapped = set(re.findall(r"^\| `(\w+)/` \|", text_of("ARCHITECTURE.md"), re.M))
    real = {path.parent.name for path in (ROOT / "src" / "miroir").glob("*/__init__.py")}
    assert mapped == real


def test_the_subject_table_lists_every_module_in_its_folder() -> None:
    rows = re.findall(r"^\| in `([\w.]+)/`[\w, ]* \| (`.+`) \| (`.+`) \|$", text_of("ARCHITECTURE.md"), re.M)
    assert len(rows) >= 5
    for column, package in enumerate(("core", "services"), start=1):
        root = ROOT / "src" / "miroir" / package
        listed = []
        for row in rows:
            for name in re.findall(r"`([\w*]+)`", row[column]):
                found = list((root / row[0]).glob(f"{name}.py"))
                assert found, f"{package}/{row[0]}/{name}"
                listed += found
        assert sorted(listed) == sorted(path for path in root.rglob("*.py") if path.name != "__init__.py")


def test_shell_scripts_parse() -> None:
    for script in ("dev", ".ci/run"):
        subprocess.run(["sh", "-n", script], cwd=ROOT, check=True)
        assert (ROOT / script).stat().st_mode & 0o100, f"{script} can be run"
