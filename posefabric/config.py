"""The configuration of a run: every field once, with its unit and default; all mistakes are reported at once.

A recipe (`posefabric.recipes`) gives a `Config`; a YAML file and `a.b=v` overrides change it; the run folder records
the result whole. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from posefabric import documents
from posefabric.architecture import FABRIC, FABRIC_SPACES, Activation, Architecture, Backbone, fabric_backbone, supernet
from posefabric.budget import budget_macs, budget_nanoseconds, checked_budget
from posefabric.errors import UserError
from posefabric.handmade import HandMade
from posefabric.skeletons import Skeleton
from posefabric.space import BACKBONE_OPERATIONS, HEAD_OPERATIONS, SearchSpace

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

DecodeMethod = Literal["dark", "soft-argmax", "quarter", "argmax"]
"""How a heatmap's peak becomes a keypoint (`heatmaps.decode`)."""

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

MAX_JSON = 10**9
"""Bytes of the largest annotation file that is read unless a user allows more."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Settings(BaseModel):
    """What all sections share: unknown keys are errors, values are checked, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)


class FabricSettings(Settings):
    """A fabric: the whole lens has `num_layers`; a head keeps the last `keep` of them, a backbone the first.

    `auxiliary_skip`: while a search learns, every edge also passes on its input, with a weight that falls from 1 in the
    first step to 0 in the last, linearly or as a cosine (DARTS-); nothing of it is left then. `partial_channels` K: in
    the supernet operations see one of K channels, the others pass by (PC-DARTS). A net derived from such a search has
    K = 1, inherits no weights, and is trained from scratch. `share_parts`: all parts of the body have one alpha and one
    beta between them.

    With several `width_multipliers` a search chooses the width of every scale, too; see `SearchSpace` for all others.
    """

    num_layers: Count = 6
    keep: Count = 3
    base_channels: Count = 10
    num_nodes: Count = 1
    operations: tuple[str, ...] = HEAD_OPERATIONS
    share_operations: bool = True
    boundary: Literal["repeat", "omit"] = "repeat"
    entries: Literal["first", "every"] = "first"
    auxiliary_skip: Literal["none", "linear", "cosine"] = "none"
    partial_channels: Count = 1
    width_multipliers: tuple[Positive, ...] = (1.0,)
    share_parts: bool = False

    def head(self) -> SearchSpace:
        return self._space(self.num_layers - self.keep, self.num_layers)

    def backbone(self) -> SearchSpace:
        return self._space(0, self.keep)

    def _space(self, first: int, last: int) -> SearchSpace:
        return SearchSpace(
            num_layers=self.num_layers,
            first_layer=first,
            last_layer=last,
            base_channels=self.base_channels,
            num_nodes=self.num_nodes,
            operations=self.operations,
            share_operations=self.share_operations,
            boundary=self.boundary,
            entries=self.entries,
            auxiliary_skip=self.auxiliary_skip,
            partial_channels=self.partial_channels,
            width_multipliers=self.width_multipliers,
            share_parts=self.share_parts,
        )


class BackboneSettings(Settings):
    """`name`: a network of `models.backbones`, `fabric1` to `fabric3`, or `fabric` as described by `fabric`.

    `pretrained`: start from ImageNet weights, timm's or those of the local file `weights` (timm's names).
    """

    name: str = "mobilenetv2_100"
    pretrained: bool = True
    weights: Path | None = None
    fabric: FabricSettings = FabricSettings(num_layers=8, keep=5, operations=BACKBONE_OPERATIONS)

    def describe(self) -> Backbone:
        if self.name in FABRIC_SPACES:
            return fabric_backbone(FABRIC_SPACES[self.name])
        if self.name == FABRIC:
            return fabric_backbone(self.fabric.backbone())
        return Backbone(self.name)


class ModelSettings(Settings):
    """The net. `parts` names a partition of the data's skeleton; `input_hw` is the crop in pixels."""

    parts: str = "3"
    input_hw: tuple[Count, Count] = (256, 256)
    fabric: FabricSettings = FabricSettings()
    vector_dim: Count = 8
    activation: Activation = "squash"
    fusion: Literal["sum", "mean"] = "sum"

    def supernet(self, skeleton: Skeleton, backbone: Backbone) -> Architecture:
        """The architecture that keeps everything, for a skeleton."""
        return supernet(
            skeleton,
            skeleton.partition(self.parts),
            backbone,
            self.fabric.head(),
            self.input_hw,
            vector_dim=self.vector_dim,
            activation=self.activation,
            fusion=self.fusion,
        )

    def handmade(self, head: str, skeleton: Skeleton, backbone: Backbone) -> HandMade:
        """The control with a hand-made head in the place of the fabrics."""
        return HandMade.published(
            head,
            skeleton,
            backbone,
            self.input_hw,
            parts=self.parts,
            vector_dim=self.vector_dim,
            activation=self.activation,
            fusion=self.fusion,
        )


@dataclass(frozen=True)
class Augmentation:
    """How strongly training samples vary; probabilities are in [0, 1] and draws are uniform.

    `rotation_deg` is the largest turn either way, `scale` the range of the factor on the box (above 1: a
    smaller person), both as in the paper; the rotation's probability is its code's. `half_body_probability`:
    only the upper or the lower body fills the crop. `colour` c: brightness, contrast and saturation each
    times 1-c ... 1+c, hue turned by up to c x 45 degrees. `cutout_size`: the largest side of the blanked
    rectangle as a share of the crop's; keypoints beneath it stay labelled.
    """

    flip_probability: Share = 0.5
    rotation_deg: NotNegative = 45.0
    rotation_probability: Share = 0.6
    scale: tuple[Positive, Positive] = (0.7, 1.3)
    half_body_probability: Share = 0.3
    colour: Share = 0.2
    cutout_probability: Share = 0.2
    cutout_size: Share = 0.3

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)


class DataSettings(Settings):
    """Crops and targets. `margin` grows the box (1.25: the person fills 80 %); `sigma_px` is in heatmap pixels.

    `stretch_boxes` enlarges annotated boxes until they hold all labelled keypoints, as the paper's code does. It is off
    because it looks at the answer: evaluated on such boxes a net seems better than it is, and detectors draw none.

    `mean` and `std` normalise RGB in [0, 1]. `in_memory` keeps every photograph once read, in each worker.
    `max_json` limits the size of annotation files, in bytes. `allow_truncated` accepts JPEG files that lack their end
    marker and nothing else.
    `synthetic_train` and `synthetic_val` count the embedded people, `synthetic_hw` is the size of their photographs,
    `synthetic_variety` how hard they are (`SyntheticPeople`).
    """

    margin: Positive = 1.25
    sigma_px: Positive = 2.0
    stretch_boxes: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    augmentation: Augmentation = Augmentation()
    max_json: Count = MAX_JSON
    num_workers: Annotated[int, Field(ge=0)] = 0
    in_memory: bool = False
    allow_truncated: bool = False
    synthetic_train: Count = 4096
    synthetic_val: Count = 512
    synthetic_hw: tuple[Count, Count] = (192, 160)
    synthetic_variety: Annotated[float, Field(gt=0, le=1)] = 1.0


class Optimization(Settings):
    """How weights are trained. `lr` falls by `schedule`: `"cosine"` to 0, or `"steps"` by `gamma` at `milestones`.

    `milestones` and `warmup` are shares of all steps. `clip_norm` 0 and `ema_decay` 0 switch these off.
    `precision`: `"32-true"` or `"bf16-mixed"`. Validation follows every `validate_every` epochs and the last.
    """

    epochs: Count = 200
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
    budget: Annotated[str, AfterValidator(checked_budget)] | None = None
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
        if budget is not None:
            (budget_macs if unit == "macs" else budget_nanoseconds)(budget, 1)
        return unit

    @field_validator("cost_objective")
    @classmethod
    def _check_band(cls, objective: str, others: ValidationInfo) -> str:
        if objective == "band" and others.data.get("budget") is None:
            raise ValueError("a band needs a budget, such as search.budget=60%")
        return objective


class EvaluationSettings(Settings):
    """How heatmaps become keypoints, and keypoints results.

    `flip_test` averages with the mirrored crop. Detected boxes below `box_threshold` are not looked at. `suppression`
    removes a person whose OKS with a better one of the same image is above `suppression_oks` (`"hard"`), lowers its
    score (`"soft"`), or neither (`"none"`). The defaults are those of the paper's code.
    """

    batch_size: Count = 32
    decode: DecodeMethod = "quarter"
    flip_test: bool = False
    box_threshold: Share = 0.0
    suppression: Literal["hard", "soft", "none"] = "hard"
    suppression_oks: Share = 0.9


class Config(Settings):
    """Everything a run depends on, besides its data."""

    seed: Annotated[int, Field(ge=0)] = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    model: ModelSettings = ModelSettings()
    backbone: BackboneSettings = BackboneSettings()
    data: DataSettings = DataSettings()
    search: SearchSettings = SearchSettings()
    train: TrainSettings = TrainSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    def data_form(self) -> dict[str, Any]:
        """Plain data, as recorded in a run folder."""
        return self.model_dump(mode="json")

    def with_net(self, net: Architecture | HandMade) -> Config:
        """The same with what an architecture decides."""
        decided = {key: getattr(net, key) for key in ("input_hw", "vector_dim", "activation", "fusion")}
        return self.model_copy(update={"model": self.model.model_copy(update=decided)})


def read_config(path: Path, base: Config) -> Config:
    """A YAML file of the keys that differ from `base`."""
    data = documents.read_yaml(path, code="bad-config")
    if not isinstance(data, Mapping):
        raise UserError("bad-config", f"{path} holds {type(data).__name__}", "a mapping of sections")
    return merge(base, data, str(path))


def override(base: Config, assignments: Sequence[str]) -> Config:
    """Apply `a.b=v` assignments; values are typed, and every unknown key is reported with a suggestion."""
    for assignment in assignments:
        if "=" not in assignment:
            raise UserError("bad-config", f"--set {assignment}", "key.subkey=value")
    try:
        changes = OmegaConf.to_container(OmegaConf.from_dotlist(list(assignments)), resolve=False)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError("bad-config", f"--set {' '.join(assignments)}: {error}", "key.subkey=value") from error
    assert isinstance(changes, dict)
    return merge(base, {str(key): value for key, value in changes.items()}, "--set")


def merge(base: Config, changes: Mapping[str, Any], where: str) -> Config:
    """`base` with the changed keys, checked as a whole."""
    try:
        return Config.model_validate(_merged(base.data_form(), changes))
    except ValidationError as error:
        raise UserError("bad-config", f"{where}: {documents.problems(error, Config)}") from error


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _merged(below, value)
        merged[key] = value
    return merged
