"""One image loader and one crop: whatever looks at a file sees the same pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from small_runs import lively_net, small_config
from torch import Tensor

from posefabric.data import coco
from posefabric.data.loader import evaluation_batches, training_batches
from posefabric.data.memory import InMemory
from posefabric.predictor import Predictor, crop_settings
from posefabric.skeletons import COCO17

UPRIGHT = np.random.default_rng(0).integers(0, 256, (301, 417, 3), dtype=np.uint8)
BOX = (40.0, 20.0, 330.0, 290.0)
STORED_BY = {3: PIL.Image.Transpose.ROTATE_180, 6: PIL.Image.Transpose.ROTATE_90, 8: PIL.Image.Transpose.ROTATE_270}
"""EXIF orientation -> how a camera held that way stores the picture."""


def written(path: Path, orientation: int) -> Path:
    """The picture as a file that is upright once its EXIF orientation is applied."""
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 90, "subsampling": 0} if path.suffix == ".jpg" else {}
    PIL.Image.fromarray(UPRIGHT).transpose(STORED_BY[orientation]).save(path, exif=exif, **options)
    return path


def dataset(photo: Path) -> coco.CocoPeople:
    """One person on the photograph."""
    triples = [number for k in range(17) for number in (50 + 15 * k, 30 + 14 * k, 2)]
    x1, y1, x2, y2 = BOX
    box = [x1, y1, x2 - x1, y2 - y1]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": triples, "bbox": box, "area": 5e4}
    content = {
        "images": [{"id": 1, "file_name": photo.name, "height": 301, "width": 417}],
        "annotations": [annotation | {"num_keypoints": 17, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.keypoints), "skeleton": []}],
    }
    file = photo.with_suffix(".json")
    file.write_text(json.dumps(content))
    return coco.load(file, photo.parent)


def seen_by_predictor(photo: Path) -> Tensor:
    """What a net is shown when the file is predicted."""
    config = small_config("evaluation.flip_test=false")
    net = lively_net(config)
    shown: list[Tensor] = []
    net.register_forward_pre_hook(lambda _, arguments: shown.append(arguments[0].clone()))
    Predictor(net, config).predict(photo, [BOX])
    return shown[0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp"])
@pytest.mark.parametrize("orientation", STORED_BY)
def test_training_evaluation_and_prediction_see_the_same_pixels(suffix: str, orientation: int, tmp_path: Path) -> None:
    photo = written(tmp_path / f"photo{suffix}", orientation)
    people = dataset(photo)
    config = small_config()
    view = crop_settings(config, lively_net(config).architecture, augmented=False)
    evaluated = next(evaluation_batches(people, view, batch_size=1))
    trained = next(training_batches(people, view, batch_size=1, seed=0, num_steps=1))
    kept = next(evaluation_batches(InMemory(people), view, batch_size=1))
    apart = next(evaluation_batches(people, view, batch_size=1, num_workers=1))
    for images in (trained.images, kept.images, apart.images, seen_by_predictor(photo)):
        assert torch.equal(images, evaluated.images)
    if suffix in (".png", ".tiff"):
        plain = tmp_path / "plain.png"
        PIL.Image.fromarray(UPRIGHT).save(plain)
        assert torch.equal(seen_by_predictor(plain), evaluated.images)
