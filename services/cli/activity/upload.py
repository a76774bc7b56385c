"""Recording a file of entries: it is parsed line by line and sent in chunks."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub

from services.cli.activity.options import ACTIONS
from services.cli.terminal.csv_cells import unguarded
from services.cli.terminal.screen import transfer

CHUNK_ENTRIES = 500
CHUNK_BYTES = 1_000_000
_NAMESPACE = uuid.UUID("0192f0c1-0000-7000-8000-00000000f11e")
TEXTS = ("activity_id", "user_id", "target_id", "ip_address", "user_agent")
Entry = tuple[int, pb.NewActivity]


class _Number(str):
    """A number kept as text: Python's types would round some that PostgreSQL keeps."""

    __slots__ = ()


class InvalidLine(Exception):
    """A line is not an entry; the arguments are the field, the rule, and the rule in words."""


class UnreadableFile(Exception):
    """The rest of a file cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was not recorded, and why."""

    line: int
    field: str
    rule: str
    message: str


@dataclass(slots=True)
class Result:
    """How many lines of a file were recorded, and which were not."""

    recorded: int = 0
    duplicates: int = 0
    refused: list[Refused] = field(default_factory=list)
    broken: str = ""
    """Why the file was not read to its end."""

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON shows it."""
        return {
            "recorded": self.recorded,
            "duplicates": self.duplicates,
            "refused": [asdict(each) for each in self.refused],
            **({"broken": self.broken} if self.broken else {}),
        }


@dataclass(slots=True)
class _Upload:
    """A file being sent: the lines of each chunk, how far it is read, and what is refused."""

    file: BinaryIO
    is_csv: bool
    lines: dict[str, list[int]] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    broken: str = ""

    def requests(self) -> Iterator[pb.StreamActivitiesRequest]:
        """Yield the file as requests of one chunk each."""
        for number, (lines, request) in enumerate(_chunks(self._entries())):
            content = sha256(request.SerializeToString(deterministic=True)).hexdigest()
            # Made from place and content: sending the file again repeats its requests.
            request.request_id = str(uuid.uuid5(_NAMESPACE, f"{number} {content}"))
            self.lines[request.request_id] = lines
            self.read[request.request_id] = self.file.tell()
            yield request

    def _entries(self) -> Iterator[Entry]:
        """Yield the entries with their line numbers; keep invalid lines as refused."""
        # Bytes that are not UTF-8 make their own line invalid, and no other.
        text = io.TextIOWrapper(self.file, "utf-8-sig", errors="surrogateescape", newline="")
        try:
            for number, line in _csv_lines(text) if self.is_csv else enumerate(text, 1):
                if not isinstance(line, str) or line.strip():
                    try:
                        yield number, new_activity(_fields(line))
                    except InvalidLine as fault:
                        self.refused.append(Refused(number, *fault.args))
        except UnreadableFile as fault:
            self.broken = str(fault)
        finally:
            with contextlib.suppress(ValueError):  # closed already, where the call failed
                text.detach()


def record_file(stub: ActivityServiceStub, path: Path) -> Result:
    """Record each line of a file that is a valid entry; report the others as refused."""
    result = Result()
    try:
        file = open(path, "rb")  # noqa: SIM115 -- closed below
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}") from None
    with file, transfer(counted=False) as progress:
        bar = progress.add_task("recording", total=path.stat().st_size)
        upload = _Upload(file, path.suffix.lower() == ".csv")
        for answer in stub.StreamActivities(upload.requests()):
            progress.update(bar, completed=upload.read[answer.request_id])
            _add(result, answer, upload.lines.pop(answer.request_id))
    result.refused = sorted(result.refused + upload.refused, key=lambda each: each.line)
    result.broken = upload.broken
    return result


def _add(result: Result, answer: pb.StreamActivitiesResponse, lines: list[int]) -> None:
    repeated = answer.recorded_count if answer.is_repeat else 0
    result.recorded += answer.recorded_count - repeated
    result.duplicates += answer.duplicate_count + repeated
    result.refused += [
        Refused(lines[each.index], each.field, each.rule, each.message)
        for each in answer.refused_entries
    ]


def _chunks(entries: Iterator[Entry]) -> Iterator[tuple[list[int], pb.StreamActivitiesRequest]]:
    """Group entries into requests that stay within the limits of a chunk."""
    numbers, request, size = list[int](), pb.StreamActivitiesRequest(), 0
    for number, entry in entries:
        size += entry.ByteSize()
        if numbers and (len(numbers) == CHUNK_ENTRIES or size > CHUNK_BYTES):
            yield numbers, request
            numbers, request, size = [], pb.StreamActivitiesRequest(), entry.ByteSize()
        numbers.append(number)
        request.activities.append(entry)
    if numbers:
        yield numbers, request


def _fields(line: str | dict[str, str]) -> dict[str, Any]:
    """Parse a line of JSON; a line of CSV is parsed already."""
    if isinstance(line, dict):
        return line
    try:
        parsed = json.loads(line, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidLine("", "json", f"is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidLine("", "json.object", "is not a JSON object")
    return parsed


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _csv_lines(text: io.TextIOBase) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(text, strict=True)
    if not {"user_id", "action_type"} <= set(reader.fieldnames or ()):
        raise UnreadableFile("the first line must name the columns, user_id and action_type too")
    try:
        for row in reader:
            cells = {name: cell or "" for name, cell in row.items() if name}
            yield reader.line_num, {name: unguarded(cell) for name, cell in cells.items()}
    except csv.Error as error:
        raise UnreadableFile(f"after line {reader.line_num} it is not CSV: {error}") from None


def new_activity(fields: dict[str, Any]) -> pb.NewActivity:
    """Return a line as an entry, or raise InvalidLine; the service validates the values."""
    action = str(fields.get("action_type", ""))
    if action not in ACTIONS:
        raise InvalidLine(
            "action_type", "enum.defined_only", f"must be one of {', '.join(ACTIONS)}"
        )
    texts = {name: str(fields.get(name) or "") for name in TEXTS}
    created_at = _time(str(fields.get("created_at") or ""))
    try:
        return pb.NewActivity(
            action_type=ACTIONS[action],
            metadata_json=_json_text(fields.get("metadata") or {}),
            created_at=created_at,
            **texts,
        )
    except (TypeError, ValueError):  # invalid UTF-8, or half of a surrogate pair in JSON's escapes
        raise InvalidLine("", "string.utf8", "has a text that is not UTF-8") from None


def _json_text(metadata: object) -> str:
    if isinstance(metadata, str):
        return metadata
    option = orjson.OPT_PASSTHROUGH_SUBCLASS
    return orjson.dumps(metadata, default=_as_written, option=option).decode()


def _as_written(number: _Number) -> orjson.Fragment:
    return orjson.Fragment(number.encode())


def _time(text: str) -> Timestamp | None:
    if not text:
        return None
    moment = Timestamp()
    try:
        moment.FromJsonString(text)
    except ValueError:
        raise InvalidLine("created_at", "timestamp", "must be RFC 3339") from None
    return moment
