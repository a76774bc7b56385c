"""The three services by name: wiring, settings and folder, imported only when needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from chassis.database import OWNER_DSN
from chassis.messaging import Topology
from chassis.service import Foundation, Parts
from chassis.settings import FILE, ServiceSettings, variables
from services.cli.terminal import shared_options


class ServiceName(StrEnum):
    """A service, by the name of its folder, schema and Kubernetes Deployment."""

    ACTIVITY = "activity"
    ENRICHMENT = "enrichment"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a service's `wiring` module defines."""

    topology: Topology
    build: Callable[[Foundation, Any], Awaitable[Parts]]


def wiring_of(name: ServiceName) -> Wiring:
    """Import the wiring of one service; a serving process holds no other's code."""
    module = import_module(f"services.{name.value}.wiring")
    return Wiring(module.TOPOLOGY, module.build)


def settings_of(name: ServiceName) -> type[ServiceSettings]:
    """Return the class of a service's settings, without importing the service."""
    settings: type[ServiceSettings] = import_module(f"services.{name.value}.settings").Settings
    return settings


def folder_of(name: ServiceName) -> Path:
    """Return a service's folder, with its migrations."""
    return Path(__file__).parents[2] / name.value


def known_variables() -> dict[str, str]:
    """Return every PROSPECT_ variable that any service reads, and what it means."""
    known = {
        OWNER_DSN: "DSN of the role that migrates, <service>_owner",
        f"{OWNER_DSN}{FILE}": f"file that holds {OWNER_DSN}",
    }
    known |= shared_options.VARIABLES
    for name in ServiceName:
        known |= variables(settings_of(name))
    return known
