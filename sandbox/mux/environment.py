"""Store the uploads and assets of one environment of the simulated Mux, by id and by age."""

from bisect import bisect_left, insort
from itertools import islice

from sandbox.mux.ids import Ids
from sandbox.mux.timeline import Asset, AssetSettings, PlaybackId, Timeline, Upload


def _age_order(record: Asset | Upload) -> tuple[float, int]:
    return record.age_order


class Environment:
    """Store records, also future and deleted ones; an unknown id raises `KeyError`."""

    def __init__(self, ids: Ids) -> None:
        """Start empty."""
        self._ids = ids
        self._record_count = 0
        self.uploads: dict[str, Upload] = {}
        self.assets: dict[str, Asset] = {}
        self._uploads_by_url_token: dict[str, Upload] = {}
        self._uploads_by_age: list[Upload] = []
        self._assets_by_age: list[Asset] = []

    def next_number(self) -> int:
        """Return 1, 2, 3, …: the order in which records are created."""
        self._record_count += 1
        return self._record_count

    def add_upload(self, upload: Upload) -> None:
        """Store an upload."""
        self.uploads[upload.id] = upload
        self._uploads_by_url_token[upload.url_token] = upload
        insort(self._uploads_by_age, upload, key=_age_order)

    def create_asset(
        self,
        timeline: Timeline,
        settings: AssetSettings,
        created_at: float,
        upload: Upload | None = None,
    ) -> Asset:
        """Create an asset that exists from `created_at`, now or later."""
        asset = Asset(
            id=self._ids.new(),
            number=self.next_number(),
            created_at=created_at,
            timeline=timeline,
            settings=settings,
            upload_id=upload.id if upload else None,
            test=upload is not None and upload.test,
        )
        for policy in settings.policies:
            asset.playback_ids.append(PlaybackId(self._ids.new(), policy, created_at))
        if timeline.late_policy is not None:
            late = asset.prepared_at + timeline.late_after_seconds
            asset.playback_ids.append(PlaybackId(self._ids.new(), timeline.late_policy, late))
        self.assets[asset.id] = asset
        insort(self._assets_by_age, asset, key=_age_order)
        return asset

    def schedule_file(self, upload: Upload, file_at: float) -> None:
        """Set when the upload's file arrives, now or later, and create its asset."""
        if file_at > upload.times_out_at:
            return
        if upload.timeline.ending == "cancelled":
            upload.cancelled_at = file_at
            return
        upload.file_at = file_at
        if upload.timeline.ending != "upload_errored":
            asset = self.create_asset(upload.timeline, upload.settings, file_at, upload)
            upload.asset_id = asset.id

    def remove_asset_of(self, upload: Upload) -> None:
        """Remove the asset that the upload would have created, if any."""
        if upload.asset_id is not None:
            self._assets_by_age.remove(self.assets.pop(upload.asset_id))
            upload.asset_id = None

    def remove_upload(self, upload_id: str) -> None:
        """Remove an upload and its asset."""
        upload = self.uploads.pop(upload_id)
        del self._uploads_by_url_token[upload.url_token]
        self._uploads_by_age.remove(upload)
        self.remove_asset_of(upload)

    def upload_by_url_token(self, url_token: str) -> Upload:
        """Return the upload whose URL ends in `url_token`."""
        return self._uploads_by_url_token[url_token]

    def uploads_newest_first(self) -> list[Upload]:
        """Return all uploads."""
        return self._uploads_by_age[::-1]

    def assets_newest_first(self, after: str | None = None) -> list[Asset]:
        """Return all assets, or those older than the asset with the id `after`."""
        end = len(self._assets_by_age)
        if after is not None:
            end = bisect_left(self._assets_by_age, _age_order(self.assets[after]), key=_age_order)
        older = list(islice(self._assets_by_age, end))
        return older[::-1]
