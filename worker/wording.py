"""Every error type, reason and result in sentences for people: what happened, and what to do. Pure.

The database, the dashboard, the commands and the documentation take their sentences from here.
"""

import re
from collections.abc import Mapping

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

MAX_MUX_TEXT_LENGTH = 300
"""Characters of Mux's own message that are kept."""

UNKNOWN_FAILURE = "The video could not be processed. Upload it again."
"""For a failure without an error type, which the app may have written itself."""

FAILURES: Mapping[str, str] = {
    "asset_errored": "Mux could not process the file. Export it again, for example as MP4, and "
    "upload it.",
    "upload_errored": "The upload failed at Mux. Upload the video again.",
    "upload_cancelled": "The upload was cancelled. Upload the video again.",
    "upload_timed_out": "Mux waited for the file, but it did not arrive. Upload the video again "
    "and keep the page open until it is sent.",
    "upload_not_found": "Mux does not know this upload; it may have been deleted there. Upload the "
    "video again.",
    "asset_not_found": "Mux does not know this video; it may have been deleted there. Upload it "
    "again.",
    "mux_rejected": "Mux rejects the id of this upload. Upload the video again; if that fails too, "
    "ask the app's developers.",
    "no_playback_id": "The video has no playback id that this platform accepts. Ask the app's "
    "developers to add one in Mux.",
    "gave_up": "The video did not become ready in time. Upload it again.",
    "invalid_id": "The app saved something that is no id of a Mux upload. Upload the video again; "
    "if that fails too, ask the app's developers.",
    "lesson_mismatch": "The video belongs to a lesson of another instructor. Upload a video of "
    "your own.",
    "refused": "The database refuses to save the video of this lesson. Ask the app's developers to "
    "remove the cause.",
    "playback_ids_withdrawn": "The video can no longer be played, because its playback ids were "
    "removed in Mux. Ask the app's developers to add one, or upload the video again.",
    "asset_deleted": "The video was deleted in Mux. Upload it again.",
}
"""Each error type that a tracking row can have; for the instructor."""

REASONS: Mapping[str, str] = {
    "upload_waiting": "Mux waits for the file.",
    "asset_created": "The file has arrived at Mux.",
    "asset_preparing": "Mux is preparing the video.",
    "asset_ready": "The video is ready.",
    "unknown_status": "Mux reports a status that this version does not know. Look for a newer "
    "version of the worker.",
    "mux_fault": "Mux answers with an error for this video alone. The worker tries again by "
    "itself. If it continues, upload the video again.",
    "playback_ids_changed": "The playback ids of the video changed in Mux.",
    "names_newer": "The lesson names another upload, which the worker checks first.",
    "wrong_environment": "The Mux token belongs to another environment than the upload. Check "
    "MUX_TOKEN_ID.",
    "by_hand": "An operator requested it.",
}
"""Each reason of a verdict that is not a failure."""

BACKFILL_RESULTS: Mapping[str, str] = {
    "published": "The video of this draft is ready. The draft is published with the real ids.",
    "attached": "The video is ready, and the lesson is no draft. It gets the real ids and keeps "
    "its status.",
    "restored": "The lesson had its video before. It gets the real ids back.",
    "waiting": "Mux has not finished the video. The lesson is tracked, and gets the video when it "
    "is ready.",
    "unanswered": "The lesson is tracked. The next scan asks Mux about it.",
    "has_video": "The draft has a real playback id. Use --include-drafts to publish such drafts.",
    "names_nothing": "The lesson names no video. If an asset in Mux names the lesson as its "
    "passthrough, use --trust-passthrough.",
    "unreadable_id": "The lesson holds something that is no id of Mux. Upload the video again.",
    "several_instructors": "Lessons of several instructors name this video, and none of them has "
    "tracked it. An operator has to clear the ids of the wrong lessons.",
    "older": "The lesson has a newer video than the one it names. There is nothing to do.",
    "not_found": "Mux does not know the video that the lesson names. Upload it again.",
    "unchanged": "The lesson has its video already. There is nothing to do.",
    "changed": "Another upload was tracked for the lesson meanwhile. There is nothing to do.",
    "deleted": "The lesson was deleted meanwhile. There is nothing to do.",
    "busy": "Another transaction has locked the lesson. Run the backfill again.",
    "mux_fault": "Mux answers with an error for this video alone. Run the backfill again.",
}
"""Each result that a backfill has for a lesson, besides the error types; for the operator."""

EVENTS: Mapping[str, str] = {
    "tracked": "Tracked",
    "published": "Published",
    "attached": "Given its video",
    "failed": "Failed",
    "waiting": "Checked at Mux",
    "refused": "Refused by the database",
    "restored": "Given its earlier video again",
    "updated": "Updated to the video's new playback id",
    "unplayable": "Can no longer be played",
    "rechecked": "To be checked again",
    "made_due": "Checked again on request",
}
"""Each event of the audit, as the history of a lesson shows it."""

STATES: Mapping[str, str] = {
    "unplayable": "published, plays nothing",
    "failed": "failed",
    "stuck": "stuck",
    "waiting": "waiting",
    "published": "published",
    "ready": "given its video",
    "untracked": "not tracked",
}
"""Each state of a lesson; first those that need somebody, the worst first."""

WAITS: Mapping[str, str] = {
    "not_checked": "The worker has not checked the video yet. If this does not change, run "
    "mux-worker doctor.",
    "upload_waiting": "Mux waits for the file. If the upload was interrupted, upload the video "
    "again.",
    "asset_preparing": "Mux is preparing the video. A long video takes a while; if it does not "
    "end, look at the asset in Mux.",
    "missing": "Mux does not know the video, or has no playback id for it that is accepted. Check "
    "that MUX_TOKEN_ID belongs to the environment of the upload, and PLAYBACK_POLICIES.",
}
"""What a lesson waits for, and what to do if it waits for long; for the operator."""

STATUSES: Mapping[str, str] = {
    "processing": "waits for its video",
    "ready": "has its video",
    "error": "failed",
}
"""Each status of a tracking row, as what its lesson does."""


def failure(error_type: str | None, detail: str | None = None) -> str:
    """Return the sentences for an error type, known or unknown, followed by the detail.

    A detail that begins with these sentences already is returned unchanged.
    """
    return _joined(FAILURES.get(error_type or "", UNKNOWN_FAILURE), detail)


def detail_of(error_type: str | None, message: str | None) -> str:
    """Return the part of a message that follows the sentences for its error type."""
    return (message or "").removeprefix(failure(error_type)).strip()


def why_and_advice(sentences: str) -> tuple[str, str]:
    """Return the first of some sentences, which says what happened, and the rest: what to do."""
    why, _, advice = sentences.partition(". ")
    return f"{why}.", advice


def backfill_result(name: str, detail: str | None = None) -> str:
    """Return the sentences for a result of the backfill, which may be an error type."""
    return _joined(BACKFILL_RESULTS.get(name) or failure(name), detail)


def mux_says(error_type: str | None, message: str | None) -> str | None:
    """Return Mux's own error type and message in one line, shortened; None if there are none."""
    text = " ".join(": ".join(part for part in (error_type, message) if part).split())
    if not text:
        return None
    is_long = len(text) > MAX_MUX_TEXT_LENGTH
    return f"Mux says: {text[:MAX_MUX_TEXT_LENGTH]}{'...' if is_long else ''}"


def actor(text: str, owner: str | None = None) -> str:
    """Return the name of an audit event's actor for people; `owner` is the lesson's instructor."""
    if text == owner:
        return "the instructor"
    if text.startswith("operator "):
        return f"an operator: {text.removeprefix('operator ')}"
    if _UUID.fullmatch(text):
        return "another user"
    return "the worker" if text in ("service_role", "mux_worker") else text


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def outcomes(counts: Mapping[str, int]) -> str:
    """Return the outcomes of a scan, those with the most rows first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {name}" for name, number in ordered if number)


def _joined(sentences: str, detail: str | None) -> str:
    if not detail or detail.startswith(sentences):
        return detail or sentences
    return f"{sentences} {detail if detail.endswith(('.', '!', '?')) else f'{detail}.'}"
