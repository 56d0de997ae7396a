"""A keypoint file described for the first time: a short dataset YAML for its owner to confirm (`data init`).

Where it stands in the walk: before it. What the file says is taken; what it does not say is guessed, and marked.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from posefabric.data import coco, naming
from posefabric.data.annotations.json_entries import Entry, JsonError, read_entries
from posefabric.data.guesses import grouping, placement
from posefabric.data.records import PersonRecord
from posefabric.errors import UserError, unknown_name
from posefabric.skeletons import DEFAULT_SIGMA, SKELETONS, Partition, Skeleton

logger = logging.getLogger(__name__)

GROUPINGS = ("graph", "learned", "random")

MAX_PERSONS = 20_000
"""Persons that guesses rest on, taken evenly from the file."""

FROM_FILE, CONFIRM = "from the file", "confirm"


@dataclass(frozen=True)
class Description:
    """What a file holds and what was guessed of it; `sources` says of each field of the skeleton where it is from."""

    skeleton: Skeleton
    sources: Mapping[str, str]
    num_persons: int
    num_images: int
    num_missing: int
    unpaired: tuple[str, ...]
    doubts: tuple[placement.MirrorDoubt, ...]


@dataclass(frozen=True)
class Files:
    """The files of a dataset: one annotation file, or one for training and one for validation, and their images."""

    annotations: Path
    val: Path | None = None
    images: Path | None = None
    category: str | None = None

    def folder(self, annotations: Path) -> Path:
        """Where the images of an annotation file are."""
        return self.images or coco.images_beside(annotations)


def describe(
    files: Files, kinds: Sequence[str] = ("graph", "learned"), counts: Sequence[int] = (3, 5), seed: int = 0
) -> Description:
    """Read a file, guess what it does not say, and group its keypoints `kinds` x `counts` ways (`seed`: random ones).

    Guesses about places rest on the persons of training: of a lone file, those of its split `train`. Raises
    `UserError`: whatever `coco.load` raises, "unknown-name" for a kind, "bad-value" for less than one part and for a
    file with keypoints of several categories where none is named.
    """
    for kind in kinds:
        if kind not in GROUPINGS:
            raise unknown_name("part grouping", kind, GROUPINGS)
    if min(counts) < 1:
        raise UserError("bad-value", f"{min(counts)} parts", "1 or more")
    _check_category(files)
    people = coco.load(files.annotations, files.images, category=files.category)
    train = people if files.val else coco.split_by_image(people)[0]
    persons = _evenly(train.persons)
    places = placement.place(persons, people.skeleton.num_keypoints)
    skeleton, sources = _complete(people.skeleton, _category(files), persons, places)
    partitions = _group(skeleton, places, _possible(kinds, len(places)), counts, seed)
    guessed = [name for name in partitions if name not in skeleton.partitions]
    sources["partitions"] = f"guessed: {', '.join(guessed)}"
    _check_val(files, skeleton)
    return Description(
        skeleton=replace(skeleton, partitions=partitions),
        sources=sources,
        num_persons=len(people),
        num_images=len(people.image_paths),
        num_missing=sum(not os.path.isfile(path) for path in people.image_paths.values()),
        unpaired=tuple(naming.unpaired(skeleton.keypoints, skeleton.mirror_pairs)),
        doubts=tuple(placement.doubt_pairs(skeleton, places)),
    )


def _check_category(files: Files) -> None:
    """A file with keypoints of several categories needs one to be named."""
    names = [str(category.get("name", category.get("id"))) for category in _with_keypoints(files.annotations)]
    if files.category is None and len(names) > 1:
        found = f"{files.annotations} has keypoints of {', '.join(names)}"
        raise UserError("bad-value", found, "one of them", "name it: --category NAME")


def yaml_text(description: Description, files: Files, folder: Path) -> str:
    """The dataset YAML: at most 12 lines, one for each key, guesses marked; paths are relative to `folder`."""
    skeleton, sources = description.skeleton, description.sources
    lines = ["# What `posefabric data init` read and guessed; please confirm what is marked so, or correct it."]
    lines += [f"{key}: {_flow(value)}" for key, value in _file_keys(files, folder).items()]
    lines.append("skeleton:")
    fields = {
        "name": skeleton.name,
        "keypoints": skeleton.keypoints,
        "mirror_pairs": skeleton.mirror_pairs,
        "limbs": skeleton.limbs,
        "sigmas": skeleton.sigmas,
        "partitions": {name: parts for name, parts in skeleton.partitions.items() if name != "1"},
    }
    for key, value in fields.items():
        source = sources.get(key, "")
        remark = f"  # {source}: {CONFIRM}" if source.startswith(("guessed", "default")) else ""
        lines.append(f"  {key}: {_flow(value)}{remark}")
    return "\n".join(lines) + "\n"


def doubts(description: Description) -> list[str]:
    """What needs a second look, a sentence each."""
    missing = f"{description.num_missing} of {description.num_images} images are not there"
    return [
        *(f"is {doubt.left} the mirror image of {doubt.right}? {doubt.reason}" for doubt in description.doubts),
        *([missing] if description.num_missing else []),
    ]


def figures(description: Description) -> dict[str, Any]:
    """What was read and guessed, for people."""
    skeleton, sources = description.skeleton, description.sources
    read: dict[str, Any] = {
        "persons": description.num_persons,
        "images": description.num_images,
        "images_missing": description.num_missing,
        "keypoints": skeleton.num_keypoints,
        "mirror_pairs": f"{len(skeleton.mirror_pairs)}, {sources['mirror_pairs']}",
        "unpaired": ", ".join(description.unpaired) or "none",
        "limbs": f"{len(skeleton.limbs)}, {sources['limbs']}",
        "sigmas": sources["sigmas"],
    }
    doubted = {f"{doubt.left}, {doubt.right}": doubt.reason for doubt in description.doubts}
    parts = {
        name: ", ".join(f"{part} {len(keypoints)}" for part, keypoints in partition.items())
        for name, partition in skeleton.partitions.items()
        if name != "1"
    }
    return {**read, **({"doubts": doubted} if doubted else {}), "parts": parts}


def _file_keys(files: Files, folder: Path) -> dict[str, Any]:
    def near(path: Path) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    train_images = near(files.folder(files.annotations))
    category = {"category": files.category} if files.category else {}
    if files.val is None:
        return {"images": train_images, "annotations": near(files.annotations), **category}
    val_images = near(files.folder(files.val))
    images = train_images if val_images == train_images else {"train": train_images, "val": val_images}
    return {"images": images, "train": near(files.annotations), "val": near(files.val), **category}


def _complete(
    read: Skeleton, category: Mapping[str, Any], persons: Sequence[PersonRecord], places: placement.Places
) -> tuple[Skeleton, dict[str, str]]:
    """The skeleton with what the file does not say guessed, and where each field is from."""
    known = next((name for name, skeleton in SKELETONS.items() if skeleton is read), None)
    if known is not None:
        source = f"those of {known}, whose keypoints these are"
        return read, dict.fromkeys(("mirror_pairs", "limbs", "sigmas"), source)
    sources = dict.fromkeys(("mirror_pairs", "limbs", "sigmas"), FROM_FILE)
    limbs, sigmas, pairs = read.limbs, read.sigmas, read.mirror_pairs
    if category.get("flip_pairs") is None:
        pairs, sources["mirror_pairs"] = naming.guess_mirror_pairs(read.keypoints), "guessed from the names"
    if not limbs and read.num_keypoints > 1:
        tree = grouping.spanning_limbs(placement.mean_distances(places))
        limbs = tuple((read.keypoints[i], read.keypoints[j]) for i, j in tree)
        sources["limbs"] = "guessed: nearest keypoints joined"
    if not category.get("sigmas"):
        sigmas, sources["sigmas"] = _sigmas(read, persons)
    return replace(read, mirror_pairs=pairs, limbs=limbs, sigmas=sigmas), sources


def _sigmas(skeleton: Skeleton, persons: Sequence[PersonRecord]) -> tuple[tuple[float, ...], str]:
    """Sigmas measured, known by name, or the default; which, in words."""
    estimated = placement.estimate_sigmas(persons, skeleton)
    if estimated is not None:
        return estimated, "estimated from persons labelled twice"
    known = [naming.known_sigma(name) for name in skeleton.keypoints]
    if not any(known):
        return (DEFAULT_SIGMA,) * skeleton.num_keypoints, f"default {DEFAULT_SIGMA}"
    rest = "" if all(known) else f", default {DEFAULT_SIGMA} elsewhere"
    return tuple(sigma or DEFAULT_SIGMA for sigma in known), f"guessed from the names (COCO's){rest}"


def _possible(kinds: Sequence[str], num_persons: int) -> Sequence[str]:
    """The kinds of grouping that so many persons allow; what is not possible is said, and the graph stands in."""
    if "learned" not in kinds or num_persons >= grouping.MIN_PERSONS:
        return kinds
    logger.warning(
        "%d persons are too few to learn a part grouping (%d are needed): the skeleton's graph is used",
        num_persons,
        grouping.MIN_PERSONS,
    )
    return list(dict.fromkeys("graph" if kind == "learned" else kind for kind in kinds))


def _group(
    skeleton: Skeleton, places: placement.Places, kinds: Sequence[str], counts: Sequence[int], seed: int
) -> dict[str, Partition]:
    """The built-in partitions and the groupings asked for, named by kind and number of parts."""
    partitions = dict(skeleton.partitions)
    for count in counts:
        for kind in kinds:
            if kind == "graph":
                parts = grouping.by_graph(skeleton, places, count)
            elif kind == "learned":
                parts = grouping.learned(skeleton, places, count)
            else:
                parts = grouping.at_random(skeleton, count, seed)
            partitions[f"{kind}{len(parts)}"] = parts
    return partitions


def _check_val(files: Files, skeleton: Skeleton) -> None:
    """The validation file must have the same keypoints, and people."""
    if files.val is None:
        return
    val = coco.load(files.val, files.images, category=files.category)
    if val.skeleton.keypoints != skeleton.keypoints:
        found = f"{files.val} has the keypoints {', '.join(val.skeleton.keypoints)}"
        raise UserError("bad-dataset", found, f"those of {files.annotations}: {', '.join(skeleton.keypoints)}")


def _evenly(persons: Sequence[PersonRecord]) -> list[PersonRecord]:
    chosen = np.linspace(0, len(persons) - 1, min(len(persons), MAX_PERSONS)).round().astype(int)
    return [persons[int(index)] for index in chosen]


def _with_keypoints(path: Path) -> list[Mapping[str, Any]]:
    """The categories that have keypoints, as they stand there; none where the file is no JSON (the loader says why)."""
    try:
        entries = [e for e in read_entries(path) if isinstance(e, Entry) and e.section == "categories"]
    except (JsonError, OSError):
        return []
    return [entry.value for entry in entries if isinstance(entry.value, dict) and entry.value.get("keypoints")]


def _category(files: Files) -> Mapping[str, Any]:
    """The category that the loader reads."""
    categories = _with_keypoints(files.annotations)
    return next(c for c in categories if files.category in (None, c.get("name"), str(c.get("id"))))


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What YAML text must escape."""

_NOT_TEXT = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


def _flow(value: Any) -> str:
    """A value as YAML on one line; text is quoted unless no reader can take it for anything else."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
        return value if plain else _NOT_PRINTABLE.sub(_escape, json.dumps(value, ensure_ascii=False))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return repr(value)


def _escape(match: re.Match[str]) -> str:
    return f"\\U{ord(match.group()):08x}"
