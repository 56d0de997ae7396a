"""What a search says of itself in every step: how decided its mixtures are, what they favour, whether they still turn.

A mixture here is one edge's alphas, one cell's betas, or the widths of one scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from posefabric.models.mixing import SoftmaxMixing, log_softmax, softmax
from posefabric.models.net import PoseNet
from posefabric.space import ZERO


def health(net: PoseNet, before: Tensor) -> dict[str, float]:
    """The figures of a net whose mixtures had the strongest choices `before` a step; none without architecture."""
    after = leaders(net)
    changes = {"rank_changes": float((after != before).sum())} if len(after) else {}
    return entropies(net) | operation_shares(net) | changes


def entropies(net: PoseNet) -> dict[str, float]:
    """Mean entropy of all alphas, betas and widths, as shares of the uniform mixture's: 1 undecided, 0 decided."""
    found: dict[str, list[Tensor]] = {"alpha_entropy": [], "beta_entropy": [], "width_entropy": []}
    for mixing in softmax_mixings_of(net):
        found["alpha_entropy"] += [relative_entropy(alpha.detach()).mean() for alpha in mixing.alpha.values()]
        found["beta_entropy"] += [relative_entropy(beta.detach()) for beta in mixing.beta.values()]
        found["width_entropy"] += [relative_entropy(widths.detach()) for widths in mixing.width.values()]
    return {name: float(torch.stack(values).mean()) for name, values in found.items() if values}


def operation_shares(net: PoseNet) -> dict[str, float]:
    """Mean share of skipping and of computing nothing, over the edges that may choose it."""
    figures = {}
    for name, operation in (("skip_share", "skip_connect"), ("zero_share", ZERO)):
        shares = [
            softmax(alpha.detach())[:, mixing.operations.index(operation)]
            for mixing in softmax_mixings_of(net)
            if operation in mixing.operations
            for alpha in mixing.alpha.values()
        ]
        if shares:
            figures[name] = float(torch.cat(shares).mean())
    return figures


def leaders(net: PoseNet) -> Tensor:
    """The index of every mixture's strongest choice; the first of equals."""
    strongest = [logits.detach().argmax(dim=-1).flatten() for logits in net.architecture_parameters()]
    return torch.cat(strongest) if strongest else torch.empty(0)


def relative_entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax over the last axis, as a share of the uniform mixture's; 0 for a lone choice."""
    log_shares = log_softmax(logits)
    entropy = -(log_shares.exp() * log_shares).sum(dim=-1)
    return entropy / math.log(max(logits.shape[-1], 2))


def learns_mixtures(net: PoseNet) -> bool:
    """Whether any of a net's mixings has logits."""
    return next(softmax_mixings_of(net), None) is not None


def softmax_mixings_of(net: PoseNet) -> Iterator[SoftmaxMixing]:
    """Those of a net's mixings that have logits."""
    return (mixing for mixing in net.mixing.values() if isinstance(mixing, SoftmaxMixing))
