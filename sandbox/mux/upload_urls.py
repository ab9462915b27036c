"""Serve the URLs of the simulated uploads, which take a file whole or in pieces."""

from aiohttp import web

from sandbox.mux.auth import UPLOAD_URL_PREFIX
from sandbox.mux.requests import found, invalid
from sandbox.mux.resumable import RESUME_INCOMPLETE, Piece, UnfitPieceError
from sandbox.mux.state import MuxState


class UploadUrls:
    """Handle the routes of the upload URLs."""

    def __init__(self, state: MuxState) -> None:
        self._state = state

    def table(self) -> list[web.RouteDef]:
        """Return the routes."""
        path = UPLOAD_URL_PREFIX + "{url_token}"
        return [web.options(path, self.answer_preflight), web.put(path, self.receive_file)]

    async def answer_preflight(self, request: web.Request) -> web.Response:
        """Answer a browser that asks what it may send."""
        found(self._state.upload_by_url_token, request.match_info["url_token"])
        return web.Response()  # the CORS headers are added to every response

    async def receive_file(self, request: web.Request) -> web.Response:
        """Receive the file, or a piece of it, or the question how much of it is stored."""
        url_token = request.match_info["url_token"]
        try:
            piece = Piece.of(request)
            if not piece.is_whole and self._is_sent(url_token):
                return _response(200)  # the response to the last piece was lost
            file = found(self._state.file_of, url_token)
            is_complete = await file.receive(piece, request.content)
        except UnfitPieceError as error:
            return _response(error.status, str(error))
        if not is_complete:
            return _response(RESUME_INCOMPLETE, **file.range)
        if not file.size:
            raise invalid("the file is empty")
        found(self._state.receive_file, url_token)
        return _response(200)

    def _is_sent(self, url_token: str) -> bool:
        return found(self._state.upload_by_url_token, url_token).file_at is not None


def _response(status: int, text: str = "", **headers: str) -> web.Response:
    # Without a type browsers take an empty body for XML, and complain about it.
    typed = {"Content-Type": "text/plain; charset=utf-8", **headers}
    return web.Response(status=status, body=text.encode(), headers=typed)
