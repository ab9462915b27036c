"""A forward proxy, as in a company's network, through which alone the services are reached."""

import asyncio
import base64
import ssl
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

USER, PASSWORD, QUOTED = "worker", "p@ss/word", "p%40ss%2Fword"


class ForwardProxy:
    """Serve CONNECT, with TLS on behalf of the services, and requests in absolute form.

    `ports` maps each host to its local port. Requests without the right credentials get 407.
    """

    def __init__(self, ports: Mapping[str, int], directory: Path) -> None:
        self._ports = ports
        self._certificate = directory / "certificate.pem"
        _write_certificate(self._certificate, list(ports))
        self._behind_tls: dict[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started: Future[int] = Future()
        self.requests: set[tuple[str, str]] = set()
        """Method and host of every request that had the right credentials."""

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables of a program behind the proxy."""
        address = f"http://{USER}:{QUOTED}@127.0.0.1:{self._started.result()}"
        return {
            "HTTP_PROXY": address,
            "https_proxy": address,
            "SSL_CERT_FILE": str(self._certificate),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(60)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(60)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._certificate)
        servers = []
        for host, port in self._ports.items():
            front = await asyncio.start_server(_Tunnel(port), "127.0.0.1", 0, ssl=context)
            servers.append(front)
            self._behind_tls[host] = front.sockets[0].getsockname()[1]
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self._started.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        for listener in (*servers, server):
            listener.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(maxsplit=2)
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if f"proxy-authorization: basic {expected}".lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        url = urlsplit(target if method != "CONNECT" else f"//{target}")
        host = url.hostname or ""
        self.requests.add((method, host))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _Tunnel(self._behind_tls[host])(reader, writer)
            return
        path = target.removeprefix(f"{url.scheme}://{url.netloc}") or "/"
        lines = [f"{method} {path} HTTP/1.1", "Connection: close"]
        lines += [line for line in head.split("\r\n")[1:] if "connection:" not in line.lower()]
        await _Tunnel(self._ports[host], "\r\n".join(lines).encode())(reader, writer)


class _Tunnel:
    """Copy the bytes between a connection and a local port, in both directions."""

    def __init__(self, port: int, first_bytes: bytes = b"") -> None:
        self._port = port
        self._first_bytes = first_bytes

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        server_writer.write(self._first_bytes)
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, ssl.SSLError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _write_certificate(file: Path, hosts: list[str]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "behind the proxy")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + signed.public_bytes(pem))
