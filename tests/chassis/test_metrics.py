"""What Prometheus reads of a process."""

from __future__ import annotations

import httpx
import prometheus_client
import pytest

from chassis import telemetry
from chassis.settings import SettingsError
from devstack import servers


def test_metrics_are_read_over_http_until_they_are_stopped() -> None:
    address = f"127.0.0.1:{servers.free_port()}"
    counter = prometheus_client.Counter("prospect_test", "of this test")
    stop = telemetry.serve_metrics(address)
    counter.inc(3)
    body = httpx.get(f"http://{address}/metrics").text
    stop()
    assert "prospect_test_total 3.0" in body
    assert "process_resident_memory_bytes" in body


@pytest.mark.parametrize("where", ["nonsense", "127.0.0.1:none", "203.0.113.1:9000"])
def test_an_address_that_cannot_be_listened_on_is_named(where: str) -> None:
    with pytest.raises(SettingsError, match=f"PROSPECT_METRICS_LISTEN: {where}: "):
        telemetry.serve_metrics(where)


def test_without_an_address_nothing_is_served() -> None:
    telemetry.serve_metrics("")()
