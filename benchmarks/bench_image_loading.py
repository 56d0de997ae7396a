"""JPEG decoders side by side: Pillow, OpenCV and libjpeg-turbo, whole and scaled, and what a crop costs after each.

    python benchmarks/bench_image_loading.py

On generated photographs of 640 x 480, 1280 x 720 and 4000 x 3000, and on COCO's where POSEFABRIC_DATA names the data.
Decoders take turns, so the machine's drift hits all alike; printed are medians of milliseconds, one thread.
"""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import simplejpeg

from posefabric import geometry
from posefabric.data.records import Image
from posefabric.data.synthetic.people import SyntheticPeople
from posefabric.data.transforms import warp

SIZES_HW = ((480, 640), (720, 1280), (3000, 4000))
INPUT_HW = (256, 192)
ROUNDS = 15
Decoder = Callable[[bytes], Image]


def pillow(data: bytes, shrink: int = 1) -> Image:
    """`draft` scales inside the decoder."""
    with PIL.Image.open(io.BytesIO(data)) as picture:
        if shrink > 1:
            picture.draft("RGB", (picture.width // shrink, picture.height // shrink))
        return np.asarray(picture.convert("RGB"))


def opencv(data: bytes) -> Image:
    picture: Image | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture


def turbo(data: bytes, shrink: int = 1) -> Image:
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    least = {"min_height": -(-height // shrink), "min_width": -(-width // shrink), "min_factor": shrink}
    picture: Image = simplejpeg.decode_jpeg(data, "RGB", **(least if shrink > 1 else {}))
    return picture


DECODERS: dict[str, Decoder] = {
    "Pillow": pillow,
    "Pillow 1/2": lambda data: pillow(data, 2),
    "OpenCV": opencv,
    "turbo": turbo,
    "turbo 1/2": lambda data: turbo(data, 2),
    "turbo 1/4": lambda data: turbo(data, 4),
}


def photograph(hw: tuple[int, int]) -> bytes:
    """Rendered people with a camera's noise, as a camera's JPEG."""
    people = SyntheticPeople(count=4, image_hw=(480, 640 * hw[1] * 3 // (hw[0] * 4) // 4))
    row = np.concatenate([people.image(index) for index in range(4)], axis=1)
    large = cv2.resize(row, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    large += np.random.default_rng(0).normal(0, 4, large.shape)
    picture = PIL.Image.fromarray(large.clip(0, 255).astype(np.uint8))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def decoding_ms(files: Sequence[bytes]) -> dict[str, float]:
    """Decoder -> median time of a file."""
    times: dict[str, list[float]] = {name: [] for name in DECODERS}
    for _ in range(ROUNDS):
        for data in files:
            for name, decode in DECODERS.items():
                began = time.perf_counter()
                decode(data)
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(taken) for name, taken in times.items()}


def crop_ms(hw: tuple[int, int], share: float) -> tuple[float, float]:
    """How much a crop of a person shrinks that is as high as that share of the image; and its median time."""
    image = np.zeros((*hw, 3), dtype=np.uint8)
    x, y, reach = hw[1] / 2, hw[0] / 2, hw[0] * share / 2
    matrix = geometry.crop_matrix(np.array([x - reach / 2, y - reach, x + reach / 2, y + reach]), INPUT_HW)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        warp(image, matrix, INPUT_HW)
        times.append(1000 * (time.perf_counter() - began))
    return 1 / geometry.zoom_of(matrix), statistics.median(times)


def main() -> None:
    cv2.setNumThreads(1)
    groups = {f"{hw[1]} x {hw[0]}": [photograph(hw)] for hw in SIZES_HW}
    if folder := os.environ.get("POSEFABRIC_DATA"):
        files = sorted(Path(folder, "coco_mini", "images").glob("*.jpg"))[:20]
        groups["COCO, 20 files"] = [file.read_bytes() for file in files]
    print(f"{'decoding, ms':24}" + "".join(f"{name:>12}" for name in DECODERS))
    for name, data in groups.items():
        size = f"{name}, {statistics.mean(map(len, data)) / 1000:.0f} kB"
        print(f"{size:24}" + "".join(f"{taken:12.2f}" for taken in decoding_ms(data).values()))
    print("cutting a person out, 60 % of the image's height, to 256 x 192:")
    for hw in SIZES_HW:
        shrinks, taken = crop_ms(hw, 0.6)
        print(f"{hw[1]} x {hw[0]}: {taken:.2f} ms, {shrinks:.1f} times smaller")


if __name__ == "__main__":
    main()
