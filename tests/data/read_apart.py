"""Run as a program: read image files one by one, and say on stdout what became of each, and at what cost.

    python read_apart.py WARM_UP_FILE FILE...

A process of its own can hang, crash or swell without harm; the test that started it sees which file did it.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from posefabric.data.images import read_header, read_image
from posefabric.errors import UserError

NOBODY = 65534
CLEAR = Path("/proc/self/clear_refs")


def main() -> None:
    read_image(sys.argv[1])  # the decoders are loaded before anything is measured
    for name in sys.argv[2:]:
        print(json.dumps({"reads": name}), flush=True)
        print(json.dumps(outcome(Path(name))), flush=True)


def outcome(path: Path) -> dict[str, object]:
    before = digest(path)
    forget_peak()
    base, began = peak_bytes(), time.monotonic()
    found = result(path)
    found |= {"seconds": time.monotonic() - began, "growth": peak_bytes() - base}
    return found | {"unchanged": digest(path) == before}


def result(path: Path) -> dict[str, object]:
    as_root = os.geteuid() == 0 and path.name.startswith("unreadable")  # nothing is unreadable to root
    if as_root:
        os.seteuid(NOBODY)
    try:
        image, header = read_image(path), read_header(path)
    except UserError as error:
        return {"code": error.code, "message": str(error)}
    finally:
        if as_root:
            os.seteuid(0)
    np.save(path.with_name(f"{path.name}.npy"), image)
    return {"code": "ok", "message": "", "header_hw": header.hw, "notes": header.notes}


def forget_peak() -> None:
    if CLEAR.exists():
        CLEAR.write_text("5")


def peak_bytes() -> int:
    """The most memory this process held since `forget_peak`, or ever where the system cannot forget."""
    if not CLEAR.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) * 1024


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


if __name__ == "__main__":
    main()
