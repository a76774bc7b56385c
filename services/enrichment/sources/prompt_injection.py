"""Text from the web that speaks to a machine instead of a reader; pure.

No filter finds every such text, and none is relied on: a summary has no tools, and what it says is
checked against the facts. But a page that is caught giving orders is no evidence about anybody, so
it becomes no fact. Each pattern is known from texts that were found on the web (see the
sandbox's data).
"""

from __future__ import annotations

import re
import unicodedata

_ZERO_WIDTH = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_MACHINE = r"(?:an?\s+|the\s+)?(?:llm|large language model|language model|ai|chatbot|gpt)\b"
_ORDERS = (
    # the model's own orders are to be forgotten
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.!?]{0,40}"
    r"\b(?:previous|prior|above|earlier|preceding|system|all)\b[^.!?]{0,40}"
    r"\b(?:instructions?|prompts?|directions?|commands?|rules|text)\b",
    # a machine is spoken to
    rf"\bif\s+(?:you\s*(?:are|'re|\u2019re)|this\s+is)\s+{_MACHINE}",
    r"\b(?:hi|hey|hello|dear|attention|note\s+to)\s+"
    r"(?:bing|chatgpt|claude|gemini|copilot|grok|siri|ai|llms?|assistant)\b",
    r"(?:^|\n|[.!?>\]]\s*)(?:assistant|system)\s*:",
    r"\byou\s+(?:are|must)\s+now\b",
    # marks of a prompt
    r"\[/?(?:begin_|end_)?admin",
    r"<\|?(?:im_start|im_end|system|endoftext)",
    r"#{2,}\s*(?:instruction|system)",
    r"\bsystem\s+(?:prompt|override|message)\b",
    r"\b(?:developer|god)\s+mode\b",
    r"</?facts>",
    # what is to be written
    r"\bpositive\s+review\s+only\b",
    r"\b(?:start|begin|end)\s+your\s+(?:answer|response|reply|output|message)\b",
    r"\bin\s+your\s+(?:answer|response|reply|output|message|summary)\b",
    r"\bif\s+you\s*(?:are|'re|\u2019re)\s+(?:generating|writing|summari[sz]ing|reading\s+this\s+as)",
    r"\binstead\s+of\s+(?:translating|summari[sz]ing|answering)\b",
    r"\bencode\s+the\s+result\b|\bas\s+a\s+markdown\s+(?:link|image)\b",
)
_ORDER = re.compile("|".join(f"(?:{each})" for each in _ORDERS), re.IGNORECASE)


def gives_orders(text: str) -> bool:
    """Tell whether a text is caught addressing a language model."""
    plain = _ZERO_WIDTH.sub("", unicodedata.normalize("NFKC", text))
    return _ORDER.search(plain) is not None
