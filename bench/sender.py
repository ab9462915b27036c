"""Send webhooks as Mux does, in a separate process, and measure the response times.

Reads bodies from standard input, one a line; writes the response times as JSON, in seconds.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time


async def send(
    port: int, secret: str, bodies: list[bytes], at_once: int, per_second: float
) -> dict[str, object]:
    """Send all bodies on several connections, at a rate or else as fast as possible."""
    began = time.perf_counter() + 0.1
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    for number, body in enumerate(bodies):
        queue.put_nowait((began + number / per_second if per_second else 0.0, body))
    seconds: list[float] = []
    refused: list[int] = []

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not queue.empty():
            moment, body = queue.get_nowait()
            if (pause := moment - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            sent = max(moment, 0.0) or time.perf_counter()
            writer.write(_request(secret, body))
            status = await _status(reader)
            seconds.append(time.perf_counter() - sent)
            if status != 200:
                refused.append(status)
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return {"seconds": seconds, "refused": refused, "took": time.perf_counter() - start}


def _request(secret: str, body: bytes) -> bytes:
    stamp = str(int(time.time()))
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return (
        b"POST /webhooks/mux HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"mux-signature: t=%b,v1=%b\r\nContent-Length: %d\r\n\r\n%b"
        % (stamp.encode(), digest.encode(), len(body), body)
    )


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split()[1])


if __name__ == "__main__":
    _, port, secret, at_once, per_second = sys.argv
    lines = sys.stdin.buffer.read().splitlines()
    result = asyncio.run(send(int(port), secret, lines, int(at_once), float(per_second)))
    print(json.dumps(result))
