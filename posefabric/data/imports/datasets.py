"""Other formats, once: a folder of COCO keypoint JSON and the dataset YAML that names it (then stage 1 of the walk)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from posefabric.data.coco import CocoPeople, to_coco
from posefabric.errors import UserError
from posefabric.runs import make_folder, write_atomic

logger = logging.getLogger(__name__)

YAML = "dataset.yaml"


def write_dataset(folder: Path, splits: Mapping[str, CocoPeople], images: Path | None, origin: str) -> Path:
    """`<split>.json` of each split and the `dataset.yaml` over them, whose path is returned.

    `images` is where the files lie; None writes `images`, a folder to be made beside the YAML. A file that exists is
    never replaced: `UserError("not-writable")`, and nothing is written.
    """
    files = {split: folder / f"{split}.json" for split in splits}
    refuse_existing([*files.values(), folder / YAML])
    make_folder(folder)
    for split, file in files.items():
        write_atomic(file, json.dumps(to_coco(splits[split], "")))
    keys: dict[str, str | dict[str, str]] = {"images": relative(images, folder) if images else "images"}
    keys |= {split: file.name for split, file in files.items()}
    return write_yaml(folder, keys, origin)


def write_yaml(folder: Path, keys: Mapping[str, str | dict[str, str]], origin: str) -> Path:
    """`dataset.yaml` of these keys, in their order; `origin` says in a comment where it comes from."""
    refuse_existing([folder / YAML])
    make_folder(folder)
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items())  # JSON is YAML
    write_atomic(folder / YAML, "\n".join([f"# {origin}", *lines, ""]))
    return folder / YAML


def refuse_existing(files: Iterable[Path]) -> None:
    """Raise `UserError("not-writable")` if one of these is there."""
    for file in files:
        if file.exists():
            raise UserError("not-writable", f"{file} exists", "another --output; importing replaces nothing")


def relative(path: Path, folder: Path) -> str:
    """A path as a YAML in `folder` names it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def find_images(given: Path | None, candidates: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The folder that holds these images: the given one, or the first candidate with any of them.

    Images that are not there are counted in a warning. Raises `UserError("missing-file")` if the given folder has
    none of them.
    """
    names = list(dict.fromkeys(names))
    for folder in [given] if given else candidates:
        missing = [name for name in names if not (folder / name).is_file()]
        if len(missing) < len(names):
            if missing:
                logger.warning("%d of %d images are not in %s: %s ...", len(missing), len(names), folder, missing[0])
            return folder
    if given:
        raise UserError(
            "missing-file", f"{given} has none of the {len(names)} images, such as {names[0]}", "their folder"
        )
    logger.warning("no folder with the %d images was found; name it with --images, or in the YAML later", len(names))
    return None
