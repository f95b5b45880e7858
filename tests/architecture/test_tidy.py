"""What keeps the code readable and can be counted: sizes, names, and things that must not be there."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "miroir"

MODULE_LINES_MAX = 420
FUNCTION_LINES_MAX = 70
#: longer on purpose; path -> (lines allowed, why)
LONGER_MODULES: dict[str, tuple[int, str]] = {}
#: path:function -> (lines allowed, why)
LONGER_FUNCTIONS: dict[str, tuple[int, str]] = {}
FORBIDDEN_MODULE_WORDS = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base", "impl"}


@lru_cache
def tracked() -> tuple[Path, ...]:
    """Every file of the repository that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return tuple(path for name in listed.decode().split("\0") if name and (path := ROOT / name).is_file())


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function; a function that only returns or holds others counts without them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            nested = sum(_lines(n) for n in inner if n is not node and _is_child(node, n))
            yield node.name, _lines(node) - nested


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _is_child(outer: ast.AST, inner: ast.AST) -> bool:
    return inner in getattr(outer, "body", ())


def test_modules_are_short() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    allowed = {name: LONGER_MODULES.get(name, (MODULE_LINES_MAX, ""))[0] for name in lengths}
    assert {name: lines for name, lines in lengths.items() if lines > allowed[name]} == {}


def test_functions_are_short() -> None:
    long = {
        key: lines
        for path in modules()
        for name, lines in functions(path)
        if lines > LONGER_FUNCTIONS.get(key := f"{name_of(path)}:{name}", (FUNCTION_LINES_MAX, ""))[0]
    }
    assert long == {}


def test_exceptions_are_still_needed() -> None:
    for name, (allowed, why) in LONGER_MODULES.items():
        assert why
        assert MODULE_LINES_MAX < len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= allowed, name
    for key, (allowed, why) in LONGER_FUNCTIONS.items():
        assert why
        path, _, function = key.partition(":")
        found = [lines for name, lines in functions(ROOT / path) if name == function]
        assert FUNCTION_LINES_MAX < max(found) <= allowed, key


def test_module_names_say_what_is_inside() -> None:
    words = {name_of(path): set(path.stem.split("_")) for path in modules()}
    assert {name for name, parts in words.items() if parts & FORBIDDEN_MODULE_WORDS} == set()


def test_every_module_says_what_it_owns() -> None:
    silent = [
        name_of(path)
        for path in modules()
        if path.read_text(encoding="utf-8").strip()
        and ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
    ]
    assert silent == []


def test_tests_do_not_sleep() -> None:
    """Tests wait for a state. Only where the clock is virtual, or real processes are polled, may they pause."""
    polling = {"tests/support/processes.py", "tests/e2e/test_engine_crash.py"}
    sleeping = re.compile(r"\b(time\.sleep\(|asyncio\.sleep\((?!0\)))")
    virtual = re.compile(r"virtual_time|small_cluster|sim_cluster|in_cluster|tests\.support\.faults")
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and sleeping.search(text) and not virtual.search(text):
            found.add(name_of(path))
    assert found - {"tests/support/faults.py", "tests/support/virtual_time.py"} <= polling


@pytest.mark.parametrize("what", ["/" + "home/", "/" + "root/", "/" + "tmp/"])
def test_no_path_of_one_machine_is_tracked(what: str) -> None:
    outside = re.compile(r"(?<![A-Za-z0-9_.])" + re.escape(what) + r"[A-Za-z0-9._-]+")
    found = []
    for path in tracked():
        if path.suffix in (".gz", ".png") or path.name.endswith(".lock"):
            continue
        if outside.search(path.read_text(encoding="utf-8", errors="replace")):
            found.append(name_of(path))
    assert found == []


def test_nothing_prints_but_the_command_line() -> None:
    """Ruff forbids print; where it is allowed after all, it is in a program's own front."""
    fronts = ("src/miroir/cli/", "src/miroir/engine/node.py", "src/miroir/engine/bench.py")
    loud = [
        name_of(path)
        for path in modules()
        if re.search(r"^\s*print\(", path.read_text(encoding="utf-8"), re.M)
        and not name_of(path).startswith(fronts)
    ]
    assert loud == []
