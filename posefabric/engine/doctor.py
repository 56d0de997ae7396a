"""Whether a run folder is sound, and what works on this machine: what `posefabric doctor` lists.

Nothing is changed. Each finding names the file, what was found, what should be, and what to do. That an exported net
equals its run is looked at by whoever exports; here it is the net prepared for that (`models.folding`).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from posefabric.checkpoints import check_checkpoints, load_tensors, strays
from posefabric.engine.divergence import ROLLBACKS
from posefabric.engine.sharing import copies
from posefabric.errors import UserError
from posefabric.models.cost import count
from posefabric.models.folding import folded
from posefabric.models.net import PoseNet
from posefabric.predictor import load
from posefabric.runs import RESUME, SEALED, Run
from posefabric.texts import file_digest

PARITY = 1e-4
"""How far the heatmaps of a net and of the same without its norms may differ."""

EXTRAS = {
    "video": "av",
    "detect": "transformers",
    "export": "onnxruntime",
    "openvino": "openvino",
    "serve": "gradio",
    "sweep": "optuna",
}
"""Extra -> a package that it brings."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `well` says whether it is as it should be."""

    file: str
    found: str
    well: bool = True
    todo: str = ""

    def form(self) -> dict[str, Any]:
        return {"file": self.file, "found": self.found, "well": self.well, "todo": self.todo}


def examine(folder: Path) -> list[Finding]:
    """Everything that can be told of a run folder. Raises `UserError("bad-run")` for what is none."""
    run = Run(folder)
    findings = [_state(run), *_exactness(run), *_seals(run), *_leftovers(run), *_rows(run)]
    if (folder / "weights.safetensors").is_file() and (folder / "architecture.json").is_file():
        findings += [*_weights(run), *_figures(run)]
    return findings


def machine() -> list[Finding]:
    """What works here."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free = shutil.disk_usage(Path.cwd()).free
    findings = [
        Finding("posefabric", importlib.metadata.version("posefabric")),
        Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"),
        Finding("GPU", ", ".join(gpus) or "none: everything runs on the CPU"),
        Finding(
            "disk", f"{free / 1e9:.1f} GB free in {Path.cwd()}", free > 1e9, "" if free > 1e9 else "Free some space."
        ),
    ]
    for extra, package in EXTRAS.items():
        there = importlib.util.find_spec(package) is not None
        install = "" if there else f"pip install 'posefabric[{extra}]'"
        findings.append(Finding(f"extra {extra}", "installed" if there else "not installed", todo=install))
    return findings


def _state(run: Run) -> Finding:
    if run.finished:
        return Finding("run.json", f"a finished {run.record['command']}")
    return Finding("run.json", f"a {run.record['command']} that has not ended", False, "Repeat its command to go on.")


def _exactness(run: Run) -> Iterator[Finding]:
    """What its resumes are worth, and whether numbers have ever been other than finite."""
    noted = run.record.get(RESUME)
    if noted:
        ground = f"{noted['device']}, {noted['threads']} threads, torch {noted['torch']}"
        yield Finding("run.json", f"resumes {'to the last bit' if noted['exact'] else 'to about 1e-5'} ({ground})")
    for past in run.record.get(ROLLBACKS, ()):
        yield Finding("run.json", f"went back from step {past['step']}, where {past['module']} was not finite")


def _seals(run: Run) -> Iterator[Finding]:
    """Whether the files are those that the run left."""
    for name, digest in run.record.get(SEALED, {}).items():
        file = run.path / name
        if not file.is_file():
            yield Finding(name, "missing", False, "Repeat the run, or restore the file.")
        elif file_digest(file) != digest:
            yield Finding(
                name,
                "not the file that the run left (SHA-256 differs)",
                False,
                "Repeat a derivation that was interrupted, or restore the file.",
            )
        else:
            yield Finding(name, "the file that the run left (SHA-256)")


def _leftovers(run: Run) -> Iterator[Finding]:
    for path in [*strays(run.path), *copies(run.path)]:
        yield Finding(str(path.relative_to(run.path)), "left by a process that died", False, "Repeat its command.")
    for name, problem in check_checkpoints(run.path):
        yield Finding(name, problem or "whole", not problem, "It will be passed over." if problem else "")


def _rows(run: Run) -> Iterator[Finding]:
    try:
        steps = [row["step"] for row in run.rows() if row.get("split") == "train"]
    except UserError as error:
        yield Finding("metrics.jsonl", error.finding, False, error.todo)
        return
    if steps:
        whole = steps == list(range(1, len(steps) + 1))
        yield Finding("metrics.jsonl", f"{len(steps)} steps" if whole else "steps are missing or come twice", whole)


def _weights(run: Run) -> Iterator[Finding]:
    """Finite, fitting their architecture, and giving the same heatmaps when prepared for use."""
    name = "weights.safetensors"
    try:
        tensors = load_tensors(run.path / name)
        net = load(run.path).net
    except UserError as error:
        yield Finding(name, error.finding, False, error.todo)
        return
    bad = next((key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)
    if bad is not None:
        yield Finding(name, f"{bad} holds numbers that are not finite", False, "Repeat the run at a lower rate.")
        return
    yield Finding(name, f"{len(tensors)} tensors, all finite, fitting architecture.json")
    if isinstance(net, PoseNet):
        yield _parity(net.cpu())


@torch.inference_mode()
def _parity(net: PoseNet) -> Finding:
    height, width = net.architecture.input_hw
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    apart = float((net(image) - folded(net)(image)).abs().max())
    told = f"heatmaps without norms and mixing weights differ by {apart:.1g} at most"
    well = apart <= PARITY
    return Finding("architecture.json", told, well, "" if well else f"Report it: {PARITY:g} is allowed.")


def _figures(run: Run) -> Iterator[Finding]:
    figures = run.figures()
    if not figures:
        return
    cost = count(run.description())
    wrong = [key for key in ("macs", "parameters") if figures.get(key, getattr(cost, key)) != getattr(cost, key)]
    found = f"{', '.join(wrong)} are not those of architecture.json" if wrong else "fits architecture.json"
    yield Finding("evaluation.json", found, not wrong, "Evaluate again: posefabric evaluate RUN DATA." if wrong else "")
