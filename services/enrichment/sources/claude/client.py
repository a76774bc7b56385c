"""Claude: a summary of what was found, in which it chooses what we tell and quotes what it tells.

API: https://platform.claude.com/docs/en/api/messages, by the `anthropic` SDK with its own retries
off, since the run owns retries. The model has no tools; each sentence that it writes is checked,
and an answer of which nothing holds is an invalid answer that was paid for. Only `end_turn` is
success.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any

import anthropic
import httpx2
import structlog

from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError, Usage
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.claude.composition import Choice, Composition, compose
from services.enrichment.sources.claude.models import cost_micros, model_of
from services.enrichment.sources.claude.prompt import (
    INSTRUCTIONS,
    PROMPT_VERSION,
    SCHEMA,
    prompt,
)
from services.enrichment.sources.facts import facts_with_statements
from services.enrichment.sources.findings import Fact, Finding, Provenance, Sentence, Summary
from services.enrichment.sources.http import MAX_BYTES, Vendor, certificates, text

VENDOR = Vendor(
    "Claude",
    {
        401: ErrorClass.AUTH,
        402: ErrorClass.QUOTA,
        403: ErrorClass.AUTH,
        408: ErrorClass.TRANSIENT,
        409: ErrorClass.TRANSIENT,
        429: ErrorClass.THROTTLED,
    },
    # error.details.error_code: limits of spending, which no waiting lifts before next month
    tags={
        "enforced_spend_limit_reached": ErrorClass.QUOTA,
        "contract_spend_limit_reached": ErrorClass.QUOTA,
        "linked_organization_spend_limit_reached": ErrorClass.QUOTA,
        "linked_organization_billing_unavailable": ErrorClass.QUOTA,
        "organization_on_hold": ErrorClass.AUTH,
    },
    # These have no code of their own: 400 for money, 404 and 400 for what a model does not take.
    phrases={
        "credit balance is too low": ErrorClass.QUOTA,
        "specified api usage limits": ErrorClass.QUOTA,
        "model:": ErrorClass.CONFIGURATION,
        "not supported": ErrorClass.CONFIGURATION,
    },
)
# What a stop_reason other than end_turn means; one that is not named is an invalid answer.
STOPS: Mapping[str, ErrorClass] = {
    "refusal": ErrorClass.REFUSED_REQUEST,
    "max_tokens": ErrorClass.CUT_SHORT,
    "model_context_window_exceeded": ErrorClass.REFUSED_REQUEST,
}
_log = structlog.get_logger()


def memo_key(findings: Mapping[SourceName, Finding], model: str) -> str:
    """Return a summary's key: no call is made for the same evidence, prompt and model again."""
    evidence = [
        (fact.id, fact.text, fact.url)
        for fact, said in facts_with_statements(findings)
        if not said.is_coverage
    ]
    content = json.dumps([evidence, PROMPT_VERSION, model], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


class Claude:
    """Claude as a source."""

    name = SourceName.CLAUDE

    def __init__(
        self,
        base_url: str,
        api_key: str,
        model: str,
        *,
        clock: Callable[[], datetime],
        seconds: float = 60,
    ) -> None:
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=base_url,
            max_retries=0,
            timeout=seconds,
            # An answer that unpacks to more than it weighs would pass the limit.
            default_headers={"accept-encoding": "identity"},
            http_client=anthropic.DefaultAsyncHttpxClient(
                follow_redirects=False, event_hooks={"response": [_bound]}, verify=certificates()
            ),
        )
        self._url = f"{base_url.rstrip('/')}/v1/messages"
        self._model = model
        self._asked_how = _asked_how(model)
        self._clock = clock
        self._seconds = seconds

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, call: SourceCall) -> Answer:
        """Return a summary of what was found, checked; without facts nothing is asked."""
        facts = facts_with_statements(call.findings)
        if not facts:
            return Answer(None)
        row = model_of(self._model)
        room = row.more_tokens if call.failures else row.max_tokens
        message, request_id = await self._send(prompt(call.person, facts), room)
        usage = _usage(message)
        cost = self._cost(usage, request_id)
        try:
            composed = compose(await _choices(message), facts, call.person)
            if not composed.sentences:
                raise _nothing_holds(composed)
        except SourceError as error:
            # The tokens were paid for all the same.
            error.cost_micros, error.request_id = cost, request_id
            raise
        known = tuple(fact for fact, _ in facts)
        summary = self._summary(composed.sentences, known, message, request_id)
        return Answer(summary, cost, request_id, usage)

    def _cost(self, usage: Usage | None, request_id: str) -> int:
        """Return what a call cost: the most that one may where the answer does not tell."""
        most = SOURCES[self.name].max_cost_micros
        if usage is None:
            _log.warning("an answer tells no usage", source=self.name.value, request_id=request_id)
            return most
        # More tokens than the limits allow are a mistake of the answer.
        return min(cost_micros(self._model, usage), most)

    def _summary(
        self,
        sentences: tuple[Sentence, ...],
        facts: tuple[Fact, ...],
        message: Mapping[str, Any],
        request_id: str,
    ) -> Summary:
        provenance = Provenance(self.name, self._url, request_id, self._clock())
        return Summary(sentences, facts, text(message.get("model")) or self._model, provenance)

    async def _send(self, content: str, room: int) -> tuple[dict[str, Any], str]:
        """Return the message and the request's id; the SDK checks no type, so the body is read."""
        try:
            async with asyncio.timeout(self._seconds):
                raw = await self._client.messages.with_raw_response.create(
                    model=self._model,
                    max_tokens=room,
                    system=[
                        {
                            "type": "text",
                            "text": INSTRUCTIONS,
                            "cache_control": {"type": "ephemeral"},
                        }
                    ],
                    messages=[{"role": "user", "content": content}],
                    **self._asked_how,
                )
                body = await raw.read()
        except TimeoutError:
            raise VENDOR.unreachable("did not answer in time", uncertain=True) from None
        except anthropic.APIStatusError as error:
            raise self._status_error(error) from None
        except anthropic.APIConnectionError as error:
            raise _connection_error(error) from None
        except anthropic.AnthropicError as error:
            raise VENDOR.unreadable(f"cannot be read: {type(error).__name__}") from None
        return await VENDOR.object_of(body), text(raw.headers.get("request-id"))

    def _status_error(self, error: anthropic.APIStatusError) -> SourceError:
        told = VENDOR.error(
            error.status_code,
            error.response.headers,
            self._clock(),
            tag=text(error.error_code),
            message=text(error.api_message),
            request_id=text(error.request_id),
        )
        if told.error_class is ErrorClass.CONFIGURATION:
            told.message += f" {self._model} cannot be asked so; see PROSPECT_CLAUDE_MODEL"
        return told


def _asked_how(model: str) -> dict[str, Any]:
    """Return what a request says of the answer's form, of effort and of thinking."""
    row = model_of(model)
    form: dict[str, Any] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if row.effort:
        form["effort"] = row.effort
    thinking = {"thinking": {"type": row.thinking}} if row.thinking else {}
    return {"output_config": form, **thinking}


def _connection_error(error: anthropic.APIConnectionError) -> SourceError:
    cause = error.__cause__
    if isinstance(cause, _RefusedError):
        return VENDOR.unreadable(str(cause))
    kind = type(cause or error).__name__
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return VENDOR.unreachable(f"is not reachable: {kind}", uncertain=False)
    if isinstance(cause, httpx2.TimeoutException):
        return VENDOR.unreachable("did not answer in time", uncertain=True)
    return VENDOR.unreachable(f"broke off: {kind}", uncertain=True)


class _RefusedError(Exception):
    """The body is not read."""


class _Bounded(httpx2.AsyncByteStream):
    """A response body that raises an error past the limit, since the SDK reads any body whole."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MAX_BYTES:
                raise _RefusedError(f"answered more than {MAX_BYTES // 1024 // 1024} MB")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _RefusedError("answered packed, which was not asked for")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


def _usage(message: Mapping[str, Any]) -> Usage | None:
    """Read the counts of model tokens; None where those that every answer has are missing."""
    found = message.get("usage")
    counts = found if isinstance(found, dict) else {}

    def count(name: str) -> int | None:
        value = counts.get(name)
        return max(0, value) if isinstance(value, int) else None

    read, written = count("input_tokens"), count("output_tokens")
    if read is None or written is None:
        return None
    return Usage(
        input_tokens=read,
        output_tokens=written,
        cache_write_tokens=count("cache_creation_input_tokens") or 0,
        cache_read_tokens=count("cache_read_input_tokens") or 0,
    )


def _nothing_holds(composed: Composition) -> SourceError:
    why = composed.faults[0] if composed.faults else "it has no sentence"
    error = VENDOR.invalid(f"answered a text that fails its check: {why}")
    error.of_source = False  # what the web says of one person may make it so
    return error


async def _choices(message: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Read what the model chose and wrote in a message that ended as it should."""
    stop = message.get("stop_reason")
    if stop != "end_turn":
        reason = stop if stop in _KNOWN_STOPS else "another reason"
        error_class = STOPS.get(str(stop), ErrorClass.INVALID_ANSWER)
        # What did not fit is ours: it says nothing of the vendor's health.
        ours = error_class is ErrorClass.CUT_SHORT
        raise SourceError(error_class, f"Claude stopped early: {reason}", of_source=not ours)
    blocks = message.get("content")
    found = [each for each in blocks if isinstance(each, dict)] if isinstance(blocks, list) else []
    parts = [str(each.get("text", "")) for each in found if each.get("type") == "text"]
    if not parts:
        raise VENDOR.invalid("answered without a text")
    answer = await VENDOR.object_of("".join(parts).encode())
    sentences = answer.get("sentences")
    if not isinstance(sentences, list):
        raise VENDOR.invalid("answered without sentences")
    return tuple(_choice(each) for each in sentences)


_KNOWN_STOPS = frozenset(
    {"max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"}
    | {"model_context_window_exceeded"}
)


def _choice(value: Any) -> Choice:
    if not isinstance(value, dict) or not isinstance(value.get("fact_id"), str):
        raise VENDOR.invalid("answered a sentence without fact_id")
    quote, said = value.get("quote"), value.get("text")
    return Choice(value["fact_id"], text(quote, 4_000), text(said, 4_000))
