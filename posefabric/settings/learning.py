"""How weights and architectures learn, and how what was found becomes a net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from posefabric.budget import budget_macs, budget_nanoseconds, checked_budget, is_time
from posefabric.errors import UserError
from posefabric.settings.fields import Count, NotNegative, Positive, Settings, Share, Text

STRATEGY_NAMES = (
    "sync",
    "first-order",
    "second-order",
    "gumbel",
    "gumbel-hard",
    "uniform",
    "random",
    "random-k",
    "evolution",
)
"""The strategies of `posefabric.strategies`, for those who must not wait for torch."""


class Optimization(Settings):
    """How weights are trained: for `epochs`, or for `max_steps` where these are fewer.

    `lr` falls by `schedule`: `"cosine"` to 0, or `"steps"` by `gamma` at `milestones`. `milestones` and `warmup` are
    shares of all steps. `clip_norm` 0 and `ema_decay` 0 switch these off. `precision`: `"32-true"` or `"bf16-mixed"`.
    Validation follows every `validate_every` epochs and the last. `leave` says which weights a run ends with: those of
    the `"last"` step or of the `"best"` validation (by AP, else PCK).
    """

    epochs: Count = 200
    max_steps: Count | None = None
    batch_size: Count = 24
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 0.0
    schedule: Literal["cosine", "steps", "constant"] = "steps"
    milestones: tuple[Share, ...] = (0.45, 0.6, 0.75)
    gamma: Share = 0.25
    warmup: Share = 0.0
    clip_norm: NotNegative = 0.0
    ema_decay: Share = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    validate_every: Count = 1
    leave: Literal["last", "best"] = "last"


class TrainSettings(Optimization):
    """Training. `distill` is the weight of a teacher's heatmaps beside the labels, 0 to 1; 0 does without a teacher."""

    distill: Share = 0.0


class SearchSettings(Optimization):
    """The search. Bilevel strategies hold out `architecture_share` of the training persons for alpha and beta.

    `architecture_schedule`: `"same"` lets `architecture_lr` fall with the weights' rate (the paper, but for Ours-3).
    `warmup_architecture`: the share of all steps in which the weights learn alone.

    Two terms may join the loss from which alpha and beta learn; 0 switches them off. `entropy` is the weight of their
    mean entropy (1 for equal mixtures) in the last step; it is 0 up to half of the steps and rises linearly from there.
    `beta_decay` is the weight of the sum of logsumexp(alpha) over all edges in the last step, linear from 0.

    Strategies that draw do so at a `temperature` that falls linearly from the first to the last step.

    `derive` says how the found mixture becomes a net: `threshold` keeps choices whose share of their mixture is above
    `threshold`; `argmax` keeps the strongest operation per edge and the `max_inputs` strongest inputs per cell; `path`
    keeps the likeliest path alone; `perturbation` keeps as many as `argmax`, those whose removal hurts most, and after
    each decision the weights learn for `perturbation_tuning` steps at a tenth of `lr`. With a `budget` (MACs such as
    `150M`, or a share of the supernet's such as `60%`) a method keeps as much as that pays.

    With `widen` what is left of a budget buys channels, up to 0.98 of it at least; they are untrained. `budget_shares`:
    `global` is one budget, in which hard parts may buy compute from others; `equal` splits what the backbone leaves
    evenly among the parts. `cost_unit` is what is paid with: `macs`, or with the `latency_table` that
    `posefabric profile --calibrate` wrote, `latency`; then a budget is milliseconds such as `12ms`, and widths stay.

    `cost_objective` steers the expected MACs E during the search, with the weight `cost_weight`: `band` adds
    log(E / budget) above the budget and -log(E / 0.95 budget) below 95 % of it (TAS), `weighted` adds E as a share of
    the supernet's MACs; `none` adds nothing.

    `recalibration_batches` of training persons give a derived net the statistics of its norms; 0 keeps the supernet's.
    Where nets are compared before they are trained, `score_persons` held-out training persons decide.

    `sampling` is how a supernet is trained a net at a time: `fair` gives every operation and input its turn, `uniform`
    draws independently. `random-k` compares `candidates` random nets. `evolution` compares `evaluations` nets, of which
    a random `population` is the first: `regularised` mutates the best of `tournament` of the youngest `population`,
    `nsga2` breeds along the front of score against MACs.

    `tuning_epochs` is how long the derived net is then trained on, by the settings of `train` but for their `epochs`.
    """

    strategy: str = "sync"
    architecture_lr: Positive = 1e-3
    architecture_schedule: Literal["constant", "same"] = "constant"
    architecture_weight_decay: NotNegative = 0.0
    architecture_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    warmup_architecture: Annotated[float, Field(ge=0, lt=1)] = 0.0
    entropy: NotNegative = 0.0
    beta_decay: NotNegative = 0.0
    temperature: tuple[Positive, Positive] = (10.0, 0.1)
    derive: str = "threshold"
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_inputs: Count = 2
    budget: Annotated[Text, AfterValidator(checked_budget)] | None = None
    widen: bool = True
    budget_shares: Literal["global", "equal"] = "global"
    latency_table: Path | None = None
    cost_unit: Annotated[Literal["macs", "latency"], Field(validate_default=True)] = "macs"
    cost_objective: Literal["none", "band", "weighted"] = "none"
    cost_weight: NotNegative = 2.0
    recalibration_batches: Annotated[int, Field(ge=0)] = 16
    score_persons: Count = 256
    sampling: Literal["fair", "uniform"] = "fair"
    candidates: Count = 20
    evolution: Literal["regularised", "nsga2"] = "regularised"
    population: Annotated[int, Field(ge=2)] = 20
    evaluations: Count = 200
    tournament: Count = 5
    perturbation_tuning: Annotated[int, Field(ge=0)] = 0
    tuning_epochs: Annotated[int, Field(ge=0)] = 0

    @field_validator("cost_unit")
    @classmethod
    def _check_unit(cls, unit: str, others: ValidationInfo) -> str:
        budget = others.data.get("budget")
        if unit == "latency" and others.data.get("latency_table") is None:
            raise ValueError("latency needs a search.latency_table, as `posefabric profile --calibrate` measures it")
        if unit == "macs" and budget is not None and is_time(budget):
            allowed = "MACs such as 150M; milliseconds need search.cost_unit=latency and a search.latency_table"
            raise UserError("bad-value", f"the budget '{budget}'", allowed)
        if budget is not None:
            (budget_macs if unit == "macs" else budget_nanoseconds)(budget, 1)
        return unit

    @field_validator("cost_objective")
    @classmethod
    def _check_band(cls, objective: str, others: ValidationInfo) -> str:
        if objective == "band" and others.data.get("budget") is None:
            raise ValueError("a band needs a budget, such as search.budget=60%")
        return objective
