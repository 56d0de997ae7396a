"""The configuration: typed overrides, all mistakes at once, and the published runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posefabric.backbone import FABRIC_SPACES, Backbone
from posefabric.config import Config, merge, override, read_config
from posefabric.errors import UserError
from posefabric.genotype import everything
from posefabric.published import FIGURE_1, PUBLISHED
from posefabric.recipes import RECIPES, recipe
from posefabric.settings import BackboneSettings
from posefabric.skeletons import COCO17, MPII16

BASE = Config()

PAPER_RECIPES = {
    "mpii_mobilenetv2_p1",
    "mpii_mobilenetv2_p3",
    "mpii_mobilenetv2_p5",
    "mpii_mobilenetv2_p8",
    "coco_ours1",
    "coco_ours2",
    "coco_ours3",
    "coco_ours3_published",
    "mpii_ours_a",
    "mpii_ours_b",
    "mpii_ours_c",
    "mpii_fabric1",
    "mpii_fabric2",
    "mpii_fabric3",
}


def value_at(config: Config, path: str) -> Any:
    found: Any = config
    for step in path.split("."):
        found = getattr(found, step)
    return found


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("seed=7", 7),
        ("accelerator=cpu", "cpu"),
        ("model.parts=5", "5"),
        ("model.input_hw=[256,192]", (256, 192)),
        ("model.fabric.operations=[zero,skip_connect]", ("zero", "skip_connect")),
        ("model.fabric.share_operations=false", False),
        ("backbone.pretrained=false", False),
        ("backbone.weights=weights/net.pth", Path("weights/net.pth")),
        ("backbone.weights=null", None),
        ("data.augmentation.scale=[0.5,2]", (0.5, 2.0)),
        ("train.lr=1e-3", 1e-3),
        ("train.lr=1E-4", 1e-4),
        ("train.lr=.5", 0.5),
        ("train.epochs=1", 1),
        ("search.milestones=[]", ()),
        ("search.strategy=darts", "darts"),
        ("evaluation.flip_test=true", True),
        ("train={epochs: 3}", None),
    ],
)
def test_an_override_is_typed(assignment: str, value: Any) -> None:
    path = assignment.split("=")[0]
    found = override(BASE, [assignment])
    if path == "train":
        assert found.train == BASE.train.model_copy(update={"epochs": 3})
        return
    assert value_at(found, path) == value
    assert type(value_at(found, path)) is type(value) or isinstance(value, Path)


def test_an_override_changes_nothing_else() -> None:
    changed = override(BASE, ["train.lr=1e-2", "data.augmentation.colour=0"])
    back = override(changed, [f"train.lr={BASE.train.lr}", f"data.augmentation.colour={BASE.data.augmentation.colour}"])
    assert changed != BASE
    assert back == BASE
    assert override(BASE, []) == BASE


def test_the_last_of_two_overrides_counts() -> None:
    assert override(BASE, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("train.epohs=3", "train.epohs: unknown key; did you mean 'epochs'?"),
        ("trian.epochs=3", "trian: unknown key; did you mean 'train'?"),
        ("model.fabric.boundry=omit", "model.fabric.boundry: unknown key; did you mean 'boundary'?"),
        (
            "data.augmentation.cutout_probabilty=1",
            "data.augmentation.cutout_probabilty: unknown key; did you mean 'cutout_probability'?",
        ),
        ("train.lr=fast", "train.lr: "),
        ("train.lr=0", "train.lr: Input should be greater than 0 (given 0)"),
        ("train.lr=inf", "train.lr: Input should be a valid number (given 'inf')"),
        ("train.lr=.inf", "train.lr: Input should be a finite number"),
        ("train.lr=nan", "train.lr: "),
        ("data.augmentation.rotation_deg=.inf", "data.augmentation.rotation_deg: Input should be a finite number"),
        ("data.mean=[.nan,0,0]", "data.mean.0: Input should be a finite number"),
        ("train.epochs=0", "train.epochs: "),
        ("train.epochs=1.5", "train.epochs: "),
        ("train.epochs=", "train.epochs: "),
        ("train.schedule=linear", "train.schedule: "),
        ("data.augmentation.colour=2", "data.augmentation.colour: "),
        ("search.threshold=1", "search.threshold: "),
        ("model.input_hw=[64]", "model.input_hw.1: Field required"),
        ("model.input_hw[0]=64", "model.input_hw[0]: unknown key; did you mean 'input_hw'?"),
        ("train.lr=${train.gamma}", "train.lr: "),
        ("train.lr=${", "train.lr: Input should be a valid number (given '${')"),
        ("train=3", "train: "),
        ("seed", "--set seed; allowed: key.subkey=value"),
        ("=3", "unknown key"),
    ],
)
def test_a_bad_override_is_named(assignment: str, named: str) -> None:
    with pytest.raises(UserError) as caught:
        override(BASE, [assignment])
    assert caught.value.code == "bad-config"
    assert named in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(UserError) as caught:
        override(BASE, ["train.epohs=3", "modle.parts=3", "train.lr=fast", "seed=-1", "data.augmentation.flip=1"])
    message = str(caught.value)
    for named in (
        "train.epohs: unknown key; did you mean 'epochs'?",
        "modle: unknown key; did you mean 'model'?",
        "train.lr: ",
        "seed: ",
        "data.augmentation.flip: unknown key",
    ):
        assert named in message
    assert message.count("\n") == 5


@given(st.floats(1e-9, 1e9))
def test_any_number_is_read_as_python_prints_it(value: float) -> None:
    assert override(BASE, [f"train.lr={value!r}"]).train.lr == value


def test_yaml_changes_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seed: 3\ntrain:\n  lr: 1e-3\n  epochs: 2\nmodel: {parts: 8, input_hw: [128, 96]}\n")
    found = read_config(file, BASE)
    assert found == override(BASE, ["seed=3", "train.lr=0.001", "train.epochs=2", "model.parts=8"]).model_copy(
        update={"model": BASE.model.model_copy(update={"parts": "8", "input_hw": (128, 96)})}
    )
    assert isinstance(found.train.lr, float)


def test_an_empty_yaml_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("# nothing yet\n")
    assert read_config(file, BASE) == BASE


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("seed: 1\nseed: 2\n", "has the key 'seed' twice, line 2, column 1"),
        ("train:\n  lr: 1\n  lr: 2\n", "has the key 'lr' twice, line 3, column 3"),
        ("- seed\n", "holds list; allowed: a mapping of sections"),
        ("5\n", "holds int; allowed: a mapping of sections"),
        ("seed\n", "seed"),
        ("seed: [\n", "is not YAML"),
        ("seed: ${\n", "seed: Input should be a valid integer (given '${')"),
        ("train:\n  epohs: 2\n", "train.epohs: unknown key; did you mean 'epochs'?"),
        ("train: {lr: .inf}\n", "train.lr: Input should be a finite number"),
    ],
)
def test_a_bad_yaml_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(file, BASE)
    assert caught.value.code == "bad-config"
    assert named in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml does not exist") as caught:
        read_config(tmp_path / "none.yaml", BASE)
    assert caught.value.code == "missing-file"


def test_a_config_does_not_change_after_reading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        BASE.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("name", FABRIC_SPACES)
def test_a_fabric_of_the_paper_is_known_by_name(name: str) -> None:
    backbone = BackboneSettings(name=name).describe()
    assert backbone.space == FABRIC_SPACES[name]
    assert backbone.genotype == everything(FABRIC_SPACES[name])
    assert BackboneSettings(name="resnet50").describe() == Backbone("resnet50")


def test_the_papers_recipes_are_here() -> None:
    assert PAPER_RECIPES | {"smoke", "demo"} <= set(RECIPES)
    assert all(recipe(name).published for name in PAPER_RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_its_record(name: str) -> None:
    config = recipe(name).config
    recorded = json.loads(json.dumps(config.data_form()))
    assert merge(BASE, recorded, "record") == config
    assert merge(config, {}, "record") == config
    assert Config.model_validate(recorded) == config


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_describes_its_net(name: str) -> None:
    found = recipe(name)
    architecture = found.architecture()
    assert architecture.skeleton == found.skeleton
    assert architecture.partition == found.skeleton.partition(found.config.model.parts)
    assert architecture.input_hw == found.config.model.input_hw
    if name != "coco_ours3_published":
        assert set(next(iter(architecture.genotypes.values())).cells) == {
            site.name for site in architecture.space.sites()
        }


@pytest.mark.parametrize("name", sorted(PAPER_RECIPES))
def test_what_all_runs_of_the_paper_share(name: str) -> None:
    found = recipe(name)
    assert found.skeleton == (MPII16 if name.startswith("mpii") else COCO17)
    assert found.config.train.lr == 1e-3
    assert (found.config.train.epochs, found.config.train.batch_size) == (200, 24)
    assert found.config.backbone.pretrained == ("fabric" not in name)
    assert found.config.data.augmentation.rotation_deg == 45


def test_the_published_topology_keeps_what_the_figure_keeps() -> None:
    architecture = recipe("coco_ours3_published").architecture()
    dead = {part for part, genotype in architecture.genotypes.items() if "layer3_stride4" not in genotype.cells}
    assert dead == {part for part, (first, *_) in FIGURE_1.items() if not first}
    for genotype in architecture.genotypes.values():
        assert dict(genotype.cells["layer5_stride4"].inputs) == {"coarser": 1.0}
        assert "layer4_stride4" not in genotype.cells


def test_an_unknown_recipe_is_named_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="unknown recipe 'coco_our1'; did you mean 'coco_ours1'"):
        recipe("coco_our1")


NOT_OF_THE_PAPER = (
    "seed",
    "accelerator",
    "deterministic",
    "data.num_workers",
    "data.in_memory",
    "data.max_json",
    "data.allow_truncated",
    "data.synthetic",
    "evaluation.batch_size",
)
"""What decides where and how fast a run is computed, not what."""


def keys_of(data, path=""):
    """Dotted keys of all settings."""
    for key, value in data.items():
        below = f"{path}.{key}" if path else key
        yield from keys_of(value, below) if isinstance(value, dict) else [below]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_setting_of_the_papers_rows_names_its_source(name):
    chosen = recipe(name)
    keys = [key for key in keys_of(chosen.config.data_form()) if not key.startswith(NOT_OF_THE_PAPER)]
    for key in keys:
        steps = key.split(".")
        assert any(".".join(steps[:n]) in chosen.sources for n in range(1, len(steps) + 1)), key
    for source in chosen.sources:
        assert any(f"{key}.".startswith(f"{source}.") for key in keys), f"{source} is no setting"


def test_only_the_papers_coco_rows_stretch_boxes():
    stretching = {name for name in RECIPES if recipe(name).config.data.stretch_boxes}
    assert stretching == {"coco_ours1", "coco_ours2", "coco_ours3", "coco_ours3_published"}
