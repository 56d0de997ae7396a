"""What looks on while a search learns: it films what the mixtures favour, and warns once when a search collapses.

Frames are written at step 0, at validations, and whenever something else would be derived; those in between name the
fabrics that changed alone. Everything is a function of the net, so a resumed search leaves the film of an
uninterrupted one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import fmean

import torch

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.budget import budget_macs
from posefabric.evaluation.agreement import skip_threshold
from posefabric.film import FILM, FabricFrame, Frame, changed, kept_choices, read_film
from posefabric.models.choices import choice_costs
from posefabric.models.cost import count
from posefabric.models.mixing import SoftmaxMixing, softmax
from posefabric.models.net import PoseNet, mixture
from posefabric.models.operations import has_weights
from posefabric.runs import Run
from posefabric.settings import SearchSettings
from posefabric.strategies.derive import by_mixture, derive
from posefabric.strategies.health import learns_mixtures

logger = logging.getLogger(__name__)

COLLAPSE = "collapse"
"""The key of `run.json` under which an alarm is noted."""

DIGITS = 3

ADVICE = (
    "let the weights learn first (search.warmup_architecture=0.3), hold alpha back (search.beta_decay, a smaller "
    "search.architecture_lr), or derive by another method"
)


class SearchWatch:
    """Films a search in its run folder and notes a collapse in `run.json`. `net` gives the net that would be derived.

    A net that has no alpha and beta leaves no film.
    """

    def __init__(self, run: Run, net: Callable[[], PoseNet], settings: SearchSettings) -> None:
        self.run, self.net, self.settings = run, net, settings
        self._threshold = skip_threshold(net().architecture)
        self._last: Frame | None = None
        in_macs = settings.budget is not None and settings.cost_unit == "macs"
        self._budget = self._budget_of(str(settings.budget)) if in_macs else None

    def begin(self, start: int) -> None:
        """Cut the film back to a checkpoint's step; a search that begins anew begins a new one."""
        if not learns_mixtures(self.net()):
            return
        self.run.cut_rows(start if start else -1, FILM)
        if (self.run.record.get(COLLAPSE) or {}).get("step", 0) > start:
            self.run.note(**{COLLAPSE: None})
        film = read_film(self.run)
        if film:
            self._last = film[-1]
            return
        if start:
            logger.warning("%s is gone: the film begins at step %d", self.run.path / FILM, start)
        self._write(self._with_fitted(self._frame(start, shares_of(self.net()))))

    def see(self, step: int, figures: Mapping[str, float], *, validated: bool) -> None:
        """Write a frame where one is due, and warn where the search collapses."""
        if self._last is None:
            return
        shares = shares_of(self.net())
        frame = self._frame(step, shares)
        if validated:
            self._write(self._with_fitted(frame))
        elif new := changed(self._last, frame):
            self._write(replace(frame, fabrics={name: frame.fabrics[name] for name in new}))
        if not self.run.record.get(COLLAPSE):
            self._alarm(step, figures, shares)

    def _budget_of(self, text: str) -> int:
        return budget_macs(text, choice_costs(self.net().architecture).whole)

    def _frame(self, step: int, shares: Mapping[str, FabricFrame]) -> Frame:
        """What the method keeps of each fabric; not yet within a budget, which takes too long for every step."""
        found = self.net().architecture.with_genotypes({name: fabric.mixture() for name, fabric in shares.items()})
        widths = {name: _by_stride(fabric) for name, fabric in shares.items() if fabric.widths}
        found = replace(found, width_shares=widths)
        unbounded = self.settings.model_copy(update={"budget": None})
        derived = derive(found, by_mixture(self.settings.derive), unbounded)
        return Frame(step, {name: _rounded(fabric, derived, name) for name, fabric in shares.items()})

    def _with_fitted(self, frame: Frame) -> Frame:
        if self._budget is None:
            return frame
        settings = self.settings.model_copy(update={"widen": False})
        fitted = derive(mixture(self.net()), by_mixture(settings.derive), settings)
        kept = {name: kept_choices(genotype) for name, genotype in fitted.all_genotypes().items()}
        return replace(frame, fitted=kept, macs=count(fitted).macs, budget=self._budget)

    def _write(self, frame: Frame) -> None:
        row = documents.to_data(frame)
        self.run.log({key: value for key, value in row.items() if value is not None}, FILM)
        self._last = frame if self._last is None else frame.after(self._last)

    def _alarm(self, step: int, figures: Mapping[str, float], shares: Mapping[str, FabricFrame]) -> None:
        skips = figures.get("skip_share", 0.0)
        if skips > self._threshold:
            found = f"skips have {skips:.0%} of alpha"
        elif weightless(shares, self.net().architecture):
            found = "in every part, operations without weights have taken over alpha"
        else:
            return
        logger.warning("step %d: the search collapses, %s; %s", step, found, ADVICE)
        self.run.note(**{COLLAPSE: {"step": step, "found": found}})


def shares_of(net: PoseNet) -> dict[str, FabricFrame]:
    """Fabric -> the shares of its mixtures as they stand; nothing is said of what would be kept."""
    return {name: _shares(mixing) for name, mixing in net.mixing.items() if isinstance(mixing, SoftmaxMixing)}


def weightless(shares: Mapping[str, FabricFrame], architecture: Architecture) -> bool:
    """Whether in every part the operations that learn have lost half of what an even mixture gives them."""
    learning = [name for name in architecture.space.operations if has_weights(name)]
    if not learning:
        return False
    left = []
    for part in architecture.partition:
        edges = [edge for table in shares[part].alpha.values() for edge in table]
        left += [fmean(sum(edge[name] for name in learning) * len(edge) / len(learning) for edge in edges)]
    return max(left) < 0.5


def _shares(mixing: SoftmaxMixing) -> FabricFrame:
    named = dict(mixing.named_parameters())
    together = torch.cat([logits.detach().flatten() for logits in named.values()]).cpu()  # one transfer
    logits = dict(zip(named, torch.split(together, [values.numel() for values in named.values()]), strict=True))
    alpha = {
        name: tuple(
            dict(zip(mixing.operations, row, strict=True))
            for row in softmax(logits[f"alpha.{name}"].reshape(table.shape)).tolist()
        )
        for name, table in mixing.alpha.items()
    }
    slots = {site.name: [source.slot for source in site.sources] for site in mixing.sites}
    beta = {name: dict(zip(slots[name], softmax(logits[f"beta.{name}"]).tolist(), strict=True)) for name in mixing.beta}
    multipliers = [str(multiplier) for multiplier in mixing.space.width_multipliers]
    widths = {
        stride: dict(zip(multipliers, softmax(logits[f"width.{stride}"]).tolist(), strict=True))
        for stride in mixing.width
    }
    return FabricFrame(alpha, beta, {}, widths)


def _by_stride(fabric: FabricFrame) -> dict[int, tuple[float, ...]]:
    return {int(stride): tuple(shares.values()) for stride, shares in fabric.widths.items()}


def _rounded(fabric: FabricFrame, derived: Architecture, name: str) -> FabricFrame:
    """A fabric's shares as they are written down, and what is kept of it."""
    alpha = {table: tuple(_short(edge) for edge in edges) for table, edges in fabric.alpha.items()}
    beta = {site: _short(slots) for site, slots in fabric.beta.items()}
    widths = {stride: _short(shares) for stride, shares in fabric.widths.items()}
    channels = derived.channels(name)
    return FabricFrame(
        alpha,
        beta,
        kept_choices(derived.fabrics()[name][1]),
        widths,
        {stride: channels[int(stride)] for stride in widths},
    )


def _short(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: round(share, DIGITS) for name, share in shares.items()}
