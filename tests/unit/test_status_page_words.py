import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from worker.decide import GRACE_SECONDS, Rules, decide
from worker.model import UNPLAYABLE, Claim, Observation, PlaybackId, Subject
from worker.web import words

CHECKOUT = Path(__file__).parents[2]
OLD = Claim("id", "lesson", "draft", "up", None, "t", "t", 10**7, 99, GRACE_SECONDS, 99)
YOUNG = Claim("id", "lesson", "draft", "up", None, "t", "t", 1, 99, GRACE_SECONDS, 99)
READY = replace(OLD, status="ready", playback_id="p0")
SAID: list[tuple[Subject, str]] = [
    ("none", "unaskable"),
    *(("upload", s) for s in ("waiting", "asset_created", "errored", "cancelled", "timed_out")),
    *(("upload", s) for s in ("missing", "rejected", "never heard of")),
    *(("asset", s) for s in ("preparing", "ready", "errored", "missing", "rejected", "odd")),
]


def decided(action: str) -> set[str]:
    """List the reasons with which the decision ends like this, whatever Mux says."""
    seen = [Observation(subject, status, "probe") for subject, status in SAID]
    seen.append(Observation("asset", "ready", "probe", playback_ids=(PlaybackId("p", "public"),)))
    verdicts = [
        decide(one, claim, Rules(at_home=at_home))
        for one in seen
        for claim in (OLD, YOUNG, READY, None)
        for at_home in (True, False)
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


def test_every_way_to_fail_has_its_words() -> None:
    """Each error type that decide() or the database can give is told in a sentence."""
    by_database = in_sql(r"verdict := 'fail';\s*reason := '(\w+)'") | in_sql(
        r"error_type = case when .* else '(\w+)' end"
    )
    assert by_database == {"lesson_mismatch", "refused"}
    assert set(words.FAILURES) == decided("fail") | by_database | UNPLAYABLE.keys()


def test_every_reason_has_its_words() -> None:
    """What waits or is published has a reason that is told in words, too."""
    spelled = in_decide() | decided("wait") | decided("publish")
    assert spelled <= words.FAILURES.keys() | words.REASONS.keys()


def test_every_event_of_the_audit_has_its_words() -> None:
    """Whatever sql/ writes into the audit."""
    recorded = in_sql(r"record_event\(\s*'(\w+)'") | {"published", "attached"}
    assert recorded == set(words.EVENTS)


@pytest.mark.parametrize("text", [*words.FAILURES.values(), words.UNKNOWN_FAILURE])
def test_words_for_a_failure_are_sentences(text: str) -> None:
    """They begin and end as sentences do, and name no column."""
    assert text[0].isupper()
    assert text.endswith((".", ".)"))
    assert "_" not in text


def test_a_type_that_nobody_knows_is_told_all_the_same() -> None:
    """From a newer database, or from the time before there were types."""
    assert words.failure("brand_new") == words.failure(None) == words.UNKNOWN_FAILURE


def test_numbers_agree_with_their_nouns() -> None:
    """One lesson, two lessons, and what a scan did with the most first."""
    assert [words.count(n, "lesson") for n in (0, 1, 2000)] == [
        "0 lessons",
        "1 lesson",
        "2,000 lessons",
    ]
    assert words.outcomes({"failed": 1, "waiting": 0, "published": 1200}) == (
        "1,200 published, 1 failed"
    )
