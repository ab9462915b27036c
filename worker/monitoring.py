"""Let others see how the running worker is: signs of life, and over HTTP where PORT is set."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from worker.settings import Settings
from worker.telemetry.hooks import Watch
from worker.telemetry.liveness import Pulse, file_of, longest_pass_seconds, remove
from worker.telemetry.scan_history import Passes

if TYPE_CHECKING:
    from worker.web.app import MuxClient, WebStore


class EndsPasses(Protocol):
    """What is asked of the daemon."""

    on_pass_ended: Callable[[float], None]
    passes: Passes


class MakesProgress(Protocol):
    """What is asked of the reconciler."""

    on_progress: Callable[[], None]


def watch_for(settings: Settings) -> Watch:
    """Give who is told what happens: the numbers, where PORT is set to ask for them."""
    if settings.port is None:
        return Watch()
    from worker.telemetry.metrics import Metrics

    return Metrics()


@asynccontextmanager
async def watched(
    settings: Settings,
    watch: Watch,
    daemon: EndsPasses,
    reconciler: MakesProgress,
    services: "tuple[MuxClient, WebStore]",
) -> AsyncIterator[None]:
    """Keep signs of life, and the HTTP server open, for as long as the block lasts.

    `services` are Mux and the database. Without PORT not even the server's modules are imported.
    """
    file = file_of(settings)
    pulse = Pulse(settings.scan_interval_seconds, longest_pass_seconds(settings), file)
    daemon.on_pass_ended = pulse.ended
    reconciler.on_progress = pulse.progressed
    if settings.port is None:
        yield
    else:
        from worker.web.app import http_server

        async with http_server(settings, pulse, watch, *services, daemon.passes):
            yield
    remove(file)
