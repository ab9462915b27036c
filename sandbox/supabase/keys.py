"""API keys as in Supabase: JWTs that name a role, and short keys that stand for such a JWT."""

import base64
import json
import secrets
import time
from dataclasses import dataclass
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

ALGORITHM = "HS256"
ISSUER = "supabase"
KEY_LIFETIME_SECONDS = 10 * 365 * 24 * 3600
USER_TOKEN_LIFETIME_SECONDS = 3600


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The keys of one project; `repr` shows none of them.

    `jwt_secret` is the legacy JWT secret, `signing_key` the private JWK of an imported signing key;
    PostgREST accepts tokens of both. The gateway knows no key but the four below them.

    `publishable_key` and `secret_key` are the newer kind (`sb_publishable_…`, `sb_secret_…`): they
    are no JWTs, and only the gateway knows the role of each.
    """

    jwt_secret: str
    signing_key: str
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

    @property
    def key_set(self) -> str:
        """Return the JWK set by which tokens are verified."""
        secret = base64.urlsafe_b64encode(self.jwt_secret.encode()).decode().rstrip("=")
        public = json.loads(self.signing_key)
        del public["d"]
        return json.dumps({"keys": [{"kty": "oct", "k": secret, "alg": ALGORITHM}, public]})

    def role_token(self, role: str, lifetime_seconds: int = KEY_LIFETIME_SECONDS) -> str:
        """Return a JWT of a role, as an operator signs one with the legacy JWT secret."""
        return _signed(self.jwt_secret, role, lifetime_seconds, {})

    def user_token(self, user_id: UUID, lifetime_seconds: int = USER_TOKEN_LIFETIME_SECONDS) -> str:
        """Return the JWT of a signed-in user; with a negative lifetime it has expired."""
        claims: dict[str, object] = {"sub": str(user_id), "aud": "authenticated"}
        return _signed(self.jwt_secret, "authenticated", lifetime_seconds, claims)


def make_keys() -> Keys:
    """Return the keys of a new project, with a new JWT secret."""
    jwt_secret = secrets.token_urlsafe(48)
    return Keys(
        jwt_secret=jwt_secret,
        signing_key=_make_signing_key(),
        anon_key=_signed(jwt_secret, "anon", KEY_LIFETIME_SECONDS, {}),
        service_role_key=_signed(jwt_secret, "service_role", KEY_LIFETIME_SECONDS, {}),
        publishable_key=f"sb_publishable_{secrets.token_urlsafe(24)}",
        secret_key=f"sb_secret_{secrets.token_urlsafe(24)}",
    )


def _make_signing_key() -> str:
    private = generate_private_key(SECP256R1())
    jwk = ECAlgorithm.to_jwk(private, as_dict=True)
    return json.dumps({**jwk, "kid": str(uuid4()), "alg": "ES256", "use": "sig"})


def _signed(jwt_secret: str, role: str, lifetime_seconds: int, claims: dict[str, object]) -> str:
    now = int(time.time())
    times = {"iat": now, "exp": now + lifetime_seconds}
    return jwt.encode(
        {"iss": ISSUER, "role": role, **times, **claims}, jwt_secret, algorithm=ALGORITHM
    )
