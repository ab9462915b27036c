"""The state of the simulated Mux, without HTTP: uploads, assets, environments, credentials."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from sandbox.mux.clock import Clock
from sandbox.mux.environment import Environment
from sandbox.mux.ids import Credentials, Ids, SeededUpload
from sandbox.mux.resumable import ReceivedFile
from sandbox.mux.timeline import AT_ONCE, Asset, AssetSettings, PlaybackId, Timeline, Upload


class UploadNotWaitingError(Exception):
    """The upload is not `waiting`, so it can neither be cancelled nor receive a file."""


class MuxState:
    """Hold the state of the simulated Mux; safe to use from any thread.

    Everything belongs to an environment. After `environment_id` is set to another value every id
    is unknown, as with a token of another environment; after it is set back, every id is known.
    """

    def __init__(self, clock: Clock | None = None, *, seed: int | None = None) -> None:
        """Start empty. With a `seed` the ids are the same in every run, with None they differ."""
        self.clock = clock or Clock()
        self.timeline_for_clients = Timeline(file_after_seconds=None)
        """The timeline of uploads that are created over HTTP; the file arrives when it is sent."""
        self._ids = Ids(seed)
        self._lock = threading.RLock()
        self._environments: dict[str, Environment] = {}
        self.environment_id = self._ids.new(24)
        self.credentials = self.new_credentials()

    def new_credentials(self) -> Credentials:
        """Return a new access token; assign it to `credentials` to rotate the token."""
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
        """Create an upload that follows `timeline` from now on; return its id."""
        settings = AssetSettings.of(policies, passthrough, external_id)
        return self.add_upload(timeline, settings, timeout_seconds=timeout_seconds).id

    def add_upload(
        self,
        timeline: Timeline,
        settings: AssetSettings,
        *,
        timeout_seconds: int = 3600,
        cors_origin: str = "*",
        test: bool = False,
    ) -> Upload:
        """Create an upload with `new_asset_settings` as a client sends them."""
        with self._lock:
            upload = Upload(
                id=self._ids.new(),
                number=self._environment.next_number(),
                created_at=self.clock.now(),
                timeline=timeline,
                url_token=self._ids.new(64),
                timeout=timeout_seconds,
                cors_origin=cors_origin,
                test=test,
                settings=settings,
            )
            self._environment.add_upload(upload)
            if timeline.file_after_seconds is not None:
                self._environment.schedule_file(
                    upload, upload.created_at + timeline.file_after_seconds
                )
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
        """Create an asset that begins to prepare now; return its id.

        It belongs to no upload, or to `of_upload`, which itself may name another asset.
        """
        settings = AssetSettings.of(policies, passthrough, external_id)
        with self._lock:
            upload = None if of_upload is None else self.upload(of_upload)
            return self._environment.create_asset(timeline, settings, self.clock.now(), upload).id

    def seed(
        self,
        number: int,
        timeline: Timeline = AT_ONCE,
        *,
        policies: Sequence[str] = ("public",),
        external_id: Callable[[int], str] | None = None,
    ) -> list[SeededUpload]:
        """Create many uploads, 10,000 a second; `external_id` is called with the index of each.

        Raises `KeyError` for a timeline that creates no asset.
        """
        seeded = []
        with self._lock:
            for index in range(number):
                upload_external_id = None if external_id is None else external_id(index)
                settings = AssetSettings.of(policies, None, upload_external_id)
                upload = self.add_upload(timeline, settings)
                asset = self._environment.assets[upload.asset_id or ""]
                ids = tuple(playback_id.id for playback_id in asset.playback_ids)
                seeded.append(SeededUpload(upload.id, asset.id, ids))
        return seeded

    def forget_upload(self, upload_id: str) -> None:
        """Remove an upload and its asset, as if they had never been; for long measurements.

        Raises `KeyError` when there is no such upload.
        """
        with self._lock:
            self._environment.remove_upload(upload_id)

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
            upload = self._require_waiting(self.upload(upload_id))
            upload.cancelled_at = self.clock.now()
            self._environment.remove_asset_of(upload)
            return upload

    def set_timeline(self, upload_id: str, timeline: Timeline) -> None:
        """Set the timeline of an upload whose file has not been sent yet.

        Raises `KeyError` or `UploadNotWaitingError`, and `ValueError` where `file_after_seconds` is
        not None, since the file arrives when the client sends it.
        """
        if timeline.file_after_seconds is not None:
            raise ValueError("the file arrives when it is sent: file_after_seconds must be None")
        with self._lock:
            self._require_waiting(self.upload(upload_id)).timeline = timeline

    def upload_by_url_token(self, url_token: str) -> Upload:
        """Return the upload whose URL ends in `url_token`; raises `KeyError` when there is none."""
        with self._lock:
            return self._environment.upload_by_url_token(url_token)

    def file_of(self, url_token: str) -> ReceivedFile:
        """Return what a client has sent to a waiting upload, to which more can be added.

        Raises `KeyError` or `UploadNotWaitingError`.
        """
        with self._lock:
            upload = self._require_waiting(self.upload_by_url_token(url_token))
            upload.file = upload.file or ReceivedFile()
            return upload.file

    def receive_file(self, url_token: str) -> Upload:
        """Receive the file of a waiting upload; raises `KeyError` or `UploadNotWaitingError`."""
        with self._lock:
            upload = self._require_waiting(self.upload_by_url_token(url_token))
            self._environment.remove_asset_of(upload)
            self._environment.schedule_file(upload, self.clock.now())
            return upload

    def upload(self, upload_id: str) -> Upload:
        """Return an upload; raises `KeyError` when there is none in this environment."""
        with self._lock:
            return self._environment.uploads[upload_id]

    def asset(self, asset_id: str) -> Asset:
        """Return an asset; raises `KeyError` when it does not exist yet or is deleted."""
        with self._lock:
            asset = self._environment.assets[asset_id]
            if not asset.exists(self.clock.now()):
                raise KeyError(asset_id)
            return asset

    def find_playback_id(self, playback_id: str) -> tuple[Asset, PlaybackId]:
        """Return a playback id and its asset; raises `KeyError` when there is none now."""
        with self._lock:
            now = self.clock.now()
            for asset in self.assets():
                for candidate in asset.playback_ids_at(now):
                    if candidate.id == playback_id:
                        return asset, candidate
        raise KeyError(playback_id)

    def uploads(self) -> list[Upload]:
        """Return all uploads, newest first."""
        with self._lock:
            return self._environment.uploads_newest_first()

    def assets(self, *, upload_id: str | None = None, after: str | None = None) -> list[Asset]:
        """Return the assets that exist, newest first.

        With `upload_id`, those of that upload; with `after`, those that follow the asset with that
        id, which may be deleted. Raises `KeyError` when there never was an asset `after`.
        """
        with self._lock:
            now = self.clock.now()
            assets = self._environment.assets_newest_first(after)
            return [
                asset
                for asset in assets
                if asset.exists(now) and upload_id in (None, asset.upload_id)
            ]

    def all_assets(self) -> list[Asset]:
        """Return every asset, also those that do not exist yet or are deleted."""
        with self._lock:
            return list(self._environment.assets.values())

    @property
    def _environment(self) -> Environment:
        return self._environments.setdefault(self.environment_id, Environment(self._ids))

    def _require_waiting(self, upload: Upload) -> Upload:
        status = upload.status(self.clock.now())
        if status != "waiting":
            raise UploadNotWaitingError(f"the upload is {status}")
        return upload
