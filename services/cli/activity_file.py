"""A file of entries on its way into the log: parsed line by line, sent chunk by chunk."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as rpc

from services.cli import show
from services.cli.activity_filter import ACTIONS
from services.cli.client import Call

CHUNK = 500
CHUNK_BYTES = 1_000_000
# In an export a ' stands before these, so that no spreadsheet runs a cell.
_GUARDED = tuple(f"'{first}" for first in "-=+@\t\r\n'")
_NAMESPACE = uuid.UUID("0192f0c1-0000-7000-8000-00000000f11e")
Line = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was not recorded, and why."""

    line: int
    field: str
    rule: str
    message: str


@dataclass(slots=True)
class Result:
    """What became of a file."""

    recorded: int = 0
    duplicates: int = 0
    refused: list[Refused] = field(default_factory=list)

    def said(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "recorded": self.recorded,
            "duplicates": self.duplicates,
            "refused": [asdict(each) for each in self.refused],
        }


@dataclass(slots=True)
class _Upload:
    """A file being sent: which lines each chunk has, how far it is read, and what broke it."""

    file: BinaryIO
    is_csv: bool
    lines: dict[str, list[int]] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    broken: typer.BadParameter | None = None

    def requests(self) -> Iterator[pb.StreamActivitiesRequest]:
        """Yield the chunks; gRPC takes them in its own thread, so a fault is kept for later."""
        try:
            for number, (lines, request) in enumerate(_chunks(self._parsed())):
                content = sha256(request.SerializeToString(deterministic=True)).hexdigest()
                # From place and content: sending the file again repeats its requests.
                request.request_id = str(uuid.uuid5(_NAMESPACE, f"{number} {content}"))
                self.lines[request.request_id] = lines
                self.read[request.request_id] = self.file.tell()
                yield request
        except typer.BadParameter as fault:
            self.broken = fault

    def _parsed(self) -> Iterator[Line]:
        text = io.TextIOWrapper(self.file, encoding="utf-8-sig", newline="")
        try:
            yield from _csv_lines(text) if self.is_csv else _json_lines(text)
        except UnicodeDecodeError:
            raise typer.BadParameter("the file is not UTF-8") from None
        finally:
            text.detach()


def record(call: Call, path: Path) -> Result:
    """Record every line of a file; what was acknowledged before a broken line stays recorded."""
    result = Result()
    try:
        file = open(path, "rb")  # noqa: SIM115 -- closed below
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from None
    with file, show.transfer(counted=False) as progress:
        bar = progress.add_task("recording", total=path.stat().st_size)
        upload = _Upload(file, path.suffix == ".csv")
        stub = rpc.ActivityServiceStub(call.channel)
        for answer in stub.StreamActivities(upload.requests(), metadata=call.metadata):
            progress.update(bar, completed=upload.read[answer.request_id])
            _add(result, answer, upload.lines.pop(answer.request_id))
    if upload.broken:
        raise upload.broken
    return result


def _add(result: Result, answer: pb.StreamActivitiesResponse, lines: list[int]) -> None:
    result.recorded += answer.recorded_count
    result.duplicates += answer.duplicate_count
    result.refused += [
        Refused(lines[each.index], each.field, each.rule, each.message)
        for each in answer.refused_entries
    ]


def _chunks(lines: Iterator[Line]) -> Iterator[tuple[list[int], pb.StreamActivitiesRequest]]:
    """Put entries together, few enough and small enough for one message."""
    numbers, request, size = list[int](), pb.StreamActivitiesRequest(), 0
    for number, fields in lines:
        entry = new_activity(number, fields)
        size += entry.ByteSize()
        if numbers and (len(numbers) == CHUNK or size > CHUNK_BYTES):
            yield numbers, request
            numbers, request, size = [], pb.StreamActivitiesRequest(), entry.ByteSize()
        numbers.append(number)
        request.activities.append(entry)
    if numbers:
        yield numbers, request


def _json_lines(text: io.TextIOBase) -> Iterator[Line]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                parsed = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise typer.BadParameter(f"line {number} is not JSON: {error}") from None
            if not isinstance(parsed, dict):
                raise typer.BadParameter(f"line {number} is not a JSON object")
            yield number, parsed


def _csv_lines(text: io.TextIOBase) -> Iterator[Line]:
    reader = csv.DictReader(text, strict=True)
    if not {"user_id", "action_type"} <= set(reader.fieldnames or ()):
        raise typer.BadParameter(
            "the first line must name the columns, user_id and action_type too"
        )
    try:
        for row in reader:
            cells = {name: cell or "" for name, cell in row.items() if name}
            yield reader.line_num, {name: _unguarded(cell) for name, cell in cells.items()}
    except csv.Error as error:
        raise typer.BadParameter(f"line {reader.line_num} is not CSV: {error}") from None


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith(_GUARDED) else cell


def new_activity(line: int, fields: dict[str, Any]) -> pb.NewActivity:
    """Return a line as an entry; what it may hold, the service knows and says by line."""
    metadata = fields.get("metadata") or {}
    action = str(fields.get("action_type", ""))
    if action not in ACTIONS:
        choices = ", ".join(ACTIONS)
        raise typer.BadParameter(f"line {line}: action_type {action!r} must be one of {choices}")
    return pb.NewActivity(
        activity_id=str(fields.get("activity_id") or ""),
        user_id=str(fields.get("user_id") or ""),
        action_type=ACTIONS[action],
        target_id=str(fields.get("target_id") or ""),
        metadata_json=metadata if isinstance(metadata, str) else json.dumps(metadata),
        created_at=_time(line, str(fields.get("created_at") or "")),
        ip_address=str(fields.get("ip_address") or ""),
        user_agent=str(fields.get("user_agent") or ""),
    )


def _time(line: int, text: str) -> Timestamp | None:
    if not text:
        return None
    moment = Timestamp()
    try:
        moment.FromJsonString(text)
    except ValueError:
        raise typer.BadParameter(f"line {line}: created_at {text!r} must be RFC 3339") from None
    return moment
