"""When numbers stop being finite: where it began, on which persons, and back to the last checkpoint at half the rate.

The bad step is found at the step itself; its batch is kept in the run folder, and nothing of it in the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posefabric import ranks
from posefabric.checkpoints import save_tensors
from posefabric.data.loader import Batch
from posefabric.errors import UserError
from posefabric.models.net import Net
from posefabric.runs import Run, make_folder

logger = logging.getLogger(__name__)

ROLLBACKS = "rollbacks"
"""The key of `run.json` that lists what happened at which step."""

MOST = 3
"""How often a run goes back before it gives up."""

GRADIENT = "the gradient"

SLOWER = 0.5
"""What each time becomes of the learning rates."""


def rate_factor(run: Run) -> float:
    """By how much the learning rates of a run are multiplied after what has happened to it."""
    return float(SLOWER ** len(run.record.get(ROLLBACKS, ())))


def note_divergence(run: Run, step: int, error: UserError, net: Net, batches: Sequence[Batch | None]) -> None:
    """Record where a step went wrong and keep its batches; the error again, with what was found, after too many."""
    whole = [batch for batch in batches if batch is not None]
    findings = [diagnose(net, batch) for batch in whole]
    findings = [finding for of_rank in ranks.collect(findings) for finding in of_rank]
    found = next((finding for finding in findings if finding["module"] != GRADIENT), findings[0])
    folder = Path(ranks.from_first(str(run.path))) / "diverged"
    make_folder(folder)
    kept = {f"{i}.{name}": tensor for i, batch in enumerate(whole) for name, tensor in batch._asdict().items()}
    save_tensors(folder / (f"step-{step}" + f"-rank-{ranks.rank()}" * (ranks.size() > 1) + ".safetensors"), kept)
    past = run.record.get(ROLLBACKS, [])
    told = f"{error.finding}; first bad: {found['module']}; persons {found['persons']} (batch kept in {folder})"
    run.note(**{ROLLBACKS: [*past, {"step": step, **found}]})
    if len(past) == MOST:
        raise UserError(error.code, f"{told}; after {MOST} attempts at ever lower rates") from error
    logger.warning("%s; going back to the last checkpoint, from now on at %g of the rate", told, rate_factor(run))


@torch.no_grad()
def diagnose(net: Net, batch: Batch) -> dict[str, Any]:
    """`module`: the parameter, input or module, in the order of the forward pass, that first is not finite; `persons`:
    the indices of those on whom a net is not finite by itself, all of them where it is the net's own fault.
    """
    persons = batch.indices.tolist()
    if (name := _first_bad(dict(net.named_parameters()))) is not None:
        return {"module": name, "persons": persons}
    bad = ~torch.isfinite(batch.images.flatten(1)).all(dim=1)
    if bad.any():
        return {"module": "images", "persons": batch.indices[bad].tolist()}
    seen: list[str] = []
    hooks = [module.register_forward_hook(_watch(name, seen)) for name, module in net.named_modules()]
    try:
        maps = net(batch.images)
    finally:
        for hook in hooks:
            hook.remove()
    bad = ~torch.isfinite(maps.flatten(1)).all(dim=1)
    return {
        "module": seen[0] if seen else GRADIENT,
        "persons": batch.indices[bad].tolist() if bad.any() else persons,
    }


def _first_bad(tensors: Mapping[str, Tensor]) -> str | None:
    return next((name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()), None)


def _watch(name: str, seen: list[str]) -> Any:
    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not torch.isfinite(output).all():
            seen.append(name or type(module).__name__)

    return look
