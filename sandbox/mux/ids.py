"""Create ids and access tokens that look like Mux's."""

import random
import string
import threading
from dataclasses import dataclass, field

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 44


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access token; its secret stays out of `repr`."""

    token_id: str
    token_secret: str = field(repr=False)


class Ids:
    """Create random ids; the same seed gives the same ids."""

    def __init__(self, seed: int | None) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def new(self, length: int = _LENGTH) -> str:
        """Return an id of `length` letters and digits."""
        with self._lock:
            return "".join(self._random.choices(_ALPHABET, k=length))


@dataclass(frozen=True, slots=True)
class SeededUpload:
    """The ids of an upload that `MuxState.seed` created, and of its asset."""

    upload_id: str
    asset_id: str
    playback_ids: tuple[str, ...]
