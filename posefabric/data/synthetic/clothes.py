"""What rendered people wear: colours of skin, hair and cloth, and how much of the body cloth covers.

Where it stands in the walk: before stage 1, beside `figures`, beneath `rendering`. Both sides of a body wear
the same, so that no colour tells left from right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""RGB, 0 to 255 (brighter values saturate)."""


@dataclass(frozen=True)
class Wardrobe:
    """The colours and clothes of one person.

    `sleeve` and `trouser` count the limb segments they cover, 0 to 2; `hem` is where the shirt ends between
    waist (0) and hip (1); `looseness` multiplies the girth under cloth; `hair_length` is 0 (bald), 1 (short)
    to 2 (over the nape). A pattern darkens part of the shirt by `pattern`; it has `checks` radians per
    stature across the trunk and `stripes` along it.
    """

    skin: Colour
    hair: Colour
    shirt: Colour
    trousers: Colour
    shoes: Colour
    sleeve: float
    trouser: float
    hem: float
    looseness: float
    hair_length: float
    skirt: bool
    collar: bool
    pattern: float
    checks: float
    stripes: float


def shade(colour: Colour, gain: float) -> Colour:
    """A brighter (gain > 1) or darker colour."""
    return colour[0] * gain, colour[1] * gain, colour[2] * gain


def sample_cloth(rng: np.random.Generator) -> Colour:
    """A colour as cloth and things have it: often grey, sometimes bright."""
    hue, value, saturation, grey = rng.random(4).tolist()
    saturation *= 0.2 if grey < 0.45 else 0.75
    value = 35 + 210 * value
    red, green, blue = (
        value * (1 - saturation * min(max(2 - abs((hue * 6 + turn) % 6 - 3), 0.0), 1.0)) for turn in (0, 4, 2)
    )
    return red, green, blue


def sample_wardrobe(rng: np.random.Generator) -> Wardrobe:
    """Draw colours and clothes; a function of the generator's state alone."""
    tone = rng.random() ** 1.3
    red, green, blue = (_LIGHT_SKIN + (_DARK_SKIN - _LIGHT_SKIN) * tone + rng.normal(0, 6, 3)).tolist()
    skin, shirt, trousers = (red, green, blue), sample_cloth(rng), sample_cloth(rng)
    bald, long_hair, one_piece, barefoot, skirt, collar, patterned, checked = (rng.random(8) < _SHARES).tolist()
    hair = _HAIR[rng.integers(2 if tone > 0.4 else len(_HAIR))]
    sleeves = 0.0, rng.uniform(0.3, 0.8), rng.uniform(0.9, 1.6), 2.0
    trouser_legs = rng.uniform(0.15, 0.9), rng.uniform(1.2, 1.7), 2.0
    return Wardrobe(
        skin=skin,
        hair=shade(skin, 0.97) if bald else shade(hair, rng.uniform(0.8, 1.2)),
        shirt=shirt,
        trousers=shirt if one_piece else trousers,
        shoes=skin if barefoot else sample_cloth(rng),
        sleeve=sleeves[int(np.searchsorted((0.12, 0.52, 0.6), rng.random()))],
        trouser=trouser_legs[int(np.searchsorted((0.3, 0.4), rng.random()))],
        hem=rng.uniform(0.0, 1.0),
        looseness=rng.uniform(1.05, 1.3),
        hair_length=0.0 if bald else rng.uniform(1.2, 2.0) if long_hair else 1.0,
        skirt=skirt,
        collar=collar,
        pattern=rng.uniform(0.15, 0.6) if patterned else 0.0,
        checks=rng.uniform(60, 160) if checked else 0.0,
        stripes=rng.uniform(60, 160),
    )


_SHARES = (0.07, 0.35, 0.08, 0.1, 0.08, 0.6, 0.35, 0.4)
"""How many are bald, long-haired, in one colour, barefoot, in a skirt, open-collared, patterned, checked."""

_LIGHT_SKIN, _DARK_SKIN = np.array([244.0, 206.0, 180.0]), np.array([88.0, 56.0, 40.0])
_HAIR: tuple[Colour, ...] = (
    (28, 24, 22), (60, 40, 28), (110, 74, 44), (196, 160, 100), (150, 70, 36), (150, 148, 146),
)  # fmt: skip
