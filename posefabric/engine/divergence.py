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

LEFT_OUT = "left_out"
"""The key of `run.json` that lists the first steps whose gradient was left out."""

MOST = 3
"""How often a run goes back before it gives up."""

GRADIENT = "the gradient"

SLOWER = 0.5
"""What each time becomes of the learning rates."""


def rate_factor(run: Run) -> float:
    """By how much the learning rates of a run are multiplied after what has happened to it."""
    return float(SLOWER ** len(run.record.get(ROLLBACKS, ())))


def check_finite(net: Net, step: int, *, whole: bool) -> None:
    """Raise `UserError("diverged")` where a step left alpha or beta, or, `whole`, any number of a net not finite."""
    looked_at = net.state_dict() if whole else dict(net.mixing.named_parameters(prefix="mixing"))
    if (name := _first_bad(looked_at)) is not None:
        raise UserError("diverged", f"{name} is not finite after step {step}")


def is_finite(net: Net) -> bool:
    """Whether all numbers of a net are."""
    return _first_bad(net.state_dict()) is None


def note_left_out(run: Run, step: int, net: Net, batches: Sequence[Batch | None]) -> None:
    """Name what was not finite where a gradient was left out, and keep its batches; the first few times."""
    past = run.record.get(LEFT_OUT, [])
    if ranks.from_first(len(past) < MOST):
        found, folder = _look_into(run, step, net, batches)
        run.note(**{LEFT_OUT: [*past, {"step": step, **found}]})
        logger.warning("first bad: %s; persons %s (batch kept in %s)", found["module"], found["persons"], folder)


def note_divergence(run: Run, step: int, error: UserError, net: Net, batches: Sequence[Batch | None]) -> None:
    """Record where a step went wrong and keep its batches; the error again, with what was found, after too many."""
    found, folder = _look_into(run, step, net, batches)
    past = run.record.get(ROLLBACKS, [])
    told = f"{error.finding}; first bad: {found['module']}; persons {found['persons']} (batch kept in {folder})"
    run.note(**{ROLLBACKS: [*past, {"step": step, **found}]})
    if len(past) == MOST:
        raise UserError(error.code, f"{told}; after {MOST} attempts at ever lower rates") from error
    logger.warning("%s; going back to the last checkpoint, from now on at %g of the rate", told, rate_factor(run))


def _look_into(run: Run, step: int, net: Net, batches: Sequence[Batch | None]) -> tuple[dict[str, Any], Path]:
    """What of a step's batches is not finite, and the folder where they are kept."""
    whole = [batch for batch in batches if batch is not None]
    findings = [finding for of_rank in ranks.collect([diagnose(net, batch) for batch in whole]) for finding in of_rank]
    found = next((finding for finding in findings if not finding["module"].startswith(GRADIENT)), findings[0])
    folder = Path(ranks.from_first(str(run.path))) / "diverged"
    make_folder(folder)
    kept = {f"{i}.{name}": tensor for i, batch in enumerate(whole) for name, tensor in batch._asdict().items()}
    save_tensors(folder / (f"step-{step}" + f"-rank-{ranks.rank()}" * (ranks.size() > 1) + ".safetensors"), kept)
    return found, folder


@torch.no_grad()
def diagnose(net: Net, batch: Batch) -> dict[str, Any]:
    """`module`: the parameter, input, module or gradient, in the order of a step, that first is not finite; `persons`:
    the indices of those on whom a net is not finite by itself, all of them where it is the net's own fault.
    """
    persons = batch.indices.tolist()
    if (name := _first_bad(dict(net.named_parameters()))) is not None:
        return {"module": name, "persons": persons}
    bad = ~torch.isfinite(batch.images.flatten(1)).all(dim=1)
    if bad.any():
        return {"module": "images", "persons": batch.indices[bad].tolist()}
    seen: list[str] = []
    if ranks.size() > 1:
        net.eval()  # norms that share their statistics would wait for a rank that looks elsewhere
    statistics = [(buffer, buffer.clone()) for buffer in net.buffers()]
    hooks = [module.register_forward_hook(_watch(name, seen)) for name, module in net.named_modules()]
    try:
        maps = net(batch.images)
    finally:
        for hook in hooks:
            hook.remove()
        for buffer, before in statistics:
            buffer.copy_(before)
    bad = ~torch.isfinite(maps.flatten(1)).all(dim=1)
    slopes = {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}
    return {
        "module": seen[0] if seen else f"{GRADIENT} of {_first_bad(slopes) or 'a sum'}",
        "persons": batch.indices[bad].tolist() if bad.any() else persons,
    }


def _first_bad(tensors: Mapping[str, Tensor]) -> str | None:
    if not tensors:
        return None
    whole = torch.stack([torch.isfinite(tensor).all() for tensor in tensors.values()]).tolist()  # one transfer
    return next((name for name, well in zip(tensors, whole, strict=True) if not well), None)


def _watch(name: str, seen: list[str]) -> Any:
    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and not torch.isfinite(output).all():
            seen.append(name or type(module).__name__)

    return look
