"""What the methods of a search are called, and what each does in a line: for help texts. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

DERIVATIONS: dict[str, str] = {
    "threshold": "choices above a share of their mixture",
    "argmax": "the strongest choices",
    "path": "the likeliest path",
    "perturbation": "what hurts most when it is removed (needs the data)",
}
"""Name -> what it keeps of a mixture; `strategies.derive.METHODS` has the methods themselves."""


def told(methods: Mapping[str, str]) -> str:
    """One line on all of them."""
    return "; ".join(f"{name}: {what}" for name, what in methods.items()) + "."
