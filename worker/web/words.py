"""What happened to a lesson, in words that whoever answers instructors can use. Pure."""

from collections.abc import Mapping

from worker.model import UNPLAYABLE

FAILURES: Mapping[str, str] = {
    "upload_errored": "The upload broke off on its way to Mux. Uploading the video again helps.",
    "upload_cancelled": "The upload was cancelled. Uploading the video again helps.",
    "upload_timed_out": "An upload was begun, and no file ever came: the browser was closed too "
    "early, or the connection broke. Uploading the video again helps.",
    "asset_errored": "Mux could not make a video of the file. Export it anew, for example as MP4, "
    "and upload it again.",
    "no_playback_id": "Mux has the video, but nothing may play it: it was uploaded without a "
    "playback policy that this platform accepts. That is for a developer of the app.",
    "upload_not_found": "Mux does not know the upload: it was deleted there, or went to another "
    "environment. Uploading the video again helps.",
    "asset_not_found": "Mux does not know the video any more: it was deleted there. Uploading it "
    "again helps.",
    "mux_rejected": "Mux refuses to tell about this upload. Uploading the video again may help; if "
    "not, it is for a developer.",
    "invalid_id": "What the app noted as the upload can be no id of Mux. Uploading the video again "
    "may help; if not, it is for a developer of the app.",
    "gave_up": "Mux was not done with it after a very long time. Uploading the video again helps.",
    "lesson_mismatch": "The video belongs to a lesson of another instructor, so it is not given to "
    "this one. Uploading the video for this lesson helps.",
    **UNPLAYABLE,
    "refused": "The database refuses to write this lesson. That is for a developer: the message "
    "says why.",
}
"""Each error type, in a sentence or two."""

UNKNOWN_FAILURE = "It failed, and what is noted says no more than the message."

REASONS: Mapping[str, str] = {
    "upload_waiting": "the file is not at Mux yet",
    "asset_created": "the upload has become a video",
    "asset_preparing": "Mux is preparing the video",
    "asset_ready": "the video is ready",
    "asset_deleted": "the video was deleted in Mux",
    "playback_ids_changed": "the playback ids of the video changed in Mux",
    "playback_ids_withdrawn": "the playback id was removed in Mux",
    "unknown_status": "Mux says something that this worker does not know",
    "wrong_environment": "the Mux token is of another environment",
    "by_hand": "by hand",
}
"""Reasons that are no failures."""

EVENTS: Mapping[str, str] = {
    "tracked": "Tracked",
    "published": "Published",
    "attached": "Given its video",
    "failed": "Failed",
    "waiting": "Seen at Mux",
    "refused": "Refused by the database",
    "updated": "Plays by another id",
    "unplayable": "Can no longer be played",
    "rechecked": "To be looked at once more",
    "made_due": "Looked at again",
}

STATUSES: Mapping[str, str] = {
    "processing": "waits for its video",
    "ready": "has its video",
    "error": "failed",
}


def failure(error_type: str | None) -> str:
    """Give the sentence for an error type, also for one that nobody here knows."""
    return FAILURES.get(error_type or "", UNKNOWN_FAILURE)


def reason(word: str | None) -> str | None:
    """Give the words for a reason; the word itself where there are none, or it is a failure."""
    return None if word is None else REASONS.get(word, word)


def actor(text: str) -> str:
    """Say who did something."""
    if text == "service_role":
        return "the worker"
    return text


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def outcomes(counts: Mapping[str, int]) -> str:
    """Write what a scan did, the outcomes with the most rows first."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{number:,} {name}" for name, number in ordered if number)
