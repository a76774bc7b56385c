"""Every package of the product is under an allowed licence; another one is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.supply.licences import installed, licence_problems
from devstack.stack import ROOT

ProblemsOf = Callable[..., list[str]]


@pytest.fixture
def problems_of(tmp_path: Path) -> ProblemsOf:
    """Return what finds the problems of one package with the given lines of metadata."""

    def problems(*metadata: str, locked: str = "1.0") -> list[str]:
        folder = tmp_path / "given-1.0.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.4", "Name: given", "Version: 1.0", *metadata]
        (folder / "METADATA").write_text("\n".join(lines) + "\n\n")
        lock = tmp_path / "lock.txt"
        lock.write_text(f"given=={locked}\n")
        return list(licence_problems(lock, installed([str(tmp_path)])))

    return problems


def test_the_product_has_allowed_licences_only() -> None:
    assert list(licence_problems(ROOT / "requirements.txt", installed())) == []


@pytest.mark.parametrize(
    "said",
    [
        "License-Expression: MPL-2.0 AND (Apache-2.0 OR MIT)",
        "License: mit",
        "License: Apache License 2.0",
        "Classifier: License :: OSI Approved :: MIT License",
    ],
)
def test_a_licence_of_the_list_is_no_problem_however_it_is_said(
    said: str, problems_of: ProblemsOf
) -> None:
    assert problems_of(said) == []


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("License-Expression: GPL-3.0-only", "GPL-3.0-only"),
        ("License-Expression: MIT AND LGPL-2.1-or-later", "LGPL-2.1-or-later"),
        ("License-Expression: MIT OR AGPL-3.0-only", "AGPL-3.0-only"),
        ("License: GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only"),
    ],
)
def test_another_licence_is_named_with_its_package(
    said: str, refused: str, problems_of: ProblemsOf
) -> None:
    assert f"given 1.0: {refused} is not among ALLOWED" in "\n".join(problems_of(said))


@pytest.mark.parametrize(
    "said",
    [
        "Summary: says nothing",
        "License: see the file",
        "Classifier: License :: OSI Approved :: BSD License",
        "Classifier: License :: OSI Approved :: MIT License\n"
        "Classifier: License :: OSI Approved :: Apache Software License",
    ],
)
def test_a_package_that_does_not_say_its_licence_is_named(
    said: str, problems_of: ProblemsOf
) -> None:
    [problem] = problems_of(said)
    assert problem.startswith("given 1.0: no licence in its metadata")


def test_a_package_of_another_version_than_the_locked_one_is_not_judged(
    problems_of: ProblemsOf,
) -> None:
    [problem] = problems_of("License-Expression: MIT", locked="2.0")
    assert "has 2.0, installed is 1.0" in problem
