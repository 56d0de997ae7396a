"""A checkpoint of one of the paper's nets: the recipe says which, and where they differ, the file decides.

The released Ours-1 mixes three operations where the paper has four; the released configuration of HRNet on MPII has no
vectors. Whatever else differs is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from posefabric.architecture import Architecture
from posefabric.config import Config, override
from posefabric.errors import UserError, unknown_name
from posefabric.published import PUBLISHED, Recipe
from posefabric.released.backbones import recognised
from posefabric.released.ledger import is_counter
from posefabric.released.names import THEIR_PARTS, Naming, keypoint_order
from posefabric.released.operations import operations_of
from posefabric.released.reading import Imported, read_net

T = TypeVar("T")


@dataclass(frozen=True)
class _Decided:
    """What a file decides: assignments to the recipe's configuration, what to tell of them, where layers begin."""

    assignments: tuple[str, ...]
    notes: tuple[str, ...]
    further_layers: int


def import_recipe(name: str, tensors: Mapping[str, Tensor]) -> tuple[Imported, Config]:
    """Read a checkpoint of the net of a recipe; gives the net, and the recipe's configuration as the file has it.

    Raises `UserError("bad-weights")` for whatever does not fit, all at once where it can be.
    """
    recipe = check_recipe(name)
    tensors = _unwrapped(tensors)
    parts = THEIR_PARTS[recipe.config.model.parts]
    _check_kind(name, recipe, tensors)
    _check_skeleton(name, recipe, tensors)
    decided = _decide(recipe, parts, tensors)
    settings = override(recipe.config, [*decided.assignments, "backbone.pretrained=false"])
    whole = settings.model.supernet(recipe.skeleton, settings.backbone.describe())
    imported = read_net(whole, Naming(parts, decided.further_layers), tensors, of=f"that of {name}")
    ledger = replace(imported.ledger, notes=(*decided.notes, *imported.ledger.notes))
    ordered = _in_our_order(imported.state, whole, settings.model.parts)
    return replace(imported, state=ordered, ledger=ledger), settings


def check_recipe(name: str) -> Recipe:
    """A recipe of the paper that keeps its whole mixture. Raises `UserError` for any other."""
    if name not in PUBLISHED:
        raise unknown_name("recipe of the paper", name, tuple(PUBLISHED))
    recipe = PUBLISHED[name]()
    if recipe.architecture() != _supernet(recipe):
        whole = next(other for other, one in _all() if one.config == recipe.config)
        found = f"recipe {name} is a topology cut from a mixture"
        raise UserError("bad-value", found, f"the recipe of the whole mixture: {whole}")
    return recipe


def _supernet(recipe: Recipe) -> Architecture:
    return recipe.config.model.supernet(recipe.skeleton, recipe.config.backbone.describe())


def _unwrapped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the prefix that training on several GPUs leaves."""
    if all(name.startswith("module.") or is_counter(name) for name in tensors):
        return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def _check_kind(name: str, recipe: Recipe, tensors: Mapping[str, Tensor]) -> None:
    """The parts and the backbone, before single tensors: whoever errs here has another recipe in mind."""
    found = _kind({key.removesuffix(".alphas") for key in tensors if key.endswith(".alphas")}, recognised(tensors))
    wanted = _kind_of(recipe)
    if found == wanted:
        return
    fitting = [other for other, one in _all() if _kind_of(one) == found]
    raise UserError("bad-weights", f"the checkpoint has {found}", f"for {name}, {wanted}", _recipes(fitting))


def _all() -> Iterator[tuple[str, Recipe]]:
    return ((name, make()) for name, make in PUBLISHED.items())


def _recipes(fitting: Sequence[str]) -> str:
    return f"Give one of the recipes that have these: {', '.join(fitting)}." if fitting else ""


def _kind_of(recipe: Recipe) -> str:
    backbone = recipe.config.backbone.describe()
    return _kind({*THEIR_PARTS[recipe.config.model.parts].values()}, backbone.name)


def _kind(parts: set[str], backbone: str | None) -> str:
    named = ", ".join(sorted(parts - {"backbone"}))
    has_parts = f"the parts {named}" if named else "no parts"
    return f"{has_parts} and {f'the backbone {backbone}' if backbone else 'no known backbone'}"


def _decide(recipe: Recipe, parts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> _Decided:
    model = recipe.config.model
    assignments, notes = [], []
    found = {theirs: operations_of(tensors, theirs) for theirs in parts.values()}
    operations = _same(found, "operations")
    if operations != model.fabric.operations:
        assignments.append(f"model.fabric.operations=[{','.join(operations)}]")
        notes.append(f"operations: {', '.join(operations)}; the paper has {', '.join(model.fabric.operations)}")
    if _same({theirs: tensors[f"{theirs}.alphas"].ndim for theirs in parts.values()}, "dimensions of alphas") == 3:
        assignments.append("model.fabric.share_operations=false")
        notes.append("operations are mixed in each cell by itself; in the paper all cells of a part share them")
    vector_dim = _vector_dim(recipe, tensors)
    if vector_dim != model.vector_dim:
        activation = "linear" if vector_dim == 1 else model.activation
        assignments += [f"model.vector_dim={vector_dim}", f"model.activation={activation}"]
        notes.append(f"vectors of {vector_dim} numbers ({activation}); the paper has {model.vector_dim}")
    first = _same({theirs: _first_layer(tensors, theirs) for theirs in parts.values()}, "first layers")
    further = first - model.fabric.head().first_layer
    if further:
        notes.append(f"layers are counted from {first}, in a lens of {model.fabric.num_layers + further}")
    return _Decided(tuple(assignments), tuple(notes), further)


def _check_skeleton(name: str, recipe: Recipe, tensors: Mapping[str, Tensor]) -> None:
    """Whether the last convolutions have equally many channels for every keypoint of the recipe's body."""
    if _vector_dim(recipe, tensors) is None:
        parts = THEIR_PARTS[recipe.config.model.parts].values()
        channels = ", ".join(f"{part} {_channels(tensors, part)}" for part in parts)
        backbone = recipe.config.backbone.name
        raise UserError(
            "bad-weights",
            f"the last convolutions have the channels {channels}",
            f"for {name}, equally many for every keypoint of {recipe.skeleton.name}",
            _recipes([other for other, r in _all() if r.config.backbone.name == backbone and _vector_dim(r, tensors)]),
        )


def _vector_dim(recipe: Recipe, tensors: Mapping[str, Tensor]) -> int | None:
    """Numbers per keypoint and pixel, by the channels of the last convolutions; none where they are of another net."""
    partition = recipe.skeleton.partition(recipe.config.model.parts)
    counts = {theirs: len(partition[ours]) for ours, theirs in THEIR_PARTS[recipe.config.model.parts].items()}
    sizes = {_channels(tensors, part) / count for part, count in counts.items()}
    (size, *others) = sizes
    return int(size) if not others and size >= 1 and size == int(size) else None


def _channels(tensors: Mapping[str, Tensor], part: str) -> int:
    bias = tensors.get(f"{part}.final_layer.1.bias")
    return 0 if bias is None else bias.numel()


def _first_layer(tensors: Mapping[str, Tensor], fabric: str) -> int:
    layers = [int(found[1]) for name in tensors if (found := re.match(rf"{re.escape(fabric)}\.cell_(\d+)_", name))]
    if not layers:
        raise UserError("bad-weights", f"{fabric} has no cells", f"tensors named {fabric}.cell_LAYER_SCALE")
    return min(layers)


def _same(found: Mapping[str, T], what: str) -> T:
    """What all parts have; nets of ours have it in common."""
    values = list(found.values())
    if any(value != values[0] for value in values):
        each = "; ".join(f"{fabric}: {value}" for fabric, value in found.items())
        raise UserError("bad-weights", f"the {what} of the parts differ: {each}", "the same in all parts")
    return values[0]


def _in_our_order(state: Mapping[str, Tensor], whole: Architecture, partition: str) -> dict[str, Tensor]:
    """The state with the channels of each part's last convolution in the order of our keypoints."""
    ordered = dict(state)
    for part, keypoints in whole.partition.items():
        theirs = keypoint_order(whole.skeleton, partition, part)
        places = [theirs.index(keypoint) for keypoint in keypoints]
        for end in ("weight", "bias"):
            name = f"parts.{part}.head.to_vectors.{end}"
            tensor = state[name]
            vectors = tensor.reshape(len(places), whole.vector_dim, *tensor.shape[1:])
            ordered[name] = vectors[places].reshape(tensor.shape)
    return ordered
