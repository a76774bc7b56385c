"""The SBOM lists what the lock installs, with its hashes and licences, as CycloneDX."""

import json
import venv
from pathlib import Path

import pytest

from deploy.supply.licences import installed, licence_of
from deploy.supply.locks import read_lock
from devstack.stack import ROOT
from tests.deploy.supply.conftest import Run

VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()))
"""


def test_it_holds_each_locked_package_with_hashes_and_licence(
    run_tool: Run, tmp_path: Path
) -> None:
    target = tmp_path / "sbom.cdx.json"
    done = run_tool("-m", "deploy.supply.sbom", ".venv", "requirements.txt", target)
    assert done.returncode == 0, done.stderr
    assert run_tool("-c", VALIDATE, target).stdout == "None\n"

    text = target.read_text()
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == "prospect-platform"
    locked, packages = read_lock(ROOT / "requirements.txt"), installed()
    components = {each["purl"]: each for each in bom["components"]}
    assert len(components) == len(locked)
    for name, (version, hashes) in locked.items():
        component = components[f"pkg:pypi/{name}@{version}"]
        files = component["externalReferences"][-1]["hashes"]
        assert {f"sha256:{each['content']}" for each in files} == set(hashes) != set()
        assert component["licenses"] == [{"expression": licence_of(packages[name])}]

    depends = {each["ref"]: each.get("dependsOn", []) for each in bom["dependencies"]}
    direct = depends[bom["metadata"]["component"]["bom-ref"]]
    assert f"asyncpg=={locked['asyncpg'].version}" in direct
    assert not [ref for refs in depends.values() for ref in refs if ref not in depends]
    assert str(ROOT) not in text


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with the product and one package, both installed from wheels in a folder."""
    venv.create(tmp_path / "venv", symlinks=True)
    [packages] = (tmp_path / "venv/lib").glob("python*/site-packages")
    for name in ("prospect_platform", "given"):
        folder = packages / f"{name}-1.0.dist-info"
        folder.mkdir()
        said = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense: MIT License\n"
        (folder / "METADATA").write_text(said)
        origin = {"url": f"file:///wheels/{name}.whl", "archive_info": {}}
        (folder / "direct_url.json").write_text(json.dumps(origin))
    return tmp_path / "venv"


def test_a_package_that_was_installed_from_a_built_wheel_is_known_by_its_lock(
    run_tool: Run, tmp_path: Path, environment: Path
) -> None:
    lock, target = tmp_path / "lock.txt", tmp_path / "sbom.cdx.json"
    lock.write_text(f"given==1.0 --hash=sha256:{'a' * 64}\n")
    done = run_tool("-m", "deploy.supply.sbom", environment, lock, target)
    assert done.returncode == 0, done.stderr
    [component] = json.loads(target.read_text())["components"]
    assert component["purl"] == "pkg:pypi/given@1.0"
    assert component["licenses"] == [{"expression": "MIT"}]
    assert "file:" not in target.read_text()


@pytest.mark.parametrize(
    ("locked", "told"),
    [
        ("not-there==1.0", "not installed in"),
        ("given==2.0", "given: locked is 2.0, installed 1.0"),
    ],
)
def test_it_is_not_written_where_something_else_is_installed_than_locked(
    locked: str, told: str, run_tool: Run, tmp_path: Path, environment: Path
) -> None:
    lock, target = tmp_path / "lock.txt", tmp_path / "sbom.cdx.json"
    lock.write_text(f"{locked} --hash=sha256:{'a' * 64}\n")
    done = run_tool("-m", "deploy.supply.sbom", environment, lock, target)
    assert done.returncode == 1
    assert told in done.stderr
    assert not target.exists()
