"""PostgreSQL from Debian, in a folder of its own, as an ordinary user; tests skip where it is not installed."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.ports import free_port

_PATIENCE = 120.0  # seconds; a machine with too much to do takes long to start it


@dataclass(frozen=True)
class Server:
    """A running server; its folder holds the socket, too."""

    folder: Path
    port: int
    password: str

    def database(self, *, by_socket: bool = False) -> str:
        """The URL of a new database."""
        name = f"d{secrets.token_hex(6)}"
        with psycopg.connect(self._target("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        where = f"/{name}?host={self.folder}&port={self.port}" if by_socket else f"127.0.0.1:{self.port}/{name}"
        return f"postgresql+psycopg://kloister:{self.password}@{where}"

    def end_sessions(self) -> None:
        """As a failover does it: every connection is gone."""
        with psycopg.connect(self._target("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            psycopg.connect(self._target("postgres"), connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    def _target(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=kloister password={self.password} dbname={name}"


@contextmanager
def running() -> Iterator[Server]:
    """A server without durability, for what is killed is never the server."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="kloister-pg-"))  # pytest's folders are closed to other users
    try:
        server = Server(folder, free_port(), secrets.token_hex(16))
        user = _ordinary_user(folder)
        _initialise(programs, server, user)
        with _served(programs, server, user):
            yield server
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Where Debian puts them; they are not on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        pytest.skip("postgresql is not installed")
    return found[-1].parent


def _ordinary_user(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _initialise(programs: Path, server: Server, user: dict[str, Any]) -> None:
    secret = server.folder / "password"
    secret.write_text(server.password)  # in a folder of mode 0700
    if user:
        os.chown(secret, user["user"], user["group"])
    command = [
        str(programs / "initdb"), "--pgdata", str(server.folder / "data"), "--username", "kloister",
        "--auth", "scram-sha-256", "--pwfile", str(secret), "--encoding", "UTF8", "--locale", "C", "--no-sync",
    ]  # fmt: skip
    subprocess.run(command, cwd=server.folder, check=True, capture_output=True, timeout=_PATIENCE, **user)
    secret.unlink()


@contextmanager
def _served(programs: Path, server: Server, user: dict[str, Any]) -> Iterator[None]:
    options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(server.folder), "fsync": "off"}
    command = [str(programs / "postgres"), "-D", str(server.folder / "data"), "-p", str(server.port)]
    command += [f"--{name}={value}" for name, value in options.items()]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=server.folder, stdout=log, stderr=log, **user)
        try:
            deadline = time.monotonic() + _PATIENCE
            while not server.ready():
                assert process.poll() is None, _said(log)
                assert time.monotonic() < deadline, _said(log)
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # ends sessions, then itself
            process.wait(_PATIENCE)


def _said(log: Any) -> str:
    log.seek(0)
    return str(log.read().decode(errors="replace"))
