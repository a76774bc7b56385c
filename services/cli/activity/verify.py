"""`prospect activity verify`: whether the log is as it was sealed, by the service or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceStub
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from chassis.clock import to_datetime
from chassis.settings import SettingsError
from services.activity.proof import checkpoint, merkle
from services.activity.proof.offline import OfflineVerification
from services.cli.terminal.client import REFUSED_EXIT, Client
from services.cli.terminal.screen import shown
from services.cli.terminal.shared_options import ACTIVITY, calls

MAX_FINDINGS = 1_000
Line = Mapping[str, Any]


@dataclass(slots=True)
class Outcome:
    """What a verification found, ready to print."""

    findings: list[Line] = field(default_factory=list)
    finding_count: int = 0
    summary: dict[str, Any] = field(default_factory=dict)

    def add(self, kind: str, activity_id: str, created_at: str, detail: str) -> None:
        """Count a finding; the first thousand are kept in full."""
        self.finding_count += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(
                {"kind": kind, "activity_id": activity_id, "created_at": created_at}
                | {"detail": detail}
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON shows it."""
        counts = {"intact": self.finding_count == 0, "finding_count": self.finding_count}
        return counts | self.summary | {"findings": self.findings}


@calls(ACTIVITY)
def verify(
    client: Client,
    file: Annotated[
        Path | None, typer.Option(help="A sealed export to verify without a server.")
    ] = None,
    kept: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="The note of a checkpoint that you kept."),
    ] = None,
    public_key: Annotated[
        Path | None, typer.Option(help="The PEM public key of the log that you trust.")
    ] = None,
) -> None:
    """Verify that the log is as it was sealed; exit code 1 where it is not.

    With --file it reads a sealed export and asks no server. Without, the service compares every
    entry with its sealed hash; a kept --checkpoint must be the beginning of what it has now.

    Examples:

      prospect activity verify

      prospect activity verify --checkpoint note.txt --public-key key.pem

      prospect activity verify --file export.ndjson --checkpoint note.txt --public-key key.pem
    """
    key = _public_key(public_key) if public_key else None
    note = _text(kept) if kept else None
    if file is None:
        with client.calling(ActivityServiceStub, not_found=REFUSED_EXIT) as stub:
            outcome = _online(stub, note, key, quiet=client.as_json)
    elif note is None or key is None:
        raise SettingsError("--file needs --checkpoint and --public-key: what to verify it against")
    else:
        outcome = _offline(file, note, key)
    _print(outcome, as_json=client.as_json)
    if outcome.finding_count:
        raise typer.Exit(1)


def _offline(file: Path, note: str, key: Ed25519PublicKey) -> Outcome:
    outcome = Outcome()
    done = OfflineVerification(note, key)
    try:
        with file.open(encoding="utf-8", newline="\n") as lines:
            for each in done.run(lines):
                created_at = each.created_at.isoformat() if each.created_at else ""
                outcome.add(each.kind.value, str(each.activity_id or ""), created_at, each.detail)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from None
    outcome.summary = {
        "tree_size": done.computed.size,
        "root_hash": done.computed.root().hex(),
        "checked_count": done.checked_count,
        "erased_unproven_count": done.erased_count,
        "expired_unproven_count": done.expired_count,
        "uncovered_count": done.uncovered_count,
    }
    return outcome


def _online(
    stub: ActivityServiceStub,
    note: str | None,
    key: Ed25519PublicKey | None,
    *,
    quiet: bool,
) -> Outcome:
    outcome = Outcome()
    if note or key:
        _compare_with_kept(outcome, stub, note, key)
    for said in _shown(stub.VerifyLog(pb.VerifyLogRequest()), quiet=quiet):
        _take(outcome, said)
    return outcome


def _compare_with_kept(
    outcome: Outcome,
    stub: ActivityServiceStub,
    note: str | None,
    key: Ed25519PublicKey | None,
) -> None:
    """Check that the kept checkpoint is a beginning of the log that the service now signs."""
    answer = stub.GetCheckpoint(pb.GetCheckpointRequest())
    trusted = key or checkpoint.public_key(answer.checkpoint.public_key.encode())
    try:
        new = checkpoint.read(answer.checkpoint.note, trusted)
        old = checkpoint.read(note, trusted) if note else new
    except checkpoint.NoteError as error:
        outcome.add("tree", "", "", str(error))
        return
    if old.origin != new.origin or old.size > new.size:
        outcome.add("tree", "", "", "the kept checkpoint is of another log, or of more of it")
        return
    request = pb.GetLogProofRequest(
        consistency=pb.ConsistencyQuery(first_tree_size=old.size), tree_size=new.size
    )
    proof = stub.GetLogProof(request)
    if not merkle.verify_consistency(old.size, new.size, old.root, new.root, proof.hashes):
        outcome.add("tree", "", "", "the log that was kept is not the beginning of this one")


def _shown(
    responses: Iterator[pb.VerifyLogResponse], *, quiet: bool
) -> Iterator[pb.VerifyLogResponse]:
    """Yield the responses, and show the progress on the terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet, transient=True) as bar:
        task: TaskID = bar.add_task("verifying", total=None)
        for said in responses:
            if said.HasField("progress"):
                done, total = said.progress.checked_count, said.progress.total_count
                bar.update(task, completed=done, total=total)
            yield said


def _take(outcome: Outcome, said: pb.VerifyLogResponse) -> None:
    if said.HasField("finding"):
        found = said.finding
        kind = pb.FindingKind.Name(found.kind).removeprefix("FINDING_KIND_").lower()
        timed = found.HasField("created_at")
        created_at = to_datetime(found.created_at).isoformat() if timed else ""
        outcome.add(kind, found.activity_id, created_at, found.detail)
    elif said.HasField("summary"):
        summary = said.summary
        outcome.finding_count += summary.finding_count - min(summary.finding_count, MAX_FINDINGS)
        outcome.summary = {
            "tree_size": summary.tree_size,
            "root_hash": summary.root_hash.hex(),
            "checked_count": summary.checked_count,
            "erased_count": summary.erased_count,
            "expired_count": summary.expired_count,
            "unsealed_count": summary.unsealed_count,
        }


def _print(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(outcome.as_dict(), indent=2))
        return
    for each in outcome.findings:
        named = " ".join(each[name] for name in ("kind", "activity_id", "created_at") if each[name])
        typer.echo(shown(f"{named}: {each['detail']}"))
    if outcome.finding_count > len(outcome.findings):
        typer.echo(f"… and {outcome.finding_count - len(outcome.findings):,} more")
    counts = ", ".join(
        f"{value:,} {name.removesuffix('_count').replace('_', ' ')}"
        for name, value in outcome.summary.items()
        if name.endswith("_count") and value
    )
    said = f"NOT intact: {outcome.finding_count:,} findings" if outcome.finding_count else "intact"
    typer.echo(f"{said} ({counts or 'nothing sealed'}); root {outcome.summary.get('root_hash')}")


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        return checkpoint.public_key(_text(path).encode())
    except checkpoint.KeyFileError as error:
        raise SettingsError(f"{path} {error}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
