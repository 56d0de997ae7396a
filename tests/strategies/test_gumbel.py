"""Drawn mixings: what a draw is worth, that a hard one is a net of its own, and that seed and step decide it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from small_runs import new_strategy, small_config, training_stream
from strategies_architecture import tiny_supernet
from torch import Tensor, nn

from posefabric.architecture import Architecture
from posefabric.genotype import Genotype, everything
from posefabric.models.mixing import CellWeights, GumbelMixing, as_genotype
from posefabric.models.net import PoseNet, gumbel_mixings, mixture
from posefabric.predictor import inherit
from posefabric.settings import SearchSettings
from posefabric.space import ZERO, SearchSpace
from posefabric.strategies.gumbel import Gumbel, temperature

SPACE = SearchSpace.head(1)
SITE = "layer5_stride4"


def mixing(*, hard: bool, space: SearchSpace = SPACE, spread: float = 1.0, seed: int = 0) -> GumbelMixing:
    """One with logits that some search has moved."""

    made = GumbelMixing(space, everything(space), hard=hard)
    torch.manual_seed(seed)
    for logits in made.parameters():
        nn.init.normal_(logits, std=spread)
    return made


def drawn(made: GumbelMixing, seed: int = 0, temperature: float = 1.0) -> dict[str, CellWeights]:
    made.draw(np.random.default_rng(seed), temperature)
    weights = made()
    made.forget()
    return weights


def drawn_net(architecture: Architecture, seed: int, *, hard: bool = True) -> PoseNet:
    """A supernet in eval mode that applies a draw."""
    torch.manual_seed(seed)
    net = PoseNet(architecture, gumbel_mixings(architecture, hard=hard)).eval()
    random = np.random.default_rng(seed)
    for made in net.mixing.values():
        assert isinstance(made, GumbelMixing)
        made.draw(random, 1.0)
    return net


def test_between_draws_the_mean_applies_whose_shares_add_up_to_one() -> None:
    made = mixing(hard=True).requires_grad_(False)
    before = as_genotype(made())
    drawn(made)
    assert as_genotype(made()) == before
    for cell in made().values():
        for shares in (cell.inputs, *cell.edges):
            assert float(sum(shares.values())) == pytest.approx(1, abs=1e-6)
            assert ZERO not in shares


@pytest.mark.parametrize("warmth", [0.1, 10.0])
def test_hard_draws_come_as_often_as_their_share_at_any_temperature(warmth: float) -> None:
    made = mixing(hard=True)
    mean, counts = made(), Counter[str]()
    random, number = np.random.default_rng(0), 600
    for _ in range(number):
        made.draw(random, warmth)
        cell = made()[SITE]
        counts.update([*cell.inputs, *cell.edges[0]])
    made.forget()
    for name, share in (mean[SITE].inputs | mean[SITE].edges[0]).items():
        p = float(share)
        assert counts[name] / number == pytest.approx(p, abs=4 * (p * (1 - p) / number) ** 0.5)


def test_soft_draws_harden_as_they_cool() -> None:
    made = mixing(hard=False)
    for warmth, least, most in ((100.0, 0.25, 0.45), (0.01, 0.99, 1.0)):
        strongest = max(float(w) for w in drawn(made, temperature=warmth)[SITE].edges[0].values())
        assert least <= strongest <= most + 1e-6


@pytest.mark.parametrize("hard", [False, True])
def test_the_gradient_of_a_draw_is_that_of_the_soft_sample(hard: bool) -> None:
    made = mixing(hard=hard)
    weights = drawn(made, temperature=0.7)[SITE].inputs
    noise = dict(zip((n for n, _ in made.named_parameters()), _noises(made, 0), strict=True))[f"beta.{SITE}"]
    logits = made.beta[SITE].detach().clone().requires_grad_()
    soft = torch.softmax((torch.log_softmax(logits, -1) + noise) / 0.7, -1)
    slots = [source.slot for source in SPACE.site(SITE).sources]
    for slot, weight in weights.items():
        (found,) = torch.autograd.grad(weight, [made.beta[SITE]], retain_graph=True)
        (expected,) = torch.autograd.grad(soft[slots.index(slot)], [logits], retain_graph=True)
        torch.testing.assert_close(found, expected)
        assert float(weight) == (1.0 if hard else pytest.approx(float(soft[slots.index(slot)]), rel=1e-5))
    assert len(weights) == (1 if hard else 3)


def _noises(made: GumbelMixing, seed: int) -> list[Tensor]:
    random = np.random.default_rng(seed)
    return [torch.as_tensor(random.gumbel(size=p.shape), dtype=torch.float32) for p in made.parameters()]


@pytest.mark.parametrize("num_nodes", [1, 2])
@pytest.mark.parametrize("share_operations", [True, False])
def test_a_hard_draw_runs_one_operation_per_edge_and_one_input_per_cell(num_nodes: int, share_operations: bool) -> None:
    architecture = tiny_supernet("3", num_nodes=num_nodes, share_operations=share_operations)
    net = drawn_net(architecture, 0)
    ran: Counter[str] = Counter()
    for name, module in net.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.update([name]))  # type: ignore[misc]
    net(torch.rand(1, 3, 64, 64))
    cells = [name for name in ran if name.split(".")[-2:-1] == ["cells"]]
    for name, (space, _) in architecture.fabrics().items():
        prefix = "backbone." if name == "backbone" else f"parts.{name}."
        own = [cell for cell in cells if cell.startswith(prefix)]
        if name != "backbone":
            assert len(own) == space.last_layer - space.first_layer, "one cell per layer leads to the one output"
        for cell in own:
            below = [module.removeprefix(f"{cell}.").split(".") for module in ran if module.startswith(f"{cell}.")]
            assert sum(path[0] == "transitions" and len(path) == 2 for path in below) == 1
            operations = Counter(path[1] for path in below if path[0] == "edges" and len(path) == 3)
            assert operations == Counter(f"{start}_{end}" for start, end in space.edges)
    laterals = Counter(name.split(".")[1] for name in ran if name.split(".")[-2:-1] == ["laterals"])
    assert laterals == Counter(list(architecture.partition))
    assert all(count == 1 for count in ran.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_hard_draw_is_the_net_that_keeps_what_was_drawn(seed: int) -> None:
    net = drawn_net(tiny_supernet("3", num_nodes=2), seed)
    whole = net.architecture
    kept = {name: Genotype(as_genotype(made()).cells) for name, made in net.mixing.items()}
    derived = PoseNet(whole.with_genotypes(kept))
    inherit(derived, net.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(derived.eval()(images), net(images))
    assert len(derived.state_dict()) < len(net.state_dict())


def test_a_soft_draw_runs_everything() -> None:
    architecture = tiny_supernet()
    net = drawn_net(architecture, 0, hard=False)
    net(torch.rand(1, 3, 64, 64)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name


def test_the_temperature_falls_linearly_from_the_first_to_the_last_step() -> None:
    settings = SearchSettings(temperature=(10.0, 0.1))
    assert temperature(settings, 0, 100) == 10
    assert temperature(settings, 99, 100) == pytest.approx(0.1)
    assert temperature(settings, 33, 100) == pytest.approx(10 - 9.9 / 3)
    assert temperature(settings, 0, 1) == 10


@pytest.mark.parametrize("name", ["gumbel", "gumbel-hard"])
def test_seed_and_step_alone_decide_a_draw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after another history, and with the weights' and the architecture's draws apart."""
    seen: list[tuple[float, dict[str, Tensor]]] = []
    honest = GumbelMixing.draw

    def noting(made: GumbelMixing, random: np.random.Generator, warmth: float) -> None:
        honest(made, random, warmth)
        seen.append((warmth, dict(made._noise)))

    monkeypatch.setattr(GumbelMixing, "draw", noting)
    config = small_config()
    batch = training_stream(config, 1)[0]
    histories = []
    for steps in ((0, 1, 2), (2,)):
        learner = new_strategy(name, config)
        for step in steps:
            seen.clear()
            figures = learner.step(batch, batch, step)
        histories.append(list(seen))
    first, second = histories
    assert len(first) == len(second) == 4  # two fabrics, two draws
    for (warm, ours), (cold, theirs) in zip(first, second, strict=True):
        assert warm == cold == figures["temperature"]
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    for (_, architecture), (_, weights) in zip(first[:2], first[2:], strict=True):
        assert not any(torch.equal(architecture[key], weights[key]) for key in architecture)


def test_what_is_chosen_is_the_mean() -> None:
    config = small_config()
    learner = new_strategy("gumbel-hard", config)
    assert isinstance(learner, Gumbel)
    with torch.no_grad():
        for logits in learner.net.architecture_parameters():
            nn.init.normal_(logits)
    found = learner.choose(lambda _: 0.0)
    assert found == mixture(learner.net)
    for _, genotype in found.fabrics().values():
        for cell in genotype.cells.values():
            assert all(sum(shares.values()) == pytest.approx(1, abs=1e-6) for shares in (cell.inputs, *cell.edges))
