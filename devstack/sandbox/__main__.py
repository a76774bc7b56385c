"""`python -m devstack.sandbox`: serve the sandbox."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from devstack.sandbox.app import create_app
from devstack.sandbox.edgar import REQUESTS_A_SECOND

DATA = Path(__file__).parent / "data"


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="The sources' sandbox.")
    parser.add_argument("--port", type=int, default=8400, help="port on 127.0.0.1")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of filings")
    parser.add_argument("--latency", type=int, default=0, help="milliseconds before each answer")
    parser.add_argument(
        "--sec-rate", type=int, default=REQUESTS_A_SECOND, help="requests a second EDGAR allows"
    )
    chosen = parser.parse_args()
    app = create_app(chosen.data, chosen.latency / 1000, chosen.sec_rate)
    uvicorn.run(app, port=chosen.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
