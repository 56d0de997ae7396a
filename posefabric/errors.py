"""Errors for people: what was given, what is allowed, what to do next.

Every error a user can cause is a `UserError` with one of the codes of `CODES`; `posefabric explain CODE` prints its
entry. Broken invariants of our own are plain assertions.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

USAGE, BAD_DATA, BUG, INPUT_OUTPUT = 2, 65, 70, 74
INTERRUPTED, TERMINATED = 130, 143
"""Exit codes: errors of four kinds; Ctrl-C, and a signal by which a system ends a process."""


@dataclass(frozen=True)
class Code:
    """What a code means and how the command line exits on it."""

    exit_code: int
    meaning: str
    cure: str


CODES: dict[str, Code] = {
    "unknown-name": Code(USAGE, "A name is not in the table it was looked up in.", "Use one of the listed names."),
    "bad-value": Code(
        USAGE, "An option or argument has a value outside its range.", "Give a value in the stated range."
    ),
    "bad-config": Code(
        USAGE,
        "A configuration has unknown keys or values of the wrong type.",
        "Correct every line the message lists; it lists all of them at once.",
    ),
    "run-differs": Code(
        USAGE,
        "The output folder holds a run with another configuration.",
        "Give another --output, or repeat the original command to resume.",
    ),
    "bad-skeleton": Code(
        BAD_DATA,
        "A skeleton description contradicts itself.",
        "Correct the field named in the message: keypoints, mirror_pairs, limbs, sigmas or partitions.",
    ),
    "bad-space": Code(
        USAGE, "A search space cannot be built.", "Correct the field named in the message (search space)."
    ),
    "bad-architecture": Code(
        BAD_DATA,
        "An architecture file is malformed or names cells, inputs or operations its space does not have.",
        "Correct the field the message points at, or derive the architecture again.",
    ),
    "empty-architecture": Code(
        BAD_DATA,
        "Nothing connects the features to the output after pruning.",
        "Keep at least one input per cell on a path from a feature to the output.",
    ),
    "bad-latency": Code(
        BAD_DATA,
        "A latency table is malformed or does not hold what a search space may keep.",
        "Measure it for this supernet: posefabric profile RUN|ARCHITECTURE|RECIPE --calibrate --output FILE.",
    ),
    "bad-annotation": Code(
        BAD_DATA,
        "An annotation file is not COCO keypoint JSON or contradicts itself.",
        "Correct the record the message names.",
    ),
    "bad-dataset": Code(
        BAD_DATA,
        "A dataset description is malformed or does not hold what the command needs.",
        "Correct the key named in the message.",
    ),
    "bad-image": Code(BAD_DATA, "A file is not an image that can be decoded whole.", "Replace or remove the file."),
    "bad-weights": Code(
        BAD_DATA,
        "A weight file is damaged or does not fit the architecture.",
        "Use the weights that belong to this architecture.",
    ),
    "bad-prediction": Code(
        BAD_DATA, "Predictions are malformed or not finite.", "Correct the entry named in the message."
    ),
    "bad-run": Code(
        BAD_DATA,
        "A run folder lacks a file it must have, or holds a damaged one.",
        "Name a folder written by posefabric, or run the command again.",
    ),
    "missing-keypoints": Code(
        BAD_DATA,
        "A metric needs keypoints or sizes the data does not have.",
        "Choose a metric the skeleton allows.",
    ),
    "missing-file": Code(INPUT_OUTPUT, "A file or folder does not exist.", "Check the path."),
    "not-writable": Code(INPUT_OUTPUT, "A file or folder cannot be written.", "Check permissions and free space."),
    "disk-full": Code(
        INPUT_OUTPUT,
        "A file does not fit on the disk; what was there before is unharmed.",
        "Free some space and repeat the command: the run goes on from its last checkpoint.",
    ),
    "out-of-memory": Code(
        INPUT_OUTPUT,
        "A batch, or even one sample, does not fit into memory.",
        "Choose a smaller input (model.input_hw), a smaller net, or a machine with more memory.",
    ),
    "rehearsal-failed": Code(
        BAD_DATA,
        "A rehearsed training did not come to its end, or a killed one did not end as the other did.",
        "Correct the error; where weights differ, set accelerator=cpu, or report it.",
    ),
    "rank-lost": Code(
        INPUT_OUTPUT,
        "One of the processes of a job is gone or hangs, so the others cannot go on.",
        "See what that one said before; the same command goes on from the last checkpoint.",
    ),
    "ranks-differ": Code(
        INPUT_OUTPUT,
        "The processes of a job no longer hold the same net: another version on one machine, or failing hardware.",
        "Compare the machines (posefabric doctor); the same command goes on from the last checkpoint.",
    ),
    "run-busy": Code(
        INPUT_OUTPUT,
        "Another process is writing into the run folder.",
        "Wait until it has ended, or give another --output.",
    ),
    "download-failed": Code(
        INPUT_OUTPUT,
        "A file could not be downloaded, or is not the one that was published.",
        "Run the command again: what arrived is kept. Or name another server with --mirror.",
    ),
    "missing-weights": Code(
        INPUT_OUTPUT,
        "Pretrained weights are asked for and are not on this machine.",
        "Give a local file (backbone.weights=FILE) or set backbone.pretrained=false.",
    ),
    "missing-package": Code(
        USAGE,
        "A command needs a package that is not installed.",
        "Install the extra that the message names.",
    ),
    "diverged": Code(
        BAD_DATA,
        "The loss is not a finite number.",
        "Lower the learning rate, or check the data.",
    ),
}


class UserError(ValueError):
    """An error that the user can cure.

    `code` is a key of `CODES`; `given` says what was found, `allowed` what would have been right, `todo` what to do
    (the code's own cure unless said).
    """

    def __init__(self, code: str, given: str, allowed: str = "", todo: str = "") -> None:
        self.code, self.given, self.allowed = code, _printable(given), _printable(allowed)
        self.todo = _printable(todo) or CODES[code].cure
        self.finding = f"{self.given}; allowed: {self.allowed}" if allowed else self.given
        super().__init__(f"{self.finding}; to do: {self.todo} [{code}]")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str, str]]:
        return type(self), (self.code, self.given, self.allowed, self.todo)  # it crosses from worker processes

    @property
    def exit_code(self) -> int:
        return CODES[self.code].exit_code


def _printable(text: str) -> str:
    """Text that a terminal only shows: whatever else a file's names hold stands there as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"`, or an empty string when no known name is close.

    A name with letters of other scripts, which may look the same, is spelt out.
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    spelt = "" if name.isascii() else f" (given is {name!a})"
    return f"; did you mean '{close[0]}'?{spelt}" if close else ""


def unknown_name(kind: str, name: str, known: Sequence[str]) -> UserError:
    """The error for a name that is not in a table."""
    return UserError(
        "unknown-name",
        f"unknown {kind} '{name}'{suggestion(name, known)}",
        f"known: {', '.join(known)}",
    )
