"""Define every setting, and what a right value of it is."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_settings import NoDecode

from worker.decide import Rules
from worker.env_file import FileSettings
from worker.network import check_certificates, proxy_credentials, proxy_for
from worker.project_key import WORKER_ROLE, publishable_key, role_of, service_role_key
from worker.project_url import base_url, project_url

MIN_OPS_TOKEN_CHARS = 16
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""The loopback address that reaches a server which listens on all interfaces."""


def _strip_pasted(text: str) -> str:
    """Return a value without whitespace around it; raise ValueError for quotes and blanks."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        raise ValueError("has quotes around it; remove them")
    if not text.isprintable() or " " in text:
        raise ValueError("has a blank or an invisible character in it; was it pasted whole?")
    return text


def _beside_worker_role(key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    """Raise ValueError where the publishable key is missing that a key of `mux_worker` needs."""
    beside = info.data.get("supabase_service_role_key")
    if key is None and beside is not None and role_of(beside.get_secret_value()) == WORKER_ROLE:
        raise ValueError(
            f"is missing: SUPABASE_SERVICE_ROLE_KEY is of the role {WORKER_ROLE}, which the "
            "gateway accepts only beside the publishable key"
        )
    return key


def _header_safe(secret: SecretStr) -> SecretStr:
    text = _strip_pasted(secret.get_secret_value())
    if not text or not text.isascii():
        raise ValueError("is empty or has characters that no key has; was it pasted whole?")
    return SecretStr(text)


def _not_guessable(secret: SecretStr) -> SecretStr:
    """Raise ValueError for a token that can be guessed: its holder can publish lessons."""
    if len(secret.get_secret_value()) < MIN_OPS_TOKEN_CHARS:
        raise ValueError(
            f"must be {MIN_OPS_TOKEN_CHARS} characters or more; `openssl rand -base64 32` makes one"
        )
    return secret


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _not_empty(value: Any) -> Any:
    """Return None for an optional setting that is empty."""
    return None if isinstance(value, str) and not value.strip() else value


Secret = Annotated[SecretStr, AfterValidator(_header_safe)]
OpsToken = Annotated[
    Annotated[Secret, AfterValidator(_not_guessable)] | None, BeforeValidator(_not_empty)
]
PublishableKey = Annotated[
    Annotated[Secret, AfterValidator(publishable_key)] | None,
    BeforeValidator(_not_empty),
    AfterValidator(_beside_worker_role),
]
Url = Annotated[str, AfterValidator(_strip_pasted), AfterValidator(base_url)]
ProjectUrl = Annotated[
    str, AfterValidator(_strip_pasted), AfterValidator(project_url), AfterValidator(base_url)
]
Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Policy = Literal["public", "signed", "drm"]


class Settings(FileSettings):
    """The worker's settings; each has its name, in capitals, in the environment."""

    supabase_url: ProjectUrl = Field(description="Address of the Supabase project")
    supabase_service_role_key: Annotated[Secret, AfterValidator(service_role_key)] = Field(
        description="Service-role JWT or `sb_secret_…` key, or a JWT of the role `mux_worker`"
    )
    supabase_publishable_key: PublishableKey = Field(
        None,
        validate_default=True,
        description="Publishable or anon key; required where the key above is of the role "
        "`mux_worker`, else unused",
    )
    mux_token_id: Secret = Field(
        description="Mux access token id, if possible of a low-priority token"
    )
    mux_token_secret: Secret = Field(description="Mux access token secret")
    mux_base_url: Url = Field("https://api.mux.com", description="Address of Mux's API")
    mux_webhook_secret: Annotated[tuple[Secret, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="Signing secrets of Mux's webhooks, comma-separated; empty: webhooks are off",
    )
    scan_interval_seconds: Seconds = Field(
        5.0,
        description="Longest time from the beginning of a scan to that of the next; while uploads "
        "are in flight it is shorter",
    )
    scan_batch_size: Annotated[int, Field(ge=1, le=1000)] = Field(
        200, description="Maximum number of rows in one claim"
    )
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = Field(
        60.0, description="Time for which other workers leave a claimed row alone"
    )
    mux_requests_per_second: Annotated[float, Field(gt=0, le=10_000)] = Field(
        4.0,
        description="Average rate of requests to Mux, for all workers together; Mux allows 5 reads",
    )
    mux_timeout_seconds: Seconds = Field(
        10.0,
        description="Longest wait for an answer from Mux; about a single video, at most two fifths "
        "of the scan interval, or 2 s if that is longer",
    )
    supabase_timeout_seconds: Seconds = Field(
        10.0, description="Longest wait for an answer from Supabase"
    )
    give_up_after_seconds: Seconds = Field(
        604_800.0, description="Age at which an upload that still waits is marked as failed"
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
    host: Annotated[str, AfterValidator(_strip_pasted)] = Field(
        "0.0.0.0", description="Address that the HTTP server listens on"
    )
    ops_token: OpsToken = Field(
        None,
        description="Password of the dashboard and of `/metrics`, 16 characters or more; without "
        "it there is no dashboard, and `/metrics` is public",
    )
    dashboard_thumbnails: bool = Field(
        False,
        description="`true`: a lesson's page shows a picture of its video, loaded from "
        "`image.mux.com`, if its playback id is public",
    )
    shutdown_seconds: Seconds = Field(
        20.0, description="Longest time from a signal to the end of the process"
    )
    event_retention_days: Annotated[int, Field(ge=30, le=36_500)] = Field(
        90, description="Number of days for which audit rows are kept, 30 or more"
    )

    @property
    def rules(self) -> Rules:
        """Return the rules by which observations are judged."""
        return Rules(
            self.playback_policies,
            self.give_up_after_seconds,
            interval_seconds=self.scan_interval_seconds,
        )

    @property
    def supabase_api_key(self) -> str:
        """Return what the header `apikey` has: Supabase's gateway knows its own keys alone."""
        key = self.supabase_service_role_key.get_secret_value()
        if self.supabase_publishable_key and role_of(key) == WORKER_ROLE:
            return self.supabase_publishable_key.get_secret_value()
        return key

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return all secrets in plain text, for the redaction of the log."""
        values = (
            self.supabase_service_role_key,
            *([self.supabase_publishable_key] if self.supabase_publishable_key else []),
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
    def load(cls, env_file: str | None = None) -> Self:
        """Read the settings, and check that certificates and proxies can be used."""
        settings = super().load(env_file)
        check_certificates()
        for url in (settings.supabase_url, settings.mux_base_url):
            proxy_for(url)
        return settings
