"""Files that a disk or a network spoils: single bits that flip."""

from __future__ import annotations

import random
from pathlib import Path


def flip_a_bit(file: Path, chance: random.Random) -> None:
    """Turn one bit of a file over."""
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)
