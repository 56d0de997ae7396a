"""`evaluate`: the field's metrics of a trained net, or of a file of predictions without any net."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posefabric.commands.arguments import Assignments, Category, Images, Result, check_skeletons
from posefabric.config import override
from posefabric.errors import UserError, unknown_name
from posefabric.runs import make_folder, next_output, to_text, write_atomic
from posefabric.skeletons import COCO17, MPII16

if TYPE_CHECKING:
    from posefabric.data.records import GroundTruth
    from posefabric.evaluation.predictions import Predictions

METRICS = ("oks", "pckh", "pck")
SUBMISSION = "person_keypoints_test-dev2017_posefabric_results.json"
"""What COCO's server expects inside the zip file."""


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    data: Annotated[str | None, typer.Argument(help="A dataset YAML, a COCO keypoint JSON, or 'synthetic'.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    boxes: Annotated[
        Path | None, typer.Option(help="Detected persons (COCO results) instead of those annotated.")
    ] = None,
    flip_test: Annotated[bool, typer.Option("--flip-test", help="Average with the mirrored crop.")] = False,
    predictions: Annotated[Path | None, typer.Option(help="COCO keypoint results, or MPII's pred.mat.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="COCO keypoint JSON, or MPII's gt_valid.mat.")] = None,
    metric: Annotated[str | None, typer.Option(help="oks, pckh or pck, with --predictions.")] = None,
    set: Assignments = None,
    images: Images = None,
    category: Category = None,
    output: Annotated[Path | None, typer.Option(help="A folder; or a .json, .mat or .zip file, results alone.")] = None,
) -> Result:
    """Measure a trained net on people: RUN DATA. Or measure a file: --predictions, --annotations and --metric."""
    if predictions or annotations or metric:
        of_a_net = run or data or boxes or flip_test or set or images or split != "val"
        if of_a_net or not (predictions and annotations and metric):
            raise UserError(
                "bad-value",
                "one part of two ways to evaluate",
                "RUN DATA, or --predictions FILE --annotations FILE --metric oks|pckh|pck (--category, --output)",
            )
        return _measure_file(predictions, annotations, metric, category, output)
    if run is None or data is None:
        raise UserError("bad-value", "evaluate without RUN and DATA", "both, or --predictions with --annotations")
    from posefabric import ranks
    from posefabric.data.sources import Where, open_evaluated
    from posefabric.engine.evaluate import predict_people, survivors
    from posefabric.predictor import load

    ranks.join()
    predictor = load(run)
    settings = override(predictor.config, [*(set or []), *["evaluation.flip_test=true"] * flip_test])
    people, source = open_evaluated(data, split, settings, Where(images, category), boxes)
    if len(people) == 0 and not boxes:
        raise UserError(
            "bad-dataset",
            f"{data} has no persons in its split '{split}'",
            "one annotated with keypoints, or --boxes FILE",
        )
    check_skeletons(predictor.net.architecture, people.skeleton.keypoints, data)
    if output and output.suffix == ".mat":
        _require_mpii(output, people.truth(), detected=boxes is not None)
    found = predict_people(predictor.net, people, settings, predictor.device)
    if boxes:
        found = survivors(found, people, settings.evaluation)
    if ranks.rank() > 0:
        return Result({})
    return _conclude(people.truth(), found, source, output or next_output("evaluate"))


def _conclude(truth: GroundTruth, found: Predictions, source: str, output: Path) -> Result:
    """The figures; written are the results, alone or in a folder with figures, diagnosis and what servers take."""
    from posefabric.evaluation.figures import figures

    measured = {"boxes": source, **figures(truth, found)}
    result = Result(measured, output, text=f"{len(found)} persons in {source}")
    if output.suffix in WRITERS:
        make_folder(output.parent)
        WRITERS[output.suffix](output, truth, found)
        return result
    labelled = len(measured) > 1
    _write_figures(output, measured, _diagnosis(truth, found) if labelled else None)
    _write_results(output / "keypoints.json", truth, found)
    if truth.skeleton == MPII16 and len(found) and (found.annotation_ids >= 0).all():
        _write_pred_mat(output / "pred.mat", truth, found)
    if truth.skeleton == COCO17 and not labelled:
        _write_submission(output / "submission.zip", truth, found)
    return result


def _write_figures(folder: Path, measured: Mapping[str, Any], diagnosis: Mapping[str, Any] | None) -> None:
    make_folder(folder)
    write_atomic(folder / "evaluation.json", to_text(measured))
    if diagnosis is not None:
        write_atomic(folder / "diagnosis.json", to_text(diagnosis))


def _diagnosis(truth: GroundTruth, found: Predictions) -> dict[str, Any]:
    from posefabric.evaluation.diagnosis import diagnosis_of

    return diagnosis_of(truth, found)


def _write_results(file: Path, truth: GroundTruth, found: Predictions) -> None:
    """COCO results; a pose in an annotated box names its person by `annotation_id`."""
    from posefabric.evaluation.predictions import to_coco_results

    results = to_coco_results(found, truth.category_id)
    named = [
        {**result, "annotation_id": annotation_id} if annotation_id >= 0 else result
        for result, annotation_id in zip(results, found.annotation_ids.tolist(), strict=True)
    ]
    write_atomic(file, json.dumps(named))


def _write_pred_mat(file: Path, truth: GroundTruth, found: Predictions) -> None:
    """MPII's rows are all annotated persons, in order; an unlabelled one that was not looked at stays at the origin."""
    import numpy as np

    from posefabric.evaluation.mpii import write_mpii_predictions

    rows = {person.annotation_id: row for row, person in enumerate(truth.persons)}
    keypoints_xy = np.zeros((len(rows), truth.skeleton.num_keypoints, 2))
    keypoints_xy[[rows[annotation_id] for annotation_id in found.annotation_ids.tolist()]] = found.keypoints_xy
    write_mpii_predictions(file, keypoints_xy)


def _require_mpii(file: Path, truth: GroundTruth, *, detected: bool) -> None:
    """Before anything is computed: a `pred.mat` has a row for every annotated person of MPII."""
    if truth.skeleton != MPII16 or detected:
        raise UserError("bad-value", f"{file.name} for {truth.skeleton.name}", "MPII's keypoints in annotated boxes")


def _write_submission(file: Path, truth: GroundTruth, found: Predictions) -> None:
    """The zip file that COCO's server takes."""
    from posefabric.evaluation.predictions import to_coco_results

    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(SUBMISSION, json.dumps(to_coco_results(found, truth.category_id)))
    write_atomic(file, buffer.getvalue())


WRITERS: dict[str, Callable[[Path, GroundTruth, Predictions], None]] = {
    ".json": _write_results,
    ".mat": _write_pred_mat,
    ".zip": _write_submission,
}


def _measure_file(
    predictions: Path, annotations: Path, metric: str, category: str | None, output: Path | None
) -> Result:
    """The figures of one metric; no net is built and torch is not needed."""
    from posefabric.evaluation.oks import oks_metrics
    from posefabric.evaluation.pck import pck, pckh

    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    if output is not None and output.suffix in WRITERS:
        raise UserError("bad-value", f"--output {output} with --predictions", "a folder; --json prints the figures")
    truth = _read_truth(annotations, category)
    if not any(person.visibility.any() for person in truth.persons):
        raise UserError("missing-keypoints", f"{annotations} has no labelled keypoint", "annotations with labels")
    results, aligned = _read_predictions(predictions, truth)
    measured: dict[str, Any]
    if metric == "oks":
        measured = oks_metrics(truth.persons, results, truth.skeleton, truth.image_ids, truth.category_id)
    else:
        from posefabric.evaluation.figures import annotated_poses
        from posefabric.evaluation.matching import match_results

        persons, found_xy = annotated_poses(truth, aligned or match_results(results, truth))
        measured = dict((pckh if metric == "pckh" else pck)(persons, found_xy, truth.skeleton))
    if output is not None:
        from posefabric.evaluation.diagnosis import diagnose

        _write_figures(output, measured, diagnose(truth, results).to_data())
    return Result(measured, output)


def _read_truth(file: Path, category: str | None) -> GroundTruth:
    if file.suffix == ".mat":
        from posefabric.data.records import GroundTruth
        from posefabric.evaluation.mpii import read_mpii_truth

        persons = read_mpii_truth(file)
        return GroundTruth(MPII16, persons, tuple(person.image_id for person in persons))
    from posefabric.data import coco

    return coco.load(file, category=category).truth()


def _read_predictions(file: Path, truth: GroundTruth) -> tuple[Sequence[Mapping[str, Any]], Predictions | None]:
    """The results, and where the file has a row per person (MPII), these in the persons' order."""
    if file.suffix != ".mat":
        from posefabric.data.results import read_keypoint_results

        return read_keypoint_results(file, truth), None
    from posefabric.evaluation.mpii import read_mpii_predictions
    from posefabric.evaluation.predictions import of_persons, to_coco_results

    aligned = of_persons(read_mpii_predictions(file), truth.persons)
    return to_coco_results(aligned, truth.category_id), aligned
