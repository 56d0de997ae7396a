"""How well a table of latencies predicts whole nets: derived nets of one space, measured and summed.

    python benchmarks/bench_latency_table.py [RECIPE] [NETS] [SEED]

The table is measured first, as `posefabric profile RECIPE --calibrate` does. Then each net, the argmax of random logits
with one to three inputs per cell, is timed in turns with all others at batch 1. Printed are its median milliseconds and
the table's sum, then Kendall's tau of the two (and of MACs with the milliseconds) and the ratio of sum to measurement.
Both are processor time on one thread, which is wall time on an idle machine and holds on a busy one.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from scipy.stats import kendalltau

from posefabric.architecture import Architecture
from posefabric.engine.calibration import calibrate
from posefabric.models.choices import choice_costs
from posefabric.models.latency import latency_costs
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.recipes import recipe
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import derive

ROUNDS, WARM_UP = 20, 3


def derived_nets(whole: Architecture, count: int, seed: int) -> list[Architecture]:
    """Nets of a supernet's space, from sparse to dense."""
    torch.manual_seed(seed)
    net = PoseNet(whole, softmax_mixings(whole))
    found = []
    for number in range(count):
        for logits in net.architecture_parameters():
            torch.nn.init.normal_(logits)
        found.append(derive(mixture(net), "argmax", SearchSettings(max_inputs=1 + number % 3)))
    return found


@torch.inference_mode()
def measured_ms(architectures: list[Architecture]) -> list[float]:
    """Median milliseconds of each; all take turns, so the machine's drift hits them alike."""
    nets = [PoseNet(one).eval().to(memory_format=torch.channels_last) for one in architectures]  # type: ignore[call-overload]
    image = torch.randn(1, 3, *architectures[0].input_hw).contiguous(memory_format=torch.channels_last)
    times: list[list[float]] = [[] for _ in nets]
    for _ in range(WARM_UP + ROUNDS):
        for net, found in zip(nets, times, strict=True):
            net(image)
            began = time.process_time()
            net(image)
            found.append((time.process_time() - began) * 1e3)
    return [statistics.median(found[WARM_UP:]) for found in times]


def main(name: str = "smoke", count: int = 12, seed: int = 0) -> None:
    torch.set_num_threads(1)
    whole = recipe(name).architecture()
    costs, macs = latency_costs(whole, calibrate(whole, clock=time.process_time_ns)), choice_costs(whole)
    nets = derived_nets(whole, count, seed)
    kept = [{fabric: genotype for fabric, (_, genotype) in net.fabrics().items()} for net in nets]
    sums, counted = [costs.macs(one) / 1e6 for one in kept], [macs.macs(one) / 1e6 for one in kept]
    times = measured_ms(nets)
    for measured, summed, million in zip(times, sums, counted, strict=True):
        print(f"{measured:8.2f} ms measured, {summed:8.2f} ms by the table, {million:8.1f} MMAC")
    low, middle, high = statistics.quantiles([s / t for s, t in zip(sums, times, strict=True)], n=4)
    print(
        f"{name}, {count} nets, seed {seed}, one thread: tau {kendalltau(times, sums)[0]:.2f} "
        f"(of MACs {kendalltau(times, counted)[0]:.2f}), ratio {middle:.2f} (quartiles {low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    name, *numbers = sys.argv[1:] or ["smoke"]
    main(name, *map(int, numbers))
