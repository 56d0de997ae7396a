"""Stages 8b and 9 of the walk: heatmaps become keypoints of the image, for evaluation and for people alike.

A `Predictor` is a trained net with all it needs to see: the crop, the normalisation, the decoding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from torch import Tensor

from posefabric import draw, geometry, heatmaps
from posefabric.checkpoints import load_tensors
from posefabric.config import Config
from posefabric.data.images import read_image
from posefabric.data.loader import Batch, CropSettings, collate
from posefabric.data.records import Image, PersonRecord
from posefabric.data.transforms import make_sample
from posefabric.errors import UserError
from posefabric.evaluation.predictions import CONFIDENT, Predictions, to_coco_results
from posefabric.handmade import Description
from posefabric.models.net import Net, build
from posefabric.runs import FROM_SCRATCH, Run, read_record
from posefabric.skeletons import Skeleton

logger = logging.getLogger(__name__)


def crop_settings(config: Config, architecture: Description, *, augmented: bool) -> CropSettings:
    """How persons are shown to a net: its own input size, the configuration's margin, colours and augmentation."""
    return CropSettings(
        input_hw=architecture.input_hw,
        margin=config.data.margin,
        augmentation=config.data.augmentation if augmented else None,
        mean=config.data.mean,
        std=config.data.std,
    )


@torch.inference_mode()
def infer(net: Net, batch: Batch, config: Config) -> tuple[Float[np.ndarray, "B K 2"], Float[np.ndarray, "B K"]]:
    """Keypoints in image pixels and their scores; torch ends here. The net must be in eval mode."""
    return locate(infer_heatmaps(net, batch, config), batch, config)


@torch.inference_mode()
def infer_heatmaps(net: Net, batch: Batch, config: Config) -> Float[Tensor, "B K h w"]:
    """What a net in eval mode sees in a batch; with the flip test, the mean with what it sees in the mirror."""
    images = batch.images.contiguous(memory_format=torch.channels_last)
    maps: Tensor = net(images)
    if config.evaluation.flip_test:
        mirrored = net(images.flip(-1))
        maps = (maps + heatmaps.flip_heatmaps(mirrored, net.architecture.skeleton.flip_permutation)) / 2
    return maps


@torch.inference_mode()
def locate(
    maps: Float[Tensor, "B K h w"], batch: Batch, config: Config
) -> tuple[Float[np.ndarray, "B K 2"], Float[np.ndarray, "B K"]]:
    """The keypoints of heatmaps, in pixels of the images that the batch was cut from, and their scores."""
    input_hw = (batch.images.shape[2], batch.images.shape[3])
    found, scores = heatmaps.decode(maps, input_hw, config.evaluation.decode, config.data.sigma_px)
    crop_to_image = batch.crop_to_image.cpu().double().numpy()
    points = found.cpu().double().numpy()
    in_image = np.stack([geometry.transform_points(p, m) for p, m in zip(points, crop_to_image, strict=True)])
    return in_image, scores.cpu().double().numpy()


@dataclass(frozen=True, eq=False)
class Poses:
    """N persons found in one image: `xy` (N, K, 2) image pixels, `score` (N, K), `box` (N, 4) xyxy.

    A keypoint is `visible` where its score reaches `threshold`, which the run calibrated on its validation people.
    """

    skeleton: Skeleton
    image: Image
    xy: Float[np.ndarray, "N K 2"]
    score: Float[np.ndarray, "N K"]
    box: Float[np.ndarray, "N 4"]
    threshold: float = CONFIDENT

    @property
    def visible(self) -> Bool[np.ndarray, "N K"]:
        """Which keypoints can be trusted to be there."""
        return np.asarray(self.score >= self.threshold)

    def __len__(self) -> int:
        return len(self.xy)

    def plot(self, threshold: float | None = None) -> Image:
        """The image with skeletons; keypoints that are not visible, or below another threshold, are left out."""
        least = self.threshold if threshold is None else threshold
        return draw.draw_people(self.image, self.xy, self.score, self.skeleton, threshold=least)

    def to_coco(self, image_id: int = 0) -> list[dict[str, object]]:
        """COCO keypoint results, one per person."""
        count = len(self)
        found = Predictions(
            keypoints_xy=self.xy,
            scores=self.score,
            image_ids=np.full(count, image_id),
            annotation_ids=np.full(count, -1),
            box_scores=np.ones(count),
        )
        return to_coco_results(found)


class Predictor:
    """A trained net and how it is to be used; `threshold` is the score from which on a keypoint is visible."""

    def __init__(self, net: Net, config: Config, device: str = "cpu", threshold: float = CONFIDENT) -> None:
        self.net = net.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config, self.device, self.threshold = config, device, threshold

    @property
    def skeleton(self) -> Skeleton:
        skeleton: Skeleton = self.net.architecture.skeleton
        return skeleton

    def predict(self, image: Image | str | Path, boxes_xyxy: ArrayLike | None = None) -> Poses:
        """The poses of the persons in the boxes, (N, 4) corners in pixels; without boxes the whole image is one box."""
        data = self.config.data
        pixels = image if isinstance(image, np.ndarray) else read_image(image, allow_truncated=data.allow_truncated)
        height, width = pixels.shape[:2]
        boxes = np.asarray(boxes_xyxy if boxes_xyxy is not None else [[0, 0, width, height]], dtype=np.float64)
        view = crop_settings(self.config, self.net.architecture, augmented=False)
        count = self.skeleton.num_keypoints
        found = [np.zeros((0, count, 2))]
        scores = [np.zeros((0, count))]
        step = self.config.evaluation.batch_size
        for start in range(0, len(boxes), step):
            samples = [
                make_sample(_person(box, count), pixels, self.skeleton, view.input_hw, margin=view.margin)
                for box in boxes[start : start + step]
            ]
            batch = collate(samples, range(len(samples)), view)
            xy, score = infer(self.net, batch.to(self.device), self.config)
            found.append(xy)
            scores.append(score)
        return Poses(
            self.skeleton,
            pixels,
            np.concatenate(found),
            np.concatenate(scores),
            boxes.reshape(-1, 4),
            self.threshold,
        )


def load(path: str | Path) -> Predictor:
    """Open a run folder; it needs nothing beside it. Raises `UserError` for anything that is no finished run."""
    run = Run(Path(path))
    require_weights(run.path)
    described = run.description()
    net = heir(described, kept_weights(run, described), widen="derived" in run.record)
    on_gpu = run.config.accelerator != "cpu" and torch.cuda.is_available()
    return Predictor(net, run.config, "cuda" if on_gpu else "cpu", visible_threshold(run))


def require_weights(folder: Path) -> None:
    """Raise `UserError("bad-weights")` where the net of a run folder has none: a search with partial channels."""
    file = folder / "run.json"
    if file.is_file() and read_record(file).get(FROM_SCRATCH):
        found = f"{folder} was searched with partial channels: the net it derived has no weights"
        todo = f"train it from scratch: posefabric train DATA --architecture {folder}"
        raise UserError("bad-weights", found, "a run that trained it", todo)


def kept_weights(run: Run, described: Description) -> dict[str, Tensor]:
    """The weights of a run: those that its own net was measured with, or for another net those of the search."""
    weights = load_tensors(run.path / "weights.safetensors")
    if run.own_tensors_file.is_file() and run.description() == described:
        weights |= load_tensors(run.own_tensors_file)
    return weights


def visible_threshold(run: Run) -> float:
    """The score from which a run's keypoints count as visible: calibrated at its end, `CONFIDENT` until then."""
    calibrated: float | None = run.record.get("visible_threshold")
    return CONFIDENT if calibrated is None else calibrated


def heir(described: Description, state: Mapping[str, Tensor], *, widen: bool) -> Net:
    """A net with the weights of the same names (`inherit`); where there are none, the same random ones every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(described)
    inherit(net, state, widen=widen)
    return net


def inherit(net: Net, state: Mapping[str, Tensor], *, widen: bool = False) -> tuple[str, ...]:
    """Give a net the weights of the same names, as a derived net has them from its supernet.

    A fabric that is narrower takes the leading channels. One that is wider is an error, or with `widen` its further
    channels stay as they are, and a lateral convolution that was none passes on what it reads; the names of the tensors
    that have more channels are returned. Raises `UserError("bad-weights")` naming the first tensor that is missing,
    has another shape, other numbers, or some that are not finite.
    """
    inherited, widened = net.state_dict(), []
    if widen:
        state = {name: _passing_on(tensor) for name, tensor in inherited.items() if ".laterals." in name} | dict(state)
    for name, tensor in inherited.items():
        if name not in state:
            raise UserError("bad-weights", f"the weights have no tensor {name}", "weights of this architecture")
        given, axes = state[name], net.width_axes(name)
        changed = [axis for axis, sizes in enumerate(zip(given.shape, tensor.shape, strict=False)) if len({*sizes}) > 1]
        wider = any(given.shape[axis] < tensor.shape[axis] for axis in changed)
        if given.ndim != tensor.ndim or not set(changed) <= set(axes) or (wider and not widen):
            found = f"{name} has the shape {tuple(given.shape)}"
            raise UserError("bad-weights", found, f"{tuple(tensor.shape)}, that of the architecture")
        if given.is_floating_point() != tensor.is_floating_point():
            raise UserError("bad-weights", f"{name} holds numbers of {given.dtype}", f"{tensor.dtype}")
        if not given.isfinite().all():
            raise UserError("bad-weights", f"{name} holds numbers that are not finite", "finite weights")
        leading = tuple(slice(min(sizes)) for sizes in zip(given.shape, tensor.shape, strict=True))
        inherited[name] = tensor.clone()
        inherited[name][leading] = given[leading]
        widened += [name] * wider
    net.load_state_dict(inherited)
    if widened:
        logger.warning("wider than the weights it inherits, further channels are untrained: %d tensors", len(widened))
    return tuple(widened)


def _passing_on(lateral: Tensor) -> Tensor:
    """The weight or the bias of a 1x1 convolution that leaves channels as they are, as many as it has."""
    return torch.eye(*lateral.shape[:2], device=lateral.device)[..., None, None] if lateral.ndim > 1 else 0 * lateral


def _person(box_xyxy: Float[np.ndarray, "4"], num_keypoints: int) -> PersonRecord:
    return PersonRecord(
        image_id=0,
        annotation_id=0,
        bbox_xyxy=box_xyxy,
        keypoints_xy=np.zeros((num_keypoints, 2)),
        visibility=np.zeros(num_keypoints, dtype=np.int64),
        area=0.0,
    )
