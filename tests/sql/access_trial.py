"""Tries out over HTTP what each role may do, and looks in the database what came of it."""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
from psycopg import sql

from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.plain_http import NO_TLS
from tests.sql.access_catalog import Column, Function
from worker.project_key import WORKER_ROLE

DONE, NO_ROW, REFUSED = "yes", "0", "-"
GENERATED = "428C9"  # found out before any right: the value is the database's own to make
WHO = ("anon", "own", "other", "service_role", "mux_worker")
TRACKED, UNTRACKED, NEW, SOMETHING = (UUID(int=n) for n in range(1, 5))

# What stands there before each trial: two lessons of Anna, of which one is tracked.
WORLD = f"""
    delete from lessons; delete from mux_asset_events; delete from mux_private.upload_history;
    insert into lessons (id, creator_id, title, mux_asset_id)
    values ('{TRACKED}', '{ANNA}', 'tracked', null), ('{UNTRACKED}', '{ANNA}', 'untracked', null);
    insert into mux_asset_tracking (lesson_id, upload_id, status)
    values ('{TRACKED}', 'up1', 'error');
    update lessons set mux_asset_id = 'as1' where id = '{TRACKED}';
""".encode()
SEEN = b"""
    select array[
      (select jsonb_agg(l order by l.id) from lessons l),
      (select jsonb_agg(t order by t.id) from mux_asset_tracking t),
      (select jsonb_agg(e order by e.id) from mux_asset_events e),
      (select jsonb_agg(h order by h.id) from mux_private.upload_history h),
      (select jsonb_agg(s) from mux_private.worker_state s)]"""

# The least that a new row takes. A new table has to be added here.
NEW_ROWS: Mapping[str, dict[str, object]] = {
    "lessons": {"id": str(NEW), "creator_id": str(ANNA), "title": "new"},
    "mux_asset_tracking": {"lesson_id": str(UNTRACKED), "upload_id": "up2"},
    "mux_asset_events": {
        "actor": "me",
        "event": "tried",
        "lesson_id": str(UNTRACKED),
        "tracking_id": str(SOMETHING),
    },
}
# A value of each type that stands nowhere yet.
VALUES: Mapping[str, object] = {
    "text": "tried",
    "uuid": str(SOMETHING),
    "uuid[]": [],
    "text[]": [],
    "timestamp with time zone": "2020-02-02 02:02:02+00",
    "integer": 7,
    "bigint": 7,
    "boolean": False,
    "double precision": 60,
    "numeric(10,2)": 7,
    "jsonb": [],
}
# Where not any value will do.
VALUES_OF: Mapping[str, object] = {
    "mux_asset_tracking.lesson_id": str(UNTRACKED),
    "lessons.status": "archived",
}
# Where the value that a user sends is replaced by the time of the database.
OF_THE_CLOCK = "mux_asset_tracking.updated_at"
# What the functions do their work with.
ARGUMENTS: Mapping[str, object] = {
    "lesson_id": str(TRACKED),
    "upload_id": "up2",
    "temp_asset_id": "temp_up2",
    "older_than_days": 90,
}


class Trial:
    """Sends the requests of `anon`, `own` (Anna, whose rows they are), `other` and the worker's.

    Each trial answers `yes` if it did what it is for, `0` if it was let through and reached no
    row, `-` if it was refused for want of a right, and otherwise with the code of the error.
    """

    def __init__(self, supabase: LocalSupabase) -> None:
        self._db = supabase.connect()
        tokens = (
            supabase.anon_key,
            supabase.user_token(ANNA),
            supabase.user_token(BERT),
            supabase.service_role_key,
            supabase.role_token(WORKER_ROLE),
        )
        self._clients = {
            who: httpx.Client(
                base_url=f"{supabase.url}/rest/v1",
                headers={"apikey": supabase.anon_key, "Authorization": f"Bearer {token}"},
                verify=NO_TLS,
            )
            for who, token in zip(WHO, tokens, strict=True)
        }
        self._start = self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._clients.values():
            client.close()
        self._db.close()

    def read(self, who: str, table: str, column: str = "*") -> str:
        """Read all rows of a table."""
        answer = self._clients[who].get(f"/{table}?select={column}")
        return _cell(answer) or (DONE if answer.json() else NO_ROW)

    def insert(self, who: str, table: str, column: Column | None = None, label: str = "") -> str:
        """Add a row; if a column is given, with a value there."""
        row = {**NEW_ROWS[table]}
        if column is None:
            return self._try(who, "POST", f"/{table}", row)
        if column.column not in row:
            row |= _value(column, label)
        return self._try(who, "POST", f"/{table}", row, self._more(column, row[column.column]))

    def update(self, who: str, column: Column, label: str = "") -> str:
        """Change a column of all rows."""
        if label:  # from another one, and not from ready, which saving once more does not undo
            other = next(name for name in reversed(column.labels) if name != label)
            self._set(column, other)
        value = _value(column, label)
        more = self._more(column, value[column.column])
        return self._try(who, "PATCH", f"/{column.table}", value, more)

    def delete(self, who: str, table: str) -> str:
        """Delete all rows."""
        return self._try(who, "DELETE", f"/{table}")

    def call(self, who: str, function: Function) -> str:
        """Call a function, one of the app's about Anna's tracked lesson."""
        names = zip(function.arguments, function.types, strict=True)
        arguments = {name: ARGUMENTS.get(name, VALUES[kind]) for name, kind in names}
        return self._try(who, "POST", f"/rpc/{function.name}", arguments, lambda: True)

    def _try(
        self,
        who: str,
        method: str,
        path: str,
        body: object = None,
        worked: Callable[[], bool] | None = None,
    ) -> str:
        before = self._seen()
        answer = self._clients[who].request(method, path, json=body)
        after = self._seen()
        cell = _cell(answer)
        if not cell:
            cell = DONE if (worked() if worked else after != before) else NO_ROW
        assert cell == DONE or after == before, f"{who}: {method} {path} {body} changed something"
        if after != self._start:
            self._start = self._begin()
        return cell

    def _begin(self) -> Any:
        self._db.execute(WORLD)
        return self._seen()

    def _seen(self) -> Any:
        return self._db.execute(SEEN).fetchone()

    def _set(self, column: Column, value: str) -> None:
        names = sql.Identifier(column.table), sql.Identifier(column.column)
        self._db.execute(sql.SQL("update {} set {} = {}").format(*names, value))

    def _more(self, column: Column, value: object) -> Callable[[], bool] | None:
        if f"{column.table}.{column.column}" == OF_THE_CLOCK:
            return None
        names = sql.Identifier(column.table), sql.Identifier(column.column)
        query = sql.SQL("select count(*) from {} where {} = {}").format(*names, str(value))

        def count() -> int:
            row = self._db.execute(query).fetchone()
            return row[0] if row else 0

        before = count()
        return lambda: count() > before


def _cell(answer: httpx.Response) -> str:
    """Give the cell of a request that was not let through, and an empty one otherwise."""
    if answer.is_success:
        return ""
    code: str = answer.json()["code"]
    return {"42501": REFUSED, GENERATED: REFUSED, "PT404": NO_ROW}.get(code, code)


def _value(column: Column, label: str) -> dict[str, object]:
    known = VALUES_OF.get(f"{column.table}.{column.column}")
    value = label or known or VALUES[column.type]
    return {column.column: value}
