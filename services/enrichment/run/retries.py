"""How often a call may fail, by the class of its error, and what takes a summary's place; pure."""

from __future__ import annotations

from collections.abc import Mapping

from services.enrichment.sources.call import ErrorClass, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName

MAX_FAILURES: Mapping[ErrorClass, int] = {
    ErrorClass.TRANSIENT: 4,
    ErrorClass.THROTTLED: 6,
    ErrorClass.INVALID_ANSWER: 2,
    ErrorClass.CUT_SHORT: 2,
}
"""How often a step may fail, by the class of the last error; a class not named is not retried."""
REPLACED = frozenset(
    {
        ErrorClass.INVALID_ANSWER,
        ErrorClass.CUT_SHORT,
        ErrorClass.REFUSED_REQUEST,
        ErrorClass.QUOTA,
        ErrorClass.CONFIGURATION,
    }
)
"""Why a plain summary takes the place of the model's: asking again soon would bring no other."""


def max_failures(source: SourceName, error: SourceError) -> int:
    """Return how often a step may fail so; a paid answer without use is not bought again."""
    is_answer = error.error_class is ErrorClass.INVALID_ANSWER
    return 1 if is_answer and SOURCES[source].is_paid else MAX_FAILURES.get(error.error_class, 1)
