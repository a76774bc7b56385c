"""Claude in the sandbox: a summary made of the request's first facts, marked as the sandbox's.

Ordered to be obedient it is a naive model: it does what a text among the facts tells it to.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from devstack.sandbox.claude_models import Written, refusal_of, write
from devstack.sandbox.faults import Kind, ordered
from devstack.sandbox.injections import Injection
from devstack.sandbox.vendor import Called, Setup, Vendor

_FACTS = re.compile(r"<facts>\n(.*)\n</facts>", re.DOTALL)
_NAME = re.compile(r'The person: \{"name": ("(?:[^"\\]|\\.)*")')
_HEADER = re.compile(r" \(\d{4}-\d{2}-\d{2}\): ")
_DIGIT = re.compile(r"\d(?!\d)")
MAX_SENTENCES = 4
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
SPEND_LIMIT = {"error_code": "enforced_spend_limit_reached"}
REFUSALS = {
    "credit_balance": (
        400,
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing"
        " to upgrade or purchase credits.",
    ),
    "usage_limits": (
        400,
        "You have reached your specified API usage limits. You will regain access on 2027-01-01 at"
        " 00:00 UTC.",
    ),
    "billing": (402, "There is an issue with billing"),
    "retired_model": (404, "model: claude-sonnet-4-20250514"),
    "thinking": (400, '"thinking.type.disabled" is not supported for this model.'),
}
"""What the vendor says where it gives no code: status and message."""
STRANGER = "Boris Nowhere leads Widgets Limited and likes to be called in the evening."


def routes(setup: Setup) -> list[Route]:
    """Return Anthropic's routes."""
    return [Route("/v1/messages", _Claude(setup.injections).messages, methods=["POST"])]


def error(
    status: int,
    headers: Mapping[str, str],
    details: Mapping[str, str] | None = None,
    message: str = "",
) -> JSONResponse:
    """Return an error in Anthropic's form."""
    said: dict[str, Any] = {
        "type": TYPES.get(status, "api_error"),
        "message": message or f"sandbox {status}",
    }
    request_id = f"req_sandbox_error_{status}"
    body = {
        "type": "error",
        "error": said | ({"details": dict(details)} if details else {}),
        "request_id": request_id,
    }
    return JSONResponse(body, status, headers={**headers, "request-id": request_id})


def about_whom(call: Called) -> str:
    """Return whom a call is about."""
    named = _NAME.search(str(call.json().get("messages", [{}])[-1].get("content", "")))
    return str(json.loads(named.group(1))) if named else ""


VENDOR = Vendor(("/v1/messages",), routes, error, about_whom)


class _Claude:
    def __init__(self, injections: Sequence[Injection]) -> None:
        self._injections = injections
        self._cached: set[str] = set()

    async def messages(self, request: Request) -> JSONResponse:
        """Answer POST /v1/messages."""
        if not (request.headers.get("authorization") or request.headers.get("x-api-key")):
            return error(401, {})
        body = await request.body()
        asked = json.loads(body)
        if not request.headers.get("anthropic-version"):
            return error(400, {})
        if refused := _refused(request, asked):
            return refused
        if ordered(request, Kind.ERROR_BODY):
            inside = {"type": "api_error", "message": "sandbox"}
            return JSONResponse({"type": "error", "error": inside})
        stop = ordered(request, Kind.STOP)
        text = json.dumps({"sentences": self._sentences(request, asked)})
        written = write(asked, text, str(stop.value or "refusal") if stop else "")
        answer = {
            "id": f"msg_sandbox_{zlib.crc32(body):08x}",
            "type": "message",
            "role": "assistant",
            "model": asked["model"],
            "content": written.content,
            "stop_reason": written.stop_reason,
            "stop_sequence": None,
            "stop_details": written.stop_details,
        }
        if not ordered(request, Kind.UNPRICED):
            answer["usage"] = self._usage(asked, written)
        request_id = f"req_sandbox_{zlib.crc32(body):08x}"
        return JSONResponse(answer, headers={"request-id": request_id})

    def _sentences(self, request: Request, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        prompt = str(asked["messages"][-1]["content"])
        found = _FACTS.search(prompt)
        facts = [json.loads(line) for line in found.group(1).splitlines()] if found else []
        if ordered(request, Kind.UNCITED):
            return [_written({"id": "made-up-1"}, "This much is certain.")]
        if ordered(request, Kind.STRANGER):
            return [_written(fact, STRANGER) for fact in facts if fact["kind"] == "page"][:1]
        if ordered(request, Kind.WRONG_NUMBER):
            numbers = [fact for fact in facts if fact["kind"] == "page" and _number_of(fact)]
            return [_written(fact, _changed(_number_of(fact))) for fact in numbers[:1]]
        if naive := ordered(request, Kind.OBEDIENT):
            texts = [fact["text"] for fact in facts]
            for each in self._injections:
                if each.id == naive.value or any(each.text[:60] in text for text in texts):
                    return [_obey(each, facts, asked)]
        return [_tell(fact) for fact in _one_a_source(facts)[:MAX_SENTENCES]]

    def _usage(self, asked: Mapping[str, Any], written: Written) -> dict[str, Any]:
        """Count a token for four characters; a marked system block is cached once it was seen."""
        system = asked.get("system")
        blocks = system if isinstance(system, list) else []
        marked = "".join(b.get("text", "") for b in blocks if b.get("cache_control"))
        seen = marked in self._cached
        self._cached.add(marked)
        new = 0 if seen else len(marked) // 4
        return {
            "input_tokens": len(str(asked["messages"])) // 4,
            "cache_creation_input_tokens": new,
            "cache_read_input_tokens": len(marked) // 4 if seen else 0,
            "cache_creation": {"ephemeral_5m_input_tokens": new, "ephemeral_1h_input_tokens": 0},
            "output_tokens": written.output_tokens,
            "output_tokens_details": {"thinking_tokens": written.thinking_tokens},
            "service_tier": "standard",
            "inference_geo": "us",
        }


def _refused(request: Request, asked: Mapping[str, Any]) -> JSONResponse | None:
    """Return the error of a request that is ordered to be refused, or that no model takes."""
    if ordered(request, Kind.QUOTA):
        return error(429, {}, SPEND_LIMIT)
    if fault := ordered(request, Kind.REFUSAL):
        value = str(fault.value or "")
        status, message = REFUSALS.get(value, (400, value))
        return error(status, {}, message=message)
    if not asked.get("model") or not asked.get("messages") or not asked.get("max_tokens"):
        return error(400, {})
    status, message = refusal_of(asked)
    return error(status, {}, message=message) if status else None


def _tell(fact: Mapping[str, str]) -> dict[str, Any]:
    """Choose a fact of ours, or repeat a sentence of a page."""
    if fact["kind"] == "data":
        return {"fact_id": fact["id"], "quote": "", "text": ""}
    return _written(fact, _sentences_of(fact)[-1])


def _written(fact: Mapping[str, str], text: str) -> dict[str, Any]:
    """Write a text that quotes the fact's last sentence."""
    quote = _sentences_of(fact)[-1] if "text" in fact else ""
    return {"fact_id": fact["id"], "quote": quote, "text": text}


def _sentences_of(fact: Mapping[str, str]) -> list[str]:
    body = _HEADER.split(fact["text"])[-1]
    # "Apple Inc. speaks" is one sentence.
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z])", body.strip())
    return [each for each in parts if each] or [fact["text"]]


def _number_of(fact: Mapping[str, str]) -> str:
    """Return what the fact's last sentence is, if a number stands in it."""
    last = _sentences_of(fact)[-1]
    return last if _DIGIT.search(last) else ""


def _changed(text: str) -> str:
    """Make the first number of a text another."""
    return _DIGIT.sub(lambda digit: str((int(digit[0]) + 1) % 10), text, count=1)


def _obey(
    injection: Injection, facts: Sequence[Mapping[str, str]], asked: Mapping[str, Any]
) -> dict[str, Any]:
    system = json.dumps(asked.get("system", ""))
    leaked = "; ".join(fact["text"] for fact in facts)
    text = injection.obeyed.replace("{system}", system[20:320]).replace("{facts}", leaked[:300])
    page = next((fact for fact in facts if fact["kind"] == "page"), {"id": "made-up-1"})
    return _written(page, text)


def _one_a_source(facts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put the first fact of each source before the rest, as a summary would."""
    first = {fact["id"].split("-")[0]: fact for fact in reversed(facts)}
    leading = sorted(first.values(), key=facts.index)
    return leading + [fact for fact in facts if fact not in leading]
