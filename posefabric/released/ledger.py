"""What becomes of every tensor of a file: used, dead for a reason, or missing; and what is wrong, all at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from posefabric.architecture import Architecture
from posefabric.errors import UserError
from posefabric.released.backbones import is_unread
from posefabric.released.names import Naming

COUNTER = "a counter of thop"
STEM = "the stem of a part, which reads features instead"
SECOND_INPUT = "the second input node of a cell, never fed"
UNREAD = "read by nothing: a lateral, transition or cell that leads nowhere"
LAST = "the end of the backbone, after its last map that is read"

BATCHES = "num_batches_tracked"
"""Counts batches of a training that had a momentum; no net of ours reads it."""


@dataclass(frozen=True)
class Ledger:
    """`used`: their name -> our names; `dead`: their name -> why; `missing`: our names for what the file may lack."""

    used: Mapping[str, tuple[str, ...]]
    dead: Mapping[str, str]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def figures(self) -> dict[str, object]:
        """Counts, and every name."""
        counts = {"used": len(self.used), "dead": len(self.dead), "missing": len(self.missing)}
        names = {key: list(value) for key, value in self.used.items()}
        tensors = {"used": names, "dead": dict(self.dead), "missing": list(self.missing)}
        return {**counts, "notes": list(self.notes), "tensors": tensors}

    def lines(self) -> list[str]:
        """The same for people: how many of each kind, and one by name."""
        reasons = Counter(self.dead.values())
        firsts = {reason: name for name, reason in reversed(list(self.dead.items()))}
        return [
            f"used: {len(self.used)} tensors of the file",
            *(f"dead: {count}, {reason} ({firsts[reason]})" for reason, count in reasons.items()),
            f"missing: {len(self.missing)}" + (f", none of them needed ({self.missing[0]})" if self.missing else ""),
            *self.notes,
        ]


@dataclass
class Problems:
    """What keeps a file from being a net, by kind; `check` tells all of it in one error."""

    of: str
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str) -> None:
        self.found.setdefault(kind, []).append(what)

    def check(self) -> None:
        """Raise `UserError("bad-weights")` if there are any."""
        if not self.found:
            return
        kinds = "".join(f"\n  {kind} ({len(whats)}): {', '.join(whats)}" for kind, whats in self.found.items())
        todo = "Give the recipe that the checkpoint belongs to (posefabric recipes), or fetch the file again."
        raise UserError(
            "bad-weights", f"the checkpoint is not {self.of}:{kinds}\n", "all tensors of it, and no others", todo
        )


def reason_unused(name: str, whole: Architecture, naming: Naming, modules: Mapping[str, str]) -> str | None:
    """Why a tensor of the file is dead; none for one that has no place in such a net."""
    if is_counter(name):
        return COUNTER
    if any(name.startswith(f"{theirs}.stem.") for theirs in naming.parts.values()):
        return STEM
    if _of_second_input(name, whole, naming, modules):
        return SECOND_INPUT
    if is_unread(whole.backbone.name, name):
        return LAST
    return UNREAD if module_of(name, modules) else None


def _of_second_input(name: str, whole: Architecture, naming: Naming, modules: Mapping[str, str]) -> bool:
    """Of an edge after those that a cell has: with two input nodes every hidden node has one edge more."""
    found = re.match(r"(\w+)\.(cell_\d+_\d+)\.cell_arch\.(\d+)\.", name)
    if not found or f"{found[1]}.{found[2]}.channel_keep" not in modules:
        return False
    ours = {theirs: fabric for fabric, theirs in naming.fabrics(whole).items()}[found[1]]
    space, _ = whole.fabrics()[ours]
    return 0 <= int(found[3]) - len(space.edges) < space.num_nodes


def is_counter(name: str) -> bool:
    return name.rpartition(".")[2] in ("total_ops", "total_params")


def module_of(name: str, modules: Container[str]) -> str:
    """The longest name of a module that a tensor's begins with; empty where there is none."""
    module = name
    while module and module not in modules:
        module = module.rpartition(".")[0]
    return module
