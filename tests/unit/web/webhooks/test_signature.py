import hashlib
import hmac

import pytest

from sandbox.mux import webhooks
from worker.web.webhooks.signature import Signature, SignatureProblem, header_of, read_header

NOW = 1_790_000_000.0
BODY = b'{"type": "video.asset.ready"}'


def signed(secret: str = "one", at: float = NOW, body: bytes = BODY) -> str:
    """Return the header that the simulated Mux sends, which has its own code."""
    return webhooks.signature(secret, at, body)


def verdict(header: str | None, *secrets: str, body: bytes = BODY) -> SignatureProblem | bool:
    """Return the problem of a header, or whether one of the secrets signed it."""
    read = read_header(header, NOW)
    return read.is_of(body, secrets) if isinstance(read, Signature) else read


def test_a_signature_is_what_mux_documents() -> None:
    """HMAC-SHA256 of "<t>." and the raw body, in hex."""
    digest = hmac.new(b"one", b"1790000000." + BODY, hashlib.sha256).hexdigest()
    assert header_of("one", NOW, BODY) == f"t=1790000000,v1={digest}" == signed()


def test_each_secret_is_good_while_one_replaces_another() -> None:
    """The old and the new secret are accepted; a third is not."""
    assert [verdict(signed(secret), "old", "new") for secret in ("old", "new", "other")] == [
        True, True, False,
    ]  # fmt: skip


def test_one_good_signature_among_several_is_enough() -> None:
    """Mux may send more than one v1."""
    other = signed("other").split("v1=")[1]
    good = signed("one").split("v1=")[1]
    assert verdict(f"t=1790000000,v1={other},v1={good}", "one") is True
    assert verdict(f"t=1790000000, v1={good.upper()}", "one") is True


def test_another_body_is_not_signed() -> None:
    """One byte more makes it wrong."""
    assert verdict(signed(), "one", body=BODY + b" ") is False


def test_without_secrets_nothing_is_good() -> None:
    """An empty list of secrets accepts nothing, and neither does an empty secret."""
    assert verdict(signed()) is False
    assert verdict(signed(""), "one") is False


@pytest.mark.parametrize("seconds", [-300, 300])
def test_five_minutes_either_way_are_tolerated(seconds: int) -> None:
    """Valid at the limit, stale a second later."""
    beyond = seconds + (1 if seconds > 0 else -1)
    assert verdict(signed(at=NOW + seconds), "one") is True
    assert verdict(signed(at=NOW + beyond), "one") == "stale"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (None, "missing"),
        ("", "missing"),
        ("nonsense", "malformed"),
        ("t=,v1=" + "a" * 64, "malformed"),
        ("t=-1790000000,v1=" + "a" * 64, "malformed"),
        ("t=1_790_000_000,v1=" + "a" * 64, "malformed"),
        ("t=١٧٩٠٠٠٠٠٠٠,v1=" + "a" * 64, "malformed"),
        ("t=" + "9" * 5000 + ",v1=" + "a" * 64, "malformed"),
        ("t=1790000000,t=1790000000,v1=" + "a" * 64, "malformed"),
        ("t=1790000000", "malformed"),
        ("t=1790000000,v1=", "malformed"),
        ("t=1790000000,v1=" + "g" * 64, "malformed"),
        ("t=1790000000,v0=" + "a" * 64, "malformed"),
        ("t=1790000000" + (",v1=" + "a" * 64) * 11, "malformed"),
        ("t=1790000000,t=1=2,v1=" + "a" * 64, "malformed"),
        ("t=1790000000" + (",v1=" + "a" * 64) * 10, False),
        ("t=1790000000,v1=" + "a" * 64, False),
        ("t=0,v1=" + "a" * 64, "stale"),
    ],
)
def test_what_is_no_signature_is_refused(
    header: str | None, problem: SignatureProblem | bool
) -> None:
    """With the name of its problem; nothing is raised."""
    assert verdict(header, "one") == problem
