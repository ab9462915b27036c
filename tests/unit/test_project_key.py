import base64
import json
from typing import Any

import pytest

from worker.project_key import expires_at, role_of


def token(claims: Any) -> str:
    """Make a token with these claims."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


@pytest.mark.parametrize(
    ("key", "role", "expires"),
    [
        (token({"role": "mux_worker", "exp": 1_800_000_000}), "mux_worker", 1.8e9),
        (token({"role": "x" * 99, "exp": "never"}), "x" * 40, None),
        (token({"role": 7}), None, None),
        (token(["role"]), None, None),
        ("sb_secret_abc", None, None),
        ("a.b.c", None, None),
        ("a.é.c", None, None),
    ],
)
def test_a_key_is_read_without_its_signature(
    key: str, role: str | None, expires: float | None
) -> None:
    """What is no JWT, or has other claims, names no role and no end."""
    assert (role_of(key), expires_at(key)) == (role, expires)
