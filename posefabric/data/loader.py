"""Stage 3 of the walk: samples become batches; torch begins.

The batch of a training step is a pure function of the seed and the step, so neither the number of workers nor
a resume in the middle changes what a network sees.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from posefabric import geometry
from posefabric.data.records import People
from posefabric.data.transforms import Sample, make_sample
from posefabric.errors import UserError
from posefabric.settings import IMAGENET_MEAN, IMAGENET_STD, Augmentation

Key = tuple[int, int]
"""What a sample is drawn from: (epoch, index of the person)."""


MAX_STAND_INS = 48
"""So many damaged images in a row are no accident."""


@dataclasses.dataclass(frozen=True)
class CropSettings:
    """How persons are shown to a network; `mean` and `std` normalise RGB in [0, 1]."""

    input_hw: tuple[int, int]
    margin: float = geometry.DEFAULT_MARGIN
    augmentation: Augmentation | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Batch(NamedTuple):
    """B samples as tensors, `indices` naming the persons.

    Images are normalised and channels-last in memory; keypoints are in crop pixels. `skipped` are the S persons that
    others stand in for, because their image is damaged.
    """

    images: Float[Tensor, "B 3 H W"]
    keypoints_xy: Float[Tensor, "B K 2"]
    visibility: Int[Tensor, "B K"]
    crop_to_image: Float[Tensor, "B 2 3"]
    indices: Int[Tensor, " B"]
    skipped: Int[Tensor, " S"]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def pieces(self, size: int) -> Iterator[Batch]:
        """The samples in order, `size` at a time; the first piece tells what was skipped."""
        for start in range(0, len(self.images), size):
            some = slice(start, start + size)
            of_samples = {name: tensor[some] for name, tensor in self._asdict().items() if name != "skipped"}
            yield Batch(**of_samples, skipped=self.skipped if start == 0 else self.skipped[:0])


def collate(
    samples: Sequence[Sample], indices: Sequence[int], view: CropSettings, skipped: Sequence[int] = ()
) -> Batch:
    """One batch from samples of the view's input size; float32, on the CPU."""
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).movedim(-1, 1)  # B 3 H W
    mean, std = (255 * torch.tensor(numbers)[:, None, None] for numbers in (view.mean, view.std))
    return Batch(
        images=images.float().sub_(mean).div_(std),
        keypoints_xy=torch.from_numpy(np.stack([sample.keypoints_xy for sample in samples])).float(),
        visibility=torch.from_numpy(np.stack([sample.visibility for sample in samples])).long(),
        crop_to_image=torch.from_numpy(np.stack([sample.crop_to_image for sample in samples])).float(),
        indices=torch.tensor(indices),
        skipped=torch.tensor(skipped, dtype=torch.int64),
    )


def training_batches(
    people: People,
    view: CropSettings,
    *,
    indices: Sequence[int] | None = None,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    num_steps: int,
    num_workers: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """The whole batches of steps `start_step` ... `start_step + num_steps - 1`, shuffled anew every epoch.

    With `part` (i, n) of each batch only the i-th of n equal parts, the first being 0. `indices` restricts training to
    some persons. Too few for one batch raise `UserError("bad-value")`. A person whose image is damaged is replaced by
    another, drawn from the seed, the epoch and the person, and named in the batch's `skipped`; `MAX_STAND_INS` damaged
    images in a row raise `UserError("bad-image")`.
    """
    chosen = np.arange(len(people)) if indices is None else np.asarray(indices, dtype=np.int64)
    if not 1 <= batch_size <= len(chosen):
        raise UserError("bad-value", f"batch size {batch_size}", f"1 to {len(chosen)}, the number of persons")
    which, parts = part
    rows = slice(which * batch_size // parts, (which + 1) * batch_size // parts)
    whole = _training_keys(chosen, batch_size, seed, range(start_step, start_step + num_steps))
    keys = (batch[rows] for batch in whole)
    return _load(_Samples(people, view, seed, chosen), keys, num_workers)


def evaluation_batches(
    people: People,
    view: CropSettings,
    *,
    indices: Sequence[int] | None = None,
    batch_size: int,
    num_workers: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Every person once, in order and without augmentation; the last batch may be smaller.

    With `part` (i, n) only every n-th batch, beginning with the i-th from 0.

    A damaged image raises `UserError("bad-image")`: figures on fewer persons would be other figures.
    """
    chosen = range(len(people)) if indices is None else indices
    keys = (
        [(0, int(index)) for index in chosen[start : start + batch_size]] for start in range(0, len(chosen), batch_size)
    )
    mine = itertools.islice(keys, part[0], None, part[1])
    return _load(_Samples(people, dataclasses.replace(view, augmentation=None), 0), mine, num_workers)


def _training_keys(indices: Int[np.ndarray, " N"], batch_size: int, seed: int, steps: range) -> Iterator[list[Key]]:
    steps_per_epoch = len(indices) // batch_size
    shuffled_for, order = -1, indices
    for step in steps:
        epoch, position = divmod(step, steps_per_epoch)
        if epoch != shuffled_for:
            shuffled_for, order = epoch, np.random.default_rng([seed, epoch]).permutation(indices)
        rows = order[position * batch_size : (position + 1) * batch_size]
        yield [(epoch, int(index)) for index in rows]


class _Row(NamedTuple):
    """A person, its sample, and those it stands in for."""

    person: int
    sample: Sample
    skipped: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Samples(Dataset[_Row | UserError]):
    """Samples by key; persons with damaged images are replaced by `stand_ins`, if there are any.

    Errors are results like others: raised in a worker process, they would lose their type on the way.
    """

    people: People
    view: CropSettings
    seed: int
    stand_ins: Int[np.ndarray, " N"] | None = None

    def __getitem__(self, key: Key) -> _Row | UserError:
        skipped: list[int] = []
        for index in self._candidates(*key):
            try:
                return _Row(index, self._sample(key[0], index), tuple(skipped))
            except UserError as error:
                if error.code != "bad-image" or self.stand_ins is None:
                    return error
                skipped.append(index)
                last = error
        return UserError("bad-image", f"{len(skipped)} images drawn in a row are damaged, at last {last.given}")

    def _candidates(self, epoch: int, index: int) -> Iterator[int]:
        yield index
        if self.stand_ins is not None:
            rng = np.random.default_rng([self.seed, epoch, index, 1])
            yield from rng.choice(self.stand_ins, MAX_STAND_INS).tolist()

    def _sample(self, epoch: int, index: int) -> Sample:
        return make_sample(
            self.people.record(index),
            self.people.image(index),
            self.people.skeleton,
            self.view.input_hw,
            margin=self.view.margin,
            augmentation=self.view.augmentation,
            rng=np.random.default_rng([self.seed, epoch, index]),
        )


def _load(samples: _Samples, keys: Iterator[list[Key]], num_workers: int) -> Iterator[Batch]:
    loader = DataLoader(
        samples,
        batch_sampler=keys,
        collate_fn=partial(_collate_rows, view=samples.view),
        num_workers=num_workers,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # its own, so that loading draws nothing from torch's global one
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _collate_rows(rows: list[_Row | UserError], view: CropSettings) -> Batch | UserError:
    whole = []
    for row in rows:
        if isinstance(row, UserError):
            return row
        whole.append(row)
    skipped = [index for row in whole for index in row.skipped]
    return collate([row.sample for row in whole], [row.person for row in whole], view, skipped)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
