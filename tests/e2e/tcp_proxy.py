"""A TCP proxy whose connections a test can close or make silent."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

CHUNK_BYTES = 65536


class _Connection:
    """Two sockets and the two threads that copy bytes between them."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._sockets = (client, server)
        self.is_silent = False
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._copy, args=(source, target), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                if not self.is_silent:
                    target.sendall(chunk)
        self.close()

    def close(self) -> None:
        """Close both sockets, as a server does with an idle connection."""
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class TcpProxy:
    """Forward connections from a loopback port to a server while the `with` block lasts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 80)
        self._changed = threading.Condition()
        self._connections: list[_Connection] = []
        self.opened = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close() alone does not interrupt accept()
        self._listener.close()
        self.close_connections()

    @property
    def url(self) -> str:
        """Return the URL of the proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                with self._changed:
                    self._connections.append(_Connection(client, server))
                    self.opened += 1
                    self._changed.notify_all()

    def close_connections(self) -> int:
        """Close all connections in both directions; return how many were opened until now."""
        with self._changed:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            return self.opened

    def silence_connections(self) -> int:
        """Drop all bytes on the open connections from now on; return how many were opened."""
        with self._changed:
            for connection in self._connections:
                connection.is_silent = True
            return self.opened

    def wait_for_connections(self, count: int, timeout_seconds: float = 45.0) -> None:
        """Block until `count` connections were opened; raise `TimeoutError` if they are not."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.opened >= count, timeout_seconds):
                raise TimeoutError(f"{self.opened} of {count} connections")
