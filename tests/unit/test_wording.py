import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from worker import wording
from worker.decide import GRACE_SECONDS, Rules, decide
from worker.model import Claim, Observation, PlaybackId, Subject

CHECKOUT = Path(__file__).parents[2]
OLD = Claim("id", "lesson", "draft", "up", None, "t", "t", 10**7, 99, GRACE_SECONDS, 99)
YOUNG = Claim("id", "lesson", "draft", "up", None, "t", "t", 1, 99, GRACE_SECONDS, 99)
READY = replace(OLD, status="ready", playback_id="p0")
SAID: list[tuple[Subject, str]] = [
    ("row", "invalid_id"),
    *(("upload", s) for s in ("waiting", "asset_created", "errored", "cancelled", "timed_out")),
    *(("upload", s) for s in ("missing", "rejected", "never heard of")),
    *(("asset", s) for s in ("preparing", "ready", "errored", "missing", "rejected", "odd")),
]


CLAIMS = (OLD, YOUNG, READY, None)


def decided(
    action: str,
    subjects: tuple[Subject, ...] = ("row", "upload", "asset"),
    claims: tuple[Claim | None, ...] = CLAIMS,
) -> set[str]:
    """List the reasons with which the decision ends like this, whatever Mux says."""
    seen = [Observation(subject, status, "probe") for subject, status in SAID]
    seen.append(Observation("asset", "ready", "probe", playback_ids=(PlaybackId("p", "public"),)))
    verdicts = [
        decide(one, claim, Rules(environment_matches=environment_matches))
        for one in seen
        if one.subject in subjects
        for claim in claims
        for environment_matches in (True, False)
    ]
    return {verdict.reason for verdict in verdicts if verdict.action == action}


def in_sql(pattern: str) -> set[str]:
    """List what a pattern finds in the files of sql/."""
    text = "\n".join(file.read_text() for file in (CHECKOUT / "sql").glob("*.sql"))
    return set(re.findall(pattern, text))


def in_decide() -> set[str]:
    """List the reasons that decide.py spells out, so that none is missed above."""
    tree = ast.parse((CHECKOUT / "worker" / "decide.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and len(n.args) > 1]
    return {
        str(call.args[1].value)
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Verdict"
        if isinstance(call.args[1], ast.Constant)
    }


def assert_says_what_to_do(text: str) -> None:
    """Check that a text begins and ends as sentences do, names no column, and says what to do."""
    assert re.fullmatch(r"[A-Z][^_]+\.", text)
    assert re.search(r"[.;,] (or )?([Uu]pload|[Aa]sk|Export) ", text)


def test_every_type_of_error_says_what_happened_and_what_to_do() -> None:
    """Each one that decide() or the database can give, in less than a status line's room."""
    by_database = in_sql(r"verdict := 'fail';\s*reason := '(\w+)'") | in_sql(
        r"set error_type = '(\w+)'"
    )
    assert by_database == {"lesson_mismatch", "refused"}
    assert decided("fail") | by_database <= wording.FAILURES.keys()
    for text in [*wording.FAILURES.values(), wording.UNKNOWN_FAILURE]:
        assert_says_what_to_do(text)
        assert len(text) < 200


def error_types_in_sql(condition: str) -> list[set[str]]:
    """Return each list of error types that sql/ compares a row's with, under a condition."""
    lists = in_sql(rf"{condition}\w+\.error_type in \(([^)]*)\)")
    return [set(re.findall(r"'(\w+)'", found)) for found in lists]


def test_the_errors_of_a_ready_row_in_sql_are_those_of_a_recheck() -> None:
    """A ready row with one of them is unplayable."""
    (listed,) = error_types_in_sql(r"status = 'ready' and (?:coalesce\()?")
    assert listed == decided("fail", claims=(READY,))


def test_sql_publishes_no_asset_by_hand_that_failed_for_good() -> None:
    """Nor one of another instructor; the rest may still become ready, or get a playback id."""
    (listed,) = error_types_in_sql(r"status <> 'processing' and [^;]*?")
    may_become_playable = {"no_playback_id", "gave_up"}
    assert listed == (decided("fail", ("asset",)) - may_become_playable) | {"lesson_mismatch"}


def test_every_reason_and_every_result_has_its_sentence() -> None:
    """Of what waits or is published, and of what a backfill ends with."""
    spelled = in_decide() | decided("wait") | decided("publish")
    assert spelled <= wording.FAILURES.keys() | wording.REASONS.keys()
    for text in [*wording.REASONS.values(), *wording.BACKFILL_RESULTS.values()]:
        assert text[0].isupper()
        assert text.endswith(".")


@pytest.mark.parametrize("said", [None, "odd"])
@pytest.mark.parametrize(("subject", "status"), SAID)
def test_no_failure_is_without_its_sentence(
    subject: Subject, status: str, said: str | None
) -> None:
    """Whatever Mux says, and whether it gives a cause or none."""
    seen = Observation(subject, status, "probe", error_message=said)
    for claim in CLAIMS:
        verdict = decide(seen, claim, Rules())
        if verdict.action == "fail":
            begin = wording.FAILURES[verdict.reason]
            assert_says_what_to_do(begin)
            assert verdict.message is not None
            assert verdict.message.startswith(begin)
            assert verdict.message.endswith(".")


def test_what_mux_says_comes_after_our_sentence_in_one_line_and_not_too_long() -> None:
    """It is somebody else's text; where it is none at all nothing is added."""
    seen = Observation("asset", "errored", "probe", error_type="bad", error_message="a\n\nb")
    sentence = wording.FAILURES["asset_errored"]
    assert decide(seen, None, Rules()).message == f"{sentence} Mux says: bad: a b."
    endless = wording.mux_says("x", "e" * 10_000)
    assert endless == f"Mux says: x: {'e' * 297}..."
    assert [wording.mux_says(None, text) for text in (None, "", " \n")] == [None] * 3


def test_sentences_are_not_said_twice() -> None:
    """A row's message has them already; one from before, or of the app's own, gets them."""
    for message in ("Mux says: x.", None, "no"):
        once = wording.failure("upload_errored", message)
        assert wording.failure("upload_errored", once) == once
        assert once.startswith(wording.FAILURES["upload_errored"])
        assert wording.detail_of("upload_errored", once) in (message or "", "no.")
    assert wording.detail_of(None, "its own words") == "its own words"
    assert wording.backfill_result("busy") == wording.BACKFILL_RESULTS["busy"]
    assert wording.backfill_result("gave_up", "Why") == wording.failure("gave_up", "Why")


def test_the_sentences_in_sql_are_the_same() -> None:
    """The database fails a row for a mismatch by itself, and answers for rows without a text."""
    assert in_sql(r"message := '(The .*)';") == {wording.FAILURES["lesson_mismatch"]}
    coalesced = in_sql(r"error_message\), ''\), '(.*?)'\)")
    assert coalesced == {wording.UNKNOWN_FAILURE}


def test_the_documented_error_types_are_the_code() -> None:
    """The app's developer finds every type with its sentence; `refused` fails no row."""
    page = (CHECKOUT / "docs" / "app.md").read_text()
    found = re.search(r"<!-- error types:.*?-->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert found is not None
    rows = [row.strip("| ").split(" | ") for row in found[1].splitlines()[2:]]
    failing = {name: text for name, text in wording.FAILURES.items() if name != "refused"}
    assert rows == [
        *([f"`{name}`", text] for name, text in failing.items()),
        ["null", wording.UNKNOWN_FAILURE],
    ]


def test_every_event_of_the_audit_has_its_words() -> None:
    """Whatever sql/ writes into the audit."""
    recorded = in_sql(r"record_event\(\s*'(\w+)'") | {"published", "attached"}
    assert recorded == set(wording.EVENTS)


def test_a_type_that_nobody_knows_is_told_all_the_same() -> None:
    """From a newer database, or from the time before there were types."""
    assert wording.failure("new") == wording.failure(None) == wording.UNKNOWN_FAILURE


def test_numbers_agree_with_their_nouns() -> None:
    """One lesson, two lessons, and what a scan did with the most first."""
    assert [wording.count(n, "lesson") for n in (0, 1, 2000)] == [
        "0 lessons",
        "1 lesson",
        "2,000 lessons",
    ]
    assert wording.outcomes({"failed": 1, "waiting": 0, "published": 1200}) == (
        "1,200 published, 1 failed"
    )


def test_people_are_named_by_what_they_are() -> None:
    """Not by an id; a database's user has only its name."""
    owner, other = (f"{letter * 8}-0000-4000-8000-000000000001" for letter in "ab")
    named = ("service_role", owner, other, "operator Ines", "postgres")
    assert [wording.actor(text, owner) for text in named] == [
        "the worker",
        "the instructor",
        "another user",
        "an operator: Ines",
        "postgres",
    ]
