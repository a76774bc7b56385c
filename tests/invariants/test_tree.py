"""The laws of the tree: small files and folders, no catch-all modules, tests beside their code."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from devstack.stack import ROOT

OURS = ("chassis", "services", "devstack", "deploy")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_MODULES = 20
SERVICES_AND_COMMAND = ("activity", "enrichment", "metrics", "cli")
CATCH_ALL = {"utils", "util", "common", "helpers", "misc", "base"}


def python_files() -> list[Path]:
    """Return the hand-written modules."""
    return [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]


def folders_with_modules(root: Path) -> set[Path]:
    """Return the folders, seen from `root`, that hold hand-written modules."""
    modules = (path for path in root.rglob("*.py") if path.name != "__init__.py")
    return {path.parent.relative_to(root) for path in modules}


def test_no_file_is_long() -> None:
    long = {p.name: len(p.read_text().splitlines()) for p in python_files()}
    assert {name: count for name, count in long.items() if count > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = [
        f"{path.name}:{node.name}"
        for path in python_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_no_folder_has_more_modules_than_a_reader_takes_in() -> None:
    modules = Counter(path.parent for path in python_files() if path.name != "__init__.py")
    crowded = {str(folder): count for folder, count in modules.items() if count > MAX_MODULES}
    assert crowded == {}


def test_no_module_is_a_catch_all() -> None:
    assert [str(path) for path in python_files() if path.stem in CATCH_ALL] == []


def test_every_module_has_a_docstring() -> None:
    silent = [str(p) for p in python_files() if not ast.get_docstring(ast.parse(p.read_text()))]
    assert silent == []


def test_each_service_has_the_same_files() -> None:
    wanted = {
        "wiring.py",
        "settings.py",
        "api.py",
        "events.py",
        "sql.py",
        "queries.sql",
        "schema.sql",
    }
    for service in ("activity", "enrichment", "metrics"):
        names = {path.name for path in (ROOT / "services" / service).iterdir()}
        assert wanted <= names


@pytest.mark.parametrize("name", SERVICES_AND_COMMAND)
def test_tests_stand_in_the_folders_of_the_code_that_they_test(name: str) -> None:
    top = {Path()}  # may hold tests of several folders, or none
    tests = folders_with_modules(ROOT / "tests" / name)
    assert tests - top == folders_with_modules(ROOT / "services" / name) - top


def test_nothing_under_the_contracts_is_written_by_hand_but_protos() -> None:
    generated = re.compile(r"_pb2(_grpc)?\.pyi?$")
    tracked = subprocess.run(
        ["git", "ls-files", "protos/prospect"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    by_hand = [name for name in tracked if not generated.search(name)]
    assert {Path(name).suffix for name in by_hand} == {".proto"}


def test_sql_is_not_built_from_strings_in_a_service() -> None:
    statement = re.compile(r"""f["']{1,3}\s*(select|insert|update|delete)\b""", re.IGNORECASE)
    found = [str(p) for p in (ROOT / "services").rglob("*.py") if statement.search(p.read_text())]
    assert found == []
