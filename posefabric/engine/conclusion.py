"""How a run ends: figures, pictures of the best, typical and worst persons, report."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from posefabric.config import Config
from posefabric.data.images import write_image
from posefabric.data.records import Image, People, records
from posefabric.data.sources import source_of_boxes
from posefabric.data.transforms import make_sample
from posefabric.draw import contact_sheet, draw_people
from posefabric.engine.evaluate import predict_people
from posefabric.evaluation.diagnosis import diagnosis_of
from posefabric.evaluation.figures import figures
from posefabric.evaluation.oks import oks
from posefabric.evaluation.predictions import Predictions
from posefabric.evaluation.visibility import calibrated_threshold
from posefabric.geometry import invert, transform_points
from posefabric.models.cost import count
from posefabric.models.net import Net
from posefabric.predictor import visible_threshold
from posefabric.reporting import write_report
from posefabric.runs import Run, make_folder

PEOPLE_PER_SHEET = 8
CANVAS_HW = (256, 192)


def measure(run: Run, net: Net, people: People, config: Config, *, calibrate: bool = True) -> dict[str, Any]:
    """Measure a net on people; figures, diagnosis and pictures go into the run folder.

    `calibrate` notes the score from which on a keypoint counts as visible; validation people decide it, no others.
    """
    found = predict_people(net, people, config, device=str(next(net.parameters()).device))
    persons = list(records(people))
    cost = count(net.architecture)
    measured = {
        "boxes": source_of_boxes(people),
        **figures(people.truth(), found),
        "parameters": cost.parameters,
        "macs": cost.macs,
    }
    if calibrate:
        threshold = calibrated_threshold(found.keypoints_xy, found.scores, persons, people.skeleton.sigmas)
        run.note(visible_threshold=threshold)
    run.save_figures(measured)
    run.save_diagnosis(diagnosis_of(people.truth(), found))
    save_pictures(run, people, found, config)
    return measured


def conclude(run: Run, began: float) -> None:
    """Write the report, then mark the run as finished; `began` is `time.monotonic` at the session's start."""
    run.note(seconds=round(run.record.get("seconds", 0.0) + time.monotonic() - began, 1))
    write_report([run.path], run.path / "report.html")
    run.finish()


def save_pictures(run: Run, people: People, found: Predictions, config: Config) -> None:
    """Contact sheets in the run's `pictures/`, chosen by OKS; drawn are the keypoints found that count as visible."""
    persons = list(records(people))
    similarity = oks(found.keypoints_xy, persons, people.skeleton.sigmas)
    order = np.argsort(-similarity)
    order = order[np.isfinite(similarity[order])]
    middle = max(len(order) // 2 - PEOPLE_PER_SHEET // 2, 0)
    choices = {
        "best": order[:PEOPLE_PER_SHEET],
        "typical": order[middle : middle + PEOPLE_PER_SHEET],
        "worst": order[::-1][:PEOPLE_PER_SHEET],
    }
    make_folder(run.path / "pictures")
    for name, chosen in choices.items():
        drawn = [_picture(people, int(index), found, config, visible_threshold(run)) for index in chosen]
        if drawn:
            write_image(run.path / "pictures" / f"{name}.jpg", contact_sheet(drawn, columns=4))


def _picture(people: People, index: int, found: Predictions, config: Config, threshold: float) -> Image:
    """The person's crop, enlarged, with the predicted skeleton."""
    sample = make_sample(
        people.record(index), people.image(index), people.skeleton, CANVAS_HW, margin=config.data.margin
    )
    points = transform_points(found.keypoints_xy[index], invert(sample.crop_to_image))
    return draw_people(sample.image, points[None], found.scores[[index]], people.skeleton, threshold=threshold)
