"""Claude in the sandbox: a summary made of the request's first facts, marked as the sandbox's."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_FACTS = re.compile(r"<facts>\n(.*)\n</facts>", re.DOTALL)
MOST_SENTENCES = 4


def routes() -> list[Route]:
    """Return the addresses that Anthropic answers at."""
    return [Route("/v1/messages", _messages, methods=["POST"])]


async def _messages(request: Request) -> JSONResponse:
    body = await request.body()
    request_id = f"req_sandbox_{zlib.crc32(body):08x}"
    headers = {"request-id": request_id}
    if not (request.headers.get("authorization") or request.headers.get("x-api-key")):
        return _error(401, "authentication_error", "missing key", headers)
    asked = json.loads(body)
    if not asked.get("model") or not asked.get("messages"):
        return _error(400, "invalid_request_error", "model and messages are required", headers)
    prompt = str(asked["messages"][-1]["content"])
    text = json.dumps({"sentences": _sentences(prompt)})
    usage = {"input_tokens": len(prompt) // 4 + 200, "output_tokens": len(text) // 4}
    answer = {
        "id": f"msg_sandbox_{zlib.crc32(body):08x}",
        "type": "message",
        "role": "assistant",
        "model": asked["model"],
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage | {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
    }
    return JSONResponse(answer, headers=headers)


def _sentences(prompt: str) -> list[dict[str, Any]]:
    found = _FACTS.search(prompt)
    facts = [json.loads(line) for line in found.group(1).splitlines()] if found else []
    chosen = _one_a_source(facts)[:MOST_SENTENCES]
    return [
        {"text": f"(Sandbox) {fact['text'].rstrip('.')}.", "fact_ids": [fact["id"]]}
        for fact in chosen
    ]


def _one_a_source(facts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put the first fact of each source before the rest, as a summary would."""
    first = {fact["id"].split("-")[0]: fact for fact in reversed(facts)}
    leading = sorted(first.values(), key=facts.index)
    return leading + [fact for fact in facts if fact not in leading]


def _error(status: int, kind: str, message: str, headers: dict[str, str]) -> JSONResponse:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return JSONResponse(body, status, headers=headers)
