"""The photographs of a dataset's page: persons as labelled, before and after augmentation, and suspects."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from posefabric.data.guesses.placement import Places
from posefabric.data.guesses.sides import Suspect, suspects
from posefabric.data.naming import canonical
from posefabric.data.records import Image, People, PersonRecord
from posefabric.data.transforms import Sample, make_sample
from posefabric.draw import draw_labels
from posefabric.draw.palette import SIDE_COLOURS
from posefabric.errors import UserError
from posefabric.reporting.markup import Html, element
from posefabric.reporting.sections import section
from posefabric.settings import Augmentation

PICTURE_BYTES = 3_800_000
"""How much of the page pictures may take, encoded."""

JPEG_QUALITY = 82
HEIGHT_PX = 288
"""Crops are drawn about this high."""

AUGMENTED_PERSONS, AUGMENTATIONS, SHOWN_SUSPECTS = 6, 3, 8
_MOST_FAILURES = 50


class Album:
    """Crops of a dataset's persons as figures of the page, until the page's room for pictures is used up.

    `failures` are what reading images ended in, by image; `num_read` counts the images that could be read.
    """

    def __init__(self, people: People, margin: float, input_hw: tuple[int, int], seed: int) -> None:
        self.people, self.margin, self.input_hw, self.seed = people, margin, input_hw, seed
        self.skeleton = people.skeleton
        self.failures: dict[str, str] = {}
        self.num_read, self.left_out = 0, 0
        self._room = PICTURE_BYTES

    def order(self) -> Sequence[int]:
        """The persons in the seed's order."""
        chosen: Sequence[int] = np.random.default_rng(self.seed).permutation(len(self.people)).tolist()
        return chosen

    def image(self, index: int) -> Image | None:
        """A person's photograph; None where it cannot be read (then kept in `failures`)."""
        try:
            image = self.people.image(index)
        except UserError as error:
            self.failures.setdefault(self.people.record(index).image_path, error.finding)
            return None
        self.num_read += 1
        return image

    def sample(self, index: int, image: Image, augmentation: Augmentation | None = None, turn: int = 0) -> Sample:
        """A person's crop as training makes it in epoch `turn`."""
        rng = np.random.default_rng([self.seed, turn, index])
        record = self.people.record(index)
        return make_sample(
            record, image, self.skeleton, self.input_hw, margin=self.margin, augmentation=augmentation, rng=rng
        )

    def figure(self, sample: Sample, caption: str) -> Html:
        """The crop with its labels drawn; nothing, but counted, where there is no room left."""
        uri = _data_uri(self._drawn(sample))
        if len(uri) > self._room:
            self.left_out += 1
            return Html()
        self._room -= len(uri)
        picture = element("img", src=uri, alt=f"Crop with labels: {caption}", loading="lazy")
        return element("figure", picture, element("figcaption", caption))

    def _drawn(self, sample: Sample) -> Image:
        return draw_labels(
            sample.image,
            sample.keypoints_xy,
            sample.visibility,
            self.skeleton,
            scale=max(1.0, HEIGHT_PX / sample.image.shape[0]),
            person_px=max(self.input_hw) / self.margin,
        )


def people(album: Album, count: int) -> Html:
    """Some persons, chosen by the seed, in the crops a network is shown."""
    figures: list[Html] = []
    for index in album.order():
        if len(figures) >= count or len(album.failures) >= _MOST_FAILURES:
            break
        image = album.image(index)
        if image is not None:
            figures.append(album.figure(album.sample(index, image), _caption(album.people.record(index))))
    note = f"{album.left_out} more would make this page too large." if album.left_out else ""
    if not figures:
        note = "No photograph could be read; see At a glance."
    return section("People", _legend(), _grid(figures), lead=_LABELS, note=note)


_LABELS = "Persons as a network is shown them, before any augmentation, with their labels drawn."


def augmented(album: Album, augmentation: Augmentation) -> Html:
    """The same persons before augmentation and in three epochs of training."""
    rows: list[Html] = []
    for index in album.order():
        if len(rows) >= AUGMENTED_PERSONS or len(album.failures) >= _MOST_FAILURES:
            break
        image = album.image(index)
        if image is not None:
            before = album.figure(album.sample(index, image), "before")
            after = [
                album.figure(album.sample(index, image, augmentation, turn), f"after, epoch {turn + 1}")
                for turn in range(AUGMENTATIONS)
            ]
            rows.append(element("div", before, *after, class_="strip"))
    note = "" if rows else "No photograph could be read; see At a glance."
    lead = f"What training makes of a person, differently in every epoch: {_in_words(augmentation)}."
    lead += " Labels must stay on their body parts, and orange on the person's own left, in every picture."
    return section("Before and after augmentation", *rows, lead=lead, note=note)


def suspected(album: Album, indices: Sequence[int], places: Places) -> tuple[list[Suspect], Html]:
    """Persons who may have left and right exchanged, and pictures of the worst."""
    found = suspects(album.skeleton, places)
    figures = []
    for suspect in found[:SHOWN_SUSPECTS]:
        index = indices[suspect.row]
        image = album.image(index)
        if image is not None:
            caption = f"{exchanged(suspect)} exchanged? {_caption(album.people.record(index))}"
            figures.append(album.figure(album.sample(index, image), caption))
    return found, _grid(figures)


def percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def exchanged(suspect: Suspect) -> str:
    """The pairs of a suspect in words."""
    return ", ".join(pair_name(left) for left, _ in suspect.pairs)


def pair_name(left: str) -> str:
    """What a mirror pair is called: its left keypoint without the side."""
    return canonical(left).removeprefix("left_").replace("_", " ")


def _in_words(augmentation: Augmentation) -> str:
    low, high = augmentation.scale
    effects = {
        "flipped": augmentation.flip_probability,
        f"turned by up to {augmentation.rotation_deg:g} degrees": augmentation.rotation_probability,
        "cut to half a body": augmentation.half_body_probability,
        "partly blanked": augmentation.cutout_probability,
    }
    chances = ", ".join(f"{effect} in {percent(chance)} of cases" for effect, chance in effects.items() if chance > 0)
    sizes = f"the crop {low:g} to {high:g} times as large, colours changed by up to {percent(augmentation.colour)}"
    return f"{chances}; {sizes}" if chances else sizes


def _caption(person: PersonRecord) -> str:
    name = person.image_path.replace("\\", "/").rsplit("/", 1)[-1]
    return f"person {person.annotation_id}, {name}" if name else f"person {person.annotation_id}"


def _legend() -> Html:
    words = {
        "left": "the person's left",
        "right": "the person's right",
        "middle": "the middle, and limbs that join both sides",
    }
    chips = [
        element("span", element("i", style="background:rgb({},{},{})".format(*SIDE_COLOURS[side])), text, class_="key")
        for side, text in words.items()
    ]
    marks = [
        element("span", element("i", class_=mark), text, class_="key")
        for mark, text in (("dot", "labelled and visible"), ("ring", "labelled but hidden"))
    ]
    return element("p", *chips, *marks, class_="legend")


def _grid(figures: Sequence[Html]) -> Html:
    return element("div", *figures, class_="crops") if any(figures) else Html()


def _data_uri(image: Image) -> str:
    _, jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
