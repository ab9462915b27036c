"""Tell Mux's webhooks from what anybody else may send. Pure.

The header is `mux-signature: t=<unix seconds>,v1=<hex>`, with one or more `v1`; each is
HMAC-SHA256(secret, "<t>." + body): https://www.mux.com/docs/core/verify-webhook-signatures.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

HEADER = "mux-signature"
TOLERANCE_SECONDS = 300
MOST_SIGNATURES = 10
"""More than Mux ever sends; each costs us a comparison with each secret."""

Fault = Literal["missing", "malformed", "stale", "wrong"]

_SECONDS = re.compile(r"[0-9]{1,12}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A header that looks like one: the time as it was written, and what was signed with it."""

    time: str
    digests: tuple[str, ...]

    def is_of(self, body: bytes, secrets: Sequence[str]) -> bool:
        """Tell whether one of the secrets signed this body, in a time that gives nothing away."""
        good = False
        for secret in secrets:
            expected = digest(secret, self.time, body)
            for found in self.digests:
                good |= hmac.compare_digest(expected, found)
        return good


def read_header(header: str | None, now: float) -> Signature | Fault:
    """Read the header, before the body is; tell why it is no good for any body."""
    if not header:
        return "missing"
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    found = [value.lower() for name, _, value in pairs if name == "v1" and _HEX.fullmatch(value)]
    if len(times) != 1 or not _SECONDS.fullmatch(times[0]) or not 0 < len(found) <= MOST_SIGNATURES:
        return "malformed"
    if abs(now - int(times[0])) > TOLERANCE_SECONDS:
        return "stale"
    return Signature(times[0], tuple(found))


def digest(secret: str, time: str, body: bytes) -> str:
    """Sign a body."""
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()


def header_of(secret: str, now: float, body: bytes) -> str:
    """Give the header with which Mux would send a body; the doctor does so too."""
    time = str(int(now))
    return f"t={time},v1={digest(secret, time, body)}"
