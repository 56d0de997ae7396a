"""Training steps side by side: memory format, precision, supernet against derived net, in one run.

    python benchmarks/bench_training_step.py

Each row is a forward and backward pass of a batch; variants take turns, so the machine's drift hits all alike.
Printed: median milliseconds of CPU wall time, and the ratio to the first variant (contiguous, float32).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from posefabric.architecture import Architecture
from posefabric.architecture import supernet as build_supernet
from posefabric.backbone import Backbone
from posefabric.models.cost import count
from posefabric.models.mixing import SoftmaxMixing
from posefabric.models.net import PoseNet, mixture, softmax_mixings
from posefabric.settings import SearchSettings
from posefabric.skeletons import COCO17
from posefabric.space import SearchSpace
from posefabric.strategies.derive import derive

BATCH, INPUT_HW, ROUNDS = 16, (128, 96), 5
VARIANTS = {
    "contiguous fp32": (torch.contiguous_format, False),
    "channels_last fp32": (torch.channels_last, False),
    "channels_last bf16": (torch.channels_last, True),
}


def networks(backbone: str) -> dict[str, tuple[Architecture, bool]]:
    """A supernet, and the net derived from random logits."""
    whole = build_supernet(COCO17, COCO17.partition("3"), Backbone(backbone), SearchSpace.head(8), INPUT_HW)
    net = PoseNet(whole, softmax_mixings(whole))
    for mixing in net.mixing.values():
        assert isinstance(mixing, SoftmaxMixing)
        for logits in mixing.parameters():
            torch.nn.init.normal_(logits)
    return {"supernet": (whole, True), "derived": (derive(mixture(net), "argmax", SearchSettings()), False)}


def step(architecture: Architecture, trained: bool, variant: str) -> Callable[[], None]:
    memory_format, bf16 = VARIANTS[variant]
    net = PoseNet(architecture, softmax_mixings(architecture) if trained else None)
    net.train().to(memory_format=memory_format)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 3, *INPUT_HW).contiguous(memory_format=memory_format)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            heatmaps = net(images)
        heatmaps.square().mean().backward()

    return run


def medians(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Milliseconds of each, the variants taking turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(ROUNDS + 1):
        for name, run in steps.items():
            began = time.perf_counter()
            run()
            if round_number:
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    torch.manual_seed(0)
    print(f"batch {BATCH}, {INPUT_HW[0]}x{INPUT_HW[1]}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for backbone in ("mobilenetv2_100", "resnet18", "resnet50"):
        for kind, (architecture, trained) in networks(backbone).items():
            found = medians({name: step(architecture, trained, name) for name in VARIANTS})
            first = next(iter(found.values()))
            row = ", ".join(f"{name} {ms:.0f} ms ({first / ms:.2f} x)" for name, ms in found.items())
            print(f"{backbone} {kind}, {count(architecture).macs / 1e6:.0f} MMAC: {row}", flush=True)


if __name__ == "__main__":
    main()
