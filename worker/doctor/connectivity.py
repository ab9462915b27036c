"""Check the connection to a service: name, proxy, TLS and certificate."""

import asyncio
import socket
import ssl
from urllib.parse import urlsplit

from worker.doctor.checks import Check
from worker.errors import error_text
from worker.network import PORTS, proxy_for, send_through, tls_context

CONNECT_TIMEOUT_SECONDS = 10.0

PROXY_ERRORS = frozenset({407, 502, 503, 504})
"""Responses of the proxy itself: it requires a password, or cannot reach the host."""


async def check_network(service: str, setting: str, url: str) -> Check:
    """Resolve the name, connect, and complete the TLS handshake where the URL has https."""
    proxy = proxy_for(url)
    parts = urlsplit(url)
    name, where = f"{service} network", parts.hostname or ""
    if proxy is not None:
        through = urlsplit(proxy)
        where += f" through the proxy {through.hostname}:{through.port or PORTS[through.scheme]}"
        failed = await _proxy_failure(proxy, name, setting, url)
    else:
        port = parts.port or PORTS[parts.scheme]
        failed = await _direct_failure(name, setting, parts.hostname or "", port, parts.scheme)
        if parts.scheme == "http":
            where += f":{port}"
    if failed is not None:
        return failed
    if parts.scheme == "http":
        advice = "This is safe only on one machine. Use https elsewhere."
        return Check(name, "warning", f"{where} answers, without TLS", advice)
    return Check(name, "ok", f"{where} answers with a valid certificate")


async def _direct_failure(
    name: str, setting: str, host: str, port: int, scheme: str
) -> Check | None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            context = tls_context() if scheme == "https" else None
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.close()
    except (socket.gaierror, UnicodeError):  # UnicodeError: the text cannot be a host name
        return Check(name, "failed", f"{host} has no address", f"Check {setting}, and DNS.")
    except ssl.SSLError as error:
        advice = f"Check {setting}, and whether a proxy replaces the certificate."
        return Check(name, "failed", f"no TLS with {host}: {_tls_reason(error)}", advice)
    except (OSError, TimeoutError) as error:
        detail = f"{host}:{port} does not answer: {error_text(error)}"
        return Check(name, "failed", detail, f"Check {setting}, and the firewall.")
    return None


async def _proxy_failure(proxy: str, name: str, setting: str, url: str) -> Check | None:
    through, to = urlsplit(proxy), urlsplit(url)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            status = await send_through(proxy, url)
        reason = f"status {status}" if status in PROXY_ERRORS else ""
    except (ConnectionError, TimeoutError) as error:
        reason = error_text(error)
    if not reason:
        return None
    detail = f"{to.hostname} does not answer through the proxy {through.hostname}: {reason}"
    advice = f"Check {setting}, the proxy, and the variables HTTPS_PROXY and NO_PROXY."
    return Check(name, "failed", detail, advice)


def _tls_reason(error: ssl.SSLError) -> str:
    """Return the reason for a rejected certificate, or of another TLS error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.reason or error_text(error)
