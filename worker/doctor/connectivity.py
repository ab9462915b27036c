"""Judge the road to a service: name, connection, proxy and certificate."""

import asyncio
import socket
import ssl
from urllib.parse import urlsplit

from worker.doctor.checks import Check
from worker.network import PORTS, proxy_for, send_through, tls_context

CONNECT_WITHIN_SECONDS = 10.0

NOT_THROUGH = frozenset({407, 502, 503, 504})
"""What a proxy answers for itself: it wants a password, or does not reach the host."""


async def check_road(service: str, setting: str, url: str) -> Check:
    """Resolve the name, connect, and shake hands by TLS where the address asks for it."""
    proxy = proxy_for(url)
    parts = urlsplit(url)
    name, where = f"road to {service}", parts.hostname or ""
    if proxy is not None:
        through = urlsplit(proxy)
        where += f" through the proxy {through.hostname}:{through.port or PORTS[through.scheme]}"
        failed = await _failed_through(proxy, name, setting, url)
    else:
        port = parts.port or PORTS[parts.scheme]
        failed = await _failed_directly(name, setting, parts.hostname or "", port, parts.scheme)
        if parts.scheme == "http":
            where += f":{port}"
    if failed is not None:
        return failed
    if parts.scheme == "http":
        advice = "Fine on one machine; anywhere else use https."
        return Check(name, "warning", f"{where} answers, without TLS", advice)
    return Check(name, "ok", f"{where} answers, its certificate is good")


async def _failed_directly(
    name: str, setting: str, host: str, port: int, scheme: str
) -> Check | None:
    try:
        async with asyncio.timeout(CONNECT_WITHIN_SECONDS):
            context = tls_context() if scheme == "https" else None
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.close()
    except (socket.gaierror, UnicodeError):  # the latter for what cannot be a name at all
        return Check(name, "failed", f"{host} has no address", f"Check {setting}, and DNS.")
    except ssl.SSLError as error:
        advice = f"Check {setting}, and whether something between changes the certificate."
        return Check(name, "failed", f"no TLS with {host}: {_why(error)}", advice)
    except (OSError, TimeoutError) as error:
        seen = f"{host}:{port} does not answer: {type(error).__name__}"
        return Check(name, "failed", seen, f"Check {setting}, and the firewall.")
    return None


async def _failed_through(proxy: str, name: str, setting: str, url: str) -> Check | None:
    through, to = urlsplit(proxy), urlsplit(url)
    try:
        async with asyncio.timeout(CONNECT_WITHIN_SECONDS):
            status = await send_through(proxy, url)
        reason = f"status {status}" if status in NOT_THROUGH else ""
    except (ConnectionError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
    if not reason:
        return None
    seen = f"{to.hostname} does not answer through the proxy {through.hostname}: {reason}"
    advice = f"Check {setting}, the proxy, and the variables HTTPS_PROXY and NO_PROXY."
    return Check(name, "failed", seen, advice)


def _why(error: ssl.SSLError) -> str:
    """Return what is wrong with a certificate in words, and other faults of TLS by their name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.reason or type(error).__name__
