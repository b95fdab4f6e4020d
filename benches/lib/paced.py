"""A client with a fixed rate: paced.py URL FILE TAG RATE SECONDS CONNECTIONS

Requests are due at even intervals, whatever the server does. How long one took is counted from when it was due, so
that a server that stalls is charged for every request that had to wait for it (no coordinated omission). Bodies as in
load.lua. Prints one line of JSON: how many, the rate that was reached, p50, p99 and the longest, in ms.
"""

import collections
import gc
import json
import select
import socket
import sys
import time
import urllib.parse


class Connection:
    """One connection, with at most one request under way."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.due = 0.0

    def fileno(self):
        return self.socket.fileno()

    def send(self, message, due):
        self.due, self.answer = due, b""
        self.socket.sendall(message)

    def receive(self):
        """The status once the answer is whole, else None."""
        part = self.socket.recv(1 << 18)
        if not part:
            sys.exit("the server closed a connection")
        self.answer += part
        end = self.answer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self.answer[:end].lower()
        at = head.find(b"content-length:")
        if at < 0:
            sys.exit("an answer without its length")
        length = int(head[at + 15:].split(b"\r\n", 1)[0])
        return int(head[9:12]) if len(self.answer) >= end + 4 + length else None


def quantile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def main(url, file, tag, rate, seconds, connections):
    parts = urllib.parse.urlsplit(url)
    with open(file, encoding="utf-8") as lines:
        bodies = [line.rstrip("\n").split("@ID@") for line in lines]
    head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\ncontent-length: "

    def message(number):
        before, after = bodies[number % len(bodies)]
        body = f"{before}{tag}-{number}{after}".encode()
        return f"{head}{len(body)}\r\n\r\n".encode() + body

    idle = [Connection((parts.hostname, parts.port)) for _ in range(connections)]
    busy, waiting = set(), collections.deque()
    total, sent, waits, bad = int(rate * seconds), 0, [], 0
    gc.disable()
    begun = time.monotonic() + 0.05
    while len(waits) < total:
        now = time.monotonic()
        while sent + len(waiting) < total and begun + (sent + len(waiting)) / rate <= now:
            waiting.append(begun + (sent + len(waiting)) / rate)
        while waiting and idle:
            connection = idle.pop()
            connection.send(message(sent), waiting.popleft())
            busy.add(connection)
            sent += 1
        due = begun + (sent + len(waiting)) / rate
        pause = max(0.0, due - time.monotonic()) if sent + len(waiting) < total else 5.0
        if not busy:
            time.sleep(pause)
            continue
        ready, _, _ = select.select(busy, (), (), pause)
        for connection in ready:
            status = connection.receive()
            if status is not None:
                waits.append(time.monotonic() - connection.due)
                bad += status not in (200, 201)
                busy.remove(connection)
                idle.append(connection)
    lasted = time.monotonic() - begun
    waits.sort()
    print(json.dumps({"requests": total, "bad": bad, "per_second": round(total / lasted, 1),
                      "p50_ms": round(quantile(waits, 0.5) * 1e3, 3), "p99_ms": round(quantile(waits, 0.99) * 1e3, 3),
                      "max_ms": round(waits[-1] * 1e3, 3)}, separators=(",", ":")))


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(*sys.argv[1:4], *map(float, sys.argv[4:6]), int(sys.argv[6]))
