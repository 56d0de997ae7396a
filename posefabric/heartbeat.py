"""Signs of life between the processes of a job: a rank that hangs or whose machine is gone ends the job in seconds.

Collectives wait patiently, since disks can be slow; but a process that is stopped does not beat. Every rank watches the
next one, over the store by which torchrun's processes meet.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import timedelta

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from posefabric.errors import CODES

BEAT_S, SILENCE_S = 2.0, 15.0
"""How often a rank gives a sign, and after how long without one it counts as lost."""

GONE = "gone"
"""What a rank says that has come to its end."""


class Heartbeat(threading.Thread):
    """Beats for a rank and listens to the next one; where that falls silent this process ends."""

    def __init__(self, store: Store, rank: int, size: int) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.store, self.rank, self.next = store, rank, (rank + 1) % size
        self._stopped = threading.Event()

    @staticmethod
    def of_torchrun() -> Heartbeat:
        """That of this process, over a connection of its own."""
        address, port, rank, size = (os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE"))
        store = TCPStore(address, int(port), is_master=False, timeout=timedelta(seconds=SILENCE_S))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return Heartbeat(PrefixStore(f"posefabric/{attempt}", store), int(rank), int(size))

    def run(self) -> None:
        count, heard, at = 0, b"", time.monotonic()
        while not self._stopped.wait(BEAT_S):
            count += 1
            try:
                self.store.set(str(self.rank), str(count))
                found = self.store.get(str(self.next)) if self.store.check([str(self.next)]) else b""
            except RuntimeError as error:
                self._end(f"the store of the job is gone ({error})")
            if found != heard:
                heard, at = found, time.monotonic()
            elif heard != GONE.encode() and time.monotonic() - at > SILENCE_S:
                self._end(f"rank {self.next} has given no sign of life for {SILENCE_S:.0f} s")

    def stop(self) -> None:
        """Say goodbye: this rank is silent from now on, and that is well."""
        self._stopped.set()
        self.join()
        try:
            self.store.set(str(self.rank), GONE)
        except RuntimeError:  # it ended before us, and with it whoever could have listened
            return

    def _end(self, found: str) -> None:
        """The main thread may be waiting for the lost rank for good, so no exception could end it."""
        code = CODES["rank-lost"]
        print(f"error: rank {self.rank}: {found}; to do: {code.cure} [rank-lost]", file=sys.stderr, flush=True)
        os._exit(code.exit_code)
