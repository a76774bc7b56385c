"""The gRPC channel of one service to another, opened anew when its certificates change."""

from __future__ import annotations

import asyncio

import grpc

from chassis.identity.certificates import PemFiles, Reread

CLOSING_SECONDS = 30.0
"""How long the calls of a channel have that another one has replaced."""


class RereadingChannel:
    """A channel with TLS where a file is set; without any, it is plaintext.

    gRPC for Python reads a client's certificates once: a new channel is what has new ones.
    """

    def __init__(self, address: str, files: PemFiles) -> None:
        self._address = address
        self._credentials = Reread(files, lambda: channel_credentials(files))
        self._used = self._credentials.current()
        self._channel = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel to make the next call on."""
        if self._credentials.current() is not self._used:
            self._used = self._credentials.current()
            closing = asyncio.create_task(self._channel.close(CLOSING_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._channel = self._open()
        return self._channel

    async def close(self) -> None:
        """Close it, and those that it has replaced."""
        await asyncio.gather(self._channel.close(), *self._closing)

    def _open(self) -> grpc.aio.Channel:
        if self._used is None:
            return grpc.aio.insecure_channel(self._address)
        return grpc.aio.secure_channel(self._address, self._used)


def channel_credentials(files: PemFiles) -> grpc.ChannelCredentials | None:
    """Read the credentials of a client; None where no file is set, and so no TLS is wanted."""
    if not files.given:
        return None
    key, chain = files.pair() or (None, None)
    return grpc.ssl_channel_credentials(files.roots(), key, chain)
