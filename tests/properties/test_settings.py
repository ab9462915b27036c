import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.test_settings import GOOD, jwt
from worker.errors import SettingsError
from worker.settings import Settings

NAMES = sorted(name.upper() for name in Settings.model_fields)
SECRETS = ["SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_WEBHOOK_SECRET"]
SECRETS += ["OPS_TOKEN"]
OF_CONNECTIONS = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"]
OF_CONNECTIONS += ["SSL_CERT_DIR"]

values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
likely = st.sampled_from(
    [
        *("", " ", "0", "1", "-1", "1e400", "nan", "inf", "5.0", "public", "public,signed", "json"),
        *("https://x.example", "http://x", "https://u:p@x", "https://[", "//", "'https://x'", "::"),
        *(jwt("anon"), jwt("service_role"), "sb_secret_abc", "a.b.c", "http://u:p@proxy:0"),
    ]
)
secret_parts = st.from_regex(r"[a-zA-Z0-9]{16,24}", fullmatch=True)
around = st.sampled_from(["", " ", "'", '"', "\u200b", "\n", "ä", "sb_publishable_", "a.b.", ","])
steady_fixtures = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def only(directory: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Set these variables and no other that is read, in a directory without a `.env`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for name in (*NAMES, *OF_CONNECTIONS):
            patch.delenv(name, raising=False)
            patch.delenv(name.lower(), raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def load() -> Settings | SettingsError:
    """Return the settings, or what is wrong with them."""
    try:
        return Settings.load()
    except SettingsError as error:
        return error


def problems(error: SettingsError) -> list[str]:
    """Return the variables that an error names."""
    return re.findall(r"^  ([A-Z_]+)[ :]", str(error), re.MULTILINE)


@steady_fixtures
@given(name=st.sampled_from(NAMES), value=values | likely)
def test_any_value_of_a_variable_is_taken_or_the_variable_is_named(
    tmp_path: Path, name: str, value: str
) -> None:
    """One line with its name and a sentence, and no other variable is complained about."""
    with only(tmp_path, {**GOOD, name: value}):
        result = load()
    if isinstance(result, SettingsError):
        assert set(problems(result)) == {name}
    else:
        assert result.rules.playback_policies
        assert all(result.secrets)


@steady_fixtures
@given(chosen=st.dictionaries(st.sampled_from(NAMES), values | likely, max_size=8))
def test_every_wrong_variable_is_named_at_once(tmp_path: Path, chosen: dict[str, str]) -> None:
    """Only those that are set wrong, or missing, and each problem once."""
    with only(tmp_path, chosen):
        result = load()
    if isinstance(result, SettingsError):
        lines, named = str(result).splitlines(), problems(result)
        assert len(set(lines)) == len(lines)
        assert set(GOOD) - set(chosen) <= set(named) <= set(GOOD) | set(chosen)
    else:
        assert set(GOOD) <= set(chosen)


@steady_fixtures
@given(secret=secret_parts, before=around, after=around, wrong=st.sampled_from(["PORT", "HOST"]))
def test_no_message_shows_a_secret(
    tmp_path: Path, secret: str, before: str, after: str, wrong: str
) -> None:
    """Whatever is wrong with it, or with another variable."""
    value = f"{before}{secret}{after}"
    chosen = {**GOOD, **dict.fromkeys(SECRETS, value), wrong: "not this"}
    with only(tmp_path, chosen):
        with pytest.raises(SettingsError) as refused:
            Settings.load()
        error: BaseException | None = refused.value
        assert wrong in problems(refused.value)
    while error is not None:
        assert secret not in f"{error}{error!r}{error.args}"
        error = error.__cause__


@steady_fixtures
@given(secret=secret_parts)
def test_no_settings_show_a_secret(tmp_path: Path, secret: str) -> None:
    """Neither as text nor as a representation."""
    chosen = {**dict.fromkeys(SECRETS, secret), "SUPABASE_SERVICE_ROLE_KEY": f"sb_secret_{secret}"}
    with only(tmp_path, {**GOOD, **chosen}):
        loaded = Settings.load()
    assert secret not in f"{loaded}{loaded!r}{loaded.model_dump()}{loaded.model_dump_json()}"
    assert all(secret in one for one in loaded.secrets)


@steady_fixtures
@given(name=st.sampled_from(OF_CONNECTIONS), value=values | likely, password=secret_parts)
def test_any_proxy_or_certificate_is_taken_or_the_variable_is_named(
    tmp_path: Path, name: str, value: str, password: str
) -> None:
    """Without the proxy's password."""
    for text in (value, f"http://user:{password}@{value}"):
        with only(tmp_path, {**GOOD, name: text}):
            result = load()
        if isinstance(result, SettingsError):
            assert name in str(result)
            assert password not in str(result)
        else:
            assert result.mux_token_id.get_secret_value() == GOOD["MUX_TOKEN_ID"]


@steady_fixtures
@given(content=st.binary(max_size=300) | values.map(str.encode))
def test_any_env_file_is_read_or_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    """Whatever bytes it has."""
    with only(tmp_path, GOOD):
        (tmp_path / ".env").write_bytes(content)
        result = load()
    if isinstance(result, SettingsError):
        assert str(result).endswith(".")
    else:
        assert result.mux_token_id.get_secret_value() == GOOD["MUX_TOKEN_ID"]
