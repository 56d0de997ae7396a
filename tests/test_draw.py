"""Pictures: what is drawn is what the values say, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon, Rectangle

from posefabric.architecture import Architecture, supernet
from posefabric.backbone import FABRIC_SPACES, Backbone, fabric_backbone
from posefabric.draw import contact_sheet, draw_fabrics, draw_people, plot_curves, svg_text
from posefabric.draw.body import STANDING_POSE, body_layout, graph_layout
from posefabric.draw.fabrics import operation_colours_of
from posefabric.draw.people import limb_side
from posefabric.errors import UserError
from posefabric.genotype import CellChoice, Genotype
from posefabric.skeletons import COCO17, SKELETONS, Skeleton
from posefabric.space import ZERO, SearchSpace

BACKBONE = Backbone("mobilenetv2_100")
PATCH_KINDS = {"arrows": PathPatch, "heads": Polygon, "operations": Rectangle}


def sparse(space: SearchSpace, rng: random.Random) -> Genotype:
    """A random genotype that keeps a path: at least one input and one operation everywhere."""
    operations = [name for name in space.operations if name != ZERO]

    def some(names: list[str]) -> dict[str, float]:
        return {name: rng.uniform(0.1, 3) for name in rng.sample(names, rng.randint(1, len(names)))}

    return Genotype(
        {
            site.name: CellChoice(
                some([source.slot for source in site.sources]), tuple(some(operations) for _ in space.edges)
            )
            for site in space.sites()
        }
    )


def architecture(parts: str, seed: int | None = None, *, nodes: int = 1, fabric: bool = False) -> Architecture:
    space = SearchSpace.head(4, num_nodes=nodes)
    backbone = fabric_backbone(FABRIC_SPACES["fabric1"]) if fabric else BACKBONE
    whole = supernet(COCO17, COCO17.partition(parts), backbone, space, (64, 64))
    if seed is None:
        return whole
    rng = random.Random(seed)
    return whole.with_genotypes({name: sparse(space, rng) for name, (space, _) in whole.fabrics().items()})


def patches(figure: Figure, kind: str) -> list:
    return [p for axes in figure.axes for p in axes.patches if type(p) is PATCH_KINDS[kind]]


def colours(figure: Figure) -> list[str]:
    return sorted(to_hex(p.get_facecolor()) for p in patches(figure, "operations"))


@pytest.mark.parametrize("parts", ["1", "3", "5", "8"])
@pytest.mark.parametrize("seed", [None, 4])
def test_arrows_are_the_kept_inputs_and_segments_the_kept_operations(parts: str, seed: int | None) -> None:
    net = architecture(parts, seed, nodes=2, fabric=parts == "3")
    figure = draw_fabrics(net)
    cells = [cell for _, genotype in net.fabrics().values() for cell in genotype.cells.values()]
    inputs = sum(len(cell.inputs) for cell in cells)
    assert len(patches(figure, "arrows")) == len(patches(figure, "heads")) == inputs
    palette = operation_colours_of(net)
    assert len(set(palette.values())) == len(palette)
    assert colours(figure) == sorted(palette[name] for cell in cells for edge in cell.edges for name in edge)


def test_an_arrow_is_wider_the_larger_its_share_and_a_segment_longer() -> None:
    space = SearchSpace(1, 0, 1, 4, strides=(4,))
    cell = CellChoice({"same": 3.0, "finer": 2.0, "coarser": 1.0}, ({"skip_connect": 1.0, "sep_conv_3x3": 3.0},))
    whole = supernet(COCO17, COCO17.partition("1"), BACKBONE, space, (64, 64))
    figure = draw_fabrics(whole.with_genotypes({"all": Genotype({"layer0_stride4": cell})}))
    finest_first = {p.get_path().vertices[-1][1]: p.get_linewidth() for p in patches(figure, "arrows")}
    finer, same, coarser = (finest_first[y] for y in sorted(finest_first, reverse=True))
    assert same > finer > coarser
    skip, separable = (p.get_width() for p in patches(figure, "operations"))
    assert separable == pytest.approx(3 * skip)


def test_every_part_is_titled_with_its_number_and_kept_cells() -> None:
    net = architecture("5", 1)
    texts = [text.get_text() for axes in draw_fabrics(net).axes for text in axes.texts]
    for number, part in enumerate(net.partition, start=1):
        assert part.replace("_", " ") in texts
        assert texts.count(str(number)) == 2, "once on the body, once beside the title"
        kept = f"{len(net.genotypes[part].cells)} of 6 cells kept"
        assert any(text.endswith(kept) for text in texts)


def test_a_picture_is_saved_by_its_suffix(tmp_path: Path) -> None:
    net = architecture("1")
    draw_fabrics(net, tmp_path / "new" / "net.svg")
    draw_fabrics(net, tmp_path / "net.png")
    assert "<svg" in (tmp_path / "new" / "net.svg").read_text()
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match=r"\.svg or \.png"):
        draw_fabrics(net, tmp_path / "net.gif")


def test_inline_svg_has_unique_ids_and_repeats_exactly() -> None:
    net = architecture("1")
    first, second = svg_text(draw_fabrics(net), "a"), svg_text(draw_fabrics(net), "b")
    assert first.replace('"a-', '"b-').replace("#a-", "#b-") == second
    assert first.startswith("<svg")
    assert "<metadata" not in first


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_built_in_skeletons_stand_mirrored(skeleton: Skeleton) -> None:
    assert set(skeleton.keypoints) <= set(STANDING_POSE)
    points = body_layout(skeleton)
    np.testing.assert_allclose(points[list(skeleton.flip_permutation)], points * [-1, 1])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.data())
def test_any_graph_is_laid_out_without_coinciding_points(count: int, data: st.DataObject) -> None:
    index = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(index, index).filter(lambda pair: pair[0] != pair[1]), max_size=15)
                      if count > 1 else st.just([]))  # fmt: skip
    points = graph_layout(count, tuple(pairs))
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(count) * 9
    assert apart.min() > 0.05


def test_a_chain_is_laid_out_straight() -> None:
    points = graph_layout(5, tuple((i, i + 1) for i in range(4)))
    assert np.linalg.norm(points[0] - points[4]) == pytest.approx(4, rel=0.02)


CHAIN = Skeleton(
    ("nose", "left_hand", "right_hand"), mirror_pairs=(("left_hand", "right_hand"),), limbs=(("nose", "left_hand"),)
)  # fmt: skip


def test_people_change_only_the_pixels_near_their_limbs() -> None:
    image = np.full((100, 120, 3), 90, np.uint8)
    points = np.array([[[20.0, 30.0], [80.0, 30.0], [60.0, 80.0]]])
    drawn = draw_people(image, points, np.ones((1, 3)), CHAIN)
    rows, columns = np.nonzero((drawn != image).any(axis=2))
    on_limb = (abs(rows - 30) <= 5) & (columns >= 15) & (columns <= 85)
    on_hand = np.hypot(columns - 60, rows - 80) <= 6
    assert (on_limb | on_hand).all()
    assert on_limb.any()
    assert on_hand.any()
    assert (image == 90).all(), "the given image is left alone"


def test_keypoints_below_the_threshold_and_not_finite_are_not_drawn() -> None:
    image = np.zeros((50, 50, 3), np.uint8)
    points = np.array([[[20.0, 20.0], [40.0, 20.0], [np.nan, 20.0]]])
    np.testing.assert_array_equal(draw_people(image, points, np.array([[0.2, 0.2, 1.0]]), CHAIN), image)
    one = draw_people(image, points, np.array([[0.9, 0.2, 1.0]]), CHAIN)
    assert np.nonzero(one.any(axis=2))[1].max() < 30, "a limb needs both of its ends"


def test_enlarging_keeps_pixel_centres() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    drawn = draw_people(image, np.array([[[5.0, 7.0]]]), np.ones((1, 1)), Skeleton(("a",)), scale=4)
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert drawn.shape == (80, 80, 3)
    np.testing.assert_allclose([columns.mean(), rows.mean()], [5.5 * 4 - 0.5, 7.5 * 4 - 0.5], atol=0.5)


def test_sides_follow_the_mirror_pairs() -> None:
    assert limb_side(COCO17, ("left_elbow", "left_wrist")) == "left"
    assert limb_side(COCO17, ("nose", "right_eye")) == "right"
    assert limb_side(COCO17, ("left_hip", "right_hip")) == limb_side(COCO17, ("nose",)) == "middle"


def test_a_contact_sheet_holds_every_image_at_one_height() -> None:
    images = [np.full((height, 40, 3), value, np.uint8) for height, value in ((20, 10), (40, 20), (80, 30))]
    sheet = contact_sheet(images, 2, height_px=40, gap_px=3)
    assert sheet.shape == (2 * 40 + 3, 80 + 3 + 40, 3)
    assert (sheet[:40, :80] == 10).all()
    assert (sheet[:40, 83:] == 20).all()
    assert (sheet[43:, :20] == 30).all()
    assert (sheet[43:, 20:] == 255).all()
    assert (sheet[40:43] == 255).all()


def test_curves_show_both_splits_of_every_run() -> None:
    rows = [
        {"step": step, "split": split, "loss": 1 / (step + 1), "PCK@0.2": float(step)}
        for step in range(4)
        for split in ("train", "val")
    ]
    broken = {"step": 4, "split": "train", "loss": float("nan")}
    figure = plot_curves({"first": [*rows, broken], "second": rows})
    loss, metric = figure.axes
    assert (loss.get_title("left"), metric.get_title("left")) == ("loss", "PCK@0.2")
    labels = [line.get_label() for line in loss.lines]
    assert labels == ["first training", "first validation", "second training", "second validation"]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3, 1 / 4])


def test_steps_are_whole_numbers() -> None:
    figure = plot_curves({"a": [{"step": 18, "split": "val", "AP": 0.5}]})
    figure.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in figure.axes[0].get_xticks())


def test_curves_of_nothing_are_an_empty_figure() -> None:
    assert plot_curves({"run": []}).axes == []
