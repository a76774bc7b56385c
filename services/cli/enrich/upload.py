"""Sending a file of prospects as a batch: rows are read one by one and sent in chunks."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import typer
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2
from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceStub

from services.cli.enrich import csv_rows
from services.cli.enrich.csv_rows import Refused, Row

CHUNK_ROWS = 500
MAX_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What all requests of a batch have in common."""

    priority: prospect_pb2.Priority.ValueType
    budget_micros: int
    force: bool


class Upload:
    """A batch being sent. A row's place in the file is its place in the batch: sent again under the
    same id, each row finds the run that it already has.
    """

    def __init__(self, path: str, terms: Terms, batch_id: str = "") -> None:
        self.batch_id = batch_id or str(uuid.uuid4())
        self.accepted = self.joined = 0
        self._path = path
        self._terms = terms
        self._sent: dict[int, list[Row]] = {}
        self._refused: list[Refused] = []
        self._broken: typer.BadParameter | None = None
        self._has_begun = threading.Event()

    def send(self, stub: EnrichmentServiceStub) -> Iterator[Refused]:
        """Send the file; yield the rows that are refused. When it ends, the batch is closed."""
        self._answers = stub.BatchRequestEnrichments(self._chunks())
        self._has_begun.set()
        try:
            for answer in self._answers:
                if answer.HasField("progress"):
                    break  # the last chunk was accepted and the batch closed; WatchBatch goes on
                yield from self._take(answer.accepted)
        except grpc.RpcError:
            if self._broken is None:
                raise
        finally:
            self._answers.cancel()
        if self._broken:
            raise self._broken
        yield from self._refused

    def _take(self, said: pb.AcceptedChunk) -> Iterator[Refused]:
        rows = self._sent.pop(said.first_index)
        self.accepted += said.accepted
        self.joined += said.joined
        for each in said.refused:
            row = rows[each.index - said.first_index]
            yield Refused(row, each.field, each.rule, each.message)

    def _chunks(self) -> Iterator[pb.BatchRequestEnrichmentsRequest]:
        """Yield chunks; gRPC iterates in its own thread, so an error is kept for `send` to raise.

        An error cancels the call and does not end it well, so that the batch stays open.
        """
        try:
            yield from self._parsed()
        except typer.BadParameter as error:
            self._broken = error
            self._has_begun.wait()
            self._answers.cancel()

    def _parsed(self) -> Iterator[pb.BatchRequestEnrichmentsRequest]:
        """Yield consecutive rows as chunks; an invalid row leaves its place in the batch empty."""
        chunk: list[tuple[Row, pb.RequestEnrichmentRequest]] = []
        is_begun = False
        for row in csv_rows.read_rows(self._path, csv_rows.PROSPECTS):
            _check(row)
            request = csv_rows.request_of(row)
            if chunk and (isinstance(request, Refused) or len(chunk) == CHUNK_ROWS):
                yield self._message(chunk)
                chunk, is_begun = [], True
            if isinstance(request, Refused):
                self._refused.append(request)
            else:
                chunk.append((row, self._on_terms(request)))
        if chunk or (self._refused and not is_begun):
            yield self._message(chunk)
        elif not is_begun:
            raise typer.BadParameter("there are no rows to send")

    def _message(
        self, chunk: list[tuple[Row, pb.RequestEnrichmentRequest]]
    ) -> pb.BatchRequestEnrichmentsRequest:
        first_index = chunk[0][0].place if chunk else 0
        self._sent[first_index] = [row for row, _ in chunk]
        requests = [request for _, request in chunk]
        return pb.BatchRequestEnrichmentsRequest(
            batch_id=self.batch_id, first_index=first_index, requests=requests
        )

    def _on_terms(self, request: pb.RequestEnrichmentRequest) -> pb.RequestEnrichmentRequest:
        request.priority = self._terms.priority
        request.budget_micros = self._terms.budget_micros
        request.force = self._terms.force
        return request


def _check(row: Row) -> None:
    if row.place == MAX_ROWS:
        text = f"a batch has at most {MAX_ROWS:,} rows: send the rest as another"
        raise typer.BadParameter(f"line {row.line}: {text}")
