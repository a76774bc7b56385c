"""PEM files are read once, and again when they have changed; what cannot be used is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chassis.identity.certificates import PemFiles, Reread, client_context
from chassis.settings import SettingsError
from tests.certificates import Certificates


class Readings:
    """Counts the readings of a file, and fails while it is told to."""

    def __init__(self, file: Path) -> None:
        self.files = PemFiles("nats", authority=file)
        self.failure: Exception | None = None
        self.count = 0

    def read(self) -> int:
        if self.failure:
            raise self.failure
        self.count += 1
        return self.count


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text("first")
    return path


def test_files_that_stay_the_same_are_read_once(file: Path) -> None:
    readings = Readings(file)
    reread = Reread(readings.files, readings.read)
    assert [reread.current() for _ in range(3)] == [1, 1, 1]


def test_a_change_is_read_once_and_logged(file: Path) -> None:
    readings = Readings(file)
    reread = Reread(readings.files, readings.read)
    file.write_text("second one")
    with capture_logs() as logs:
        assert [reread.current() for _ in range(2)] == [2, 2]
    assert logs == [{"event": "certificates read", "log_level": "info", "files": [str(file)]}]


def test_what_cannot_be_used_is_logged_and_tried_again(file: Path) -> None:
    readings = Readings(file)
    reread = Reread(readings.files, readings.read)
    file.write_text("half of")
    readings.failure = ValueError("no PEM")
    with capture_logs() as logs:
        assert reread.current() == 1
    told = {"error": "no PEM", "files": "nats"}
    assert logs == [{"event": "certificates not read", "log_level": "warning"} | told]
    readings.failure = None
    assert reread.current() == 2


@pytest.mark.parametrize(
    ("failure", "why"),
    [
        (FileNotFoundError(2, "No such file", "x"), "No such file"),
        (ValueError("no PEM"), "no PEM"),
        (OSError("no reason of the system's"), "no reason of the system's"),
    ],
)
def test_the_start_is_refused_with_the_files_and_the_reason(
    file: Path, failure: Exception, why: str
) -> None:
    readings = Readings(file)
    readings.failure = failure
    with pytest.raises(SettingsError) as refused:
        Reread(readings.files, readings.read)
    assert str(refused.value) == f"PROSPECT_NATS_…_FILE: {file}: {why}"


def test_without_files_a_client_has_no_context_of_its_own(certificates: Certificates) -> None:
    assert client_context(PemFiles("nats")) is None
    assert client_context(PemFiles("nats", authority=certificates.path("ca"))) is not None
