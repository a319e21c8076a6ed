"""How a trial at work shows that it is alive."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

from mcsr_bench.results.bundle import Bundle
from mcsr_bench.system import files
from mcsr_bench.system.owners import now

SECONDS = 30.0
"""Between two signs of life."""


class Heartbeat:
    """While it is open, a bundle's record is written every half minute with the time; it begins as this process's, and running.

    The record belongs to the thread that opened it: `beat` takes over what has changed in it.
    """

    def __init__(self, bundle: Bundle, seconds: float = SECONDS) -> None:
        self._bundle = bundle
        self._seconds = seconds
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Heartbeat:
        record = self._bundle.record
        record.status, record.reason = "running", ""
        record.host, record.pid, record.started = socket.gethostname(), os.getpid(), now()
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def beat(self) -> None:
        """Write the record as it is now. To be called by the thread that changes it."""
        with self._lock:
            self._bundle.record.heartbeat = now()
            self._values = self._bundle.record.model_dump(mode="json")
            files.write_json(self._bundle.trial, self._values)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            with self._lock, suppress(OSError):  # the trial's own writing raises for a full disk
                files.write_json(self._bundle.trial, self._values | {"heartbeat": now()})
