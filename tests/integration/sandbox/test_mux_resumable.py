"""The upload URLs of the simulated Mux take a file in pieces, as Google Cloud Storage does."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from sandbox.fault_injection import Fault
from sandbox.mux.clock import ManualClock
from sandbox.mux.resumable import UNIT_BYTES
from sandbox.mux.server import MuxSimulator
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import Timeline, Upload

FILE = bytes(range(256)) * 8192 + b"the end"
"""Eight units, and a little more."""

SIZE = len(FILE)
SENT_BY_CLIENT = Timeline(file_after_seconds=None)
FROM_BROWSER = {"Origin": "https://app.example"}


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
def mux(clock: ManualClock) -> Iterator[MuxSimulator]:
    """Return a running Mux whose clock stands still."""
    with MuxSimulator(MuxState(clock)) as simulator:
        yield simulator


@pytest.fixture
def upload(mux: MuxSimulator) -> Upload:
    """Return an upload that waits for its file."""
    return mux.state.upload(mux.state.create_upload(SENT_BY_CLIENT))


class Sender:
    """A client that sends pieces of the file to the upload's URL."""

    def __init__(self, mux: MuxSimulator, upload: Upload) -> None:
        self.url = f"{mux.url}/direct-uploads/{upload.url_token}"

    def put(self, content: bytes = b"", **headers: str) -> httpx.Response:
        """Send a request; `content_range` becomes the header `Content-Range`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.put(self.url, content=content, headers=named, timeout=60)

    def piece(self, start: int, end: int, total: int | str = SIZE) -> tuple[int, str | None]:
        """Send the bytes from `start` to before `end`; return status and `Range`."""
        header = f"bytes {start}-{end - 1}/{total}"
        return range_of(self.put(FILE[start:end], content_range=header))

    def ask(self, total: int | str = SIZE) -> tuple[int, str | None]:
        """Ask how much is stored; return status and `Range`."""
        return range_of(self.put(content_range=f"bytes */{total}"))


@pytest.fixture
def sender(mux: MuxSimulator, upload: Upload) -> Sender:
    """Return a client of the upload's URL."""
    return Sender(mux, upload)


def range_of(answer: httpx.Response) -> tuple[int, str | None]:
    """Return the status and the header `Range`."""
    return answer.status_code, answer.headers.get("range")


def stored(units: int) -> tuple[int, str]:
    """Return the response of a session that has this many units."""
    return 308, f"bytes=0-{units * UNIT_BYTES - 1}"


def assert_arrived(mux: MuxSimulator, upload: Upload) -> None:
    """Assert that the file arrived byte for byte, and became one asset."""
    assert upload.file is not None
    assert (upload.file.size, upload.file.sha256) == (SIZE, sha256(FILE).hexdigest())
    assert upload.status(mux.state.clock.now()) == "asset_created"
    assert [asset.id for asset in mux.state.all_assets()] == [upload.asset_id]


def test_a_file_arrives_in_pieces(mux: MuxSimulator, upload: Upload, sender: Sender) -> None:
    """Every piece but the last is answered with 308 and how much is stored; the last with 200."""
    assert sender.piece(0, UNIT_BYTES) == stored(1)
    assert sender.piece(UNIT_BYTES, 3 * UNIT_BYTES, "*") == stored(3)
    assert upload.status(mux.state.clock.now()) == "waiting"
    assert sender.piece(3 * UNIT_BYTES, SIZE) == (200, None)
    assert_arrived(mux, upload)


def test_it_says_how_far_it_got(mux: MuxSimulator, upload: Upload, sender: Sender) -> None:
    """`bytes */n` is answered without `Range` while nothing is stored, and with 200 at the end."""
    assert sender.ask() == (308, None)
    sender.piece(0, 2 * UNIT_BYTES)
    assert (sender.ask(), sender.ask("*")) == (stored(2), stored(2))
    sender.piece(2 * UNIT_BYTES, SIZE)
    assert (sender.ask(), sender.ask("*")) == ((200, None), (200, None))
    assert_arrived(mux, upload)


def test_only_whole_units_are_kept(mux: MuxSimulator, upload: Upload, sender: Sender) -> None:
    """Of a piece that ends within a unit the rest is lost, unless it is the end of the file."""
    assert sender.piece(0, UNIT_BYTES + 1000) == stored(1)
    assert sender.piece(UNIT_BYTES, UNIT_BYTES + 1000) == stored(1)
    assert sender.piece(UNIT_BYTES, SIZE) == (200, None)
    assert_arrived(mux, upload)


def test_a_piece_sent_again_is_stored_once(
    mux: MuxSimulator, upload: Upload, sender: Sender
) -> None:
    """What is stored already is ignored, also where a piece overlaps what is new."""
    sender.piece(0, 2 * UNIT_BYTES)
    assert sender.piece(0, UNIT_BYTES) == stored(2)
    assert sender.piece(UNIT_BYTES, 3 * UNIT_BYTES) == stored(3)
    assert sender.piece(2 * UNIT_BYTES, SIZE) == (200, None)
    assert sender.piece(2 * UNIT_BYTES, SIZE) == (200, None)  # as if its response was lost
    assert_arrived(mux, upload)


def test_a_piece_out_of_order_is_refused(sender: Sender, upload: Upload) -> None:
    """A piece that would leave a gap is refused with both numbers, and stores nothing."""
    sender.piece(0, UNIT_BYTES)
    late = sender.put(FILE[:70], content_range=f"bytes {3 * UNIT_BYTES}-786501/{SIZE}")
    assert late.status_code == 503
    assert late.text == "the piece begins at byte 786432, but 262144 bytes are stored"
    assert sender.ask() == stored(1)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("bytes=0-3/4", b"abcd"),
        ("bytes 0-3", b"abcd"),
        ("0-3/4", b"abcd"),
        ("bytes 0-4/4", b"abcde"),
        ("bytes 3-0/4", b""),
        ("bytes 0-2/4", b"abcd"),
        ("bytes */4", b"abcd"),
        ("bytes 0-³/4", b"abcd"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(
    sender: Sender, upload: Upload, header: str, body: bytes
) -> None:
    """400, and nothing is stored."""
    answer = httpx.put(sender.url, content=body, headers={b"Content-Range": header.encode()})
    assert answer.status_code == 400
    assert sender.ask() == (308, None)


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "piece"])
def test_a_cut_connection_is_resumed(
    mux: MuxSimulator, upload: Upload, sender: Sender, whole: bool
) -> None:
    """What came before the cut stays, and the rest is sent from where the answer says."""
    mux.faults.add(Fault("cut", after_bytes=4 * UNIT_BYTES), method="PUT", times=1)
    headers = {} if whole else {"content_range": f"bytes 0-{SIZE - 1}/{SIZE}"}
    with pytest.raises(httpx.TransportError):
        sender.put(slowly(FILE), content_length=str(SIZE), **headers)
    status, kept = sender.ask()
    assert status == 308
    start = 0 if kept is None else int(kept.removeprefix("bytes=0-")) + 1
    assert start % UNIT_BYTES == 0
    assert UNIT_BYTES <= start < SIZE
    assert sender.piece(start, SIZE) == (200, None)
    assert_arrived(mux, upload)


def slowly(content: bytes) -> Any:
    """Yield the content in parts that fit a socket's buffer."""
    for start in range(0, len(content), 2**16):
        yield content[start : start + 2**16]


def test_an_upload_that_ended_takes_no_piece(
    mux: MuxSimulator, upload: Upload, sender: Sender, clock: ManualClock
) -> None:
    """An upload that timed out or was cancelled refuses pieces and questions."""
    sender.piece(0, UNIT_BYTES)
    cancelled = mux.state.upload(mux.state.create_upload(SENT_BY_CLIENT))
    mux.state.cancel_upload(cancelled.id)
    assert Sender(mux, cancelled).piece(0, UNIT_BYTES) == (403, None)
    clock.advance(upload.timeout)
    assert sender.piece(UNIT_BYTES, SIZE) == (403, None)
    assert sender.ask() == (403, None)
    assert mux.state.all_assets() == []


def test_a_browser_may_read_how_much_is_stored(mux: MuxSimulator, upload: Upload) -> None:
    """`Range` is among the headers that the response exposes to the page."""
    sender = Sender(mux, upload)
    answer = sender.put(FILE[:UNIT_BYTES], content_range=f"bytes 0-262143/{SIZE}", **FROM_BROWSER)
    assert range_of(answer) == stored(1)
    assert "Range" in answer.headers["access-control-expose-headers"].split(",")
