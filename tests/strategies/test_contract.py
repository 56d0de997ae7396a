"""What every strategy keeps, whatever it learns: the loss falls, runs repeat and resume, what it chooses is a net."""

from __future__ import annotations

import copy
import math
import zlib
from statistics import fmean

import pytest
import torch
from small_runs import JUDGE, cpu_engine, new_strategy, same_state, small_config, small_supernet, training_stream

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.engine.loop import build_engine
from posefabric.errors import UserError
from posefabric.models.mixing import as_genotype
from posefabric.models.net import PoseNet
from posefabric.predictor import inherit
from posefabric.settings import STRATEGY_NAMES
from posefabric.strategies import STRATEGIES, strategy
from posefabric.strategies.derive import METHODS, derive
from posefabric.strategies.one_shot import OneShot
from posefabric.strategies.protocol import Score, Strategy, StrategySetup

every_strategy = pytest.mark.parametrize("name", STRATEGIES)
every_mixing_strategy = pytest.mark.parametrize(
    "name", [name for name, chosen in STRATEGIES.items() if not issubclass(chosen, OneShot)]
)

STRICT = ("search.ema_decay=0.8", "search.clip_norm=0.1", "search.weight_decay=0.1", "search.warmup=0.3")
"""Everything that has a state of its own."""

ONE_CELL = ("model.fabric.keep=1", "backbone.name=resnet18", "backbone.pretrained=false", "search.lr=3e-3")
FEW_PATHS = {"gumbel-hard": ONE_CELL, "random-k": ONE_CELL, "evolution": ONE_CELL}
"""A space in which 32 steps meet every path often: one cell after a plain backbone. Deep fabrics need far more."""


def advance(learner: Strategy, config: Config, steps: range) -> None:
    batches = training_stream(config, 6)
    for step in steps:
        learner.step(batches[step], batches[-1 - step], step)


def never(_: Architecture) -> float:
    raise AssertionError("this strategy needs no scores")


def judge(name: str) -> Score:
    """Scores where a strategy asks for them: some number that tells architectures apart."""
    return by_digest if issubclass(STRATEGIES[name], OneShot) else never


def by_digest(architecture: Architecture) -> float:
    return zlib.crc32(documents.to_json(architecture).encode()) / 2**32


@every_strategy
def test_the_training_loss_falls(name: str) -> None:
    config = small_config(
        "search.lr=1e-2", "search.schedule=constant", "search.architecture_lr=1e-2", *FEW_PATHS.get(name, ())
    )
    learner = new_strategy(name, config)
    batches = training_stream(config, 4)
    losses = [learner.step(batches[step % 4], batches[(step + 1) % 4], step)["loss"] for step in range(32)]
    assert fmean(losses[-4:]) < 0.95 * fmean(losses[:4])


@every_strategy
def test_mixed_precision_learns_too(name: str) -> None:
    """Gradients of alpha and beta are taken beside the engine's own, which it forbids on the net that it wraps."""
    config = small_config("search.precision=bf16-mixed")
    setup = StrategySetup(build_engine(config, config.search.precision), small_supernet(config), config, 2)
    learner = STRATEGIES[name](setup)
    weight_batch, architecture_batch = training_stream(config, 2)
    figures = learner.step(weight_batch, architecture_batch, 0)
    assert all(math.isfinite(value) for value in figures.values())
    assert "skipped" not in figures


@every_strategy
def test_a_seed_decides_everything(name: str) -> None:
    states = []
    for seed in (0, 0, 1):
        config = small_config(f"seed={seed}", *STRICT)
        learner = new_strategy(name, config)
        advance(learner, config, range(3))
        states.append(learner.state_dict())
    assert same_state(states[0], states[1])
    assert not same_state(states[0], states[2])


@every_strategy
def test_a_resumed_search_equals_an_uninterrupted_one(name: str) -> None:
    config = small_config(*STRICT)
    whole = new_strategy(name, config)
    advance(whole, config, range(3))
    saved = copy.deepcopy(whole.state_dict())
    advance(whole, config, range(3, 6))
    resumed = new_strategy(name, small_config("seed=5", *STRICT))
    resumed.load_state_dict(saved)
    assert same_state(resumed.state_dict(), saved)
    advance(resumed, config, range(3, 6))
    assert same_state(resumed.state_dict(), whole.state_dict())
    assert resumed.choose(judge(name)) == whole.choose(judge(name))


@every_mixing_strategy
def test_what_is_chosen_is_the_mixture_that_the_net_applies(name: str) -> None:
    config = small_config("model.parts=3", "search.architecture_lr=0.3")
    learner = new_strategy(name, config)
    advance(learner, config, range(2))
    chosen = learner.choose(never)
    with torch.no_grad():
        applied = {fabric: as_genotype(mixing()) for fabric, mixing in learner.net.mixing.items()}
    assert {fabric: genotype for fabric, (_, genotype) in chosen.fabrics().items()} == applied
    assert documents.from_json(Architecture, documents.to_json(chosen), code="bad-architecture", where="") == chosen
    assert chosen.partition == small_supernet(config).partition


@every_strategy
@pytest.mark.parametrize("method", METHODS)
def test_a_derived_net_inherits_the_weights_of_the_search(name: str, method: str) -> None:
    config = small_config("search.architecture_lr=0.3", "search.max_inputs=1")
    learner = new_strategy(name, config)
    advance(learner, config, range(2))
    derived = PoseNet(derive(learner.choose(judge(name)), method, config.search, JUDGE))
    state = learner.net.state_dict()
    inherit(derived, state)
    assert derived.state_dict().keys() <= state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in derived.state_dict().items())
    assert (len(derived.state_dict()) < len(state)) == (method != "threshold" or name != "uniform")


@every_strategy
def test_pretrained_weights_reach_the_net_that_learns_and_its_average(name: str) -> None:
    def initialise(net: PoseNet) -> None:
        for parameter in net.backbone.parameters():
            torch.nn.init.constant_(parameter, 0.25)

    config = small_config("search.lr=1e-12", "search.ema_decay=0.9")
    learner = new_strategy(name, config, initialise=initialise)
    for _ in range(2):
        for parameter in learner.net.backbone.parameters():
            torch.testing.assert_close(parameter, torch.full_like(parameter, 0.25))
        advance(learner, config, range(1))


@every_strategy
def test_a_loss_that_is_no_number_ends_the_search_at_its_step(name: str) -> None:
    config = small_config()
    learner = new_strategy(name, config)
    good, other = training_stream(config, 2)
    learner.step(good, good, 0)
    other.images[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match="the loss of step 1 is nan") as caught:
        learner.step(other, good, 1)
    assert caught.value.code == "diverged"


def test_an_unknown_strategy_is_named_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="unknown strategy 'first_order'; did you mean 'first-order'") as caught:
        strategy("first_order")
    assert caught.value.code == "unknown-name"


def test_the_command_line_names_every_strategy() -> None:
    assert tuple(STRATEGIES) == STRATEGY_NAMES


def test_a_setup_builds_the_supernet() -> None:
    config = small_config()
    setup = StrategySetup(cpu_engine(), small_supernet(config), config, 1)
    assert setup.build().architecture == setup.supernet
