"""Reading a stream that goes on from its last resume token after the connection broke."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import grpc
import typer

MAX_BREAKS = 30
RETRY_SECONDS = 1.0
_BREAKS = frozenset({grpc.StatusCode.UNAVAILABLE})


class _Resumable(Protocol):
    @property
    def resume_token(self) -> str: ...


def say_break() -> None:
    """Print that the connection broke and that it is tried again."""
    typer.echo(f"the connection broke; trying again each {RETRY_SECONDS:.0f} s", err=True)


Message = TypeVar("Message", bound=_Resumable)


def resuming(
    watch: Callable[[str], Iterator[Message]],
    resume_token: str = "",
    on_break: Callable[[], None] = lambda: None,
) -> Iterator[Message]:
    """Yield a stream's messages; after a break call `on_break` once, go on from the last one."""
    left = MAX_BREAKS
    has_spoken = False
    while True:
        try:
            for message in watch(resume_token):
                resume_token, left, has_spoken = message.resume_token, MAX_BREAKS, True
                yield message
            return
        except grpc.RpcError as error:
            is_break = isinstance(error, grpc.Call) and error.code() in _BREAKS
            if not (is_break and has_spoken and left):
                raise
        if left == MAX_BREAKS:
            on_break()
        left -= 1
        time.sleep(RETRY_SECONDS)
