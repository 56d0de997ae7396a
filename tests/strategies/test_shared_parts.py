"""Parts that share their mixture: one alpha and one beta between them, whatever learns them, and exact resumption."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import new_strategy, same_state, small_config, small_supernet, training_stream

from posefabric.checkpoints import latest_checkpoint, save_checkpoint
from posefabric.models.net import softmax_mixings
from posefabric.strategies.derive import derive

SHARED = ("model.parts=3", "model.fabric.share_parts=true", "search.architecture_lr=0.5")


def test_parts_have_one_module_and_a_backbone_its_own() -> None:
    mixings = softmax_mixings(small_supernet(small_config(*SHARED)))
    backbone = mixings.pop("backbone")
    assert len(mixings) == 3
    assert len({id(mixing) for mixing in mixings.values()}) == 1
    assert backbone not in mixings.values()
    apart = softmax_mixings(small_supernet(small_config("model.parts=3")))
    assert len({id(mixing) for mixing in apart.values()}) == 4


@pytest.mark.parametrize("name", ["sync", "first-order", "gumbel"])
def test_what_is_found_is_the_same_for_all_parts(name: str) -> None:
    config = small_config(*SHARED)
    strategy = new_strategy(name, config)
    for step, batch in enumerate(training_stream(config, 2)):
        strategy.step(batch, batch, step=step)
    found = strategy.choose(lambda architecture: 0.0)
    for architecture in (found, derive(found, "argmax", config.search)):
        first, *others = architecture.genotypes.values()
        assert all(other == first for other in others)
    shares = next(iter(found.genotypes.values())).cells["layer3_stride4"].inputs
    assert len(set(shares.values())) > 1


def test_a_search_with_shared_parts_resumes_exactly(tmp_path: Path) -> None:
    config = small_config(*SHARED)
    first, second = new_strategy("first-order", config), new_strategy("first-order", config)
    batches = training_stream(config, 2)
    first.step(batches[0], batches[1], step=0)
    save_checkpoint(tmp_path, 1, first.state_dict(), {})
    saved = latest_checkpoint(tmp_path)
    assert saved is not None
    second.load_state_dict(saved[1])
    for strategy in (first, second):
        strategy.step(batches[1], batches[0], step=1)
    assert same_state(first.state_dict(), second.state_dict())
