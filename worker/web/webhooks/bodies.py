"""Read the bodies of requests without holding many large ones in memory at a time."""

from aiohttp import web

MOST_BYTES = 1024 * 1024
USUAL_BYTES = 64 * 1024
"""Mux's events are smaller. Before a body is whole nobody knows who signed it, so of those that are
larger only a few are read at a time: the rest are told to come again."""

MOST_LARGE_AT_ONCE = 4


class TooLarge(Exception):
    """The body is over MOST_BYTES."""


class TooManyLarge(Exception):
    """Enough large bodies are being read."""


class Broken(Exception):
    """The body cannot be read to its end."""


class Bodies:
    """Reads bodies as they were sent, piece by piece, and no more than may be."""

    def __init__(self) -> None:
        self._large = 0

    async def read(self, request: web.Request) -> bytes:
        """Give the body.

        Raises TooLarge, TooManyLarge or Broken.
        """
        if (request.content_length or 0) > MOST_BYTES:
            raise TooLarge
        body = bytearray()
        try:
            async for piece in request.content.iter_any():
                self._take_in(body, piece)
        except (web.RequestPayloadError, ConnectionError) as error:
            raise Broken from error
        finally:
            self._large -= len(body) > USUAL_BYTES
        return bytes(body)

    def _take_in(self, body: bytearray, piece: bytes) -> None:
        size = len(body) + len(piece)
        if size > MOST_BYTES:
            raise TooLarge
        if len(body) <= USUAL_BYTES < size:
            if self._large >= MOST_LARGE_AT_ONCE:
                raise TooManyLarge
            self._large += 1
        body += piece
