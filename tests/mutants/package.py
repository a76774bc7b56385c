"""The mutants of one package: made in a copy of the tree, drawn, run and counted."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path

from devstack.stack import ROOT
from tests.mutants.known import Change
from tests.mutants.packages import Package

_FOLDER = ROOT / "build" / "mutants"
# One cache for all packages: but for the mutated modules they check the same code.
_MYPY = (
    *("mypy", "--output", "json", "--no-warn-unused-ignores"),
    *("--cache-dir", str(_FOLDER / ".mypy_cache")),
)
_CAUGHT_BY_MYPY = 37
_UNNOTICED = {0, 5, 33}
"""What mutmut writes when the tests pass, and when there are none."""
_NAME = re.compile(r"\.x(?:_|ǁ)(?P<function>[^.]+)__mutmut_\d+$")
_QUOTED = re.compile(r"""(["'])XX(?P<text>.*?)XX\1""")


@dataclass
class Examined:
    """What became of the mutants of a package."""

    made: int = 0
    drawn: int = 0
    known: int = 0
    killed: int = 0
    refused: int = 0
    survivors: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class _Mutant:
    name: str
    change: Change
    verdict: int | None


def examine(
    package: Package,
    modules: list[str],
    known: frozenset[Change],
    limit: int | None,
    drawing: random.Random,
) -> Examined:
    """Make the package's mutants, run those drawn that were not killed before, and count."""
    folder = _FOLDER / package.name
    _copy_tree(folder)
    _configure(folder, package, modules)
    making = multiprocessing.get_context("fork").Process(target=_make, args=(folder,))
    making.start()
    making.join()
    if making.exitcode:
        sys.exit(f"mutmut could not make the mutants of {package.name}")
    made = _read(folder, modules)
    limit = limit or package.sample or len(made)
    drawn = {m.name for m in drawing.sample(made, min(limit, len(made)))}
    tried = [m for m in made if m.name in drawn and _is_open(m, known)]
    while tried:
        _run(folder, [m.name for m in tried])
        made = [m for m in _read(folder, modules) if m.name in drawn]
        # mutmut forgets all verdicts where the package's tests have become others.
        tried = [m for m in made if m.verdict is None and m.change not in known]
    return _count(_read(folder, modules), drawn, known)


def _is_open(mutant: _Mutant, known: frozenset[Change]) -> bool:
    killed = mutant.verdict is not None and mutant.verdict not in _UNNOTICED
    return not killed and mutant.change not in known


def _count(mutants: list[_Mutant], drawn: set[str], known: frozenset[Change]) -> Examined:
    examined = Examined(made=len(mutants), drawn=len(drawn))
    for mutant in mutants:
        if mutant.name not in drawn:
            continue
        if mutant.change in known:
            examined.known += 1
        elif _is_open(mutant, known):
            examined.survivors.append(mutant.change)
        else:
            examined.killed += 1
            examined.refused += mutant.verdict == _CAUGHT_BY_MYPY
    return examined


def _copy_tree(folder: Path) -> None:
    """Copy what git knows or would add; a file that did not change keeps its verdicts."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        source, target = ROOT / name, folder / name
        if not source.exists() or name == "pyproject.toml":
            continue
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _configure(folder: Path, package: Package, modules: list[str]) -> None:
    values = {
        "source_paths": ["chassis", "services", "devstack"],
        "only_mutate": modules,
        "also_copy": ["protos", "deploy", "docs", "README.md", *_names(folder, "requirements*")],
        "type_check_command": [*_MYPY, *modules],
        "process_isolation": "forkserver",
        "timeout_multiplier": 3.0,
        "timeout_constant": 2.0,
        "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "fast_first"],
        "pytest_add_cli_args_test_selection": package.test_files(),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    text = (ROOT / "pyproject.toml").read_text() + "\n[tool.mutmut]\n" + "\n".join(lines) + "\n"
    (folder / "pyproject.toml").write_text(text)


def _names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def _make(folder: Path) -> None:
    with chdir(folder):
        # mutmut reads its settings from the current folder as it is imported.
        from mutmut.__main__ import create_mutants  # noqa: PLC0415
        from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir  # noqa: PLC0415

        Path("mutants").mkdir(exist_ok=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # it names every file
        copy_src_dir()
        copy_also_copy_files()
        create_mutants(1)


def _run(folder: Path, names: list[str]) -> None:
    if not names:
        return
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parent),  # fast_first
    }
    log = folder / "mutmut.log"
    with log.open("w") as output:
        done = subprocess.run(
            [str(binaries / "mutmut"), "run", "--max-children", "1", *names],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        sys.exit(f"mutmut failed; the end of {log}:\n{log.read_text()[-4000:]}")


def _read(folder: Path, modules: list[str]) -> list[_Mutant]:
    """Return the mutants in the order of the code, but for changes of wording."""
    mutants = []
    with chdir(folder):
        from mutmut.mutation.diff_apply import get_diff_for_mutant  # noqa: PLC0415

        for module in modules:
            meta = Path("mutants", f"{module}.meta")
            verdicts = json.loads(meta.read_text())["exit_code_by_key"] if meta.exists() else {}
            for name, verdict in verdicts.items():
                change = _change(name, module, get_diff_for_mutant(name, path=module))
                if not _is_wording(change):
                    mutants.append(_Mutant(name, change, verdict))
    return mutants


def _change(name: str, module: str, difference: str) -> Change:
    found = _NAME.search(name)
    assert found, name
    function = found["function"].replace("ǁ", ".")
    lines = [line for line in difference.splitlines()[3:] if not line.startswith(" ")]
    old = tuple(line[1:].strip() for line in lines if line.startswith("-"))
    new = tuple(line[1:].strip() for line in lines if line.startswith("+"))
    # mutmut's diff also shows the name that it gives the function.
    return Change(module, function, *_without_names(old, new))


def _without_names(
    old: tuple[str, ...], new: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    is_name = re.compile(r"(async )?def .*__mutmut_(orig|\d+)\b")
    return (
        tuple(line for line in old if not is_name.match(line)),
        tuple(line for line in new if not is_name.match(line)),
    )


def _is_wording(change: Change) -> bool:
    """Is it a sentence in other words, or a string in capitals, which its XX tells as well?"""
    old, new = "\n".join(change.old), "\n".join(change.new)
    if old.lower() == new.lower() and {"True", "False"}.isdisjoint(re.findall(r"\w+", new)):
        return True
    quoted = _QUOTED.search(new)
    return quoted is not None and " " in quoted["text"]
