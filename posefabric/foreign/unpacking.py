"""The process that opens a file of PyTorch: `python -m posefabric.foreign.unpacking FILE TARGET`.

It has more memory than a file of that size can need, and no more; it ends with 0 and the tensors as safetensors in
TARGET, or with 65 and what is wrong as JSON on stdout.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from posefabric.checkpoints import save_tensors
from posefabric.errors import BAD_DATA, UserError
from posefabric.foreign.archives import check_archive
from posefabric.foreign.kinds import ARCHIVE, SAVE_AGAIN, STATE_DICT, kind_of

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
DTYPES = FLOATS | {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}

ROOM_FACTOR, ROOM = 8, 256 * 2**20
"""Memory that may be taken: so many times the file, and so many bytes."""

CPU_S, CPU_BYTES_PER_S = 20, 2**24
"""Time of the processor that may be taken: so many seconds, and one more for so many bytes."""

LONGEST_NAME = 300


def unpack(file: Path) -> dict[str, Tensor]:
    """The state dict in a file of PyTorch. Raises `UserError("bad-weights")`, whose text begins with a verb."""
    if kind_of(file) == ARCHIVE:
        check_archive(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise _bad("asks for more memory than a file of its size needs", todo="Fetch it again.") from None
    except Exception as error:  # noqa: BLE001  whatever torch says of a file that somebody made
        _refuse(str(error))
    tensors = _plain(_state_dict(content))
    total, most = sum(t.numel() * t.element_size() for t in tensors.values()), 2 * file.stat().st_size
    if total > most:
        raise _bad(f"describes {total / 1e6:.1f} MB of tensors, more than twice what it has")
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _refuse(said: str) -> NoReturn:
    """What torch says, for people."""
    if found := re.search(r"GLOBAL ([\w.]+)", said):
        raise _bad(f"holds more than tensors: {found[1]}, which is code and is not run here")
    if "allocate memory" in said:
        raise _bad("asks for more memory than a file of its size needs", todo="Fetch it again.")
    reason = re.search(r"WeightsUnpickler error: (.+)", said) or re.match(r"(.+)", said)
    told = _shown(reason[1], 200) if reason else "its end is missing"
    raise _bad(f"is cut short, damaged or no file of tensors ({told})", todo="Fetch it again.")


def _state_dict(content: Any) -> Mapping[Any, Any]:
    """The one mapping of tensors that a checkpoint is or holds."""
    if not isinstance(content, Mapping):
        raise _bad(f"holds a {type(content).__name__}", todo=SAVE_AGAIN)
    if _holds_tensors(content):
        return content
    within = {str(key): value for key, value in content.items() if isinstance(value, Mapping) and _holds_tensors(value)}
    if len(within) == 1:
        return next(iter(within.values()))
    keys = ", ".join(_shown(str(key)) for key in list(within or content)[:20])
    if within:
        raise _bad(f"holds several state dicts: {keys}", "one", "Keep one of them: torch.save(checkpoint[KEY], FILE).")
    raise _bad(f"holds no state dict, but {keys or 'nothing'}")


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return len(content) > 0 and all(isinstance(value, Tensor) for value in content.values())


def _plain(found: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Named as modules name them, and dense numbers; complex, quantized and sparse tensors are none."""
    for name, tensor in found.items():
        if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= LONGEST_NAME):
            raise _bad(f"names a tensor {_shown(str(name))!r}", "names of modules")
        if tensor.layout != torch.strided or tensor.dtype not in DTYPES or tensor.device.type != "cpu":
            kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device.type}"
            raise _bad(f"holds {name} as {kind}", "dense tensors of real numbers")
    return dict(found)


def _shown(text: str, longest: int = 60) -> str:
    """The beginning of a text from the file, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:longest])


def _bad(given: str, allowed: str = STATE_DICT, todo: str = SAVE_AGAIN) -> UserError:
    return UserError("bad-weights", given, allowed, todo)


def _bound(size: int) -> None:
    """Take no more memory and time than reading a file of that size can need; Linux alone says what is taken now."""
    if sys.platform != "linux":
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + ROOM_FACTOR * size + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    seconds = CPU_S + size // CPU_BYTES_PER_S
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def main(file: Path, target: Path) -> int:
    _bound(file.stat().st_size)
    try:
        save_tensors(target, unpack(file))
    except UserError as error:
        print(json.dumps({"given": error.given, "allowed": error.allowed, "todo": error.todo}))
        return BAD_DATA
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
