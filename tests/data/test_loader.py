"""Batches: pure functions of seed and step, whatever the workers and wherever a run resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from posefabric.data.loader import MAX_STAND_INS, CropSettings, evaluation_batches, training_batches
from posefabric.data.records import PersonRecord, truth_of
from posefabric.data.transforms import make_sample
from posefabric.errors import UserError
from posefabric.settings import Augmentation
from posefabric.skeletons import LSP14

VIEW = CropSettings(input_hw=(64, 48), augmentation=Augmentation())


class NoisePeople:
    """Persons made of noise, each a function of its index."""

    skeleton = LSP14

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def record(self, index):
        keypoints = np.random.default_rng(index).uniform(10, 70, (14, 2))
        return PersonRecord(index, index, np.array([10.0, 10, 70, 70]), keypoints, np.full(14, 2), 3600.0)

    def truth(self):
        return truth_of(self)

    def image(self, index):
        return np.random.default_rng([1, index]).integers(0, 256, (80, 90, 3), dtype=np.uint8)


class PatchyPeople(NoisePeople):
    """Some of their images cannot be had."""

    def __init__(self, count, damaged=(), missing=()):
        super().__init__(count)
        self.damaged, self.missing = damaged, missing

    def image(self, index):
        if index in self.damaged:
            raise UserError("bad-image", f"{index}.jpg is damaged", "a whole one")
        if index in self.missing:
            raise UserError("missing-file", f"{index}.jpg does not exist")
        return super().image(index)


def assert_same(first, second):
    first, second = list(first), list(second)
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0)


def batches(**changes):
    return training_batches(NoisePeople(11), VIEW, **{"batch_size": 4, "seed": 5, "num_steps": 7} | changes)


def test_a_batch_is_what_the_walk_says():
    batch = next(batches())
    assert batch.images.shape == (4, 3, 64, 48)
    assert batch.images.dtype == batch.keypoints_xy.dtype == batch.crop_to_image.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.keypoints_xy.shape == (4, 14, 2)
    assert batch.visibility.shape == (4, 14)
    assert batch.crop_to_image.shape == (4, 2, 3)
    assert_same([batch.to("cpu")], [batch])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(num_workers):
    assert_same(batches(num_workers=num_workers), batches())


@pytest.mark.parametrize("start", [1, 2, 5])
def test_resuming_changes_nothing(start):
    rest = batches(start_step=start, num_steps=7 - start)
    assert_same(rest, list(batches())[start:])


def test_seeds_and_epochs_differ():
    steps = list(batches(num_steps=4))
    again = next(batches(seed=6))
    assert steps[0].indices.tolist() != again.indices.tolist()
    assert steps[0].indices.tolist() != steps[2].indices.tolist()  # two steps an epoch
    everyone = list(batches(batch_size=11, num_steps=2))
    order = [batch.indices.argsort() for batch in everyone]
    assert (everyone[0].keypoints_xy[order[0]] != everyone[1].keypoints_xy[order[1]]).any()


def test_an_epoch_shows_nobody_twice_and_the_chosen_only():
    chosen = [1, 3, 4, 6, 7, 10]
    steps = list(batches(indices=chosen, batch_size=3, num_steps=6))
    for first, second in zip(steps[::2], steps[1::2], strict=True):
        assert sorted(first.indices.tolist() + second.indices.tolist()) == chosen


def test_a_person_of_an_epoch_does_not_depend_on_the_company():
    alone = next(batches(indices=[3], batch_size=1))
    row = next(batch for batch in batches(batch_size=11, num_steps=1))
    torch.testing.assert_close(alone.images[0], row.images[row.indices.tolist().index(3)], rtol=0, atol=0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_shows_everyone_once_in_order_unaugmented(num_workers):
    people = NoisePeople(11)
    seen = list(evaluation_batches(people, VIEW, batch_size=4, num_workers=num_workers))
    assert [len(batch.images) for batch in seen] == [4, 4, 3]
    assert torch.cat([batch.indices for batch in seen]).tolist() == list(range(11))
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (VIEW.mean, VIEW.std))
    for batch in seen:
        pixels = (batch.images * std + mean) * 255
        for row, index in enumerate(batch.indices.tolist()):
            sample = make_sample(people.record(index), people.image(index), LSP14, (64, 48))
            np.testing.assert_allclose(pixels[row].movedim(0, -1).numpy(), sample.image, atol=1e-3)
            np.testing.assert_allclose(batch.crop_to_image[row].numpy(), sample.crop_to_image, rtol=1e-5)
    few = evaluation_batches(people, VIEW, indices=[7, 2, 9], batch_size=2)
    assert [batch.indices.tolist() for batch in few] == [[7, 2], [9]]


def test_loading_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(batches(num_steps=2))
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize("batch_size", [0, 12])
def test_a_batch_needs_enough_people(batch_size):
    with pytest.raises(UserError, match="1 to 11"):
        batches(batch_size=batch_size)


DAMAGED = (2, 3, 7)


def patchy(damaged=DAMAGED, **changes):
    settings = {"batch_size": 4, "seed": 5, "num_steps": 7} | changes
    return training_batches(PatchyPeople(11, damaged), VIEW, **settings)


def test_others_stand_in_for_persons_with_damaged_images():
    """Each damaged person that was drawn is named; nobody else is touched."""
    damaged_ones = 0
    for asked, batch in zip(batches(), patchy(), strict=True):
        drawn = asked.indices.tolist()
        replaced = [row for row, index in enumerate(drawn) if index in DAMAGED]
        damaged_ones += len(replaced)
        assert not set(batch.indices.tolist()) & set(DAMAGED)
        assert set(batch.skipped.tolist()) <= set(DAMAGED)
        assert {drawn[row] for row in replaced} <= set(batch.skipped.tolist())
        kept = [row for row in range(4) if row not in replaced]
        assert batch.indices[kept].tolist() == asked.indices[kept].tolist()
        torch.testing.assert_close(batch.images[kept], asked.images[kept], rtol=0, atol=0)
        assert asked.skipped.tolist() == []
    assert damaged_ones > 3


@pytest.mark.parametrize("num_workers", [1, 2])
def test_stand_ins_do_not_depend_on_workers(num_workers):
    assert_same(patchy(num_workers=num_workers), patchy())


@pytest.mark.parametrize("start", [1, 2, 5])
def test_stand_ins_do_not_depend_on_where_a_run_resumes(start):
    assert_same(patchy(start_step=start, num_steps=7 - start), list(patchy())[start:])


def test_stand_ins_are_the_persons_of_the_names_they_bear():
    people = PatchyPeople(11, DAMAGED)
    still = CropSettings(input_hw=(64, 48))
    for batch in training_batches(people, still, batch_size=4, seed=5, num_steps=3):
        shown = next(evaluation_batches(people, still, indices=batch.indices.tolist(), batch_size=4))
        torch.testing.assert_close(batch.images, shown.images, rtol=0, atol=0)
        torch.testing.assert_close(batch.keypoints_xy, shown.keypoints_xy, rtol=0, atol=0)


def test_stand_ins_come_from_the_chosen_persons():
    chosen = [2, 3, 4, 6, 8, 10]
    seen = {index for batch in patchy(indices=chosen, batch_size=3, num_steps=20) for index in batch.indices.tolist()}
    assert seen == {4, 6, 8, 10}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_damage_everywhere_is_an_error(num_workers):
    with pytest.raises(UserError, match=f"{MAX_STAND_INS + 1} images drawn in a row are damaged") as caught:
        next(patchy(range(11), num_workers=num_workers))
    assert caught.value.code == "bad-image"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_missing_files_are_errors_and_evaluation_skips_nobody(num_workers):
    """Errors keep their code and cure on the way out of a worker process."""
    missing, damaged = PatchyPeople(11, missing=[3]), PatchyPeople(11, damaged=[3])
    streams = {
        "missing-file": training_batches(missing, VIEW, batch_size=11, seed=0, num_steps=1, num_workers=num_workers),
        "bad-image": evaluation_batches(damaged, VIEW, batch_size=4, num_workers=num_workers),
    }
    for code, stream in streams.items():
        with pytest.raises(UserError, match=r"3\.jpg") as caught:
            list(stream)
        assert caught.value.code == code
        assert caught.value.todo
