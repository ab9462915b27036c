"""Bert, signed in, sends requests for rows that are Anna's, and for rights that are not his."""

import base64
import json
import time
import uuid
from typing import Any

import jwt
import pytest

from tests.sql.crime import Crime

pytestmark = pytest.mark.stack

APP = ("track_upload", "check_asset_status", "publish_lesson")
NOT_FOUND = (404, "PT404")
DENIED = (403, "42501")
TRACKING, AUDIT = "/mux_asset_tracking", "/mux_asset_events"
REPRESENTED = {"Prefer": "return=representation,count=exact"}


def arguments(function: str, lesson: object) -> dict[str, object]:
    """Give what a function takes."""
    more = {"upload_id": "up9", "temp_asset_id": "temp_up9"} if function == "track_upload" else {}
    return {"lesson_id": str(lesson), **more}


@pytest.mark.parametrize("function", APP)
def test_no_function_is_led_to_the_lesson_of_another(crime: Crime, function: str) -> None:
    """Published, waiting, failed, or never there: the answers are the same to the letter."""
    ids = [*crime.victims, crime.course.row(crime.mine)["id"], uuid.uuid4(), uuid.UUID(int=0)]
    answers = [crime.rpc(function, **arguments(function, lesson)) for lesson in ids]
    assert {answer.refusal for answer in answers} == {NOT_FOUND}
    assert len({json.dumps(answer.said) for answer in answers}) == 1


@pytest.mark.parametrize("column", ["lesson_id", "id", "upload_id"])
def test_no_verb_reaches_a_row_of_another(crime: Crime, column: str) -> None:
    """Named by whichever id: nothing is read, changed or deleted, and nothing comes back."""
    for lesson in crime.victims:
        path = f"{TRACKING}?{column}=eq.{crime.course.row(lesson)[column]}"
        body = {"upload_id": "up9"}
        assert crime.send("GET", path).said == []
        assert crime.send("PATCH", path, json=body, headers=REPRESENTED).said == []
        assert crime.send("DELETE", path, headers=REPRESENTED).said == []


def test_without_a_filter_only_ones_own_rows_are_reached(crime: Crime) -> None:
    """A change and a delete of "all" are of all that is one's own."""
    body = {"upload_id": "up9"}
    changed = crime.send("PATCH", TRACKING, json=body, headers=REPRESENTED)
    deleted = crime.send("DELETE", TRACKING, headers=REPRESENTED)
    for answer in (changed, deleted):
        assert [row["lesson_id"] for row in answer.said] == [str(crime.mine)]


def test_a_row_is_not_stolen_by_saving_over_it(crime: Crime) -> None:
    """Neither by the lesson nor by the row's own id; not by PUT either."""
    for lesson in crime.victims:
        row = crime.course.tracking(lesson)
        mine = {"lesson_id": str(crime.mine_too), "upload_id": "up9"}
        assert crime.upsert({**mine, "lesson_id": str(lesson)}).refusal == DENIED
        assert crime.upsert({**mine, "id": str(row["id"])}, on="id").refusal == DENIED
        path = f"{TRACKING}?id=eq.{row['id']}"
        whole = dict.fromkeys(row) | mine | {"id": str(row["id"])}
        assert crime.send("PUT", path, json=whole).refusal == DENIED
        assert (
            crime.send("POST", TRACKING, json={**mine, "lesson_id": str(lesson)}).refusal == DENIED
        )


def test_a_row_of_ones_own_is_not_moved_to_the_lesson_of_another(crime: Crime) -> None:
    """It would stand in the way of her upload, or take its place."""
    before = crime.course.row(crime.mine)
    for lesson in (*crime.victims, uuid.uuid4()):
        path = f"{TRACKING}?lesson_id=eq.{crime.mine}"
        assert crime.send("PATCH", path, json={"lesson_id": str(lesson)}).refusal == DENIED
    assert crime.course.row(crime.mine) == before


def test_of_several_rows_with_one_that_is_not_his_none_is_saved(crime: Crime) -> None:
    """Wherever in the list it stands."""
    mine = {"lesson_id": str(crime.mine_too), "upload_id": "up9"}
    for rows in (
        [mine, {**mine, "lesson_id": str(crime.shown)}],
        [{**mine, "lesson_id": str(crime.waiting)}, mine],
    ):
        assert crime.send("POST", TRACKING, json=rows).refusal == DENIED
        assert crime.upsert(*rows).refusal == DENIED
    assert crime.loot()[0] == crime.send("GET", f"{TRACKING}?lesson_id=eq.{crime.mine}").said
    assert crime.course.events(crime.mine_too) == []


def test_columns_of_the_worker_are_not_smuggled_in(crime: Crime) -> None:
    """Each column beyond the app's five, in a new row, over an old one, and in a change."""
    row = crime.course.tracking(crime.mine)
    granted = {"lesson_id", "upload_id", "temp_asset_id", "status", "updated_at"}
    smuggled = {**row, "id": uuid.uuid4(), "mux_asset_id": "as-shown", "max_resolution": "8K"}
    for name in row.keys() - granted:
        value = None if smuggled[name] is None else str(smuggled[name])
        for lesson in (crime.mine, crime.mine_too):
            body = {"lesson_id": str(lesson), "upload_id": "up9", name: value}
            assert crime.send("POST", TRACKING, json=body).refusal == DENIED
            assert crime.upsert(body).refusal == DENIED
        assert crime.send("PATCH", TRACKING, json={name: value}).refusal == DENIED
    assert crime.course.tracking(crime.mine) == row


@pytest.mark.parametrize("status", ["ready", "error"])
def test_no_row_is_called_ready_by_its_instructor(crime: Crime, status: str) -> None:
    """Nor is one hidden from the worker as failed."""
    row = crime.course.tracking(crime.mine)
    for lesson in (crime.mine, crime.mine_too):
        body = {"lesson_id": str(lesson), "upload_id": "up9", "status": status}
        assert crime.upsert(body).refusal == DENIED
    assert crime.send("PATCH", TRACKING, json={"status": status}).refusal == DENIED
    assert crime.course.tracking(crime.mine) == row


def test_lessons_lead_to_no_row_of_another(crime: Crime) -> None:
    """Embedded in what everybody may read, joined, counted and guessed at by filters."""
    select = "select=id,mux_asset_tracking(*)"
    found = crime.send("GET", f"/lessons?{select}&id=eq.{crime.shown}").said
    assert found == [{"id": str(crime.shown), "mux_asset_tracking": None}]
    inner = "select=id,mux_asset_tracking!inner(id)"
    for guess in ("upload_id=like.up-*", "status=not.is.null", "mux_asset_id=eq.as-shown"):
        answer = crime.send("GET", f"/lessons?{inner}&mux_asset_tracking.{guess}")
        assert {row["id"] for row in answer.said} <= {str(crime.mine)}
    assert crime.send("GET", "/lessons?select=*,mux_asset_events(*)").status == 400
    for table in (TRACKING, AUDIT):
        assert {row["lesson_id"] for row in crime.send("GET", table).said} == {str(crime.mine)}
        assert crime.send("GET", f"{table}?lesson_id=eq.{crime.shown}").said == []
    mine = crime.send("GET", f"{TRACKING}?select=lesson_id,lessons(title,creator_id)").said
    assert [row["lessons"]["creator_id"] for row in mine] == [str(crime.course.bert)]


@pytest.mark.parametrize("whose", ["shown", "mine"])
def test_the_audit_is_written_by_nobody(crime: Crime, whose: str) -> None:
    """Not about another's lesson, and not about one's own; nor is any of it changed or removed."""
    lesson = getattr(crime, whose)
    path = f"{AUDIT}?lesson_id=eq.{lesson}"
    names = ("actor", "event", "lesson_id", "tracking_id")
    made = {
        **dict.fromkeys(names, "published"),
        "lesson_id": str(lesson),
        "tracking_id": str(lesson),
    }
    before = crime.course.events(lesson)
    assert crime.send("POST", AUDIT, json=made).refusal == DENIED
    assert crime.send("PATCH", path, json={"actor": "me"}).refusal == DENIED
    assert crime.send("DELETE", path).refusal == DENIED
    assert crime.send("DELETE", AUDIT).refusal == DENIED
    assert crime.course.events(lesson) == before


def test_a_lesson_made_with_the_id_of_a_deleted_one_inherits_nothing(crime: Crime) -> None:
    """Ids of published lessons are known, and whoever makes a lesson may choose its id."""
    crime.course.delete(crime.shown)
    crime.goes_on()
    again = {"id": str(crime.shown), "creator_id": str(crime.course.bert), "title": "mine now"}
    assert crime.send("POST", "/lessons", json=again).status == 201
    assert crime.send("GET", f"{AUDIT}?lesson_id=eq.{crime.shown}").said == []
    assert crime.rpc("check_asset_status", lesson_id=str(crime.shown)).said["status"] == "unknown"
    assert crime.rpc("track_upload", **arguments("track_upload", crime.shown)).status == 200
    (event,) = crime.send("GET", f"{AUDIT}?lesson_id=eq.{crime.shown}").said
    assert (event["event"], event["upload_id"]) == ("tracked", "up9")


WORKERS = (
    *("adopt", "claim", "doctor", "record_refusal", "release", "schema_version", "settle"),
    *("summary", "untracked", "backfill_begin", "backfill_candidates", "backfill_end"),
    *("backfill_failures", "backfill_progress"),
)
WITH = {
    "worker_adopt": {"adoptions": []},
    "worker_claim": {"batch_size": 100, "lease_seconds": 3600},
    "worker_release": {"claimed": []},
    "worker_settle": {"verdicts": []},
}


@pytest.mark.parametrize("function", [*APP, *(f"worker_{name}" for name in WORKERS)])
def test_no_function_is_called_in_another_role(crime: Crime, function: str) -> None:
    """The app's by visitors and the worker, the worker's by visitors and instructors."""
    body = WITH.get(function) or (arguments(function, crime.mine) if function in APP else {})
    not_for = {"anon": crime.supabase.anon_key, "service": crime.supabase.service_role_key}
    if function not in APP:
        not_for["service"] = crime.token
    for token in not_for.values():
        for method, how in (("POST", {"json": body}), ("GET", {"params": body})):
            answer = crime.send(method, f"/rpc/{function}", token, **how)
            assert answer.refusal[1] == "42501"
            assert answer.status in (401, 403)


def unsigned(claims: dict[str, Any], algorithm: str = "none") -> str:
    """Make a token of which it is said that it needs no signature."""
    parts = ({"alg": algorithm, "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*encoded, ""])


@pytest.mark.parametrize("role", ["authenticated", "service_role", "postgres", "authenticator"])
def test_a_forged_token_opens_nothing(crime: Crime, role: str) -> None:
    """In Anna's name or with the worker's role: signed with another secret, or not at all."""
    claims = {"sub": str(crime.course.anna), "role": role, "exp": int(time.time()) + 3600}
    head, body, signature = crime.token.split(".")
    swapped = unsigned(claims).split(".")[1]
    tokens = [
        jwt.encode(claims, "another secret that is long enough to sign with", algorithm="HS256"),
        jwt.encode(claims, crime.supabase.anon_key, algorithm="HS512"),
        *(unsigned(claims, algorithm) for algorithm in ("none", "None", "HS256")),
        f"{head}.{swapped}.{signature}",
        f"{head}.{body}.",
        "no token",
    ]
    for token in tokens:
        for method, path in (
            ("GET", TRACKING),
            ("DELETE", TRACKING),
            ("POST", "/rpc/worker_claim"),
        ):
            assert crime.send(method, path, token).status == 401


def test_an_expired_token_opens_nothing(crime: Crime) -> None:
    """Not even one's own, or Anna's."""
    for user in (crime.course.bert, crime.course.anna):
        expired = crime.supabase.user_token(user, lifetime_seconds=-60)
        assert crime.send("GET", TRACKING, expired).status == 401
        assert crime.send("DELETE", TRACKING, expired).status == 401


def test_a_token_without_an_api_key_opens_nothing(crime: Crime) -> None:
    """The gateway asks for one, and takes no other."""
    for key in ("", "sb_secret_guess", crime.token):
        assert crime.send("GET", TRACKING, headers={"apikey": key}).status == 401


@pytest.mark.parametrize("schema", ["mux_private", "pg_catalog", "auth", "information_schema"])
def test_no_other_schema_is_asked_for(crime: Crime, schema: str) -> None:
    """Neither read from, nor written to, nor called, nor named before a table."""
    for method, header in (("GET", "Accept-Profile"), ("POST", "Content-Profile")):
        for path in ("/upload_history", "/pg_class", "/rpc/app_publish"):
            answer = crime.send(method, path, headers={header: schema})
            assert answer.refusal == (406, "PGRST106")
    for path in (f"/{schema}.upload_history", f"/rpc/{schema}.app_publish"):
        assert crime.send("POST", path, json={}).status == 404


def test_the_description_of_the_api_names_only_what_one_may_use(crime: Crime) -> None:
    """For instructors the app's functions, for visitors none of ours."""
    said = crime.send("GET", "/").said["paths"]
    assert {path for path in said if path.startswith("/rpc/")} == {f"/rpc/{name}" for name in APP}
    visitors = crime.send("GET", "/", crime.supabase.anon_key).said["paths"]
    assert set(visitors) == {"/", "/lessons"}


def test_no_plan_is_told(crime: Crime) -> None:
    """How a query is carried out would name policies and their conditions."""
    plan = {"Accept": "application/vnd.pgrst.plan+json; options=verbose"}
    assert crime.send("GET", TRACKING, headers=plan).refusal == (415, "PGRST107")
