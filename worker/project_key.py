"""Read a project's keys, and tell the right one from those that are shown beside it."""

import base64
import binascii
import json
from typing import Any

from pydantic import SecretStr

WORKER_ROLE = "mux_worker"
"""The role that sql/optional/worker_role.sql creates."""


def service_role_key(key: SecretStr) -> SecretStr:
    """Return the key; raise ValueError for one without the rights that the worker needs."""
    text = key.get_secret_value()
    if text.startswith("sb_secret_"):
        return key
    if text.startswith("sb_publishable_"):
        raise ValueError("is the publishable key; it must be the secret key (sb_secret_...)")
    role = role_of(text)
    if role is None:
        raise ValueError("is neither a service_role JWT nor an sb_secret_... key")
    if role not in ("service_role", WORKER_ROLE):
        raise ValueError(
            f"is the key of role {role!r}; it must be the key of service_role or {WORKER_ROLE}"
        )
    return key


def publishable_key(key: SecretStr) -> SecretStr:
    """Return the key; raise ValueError for one that does more than pass the gateway."""
    text = key.get_secret_value()
    if not text.startswith("sb_publishable_") and role_of(text) != "anon":
        raise ValueError("is not the publishable key (sb_publishable_...), nor the legacy anon key")
    return key


def role_of(key: str) -> str | None:
    """Return the role that a JWT names, for finding mix-ups; None for another text."""
    role = _claims(key).get("role")
    return role[:40] if isinstance(role, str) else None


def expires_at(key: str) -> float | None:
    """Return when a JWT expires, in seconds since 1970; None where it does not say so."""
    seconds = _claims(key).get("exp")
    return float(seconds) if isinstance(seconds, int | float) else None


def _claims(token: str) -> dict[str, Any]:
    """Return the claims of a JWT, unverified: Supabase verifies them."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}
