"""What joins the architecture's loss, when it begins to learn, and what every step says of the mixtures."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from small_runs import new_strategy, same_state, small_config, small_supernet, training_stream
from torch import Tensor

from posefabric.models.net import PoseNet, softmax_mixings
from posefabric.settings import SearchSettings
from posefabric.strategies.health import health, leaders, operation_shares
from posefabric.strategies.terms import ArchitectureTerms, architecture_learns, mean_entropy, total_logsumexp

LEARNING = ("sync", "first-order", "second-order", "gumbel", "gumbel-hard")
every_learner = pytest.mark.parametrize("name", LEARNING)


def supernet() -> PoseNet:
    architecture = small_supernet(small_config())
    return PoseNet(architecture, softmax_mixings(architecture))


def logits(net: PoseNet) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.architecture_parameters()])


def test_terms_are_those_on_paper() -> None:
    net = supernet()
    alphas = [alpha for mixing in net.mixing.values() for alpha in mixing.alpha.values()]
    net.requires_grad_(False)
    expected = sum(math.log(row.shape[-1]) for alpha in alphas for row in alpha)
    assert float(total_logsumexp(net)) == pytest.approx(expected)
    assert float(mean_entropy(net)) == pytest.approx(1)
    net.requires_grad_(True)
    (gradient,) = torch.autograd.grad(total_logsumexp(net), [alphas[0]])
    torch.testing.assert_close(gradient, torch.softmax(alphas[0].detach(), dim=-1))
    with torch.no_grad():
        for parameter in net.architecture_parameters():
            parameter[..., 0] = 60
    assert float(mean_entropy(net)) == pytest.approx(0, abs=1e-6)


def test_weights_of_terms_follow_the_steps() -> None:
    net = supernet()
    with torch.no_grad():
        for parameter in net.architecture_parameters():
            torch.nn.init.normal_(parameter)
    entropy, decay = float(mean_entropy(net)), float(total_logsumexp(net))
    terms = ArchitectureTerms(net, SearchSettings(entropy=0.1), 100)
    found = [float(terms(step)) / entropy for step in (0, 49, 74, 99)]
    assert found == pytest.approx([0, 0, 0.05, 0.1])
    terms = ArchitectureTerms(net, SearchSettings(beta_decay=0.5), 100)
    found = [float(terms(step)) / decay for step in (0, 49, 99)]
    assert found == pytest.approx([0.005, 0.25, 0.5])


@every_learner
def test_until_the_warm_up_is_over_the_weights_learn_alone(name: str) -> None:
    config = small_config(f"search.strategy={name}", "search.warmup_architecture=0.3", "search.beta_decay=1")
    learner = new_strategy(name, config, num_steps=10)
    batches = training_stream(config, 5)
    weights = [weight.detach().clone() for weight in learner.net.weights()]
    for step in range(4):
        figures = learner.step(batches[step], batches[step + 1], step)
        assert ("architecture_loss" in figures) == (step == 3 and name != "sync")
        assert bool(logits(learner.net).any()) == (step == 3)
        if step == 0:
            assert any(not torch.equal(old, new) for old, new in zip(weights, learner.net.weights(), strict=True))
    assert [architecture_learns(config.search, step, 10) for step in (0, 2, 3, 9)] == [False, False, True, True]


@every_learner
@pytest.mark.parametrize(("term", "sign"), [("entropy", -1), ("beta_decay", 1)])
def test_a_term_pulls_where_it_should(name: str, term: str, sign: int) -> None:
    """With a weight that drowns the task: entropy sharpens a mixture, beta-decay lowers its strongest alpha most."""
    config = small_config(f"search.{term}=1e6", "search.architecture_lr=0.05", "search.optimizer=adam")
    learner = new_strategy(name, config, num_steps=1)
    alphas = [alpha for mixing in learner.net.mixing.values() for alpha in mixing.alpha.values()]  # type: ignore[union-attr]
    with torch.no_grad():
        for parameter in learner.net.architecture_parameters():
            parameter[..., 0] = 1.0
    before = [alpha.detach().clone() for alpha in alphas]
    batch = training_stream(config, 1)[0]
    figures = learner.step(batch, batch, 0)
    for old, new in zip(before, alphas, strict=True):
        assert bool((sign * (new.detach() - old)[..., 0] < 0).all())
    assert figures["loss"] < 1, "the reported loss is the task's"


@every_learner
def test_a_resumed_search_with_terms_equals_an_uninterrupted_one(name: str) -> None:
    config = small_config("search.warmup_architecture=0.4", "search.entropy=0.1", "search.beta_decay=0.5")
    batches = training_stream(config, 6)
    whole = new_strategy(name, config, num_steps=6)
    for step in range(6):
        if step == 3:
            saved = copy.deepcopy(whole.state_dict())
        last = whole.step(batches[step], batches[-1 - step], step)
    resumed = new_strategy(name, config, num_steps=6)
    resumed.load_state_dict(saved)
    for step in range(3, 6):
        again = resumed.step(batches[step], batches[-1 - step], step)
    assert same_state(resumed.state_dict(), whole.state_dict())
    assert last == again


def test_health_names_shares_and_turns() -> None:
    net = supernet()
    before = leaders(net)
    assert health(net, before)["rank_changes"] == 0
    head, backbone = (net.mixing[name].alpha["shared"] for name in ("all", "backbone"))
    assert operation_shares(net) == pytest.approx({"skip_share": (1 / 3 + 1 / 2) / 2, "zero_share": 1 / 3})
    with torch.no_grad():
        head[..., 1] = 60  # skip_connect, after zero
        backbone[..., 1] = 60  # sep_conv_3x3
    figures = health(net, before)
    assert figures["rank_changes"] == 2
    assert figures["skip_share"] == pytest.approx(0.5)
    assert figures["zero_share"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", [*LEARNING, "random", "uniform"])
def test_every_step_reports_plain_numbers(name: str) -> None:
    config = small_config()
    batch = training_stream(config, 1)[0]
    figures = new_strategy(name, config).step(batch, batch, 0)
    assert all(type(value) is float for value in figures.values())
    assert ("temperature" in figures) == name.startswith("gumbel")
    assert ("zero_share" in figures) == (name in ("sync", "first-order", "second-order", "random"))
    assert ({"skip_share", "rank_changes", "alpha_entropy", "beta_entropy"} <= figures.keys()) == (name != "uniform")
