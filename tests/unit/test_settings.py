import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from worker.errors import SettingsError
from worker.settings import Settings

CHECKOUT = Path(__file__).parents[2]


def jwt(role: str, **claims: Any) -> str:
    """Make a token that looks like Supabase's."""
    text = json.dumps({"role": role, **claims}).encode()
    payload = base64.urlsafe_b64encode(text).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl"


GOOD = {
    "SUPABASE_URL": "https://abc.supabase.co",
    "SUPABASE_SERVICE_ROLE_KEY": jwt("service_role"),
    "MUX_TOKEN_ID": "token-id",
    "MUX_TOKEN_SECRET": "token-secret",
}


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin without any setting and without a .env file."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def load(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Settings:
    """Load the four required settings with others beside or in place of them."""
    for name, value in {**GOOD, **settings}.items():
        monkeypatch.setenv(name, value)
    return Settings.load()


def refusal(monkeypatch: pytest.MonkeyPatch, **settings: str) -> list[str]:
    """Load settings that are wrong, and give the faults that are named."""
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **settings)
    return str(refused.value).splitlines()[1:-1]


def test_four_settings_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """All else has its default."""
    settings = load(monkeypatch)
    assert settings.supabase_url == GOOD["SUPABASE_URL"]
    assert (settings.scan_interval_seconds, settings.playback_policies) == (5.0, ("public",))


def test_all_faults_are_named_at_once() -> None:
    """Without any setting, each required one is named with what it is."""
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    text = str(refused.value)
    assert text.startswith("Settings are missing:\n")
    assert re.findall(r"^  (\w+): \w", text, re.MULTILINE) == list(GOOD)
    assert text.endswith(
        "\nThey were read from the environment alone: there is no .env here. "
        ".env.example lists all settings."
    )


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("SUPABASE_URL", "abc.supabase.co", "must look like https://host"),
        ("SUPABASE_URL", "http://abc.supabase.co", "must begin with https://"),
        ("SUPABASE_URL", "https://me:secret@abc.supabase.co", "without user"),
        ("SUPABASE_SERVICE_ROLE_KEY", "nonsense", "neither a service_role JWT nor"),
        ("SUPABASE_SERVICE_ROLE_KEY", jwt("anon"), "is the key of role 'anon'"),
        ("SUPABASE_SERVICE_ROLE_KEY", "sb_publishable_abc", "is the publishable key"),
        ("SUPABASE_PUBLISHABLE_KEY", "sb_secret_abc", "is not the publishable key"),
        ("SUPABASE_PUBLISHABLE_KEY", jwt("service_role"), "nor the legacy anon key"),
        ("MUX_TOKEN_ID", "", "is empty"),
        ("MUX_TOKEN_SECRET", "two words", "was it pasted whole?"),
        ("MUX_TOKEN_SECRET", '"token-secret"', "has quotes around it; remove them"),
        ("MUX_TOKEN_ID", "'token-id'", "has quotes around it; remove them"),
        ("SUPABASE_URL", '"https://abc.supabase.co"', "has quotes around it; remove them"),
        ("SUPABASE_URL", "https://abc .supabase.co", "has a blank or an invisible character"),
        ("SUPABASE_URL", "https://abc\n.supabase.co", "has a blank or an invisible character"),
        ("SUPABASE_URL", "https://abc\u200b.supabase.co", "has a blank or an invisible character"),
        ("MUX_BASE_URL", "\ufeffhttps://api.mux.com", "has a blank or an invisible character"),
        ("MUX_TOKEN_SECRET", "token\u200b-secret", "has a blank or an invisible character"),
        ("HOST", "127.0.0.1 0.0.0.0", "has a blank or an invisible character"),
        ("SCAN_INTERVAL_SECONDS", "0", "greater than 0"),
        ("SCAN_INTERVAL_SECONDS", "soon", "must be a number"),
        ("SCAN_INTERVAL_SECONDS", "nan", "finite"),
        ("SCAN_BATCH_SIZE", "1001", "less than or equal to 1000"),
        ("LEASE_SECONDS", "0.5", "greater than or equal to 1"),
        ("MUX_REQUESTS_PER_SECOND", "-1", "greater than 0"),
        ("PLAYBACK_POLICIES", "public,holographic", "'public', 'signed' or 'drm'"),
        ("PLAYBACK_POLICIES", "", "at least 1 item"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("PORT", "70000", "less than or equal to 65535"),
        ("OPS_TOKEN", "fifteen-letters", "must be 16 characters or more"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, result: str
) -> None:
    """One line, beginning with the variable's name; nothing else is complained about."""
    (fault,) = refusal(monkeypatch, **{name: value})
    assert fault.startswith(f"  {name} ")
    assert result in fault


def test_a_problem_that_several_parts_have_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two policies that do not exist, or two secrets that were not pasted whole."""
    chosen = {"PLAYBACK_POLICIES": "none,all", "MUX_WEBHOOK_SECRET": "one two,three four"}
    faults = refusal(monkeypatch, **chosen)
    assert [fault.split()[0] for fault in faults] == ["MUX_WEBHOOK_SECRET", "PLAYBACK_POLICIES"]


REF = "abcdefghijklmnopqrst"
RIGHT = "it must be the address of the project,"
PROJECT = f"{RIGHT} https://{REF}.supabase.co"
ANY_PROJECT = f"{RIGHT} https://<ref>.supabase.co"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            f"https://{REF}.supabase.co/rest/v1/",
            f"is the address of one API (/rest/v1/); {PROJECT}",
        ),
        (f"https://{REF}.supabase.co/auth/v1", f"is the address of one API (/auth/v1); {PROJECT}"),
        (
            "http://127.0.0.1:54321/rest/v1",
            f"is the address of one API (/rest/v1); {RIGHT} http://127.0.0.1:54321",
        ),
        (
            f"https://supabase.com/dashboard/project/{REF}/settings/api?a=b#c",
            f"is the address of the dashboard; {PROJECT}",
        ),
        (f"https://app.supabase.com/project/{REF}", f"is the address of the dashboard; {PROJECT}"),
        (
            "https://supabase.com/dashboard/projects",
            f"is the address of the dashboard; {ANY_PROJECT}",
        ),
        (f"db.{REF}.supabase.co", f"is the address of the database; {PROJECT}"),
        (f"https://db.{REF}.supabase.co:5432", f"is the address of the database; {PROJECT}"),
        (f"https://{REF}.storage.supabase.co", f"is the address of storage; {PROJECT}"),
        (
            f"postgresql://postgres:[whisper]@db.{REF}.supabase.co:5432/postgres",
            f"is a connection string of the database; {PROJECT}",
        ),
        (
            f"postgres://postgres.{REF}:whis/p@er@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
            f"is a connection string of the database; {PROJECT}",
        ),
        (
            "aws-0-eu-central-1.pooler.supabase.com:6543",
            f"is the address of the connection pooler; {ANY_PROJECT}",
        ),
        ("https://me:[whisper]@x.example", "must look like https://host"),
    ],
)
def test_an_address_that_is_mistaken_for_the_projects_is_named(
    monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    """In one sentence, with the right address, and without a password."""
    assert refusal(monkeypatch, SUPABASE_URL=address) == [
        f"  SUPABASE_URL {said} (from the environment)"
    ]


def test_no_secret_is_in_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is refused is not shown, nor is any other."""
    bad = {
        "SUPABASE_SERVICE_ROLE_KEY": jwt("anon"),
        "MUX_TOKEN_SECRET": "hush hush",
        "SUPABASE_URL": "https://me:whisper@abc.supabase.co",
    }
    text = "\n".join(refusal(monkeypatch, **bad))
    assert not any(
        secret in text for secret in ("hush", "whisper", bad["SUPABASE_SERVICE_ROLE_KEY"])
    )


def test_settings_do_not_show_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as text nor as a representation."""
    settings = load(monkeypatch, MUX_WEBHOOK_SECRET="whsec1,whsec2", OPS_TOKEN="open-sesame-open")
    assert not any(secret in f"{settings} {settings!r}" for secret in settings.secrets)
    assert len(settings.secrets) == 6


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PLAYBACK_POLICIES", "signed, public", ("signed", "public")),
        ("LOG_LEVEL", "DEBUG", "debug"),
        ("SCAN_INTERVAL_SECONDS", "0.25", 0.25),
        ("OPS_TOKEN", "", None),
        ("PORT", "8080", 8080),
        ("SUPABASE_URL", "http://127.0.0.1:54321/", "http://127.0.0.1:54321"),
        ("SUPABASE_URL", "http://kong:8000", "http://kong:8000"),
        ("SUPABASE_URL", " https://abc.supabase.co/\r\n", "https://abc.supabase.co"),
        ("HOST", "127.0.0.1\n", "127.0.0.1"),
    ],
)
def test_values_are_read_as_they_are_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: Any
) -> None:
    """Lists by commas, levels in any case, fractions of seconds, empty for not set."""
    assert getattr(load(monkeypatch, **{name: text}), name.lower()) == value


@pytest.mark.parametrize(
    "name", ["PORT", "OPS_TOKEN", "MUX_WEBHOOK_SECRET", "SUPABASE_PUBLISHABLE_KEY"]
)
def test_an_optional_setting_that_is_empty_is_not_set(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A line `NAME=` in a .env file is as good as none."""
    assert getattr(load(monkeypatch, **{name: ""}), name.lower()) in (None, ())


def test_a_secret_key_of_the_new_kind_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sb_secret_…` stands for the service role as well as its JWT."""
    key = "sb_secret_" + "x" * 20
    settings = load(monkeypatch, SUPABASE_SERVICE_ROLE_KEY=key)
    assert settings.supabase_service_role_key.get_secret_value() == key


@pytest.mark.parametrize("publishable", ["sb_publishable_" + "x" * 20, jwt("anon")])
def test_a_key_of_the_workers_own_role_goes_beside_the_publishable_key(
    monkeypatch: pytest.MonkeyPatch, publishable: str
) -> None:
    """The gateway would refuse it as an API key. Both are secrets for the log."""
    key = jwt("mux_worker")
    settings = load(
        monkeypatch, SUPABASE_SERVICE_ROLE_KEY=key, SUPABASE_PUBLISHABLE_KEY=publishable
    )
    assert settings.supabase_api_key == publishable
    assert {key, publishable} <= set(settings.secrets)


def test_without_the_publishable_key_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the gateway does, and with what is missing."""
    assert refusal(monkeypatch, SUPABASE_SERVICE_ROLE_KEY=jwt("mux_worker")) == [
        (
            "  SUPABASE_PUBLISHABLE_KEY is missing: SUPABASE_SERVICE_ROLE_KEY is of the role "
            "mux_worker, which the gateway accepts only beside the publishable key"
        )
    ]


def test_beside_a_key_of_the_service_role_the_publishable_key_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An app's environment often has it."""
    settings = load(monkeypatch, SUPABASE_PUBLISHABLE_KEY="sb_publishable_" + "x" * 20)
    assert settings.supabase_api_key == GOOD["SUPABASE_SERVICE_ROLE_KEY"]


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """.env in the working directory is read, and a variable beside it is stronger."""
    lines = [f"{name}={value}" for name, value in GOOD.items()]
    (tmp_path / ".env").write_text("\n".join([*lines, "LOG_LEVEL=error", "SCAN_BATCH_SIZE=7"]))
    monkeypatch.setenv("LOG_LEVEL", "warning")
    settings = Settings.load()
    assert (settings.log_level, settings.scan_batch_size) == ("warning", 7)


def test_what_is_missing_is_told_from_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the file that was read, and where each wrong value stands."""
    (tmp_path / "prod.env").write_text("PORT=x\nLEASE_SECONDS=0\nMUX_TOKEN_ID=id\n")
    monkeypatch.setenv("LEASE_SECONDS", "soon")
    monkeypatch.setenv("SUPABASE_URL", GOOD["SUPABASE_URL"])
    with pytest.raises(SettingsError) as refused:
        Settings.load("prod.env")
    assert (
        str(refused.value)
        == f"""\
Settings are missing:
  SUPABASE_SERVICE_ROLE_KEY: Service-role JWT or `sb_secret_…` key, or a JWT of the role \
`mux_worker`
  MUX_TOKEN_SECRET: Mux access token secret
Settings are wrong:
  LEASE_SECONDS must be a number (from the environment)
  PORT must be a whole number (from prod.env)
They were read from the environment and from {tmp_path / "prod.env"}. .env.example lists all \
settings."""
    )


def test_a_named_file_is_read_instead_of_the_usual_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment goes before it; a file that does not exist is an error."""
    (tmp_path / ".env").write_text("SCAN_BATCH_SIZE=7")
    (tmp_path / "prod.env").write_text("LOG_LEVEL=error\nLEASE_SECONDS=9")
    for name, value in {**GOOD, "LEASE_SECONDS": "5"}.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load("prod.env")
    assert (settings.log_level, settings.lease_seconds, settings.scan_batch_size) == (
        *("error", 5, 200),
    )
    with pytest.raises(SettingsError, match=r"^lost\.env does not exist\. Name another file"):
        Settings.load("lost.env")


def test_a_file_that_is_no_text_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none of its bytes are shown."""
    (tmp_path / ".env").write_bytes(b"MUX_TOKEN_SECRET=\xff\xfesecret")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SettingsError, match=r"^\.env is not UTF-8 text. Save it in that encoding\.$"
    ):
        Settings.load()


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """As editors of Windows write it: its first line counts too."""
    lines = "\n".join(f"{name}={value}" for name, value in GOOD.items())
    (tmp_path / ".env").write_text(lines, encoding="utf-8-sig")
    assert Settings.load().supabase_url == GOOD["SUPABASE_URL"]


def test_a_directory_in_place_of_the_file_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Docker makes one where it mounts a file that is not there."""
    (tmp_path / ".env").mkdir()
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch)
    assert str(refused.value) == ".env is a directory. Replace it with a file, or remove it."


def test_a_file_that_may_not_be_read_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture, tmp_path: Path
) -> None:
    """The system's refusal is played, since tests run as root, whom no file refuses."""
    (tmp_path / ".env").write_text("")
    refusal = PermissionError(13, "Permission denied")
    mocker.patch("dotenv.main.open", side_effect=refusal, create=True)
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch)
    assert str(refused.value) == (
        ".env cannot be read (Permission denied). Make it readable, or remove it."
    )


@pytest.mark.parametrize(
    "name", ["SUPABASE_SERVICE_ROLE_KEY", "MUX_TOKEN_ID", "MUX_TOKEN_SECRET", "MUX_WEBHOOK_SECRET"]
)
def test_blanks_and_line_ends_around_a_secret_are_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A secret is often pasted with the line's end."""
    text = GOOD.get(name, "whsec")
    settings = load(monkeypatch, **{name: f" {text}\r\n"})
    assert text in settings.secrets


def test_the_example_file_is_the_settings(tmp_path: Path) -> None:
    """.env.example names every setting once, with its default, and loads once filled in."""
    example = (CHECKOUT / ".env.example").read_text()
    named = re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", example, re.MULTILINE)
    assert sorted(name.lower() for name, _ in named) == sorted(Settings.model_fields)
    filled = {**dict(named), **GOOD}
    (tmp_path / ".env").write_text("\n".join(f"{name}={value}" for name, value in filled.items()))
    loaded = Settings.load()
    defaults = {
        name: field.get_default()
        for name, field in Settings.model_fields.items()
        if not field.is_required()
    }
    assert {name: getattr(loaded, name) for name in defaults} == defaults
