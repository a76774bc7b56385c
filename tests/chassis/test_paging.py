"""Page tokens: the next page begins after the row that the token names, for its own question."""

from __future__ import annotations

import uuid

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from chassis.errors import InvalidArgument
from chassis.paging import Cursor, read_cursor
from chassis.tokens import ContinuationTokens

KEYS = (b"k" * 32,)
TENANT = uuid.UUID(int=7)
TOKENS = ContinuationTokens(KEYS, "list", TENANT, StringValue(value="wanted"))


@pytest.mark.parametrize(
    "micros", [0, -62_135_596_800_000_000, 1_796_083_200_000_001, 253_402_300_799_999_999]
)
def test_a_token_names_the_row_that_it_was_made_of(micros: int) -> None:
    cursor = Cursor(micros, uuid.uuid4())
    assert read_cursor(TOKENS, cursor.token(TOKENS)) == cursor


def test_no_token_means_the_first_page() -> None:
    assert read_cursor(TOKENS, "") is None


@pytest.mark.parametrize(
    "token",
    [
        Cursor(1, TENANT).token(
            ContinuationTokens(KEYS, "list", TENANT, StringValue(value="other"))
        ),
        TOKENS.issue(b"no position"),
        Cursor(2**63 - 1, TENANT).token(TOKENS),
        Cursor(253_402_300_800_000_000, TENANT).token(TOKENS),
        Cursor(-62_135_596_800_000_001, TENANT).token(TOKENS),
        "é",
    ],
)
def test_a_token_of_another_question_or_form_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument):
        read_cursor(TOKENS, token)
