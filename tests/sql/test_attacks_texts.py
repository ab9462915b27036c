"""Bert sends texts that might be run, might break something, or are no such arguments at all."""

from typing import Any

import pytest

from tests.sql.crime import Crime

pytestmark = pytest.mark.stack

TRACKING = "/mux_asset_tracking"
SQL = [
    "'",
    "''; drop table public.lessons; --",
    "x'); delete from public.mux_asset_tracking; --",
    "$$; select pg_sleep(9); $$",
    "up9' or '1'='1",
    "\\'; truncate lessons; --",
    'up9"; set role postgres; --',
    "/* */ union select mux_id from mux_private.upload_history",
    "eq.up9,or(lesson_id.not.is.null)",
    "(select(upload_id))",
    "*",
    "%",
    "{up9,up10}",
    "../../rpc/worker_claim",
    "up9&select=*",
    "E'\\x27'",
    "\u02bc; drop table lessons; --",
    "\ufeffup9",
    "\u202eup9",
]
NUL = "up\u00009"
LONE = "up\ud8009"
LONG = "u" * 1_000_000


@pytest.mark.parametrize("text", SQL)
def test_sql_in_an_argument_is_refused_as_no_id(crime: Crime, text: str) -> None:
    """Each text of the app's functions takes letters, digits, _ and - and nothing else."""
    row = crime.course.row(crime.mine)
    mine = {"lesson_id": str(crime.mine), "upload_id": "up9"}
    assert crime.rpc("track_upload", **{**mine, "upload_id": text}).refusal == (400, "PT400")
    assert crime.rpc("track_upload", **mine, temp_asset_id=text).refusal == (400, "PT400")
    assert crime.rpc("track_upload", **mine, temp_asset_id=f"temp_{text}").refusal == (400, "PT400")
    for function in ("track_upload", "check_asset_status", "publish_lesson"):
        more = {"upload_id": "up9"} if function == "track_upload" else {}
        assert crime.rpc(function, lesson_id=text, **more).refusal == (404, "PT404")
        params = {"lesson_id": text, **more}
        assert crime.send("GET", f"/rpc/{function}", params=params).refusal[0] in (400, 404, 405)
    assert crime.course.row(crime.mine) == row


@pytest.mark.parametrize("text", SQL)
def test_sql_in_a_column_is_stored_as_it_is(crime: Crime, text: str) -> None:
    """The table takes any text, the worker then says of it that it is no id; nothing is run."""
    body = {"lesson_id": str(crime.mine_too), "upload_id": text, "temp_asset_id": text}
    assert crime.upsert(body).status == 201
    row = crime.course.row(crime.mine_too)
    assert (row["upload_id"], row["temp_asset_id"]) == (text, text)
    for column in ("status", "updated_at", "lesson_id"):
        body = {"lesson_id": str(crime.mine_too), "upload_id": "up9", column: text}
        assert crime.upsert(body).refusal[0] == 400
    assert crime.course.row(crime.mine_too) == row


@pytest.mark.parametrize("text", SQL)
def test_sql_in_a_filter_is_a_value_or_an_error(crime: Crime, text: str) -> None:
    """Nobody's row is found by it, and no part of it becomes a part of the query."""
    mine = str(crime.mine)
    for params in (
        {"upload_id": f"eq.{text}"},
        {"upload_id": f"in.({text})"},
        {"and": f"({text})"},
        {"or": f"(upload_id.eq.{text},lesson_id.eq.{mine})"},
        {"select": text},
        {"order": text},
        {"limit": text},
        {text: "eq.1"},
        {"on_conflict": text},
    ):
        answer = crime.send("GET", TRACKING, params=params)
        if answer.status == 200:
            assert [row.get("lesson_id", mine) for row in answer.said] in ([], [mine])
        else:
            assert answer.refusal[0] in (400, 403, 404, 416)


@pytest.mark.parametrize("text", [NUL, LONE, LONG], ids=["NUL", "lone surrogate", "1 MB"])
def test_a_text_that_no_column_takes_is_refused_everywhere(crime: Crime, text: str) -> None:
    """In every argument and every column, with a 4xx; what was there before stays."""
    row = crime.course.row(crime.mine)
    mine = {"lesson_id": str(crime.mine), "upload_id": "up9"}
    for name in ("lesson_id", "upload_id", "temp_asset_id"):
        poisoned = {**mine, name: text}
        assert 400 <= crime.rpc("track_upload", **poisoned).refusal[0] < 500
        assert 400 <= crime.upsert(poisoned).refusal[0] < 500
        path = f"{TRACKING}?lesson_id=eq.{crime.mine}"
        assert 400 <= crime.send("PATCH", path, json={name: text}).refusal[0] < 500
    for function in ("check_asset_status", "publish_lesson"):
        assert 400 <= crime.rpc(function, lesson_id=text).refusal[0] < 500
    assert crime.course.row(crime.mine) == row
    assert crime.rpc("check_asset_status", lesson_id=str(crime.mine)).status == 200


def test_a_long_text_of_wide_characters_is_refused(crime: Crime) -> None:
    """Within the characters that are allowed, yet more bytes than an index takes."""
    wide = "".join(chr(0x1F300 + n) for n in range(1000))
    for name in ("upload_id", "temp_asset_id"):
        body = {"lesson_id": str(crime.mine_too), "upload_id": "up9", name: wide}
        assert 400 <= crime.upsert(body).refusal[0] < 500
    assert crime.send("GET", f"{TRACKING}?lesson_id=eq.{crime.mine_too}").said == []


@pytest.mark.parametrize("column", ["mux_asset_id", "mux_playback_id"])
@pytest.mark.parametrize("text", [*SQL, LONG], ids=repr)
def test_what_a_lesson_says_of_itself_is_not_run_when_it_is_published(
    crime: Crime, text: str, column: str
) -> None:
    """An instructor writes what he likes into his lesson; publishing takes real ids alone."""
    path = f"/lessons?id=eq.{crime.mine_too}"
    said = {"mux_asset_id": "as-mine", "mux_playback_id": None, column: text}
    assert crime.send("PATCH", path, json=said).status == 204
    answer = crime.rpc("publish_lesson", lesson_id=str(crime.mine_too))
    if column == "mux_asset_id":
        assert answer.refusal == (400, "PT400")
    else:
        assert answer.said == {"playable": False}
        assert {e["playback_id"] for e in crime.course.events(crime.mine_too)} == {None}


WRONG_CALLS: list[Any] = [
    {"upload_id": "up9"},
    {"lesson_id": None, "upload_id": "up9"},
    {"lesson_id": "MINE"},
    {"lesson_id": "MINE", "upload_id": None},
    {"lesson_id": "MINE", "upload_id": "up9", "status": "ready"},
    {"lesson_id": "MINE", "upload_id": "up9", "owner": "MINE"},
    {"lesson_id": ["MINE"], "upload_id": "up 9"},
    {"lesson_id": {"eq": "MINE"}, "upload_id": "up9"},
    {"lesson_id": 1, "upload_id": "up9"},
    {"lesson_id": True, "upload_id": "up9"},
    {"lesson_id": "MINE", "upload_id": ["up9"]},
    {"lesson_id": "MINE", "upload_id": {"a": "up9"}},
    {"lesson_id": "MINE", "upload_id": 1.5},
    {"lesson_id": "MINE", "upload_id": "up9", "temp_asset_id": False},
    {"LESSON_ID": "MINE", "UPLOAD_ID": "up9"},
    [],
    [{"lesson_id": "MINE", "upload_id": "up9", "status": "ready"}],
    "MINE",
    1,
    None,
]


@pytest.mark.parametrize("body", WRONG_CALLS, ids=repr)
def test_a_wrong_call_does_nothing(crime: Crime, body: Any) -> None:
    """An argument missing, beyond those there are, of another type, or no arguments at all."""
    row = crime.course.row(crime.mine)
    body = _with_lesson(body, str(crime.mine))
    for prefer in ("", "params=single-object", "tx=rollback", "handling=strict"):
        answer = crime.send("POST", "/rpc/track_upload", json=body, headers={"Prefer": prefer})
        assert answer.refusal[0] in (400, 404)
    assert crime.course.row(crime.mine) == row


def _with_lesson(body: Any, lesson: str) -> Any:
    match body:
        case dict():
            return {name: _with_lesson(value, lesson) for name, value in body.items()}
        case list():
            return [_with_lesson(value, lesson) for value in body]
        case _:
            return lesson if body == "MINE" else body


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("function", ["track_upload", "publish_lesson"])
def test_what_writes_is_not_called_by_following_a_link(
    crime: Crime, method: str, function: str
) -> None:
    """Only POST does it: an image or a link on another page cannot."""
    row = crime.course.row(crime.mine)
    params = {"lesson_id": str(crime.mine)}
    if function == "track_upload":
        params["upload_id"] = "up9"
    assert crime.send(method, f"/rpc/{function}", params=params).status == 405
    assert crime.course.row(crime.mine) == row
