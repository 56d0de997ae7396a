"""The loops: `loop` (steps, validation, checkpoints), `search` and `train` on it, `evaluate` (people to figures)."""
