"""Choose the proxy and the trusted certificates for outgoing connections.

Supabase's client, Mux's client and the doctor follow the same standard variables: HTTPS_PROXY,
HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR.
"""

import ipaddress
import os
import re
import ssl
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from worker.errors import SettingsError, error_text

PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> str | None:
    """Return the address of the proxy for requests to `url`, or None for a direct connection.

    Raises SettingsError with the variable, but never its value, if that proxy cannot be used.
    """
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    name = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(name)
    if not proxy or _is_direct(parts, re.split(r"[,\s]+", proxies.get("no", ""))):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not _is_usable(proxy):
        raise SettingsError(
            f"{_variable(f'{name}_proxy')} is no address like http://host:port, the only kind of "
            "proxy that is supported. Correct it, or name the hosts of SUPABASE_URL and "
            "MUX_BASE_URL in NO_PROXY."
        )
    return proxy


def _is_direct(url: SplitResult, no_proxy: Sequence[str]) -> bool:
    """Whether a host is this machine, or NO_PROXY excludes it by name, domain or network."""
    host = url.hostname or ""
    if "*" in no_proxy or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # The standard library matches names and domains, but not the common `*.domain`.
        rules = {"no": ",".join(entry.removeprefix("*") for entry in no_proxy)}
        netloc = f"{host}:{url.port or PORTS[url.scheme]}"
        stdlib: Any = urllib.request  # its type stubs lack the function
        return bool(stdlib.proxy_bypass_environment(netloc, rules))
    return address.is_loopback or any(address in network for network in _networks(no_proxy))


def _networks(no_proxy: Iterable[str]) -> Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for entry in no_proxy:
        try:
            yield ipaddress.ip_network(re.sub(r"[\[\]]", "", entry), strict=False)
        except ValueError:
            continue


def _is_usable(address: str) -> bool:
    try:
        proxy = urlsplit(address)
        unquote(proxy.netloc).encode("latin-1")  # as its credentials are sent
        return proxy.scheme == "http" and bool(proxy.hostname) and proxy.port != 0
    except ValueError:
        return False


def _variable(name: str) -> str:
    """Return the variable that is set: lower case takes precedence over upper case."""
    return name if name in os.environ else name.upper()


def proxy_credentials() -> tuple[str, ...]:
    """Return `user:password` of every proxy, to be redacted from logs."""
    return tuple(re.findall(r"([^\s/]+)@", "\n".join(urllib.request.getproxies().values())))


def check_certificates() -> None:
    """Raise SettingsError if SSL_CERT_FILE or SSL_CERT_DIR cannot be used."""
    file, directory = _authorities()
    if directory and not Path(directory).is_dir():
        raise SettingsError("SSL_CERT_DIR names no directory. Correct it, or unset it.")
    if file:
        try:
            ssl.create_default_context(cafile=file)
        except OSError:  # includes ssl.SSLError
            raise SettingsError(
                "SSL_CERT_FILE names no file of certificates that can be read. Correct it, or "
                "unset it."
            ) from None


def tls_context() -> ssl.SSLContext:
    """Return the TLS context for every connection.

    It trusts the certificates of SSL_CERT_FILE and SSL_CERT_DIR, or without them those of this
    machine and of the HTTP client, since slim images have none.
    """
    file, directory = _authorities()
    if file or directory:
        return ssl.create_default_context(cafile=file, capath=directory)
    import httpx

    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _authorities() -> tuple[str | None, str | None]:
    return os.environ.get("SSL_CERT_FILE") or None, os.environ.get("SSL_CERT_DIR") or None


async def send_through(proxy: str, url: str) -> int:
    """Send one request without credentials through a proxy, and return the response's status.

    Raises ConnectionError with the reason if there is no response.
    """
    import httpx

    async with httpx.AsyncClient(trust_env=False, proxy=proxy, verify=tls_context()) as client:
        try:
            return (await client.head(url)).status_code
        except httpx.HTTPError as error:
            raise ConnectionError(error_text(error)) from error
