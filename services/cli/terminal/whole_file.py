"""Writing a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import typer


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write to a file beside `path` that replaces it when the block succeeds, else is deleted."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # An export may hold personal data: only its owner may read it.
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
