"""A road to a server that breaks the connections on it when a test says so."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE_BYTES = 65536


class _Connection:
    """Two sockets and the two threads that carry bytes between them."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._ends = (near, far)
        self.is_forgotten = False
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if not self.is_forgotten:
                    target.sendall(piece)
        self.close()

    def close(self) -> None:
        """End it, as a server does that has waited long enough for another request."""
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Road:
    """Carries connections on a loopback port to a server, for as long as the `with` block lasts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 80)
        self._changed = threading.Condition()
        self._connections: list[_Connection] = []
        self.opened = 0

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody who accepts
        self._listening.close()
        self.close_connections()

    @property
    def url(self) -> str:
        """Give the address at which the road begins."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(self._server)
                with self._changed:
                    self._connections.append(_Connection(near, far))
                    self.opened += 1
                    self._changed.notify_all()

    def close_connections(self) -> int:
        """Close all connections in both directions; give how many were opened until now."""
        with self._changed:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
            return self.opened

    def forget_connections(self) -> int:
        """Swallow, from now on, what is sent on the connections there are, without a word."""
        with self._changed:
            for connection in self._connections:
                connection.is_forgotten = True
            return self.opened

    def wait_for_connections(self, number: int, timeout_seconds: float = 45.0) -> None:
        """Block until so many connections were opened; raise `TimeoutError` if they are not."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.opened >= number, timeout_seconds):
                raise TimeoutError(f"{self.opened} of {number} connections")
