"""Serve the files of the instructor's page, and supabase-js and UpChunk from npm's packages."""

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from sandbox.app.middleware import error_response
from sandbox.checkout import CHECKOUT

PAGE = Path(__file__).with_name("page")
MODULES = CHECKOUT / "node_modules"
PACKAGES = {
    "supabase.js": MODULES / "@supabase" / "supabase-js" / "dist" / "umd" / "supabase.js",
    "upchunk.js": MODULES / "@mux" / "upchunk" / "dist" / "upchunk.mjs",
}
"""The files of npm's packages, by the name under which the page loads them."""

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}


class PageFiles:
    """Serve the files of the directory `page`, and no others."""

    def __init__(self, packages: Mapping[str, Path] = PACKAGES) -> None:
        self._packages = packages
        self._files = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES}
        self._files |= packages

    @property
    def missing(self) -> str | None:
        """Return what must be installed before the page works, or None."""
        if all(path.is_file() for path in self._packages.values()):
            return None
        return "The instructor's page needs supabase-js and UpChunk. Run `npm ci` in the checkout."

    async def answer_page(self, _request: web.Request) -> web.Response:
        """Return the page, or one that says what is missing."""
        if self.missing is None:
            return _content(PAGE / "index.html")
        return _content(PAGE / "missing.html", status=503)

    async def answer(self, request: web.Request) -> web.Response:
        """Return a file by its name."""
        path = self._files.get(request.match_info["name"])
        if path is None or not path.is_file():
            raise error_response(404, "There is no such file")
        return _content(path)


def _content(path: Path, status: int = 200) -> web.Response:
    return web.Response(
        body=path.read_bytes(), status=status, content_type=TYPES[path.suffix], charset="utf-8"
    )
