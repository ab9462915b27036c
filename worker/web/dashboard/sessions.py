"""What a browser is given to remember, signed: who has logged in, and which browser it is.

Nothing is kept here but who has logged out. The keys come from OPS_TOKEN, so a new token logs
everybody out; they are made slowly, so that a cookie is of little use for guessing the token.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from itsdangerous import BadData, URLSafeSerializer

SESSION_SECONDS = 12 * 3600.0
VISITOR_SECONDS = 90 * 86_400.0
MOST_ENDED = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """An operator who has logged in, until a unix time."""

    id: str
    name: str
    until: float


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser, and whether somebody has ever logged in with it."""

    id: str
    is_known: bool
    until: float


T = TypeVar("T", Session, Visitor)


class Sessions:
    """Signs what browsers keep, and reads what they bring back."""

    def __init__(self, ops_token: str, clock: Callable[[], float] = time.time) -> None:
        key = hashlib.scrypt(
            ops_token.encode(), salt=b"mux-worker status page", n=2**14, r=8, p=1, dklen=32
        )
        self._key = key
        self._token = hashlib.sha256(ops_token.encode()).digest()
        self._clock = clock
        self._ended: OrderedDict[str, None] = OrderedDict()

    def is_token(self, shown: str) -> bool:
        """Tell whether this is the operators' token, in a time that gives nothing away."""
        return hmac.compare_digest(hashlib.sha256(_bytes(shown)).digest(), self._token)

    def begin(self, name: str) -> Session:
        """Log an operator in."""
        return Session(secrets.token_urlsafe(16), name, self._clock() + SESSION_SECONDS)

    def visitor(self, *, is_known: bool = False) -> Visitor:
        """Give a browser a name."""
        until = self._clock() + VISITOR_SECONDS
        return Visitor(secrets.token_urlsafe(16), is_known, until)

    def end(self, session: Session) -> None:
        """Log an operator out: her cookie is good for nothing here any more."""
        self._ended[session.id] = None
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def seal(self, what: Session | Visitor) -> str:
        """Sign what a browser shall keep."""
        return str(self._signer(what).dumps(asdict(what)))

    def session(self, sealed: str | None) -> Session | None:
        """Read a session that is still good."""
        found = self._open(sealed, Session)
        return None if found is None or found.id in self._ended else found

    def known(self, sealed: str | None) -> Visitor | None:
        """Read which browser it is."""
        return self._open(sealed, Visitor)

    def form_token(self, of: Session | Visitor) -> str:
        """Give what every form holds, so that no other site can send it in this one's name."""
        return hmac.new(self._key, f"form {of.id}".encode(), hashlib.sha256).hexdigest()

    def is_form_token(self, of: Session | Visitor, shown: str) -> bool:
        """Tell whether a form was made for this session or browser."""
        return hmac.compare_digest(self.form_token(of).encode(), _bytes(shown))

    def _open(self, sealed: str | None, kind: type[T]) -> T | None:
        if not sealed:
            return None
        try:
            told: dict[str, Any] = self._signer(kind).loads(sealed)
            found = kind(**told)
        except (BadData, TypeError):
            return None
        return found if found.until > self._clock() else None

    def _signer(self, what: object) -> URLSafeSerializer:
        """Give the signer of a kind: what was signed as one kind is none of another."""
        kind = what if isinstance(what, type) else type(what)
        return URLSafeSerializer(
            self._key,
            salt=kind.__name__,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
