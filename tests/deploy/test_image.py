"""What can be known of the image without building it: its base, and the files it is built from."""

import re
import subprocess

import pytest

from devstack.stack import ROOT

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", "")
DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("release", "base", "accepted"),
    [
        ("", "python:3.11-slim", True),
        ("", f"python@{DIGEST}", True),
        ("1.2.3", f"mirror.example/python:3.11-slim@{DIGEST}", True),
        ("1.2.3", "python:3.11-slim", False),
        ("1.2.3", "", False),
    ],
)
def test_a_release_is_built_on_a_base_named_by_digest_only(
    release: str, base: str, accepted: bool
) -> None:
    builder = DOCKERFILE.partition(" AS builder\n")[2]
    refusal = re.search(r"^RUN (case .* esac)$", builder, re.M)
    assert refusal
    done = subprocess.run(
        ["sh", "-c", refusal.group(1)],
        env={"RELEASE": release, "PYTHON_IMAGE": base},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == accepted
    assert ("by digest" in done.stderr) != accepted


def test_every_file_that_the_image_is_built_from_reaches_the_build() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M)
    files = [name for names in copied for name in names.split()]
    assert "requirements.txt" in files
    admitted = (ROOT / ".dockerignore").read_text().splitlines()
    assert [name for name in files if f"!{name}" not in admitted] == []
    assert [name for name in files if not (ROOT / name).exists()] == []


def test_the_image_has_its_sbom_where_the_page_says() -> None:
    placed = re.search(r"^COPY --from=builder /sbom.cdx.json (\S+)$", DOCKERFILE, re.M)
    assert placed
    assert placed.group(1) in (ROOT / "deploy/README.md").read_text()
