"""A broker whose store is lost: wiped, or put back to an older state."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from devstack import servers


class Broker:
    """A nats-server on one port, which is stopped and started again with the store it then has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = servers.free_port()
        self._running = ExitStack()
        self.start()

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start with the store that is there."""
        self._running.enter_context(servers.nats_server(self._folder, port=self._port))

    def stop(self) -> None:
        """Stop; a clean stop, so that the store has all that was acknowledged."""
        self._running.close()

    def save(self) -> None:
        """Copy the store, for `restore`."""
        self.stop()
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._store, self._copy)
        self.start()

    def restore(self, *, start: bool = True) -> None:
        """Put the store back to what it was when it was saved."""
        self.wipe(start=False)
        shutil.copytree(self._copy, self._store)
        if start:
            self.start()

    def wipe(self, *, start: bool = True) -> None:
        """Lose the whole store."""
        self.stop()
        shutil.rmtree(self._store)
        if start:
            self.start()

    @property
    def _store(self) -> Path:
        return self._folder / "jetstream"

    @property
    def _copy(self) -> Path:
        return self._folder / "saved"
