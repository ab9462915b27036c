"""Receive the file of a simulated upload in pieces, in any number of requests.

The URLs of Mux's direct uploads are resumable sessions as Google Cloud Storage has them, there or
at a host of Mux's own. They tell the client with 308 and `Range` how much they have, and keep what
arrived before a connection was cut:
https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from aiohttp import StreamReader, hdrs, web

UNIT_BYTES = 256 * 1024
"""What a session keeps is a multiple of this, unless it is the whole file."""

RESUME_INCOMPLETE = 308

_READ_BYTES = 2**16
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", re.ASCII)


class UnfitPieceError(Exception):
    """A piece that the session cannot take; `status` is that of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Piece:
    """What a request sends, after its header `Content-Range`.

    `end` is the last byte, included; None for a whole file. `start` is None if the client only asks
    how far it got. `total` is None as long as the client does not know it.
    """

    start: int | None
    end: int | None
    total: int | None

    @classmethod
    def of(cls, request: web.Request) -> "Piece":
        """Return the piece, which without the header is the whole file.

        Raises `UnfitPieceError` for a header that makes no sense.
        """
        header = request.headers.get(hdrs.CONTENT_RANGE)
        if header is None:
            return cls(0, None, request.content_length)
        found = _CONTENT_RANGE.fullmatch(header)
        if found is None:
            raise UnfitPieceError(400, f"Content-Range is {header!r}, not bytes FIRST-LAST/TOTAL")
        numbers = (int(text) if text and text != "*" else None for text in found.groups())
        piece = cls(*numbers)
        piece._check(request.content_length)
        return piece

    @property
    def is_whole(self) -> bool:
        """Whether the request sends the whole file."""
        return self.end is None and self.start is not None

    def _check(self, content_length: int | None) -> None:
        if self.start is None or self.end is None:
            if content_length:
                raise UnfitPieceError(400, "a question for the range has no body")
        elif self.end < self.start or (self.total is not None and self.end >= self.total):
            raise UnfitPieceError(400, "Content-Range ends before it begins, or after the file")
        elif content_length is not None and content_length != self.end - self.start + 1:
            raise UnfitPieceError(400, "the body is not as long as Content-Range says")


class ReceivedFile:
    """What a session has of a file: how many bytes, and their hash instead of them."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = sha256()

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of what is stored, in hexadecimal."""
        return self._hash.hexdigest()

    @property
    def range(self) -> dict[str, str]:
        """Return the header `Range` of a 308; there is none while nothing is stored."""
        return {hdrs.RANGE: f"bytes=0-{self.size - 1}"} if self.size else {}

    async def receive(self, piece: Piece, body: StreamReader) -> bool:
        """Store a piece; return whether the file is complete.

        Of what is stored already nothing is stored again. If the connection is cut, the exception
        of `body` is raised, and what arrived before it stays. Raises `UnfitPieceError` for a piece
        that begins after what is stored: Google answers it with 503 and plain text, as in
        https://github.com/Byron/google-apis-rs/issues/438
        """
        if piece.start is None:
            return piece.total is not None and self.size == piece.total
        if piece.start > self.size:
            raise UnfitPieceError(
                503, f"the piece begins at byte {piece.start}, but {self.size} bytes are stored"
            )
        offset, buffer = piece.start, bytearray()
        async for chunk in body.iter_chunked(_READ_BYTES):
            buffer += chunk
            whole = len(buffer) - len(buffer) % UNIT_BYTES
            self._append(offset, buffer[:whole])
            offset += whole
            del buffer[:whole]
        end = offset + len(buffer)
        if piece.is_whole or end == piece.total:
            self._append(offset, buffer)
            return self.size == end
        return self.size == piece.total

    def _append(self, offset: int, data: bytes | bytearray) -> None:
        new = data[max(0, self.size - offset) :]
        self._hash.update(new)
        self.size += len(new)
