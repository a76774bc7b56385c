"""A stream resumes after the connection broke, and gives up after a while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest

from services.cli.terminal import resume
from services.cli.terminal.resume import MAX_BREAKS


@dataclass(frozen=True)
class Said:
    """A message with the token to go on from."""

    resume_token: str


@grpc.Call.register
class BrokenError(grpc.RpcError):
    """What a stub raises."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code


@pytest.fixture(autouse=True)
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "RETRY_SECONDS", 0.0)


def test_a_broken_stream_goes_on_from_the_last_token_and_says_so_once() -> None:
    asked: list[str] = []
    breaks: list[int] = []

    def watch(token: str) -> Iterator[Said]:
        asked.append(token)
        if token == "":
            yield Said("a")
            yield Said("b")
        if len(asked) < 4:
            raise BrokenError(grpc.StatusCode.UNAVAILABLE)
        yield Said("c")

    read = list(resume.resuming(watch, on_break=lambda: breaks.append(1)))
    assert [each.resume_token for each in read] == ["a", "b", "c"]
    assert asked == ["", "b", "b", "b"]
    assert len(breaks) == 1


def test_a_stream_that_never_answered_or_was_refused_is_not_tried_again() -> None:
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED):

        def watch(token: str, code: grpc.StatusCode = code) -> Iterator[Said]:
            if code is grpc.StatusCode.PERMISSION_DENIED:
                yield Said("a")
            raise BrokenError(code)

        with pytest.raises(BrokenError):
            list(resume.resuming(watch))


def test_a_connection_that_stays_broken_is_given_up() -> None:
    asked = []

    def watch(token: str) -> Iterator[Said]:
        asked.append(token)
        if not token:
            yield Said("a")
        raise BrokenError(grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(BrokenError):
        list(resume.resuming(watch))
    assert len(asked) == MAX_BREAKS + 1
