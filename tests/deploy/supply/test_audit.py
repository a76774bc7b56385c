"""The audit says what the database knows, and never takes its silence for good news."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.deploy.supply.conftest import Run

KNOWN = {
    "id": "GHSA-0000-0000-0000",
    "aliases": ["CVE-2020-0001"],
    "summary": "a fault",
    "affected": [
        {
            "package": {"name": "weak", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
    ],
}


@contextmanager
def database(status: int = 200, body: str | None = None) -> Iterator[str]:
    """Serve OSV's query, which knows a vulnerability of `weak`; or answer always the same."""

    class Query(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked = json.loads(self.rfile.read(length))["package"]
            answer = json.dumps({"vulns": [KNOWN]} if asked["name"] == "weak" else {})
            self.send_response(status)
            self.end_headers()
            self.wfile.write((answer if body is None else body).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Query) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def lock(folder: Path, *names: str) -> Path:
    path = folder / f"{'-'.join(names)}.txt"
    path.write_text("".join(f"{name}==1.0 --hash=sha256:{'a' * 64}\n" for name in names))
    return path


def test_packages_without_a_known_vulnerability_pass(run_tool: Run, tmp_path: Path) -> None:
    with database() as url:
        done = run_tool("-m", "deploy.supply.audit", "--osv-url", url, lock(tmp_path, "one", "two"))
    assert done.returncode == 0, done.stdout
    assert "no vulnerability is known of its 2 packages" in done.stdout


def test_a_known_vulnerability_is_named_with_its_package_and_remedy(
    run_tool: Run, tmp_path: Path
) -> None:
    with database() as url:
        locks = [lock(tmp_path, "one", "weak"), lock(tmp_path, "two")]
        done = run_tool("-m", "deploy.supply.audit", "--osv-url", url, *locks)
    assert done.returncode == 1, done.stdout
    assert "weak 1.0: CVE-2020-0001, GHSA-0000-0000-0000; fixed in: 1.1" in done.stdout
    assert "two.txt: no vulnerability is known of its 1 packages" in done.stdout


def test_a_database_out_of_reach_is_said_and_is_no_good_news(run_tool: Run, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # held, so that nobody else listens there
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1/query"
        done = run_tool("-m", "deploy.supply.audit", "--osv-url", url, lock(tmp_path, "one"))
    assert done.returncode == 3, done.stdout
    assert "NOT AUDITED: the vulnerability database is out of reach" in done.stdout
    assert "Connection refused" in done.stdout
    assert "no vulnerability" not in done.stdout


@pytest.mark.parametrize(
    ("status", "body"), [(503, ""), (404, ""), (200, "<html>sign in</html>"), (200, '{"code": 7}')]
)
def test_an_answer_that_is_not_the_databases_is_no_good_news(
    status: int, body: str, run_tool: Run, tmp_path: Path
) -> None:
    with database(status, body) as url:
        done = run_tool("-m", "deploy.supply.audit", "--osv-url", url, lock(tmp_path, "one"))
    assert done.returncode == 3, done.stdout
    assert "NOT AUDITED" in done.stdout
    assert "no vulnerability" not in done.stdout
