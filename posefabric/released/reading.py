"""The authors' tensors in a net of ours: same weights, same outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from posefabric.architecture import Architecture
from posefabric.genotype import Genotype, everything
from posefabric.models.mixing import SoftmaxMixing, as_genotype
from posefabric.models.net import PoseNet
from posefabric.released.backbones import first_convolution
from posefabric.released.ledger import BATCHES, Ledger, Problems, module_of, reason_unused
from posefabric.released.names import Naming
from posefabric.space import SHARED, SearchSpace


@dataclass(frozen=True)
class Imported:
    """An architecture, the state of its `PoseNet`, and what became of every tensor of the file.

    `first_convolution` names the weight of the state that meets the image: its inputs are in the order in which the
    authors' images have their channels.
    """

    architecture: Architecture
    state: Mapping[str, Tensor]
    ledger: Ledger
    first_convolution: str

    def reading_rgb(self) -> Imported:
        """The same net for images in RGB, where the authors' are in BGR."""
        flipped = self.state[self.first_convolution].flip(1).contiguous()
        return replace(self, state={**self.state, self.first_convolution: flipped})


def read_net(whole: Architecture, naming: Naming, tensors: Mapping[str, Tensor], of: str) -> Imported:
    """Fill the net of `whole`, an architecture that keeps everything, and take its multipliers from their logits.

    Raises `UserError("bad-weights")` with every tensor that is missing, misshapen, not finite or has no place in the
    net; the net is called `of` then.
    """
    modules, fabrics = naming.modules(whole), naming.fabrics(whole)
    reader = _Reader(_without_second_input(tensors, whole, fabrics), Problems(of))
    with torch.device("meta"):
        wanted = PoseNet(whole).state_dict()
    state: dict[str, Tensor] = {}
    for theirs, ours in _origins(wanted, modules).items():
        state |= reader.take(theirs, {name: wanted[name] for name in ours})
    logits = {fabric: reader.logits(theirs, whole.fabrics()[fabric][0]) for fabric, theirs in fabrics.items()}
    dead = {}
    for name in sorted(tensors.keys() - reader.used.keys()):
        if (reason := reason_unused(name, whole, naming, modules)) is None:
            reader.problems.add("without a place in it", name)
        else:
            dead[name] = reason
    reader.problems.check()
    mixtures = {fabric: _mixture(space, *logits[fabric]) for fabric, (space, _) in whole.fabrics().items()}
    return Imported(
        architecture=whole.with_genotypes(mixtures),
        state=state,
        ledger=Ledger(reader.used, dead, tuple(reader.missing), reader.notes()),
        first_convolution=reader.used[first_convolution(whole.backbone.name)][0],
    )


class _Reader:
    """Hands out the tensors of a file; remembers which were asked for, and what is wrong with them."""

    def __init__(self, tensors: Mapping[str, Tensor], problems: Problems) -> None:
        self.tensors, self.problems = tensors, problems
        self.used: dict[str, tuple[str, ...]] = {}
        self.missing: list[str] = []
        self._kinds: Counter[str] = Counter()

    def take(self, theirs: str, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A tensor of theirs under our names: several are its blocks along the second axis, one per node of a cell."""
        if theirs not in self.tensors:
            if theirs.endswith(BATCHES):
                self.missing.append(theirs)
                return {name: torch.zeros_like(tensor, device="cpu") for name, tensor in ours.items()}
            self.problems.add("missing", theirs)
            return {}
        self.used[theirs] = tuple(ours)
        first = next(iter(ours.values()))
        shape = tuple(first.shape) if len(ours) == 1 else (first.shape[0], len(ours) * first.shape[1], *first.shape[2:])
        found = self._checked(theirs, shape, first.dtype)
        if found is None:
            return {}
        return dict(zip(ours, [found] if len(ours) == 1 else found.chunk(len(ours), dim=1), strict=True))

    def logits(self, fabric: str, space: SearchSpace) -> tuple[Tensor, Tensor]:
        """Alphas and betas of a fabric of theirs."""
        cells = len(space.sites())
        table = (len(space.edges), len(space.operations))
        alphas = torch.empty(table if space.share_operations else (cells, *table))
        betas = torch.empty(cells, len(space.sites()[0].sources))
        taken = self.take(f"{fabric}.alphas", {"alphas": alphas}) | self.take(f"{fabric}.betas", {"betas": betas})
        return taken.get("alphas", alphas), taken.get("betas", betas)

    def notes(self) -> tuple[str, ...]:
        return tuple(f"{count} tensors are {kind}; they are kept as float32" for kind, count in self._kinds.items())

    def _checked(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor | None:
        found = self.tensors[name]
        if tuple(found.shape) != tuple(shape):
            self.problems.add("of another shape", f"{name} {tuple(found.shape)} instead of {tuple(shape)}")
        elif found.is_floating_point() != dtype.is_floating_point:
            self.problems.add("of another kind", f"{name} {found.dtype} instead of {dtype}")
        elif not torch.isfinite(found).all():
            self.problems.add("not finite", name)
        else:
            if found.dtype != dtype:
                self._kinds[str(found.dtype).removeprefix("torch.")] += 1
            return found.to(dtype)
        return None


def _without_second_input(
    tensors: Mapping[str, Tensor], whole: Architecture, fabrics: Mapping[str, str]
) -> dict[str, Tensor]:
    """Where cells were described with two input nodes, alphas have a row more per hidden node, the last, never read."""
    cut = dict(tensors)
    for fabric, theirs in fabrics.items():
        space, _ = whole.fabrics()[fabric]
        alphas, edges = tensors.get(f"{theirs}.alphas"), len(space.edges)
        if alphas is not None and alphas.ndim > 1 and alphas.shape[-2] == edges + space.num_nodes:
            cut[f"{theirs}.alphas"] = alphas[..., :edges, :]
    return cut


def _origins(state: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, list[str]]:
    """Their tensor -> ours that come from it: one, or of a cell's projection one per node."""
    inverse = {ours: theirs for theirs, ours in modules.items()}
    found: dict[str, list[str]] = {}
    for name in state:
        module = module_of(name, inverse)
        assert module, f"no name of theirs for {name}"
        end = name.removeprefix(module)
        end = ".weight" if end.startswith(".weights.") else end
        found.setdefault(inverse[module] + end, []).append(name)
    return found


def _mixture(space: SearchSpace, alphas: Tensor, betas: Tensor) -> Genotype:
    """Their logits as the multipliers that their code applies."""
    mixing = SoftmaxMixing(space, everything(space))
    with torch.no_grad():
        for index, site in enumerate(space.sites()):
            mixing.beta[site.name].copy_(betas[index])
            if not space.share_operations:
                mixing.alpha[site.name].copy_(alphas[index])
        if space.share_operations:
            mixing.alpha[SHARED].copy_(alphas)
        return as_genotype(mixing())
