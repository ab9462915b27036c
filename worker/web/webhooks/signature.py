"""Verify the signatures of Mux's webhooks. Pure.

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
MAX_SIGNATURES = 10
"""More than Mux ever sends; each is compared with each secret."""

SignatureProblem = Literal["missing", "malformed", "stale", "wrong"]

_SECONDS = re.compile(r"[0-9]{1,12}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A well-formed header: the time as it was written, and the digests."""

    time: str
    digests: tuple[str, ...]

    def is_of(self, body: bytes, secrets: Sequence[str]) -> bool:
        """Whether one of the secrets signed this body; compared in constant time."""
        is_signed = False
        for secret in secrets:
            expected = digest(secret, self.time, body)
            for given in self.digests:
                is_signed |= hmac.compare_digest(expected, given)
        return is_signed


def read_header(header: str | None, now: float) -> Signature | SignatureProblem:
    """Return the signature in a header, or why it cannot be valid for any body."""
    if not header:
        return "missing"
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    digests = [value.lower() for name, _, value in pairs if name == "v1" and _HEX.fullmatch(value)]
    if (
        len(times) != 1
        or not _SECONDS.fullmatch(times[0])
        or not 0 < len(digests) <= MAX_SIGNATURES
    ):
        return "malformed"
    if abs(now - int(times[0])) > TOLERANCE_SECONDS:
        return "stale"
    return Signature(times[0], tuple(digests))


def digest(secret: str, time: str, body: bytes) -> str:
    """Return the signature of a body in hex."""
    return hmac.new(secret.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest()


def header_of(secret: str, now: float, body: bytes) -> str:
    """Return the header with which Mux would send a body; the doctor uses it."""
    time = str(int(now))
    return f"t={time},v1={digest(secret, time, body)}"
