"""Which operations the edges of a checkpoint mix, by the tensors that each has and the number of alphas.

Two have none, `Zero` and `skip_connect`, so a file cannot tell which of them it means. Every configuration that was
released lists `Zero` first where it has both, and `skip_connect` where it has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from posefabric.errors import UserError

WITHOUT_TENSORS = {0: (), 1: ("skip_connect",), 2: ("zero", "skip_connect")}
"""How many operations have no tensors -> which they are, in order."""

_SEPARABLE, _DILATED, _POOL = "sep_conv_3x3", "dil_conv_3x3", "a pooling"
_KINDS = {
    frozenset({"operation.0", "operation.1", "operation.2"}): _DILATED,
    frozenset(f"operation.{layer}" for layer in (0, 1, 2, 4, 5, 6)): _SEPARABLE,
    frozenset({"1"}): _POOL,
}
"""The layers of an operation that hold tensors -> what it is."""


def operations_of(tensors: Mapping[str, Tensor], fabric: str) -> tuple[str, ...]:
    """The operations of one of their fabrics in the order of its alphas. Raises `UserError("bad-weights")`."""
    alphas = tensors[f"{fabric}.alphas"]
    if alphas.ndim not in (2, 3):
        found = f"{fabric}.alphas has the shape {tuple(alphas.shape)}"
        raise UserError("bad-weights", found, "(edges, operations), or (cells, edges, operations)")
    layers: list[set[str]] = [set() for _ in range(alphas.shape[-1])]
    pattern = re.compile(rf"{re.escape(fabric)}\.cell_\d+_\d+\.cell_arch\.0\.ops\.(\d+)\.(.+)\.(?!total_)\w+")
    for name in tensors:
        if parsed := pattern.fullmatch(name):
            index = int(parsed[1])
            if index >= len(layers):
                what = f"{fabric} has tensors of operation {index} and alphas of {len(layers)}"
                raise UserError("bad-weights", what, "as many alphas as operations")
            layers[index].add(parsed[2])
    return _named(layers, fabric)


def _named(layers: Sequence[set[str]], fabric: str) -> tuple[str, ...]:
    free = WITHOUT_TENSORS.get(sum(not of_one for of_one in layers))
    if free is None:
        found = f"{fabric} has {len(layers)} operations of which {sum(not one for one in layers)} have no tensors"
        raise UserError("bad-weights", found, "two at most: zero and skip_connect")
    names, left = [], iter(free)
    for index, of_one in enumerate(layers):
        name = _KINDS.get(frozenset(of_one)) if of_one else next(left)
        if name is None or name == _POOL:
            what = name or f"unknown (its layers {', '.join(sorted(of_one))} hold tensors)"
            allowed = "Zero, skip_connect, Sep_Conv_3x3 and Atr_Conv_3x3, whose tensors tell which they are"
            raise UserError("bad-weights", f"operation {index} of {fabric} is {what}", allowed)
        names.append(name)
    return tuple(names)
