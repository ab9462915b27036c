from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from sandbox.supabase.databases import find_sql_files
from sandbox.supabase.postgres import apply_sql
from sandbox.supabase.stack import LocalSupabase
from tests.conftest import ANNA, BERT
from tests.course import Course
from tests.sql.installing import REPORT, apply_all, catalog, run
from tests.sql.instructor import Instructor
from tests.sql.service import PUBLISH, Service, fact
from tests.sql.test_app_side import sign_in

pytestmark = pytest.mark.stack

APP_COLUMNS = (
    "id, lesson_id, upload_id, temp_asset_id, mux_asset_id, mux_playback_id, status, "
    "error_message, created_at, updated_at"
)
POLICIES = {
    "Instructors can manage their own asset tracking records": "authenticated",
    "Service role has full access": "service_role",
}
FILES = find_sql_files()
WAITING = b"""
    select count(*) from pg_locks
    where relation = 'mux_asset_tracking'::regclass and mode = 'ShareRowExclusiveLock'
      and database = (select oid from pg_database where datname = current_database())
      and not granted"""


def test_a_table_of_the_app_is_completed_and_keeps_every_value(database: str) -> None:
    """A thousand rows in all states are the same afterwards; the schema is that of a new one."""
    query = f"select {APP_COLUMNS} from mux_asset_tracking order by id".encode()
    run(database, REPORT.read_text())
    with psycopg.connect(database) as connection:
        before = connection.execute(query).fetchall()
    apply_all(database)
    with psycopg.connect(database) as connection:
        assert connection.execute(query).fetchall() == before
        assert connection.execute(
            "select count(*) from mux_asset_tracking where tracked_at <> updated_at"
        ).fetchone() == (0,)
    assert len(before) == 1000


def test_a_completed_table_is_like_a_new_one(supabase: LocalSupabase, database: str) -> None:
    """Object by object, policies among them; nothing needs the app's own function for ids."""
    run(database, REPORT.read_text())
    apply_all(database)
    run(database, "drop function uuid_generate_v4()")
    fresh = supabase.create_database("fresh", apply_sql=True)
    try:
        new = catalog(fresh)
    finally:
        supabase.drop_database("fresh")
    assert catalog(database) == new


def test_no_trigger_of_the_app_fires(database: str) -> None:
    """An app that notes each change of a row sees none, and its row keeps the note."""
    run(database, REPORT.read_text())
    run(
        database,
        "create function note() returns trigger language plpgsql as "
        "$$ begin new.updated_at := '2000-01-01'; return new; end $$; "
        "create trigger note before update on mux_asset_tracking for each row "
        "execute function note()",
    )
    apply_all(database)
    with psycopg.connect(database) as connection:
        assert connection.execute(
            "select count(*) from mux_asset_tracking where updated_at = '2000-01-01'"
        ).fetchone() == (0,)


def test_the_reports_policies_are_replaced(database: str) -> None:
    """The same two names, now for one role each: not one more, not one of the old."""
    query = b"""select policyname, roles::text[] from pg_policies
        where tablename = 'mux_asset_tracking' order by 1"""
    run(database, REPORT.read_text())
    with psycopg.connect(database, autocommit=True) as connection:
        before = connection.execute(query).fetchall()
        apply_all(database)
        after = connection.execute(query).fetchall()
    assert before == [(name, ["public"]) for name in POLICIES]
    assert after == [(name, [role]) for name, role in POLICIES.items()]


def test_the_reports_upsert_works_before_and_after(supabase: LocalSupabase) -> None:
    """An app that goes on as it is tracks uploads through its own upsert, in its user's name."""
    dsn = supabase.create_database("upsert", default_grants=True)
    try:
        run(dsn, REPORT.read_text())
        with supabase.connect(database="upsert") as owner:
            course = Course(owner, anna=ANNA, bert=BERT)
            before, again, after = (course.lesson() for _ in range(3))
            with supabase.connect("authenticated", "upsert") as connection:
                hers = as_anna(connection)
                hers.track(before, "up-before")
                hers.track(again, "up-old")
                written = hers.tracking(before)
            apply_all(dsn)
            with supabase.connect("authenticated", "upsert") as connection:
                hers = as_anna(connection)
                assert written.items() <= hers.tracking(before).items()
                hers.track(again, "up-again")
                hers.track(after, "up-after")
            with supabase.connect("service_role", "upsert") as connection:
                uploads = ("up-before", "up-old", "up-again", "up-after")
                facts = [fact(PUBLISH, upload, f"as-{upload}") for upload in uploads]
                outcomes = Service(connection).outcomes(*facts)
            assert outcomes == ["published", "unmatched", "published", "published"]
            assert [course.state(lesson)["mux_asset_id"] for lesson in (before, again, after)] == [
                *("as-up-before", "as-up-again", "as-up-after")
            ]
    finally:
        supabase.drop_database("upsert")


def test_the_reports_script_goes_on_working(supabase: LocalSupabase, database: str) -> None:
    """What it wrote as 'migrated' before stays so, and it may be run again afterwards."""
    run(database, REPORT.read_text())
    run(database, "grant all on mux_asset_tracking to service_role")
    with supabase.connect(database="install") as owner:
        course = Course(owner, anna=ANNA, bert=BERT)
        lessons = [course.lesson() for _ in range(2)]
        for lesson in lessons:
            with supabase.connect("service_role", "install") as connection:
                script = Course(connection, anna=ANNA, bert=BERT)
                ids = {"temp_asset_id": None, "mux_asset_id": "as1", "mux_playback_id": "p1"}
                script.track(lesson, "migrated", status="ready", **ids)
            apply_all(database)
        rows = [course.row(lesson) for lesson in lessons]
    returned = [(row["upload_id"], row["status"], row["mux_playback_id"]) for row in rows]
    assert returned == [("migrated", "ready", "p1")] * 2


def test_what_is_tracked_while_it_is_applied_is_noted_too(
    supabase: LocalSupabase, database: str
) -> None:
    """An upload whose transaction was open when the rows were read has its first tracker."""
    run(database, REPORT.read_text())
    applied_before = [file for file in FILES if file.stem < "052"]
    apply_sql(database, applied_before)
    with (
        supabase.connect(database="install", autocommit=False) as app,
        supabase.connect(database="install") as owner,
        ThreadPoolExecutor() as pool,
    ):
        lesson = Course(owner, anna=ANNA, bert=BERT).lesson()
        Course(app, anna=ANNA, bert=BERT).track(lesson, "up-meanwhile")
        rest = [file for file in FILES if "052" <= file.stem < "060"]
        applied = pool.submit(apply_sql, database, rest)
        while owner.execute(WAITING).fetchone() == (0,):
            assert not applied.done()
        app.commit()
        applied.result()
        noted = owner.execute(
            "select lesson_id, owner from mux_private.upload_history where mux_id = 'up-meanwhile'"
        ).fetchall()
    assert noted == [(lesson, str(ANNA))]


def as_anna(connection: psycopg.Connection) -> Course:
    """Give the app's side in Anna's name."""
    sign_in(connection, ANNA)
    return Course(connection, anna=ANNA, bert=BERT)


def test_rows_from_before_are_owned_by_whoever_was_first(
    supabase: LocalSupabase, database: str
) -> None:
    """After the upgrade, uploads of two instructors each are published for the older row only."""
    run(database, REPORT.read_text())
    run(
        database,
        "update mux_asset_tracking t "
        "set upload_id = 'shared' || n / 2, status = 'processing', "
        "created_at = now() - make_interval(years => 9 - (n + n / 2) % 2) "
        "from (select id, substr(title, 8)::int as n from lessons) l "
        "where l.id = t.lesson_id and n between 2 and 81",
    )
    apply_all(database)
    with supabase.connect("service_role", "install") as connection:
        facts = [fact(PUBLISH, f"shared{n}", f"as-shared{n}") for n in range(1, 41)]
        outcomes = Service(connection).settle(*facts)
        rows = connection.execute("select id::text, substr(title, 8)::int from lessons").fetchall()
    numbers: dict[str, int] = dict(rows)
    assert {numbers[outcome["lesson_id"]]: outcome["outcome"] for outcome in outcomes} == {
        n: "published" if (n + n // 2) % 2 == 0 else "failed" for n in range(2, 82)
    }


def test_placeholders_from_before_are_of_the_one_instructor_who_holds_them(
    supabase: LocalSupabase, database: str
) -> None:
    """What several hold is disputed; what can be no id is not entered."""
    with supabase.connect(database="install") as owner:
        course = Course(owner, anna=ANNA, bert=BERT)
        for _ in range(2):
            course.lesson(mux_asset_id="temp_mine")
        course.lesson(BERT, mux_playback_id="temp_playback_theirs")
        for creator in (ANNA, BERT):
            course.lesson(creator, mux_asset_id="temp_both")
        course.lesson(ANNA, mux_asset_id="real")
        course.lesson(BERT, mux_playback_id="temp_playback_real")
        for text in ("temp_", "temp_undefined", "temp_a b", "temp_" + "x" * 400, "temp_temp_y"):
            course.lesson(mux_asset_id=text, mux_playback_id=text)
        for _ in range(2):
            apply_all(database)
            returned = owner.execute(
                "select mux_id, owner, lesson_id, how from mux_private.upload_history"
            ).fetchall()
            assert sorted(returned) == [
                ("both", None, None, "disputed"),
                ("mine", str(ANNA), None, "stood there"),
                ("real", None, None, "disputed"),
                ("theirs", str(BERT), None, "stood there"),
                ("y", str(ANNA), None, "stood there"),
            ]


def test_who_tracked_it_goes_before_a_placeholder_from_before(
    supabase: LocalSupabase, database: str
) -> None:
    """Her row is evidence; the placeholder may be a copy."""
    run(database, REPORT.read_text())
    with supabase.connect(database="install") as owner:
        course = Course(owner, anna=ANNA, bert=BERT)
        lesson = course.tracked_lesson("taken", BERT)
        course.lesson(ANNA, mux_asset_id="temp_taken")
        apply_all(database)
        assert owner.execute(
            "select owner, lesson_id, how from mux_private.upload_history where mux_id = 'taken'"
        ).fetchall() == [(str(BERT), lesson, "tracked")]


def test_a_disputed_id_belongs_to_no_instructor(supabase: LocalSupabase, database: str) -> None:
    """The first to track it has it, as if nothing were entered; by hand the lessons decide."""
    with supabase.connect(database="install") as owner:
        course = Course(owner, anna=ANNA, bert=BERT)
        tracked, _ = (course.lesson(user, mux_asset_id="temp_both") for user in (ANNA, BERT))
        by_hand, _ = (course.lesson(user, mux_asset_id="real") for user in (ANNA, BERT))
        apply_all(database)
        assert (
            owner.execute(
                "select mux_id from mux_private.first_instructors(array['both', 'real'])"
            ).fetchall()
            == []
        )
        course.track(tracked, "both")
        with supabase.connect("authenticated", "install") as connection:
            hers = Instructor(connection, ANNA)
            with pytest.raises(psycopg.Error, match="lesson of another instructor"):
                hers.publish_lesson(by_hand)
        with supabase.connect("service_role", "install") as connection:
            outcomes = Service(connection).outcomes(fact(PUBLISH, "both", "as-both"))
        assert outcomes == ["published"]
        assert course.state(tracked)["mux_asset_id"] == "as-both"


def test_a_constraint_of_an_earlier_version_is_replaced(installed: str) -> None:
    """Applied again over it, the table takes what is new."""
    up = catalog(installed)
    run(
        installed,
        "alter table mux_private.upload_history drop constraint it_is_known_how_it_was_heard_of, "
        "add constraint it_is_known_how_it_was_heard_of check (how in ('tracked', 'stood there'))",
    )
    apply_sql(installed, [file for file in FILES if file.stem == "034_upload_history"])
    assert catalog(installed) == up


NASTY = [
    *("plain", "with-dash", "with_underscore", "x" * 255, "x" * 256, "x" * 300, "x" * 400),
    *("", " ", "a b", "a/b", "a.b", "\u00fcmlaut", "a\nb", "a\n", "ab\u2028", "None", "NaN", "nan"),
    *(
        "undefined",
        "null",
        "none",
        "playback",
        "migrated",
        "temp",
        "temp_",
        "temp_temp_",
        "TEMP_up",
    ),
    *("temp_up", "temp_temp_up2", "temp_playback_up3", "temp_playback_temp_up4", "temp_playback_"),
    *("temp_playback", "temp_null", "temp_undefined", "temp_migrated", "temp_a b", "temp_a-b"),
    *("temp_" + "y" * 255, "temp_" + "y" * 256, "temp_" + "y" * 300, "xtemp_up", " temp_up"),
]
"""What columns may hold; `None` stands for itself, and null is one more."""


@pytest.mark.parametrize("is_tracked", [False, True])
def test_what_is_entered_agrees_with_the_functions_of_ids(
    supabase: LocalSupabase, database: str, is_tracked: bool
) -> None:
    """The file has them inlined, since it reads a million rows; each text takes each place."""
    texts: list[str | None] = [None, *NASTY]
    run(database, REPORT.read_text().partition("\ninsert into lessons")[0])
    with supabase.connect(database="install") as owner:
        course = Course(owner, anna=ANNA, bert=BERT)
        for text in texts:
            if is_tracked:
                track_in_each_place(course, text)
            else:
                for other in ("play1", "", None, "temp_playback_other", text):
                    course.lesson(mux_asset_id=text, mux_playback_id=other)
                course.lesson(mux_playback_id=text)
        apply_all(database)
        entered = owner.execute(ENTERED if is_tracked else UNTRACKED).fetchall()
        assert entered == owner.execute(EXPECTED if is_tracked else EXPECTED_UNTRACKED).fetchall()
    assert len(entered) > (200 if is_tracked else 15)


def track_in_each_place(course: Course, text: str | None) -> None:
    """Track lessons whose columns hold a text, as the upload's id, the asset's, or neither's."""
    for status in ("ready", "processing"):
        for upload, asset in ((text or "", "as1"), ("migrated", text), ("up1", text)):
            lesson = course.lesson(mux_asset_id=text, mux_playback_id=text)
            course.track(lesson, upload, status=status, mux_asset_id=asset, mux_playback_id=text)


ENTERED = b"""
    select lesson_id, mux_id, asset_id, playback_id, how, is_known, tracking_id, owner
    from mux_private.upload_history where lesson_id is not null order by 1, 2"""
EXPECTED = b"""
    select distinct on (l.id, mux_private.as_written(e.mux_id)) l.id, e.mux_id, e.asset_id,
      e.playback_id, e.how, e.playback_id is not null, e.tracking_id, l.creator_id::text
    from mux_asset_tracking t
    join lessons l on l.id = t.lesson_id
    cross join lateral (
      select 1 as step, mux_private.named_id(left(h.id, 300)) as mux_id,
        case when left(h.id, 5) <> 'temp_' then left(h.id, 300) end as asset_id,
        case when left(h.id, 5) <> 'temp_' and mux_private.is_mux_id(left(l.mux_playback_id, 300))
          then l.mux_playback_id end as playback_id,
        'stood there' as how, null::uuid as tracking_id
      from (values
        (l.mux_asset_id),
        (case when left(l.mux_playback_id, 5) = 'temp_' then l.mux_playback_id end)) h (id)
      where mux_private.as_written(mux_private.named_id(h.id))
        is distinct from mux_private.as_written(mux_private.key_of(t.upload_id, t.mux_asset_id))
      union all
      select 2, mux_private.key_of(t.upload_id, t.mux_asset_id),
        case when mux_private.is_mux_id(t.mux_asset_id) then t.mux_asset_id end,
        case when t.status = 'ready' and mux_private.is_mux_id(t.mux_playback_id)
          then t.mux_playback_id end, 'tracked', t.id) e
    where mux_private.is_mux_id(e.mux_id)
    order by 1, mux_private.as_written(e.mux_id), e.step"""
UNTRACKED = b"""
    select mux_id, is_known, how, owner
    from mux_private.upload_history where lesson_id is null order by 1"""
EXPECTED_UNTRACKED = b"""
    select mux_private.named_id(h.id), bool_or(coalesce(
        left(h.id, 5) <> 'temp_' and mux_private.is_mux_id(l.mux_playback_id), false)),
      'stood there', min(l.creator_id::text)
    from lessons l
    cross join lateral (values
      (left(l.mux_asset_id, 300)),
      (case when left(l.mux_playback_id, 5) = 'temp_' then left(l.mux_playback_id, 300) end)) h (id)
    where mux_private.named_id(h.id) is not null
      and not exists (select from mux_asset_tracking t where t.lesson_id = l.id)
      and not exists (
        select from mux_private.upload_history u
        where u.lesson_id is not null and mux_private.as_written(mux_private.named_id(h.id))
          in (u.mux_id_written, u.asset_id_written))
    group by 1 order by 1"""
