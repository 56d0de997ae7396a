"""Budgets: how much compute a net may cost, as people write it.

A budget is MACs of the whole net, backbone included (`150M`, `1.2G`), milliseconds of it where a table of latencies is
given (`12ms`), or a share of its supernet's (`60%`). This is the only place that reads one. No torch here.
"""

from __future__ import annotations

import re

from posefabric.errors import UserError

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
PATTERN = re.compile(r"(\d+(?:\.\d*)?(?:[eE]\d+)?)\s*([KMG%]?)")
MILLISECONDS = re.compile(r"(\d+(?:\.\d*)?)\s*ms")


def budget_macs(text: str, supernet_macs: int) -> int:
    """A budget in MACs, given what the supernet costs. Raises `UserError("bad-value")` for anything else."""
    match = PATTERN.fullmatch(text.strip())
    amount = float(match[1]) if match else 0.0
    if not match or amount == 0 or (match[2] == "%" and amount > 100):
        raise UserError("bad-value", f"the budget '{text}'", "MACs such as 150M or 1.2G, or a share such as 60%")
    return int(supernet_macs * amount / 100 if match[2] == "%" else amount * UNITS[match[2]])


def budget_nanoseconds(text: str, supernet_nanoseconds: int) -> int:
    """A budget of time in nanoseconds, given what the supernet takes. Raises `UserError("bad-value")` for all else."""
    match = MILLISECONDS.fullmatch(text.strip())
    if match and float(match[1]) > 0:
        return round(float(match[1]) * 1e6)
    try:
        if text.strip().endswith("%"):
            return budget_macs(text, supernet_nanoseconds)
    except UserError as error:
        raise _no_time(text) from error
    raise _no_time(text)


def _no_time(text: str) -> UserError:
    return UserError("bad-value", f"the budget '{text}'", "milliseconds such as 12ms, or a share such as 60%")


def is_time(text: str) -> bool:
    """Whether a budget is written in milliseconds."""
    return MILLISECONDS.fullmatch(text.strip()) is not None


def checked_budget(text: str) -> str:
    """The text itself, if it is a budget of either kind."""
    return text if is_time(text) else checked_macs(text)


def checked_macs(text: str) -> str:
    """The text itself, if it is a budget of MACs."""
    budget_macs(text, 1)
    return text
