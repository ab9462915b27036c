"""What the simulated Mux knows: uploads, assets, environments and credentials. No HTTP."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sandbox.mux.clock import Clock
from sandbox.mux.environment import Environment
from sandbox.mux.ids import Credentials, Ids
from sandbox.mux.timeline import AT_ONCE, Asset, PlaybackId, Settings, Timeline, Upload


class UploadNotWaitingError(Exception):
    """The upload is not `waiting`, so it can neither be cancelled nor take a file."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """The ids of an upload that `MuxState.seed` made, and of what became of it."""

    upload_id: str
    asset_id: str
    playback_ids: tuple[str, ...]


class MuxState:
    """Hold the state of the simulated Mux; safe to use from any thread.

    Everything belongs to an environment. Setting `environment_id` to another one makes every id
    unknown, as a token of another environment does; setting it back brings all back.
    """

    def __init__(self, clock: Clock | None = None, *, seed: int | None = None) -> None:
        """Begin empty. `seed` makes the ids repeatable; None makes them differ on every run."""
        self.clock = clock or Clock()
        self.timeline_for_clients = Timeline(file_after_seconds=None)
        """What becomes of uploads that are made over HTTP; the file arrives when it is sent."""
        self._ids = Ids(seed)
        self._lock = threading.RLock()
        self._environments: dict[str, Environment] = {}
        self.environment_id = self._ids.new(24)
        self.credentials = self.new_credentials()

    def new_credentials(self) -> Credentials:
        """Give an access token that is not in force; assign it to `credentials` to rotate."""
        return Credentials(self._ids.new(36), self._ids.new(75))

    def create_upload(
        self,
        timeline: Timeline = AT_ONCE,
        *,
        passthrough: str | None = None,
        external_id: str | None = None,
        policies: Sequence[str] = ("public",),
        timeout_seconds: int = 3600,
    ) -> str:
        """Make an upload that lives by `timeline` from now on, and give its id."""
        settings = Settings.of(policies, passthrough, external_id)
        return self.add_upload(timeline, settings, timeout_seconds=timeout_seconds).id

    def add_upload(
        self,
        timeline: Timeline,
        settings: Settings,
        *,
        timeout_seconds: int = 3600,
        cors_origin: str = "*",
        test: bool = False,
    ) -> Upload:
        """Make an upload with `new_asset_settings` as a client gives them."""
        with self._lock:
            upload = Upload(
                id=self._ids.new(),
                number=self._here.next_number(),
                created_at=self.clock.now(),
                timeline=timeline,
                url_token=self._ids.new(64),
                timeout=timeout_seconds,
                cors_origin=cors_origin,
                test=test,
                settings=settings,
            )
            self._here.add_upload(upload)
            if timeline.file_after_seconds is not None:
                self._here.schedule_file(upload, upload.created_at + timeline.file_after_seconds)
            return upload

    def create_asset(
        self,
        timeline: Timeline = AT_ONCE,
        *,
        passthrough: str | None = None,
        external_id: str | None = None,
        policies: Sequence[str] = ("public",),
        of_upload: str | None = None,
    ) -> str:
        """Make an asset and give its id; it begins to prepare now.

        Nothing was uploaded for it, or it is one more of an upload, which names another.
        """
        settings = Settings.of(policies, passthrough, external_id)
        with self._lock:
            upload = None if of_upload is None else self.upload(of_upload)
            return self._here.make_asset(timeline, settings, self.clock.now(), upload).id

    def seed(
        self,
        number: int,
        timeline: Timeline = AT_ONCE,
        *,
        policies: Sequence[str] = ("public",),
        external_id: Callable[[int], str] | None = None,
    ) -> list[Seeded]:
        """Make many uploads, 10,000 in a second; `external_id` is given the index of each.

        Raises `KeyError` for a timeline that leads to no asset.
        """
        seeded = []
        with self._lock:
            for index in range(number):
                its_external_id = None if external_id is None else external_id(index)
                settings = Settings.of(policies, None, its_external_id)
                upload = self.add_upload(timeline, settings)
                asset = self._here.assets[upload.asset_id or ""]
                ids = tuple(playback_id.id for playback_id in asset.playback_ids)
                seeded.append(Seeded(upload.id, asset.id, ids))
        return seeded

    def delete_asset(self, asset_id: str) -> None:
        """Delete an asset; raises `KeyError` when there is none."""
        with self._lock:
            self.asset(asset_id).deleted_at = self.clock.now()

    def add_playback_id(self, asset_id: str, policy: str = "public") -> PlaybackId:
        """Add a playback id; raises `KeyError` when there is no such asset."""
        with self._lock:
            playback_id = PlaybackId(self._ids.new(), policy, self.clock.now())
            self.asset(asset_id).playback_ids.append(playback_id)
            return playback_id

    def remove_playback_id(self, asset_id: str, playback_id: str) -> None:
        """Remove a playback id; raises `KeyError` when there is no such asset."""
        with self._lock:
            now = self.clock.now()
            ids = self.asset(asset_id).playback_ids
            ids[:] = [replace(p, exists_until=now) if p.id == playback_id else p for p in ids]

    def cancel_upload(self, upload_id: str) -> Upload:
        """Cancel a waiting upload; raises `KeyError` or `UploadNotWaitingError`."""
        with self._lock:
            upload = self._waiting(self.upload(upload_id))
            upload.cancelled_at = self.clock.now()
            self._here.forget_asset_of(upload)
            return upload

    def script(self, upload_id: str, timeline: Timeline) -> None:
        """Say what becomes of an upload whose file is still to be sent to its url.

        Raises `KeyError` or `UploadNotWaitingError`; `timeline` must leave the file to the sender.
        """
        if timeline.file_after_seconds is not None:
            raise ValueError("the file arrives when it is sent: file_after_seconds must be None")
        with self._lock:
            self._waiting(self.upload(upload_id)).timeline = timeline

    def upload_at(self, url_token: str) -> Upload:
        """Give the upload whose url ends in `url_token`; raises `KeyError` when there is none."""
        with self._lock:
            return self._here.upload_by_url_token(url_token)

    def receive_file(self, url_token: str) -> Upload:
        """Take the file of a waiting upload; raises `KeyError` or `UploadNotWaitingError`."""
        with self._lock:
            upload = self._waiting(self.upload_at(url_token))
            self._here.forget_asset_of(upload)
            self._here.schedule_file(upload, self.clock.now())
            return upload

    def upload(self, upload_id: str) -> Upload:
        """Give an upload; raises `KeyError` when there is none in this environment."""
        with self._lock:
            return self._here.uploads[upload_id]

    def asset(self, asset_id: str) -> Asset:
        """Give an asset; raises `KeyError` when it does not exist (yet, or any more)."""
        with self._lock:
            asset = self._here.assets[asset_id]
            if not asset.exists(self.clock.now()):
                raise KeyError(asset_id)
            return asset

    def uploads(self) -> list[Upload]:
        """Give all uploads, the newest first."""
        with self._lock:
            return self._here.uploads_newest_first()

    def assets(self, *, upload_id: str | None = None, after: str | None = None) -> list[Asset]:
        """Give the assets that exist, the newest first.

        `upload_id` leaves the one of that upload; `after` leaves those that follow the asset with
        that id, which may be deleted by now. Raises `KeyError` when it never was.
        """
        with self._lock:
            now = self.clock.now()
            found = self._here.assets_newest_first(after)
            return [
                asset
                for asset in found
                if asset.exists(now) and upload_id in (None, asset.upload_id)
            ]

    def all_assets(self) -> list[Asset]:
        """Give every asset, also those that do not exist yet or any more."""
        with self._lock:
            return list(self._here.assets.values())

    @property
    def _here(self) -> Environment:
        return self._environments.setdefault(self.environment_id, Environment(self._ids))

    def _waiting(self, upload: Upload) -> Upload:
        status = upload.status(self.clock.now())
        if status != "waiting":
            raise UploadNotWaitingError(f"the upload is {status}")
        return upload
