"""A relay that counts all bytes of the connections that it forwards."""

import asyncio
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PIECE_BYTES = 65536


class Relay:
    """Forward connections to a local server and count their bytes; a context manager."""

    def __init__(self, url: str) -> None:
        """Prepare a relay to the server at `url`."""
        self._to = urlsplit(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server
        self.bytes_sent = 0
        """The bytes that the clients sent."""
        self.bytes_received = 0

    @property
    def url(self) -> str:
        """The URL of the relay."""
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _pass_on(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        reader, writer = await asyncio.open_connection(self._to.hostname, self._to.port)

        async def up() -> None:
            while piece := await client_reader.read(PIECE_BYTES):
                self.bytes_sent += len(piece)
                writer.write(piece)
            writer.close()

        async def down() -> None:
            while piece := await reader.read(PIECE_BYTES):
                self.bytes_received += len(piece)
                client_writer.write(piece)
            client_writer.close()

        await asyncio.gather(up(), down(), return_exceptions=True)
