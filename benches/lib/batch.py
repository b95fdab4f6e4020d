"""Sends a batch and reads its answers at the same time: batch.py URL FILE TAG COUNT

The bodies of FILE, again and again up to COUNT lines, go to POST /v1/decisions:batch of the server at URL. Prints how
many were decided a second, from the first byte sent to the last byte read. Any line that was not decided ends it with
an error.
"""

import http.client
import sys
import threading
import time
import urllib.parse


def main(url, file, tag, count):
    with open(file, encoding="utf-8") as lines:
        bodies = [line.split("@ID@") for line in lines]

    def pieces():
        for first in range(0, count, 1000):
            numbers = range(first, min(first + 1000, count))
            yield "".join(f"{tag}-{number}".join(bodies[number % len(bodies)]) for number in numbers).encode()

    def send():
        for piece in pieces():
            connection.sock.sendall(piece)

    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=300)
    connection.connect()
    connection.putrequest("POST", "/v1/decisions:batch")
    connection.putheader("content-type", "application/x-ndjson")
    connection.putheader("content-length", str(sum(map(len, pieces()))))
    begun = time.monotonic()
    connection.endheaders()
    sender = threading.Thread(target=send)
    sender.start()
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"status {answer.status}: {answer.read(2000)}")
    decided, rest = 0, b""
    while part := answer.read1(1 << 20):
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            if b'"execution_state"' not in line:
                sys.exit(f"not decided: {line[:500]}")
            decided += 1
    sender.join()
    lasted = time.monotonic() - begun
    if decided != count or rest:
        sys.exit(f"{decided} answers to {count} lines")
    print(f"{count / lasted:.1f}")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:4], int(sys.argv[4]))
