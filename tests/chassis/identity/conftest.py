"""Certificates of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """An authority that has signed a server's certificate, and those of two clients."""
    certificates = Certificates(tmp_path / "certificates")
    certificates.issue("server")
    certificates.issue("prospect-metrics", "prospect-metrics")
    certificates.issue("crm", "crm")
    return certificates


@pytest.fixture
def strangers(tmp_path: Path) -> Certificates:
    """Another authority, which nobody trusts, and a client's certificate from it."""
    strangers = Certificates(tmp_path / "strangers")
    strangers.issue("server")
    strangers.issue("prospect-metrics", "prospect-metrics")
    return strangers
