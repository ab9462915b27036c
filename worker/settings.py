"""Every setting, read from the environment or `.env` and checked, all faults reported at once."""

import base64
import binascii
import ipaddress
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.errors import SettingsError
from worker.network import check_certificates, proxy_credentials, proxy_for
from worker.project_url import project_url, split_url

SHORTEST_OPS_TOKEN = 16
ENV_FILE = ".env"
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""The loopback address that reaches a server which listens on all interfaces."""


def _as_pasted(text: str) -> str:
    """Take off blanks and line ends around a value; refuse what nobody means inside it."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        raise ValueError("has quotes around it; remove them")
    if not text.isprintable() or " " in text:
        raise ValueError("has a blank or an invisible character in it; was it pasted whole?")
    return text


def _base_url(text: str) -> str:
    """Check an address to which credentials are sent; only a private one may go without TLS."""
    parts = split_url(text)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("must look like https://host")
    if parts.scheme == "http" and not _is_private(parts.hostname):
        raise ValueError("must begin with https://, or the key would travel in the clear")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be an address without user, password, query or fragment")
    if not _has_usable_port(parts):
        raise ValueError("must have a port from 1 to 65535, or none")
    return text.rstrip("/")


def _has_usable_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal"))


def _service_role_key(key: SecretStr) -> SecretStr:
    """Refuse the keys that are mistaken for it; Supabase's dashboard shows them side by side."""
    text = key.get_secret_value()
    if text.startswith("sb_secret_"):
        return key
    if text.startswith("sb_publishable_"):
        raise ValueError("is the publishable key; it must be the secret key (sb_secret_...)")
    role = _role_of(text)
    if role is None:
        raise ValueError("is neither a service_role JWT nor an sb_secret_... key")
    if role != "service_role":
        raise ValueError(f"is the key of role {role!r}; it must be the one of service_role")
    return key


def _role_of(token: str) -> str | None:
    """Read the role claim of a JWT, unverified: Supabase verifies it, this only spots mix-ups."""
    try:
        _, payload, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        role = claims.get("role")
    except (ValueError, binascii.Error, AttributeError):
        return None
    return role[:40] if isinstance(role, str) else None


def _header_safe(secret: SecretStr) -> SecretStr:
    text = _as_pasted(secret.get_secret_value())
    if not text or not text.isascii():
        raise ValueError("is empty or has characters that no key has; was it pasted whole?")
    return SecretStr(text)


def _not_guessable(secret: SecretStr) -> SecretStr:
    """Refuse what could be found by trying: who has it publishes lessons, and nobody is told."""
    if len(secret.get_secret_value()) < SHORTEST_OPS_TOKEN:
        raise ValueError(
            f"must be {SHORTEST_OPS_TOKEN} characters or more: `openssl rand -base64 32` makes one"
        )
    return secret


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _not_empty(value: Any) -> Any:
    """Read an optional setting that is there but empty as one that is not there."""
    return None if isinstance(value, str) and not value.strip() else value


Secret = Annotated[SecretStr, AfterValidator(_header_safe)]
OpsToken = Annotated[
    Annotated[Secret, AfterValidator(_not_guessable)] | None, BeforeValidator(_not_empty)
]
Url = Annotated[str, AfterValidator(_as_pasted), AfterValidator(_base_url)]
ProjectUrl = Annotated[
    str, AfterValidator(_as_pasted), AfterValidator(project_url), AfterValidator(_base_url)
]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Policy = Literal["public", "signed", "drm"]


class Settings(BaseSettings):
    """The worker's settings; the name of each in the environment is its own in capitals."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    supabase_url: ProjectUrl = Field(description="Address of the Supabase project")
    supabase_service_role_key: Annotated[Secret, AfterValidator(_service_role_key)] = Field(
        description="Service-role JWT or `sb_secret_…` key"
    )
    mux_token_id: Secret = Field(description="Mux access token id, best of a low-priority token")
    mux_token_secret: Secret = Field(description="Mux access token secret")
    mux_base_url: Url = Field("https://api.mux.com", description="Address of Mux's API")
    mux_webhook_secret: Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Signing secrets of Mux's webhooks, comma-separated; without, none are taken",
    )
    scan_interval_seconds: Seconds = Field(5.0, description="Pause between scans")
    scan_batch_size: Annotated[int, Field(ge=1, le=1000)] = Field(
        200, description="Most rows claimed at once"
    )
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        60.0, description="How long a claimed row is left alone by the others"
    )
    mux_requests_per_second: Annotated[float, Field(gt=0, le=10_000)] = Field(
        4.0, description="Most requests to Mux, on average; Mux allows 5 reads"
    )
    mux_timeout_seconds: Seconds = Field(
        10.0,
        description="Longest wait for one answer of Mux; for one about a single video two fifths "
        "of the scan interval, or 2 s, at most",
    )
    supabase_timeout_seconds: Seconds = Field(
        10.0, description="Longest wait for one answer of Supabase"
    )
    give_up_after_seconds: Seconds = Field(
        604_800.0, description="Age at which an upload that still waits is failed"
    )
    playback_policies: Annotated[
        tuple[Policy, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)
    ] = Field(("public",), description="Accepted policies, best first: `public`, `signed`, `drm`")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lambda v: v.lower() if isinstance(v, str) else v),
    ] = Field("info", description="`debug`, `info`, `warning` or `error`")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json`, `console`, or `auto`: console on a terminal"
    )
    port: Annotated[Annotated[int, Field(ge=1, le=65535)] | None, BeforeValidator(_not_empty)] = (
        Field(None, description="Port of the HTTP server; without it no port is opened")
    )
    host: Annotated[str, AfterValidator(_as_pasted)] = Field(
        "0.0.0.0", description="Address that the HTTP server listens on"
    )
    ops_token: OpsToken = Field(
        None,
        description="Token, of 16 characters or more, that `/metrics` and the status page ask for; "
        "without it there is no page, and everybody may read the metrics",
    )
    shutdown_seconds: Seconds = Field(
        20.0, description="Longest time from a signal to the end of the process"
    )
    event_retention_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        90, description="Days that audit rows are kept"
    )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in clear, for the one place that keeps them out of the log."""
        values = (
            self.supabase_service_role_key,
            self.mux_token_id,
            self.mux_token_secret,
            *self.mux_webhook_secret,
            *([self.ops_token] if self.ops_token else []),
        )
        return (*(value.get_secret_value() for value in values), *proxy_credentials())

    @property
    def loopback_host(self) -> str:
        """Return the address at which this machine reaches the worker's own HTTP server."""
        return LOOPBACK.get(self.host, self.host)

    @classmethod
    def load(cls) -> Self:
        """Read the settings.

        Raises SettingsError, naming every fault with what would be right and never a secret.
        """
        try:
            if Path(ENV_FILE).is_dir():
                raise SettingsError(".env is a directory. Replace it with a file, or remove it.")
            settings = cls()
            check_certificates()
            for url in (settings.supabase_url, settings.mux_base_url):
                proxy_for(url)
            return settings
        except UnicodeDecodeError:
            raise SettingsError(".env is not UTF-8 text: save it as that.") from None
        except OSError as error:
            raise SettingsError(
                f".env cannot be read ({error.strerror}). Let this user read it, or remove it."
            ) from None
        except ValidationError as error:
            faults = [_explain(fault) for fault in error.errors(include_url=False)]
            raise SettingsError(
                "The settings are not complete:\n"
                + "\n".join(f"  {fault}" for fault in faults)
                + "\nSet them in the environment or in .env; .env.example lists them all."
            ) from None


def _explain(fault: Any) -> str:
    name = str(fault["loc"][0])
    problem = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        problem = f"is missing: {Settings.model_fields[name].description}"
    elif fault["type"] != "value_error":
        problem = f"is wrong: {problem[0].lower()}{problem[1:]}"
    return f"{name.upper()} {problem}"
