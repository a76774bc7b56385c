"""The table of packages finds its files wherever they move, and every known change has a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from devstack.stack import ROOT
from tests.mutants.known import Change, parse, read_known
from tests.mutants.packages import PACKAGES, Package

BLOCK = "chassis/tokens.py Tokens.read\n- if a < b:\n+ if a <= b:\nThey are never equal."


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_package_finds_its_modules_and_their_tests(package: Package) -> None:
    assert package.modules_under(Path())
    assert package.test_files()


def test_a_package_is_examined_by_folder_or_by_file() -> None:
    package = Package("x", "chassis", "clock tokens", "chassis", "clock")
    assert package.modules_under(Path("chassis")) == ["chassis/clock.py", "chassis/tokens.py"]
    assert package.modules_under(Path("chassis/clock.py")) == ["chassis/clock.py"]
    assert package.modules_under(Path("services")) == []


def test_a_test_that_is_nowhere_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="test_nowhere"):
        Package("x", "chassis", "clock", "chassis", "nowhere").test_files()


def test_a_known_change_is_read_as_it_is_printed() -> None:
    change = Change("chassis/tokens.py", "Tokens.read", ("if a < b:",), ("if a <= b:",))
    assert parse(BLOCK) == change
    assert BLOCK.startswith(str(change))


def test_a_known_change_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="does not say why"):
        parse(BLOCK.rpartition("\n")[0])


def test_every_known_change_is_of_a_file_that_is_there() -> None:
    assert [each.path for each in read_known() if not (ROOT / each.path).exists()] == []
