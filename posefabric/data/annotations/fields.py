"""Behind stage 1 of the walk: the numbers in an entry of a user's JSON, each what it should be or told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from posefabric.data.annotations.problems import Findings, Place, shown

MISSING = ...
"""The value of a key that an entry lacks."""

LARGEST = 1e9
"""No pixel coordinate or area is beyond this."""

_NUMBERS = {int, float}


@dataclass(frozen=True)
class Fields:
    """The values of one entry, read by key; what is wrong with them goes to `findings`."""

    findings: Findings
    place: Place
    values: Mapping[str, Any]
    constants_told: bool = False  # NaN and Infinity were told already, with line and column

    def get(self, key: str) -> Any:
        return self.values.get(key, MISSING)

    def bad(self, code: str, key: str, found: str, expected: str, *below: int, fix: str = "") -> None:
        self.findings.add(code, self.place.at(key, *below), found, expected, fix)

    def numbers(self, code: str, key: str, count: int, meaning: str) -> Float[np.ndarray, " _"] | None:
        """A list of so many finite numbers, or None where it is not (then told)."""
        value = self.get(key)
        if not isinstance(value, list):
            self.bad(code, key, shown(value), f"{count} numbers: {meaning}")
            return None
        if len(value) != count:
            counting = "keypoint-count" if key == "keypoints" else code
            self.bad(counting, key, f"{len(value)} numbers", f"{count} numbers: {meaning}")
            return None
        if not set(map(type, value)) <= _NUMBERS:
            wrong = [i for i, number in enumerate(value) if type(number) not in _NUMBERS]
            self.bad(code, key, _first_of(value, wrong), "a number", wrong[0])
            return None
        if max(value) < LARGEST and min(value) > -LARGEST:  # exact for integers that no float can hold, too
            numbers = np.array(value, dtype=np.float64)
            if not np.isnan(numbers).any():
                return numbers
        self._tell_not_finite(key, value)
        return None

    def _tell_not_finite(self, key: str, value: list[Any]) -> None:
        untold = [i for i, number in enumerate(value) if not (-LARGEST < number < LARGEST or self._told(number))]
        if untold:
            expected = f"a finite number between {-LARGEST:g} and {LARGEST:g}"
            self.bad("not-finite", key, _first_of(value, untold), expected, untold[0])

    def _told(self, value: Any) -> bool:
        return self.constants_told and isinstance(value, float) and not math.isfinite(value)

    def number(self, code: str, key: str, meaning: str, low: float = 0.0) -> float | None:
        """A finite number, `low` or more, or None where it is not (then told)."""
        value = self.get(key)
        if type(value) in _NUMBERS and low <= value < LARGEST:
            return float(value)
        if not self._told(value):
            self.bad(code, key, shown(value), meaning)
        return None


def more(count: int) -> str:
    """Words for what is wrong in one entry besides the first."""
    return f" and {count} more like it in this entry" if count else ""


def _first_of(value: list[Any], wrong: list[int]) -> str:
    return f"{shown(value[wrong[0]])}{more(len(wrong) - 1)}"
