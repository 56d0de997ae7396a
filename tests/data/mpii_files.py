"""Not a test: persons of MPII, and files of every form that hold them, as the field writes them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat


def persons(seed: int = 0) -> list[dict[str, Any]]:
    """Persons in pixels counted from 1, two of every three on images for training; visibility as in COCO."""
    rng = np.random.default_rng(seed)
    return [
        {
            "image": f"{7 * (i // 2) + 100:09d}.jpg",
            "centre": [round(float(value), 3) for value in rng.uniform(50, 500, 2)],
            "scale": round(float(rng.uniform(0.5, 5)), 3),
            "points": rng.integers(2, 900, (16, 2)).astype(float),
            "visibility": np.where(np.arange(16) == i % 16, 2, rng.choice([0, 1, 2, 2], 16)),
            "head": rng.uniform(10, 90, 4),
            "validation": (i // 2) % 3 == 2,
        }
        for i in range(12)
    ]


def hrnet(person: dict[str, Any]) -> dict[str, Any]:
    """HRNet's lists know labelled or not, and put what is not at (-1, -1)."""
    labelled = person["visibility"] > 0
    return {
        "image": person["image"],
        "center": person["centre"],
        "scale": person["scale"],
        "joints": np.where(labelled[:, None], person["points"], -1).tolist(),
        "joints_vis": labelled.astype(int).tolist(),
    }


def hourglass(person: dict[str, Any]) -> dict[str, Any]:
    """The hourglass list has a flag for visible, and puts what is not labelled at (0, 0)."""
    points = np.where(person["visibility"][:, None] > 0, person["points"], 0)
    return {
        "isValidation": float(person["validation"]),
        "img_paths": person["image"],
        "objpos": person["centre"],
        "scale_provided": person["scale"],
        "joint_self": np.column_stack([points, person["visibility"] == 2]).tolist(),
    }


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB struct array, (1, N); fields that a row lacks are empty, as MATLAB has it."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in names])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.get(name, np.zeros((0, 0))) for name in names)
    return array


def release(people: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    """The struct of the release with its irregularities, chosen at random; persons of one image stand together."""
    images = list(dict.fromkeys(person["image"] for person in people))
    annolist = []
    for image in images:
        rectangles = [rectangle(person, rng) for person in people if person["image"] == image]
        strangers = [{"scale": 1.0, "objpos": structs([{"x": 5.0, "y": 6.0}])}] * int(rng.integers(2))
        annolist.append({"image": structs([{"name": image}]), "annorect": structs([*rectangles, *strangers])})
    annolist += [
        {
            "image": structs([{"name": "t1.jpg"}]),
            "annorect": structs([{"scale": 2.5, "objpos": structs([{"x": 9, "y": 8}])}]),
        },
        {"image": structs([{"name": "t2.jpg"}]), "annorect": structs([{"objpos": structs([{"x": 9, "y": 8}])}])},
        {"image": structs([{"name": "t3.jpg"}]), "annorect": structs([{"scale": 2.5}])},
        {"image": structs([{"name": "t4.jpg"}])},
    ]
    training = np.array([[1] * len(images) + [0] * 4], dtype=np.uint8)
    return {"annolist": structs(annolist), "img_train": training, "version": "12"}


def rectangle(person: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    points = [
        {"x": x, "y": y, "id": float(k)} | flag(v, rng)
        for k, ((x, y), v) in enumerate(zip(person["points"], person["visibility"], strict=True))
        if v > 0
    ]
    rng.shuffle(points)  # type: ignore[arg-type]
    head = dict(zip(("x1", "y1", "x2", "y2"), person["head"], strict=True))
    return head | {
        "annopoints": structs([{"point": structs(points)}]),
        "scale": person["scale"],
        "objpos": structs([dict(zip("xy", person["centre"], strict=True))]),
    }


def flag(visibility: int, rng: np.random.Generator) -> dict[str, Any]:
    shown: list[dict[str, Any]] = [{"is_visible": 1.0}, {"is_visible": "1"}, {"is_visible": np.zeros((0, 0))}, {}]
    hidden: list[dict[str, Any]] = [{"is_visible": 0.0}, {"is_visible": "0"}, {"is_visible": np.uint8(0)}]
    choices = shown if visibility == 2 else hidden
    return choices[int(rng.integers(len(choices)))]


def write_json(path: Path, data: object) -> Path:
    text = json.dumps(data).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_release(path: Path, struct: dict[str, Any]) -> Path:
    savemat(path, {"RELEASE": struct}, do_compression=True)
    return path


def write_truth(path: Path, people: list[dict[str, Any]]) -> Path:
    names = "rank rkne rhip lhip lkne lank pelv thor neck head rwri relb rsho lsho lelb lwri"
    labelled = np.array([person["visibility"] > 0 for person in people])
    points = np.array([person["points"] for person in people])
    heads = np.array([person["head"] for person in people])
    fields = {
        "dataset_joints": np.array([names.split(" ")], dtype=object),
        "jnt_missing": (~labelled).T.astype(float),
        "pos_gt_src": np.where(labelled[..., None], points, 0.0).transpose(1, 2, 0),
        "headboxes_src": heads.reshape(-1, 2, 2).transpose(1, 2, 0),
    }
    savemat(path, fields)
    return path
