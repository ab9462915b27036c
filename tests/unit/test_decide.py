from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.decide import Rules, decide, settlement, unknown_values
from worker.model import Claim, Observation, PlaybackId, Verdict
from worker.wording import FAILURES, REASONS

RULES = Rules(("public",), give_up_after_seconds=604_800)
CLAIM = Claim(
    id="t1",
    lesson_id="l1",
    lesson_status="draft",
    upload_id="up1",
    asset_id=None,
    tracked_at="2026-01-01T00:00:00+00:00",
    leased_until="2026-01-01T00:01:00+00:00",
    age_seconds=60.0,
    check_count=1,
    missing_seconds=None,
    missing_count=0,
    due_at="2026-01-01T00:00:30+00:00",
)
PUBLIC, SIGNED = PlaybackId("pub1", "public"), PlaybackId("sig1", "signed")


def upload(status: str, **more: str) -> Observation:
    """Return an observation of an upload."""
    return Observation("upload", status, "probe", upload_id="up1", **more)  # type: ignore[arg-type]  # texts all


def asset(status: str, *playback_ids: PlaybackId, **more: str) -> Observation:
    """Return an observation of an asset."""
    return Observation(
        "asset",
        status,
        "probe",
        upload_id="up1",
        asset_id="as1",
        playback_ids=playback_ids,
        **more,  # type: ignore[arg-type]  # texts all
    )


def fails(error_type: str, detail: str | None = None) -> Verdict:
    """Return a failure with the sentence for its type, and a detail."""
    sentence = FAILURES[error_type]
    return Verdict("fail", error_type, sentence if detail is None else f"{sentence} {detail}")


def missing(seconds: float | None, checks: int) -> Claim:
    """Return a claim whose id was missing before."""
    return replace(CLAIM, missing_seconds=seconds, missing_count=checks)


@pytest.mark.parametrize(
    ("observation", "verdict"),
    [
        (upload("waiting"), Verdict("wait", "upload_waiting")),
        (upload("asset_created"), Verdict("wait", "asset_created")),
        (
            upload("errored", error_type="invalid", error_message="no video"),
            fails("upload_errored", "Mux says: invalid: no video."),
        ),
        (upload("cancelled"), fails("upload_cancelled")),
        (upload("timed_out"), fails("upload_timed_out")),
        (asset("preparing", PUBLIC), Verdict("wait", "asset_preparing")),
        (asset("ready", PUBLIC), Verdict("publish", "asset_ready", playback_id="pub1")),
        (asset("ready", SIGNED, PUBLIC), Verdict("publish", "asset_ready", playback_id="pub1")),
        (
            asset("ready", SIGNED),
            Verdict(
                "wait",
                "no_playback_id",
                "The asset has only playback ids of policy signed; accepted: public.",
                grace="runs",
            ),
        ),
        (
            asset("ready"),
            Verdict(
                "wait",
                "no_playback_id",
                "The asset has no playback id; accepted: public.",
                grace="runs",
            ),
        ),
        (
            asset("errored", PUBLIC, error_type="invalid_input", error_message="a; b"),
            fails("asset_errored", "Mux says: invalid_input: a; b."),
        ),
        (
            upload("missing"),
            Verdict("wait", "upload_not_found", grace="runs"),
        ),
        (
            asset("missing"),
            Verdict("wait", "asset_not_found", grace="runs"),
        ),
        (
            asset("rejected", error_type="bad", error_message="what?"),
            Verdict("wait", "mux_rejected", "Mux says: bad: what?", grace="runs"),
        ),
        (
            Observation(
                "asset", "fault", "probe", asset_id="as1", error_message="It answered 500."
            ),
            Verdict(
                "wait",
                "mux_fault",
                "Mux does not answer about this asset: It answered 500.",
                grace="unchanged",
            ),
        ),
        (upload("pondering"), Verdict("wait", "unknown_status", "The upload is 'pondering'.")),
        (
            Observation("row", "invalid_id", "probe", error_message="no id"),
            fails("invalid_id", "no id."),
        ),
    ],
)
@pytest.mark.parametrize("claim", [None, CLAIM])
def test_each_observation_has_its_verdict(
    observation: Observation, verdict: Verdict, claim: Claim | None
) -> None:
    """Claimed or not, as long as neither the grace nor the give-up time is over."""
    assert decide(observation, claim, RULES) == verdict


EVENTS = [
    (upload("errored"), Verdict("recheck", "upload_errored")),
    (asset("deleted"), Verdict("mark_deleted", "asset_deleted", FAILURES["asset_deleted"])),
]


@pytest.mark.parametrize(("observation", "verdict"), EVENTS)
def test_only_an_event_rechecks_or_marks_a_deletion(
    observation: Observation, verdict: Verdict
) -> None:
    """A response has Mux's reason for a failure, and says by a 404 that an asset is deleted."""
    event = replace(observation, source="webhook")
    assert decide(event, None, RULES) == verdict
    assert unknown_values(event) == ()
    for source in ("probe", "sweep"):
        response = replace(observation, source=source)
        assert decide(response, CLAIM, RULES).action in ("fail", "wait")


def test_other_events_mean_what_a_response_means() -> None:
    """An event is an observation like others."""
    for observation in (upload("cancelled"), asset("errored"), asset("ready", PUBLIC)):
        event = replace(observation, source="webhook")
        assert decide(event, None, RULES) == decide(observation, None, RULES)


def test_the_first_accepted_policy_wins() -> None:
    """The order of the setting counts, not the order in which Mux lists the ids."""
    observation = asset("ready", PUBLIC, SIGNED)
    preferring_signed = replace(RULES, playback_policies=("signed", "public"))
    assert decide(observation, None, preferring_signed).playback_id == "sig1"


def test_an_unknown_policy_is_not_accepted() -> None:
    """Its playback id is not published, and the message names the policy."""
    verdict = decide(asset("ready", PlaybackId("x", "holographic")), None, RULES)
    assert verdict.action == "wait"
    assert verdict.message is not None
    assert "holographic" in verdict.message


@pytest.mark.parametrize(
    ("claim", "action"),
    [
        (missing(None, 0), "wait"),
        (missing(599, 5), "wait"),
        (missing(600, 1), "wait"),
        (missing(600, 2), "fail"),
        (missing(9999, 1), "wait"),
    ],
)
@pytest.mark.parametrize(
    ("observation", "reason"),
    [
        (upload("missing"), "upload_not_found"),
        (asset("missing"), "asset_not_found"),
        (asset("rejected"), "mux_rejected"),
        (asset("ready"), "no_playback_id"),
    ],
)
def test_the_grace_lasts_ten_minutes_and_three_checks(
    observation: Observation, reason: str, claim: Claim, action: str
) -> None:
    """Both must be over before a missing id fails; this check counts."""
    verdict = decide(observation, claim, RULES)
    assert (verdict.action, verdict.reason) == (action, reason)


def test_in_another_environment_nothing_is_missing() -> None:
    """There every id is a 404: neither the grace nor the give-up time counts."""
    elsewhere = replace(RULES, environment_matches=False)
    old = replace(missing(9999, 9), age_seconds=9e6)
    for observation in (upload("missing"), asset("missing"), asset("rejected")):
        assert decide(observation, old, elsewhere) == Verdict(
            "wait", "wrong_environment", REASONS["wrong_environment"], grace="unchanged"
        )


def test_what_is_found_in_another_environment_is_given_up_as_in_any() -> None:
    """It is not one of the ids that are a 404 there; nor is an id that cannot be one."""
    elsewhere = replace(RULES, environment_matches=False)
    old = replace(CLAIM, age_seconds=9e6)
    assert decide(upload("waiting"), old, elsewhere).reason == "gave_up"
    assert decide(Observation("row", "invalid_id", "probe"), old, elsewhere).reason == "invalid_id"


BACKLOG = replace(CLAIM, is_backlog=True, check_count=0)


@pytest.mark.parametrize(
    ("observation", "verdict"),
    [
        (upload("missing"), fails("upload_not_found")),
        (asset("missing"), fails("asset_not_found")),
        (
            asset("rejected", error_type="bad", error_message="what?"),
            fails("mux_rejected", "Mux says: bad: what?"),
        ),
        (
            asset("ready", SIGNED),
            fails(
                "no_playback_id",
                "The asset has only playback ids of policy signed; accepted: public.",
            ),
        ),
        (upload("waiting"), Verdict("wait", "upload_waiting")),
        (asset("preparing"), Verdict("wait", "asset_preparing")),
        (asset("ready", PUBLIC), Verdict("publish", "asset_ready", playback_id="pub1")),
        (
            upload("fault", error_message="Mux answered with 500."),
            Verdict(
                "wait",
                "mux_fault",
                "Mux does not answer about this upload: Mux answered with 500.",
                grace="unchanged",
            ),
        ),
    ],
)
def test_a_row_of_the_backlog_has_no_grace(observation: Observation, verdict: Verdict) -> None:
    """Its first look decides; what Mux still works on is waited for, and so is a fault."""
    assert decide(observation, BACKLOG, RULES) == verdict


@pytest.mark.parametrize("observation", [upload("missing"), asset("missing"), asset("rejected")])
def test_in_another_environment_no_row_of_the_backlog_fails(observation: Observation) -> None:
    """There every id is a 404, as for any other row."""
    verdict = decide(observation, BACKLOG, replace(RULES, environment_matches=False))
    assert (verdict.action, verdict.reason) == ("wait", "wrong_environment")


def test_giving_up_names_the_last_status() -> None:
    """A row that still waits at that age fails, whatever its status."""
    old = replace(CLAIM, age_seconds=604_800)
    assert decide(upload("waiting"), old, RULES) == fails(
        "gave_up", "Mux's last answer: the upload is 'waiting'."
    )
    assert decide(asset("ready", PUBLIC), old, RULES).action == "publish"
    assert decide(upload("waiting"), replace(old, age_seconds=604_799), RULES).action == "wait"


def test_a_settlement_has_a_verdict_for_all_rows_and_for_each_claim() -> None:
    """The row whose grace is over fails, the others wait, each with its own pause."""
    over = missing(700, 2)
    result = settlement(upload("missing"), ((CLAIM, 0.5), (over, 0.5)), RULES)
    assert result.verdict.action == "wait"
    assert [(c.claim, c.verdict.action) for c in result.claims] == [(CLAIM, "wait"), (over, "fail")]
    assert [c.pause_seconds for c in result.claims] == [5, 200]


def test_a_fault_of_one_id_has_no_grace_and_is_given_up() -> None:
    """Its row fails only by its age, and in another environment not even then."""
    fault = Observation("upload", "fault", "probe", "up1", error_message="Mux answered with 500.")
    old = replace(missing(9999, 9), age_seconds=604_799)
    assert decide(fault, old, RULES).reason == "mux_fault"
    given_up = replace(old, age_seconds=604_800)
    assert decide(fault, given_up, RULES) == Verdict(
        "fail",
        "gave_up",
        f"{FAILURES['gave_up']} Mux does not answer about this upload: Mux answered with 500.",
    )
    verdict = decide(fault, given_up, replace(RULES, environment_matches=False))
    assert (verdict.action, verdict.reason) == ("wait", "mux_fault")


def test_unknown_values_are_listed() -> None:
    """Statuses and policies, by kind."""
    observation = asset("upside_down", PlaybackId("x", "holographic"), PUBLIC)
    assert unknown_values(observation) == (
        ("asset_status", "upside_down"),
        ("policy", "holographic"),
    )
    known = (PUBLIC, SIGNED, PlaybackId("drm1", "drm"))
    assert unknown_values(asset("ready", *known)) == ()
    assert unknown_values(upload("missing")) == ()


claims = st.builds(
    replace,
    st.just(CLAIM),
    age_seconds=st.floats(0, 1e9),
    check_count=st.integers(0, 10**6),
    missing_seconds=st.none() | st.floats(0, 1e9),
    missing_count=st.integers(0, 10**6),
)
observations = st.builds(
    Observation,
    st.sampled_from(["upload", "asset", "row"]),
    st.sampled_from(
        ["waiting", "asset_created", "ready", "missing", "rejected", "errored", "deleted", "?"]
    ),
    st.sampled_from(["probe", "sweep", "webhook"]),
    playback_ids=st.lists(
        st.builds(PlaybackId, st.just("x"), st.sampled_from(["public", "signed", "drm", "?"]))
    ).map(tuple),
)


@given(observations, st.none() | claims, st.booleans())
def test_only_playable_assets_are_published(
    observation: Observation, claim: Claim | None, environment_matches: bool
) -> None:
    """They are ready, and the playback id is their own and of an accepted policy."""
    verdict = decide(observation, claim, replace(RULES, environment_matches=environment_matches))
    if verdict.action == "publish":
        assert (observation.subject, observation.status) == ("asset", "ready")
        assert PlaybackId(verdict.playback_id or "", "public") in observation.playback_ids


@given(observations, st.none() | claims, st.booleans())
def test_every_observation_has_a_verdict(
    observation: Observation, claim: Claim | None, environment_matches: bool
) -> None:
    """What a scan finds publishes, fails or waits; only events have the other two."""
    verdict = decide(observation, claim, replace(RULES, environment_matches=environment_matches))
    if observation.source != "webhook":
        assert verdict.action in ("publish", "fail", "wait")
    by_event = {("upload", "errored"): "recheck", ("asset", "deleted"): "mark_deleted"}
    if (action := by_event.get((observation.subject, observation.status))) and claim is None:
        assert (verdict.action == action) == (observation.source == "webhook")


@given(observations, claims)
def test_in_another_environment_no_404_ever_fails(observation: Observation, claim: Claim) -> None:
    """However old the row is, and however often it was missing."""
    verdict = decide(observation, claim, replace(RULES, environment_matches=False))
    if observation.subject != "row" and observation.status in ("missing", "rejected"):
        assert verdict.action == "wait"


def test_a_failure_after_the_grace_has_the_reason_of_the_wait() -> None:
    """And its message."""
    assert decide(asset("ready", SIGNED), missing(600, 2), RULES) == fails(
        "no_playback_id", "The asset has only playback ids of policy signed; accepted: public."
    )


HAS_VIDEO = replace(CLAIM, status="ready", asset_id="as1", playback_id="pub1", age_seconds=10**7)
OTHER = PlaybackId("pub2", "public")
GONE = "playback_ids_withdrawn"


@pytest.mark.parametrize(
    ("observation", "verdict"),
    [
        (asset("ready", OTHER, PUBLIC), Verdict("publish", "asset_ready", playback_id="pub1")),
        (asset("preparing", PUBLIC), Verdict("publish", "asset_ready", playback_id="pub1")),
        (asset("ready", SIGNED, OTHER), Verdict("publish", "asset_ready", playback_id="pub2")),
        (asset("ready", SIGNED), Verdict("fail", GONE, FAILURES[GONE])),
        (asset("ready"), Verdict("fail", GONE, FAILURES[GONE])),
        (asset("preparing"), Verdict("wait", "asset_preparing")),
        (asset("errored", OTHER), Verdict("fail", GONE, FAILURES[GONE])),
        (asset("rejected"), Verdict("wait", "mux_rejected")),
        (
            asset("rejected", error_message="no"),
            Verdict("wait", "mux_rejected", "Mux says: no"),
        ),
        (
            asset("missing"),
            Verdict("wait", "asset_not_found", grace="runs"),
        ),
    ],
)
def test_a_recheck_decides_whether_a_published_lesson_still_plays(
    observation: Observation, verdict: Verdict
) -> None:
    """While its playback id is listed nothing changes; else another accepted one counts."""
    assert decide(observation, HAS_VIDEO, RULES) == verdict


def test_a_published_video_that_stays_missing_was_deleted() -> None:
    """After the grace, and only in the recorded environment."""
    claim = replace(HAS_VIDEO, missing_seconds=600, missing_count=2)
    deleted = Verdict("fail", "asset_deleted", FAILURES["asset_deleted"])
    assert decide(asset("missing"), claim, RULES) == deleted
    elsewhere = replace(RULES, environment_matches=False)
    assert decide(asset("missing"), claim, elsewhere) == Verdict(
        "wait", "wrong_environment", grace="unchanged"
    )


def test_several_policies_are_told_in_a_row() -> None:
    """Those that the asset has by name, and those that are accepted in their order."""
    rules = replace(RULES, playback_policies=("public", "drm"))
    verdict = decide(asset("ready", SIGNED, PlaybackId("x", "odd")), None, rules)
    assert verdict.message == (
        "The asset has only playback ids of policy odd, signed; accepted: public, drm."
    )


def test_a_claims_next_check_is_by_the_rules_of_the_scan() -> None:
    """By its interval, and by whether the token's environment is the recorded one."""
    rules = replace(RULES, interval_seconds=0.2)
    ((soon,), (far,)) = (
        settlement(observation, ((CLAIM, 0.5),), rule).claims
        for observation, rule in (
            (asset("preparing"), rules),
            (upload("missing"), replace(rules, environment_matches=False)),
        )
    )
    assert (soon.pause_seconds, far.pause_seconds) == (0.1, CLAIM.age_seconds / 10)
