"""The rule of which upload is the newest, and whose, in Python: what the database may do.

It knows what the database was told, in the order in which it was, and nothing of its tables. After
each action it says which uploads a lesson's row may track, and judges what was written to lessons.
Where the rule leaves a choice, any of it is right, and the oracle goes on with what was chosen.
"""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from tests.sql.upload_world import Ids, Mux, Video

By = Literal["worker", "operator", "instructor", "app"]
"""Who acted: the worker alone, a person who publishes by hand, or the app."""

Uploads = set[Video | None]


@dataclass(frozen=True, slots=True)
class Row:
    """A tracking row, as it was read."""

    upload: str
    ids: Ids
    status: str

    @property
    def mux_id(self) -> str | None:
        """Give the id that it tracks, an upload's or an asset's."""
        return self.ids[0] if self.upload == "migrated" else self.upload


@dataclass(frozen=True, slots=True)
class Seen:
    """A lesson and its row, as they were read."""

    status: str
    holds: Ids
    row: Row | None = None

    @property
    def is_ready(self) -> bool:
        """Whether its row is."""
        return self.row is not None and self.row.status == "ready"

    @property
    def names(self) -> set[str]:
        """Give the ids that the lesson's columns name, as they are or in a placeholder."""
        held = (text for text in self.holds if text)
        return {text.removeprefix("temp_").removeprefix("playback_") for text in held}


@dataclass(slots=True)
class Life:
    """What the database was told of a lesson since it was made, and what it did."""

    lesson: UUID
    owner: UUID
    seen: Seen
    order: list[Video] = field(default_factory=list)
    """The videos of its history, the newest last."""

    newest: Video | None = None
    """What is tracked, or was when the row was deleted."""

    tracked: set[str] = field(default_factory=set)
    stood: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Ids that the lesson named while Mux did not know them: they may count as older since."""

    played: set[Video] = field(default_factory=set)
    may_play: set[Video] = field(default_factory=set)
    """What the app has called ready, or what stood there with a playback id: perhaps it plays."""

    deleted: set[Video] = field(default_factory=set)
    published: set[Video] = field(default_factory=set)
    given_back: set[tuple[Video, Video | None]] = field(default_factory=set)
    """The video that the status was given back with, and the upload that was tracked then."""

    @property
    def current(self) -> Video | None:
        """Give what the row tracks; None without a row."""
        return self.newest if self.seen.row else None

    def knows(self, *mux_ids: str) -> bool:
        """Whether the history has one of these ids."""
        return not {*mux_ids}.isdisjoint(self.tracked | self.stood)

    def enters(self, video: Video) -> None:
        """Put a video at the end of the history."""
        self.order = [one for one in self.order if one is not video] + [video]

    def playable(self) -> Video | None:
        """Give the newest video that the lesson has played and that was not deleted."""
        return max(self.played - self.deleted, key=self.order.index, default=None)


class Oracle:
    """Follows what happens to lessons, and says where it is not as it should be."""

    def __init__(self, mux: Mux) -> None:
        self.mux = mux
        self.lives: dict[UUID, Life] = {}
        self._first: dict[str, tuple[int, UUID]] = {}
        """By id: when it was first tracked or stood somewhere, and whose that lesson was."""

        self._linked: set[Video] = set()
        """Videos whose asset the database certainly knows to be their upload's."""

        self._forgotten: set[str] = set()
        """Ids of which the history dropped an entry, so that it may be open whose they are."""

    # What the database is told.

    def is_made(self, lesson: UUID, owner: UUID, seen: Seen) -> None:
        """Begin a lesson's history; that of a deleted one with its id counts no more."""
        self.lives[lesson] = Life(lesson, owner, seen)

    def is_deleted(self, lesson: UUID) -> None:
        """End a lesson's history; whose its videos are stays known."""
        del self.lives[lesson]

    def is_linked(self, video: Video) -> None:
        """Know that an upload became an asset, if anybody ever had the upload."""
        if video.upload in self._first:
            self._linked.add(video)

    def is_gone(self, video: Video) -> None:
        """Know that an asset was deleted, where a history has it."""
        for life in self.lives.values():
            if video in life.order:
                life.deleted.add(video)

    def forgets(self, lesson: UUID | None, mux_id: str) -> None:
        """Know that an id was dropped from a lesson's history, or from that of a deleted one."""
        self._forgotten.add(mux_id)
        life, video = self.lives.get(lesson) if lesson else None, self.mux.by_id(mux_id)
        if life is None or video is None:
            return
        life.tracked.discard(mux_id)
        life.stood.discard(mux_id)
        if not life.knows(video.upload, video.asset):
            life.order = [one for one in life.order if one is not video]
            if life.newest is video:
                tracked = [v for v in life.order if {v.upload, v.asset} & life.tracked]
                life.newest = tracked[-1] if tracked else None

    # What may be tracked after it.

    def after_tracking(self, life: Life, video: Video) -> Uploads:
        """Give what is tracked once the app has tracked an upload."""
        if life.seen.row is None:
            return {video}
        if video.upload in life.tracked:
            return {life.current}
        if life.knows(video.asset) and video in self._linked:
            return {life.current, video}
        return {video}

    def after_script(self, life: Life) -> Uploads:
        """Give what is tracked once the report's script has tracked the lesson's own asset."""
        video, row = self._named(life.seen), life.seen.row
        if row is None:
            return {video}
        if row.upload != "migrated" or video is None:
            return {life.current}
        return {video} | ({life.current} if life.knows(video.asset, video.upload) else set())

    def after_adoption(self, life: Life, *, by_hand: bool = False) -> Uploads:
        """Give what is tracked once a lesson was adopted."""
        seen = life.seen
        video = self._named(seen)
        keeps: Uploads = {life.newest}
        is_left_alone = not any((text or "").startswith("temp_") for text in seen.holds)
        if seen.row is None and (is_left_alone or not self._may_have(life, life.newest)):
            keeps.add(None)  # nobody asks Mux about ids that may well play
        if by_hand:
            keeps.add(life.current)  # where the video can't be played now, that is all
        if video is None:
            return keeps
        asked = {*seen.names} | ({video.upload} if video.asset in seen.names else set())
        if life.knows(*asked):
            return keeps
        owners = {self._first[one][1] for one in asked if one in self._first}
        if owners and life.owner not in owners and self._forgotten.isdisjoint(asked):
            return keeps | {life.current}
        if video.stage in ("unknown", "deleted"):
            life.unknown |= asked
        if (
            life.knows(video.asset)
            or not life.unknown.isdisjoint(asked)
            or self._is_disputed(video, life)
            or (video.asset in asked and video.stage not in ("preparing", "ready"))
            or (by_hand and seen.is_ready)
        ):
            return keeps | {video, life.current}
        return {video} | (keeps if by_hand or (seen.row is None and is_left_alone) else set())

    def after_publishing(self, life: Life) -> Uploads:
        """Give what is tracked once an instructor has published the lesson, or was refused."""
        seen = life.seen
        video = self._named(seen)
        if video is None or video.asset not in seen.names:
            return {life.current}
        is_known = life.knows(video.asset) or (video in self._linked and life.knows(video.upload))
        if seen.row is None:  # the app goes back on purpose
            return {None, video} | ({life.newest} if is_known else set())
        if video is life.current or seen.is_ready or is_known:
            return {life.current}
        owners = {self._first[i][1] for i in (video.upload, video.asset) if i in self._first}
        is_of_another = not owners <= {life.owner}
        if life.knows(video.upload) or is_of_another or self._is_disputed(video, life):
            return {life.current, video}
        return {video}

    # What happened.

    def follows(self, life: Life, seen: Seen, may_track: Uploads, by: By) -> None:
        """Judge what was done to one lesson, and go on from there."""
        was, before = life.seen, life.current
        tracks = self._tracked(seen)
        allowed = " or ".join(sorted(map(_name, may_track)))
        assert tracks in may_track, f"it tracks {_name(tracks)}, not {allowed}"
        self._judge_row(seen, tracks)
        if tracks is not None and seen.row is not None:
            mux_id = seen.row.mux_id or ""
            is_new = mux_id not in life.tracked or (by == "app" and was.row is None)
            if before is not tracks or (by == "app" and is_new):
                self._begins(life, tracks, is_new=is_new)
            life.tracked.add(mux_id)
            self._enters_first(mux_id, life.owner)
        life.seen = seen
        if by != "app":
            self._judge_lesson(life, was, by)
        if seen.is_ready and not was.is_ready and tracks is not None:
            (life.may_play if by == "app" else life.played).add(tracks)

    def settled(self, life: Life) -> None:
        """Judge a lesson when all is told and decided: its newest upload, or what else it can."""
        seen, newest = life.seen, life.current
        assert newest in self.after_adoption(life), f"it still tracks {_name(newest)}"
        if newest is None:
            return
        if newest.stage == "ready" and self._may_have(life, newest):
            assert seen.is_ready, f"{_name(newest)} is ready, and its row is not"
            assert seen.holds == newest.ids, f"{_name(newest)} is ready, and is not played"
        elif not self._may_go_on_playing(life) and not newest.has(seen.holds):
            best = life.playable()
            assert best is None or best.stage != "ready", f"it could play {_name(best)}"

    def plays(self, holds: Ids) -> Video | None:
        """Give the video that a lesson with these ids plays, if any."""
        video = self.mux.by_id(holds[0])
        return video if video and video.stage == "ready" and video.has(holds) else None

    # The rest.

    def _may_go_on_playing(self, life: Life) -> bool:
        """Whether a lesson plays, or holds ids that the app saved in it before it tracked others.

        Mux is asked only about what is tracked, so the database takes such ids to play until it
        hears that their asset was deleted.
        """
        holds = life.seen.holds
        video = self.mux.by_id(holds[0])
        if video is None or not video.has(holds):
            return False
        return video.stage == "ready" or video in life.may_play - life.deleted

    def _named(self, seen: Seen) -> Video | None:
        return next(filter(None, map(self.mux.by_id, sorted(seen.names))), None)

    def _tracked(self, seen: Seen) -> Video | None:
        if seen.row is None:
            return None
        found = self.mux.by_id(seen.row.mux_id)
        assert found is not None, f"it tracks {seen.row}"
        return found

    def _begins(self, life: Life, video: Video, *, is_new: bool) -> None:
        """Enter what stood in the lesson, then the video that is tracked from now on."""
        stood = self._named(life.seen)
        if stood is not None and stood.has(life.seen.holds):
            life.may_play.add(stood)
        if stood is not None and stood is not video:
            for mux_id in life.seen.names & {stood.upload, stood.asset}:
                life.stood.add(mux_id)
                self._enters_first(mux_id, life.owner)
            if stood not in life.order:
                life.enters(stood)
        if is_new:
            life.published.discard(video)
            life.given_back = {pair for pair in life.given_back if pair[0] is not video}
        life.enters(video)
        life.newest = video

    def _enters_first(self, mux_id: str, owner: UUID) -> None:
        self._first.setdefault(mux_id, (len(self._first), owner))

    def _owner(self, video: Video) -> UUID | None:
        known = [self._first[i] for i in (video.upload, video.asset) if i in self._first]
        return min(known)[1] if known else None

    def _may_have(self, life: Life, video: Video | None) -> bool:
        """Whether a video is certainly the lesson's owner's."""
        if video is None:
            return False
        return self._owner(video) == life.owner and not self._is_contested(video)

    def _is_contested(self, video: Video) -> bool:
        """Whether the rule leaves open whose a video is: its ids, or its reference, disagree."""
        if not self._forgotten.isdisjoint((video.upload, video.asset)):
            return True
        upload, asset = self._first.get(video.upload), self._first.get(video.asset)
        if upload and asset and asset < upload and asset[1] != upload[1]:
            return True
        owner = self._owner(video)
        named = next((o for o in self.lives.values() if str(o.lesson) == video.reference), None)
        speaks_for_owner = video.reference in (None, str(owner))
        return not speaks_for_owner and (named is None or named.owner != owner)

    def _is_disputed(self, video: Video, life: Life) -> bool:
        """Whether another's lesson names a video, so that its owner may be nobody yet."""
        others = (other for other in self.lives.values() if other.owner != life.owner)
        return self._is_contested(video) or any(self._named(o.seen) is video for o in others)

    def _judge_row(self, seen: Seen, tracks: Video | None) -> None:
        if seen.row is None or tracks is None:
            return
        asset, playback = seen.row.ids
        assert asset in (None, tracks.asset), f"the row of {_name(tracks)} has {asset}"
        is_own = playback in (None, *tracks.playbacks)
        assert is_own, f"the row of {_name(tracks)} has {playback}"
        assert not seen.is_ready or tracks.has(seen.row.ids), f"{_name(tracks)} lacks an id"

    def _judge_lesson(self, life: Life, was: Seen, by: By) -> None:
        now = life.seen
        if (now.status, now.holds) == (was.status, was.holds):
            return
        video = self.mux.by_id(now.holds[0])
        assert video is not None, f"it was given {now.holds}"
        if now.holds != was.holds:
            self._judge_ids(video, was, now, by)
        # Mux is asked only about what is tracked. Of other ids it is known what Mux has said.
        if video in self._linked or (by != "instructor" and video is life.current):
            owner = self._owner(video)
        else:
            owner = self._first.get(video.asset, (0, life.owner))[1]
        is_owners = owner in (None, life.owner) or self._is_contested(video)
        assert is_owners, f"{_name(video)} is another instructor's"
        assert video not in life.deleted, f"{_name(video)} was deleted"
        # A deletion is reported once, perhaps before any lesson had the video.
        is_unreported = video.stage == "deleted" and video not in life.deleted
        plays_no_more = self.plays(was.holds) and not self.plays(now.holds)
        assert is_unreported or not plays_no_more, "it plays no more"
        self._judge_age(life, video)
        if now.status != was.status:
            assert now.status == "published", f"it was made {now.status}"
            if by == "worker":
                self._judge_status(life, was, video)
            life.published.add(video)

    def _judge_ids(self, video: Video, was: Seen, now: Seen, by: By) -> None:
        other = self.mux.by_id(now.holds[1])
        assert other in (None, video), f"{_name(video)} has the playback id of {_name(other)}"
        assert by == "instructor" or video.has(now.holds), f"it was given {now.holds}"

    def _judge_age(self, life: Life, video: Video) -> None:
        """Only the newest is given, or the newest that plays while that one does not."""
        if video is life.current:
            return
        is_known = video in life.played | life.may_play
        assert is_known, f"{_name(video)} was given, and {_name(life.current)} is the newest"
        is_over = life.seen.is_ready and life.newest not in life.deleted
        assert not is_over, f"{_name(video)} was given, and {_name(life.current)} is ready"
        best, age = life.playable(), life.order.index
        is_best = best is None or age(video) >= age(best)
        assert is_best, f"{_name(video)} was given, and is older than {_name(best)}"

    def _judge_status(self, life: Life, was: Seen, video: Video) -> None:
        """Only a new upload publishes; what was overwritten gives the status back once."""
        if video is life.current and video not in life.published:
            return
        played = self.plays(was.holds)
        # The database knows only what the lesson has played, and by which playback id.
        is_known = played in life.played and (played is not video or was.holds == life.seen.holds)
        assert not is_known, f"{_name(video)} is published again, against the intent"
        given = (video, life.current)
        assert given not in life.given_back, f"{_name(video)} gave the status back twice"
        life.given_back.add(given)


def _name(video: Video | None) -> str:
    return f"video {video.name}" if video else "nothing"
