"""Render the dashboard's pages, and set the headers that isolate them from other sites."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from worker import __version__, wording
from worker.text import duration, plain_id, plain_text
from worker.web.dashboard.lesson_view import MUX_IMAGES

HERE = Path(__file__).parent
ASSETS = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
ASSET_SECONDS = 86_400

TONES = {
    "unplayable": "bad",
    "failed": "bad",
    "stuck": "warn",
    "waiting": "plain",
    "published": "good",
    "ready": "good",
    "untracked": "plain",
}
"""The style sheet's class of each state of a lesson."""

SHOWN_OF_EACH = 5
"""How many lessons of a list that needs somebody the first page shows."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

WITH_THUMBNAIL = {
    "Content-Security-Policy": POLICY.replace("img-src 'self'", f"img-src 'self' {MUX_IMAGES}")
}
"""The policy of a page that shows a picture of a video, which Mux serves."""


class Pages:
    """Renders pages; templates and assets are read once."""

    def __init__(self) -> None:
        self._assets = {name: (HERE / "assets" / name).read_bytes() for name in ASSETS}
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters |= {
            "id": plain_id,
            "path": lesson_path,
            "text": plain_text,
            "exact": _exact,
            "moment": _moment,
            "day": _day,
            "duration": duration,
            "age": _age,
            "whole": _whole,
            "ago": _ago,
            "since": _since,
            "json": _json,
        }
        self._environment.globals |= {
            "wording": wording,
            "version": __version__,
            "asset": self._asset,
            "TONES": TONES,
            "SHOWN": SHOWN_OF_EACH,
        }

    def page(self, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Return the response with a rendered page."""
        html = self._environment.get_template(template).render(values)
        headers = HEADERS | (WITH_THUMBNAIL if values.get("thumbnail_url") else {})
        return web.Response(
            status=status,
            body=html.encode(errors="replace"),
            headers=headers,
            content_type="text/html",
            charset="utf-8",
        )

    async def serve_asset(self, request: web.Request) -> web.Response:
        """Return one of the files that pages load."""
        name = request.match_info["name"]
        if name not in self._assets:
            raise web.HTTPNotFound
        return web.Response(
            body=self._assets[name],
            content_type=ASSETS[name],
            charset="utf-8",
            headers=HEADERS | {"Cache-Control": f"public, max-age={ASSET_SECONDS}"},
        )

    def _asset(self, name: str) -> str:
        """Return the address of a file, which changes with its content."""
        return f"/assets/{name}?v={hashlib.sha256(self._assets[name]).hexdigest()[:12]}"


def lesson_path(lesson_id: str) -> str:
    """Return the path of a lesson's page; the id may be any text."""
    return f"/lessons/{quote(lesson_id, safe='')}"


def see_other(path: str) -> web.Response:
    """Return a redirect to another page."""
    return web.Response(status=303, headers={**HEADERS, "Location": path})


def _exact(text: str) -> Markup:
    """Return a text for an attribute, whose value is exactly it; the source stays printable."""
    return Markup("".join(c if c.isprintable() else f"&#{ord(c)};" for c in escape(text)))  # noqa: S704  # escaped


def _moment(at: str | float | None, form: str = "%H:%M:%S") -> Markup | str:
    """Return a moment in UTC as HTML; any other value unchanged."""
    moment = _parse(at)
    if moment is None:
        return "" if at is None else str(at)
    return _time(moment, moment.strftime(form))


def _day(at: str | float | None) -> Markup | str:
    """Return a moment with its date as HTML."""
    return _moment(at, "%Y-%m-%d %H:%M:%S")


def _parse(at: str | float | None) -> datetime | None:
    try:
        if isinstance(at, str):
            moment = datetime.fromisoformat(at)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        return None if at is None else datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _age(at: str, now: str) -> float:
    """Return the seconds from one of the database's moments to another."""
    return (datetime.fromisoformat(now) - datetime.fromisoformat(at)).total_seconds()


def _since(at: str, now: str) -> Markup | str:
    """Return how long ago a moment was, as HTML that names the moment."""
    moment = _parse(at)
    return "" if moment is None else _time(moment, _whole(_age(at, now)))


def _ago(at: str, now: str) -> Markup | str:
    """Return a moment as "5 min ago", as HTML that names the moment."""
    moment = _parse(at)
    return "" if moment is None else _time(moment, f"{_whole(_age(at, now))} ago")


def _whole(seconds: float) -> str:
    """Return a duration of whole seconds, or of larger units."""
    return f"{max(0.0, seconds):.0f} s" if seconds < 120 else duration(seconds)


def _time(moment: datetime, text: str) -> Markup:
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), f"{moment:%Y-%m-%d %H:%M:%S} UTC", text
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
