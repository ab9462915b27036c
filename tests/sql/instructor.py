"""An instructor's side of the database, for tests: the app's functions, called in her name."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from sandbox.supabase.stack import LocalSupabase
from tests.plain_http import NO_TLS

Json = dict[str, Any]

NO_SUCH_LESSON = ("PT404", "there is no such lesson of yours")


class Instructor:
    """Calls the app's functions as PostgREST does for a signed-in user, on one connection."""

    def __init__(self, connection: psycopg.Connection, user: UUID) -> None:
        self.connection = connection
        self.user = user
        self.claim(sub=str(user), role="authenticated")

    def claim(self, **claims: str) -> None:
        """Let the token of the requests from now on say this."""
        self.connection.execute(
            "select set_config('request.jwt.claims', %s, false)", [json.dumps(claims)]
        )

    def track_upload(
        self, lesson: UUID | str | None, upload: str | None, temp: str | None = None
    ) -> Any:
        """Start to track an upload."""
        return self._call("select track_upload(%s::text, %s, %s)", lesson, upload, temp)

    def check_asset_status(self, lesson: UUID | str | None) -> Any:
        """Ask how far the video of a lesson is."""
        return self._call("select check_asset_status(%s::text)", lesson)

    def publish_lesson(self, lesson: UUID | str | None) -> Any:
        """Publish a lesson by hand."""
        return self._call("select publish_lesson(%s::text)", lesson)

    def _call(self, query: str, *values: Any) -> Any:
        row = self.connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]


def refusal(call: Callable[..., object], *values: object) -> tuple[str | None, str | None]:
    """Give SQLSTATE and message with which a call is refused; it must be."""
    with pytest.raises(psycopg.Error) as caught:
        call(*values)
    return caught.value.sqlstate, caught.value.diag.message_primary


class Browser:
    """Sends requests through the gateway and PostgREST, signed in with a token or not."""

    def __init__(self, supabase: LocalSupabase, token: str | None = None) -> None:
        self._url = f"{supabase.url}/rest/v1"
        self._headers = {
            "apikey": supabase.anon_key,
            "Authorization": f"Bearer {token or supabase.anon_key}",
        }

    def call(self, function: str, **arguments: object) -> tuple[int, Any]:
        """Call a function; give the HTTP status and the answer, of a refusal only its message."""
        return self.send("POST", f"/rpc/{function}", json=arguments)

    def send(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Send any request; give the same."""
        headers = {**self._headers, **more.pop("headers", {})}
        answer = httpx.request(method, self._url + path, headers=headers, verify=NO_TLS, **more)
        said: Any = answer.json() if answer.content else None
        return answer.status_code, said if answer.is_success else said["message"]
