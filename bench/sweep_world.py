"""A Mux and a database of plain lists, with a clock of their own, to count requests in."""

import asyncio
import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from worker.daemon.loop import seconds_between_scans
from worker.decide import Rules
from worker.model import (
    Claim,
    Observation,
    OnSent,
    Outcome,
    Page,
    PlaybackId,
    Settlement,
    Source,
    ignore,
)
from worker.scan.batch import ClaimedBatch, ClaimLimits
from worker.scan.scanner import Scanner

A_PAGE = 100
SECONDS_A_REQUEST = 1.03 / 4
"""What the default pace allows, with what sql/ holds back of it."""

INTERVAL_SECONDS = 5.0
LIMITS = ClaimLimits.within_lease(200, 60, 4, INTERVAL_SECONDS)
"""What a scan claims at default settings."""

_PLAYBACK = (PlaybackId("p", "public"),)


@dataclass(slots=True)
class Video:
    """An upload, the asset that it became, if it did, and when that is ready.

    Mux does not know one whose id is made up.
    """

    number: int
    has_asset: bool
    ready_at: float
    is_known: bool = True

    @property
    def upload_id(self) -> str:
        """The id of the upload."""
        return f"u{self.number}"

    @property
    def asset_id(self) -> str | None:
        """The id of the asset."""
        return f"a{self.number}" if self.has_asset else None

    def as_asset(self, now: float, source: Source) -> Observation:
        """Give what Mux says about the asset."""
        status = "ready" if self.ready_at <= now else "preparing"
        return Observation("asset", status, source, self.upload_id, self.asset_id, _PLAYBACK)

    def as_upload(self, source: Source) -> Observation:
        """Give what Mux says about the upload."""
        status = "asset_created" if self.has_asset else "waiting"
        if not self.is_known:
            status = "missing"
        return Observation("upload", status, source, self.upload_id, self.asset_id)


@dataclass(slots=True)
class Row:
    """A tracking row."""

    video: Video
    tracked_at: float
    due_at: float
    check_count: int = 0
    asset_id: str | None = None
    is_processing: bool = True
    missing_since: float | None = None
    missing_count: int = 0


class World:
    """What is at Mux and what is tracked, both oldest first; every request takes its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.requests = 0
        self.videos: list[Video] = []
        self.rows: dict[str, Row] = {}
        self.when_asked: Callable[[], None] = lambda: None
        self.when_published: Callable[[Row], None] = lambda _row: None
        self._due: list[tuple[float, float, str]] = []
        self._random = random.Random(1)

    def add(self, *, has_asset: bool = True, ready_at: float = 0.0, is_known: bool = True) -> Video:
        """Add the newest video."""
        video = Video(len(self.videos), has_asset and is_known, ready_at, is_known)
        self.videos.append(video)
        return video

    def track(self, videos: Iterable[Video]) -> None:
        """Add rows that are due; which of those that are due together comes first is chance."""
        for video in videos:
            row = Row(video, self.now, self.now)
            self.rows[video.upload_id] = row
            self.plan(row, self.now)

    def plan(self, row: Row, at: float) -> None:
        """Have a row fall due."""
        row.due_at = at
        heapq.heappush(self._due, (at, self._random.random(), row.video.upload_id))

    def due(self, most: int) -> list[Row]:
        """Take so many rows that are due, the longest due first."""
        taken: list[Row] = []
        while self._due and self._due[0][0] <= self.now and len(taken) < most:
            at, _, name = heapq.heappop(self._due)
            row = self.rows[name]
            if row.is_processing and row.due_at == at:
                taken.append(row)
        return taken

    def ask(self) -> None:
        """Spend a request."""
        self.requests += 1
        self.now += SECONDS_A_REQUEST
        self.when_asked()

    async def work(self, until: float | None = None, mux: "FakeMux | None" = None) -> None:
        """Scan as the daemon does, until every row was looked at, or until a moment."""
        scanner = Scanner(
            mux or FakeMux(self),
            FakeStore(self),
            limits=LIMITS,
            rules=Rules(),
            stopping=asyncio.Event(),
            clock=lambda: self.now,
        )
        while True:
            began = self.now
            report = await scanner.scan()
            if self._is_done(until):
                return
            self.now = max(self.now, began + seconds_between_scans(report, INTERVAL_SECONDS))

    def _is_done(self, until: float | None) -> bool:
        if until is not None:
            return self.now >= until
        return all(row.check_count or not row.is_processing for row in self.rows.values())


class FakeMux:
    """Answers from a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.requests = 0

    def _ask(self, sent: OnSent = ignore) -> None:
        sent()
        self.requests += 1
        self._world.ask()

    async def control(self) -> None:
        """Answer the control question."""
        self._ask()

    async def environment(self) -> str:
        """Give the environment, for nothing: a worker asks once in its life."""
        return "home"

    async def upload(self, upload_id: str, sent: OnSent = ignore) -> Observation:
        """Answer a GET of an upload."""
        self._ask(sent)
        return self._world.videos[int(upload_id[1:])].as_upload("probe")

    async def asset(self, asset_id: str, sent: OnSent = ignore) -> Observation:
        """Answer a GET of an asset."""
        self._ask(sent)
        video = self._world.videos[int(asset_id[1:])]
        if asset_id.startswith("u") or not video.has_asset:
            return Observation("asset", "missing", "probe", asset_id=asset_id)
        return video.as_asset(self._world.now, "probe")

    async def asset_of(self, upload_id: str, sent: OnSent = ignore) -> Observation | None:
        """Answer a list of one upload's assets."""
        self._ask(sent)
        video = self._world.videos[int(upload_id[1:])]
        return video.as_asset(self._world.now, "probe") if video.has_asset else None

    async def assets(self, at: str | None) -> Page:
        """Give a page by its cursor, which new assets do not shift."""
        self._ask()
        page: list[Video] = []
        index = len(self._world.videos) if at is None else int(at)
        while index and len(page) < A_PAGE:
            index -= 1
            if self._world.videos[index].has_asset:
                page.append(self._world.videos[index])
        seen = tuple(video.as_asset(self._world.now, "sweep") for video in page)
        return Page(seen, str(index) if index else None)

    async def uploads(self, at: str | None) -> Page:
        """Give a page by its number, which new uploads do shift."""
        self._ask()
        number = int(at or 1)
        end = max(0, len(self._world.videos) - (number - 1) * A_PAGE)
        page = self._world.videos[max(0, end - A_PAGE) : end]
        seen = tuple(video.as_upload("sweep") for video in reversed(page) if video.is_known)
        return Page(seen, str(number + 1) if len(page) == A_PAGE else None)


class FakeStore:
    """Keeps the rows of a world as sql/ does."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def claim(self, limits: ClaimLimits) -> ClaimedBatch:
        """Lease rows."""
        most = limits.batch_size
        rows = self._world.due(most + 1)
        claims = tuple(self._claim(row) for row in rows[:most])
        for row in rows[:most]:
            self._world.plan(row, self._world.now + limits.lease_seconds)
        for row in rows[most:]:
            self._world.plan(row, row.due_at)
        return ClaimedBatch(claims, "home", more_are_due=len(rows) > most)

    def _claim(self, row: Row) -> Claim:
        name, age = row.video.upload_id, self._world.now - row.tracked_at
        asset_id, count = row.asset_id, row.check_count
        due_at = str(row.due_at)
        since = None if row.missing_since is None else self._world.now - row.missing_since
        missing = (since, row.missing_count)
        return Claim(name, name, "draft", name, asset_id, "", "", age, count, *missing, due_at)

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Publish what is ready; have what waits fall due again where it was claimed."""
        del environment_id
        outcomes: list[Outcome] = []
        for settlement in settlements:
            seen = settlement.observation
            row = self._world.rows.get(seen.upload_id or "")
            if row is None or not row.is_processing:
                continue
            row.asset_id = row.asset_id or seen.asset_id
            if settlement.verdict.action == "publish":
                row.is_processing = False
                self._world.when_published(row)
                outcomes.append(Outcome("published", tracking_id=row.video.upload_id))
            for claimed in settlement.claims:
                row.is_processing = row.is_processing and claimed.verdict.action != "fail"
                if claimed.verdict.action == "wait":
                    row.check_count += 1
                    if claimed.verdict.grace == "runs":
                        row.missing_count += 1
                        row.missing_since = row.missing_since or self._world.now
                    self._world.plan(row, self._world.now + claimed.pause_seconds)
        return outcomes

    async def release(self, claims: Sequence[Claim]) -> int:
        """Take rows back: they are due at once, in the place they had."""
        for claim in claims:
            due_at = self._world.now if claim.due_at is None else float(claim.due_at)
            self._world.plan(self._world.rows[claim.id], due_at)
        return len(claims)
