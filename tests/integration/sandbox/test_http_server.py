"""The HTTP server of the simulated Mux, the gateway and the sample app."""

import asyncio
import socket
import threading
import time

import httpx
import pytest
from aiohttp import web

from sandbox.http_server import Server


async def _hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


def _app() -> web.Application:
    app = web.Application()
    app.router.add_get("/", _hello)
    return app


def test_a_started_server_answers_and_a_stopped_one_refuses() -> None:
    """Connections are accepted from the return of start until stop."""
    server = Server(_app)
    server.start()
    try:
        assert httpx.get(server.url).text == "hello"
    finally:
        server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


def test_its_port_is_none_that_the_system_gives_to_others() -> None:
    """While a server is stopped, another would answer in its place."""
    server = Server(_app)
    with server:
        assert server.port < 32_000
        assert httpx.get(server.url).text == "hello"


def test_starting_and_stopping_twice_changes_nothing() -> None:
    """Start and stop may be repeated; a restart answers at the same url."""
    server = Server(_app)
    server.start()
    url = server.url
    server.start()
    assert (server.running, server.url) == (True, url)
    server.stop()
    server.stop()
    assert server.running is False
    with server:
        assert httpx.get(url).text == "hello"


def test_two_servers_take_two_ports() -> None:
    """With port 0 each server gets a different port."""
    with Server(_app) as first, Server(_app) as second:
        assert first.port != second.port
        assert httpx.get(first.url).text == httpx.get(second.url).text == "hello"


def test_there_is_no_url_before_the_first_start() -> None:
    """Reading the URL before the first start raises an error."""
    with pytest.raises(RuntimeError, match="before its first start"):
        assert Server(_app).url


def test_start_raises_when_the_port_is_in_use() -> None:
    """An exception in the server's thread is raised by start, and the thread ends."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(_app, port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            server.start()
    server.stop()
    assert server.running is False


def test_start_raises_what_the_factory_raised() -> None:
    """The factory's own exception comes out of start."""

    def broken() -> web.Application:
        raise LookupError("no app today")

    with pytest.raises(LookupError, match="no app today"):
        Server(broken).start()


def test_stopping_cuts_a_hanging_request_off() -> None:
    """A request without an answer ends with its connection soon after stop, not at its timeout."""
    arrived = threading.Event()

    async def hang(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        return web.Response()

    def app() -> web.Application:
        hanging = web.Application()
        hanging.router.add_get("/", hang)
        return hanging

    failures: list[type[BaseException]] = []

    def ask(url: str) -> None:
        try:
            httpx.get(url, timeout=60)
        except httpx.TransportError as error:
            failures.append(type(error))

    server = Server(app)
    server.start()
    asking = threading.Thread(target=ask, args=(server.url,))
    asking.start()
    assert arrived.wait(60)
    began = time.monotonic()
    server.stop()
    asking.join(60)
    assert time.monotonic() - began < 45
    assert failures == [httpx.RemoteProtocolError]


async def test_a_server_runs_beside_the_callers_own_loop() -> None:
    """Code in an event loop can start, use and stop the server."""
    with Server(_app) as server:
        async with httpx.AsyncClient() as client:
            answer = await client.get(server.url)
    assert answer.text == "hello"
