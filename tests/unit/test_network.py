import pytest

from worker.network import proxy_credentials, proxy_for

PROXY = "http://proxy.corp:3128"
SUPABASE = "https://abc.supabase.co"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without any of the variables."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "variables", "proxy"),
    [
        (SUPABASE, {}, None),
        (SUPABASE, {"HTTPS_PROXY": PROXY}, PROXY),
        (SUPABASE, {"https_proxy": PROXY}, PROXY),
        (SUPABASE, {"HTTPS_PROXY": "http://other:1", "https_proxy": PROXY}, PROXY),
        (SUPABASE, {"HTTPS_PROXY": "proxy.corp:3128"}, PROXY),
        (SUPABASE, {"HTTP_PROXY": PROXY}, None),
        (SUPABASE, {"ALL_PROXY": PROXY}, PROXY),
        (SUPABASE, {"ALL_PROXY": "socks5://me:1", "HTTPS_PROXY": PROXY}, PROXY),
        ("http://kong:8000", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://kong:8000", {"HTTP_PROXY": PROXY, "NO_PROXY": "kong"}, None),
        ("http://kong:8000", {"HTTP_PROXY": PROXY, "NO_PROXY": "kong:8000"}, None),
        ("http://kong:8000", {"HTTP_PROXY": PROXY, "NO_PROXY": "kong:80"}, PROXY),
        (SUPABASE, {"HTTPS_PROXY": PROXY, "NO_PROXY": "supabase.co"}, None),
        (SUPABASE, {"HTTPS_PROXY": PROXY, "NO_PROXY": "a.b, .supabase.co"}, None),
        (SUPABASE, {"HTTPS_PROXY": PROXY, "no_proxy": "a.b *.supabase.co"}, None),
        (SUPABASE, {"HTTPS_PROXY": PROXY, "NO_PROXY": "base.co"}, PROXY),
        (SUPABASE, {"HTTPS_PROXY": PROXY, "NO_PROXY": "a.b,*"}, None),
        (SUPABASE, {"HTTPS_PROXY": PROXY, "NO_PROXY": "::1,fd00::/8,10.0.0.0/8"}, PROXY),
        ("https://10.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://10.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.1.2.3"}, None),
        ("https://10.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8,11.0.0.0/8"}, PROXY),
        ("https://[fd00::1]", {"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, None),
        ("https://[fd00::1]", {"HTTPS_PROXY": PROXY, "NO_PROXY": "[fd00::1]"}, None),
        ("https://[fd00::1]", {"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::2"}, PROXY),
        ("http://127.0.0.1:54321", {"ALL_PROXY": PROXY}, None),
        ("http://[::1]:54321", {"ALL_PROXY": PROXY}, None),
        ("http://localhost:54321", {"ALL_PROXY": "socks5://me:1"}, None),
    ],
)
def test_the_proxy_is_the_one_that_other_programs_take(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], proxy: str | None
) -> None:
    """By scheme, then for all; none for what NO_PROXY excepts, nor ever for this machine."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(url) == proxy


def test_the_credentials_of_proxies_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they stand, for the log that keeps them out."""
    assert proxy_credentials() == ()
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hush@proxy.corp:3128")
    monkeypatch.setenv("all_proxy", "you:whisper@proxy.corp")
    assert set(proxy_credentials()) == {"me:hush", "you:whisper"}
