import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_decide import CLAIM
from worker.model import ClaimVerdict, Observation, Settlement, Verdict
from worker.supabase.serialize import MAX_TEXT_BYTES, sanitize, settlement_json


def test_characters_that_postgres_refuses_are_replaced() -> None:
    """NUL and lone surrogates, in keys and values, however deep."""
    assert sanitize({"a\x00": ["x\ud800y", {"b": ("\udfff", 1, None, True)}]}) == {
        "a\ufffd": ["x\ufffdy", {"b": ["\ufffd", 1, None, True]}]
    }


@given(st.text(st.characters()) | st.text("äß€😀", min_size=600))
def test_any_text_can_be_sent(text: str) -> None:
    """It encodes, has no NUL, and is at most 2 kB long without a broken character."""
    sent = sanitize(text).encode()
    assert b"\x00" not in sent
    assert len(sent) <= MAX_TEXT_BYTES
    if len(text.encode(errors="replace")) <= MAX_TEXT_BYTES // 4:
        assert len(sanitize(text)) == len(text)


def test_a_settlement_is_sent_whole() -> None:
    """The item has the observation, its verdict, and each claimed row with its own."""
    observation = Observation("upload", "missing", "probe", upload_id="up1")
    waits, fails = (
        Verdict("wait", "upload_not_found", grace="runs"),
        Verdict("fail", "gave_up", "x"),
    )
    item = settlement_json(Settlement(observation, waits, (ClaimVerdict(CLAIM, fails, 7.5),)))
    assert json.loads(json.dumps(item)) == {
        "verdict": "wait",
        "reason": "upload_not_found",
        "message": None,
        "playback_id": None,
        "upload_id": "up1",
        "asset_id": None,
        "lesson_references": [],
        "observation": {
            "subject": "upload",
            "status": "missing",
            "source": "probe",
            "upload_id": "up1",
        },
        "claimed": [
            {
                "id": "t1",
                "tracked_at": CLAIM.tracked_at,
                "leased_until": CLAIM.leased_until,
                "verdict": "fail",
                "reason": "gave_up",
                "message": "x",
                "playback_id": None,
                "missing": False,
                "pause_seconds": 7.5,
            }
        ],
    }


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a" * 2048, "a" * 2048),
        ("a" * 2049, "a" * 2048),
        ("a" + "😀" * 600, "a" + "😀" * 511),
        ("aa" + "€" * 900, "aa" + "€" * 682),
        ("\x00" * 900, "\ufffd" * 682),
    ],
    ids=["fits", "one too many", "four bytes", "three bytes", "replaced first"],
)
def test_a_long_text_keeps_all_the_characters_that_fit(text: str, kept: str) -> None:
    """It is cut at 2 kB, before a character that would be split."""
    assert sanitize(text) == kept
