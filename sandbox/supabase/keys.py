"""API keys as in Supabase: JWTs that name a role, and short keys that stand for such a JWT."""

import secrets
import time
from dataclasses import dataclass
from uuid import UUID

import jwt

ALGORITHM = "HS256"
ISSUER = "supabase"
KEY_LIFETIME_SECONDS = 10 * 365 * 24 * 3600
USER_TOKEN_LIFETIME_SECONDS = 3600


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The keys of one project; `repr` shows none of them.

    `publishable_key` and `secret_key` are the newer kind (`sb_publishable_…`, `sb_secret_…`): they
    are no JWTs, and only the gateway knows the role of each.
    """

    jwt_secret: str
    anon_key: str
    service_role_key: str
    publishable_key: str
    secret_key: str

    def token_for(self, api_key: str) -> str | None:
        """Return the JWT for an API key, or None for an unknown key."""
        for key, token in (
            (self.anon_key, self.anon_key),
            (self.publishable_key, self.anon_key),
            (self.service_role_key, self.service_role_key),
            (self.secret_key, self.service_role_key),
        ):
            if secrets.compare_digest(key.encode(), api_key.encode()):
                return token
        return None

    def user_token(self, user_id: UUID, lifetime_seconds: int = USER_TOKEN_LIFETIME_SECONDS) -> str:
        """Return the JWT of a signed-in user; with a negative lifetime it has expired."""
        claims: dict[str, object] = {"sub": str(user_id), "aud": "authenticated"}
        return _signed(self.jwt_secret, "authenticated", lifetime_seconds, claims)


def make_keys() -> Keys:
    """Return the keys of a new project, with a new JWT secret."""
    jwt_secret = secrets.token_urlsafe(48)
    return Keys(
        jwt_secret=jwt_secret,
        anon_key=_signed(jwt_secret, "anon", KEY_LIFETIME_SECONDS, {}),
        service_role_key=_signed(jwt_secret, "service_role", KEY_LIFETIME_SECONDS, {}),
        publishable_key=f"sb_publishable_{secrets.token_urlsafe(24)}",
        secret_key=f"sb_secret_{secrets.token_urlsafe(24)}",
    )


def _signed(jwt_secret: str, role: str, lifetime_seconds: int, claims: dict[str, object]) -> str:
    now = int(time.time())
    times = {"iat": now, "exp": now + lifetime_seconds}
    return jwt.encode(
        {"iss": ISSUER, "role": role, **times, **claims}, jwt_secret, algorithm=ALGORITHM
    )
