"""COCO and MPII as published, fetched when a user asks for it (before the walk); see `docs/datasets.md`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from posefabric.data.downloads.transfer import PATIENCE, Patience, RemoteFile, fetch
from posefabric.data.downloads.unpack import require_space, unpack
from posefabric.errors import UserError, unknown_name
from posefabric.runs import make_folder, write_atomic

logger = logging.getLogger(__name__)

NOTE = ".posefabric-downloads.json"
"""In the folder: the names of archives that were fetched, and of those that were unpacked and removed."""


@dataclass(frozen=True)
class Archive:
    """A published archive; `part` is what `--only` calls it, `growth` how many times larger its content is."""

    part: str
    remote: RemoteFile
    growth: float = 1.1


_COCO, _MPII = "http://images.cocodataset.org", "https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr"
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "coco": (
        Archive(
            "annotations",
            RemoteFile(
                f"{_COCO}/annotations/annotations_trainval2017.zip", 252907541, "f4bbac642086de4f52a3fdda2de5fa2c"
            ),
            growth=4.0,
        ),
        Archive("val", RemoteFile(f"{_COCO}/zips/val2017.zip", 815585330, "442b8da7639aecaf257c1dceb8ba8c80")),
        Archive("train", RemoteFile(f"{_COCO}/zips/train2017.zip", 19336861798, "cced6f7f71b7629ddf16f17bbcfab6b2")),
        Archive(
            "test",
            RemoteFile(f"{_COCO}/annotations/image_info_test2017.zip", md5="85da7065e5e600ebfee8af1edb634eb5"),
            growth=10.0,
        ),
        Archive("test", RemoteFile(f"{_COCO}/zips/test2017.zip", 6646970404, "77ad2c53ac5d0aea611d422c0938fb35")),
    ),
    "mpii": (
        Archive("annotations", RemoteFile(f"{_MPII}/mpii_human_pose_v1_u12_2.zip"), growth=4.0),
        Archive("images", RemoteFile(f"{_MPII}/mpii_human_pose_v1.tar.gz", md5="b6bc9c6869d3f035a5570b2e68ec84c4")),
    ),
}
NOT_UNLESS_ASKED = ("test",)
ABOUT = {"mpii_human_pose_v1.tar.gz": 12.9e9, "mpii_human_pose_v1_u12_2.zip": 12.5e6, "image_info_test2017.zip": 1e6}
"""Bytes, where only about how many is known."""


def download(
    dataset: str, folder: Path, only: Sequence[str] = (), mirror: str | None = None, patience: Patience = PATIENCE
) -> list[str]:
    """Fetch and unpack the parts of a dataset that are not in the folder yet; the names of its archives are returned.

    Without `only`, everything but the part "test". `mirror` is the address of a folder that has the archives. Raises
    `UserError`: "unknown-name", or those of `fetch` and `unpack`; run again, it goes on where it stopped.
    """
    archives = _chosen(dataset, only)
    if mirror is not None:
        if not mirror.startswith(("http://", "https://")):
            raise UserError("bad-value", f"--mirror is '{mirror}'", "an address that begins with http:// or https://")
        base = mirror.rstrip("/")
        archives = [replace(a, remote=replace(a.remote, url=f"{base}/{a.remote.name}")) for a in archives]
    note = _noted(folder)
    missing = [archive for archive in archives if archive.remote.name not in note["unpacked"]]
    require_space(folder, _needed(missing, folder), f"for {', '.join(a.remote.name for a in missing)}")
    for archive in missing:
        _get(archive.remote, folder, note, patience)
    return [archive.remote.name for archive in archives]


def _get(remote: RemoteFile, folder: Path, note: dict[str, list[str]], patience: Patience) -> None:
    """Fetch and unpack one archive; what this package has fetched, it removes afterwards."""
    if not (folder / remote.name).exists():
        note["fetched"].append(remote.name)
    make_folder(folder)
    write_atomic(folder / NOTE, json.dumps(note))
    file = fetch(remote, folder, patience)
    ours = remote.name in note["fetched"]
    try:
        count = unpack(file, folder)
    except UserError as error:
        if ours and error.code == "download-failed":  # or it would be unpacked again and again
            file.unlink()
        raise
    note["unpacked"].append(remote.name)
    write_atomic(folder / NOTE, json.dumps(note))
    if ours:
        file.unlink()
    logger.info("%s: %d files in %s", remote.name, count, folder)


def _chosen(dataset: str, only: Sequence[str]) -> list[Archive]:
    if dataset not in ARCHIVES:
        raise unknown_name("dataset", dataset, tuple(ARCHIVES))
    parts = tuple(dict.fromkeys(archive.part for archive in ARCHIVES[dataset]))
    for name in only:
        if name not in parts:
            raise unknown_name(f"part of {dataset}", name, parts)
    wanted = only or [part for part in parts if part not in NOT_UNLESS_ASKED]
    return [archive for archive in ARCHIVES[dataset] if archive.part in wanted]


def _needed(archives: Sequence[Archive], folder: Path) -> float:
    """Bytes of disk: what they unpack to, and the largest archive while it is unpacked."""
    sizes = [archive.remote.size or ABOUT.get(archive.remote.name, 0.0) for archive in archives]
    here = sum(path.stat().st_size for archive in archives for path in folder.glob(f"{archive.remote.name}*"))
    unpacked = sum(size * archive.growth for size, archive in zip(sizes, archives, strict=True))
    return max(unpacked + max(sizes, default=0.0) - here, 0.0)


def _noted(folder: Path) -> dict[str, list[str]]:
    file = folder / NOTE
    if not file.is_file():
        return {"fetched": [], "unpacked": []}
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
        return {key: [str(name) for name in note[key]] for key in ("fetched", "unpacked")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError("bad-dataset", f"{file} is damaged", todo="Remove it to download again.") from error
