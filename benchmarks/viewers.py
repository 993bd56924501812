"""
What it costs a server that people look at its page: so many open streams, and a call every second.

    python -m benchmarks.viewers --viewers 200 --seconds 20
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import tempfile
import time
from pathlib import Path

from budgetguard.ledger import Entry, Store, new_id
from budgetguard.stores import open_store
from tests.support.hosting import Process
from tests.support.page_books import fill

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure it, without viewers and with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/books.db"
        store = open_store(url, namespace="shop")
        fill(store)
        for count in (0, 1, asked.viewers):
            with Process(url, "--open", "--project", "shop") as served:
                share, events = measured(served, store, count, asked.seconds)
                print(f"{count:>4} viewers: {share:6.2%} of a core, {events} events sent")
                served.stop()
        store.close()


def measured(served: Process, store: Store, count: int, seconds: float) -> tuple[float, int]:
    """The part of a core that the server takes, and how many events it sends."""
    looking, events = selectors.DefaultSelector(), 0
    for _ in range(count):
        made = socket.create_connection(("127.0.0.1", served.port))
        made.sendall(f"GET /ui/events?project=shop HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\n\r\n".encode())
        looking.register(made, selectors.EVENT_READ)
    time.sleep(3)  # until everybody has what there is
    for key, _ in looking.select(0):
        key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
    begin, used, due = time.monotonic(), cpu_s(served.pid), time.monotonic()
    while time.monotonic() - begin < seconds:
        if time.monotonic() >= due:
            due += 1
            tags = {"user": "ann"}
            store.load(entries=[Entry(new_id(), 1_000_000, (), store.now_ms(), tags, "openai", "gpt-4o")])
        if not count:
            time.sleep(0.1)
        for key, _ in looking.select(0.1):
            events += key.fileobj.recv(1 << 20).count(b"data: ")  # type: ignore[union-attr]
    share = (cpu_s(served.pid) - used) / (time.monotonic() - begin)
    for key in list(looking.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    looking.close()
    return share, events


def cpu_s(pid: int) -> float:
    """The processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
