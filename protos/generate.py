"""Generate the committed Python from the contracts: `make protos`; `--check` fails on drift.

protoc comes from grpcio-tools, pinned low in requirements-dev.in: what it generates runs on newer
protobuf and grpcio, not the other way round. The .pyi files come from mypy-protobuf. The names of
the sources are written into source_name.proto, from the catalogue of the sources.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

from services.enrichment.sources.catalogue import SourceName

ROOT = Path(__file__).parent
SOURCE_NAMES = Path("prospect/enrichment/v1/source_name.proto")
RULE = """// The names of sources, from the catalogue of the sources; `make protos` writes them.

syntax = "proto2";

package prospect.enrichment.v1;

import "buf/validate/validate.proto";

extend buf.validate.StringRules {{
  // is_source demands the name of a source: {names}.
  optional bool is_source = 80048401 [(buf.validate.predefined).cel = {{
    id: "string.in"
    message: "must be one of {names}"
    expression: "!rule || this in [{quoted}]"
  }}];
}}
"""


def generate(out: Path) -> None:
    """Write the generated modules of every contract under `out`."""
    well_known = files("grpc_tools") / "_proto"
    ours = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("prospect/**/*.proto"))
    services = [path for path in ours if path.endswith("_service.proto")]
    plugins = [
        f"--plugin={name}={Path(sys.executable).parent / name}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    common = [f"-I{ROOT}", f"-I{well_known}", *plugins]
    messages = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    stubs = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
    _run([*common, *messages, "buf/validate/validate.proto", *ours])
    _run([*common, *stubs, *services])


def source_names() -> str:
    """Return the contract's rule for the names of sources."""
    quoted = ", ".join(f"'{name.value}'" for name in SourceName)
    return RULE.format(names=", ".join(SourceName), quoted=quoted)


def _run(arguments: list[str]) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc failed; its message stands above")


def _generated(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for pattern in ("**/*_pb2*.py", "**/*_pb2*.pyi")
        for path in root.glob(pattern)
    }


def main() -> None:
    """Regenerate in place, or compare with `--check`."""
    if "--check" not in sys.argv:
        (ROOT / SOURCE_NAMES).write_text(source_names())
        generate(ROOT)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, committed = _generated(Path(folder)), _generated(ROOT)
    fresh[str(SOURCE_NAMES)] = source_names().encode()
    committed[str(SOURCE_NAMES)] = (ROOT / SOURCE_NAMES).read_bytes()
    stale = sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))
    if stale:
        sys.exit(f"generated code is stale, run `make protos`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
