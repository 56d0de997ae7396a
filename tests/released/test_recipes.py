"""The authors' released checkpoints, by a recipe of the paper: made-up ones, with all that is dead in the real one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from sizes import LONG
from their_net import Net, Tensors, heatmaps, made
from torch import Tensor

from posefabric.errors import UserError
from posefabric.models.net import PoseNet
from posefabric.released.ledger import COUNTER, LAST, SECOND_INPUT, STEM
from posefabric.released.names import THEIR_MPII_KEYPOINTS
from posefabric.released.recipe import import_recipe
from posefabric.skeletons import COCO17, MPII16

COCO_3 = {
    "upper_limb_part": (5, 6, 7, 8, 9, 10),
    "head_part": (0, 1, 2, 3, 4),
    "lower_limb_part": (11, 12, 13, 14, 15, 16),
}
COCO_5 = {
    "left_arm_part": (7, 9),
    "right_arm_part": (8, 10),
    "legs_part": (13, 14, 15, 16),
    "head_shoulder_part": (0, 1, 2, 3, 4, 5, 6),
    "hips_part": (11, 12),
}
MPII_3 = {
    "upper_limb_part": (3, 4, 5, 6, 7, 8),
    "head_part": (0, 1, 2),
    "lower_limb_part": (9, 10, 11, 12, 13, 14, 15),
}
MPII_5 = {
    "left_arm_part": (5, 7),
    "right_arm_part": (6, 8),
    "legs_part": (11, 12, 13, 14),
    "head_shoulder_part": (0, 1, 2, 3, 4),
    "hips_part": (15, 9, 10),
}
MPII_8 = {
    "left_upper_arm_part": (3, 5),
    "right_upper_arm_part": (4, 6),
    "left_lower_arm_part": (5, 7),
    "right_lower_arm_part": (6, 8),
    "left_lower_leg_part": (11, 13),
    "right_lower_leg_part": (12, 14),
    "head_shoulder_part": (0, 1, 2, 3, 4),
    "upper_legs_part": (9, 15, 10, 11, 12),
}
THREE = ("skip_connect", "Sep_Conv_3x3", "Atr_Conv_3x3")
ATROUS_FIRST = ("Zero", "skip_connect", "Atr_Conv_3x3", "Sep_Conv_3x3")

OURS_1 = Net(17, COCO_3, "mobilenet", 16, operations=THREE, second_input=True)
"""As it was released: three operations, two input nodes."""

NETS = {
    "coco_ours1": OURS_1,
    "coco_ours3": Net(17, COCO_5, "hrnet", 16, operations=ATROUS_FIRST),
    "mpii_ours_a": Net(16, MPII_3, "mobilenet", 10, nodes=2, second_input=True),
    "mpii_mobilenetv2_p8": Net(16, MPII_8, "mobilenet", 10, depth=7, cut=4),
    "mpii_mobilenetv2_p5": Net(16, MPII_5, "mobilenet", 10, vector_dim=1),
    "mpii_fabric3": Net(16, MPII_3, "fabric", 10, backbone_depth=8, backbone_keep=5, backbone_base=12),
}
MORE = {
    "coco_ours2": Net(17, COCO_3, "resnet50", 10),
    "mpii_ours_b": Net(16, MPII_5, "hrnet", 16, operations=ATROUS_FIRST, vector_dim=1),
    "mpii_ours_c": Net(16, MPII_3, "hrnet", 12, nodes=2, second_input=True),
}
"""Those of `make test-long`."""

if LONG:
    NETS |= MORE


@pytest.mark.long
@pytest.mark.parametrize("recipe", NETS)
def test_same_tensors_same_heatmaps(recipe: str) -> None:
    theirs = NETS[recipe]
    tensors = made(theirs)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    precise = {name: tensor.double() for name, tensor in tensors.items()}
    imported, _ = import_recipe(recipe, tensors)
    keypoints = COCO17.keypoints if theirs.num_keypoints == 17 else THEIR_MPII_KEYPOINTS
    skeleton = COCO17 if theirs.num_keypoints == 17 else MPII16
    with torch.inference_mode():
        wanted = heatmaps(theirs, Tensors(precise), image)
        net = PoseNet(imported.architecture).double().eval()
        net.load_state_dict(imported.state)
        found = net(image)
        net.load_state_dict(imported.reading_rgb().state)
        in_rgb = net(image.flip(1))
    assert wanted.std() > 0.01
    order = [skeleton.index(keypoint) for keypoint in keypoints]
    torch.testing.assert_close(found[:, order], wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(in_rgb, found, rtol=0, atol=1e-9)


@cache
def ours_1() -> dict[str, Tensor]:
    return made(OURS_1)


def is_trained(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


@pytest.mark.parametrize(
    ("printed", "theirs"),
    [
        (6.1, OURS_1),
        (3.3, Net(16, MPII_3, "mobilenet", 10, second_input=True)),
        (16.4, Net(16, MPII_5, "hrnet", 16, second_input=True)),
        (27.5, Net(17, COCO_3, "resnet50", 10)),
    ],
    ids=["coco_ours1", "mpii_mobilenetv2_p3", "mpii_ours_b", "coco_ours2"],
)
def test_the_made_up_nets_have_the_parameters_that_the_paper_prints(printed: float, theirs: Net) -> None:
    """Millions, with second input nodes where the paper counts them; stems and the backbone's last block left out."""
    left_out = (".stem.", "backbone.features.17.")
    tensors = made(theirs, counters=False)
    counted = [
        t.numel() for name, t in tensors.items() if is_trained(name) and not any(part in name for part in left_out)
    ]
    assert round(sum(counted) / 1e6, 1) == printed


def test_every_tensor_is_used_or_dead_for_a_reason() -> None:
    tensors = ours_1()
    imported, settings = import_recipe("coco_ours1", tensors)
    ledger = imported.ledger
    assert ledger.used.keys() | ledger.dead.keys() == tensors.keys()
    assert not ledger.used.keys() & ledger.dead.keys()
    assert not ledger.missing
    expected = {
        COUNTER: {name for name in tensors if name.endswith(("total_ops", "total_params"))},
        STEM: {name for name in tensors if "_part.stem." in name},
        SECOND_INPUT: {name for name in tensors if ".cell_arch.1." in name},
        LAST: {name for name in tensors if name.startswith("backbone.features.17.")},
    }
    counters = expected[COUNTER]
    for reason, names in expected.items():
        dead = {name for name, why in ledger.dead.items() if why == reason}
        assert dead == (names if reason == COUNTER else names - counters)
    assert {ours for names in ledger.used.values() for ours in names} == {*imported.state, "alphas", "betas"}
    assert settings.model.fabric.operations == ("skip_connect", "sep_conv_3x3", "dil_conv_3x3")
    assert any("skip_connect, sep_conv_3x3, dil_conv_3x3" in note for note in ledger.notes)
    assert sum(t.numel() for name, t in imported.state.items() if is_trained(name)) == 5_073_736  # PNFS live: 5.07M


def without(end: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if not name.endswith(end)}


def having(**further: Tensor) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: tensors | {name.replace("__", "."): tensor for name, tensor in further.items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("head_part.cell_3_1.channel_keep.bias"), r"missing \(1\): head_part.cell_3_1.channel_keep.bias"),
        (without("final_layer.1.weight"), r"missing \(3\): .*head_part.final_layer.1.weight"),
        (lambda tensors: {"conv1.weight": torch.ones(1)}, "no parts and no known backbone; allowed: for coco_ours1"),
        (without("head_part.alphas"), "the parts lower_limb_part, upper_limb_part and the backbone mobilenetv2"),
        (having(mask__weight=torch.ones(1)), r"without a place in it \(1\): mask.weight"),
        (having(head_part__cell_9_0__channel_keep__bias=torch.ones(1)), r"place in it \(1\): head_part.cell_9_0"),
        (having(head_part__cell_3_0__cell_arch__2__ops__1__weight=torch.ones(1)), r"place in it .*cell_arch.2"),
        (having(backbone__features__19__weight=torch.ones(1)), r"place in it .*features.19"),
        (having(head_part__betas=torch.ones(9, 3)), r"of another shape .*head_part.betas \(9, 3\) instead of \(6, 3\)"),
        (having(head_part__betas=torch.full((6, 3), torch.nan)), "not finite .*head_part.betas"),
        (having(head_part__betas=torch.ones(6, 3, dtype=torch.int64)), "of another kind .*head_part.betas torch.int64"),
        (having(head_part__alphas=torch.ones(1, 4)), "the operations of the parts differ|2 have no tensors"),
        (having(head_part__alphas=torch.ones(3)), r"head_part.alphas has the shape \(3,\)"),
        (having(head_part__cell_3_0__cell_arch__0__ops__0__1__running_var=torch.ones(64)), "operation 0 .* a pooling"),
        (having(head_part__cell_3_0__cell_arch__0__ops__3__1__running_var=torch.ones(64)), "operation 3 and alphas"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(change: Callable[[dict[str, Tensor]], dict[str, Tensor]], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        import_recipe("coco_ours1", change(dict(ours_1())))
    assert caught.value.code == "bad-weights"


def test_everything_that_does_not_fit_is_told_at_once() -> None:
    change = having(mask__weight=torch.ones(1), head_part__betas=torch.ones(9, 3))
    with pytest.raises(UserError) as caught:
        import_recipe("coco_ours1", without("channel_keep.bias")(change(dict(ours_1()))))
    assert all(part in str(caught.value) for part in ("missing (18)", "mask.weight", "head_part.betas (9, 3)"))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("coco_ours2", "the backbone mobilenetv2_100; allowed: for coco_ours2, .*resnet50.*recipes .*: .*coco_ours1"),
        ("coco_ours3", "allowed: for coco_ours3, the parts head_shoulder_part"),
        ("mpii_ours_a", "head_part 40, .* every keypoint of mpii16; to do: .*: coco_ours1"),
        ("mpii_mobilenetv2_p5", "hips_part"),
        ("coco_ours3_published", "a topology cut from a mixture; allowed: .*: coco_ours3"),
        ("smoke", "unknown recipe of the paper 'smoke'"),
        ("coco_ours_1", "did you mean 'coco_ours1'"),
    ],
)
def test_another_recipe_is_told_with_those_that_fit(recipe: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        import_recipe(recipe, ours_1())


def test_what_training_on_several_gpus_or_in_halves_leaves_is_read() -> None:
    plain, _ = import_recipe("coco_ours1", ours_1())
    halves = {f"module.{n}" if "." in n else n: t.half() if t.is_floating_point() else t for n, t in ours_1().items()}
    old = {name: tensor for name, tensor in halves.items() if not name.endswith("num_batches_tracked")}
    imported, _ = import_recipe("coco_ours1", old)
    assert imported.state.keys() == plain.state.keys()
    for name, tensor in plain.state.items():
        assert imported.state[name].dtype == tensor.dtype
        if is_trained(name):
            assert torch.equal(imported.state[name], tensor.half().float())
    assert any("float16" in note for note in imported.ledger.notes)
    assert len(imported.ledger.missing) == sum(name.endswith("num_batches_tracked") for name in plain.state)


def test_alphas_of_a_second_input_node_are_left_out() -> None:
    tensors = {name: torch.cat([t, t.flip(1)]) if name.endswith("alphas") else t for name, t in ours_1().items()}
    wanted, _ = import_recipe("coco_ours1", ours_1())
    found, _ = import_recipe("coco_ours1", tensors)
    assert found.architecture == wanted.architecture
