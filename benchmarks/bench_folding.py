"""Derived nets before and after folding, side by side.

    python benchmarks/bench_folding.py [THREADS]

Each net is the argmax of random logits over a recipe's supernet, at batch 1 and the recipe's crop. Net and folded net
take turns, so the machine's drift hits both alike; printed are medians in milliseconds, the median of the paired ratios
with its quartiles, MACs, numbers held, modules, and how far apart the heatmaps are.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from torch import nn

from posefabric.architecture import Architecture
from posefabric.models.cost import module_macs
from posefabric.models.folded import footprint
from posefabric.models.folding import folded
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.recipes import recipe
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import derive

RECIPES, METHODS, ROUNDS, WARM_UP = ("smoke", "mpii_mobilenetv2_p3"), ("argmax", "threshold"), 40, 5


def derived(name: str, method: str) -> Architecture:
    """What a method keeps of logits drawn from N(0, 1); `threshold` at 0 keeps all, as the paper does."""
    whole = recipe(name).architecture()
    net = PoseNet(whole, softmax_mixings(whole))
    for logits in net.architecture_parameters():
        torch.nn.init.normal_(logits)
    return derive(mixture(net), method, SearchSettings())


@torch.inference_mode()
def paired_ms(first: nn.Module, second: nn.Module, image: torch.Tensor) -> list[tuple[float, float]]:
    """Milliseconds of both in every round, the two taking turns in going first."""
    pairs = []
    for round_number in range(WARM_UP + ROUNDS):
        times = {}
        for net in (first, second) if round_number % 2 else (second, first):
            began = time.perf_counter()
            net(image)
            times[net] = (time.perf_counter() - began) * 1e3
        pairs.append((times[first], times[second]))
    return pairs[WARM_UP:]


def row(name: str, method: str) -> str:
    architecture = derived(name, method)
    net = PoseNet(architecture).eval()
    after = folded(net)
    image = torch.randn(1, 3, *architecture.input_hw)
    with torch.inference_mode():
        difference = float((net(image) - after(image)).abs().max())
    macs = [module_macs(one, image)[""] / 1e6 for one in (net, after)]
    sizes = [footprint(one) for one in (net, after)]
    nets = [one.to(memory_format=torch.channels_last) for one in (net, after)]  # type: ignore[call-overload]
    pairs = paired_ms(*nets, image.contiguous(memory_format=torch.channels_last))
    before_ms, after_ms = (statistics.median(times) for times in zip(*pairs, strict=True))
    low, middle, high = statistics.quantiles([b / a for b, a in pairs], n=4)
    return (
        f"{name} {method}: {before_ms:.1f} -> {after_ms:.1f} ms ({middle:.2f} x, quartiles {low:.2f} to {high:.2f}), "
        f"{macs[0]:.1f} -> {macs[1]:.1f} MMAC, {sizes[0].numbers} -> {sizes[1].numbers} numbers, "
        f"{sizes[0].modules} -> {sizes[1].modules} modules, heatmaps within {difference:.1e}"
    )


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
    print(f"batch 1, channels last, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in RECIPES:
        for method in METHODS:
            print(row(name, method), flush=True)


if __name__ == "__main__":
    main()
