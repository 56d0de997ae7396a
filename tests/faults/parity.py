"""What a job of several processes must share with one of a single process: `python -m faults.parity STEPS`.

Strategies of every kind make steps on the same global batches, with norms of fixed statistics, in double precision: the
rounding of sums in another order would grow from step to step in single precision. Rank 0 prints one JSON object.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from small_runs import lively_net, new_strategy, small_config, small_people
from torch import Tensor, nn

from posefabric import ranks
from posefabric.data.loader import Batch
from posefabric.engine.bench import search_plan, search_sources
from posefabric.engine.evaluate import predict_people, validate
from posefabric.errors import UserError

STRATEGIES = ("sync", "first-order", "second-order", "gumbel-hard", "random-k")


def steps_of_all(num_steps: int) -> dict[str, Any]:
    """`poses`: a digest of what a net finds; per strategy the `losses` and the `persons` of every step."""
    net = lively_net(small_config())
    config = small_config("evaluation.batch_size=3")
    found = predict_people(net, small_people(), config)
    poses = hashlib.sha256(found.keypoints_xy.tobytes() + found.scores.tobytes()).hexdigest()
    loss = validate(net, small_people(), config)["loss"].hex()
    nn.BatchNorm2d.forward, forward = _fixed, nn.BatchNorm2d.forward  # type: ignore[assignment,method-assign]
    try:
        steps = {name: _steps(name, net.state_dict(), num_steps) for name in STRATEGIES}
    finally:
        nn.BatchNorm2d.forward = forward  # type: ignore[method-assign]
    return {"poses": poses, "validation": loss, "steps": steps, "one bit": _one_bit()}


def _one_bit() -> str:
    """The code of what is said where a tensor of all ranks but the first differs in one bit."""
    one = torch.ones(3)
    one.view(torch.int32)[1] ^= int(ranks.rank() > 0)
    try:
        ranks.check_same("ones", ranks.fingerprint([one]), 0)
    except UserError as error:
        return error.code
    return ""


def _fixed(norm: nn.BatchNorm2d, maps: Tensor) -> Tensor:
    """What a norm does in eval mode, in any mode."""
    return nn.functional.batch_norm(
        maps, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=False, eps=norm.eps
    )


def _steps(name: str, state: Mapping[str, Tensor], num_steps: int) -> dict[str, Any]:
    settings = ("search.lr=1e-4", "search.optimizer=adam", f"search.epochs={num_steps}", f"search.strategy={name}")
    config = small_config(*settings)
    learner = new_strategy(name, config, num_steps, lambda net: net.load_state_dict(state, strict=False))
    learner.bare_net.double()
    sources = search_sources(config, learner.net.architecture, small_people())
    plan = search_plan(config.search, sources)
    losses, persons = [], []
    parts = zip(*(source.my_part(plan, 0) for source in sources), strict=True)
    for step, batches in zip(range(num_steps), parts, strict=False):
        weights, *held_out = map(_doubled, batches)
        losses.append(learner.step(weights, held_out[0] if held_out else None, step)["loss"])
        persons.append([person for part in ranks.collect(weights.indices.tolist()) for person in part])
    ranks.check_same("the nets", ranks.fingerprint(learner.bare_net.parameters()), num_steps)
    return {"losses": losses, "persons": persons}


def _doubled(batch: Batch) -> Batch:
    return batch._replace(images=batch.images.double())


if __name__ == "__main__":
    ranks.join()
    told = steps_of_all(int(sys.argv[1]))
    if ranks.rank() == 0:
        print(json.dumps(told))
