"""A crime scene, for tests: Bert, signed in, goes for what is Anna's; nothing of hers may move."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import psycopg

from sandbox.supabase.stack import LocalSupabase
from tests.course import Course
from tests.plain_http import NO_TLS
from tests.sql.service import FAIL, PUBLISH, WAIT, Service, fact

HERS = b"""
    select array[
      (select jsonb_agg(l order by l.id) from lessons l where l.creator_id = %(anna)s),
      (select jsonb_agg(t order by t.id)
       from mux_asset_tracking t join lessons l on l.id = t.lesson_id
       where l.creator_id = %(anna)s),
      (select jsonb_agg(e order by e.id) from mux_asset_events e where e.owner::uuid = %(anna)s),
      (select jsonb_agg(h order by h.id)
       from mux_private.upload_history h where h.owner::uuid = %(anna)s)]"""
# What no answer may say, unless it repeats the question.
INTERNALS = ("mux_private", "pg_temp", "search_path", "security definer", "plpgsql", "insert into")


@dataclass(frozen=True)
class Answer:
    """What came back: the HTTP status, and the JSON, if any."""

    status: int
    said: Any

    @property
    def refusal(self) -> tuple[int, str]:
        """Give the status and the code of the error that it must be."""
        assert self.status >= 400, self
        return self.status, self.said["code"]


class Crime:
    """Anna's lessons in every state, Bert's own, and Bert's browser.

    `shown` is published, so everybody reads of it what the app lets them; `waiting` and `failed`
    are drafts with an upload each, of which nobody else may know anything; `secrets` is that.
    """

    def __init__(
        self, supabase: LocalSupabase, db: psycopg.Connection, course: Course, service: Service
    ) -> None:
        self.supabase, self.db, self.course, self.service = supabase, db, course, service
        self.shown = course.tracked_lesson("up-shown")
        self.waiting = course.tracked_lesson("up-waiting")
        self.failed = course.tracked_lesson("up-failed")
        service.settle(
            fact(PUBLISH, "up-shown", "as-shown"),
            fact(WAIT, "up-waiting", "as-waiting"),
            fact(FAIL, "up-failed", "as-failed"),
        )
        self.mine = course.tracked_lesson("up-mine", course.bert)
        self.mine_too = course.lesson(course.bert)
        rows = [course.row(lesson)["id"] for lesson in (self.shown, self.waiting, self.failed)]
        names = ("up-shown", "up-waiting", "up-failed", "as-waiting", "as-failed", "not a video")
        self.secrets = [*names, *map(str, [*rows, self.waiting, self.failed])]
        self.token = supabase.user_token(course.bert)
        self._client = httpx.Client(base_url=f"{supabase.url}/rest/v1", verify=NO_TLS)
        self._before = self.hers()

    @property
    def victims(self) -> tuple[UUID, UUID, UUID]:
        """Give Anna's lessons."""
        return self.shown, self.waiting, self.failed

    def hers(self) -> Any:
        """Read all that is Anna's: lessons, tracking, audit, and her upload history."""
        return self.db.execute(HERS, {"anna": self.course.anna}).fetchone()

    def goes_on(self) -> None:
        """Let what Anna or the worker did since the beginning be as it should."""
        self._before = self.hers()

    def end(self) -> None:
        """Look whether anything of hers has moved."""
        self._client.close()
        assert self.hers() == self._before

    def rpc(self, function: str, **arguments: object) -> Answer:
        """Call a function as Bert."""
        return self.send("POST", f"/rpc/{function}", json=arguments)

    def send(self, method: str, path: str, token: str | None = None, **more: Any) -> Answer:
        """Send a request, as Bert unless with another token; no answer says what it may not."""
        headers = {
            "apikey": self.supabase.anon_key,
            "Authorization": f"Bearer {token or self.token}",
            **more.pop("headers", {}),
        }
        if "json" in more:  # in ASCII, which carries what is no text, too
            more["content"] = json.dumps(more.pop("json"))
            headers.setdefault("Content-Type", "application/json")
        answer = self._client.request(method, path, headers=headers, **more)
        sent = f"{path} {headers} {more}"
        said = [w for w in (*self.secrets, *INTERNALS) if w in answer.text and w not in sent]
        assert said == [], answer.text
        return Answer(answer.status_code, answer.json() if answer.content else None)

    def upsert(
        self, *rows: Mapping[str, object], on: str = "lesson_id", prefer: str = ""
    ) -> Answer:
        """Save tracking rows as supabase-js does."""
        resolution = f"resolution=merge-duplicates,{prefer}".rstrip(",")
        path = f"/mux_asset_tracking?on_conflict={on}"
        return self.send("POST", path, json=list(rows), headers={"Prefer": resolution})

    def loot(self) -> list[Any]:
        """Read all that Bert can read of tracking rows and audit."""
        return [
            self.send("GET", f"/{table}?order=id").said
            for table in ("mux_asset_tracking", "mux_asset_events")
        ]
