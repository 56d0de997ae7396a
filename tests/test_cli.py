"""The command line: what Python has, every mistake with its message and exit code, and a whole walk."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import cv2
import numpy as np
import pytest
import typer.main
from small_runs import TINY
from typer.testing import CliRunner

import posefabric
from posefabric import cli, commands
from posefabric.cli import COMMANDS, DATA_COMMANDS, EXPERIMENT_COMMANDS
from posefabric.errors import BAD_DATA, BUG, INPUT_OUTPUT, USAGE, UserError

FAST = ["--recipe", "smoke", *(argument for assignment in TINY for argument in ("--set", assignment))]


class Outcome(NamedTuple):
    """How a call of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def figures(self) -> dict[str, Any]:
        """The one JSON object on stdout; NaN is not JSON."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} is not JSON")

        found = json.loads(self.out, parse_constant=refuse)
        assert isinstance(found, dict)
        return found


def posefabric_cli(*arguments: str | Path) -> Outcome:
    """The command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["posefabric", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    return Outcome(code, out.getvalue(), err.getvalue())


def options(command: Any) -> set[str]:
    return {parameter.name for parameter in command.params}


GROUP: Any = typer.main.get_command(cli.build())
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__.replace("_", "-"): function for function in COMMANDS},
    **{f"data {function.__name__.rstrip('_')}": function for function in DATA_COMMANDS},
    **{f"experiment {function.__name__}": function for function in EXPERIMENT_COMMANDS},
}


def found_command(name: str) -> Any:
    command = GROUP
    for word in name.split():
        command = command.commands[word]
    return command


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_names_every_option(name: str) -> None:
    outcome = CliRunner().invoke(cli.build(), [*name.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert outcome.exit_code == 0
    for parameter in found_command(name).params:
        for option in parameter.opts:
            assert option.strip("-").lower() in outcome.output.lower()
    assert (FUNCTIONS[name].__doc__ or "").splitlines()[0][:40] in outcome.output


@pytest.mark.parametrize("name", FUNCTIONS)
def test_options_are_the_parameters_of_the_function(name: str) -> None:
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    assert options(found_command(name)) - {"help"} == {*parameters, "json", "quiet"}
    for option in found_command(name).params:
        if option.name in parameters:
            default = parameters[option.name].default
            assert option.required == (default is inspect.Parameter.empty)
            assert option.required or option.default == default


def test_python_offers_the_commands_under_their_names() -> None:
    for function in COMMANDS:
        if function.__name__ not in ("recipes", "explain"):  # `posefabric.recipes` is the module
            assert getattr(posefabric, function.__name__) is function
    for function in DATA_COMMANDS:
        assert getattr(posefabric, f"data_{function.__name__.rstrip('_')}") is function
    for function in EXPERIMENT_COMMANDS:
        assert getattr(posefabric, f"experiment_{function.__name__}") is function


def test_the_version_is_printed() -> None:
    outcome = posefabric_cli("--version")
    assert outcome.code == 0
    assert outcome.out.strip()[0].isdigit()


@pytest.fixture
def bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.json").write_text('{"images": 3}')
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "photo.jpg").write_text("no photograph")
    (tmp_path / "data.yaml").write_text("images: here\ntrain: none.json\nval: none.json\nflavour: sweet\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("dear reader")
    return tmp_path


MISTAKES: dict[str, tuple[int, str, str]] = {
    "search synthetic --recipe smok": (USAGE, "unknown-name", "unknown recipe 'smok'; did you mean 'smoke'"),
    "recipes demoo": (USAGE, "unknown-name", "did you mean 'demo'"),
    "explain bad-vaule": (USAGE, "unknown-name", "did you mean 'bad-value'"),
    "search synthetic --strategy synk": (USAGE, "unknown-name", "unknown strategy 'synk'; did you mean 'sync'"),
    "search synthetic --parts 4": (USAGE, "unknown-name", "unknown partition of skeleton coco17 '4'"),
    "search synthetic --set train.lr": (USAGE, "bad-config", "allowed: key.subkey=value"),
    "search synthetic --set model.input_hw=[60,60]": (
        USAGE,
        "bad-config",
        "input_hw is (60, 60); allowed: multiples of",
    ),
    "search synthetic --set search.cost_objective=band": (USAGE, "bad-config", "cost_objective: a band needs a budget"),
    "search synthetic --budget 12ms": (USAGE, "bad-config", "milliseconds need search.cost_unit=latency"),
    "search synthetic --config none.yaml": (INPUT_OUTPUT, "missing-file", "none.yaml does not exist"),
    "search none.json": (INPUT_OUTPUT, "missing-file", "none.json"),
    "search none.txt": (BAD_DATA, "bad-dataset", "a .yaml, a .json or 'synthetic'"),
    "search bad.json": (BAD_DATA, "bad-annotation", "bad.json"),
    "search no.json": (BAD_DATA, "bad-annotation", "no.json"),
    "search data.yaml": (BAD_DATA, "bad-dataset", "flavour: unknown key"),
    "search synthetic --output folder": (USAGE, "run-differs", "folder exists and is no run folder"),
    "train synthetic --architecture none": (INPUT_OUTPUT, "missing-file", "none does not exist"),
    "train synthetic --architecture deconvolutoin": (INPUT_OUTPUT, "missing-file", "did you mean 'deconvolution'"),
    "train synthetic --architecture bad.json": (BAD_DATA, "bad-architecture", "bad.json"),
    "show no.json": (BAD_DATA, "bad-architecture", "no.json"),
    "derive folder": (BAD_DATA, "bad-run", "folder has no run.json"),
    "evaluate none synthetic": (BAD_DATA, "bad-run", "none has no run.json"),
    "predict none photo.jpg": (BAD_DATA, "bad-run", "none has no run.json"),
    "report folder": (BAD_DATA, "bad-run", "run.json"),
    "profile smoke --input 64": (USAGE, "bad-value", "HEIGHTxWIDTH"),
    "profile smoek": (INPUT_OUTPUT, "missing-file", "smoek does not exist"),
    "data synthesize --count 2 --output out --skeleton coco18": (USAGE, "unknown-name", "did you mean 'coco17'"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_gets_its_message_and_its_exit_code(line: str, bad_files: Path) -> None:
    exit_code, code, message = MISTAKES[line]
    before = {path.name for path in bad_files.iterdir()}
    outcome = posefabric_cli(*line.split())
    assert outcome.out == ""
    assert any(line.startswith("error: ") for line in outcome.err.splitlines())
    assert f"[{code}" in outcome.err
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.code == exit_code
    left = {path.name for path in bad_files.iterdir()} - before
    assert left <= {"runs"}


def test_all_unknown_keys_are_told_at_once() -> None:
    keys = ("--set", "train.epohs=3", "--set", "modle.parts=3", "--set", "search.bach_size=2")
    outcome = posefabric_cli("search", "synthetic", *keys)
    assert outcome.code == USAGE
    for named in ("did you mean 'epochs'", "did you mean 'model'", "did you mean 'batch_size'"):
        assert named in outcome.err


@pytest.mark.parametrize("line", ["search", "search synthetic --recipee smoke", "serch synthetic", "explain"])
def test_a_line_that_cannot_be_read_is_a_usage_error(line: str) -> None:
    assert posefabric_cli(*line.split()).code == USAGE


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("diverged", "the loss is nan"), BAD_DATA, "error: the loss is nan"),
        (FileNotFoundError(2, "No such file", "x"), INPUT_OUTPUT, "error: [Errno 2] No such file: 'x'"),
        (RuntimeError("oh"), BUG, "this is a bug in posefabric"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_goes_wrong_inside_ends_with_its_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(name: str | None = None) -> commands.Result:
        raise error

    failing.__name__ = "failing"
    monkeypatch.setattr(cli, "COMMANDS", (failing,))
    outcome = posefabric_cli("failing")
    assert outcome.code == code
    assert message in outcome.err
    assert ("Traceback" in outcome.err) == (code == BUG)


def test_explain_gives_meaning_and_cure() -> None:
    figures = posefabric_cli("explain", "run-differs", "--json").figures
    assert figures["exit_code"] == USAGE
    assert figures["meaning"]
    assert "--output" in figures["cure"]


def test_recipes_are_listed_and_shown_whole() -> None:
    listed = posefabric_cli("recipes", "--json").figures
    assert {"smoke", "coco_ours3", "mpii_mobilenetv2_p3"} <= set(listed)
    shown = posefabric_cli("recipes", "smoke", "--json").figures
    assert shown["config"]["model"]["input_hw"] == [64, 64]
    assert "smoke" in posefabric_cli("recipes").out


class Walk(NamedTuple):
    """A whole walk on the command line: its folder, and the outcome of every command."""

    folder: Path
    outcomes: dict[str, Outcome]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """Data, search, derive, show, train, evaluate, predict, profile, report on a COCO dataset of small people."""
    folder = tmp_path_factory.mktemp("walk")
    with contextlib.chdir(folder):
        outcomes = {"synthesize": posefabric_cli("data", "synthesize", "--count", "12", "--output", "people", "--json")}
        small = {"train.json": range(8), "val.json": range(8, 12)}
        whole = json.loads((folder / "people" / "annotations.json").read_text())
        for name, chosen in small.items():
            part = {key: [whole[key][i] for i in chosen] for key in ("images", "annotations")}
            (folder / name).write_text(json.dumps(whole | part))
        data = "images: people/images\ntrain: train.json\nval: val.json\n"
        (folder / "data.yaml").write_text(data)
        train = ("train", "data.yaml", "--architecture", "searched", "--weights", "searched", *FAST)
        lines: dict[str, tuple[str, ...]] = {
            "search": ("search", "data.yaml", *FAST, "--output", "searched", "--json"),
            "again": ("search", "data.yaml", *FAST, "--output", "searched", "--json"),
            "derive": ("derive", "searched", "--method", "threshold", "--set", "search.threshold=0.1", "--json"),
            "show": ("show", "searched", "--output", "fabrics.svg"),
            "train": (*train, "--output", "trained", "--json"),
            "evaluate": ("evaluate", "trained", "data.yaml", "--flip-test", "--output", "keypoints.json", "--json"),
            "predict": ("predict", "trained", "people/images/000000.png", "--output", "pictures", "--json"),
            "profile": ("profile", "searched", "--input", "64x64", "--json"),
            "report": ("report", "searched", "trained", "--output", "report.html"),
        }
        for name, line in lines.items():
            outcomes[name] = posefabric_cli(*line)
        yield Walk(folder, outcomes)


def test_every_command_of_the_walk_ends_well(walk: Walk) -> None:
    assert {name: outcome.code for name, outcome in walk.outcomes.items() if outcome.code} == {}


def test_json_is_one_object_and_the_output_is_named(walk: Walk) -> None:
    for name, output in (
        ("synthesize", "people/annotations.json"),
        ("search", "searched"),
        ("derive", "searched/architecture.json"),
        ("train", "trained"),
        ("evaluate", "keypoints.json"),
        ("predict", "pictures"),
    ):
        assert walk.outcomes[name].figures["output"] == output
        assert (walk.folder / output).exists()
    for name, output in (("show", "fabrics.svg"), ("report", "report.html")):
        assert walk.outcomes[name].out.splitlines()[-1] == output
        assert (walk.folder / output).stat().st_size > 1000


def test_the_walk_leaves_the_files_it_promises(walk: Walk) -> None:
    promised = {"run.json", "metrics.jsonl", "architecture.json", "weights.safetensors", "evaluation.json"}
    assert promised <= {path.name for path in (walk.folder / "searched").iterdir()}
    assert promised <= {path.name for path in (walk.folder / "trained").iterdir()}
    assert (walk.folder / "searched" / "architectures" / "threshold.json").read_bytes() == (
        walk.folder / "searched" / "architecture.json"
    ).read_bytes()
    assert len(json.loads((walk.folder / "keypoints.json").read_text())) == 4
    assert {path.name for path in (walk.folder / "pictures").iterdir()} == {"000000.jpg", "keypoints.json"}


def test_a_finished_search_is_not_run_again(walk: Walk) -> None:
    assert walk.outcomes["again"].figures == walk.outcomes["search"].figures
    rows = (walk.folder / "searched" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 3  # two steps and their validation


def test_the_figures_are_the_contracts(walk: Walk) -> None:
    evaluated = walk.outcomes["evaluate"].figures
    assert {"AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL", "PCK@0.2", "PCK@0.1"} <= set(
        evaluated
    )
    profile = walk.outcomes["profile"].figures
    assert {"parameters", "macs", "latency_ms", "input_hw", "parts", "supernet"} <= set(profile)
    assert profile["macs"] == walk.outcomes["derive"].figures["macs"]
    assert profile["macs"] <= profile["supernet"]["macs"]


def test_another_configuration_for_the_same_folder_is_refused_with_a_diff(walk: Walk) -> None:
    with contextlib.chdir(walk.folder):
        outcome = posefabric_cli("search", "data.yaml", *FAST, "--set", "seed=5", "--output", "searched")
    assert outcome.code == USAGE
    assert '-  "seed": 0' in outcome.err
    assert '+  "seed": 5' in outcome.err


def test_python_and_the_command_line_do_the_same(walk: Walk) -> None:
    with contextlib.chdir(walk.folder):
        result = posefabric.evaluate(Path("trained"), "data.yaml", flip_test=True)
    told = {key: value for key, value in walk.outcomes["evaluate"].figures.items() if key != "output"}
    assert dict(result.figures) == pytest.approx(told, nan_ok=True)


@pytest.mark.parametrize("metric", ["oks", "pck"])
def test_a_file_of_predictions_gives_the_figures_of_its_run(walk: Walk, metric: str) -> None:
    with contextlib.chdir(walk.folder):
        file = ("--predictions", "keypoints.json", "--annotations", "val.json", "--metric", metric)
        outcome = posefabric_cli("evaluate", *file, "--json")
        whole = posefabric_cli("evaluate", *file, "--output", f"{metric}-figures", "--json")
    told = walk.outcomes["evaluate"].figures
    assert outcome.figures == {key: pytest.approx(told[key], abs=1e-12) for key in outcome.figures}
    assert {"oks": "AP", "pck": "PCK@0.2"}[metric] in outcome.figures
    assert {key: value for key, value in whole.figures.items() if key != "output"} == outcome.figures
    assert {path.name for path in (walk.folder / f"{metric}-figures").iterdir()} == {
        "evaluation.json",
        "diagnosis.json",
    }


def test_evaluation_in_a_folder_and_in_detected_boxes(walk: Walk) -> None:
    """Boxes of a perfect detector, each twice: what is left are as many poses as there are persons."""
    with contextlib.chdir(walk.folder):
        persons = json.loads(Path("val.json").read_text())["annotations"]
        boxes = [
            {key: person[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for person in persons
        ]
        Path("detections.json").write_text(json.dumps([*boxes, *boxes]))
        annotated = posefabric_cli("evaluate", "trained", "data.yaml", "--output", "annotated", "--json").figures
        detected = posefabric_cli(
            "evaluate", "trained", "data.yaml", "--boxes", "detections.json", "--output", "detected", "--json"
        ).figures
        ours, theirs = (json.loads(Path(f"{name}/keypoints.json").read_text()) for name in ("annotated", "detected"))
    assert annotated["boxes"] == "ground-truth boxes"
    assert detected["boxes"] == "8 boxes of detections.json"
    assert "PCK@0.2" not in detected
    assert {key: detected[key] for key in ("AP", "AR")} == {key: annotated[key] for key in ("AP", "AR")}
    assert [row["keypoints"] for row in theirs] == [row["keypoints"] for row in ours]
    assert [row["score"] for row in theirs] == pytest.approx([0.9 * row["score"] for row in ours])
    assert [row.get("annotation_id") for row in theirs] == [None] * 4
    assert {path.name for path in (walk.folder / "annotated").iterdir()} == {
        "evaluation.json",
        "diagnosis.json",
        "keypoints.json",
    }


def test_a_detector_that_found_nobody_scores_0(walk: Walk) -> None:
    with contextlib.chdir(walk.folder):
        Path("nobody.json").write_text("[]")
        boxes = ("--boxes", "nobody.json", "--output", "nobody")
        outcome = posefabric_cli("evaluate", "trained", "data.yaml", *boxes, "--json")
        assert json.loads(Path("nobody/keypoints.json").read_text()) == []
    assert outcome.code == 0
    assert outcome.figures["boxes"] == "0 boxes of nobody.json"
    assert (outcome.figures["AP"], outcome.figures["AR"]) == (0, 0)


def test_boxes_below_the_threshold_are_counted(walk: Walk, caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.chdir(walk.folder):
        person = json.loads(Path("val.json").read_text())["annotations"][0]
        box = {key: person[key] for key in ("image_id", "category_id", "bbox")}
        Path("weak.json").write_text(json.dumps([box | {"score": 0.9}, box | {"score": 0.1}]))
        options = ("--boxes", "weak.json", "--set", "evaluation.box_threshold=0.5", "--output", "weak.out")
        posefabric_cli("evaluate", "trained", "data.yaml", *options)
    assert "weak.json: left out: 1 with a score below evaluation.box_threshold (0.5)" in caplog.text


def test_what_evaluate_cannot_do_is_refused_before_the_work(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pred.mat of other keypoints than MPII's; options of a net, or a file's name for figures, with a file."""
    monkeypatch.setattr("posefabric.engine.evaluate.predict_people", lambda *_: pytest.fail("people were predicted"))
    of_file = ("--predictions", "annotated/keypoints.json", "--annotations", "val.json", "--metric", "oks")
    with contextlib.chdir(walk.folder):
        refused = [
            posefabric_cli("evaluate", "trained", "data.yaml", "--output", "pred.mat"),
            posefabric_cli("evaluate", *of_file, "--set", "evaluation.decode=dark"),
            posefabric_cli("evaluate", *of_file, "--flip-test"),
            posefabric_cli("evaluate", *of_file, "--split", "test"),
            posefabric_cli("evaluate", *of_file, "--output", "figures.json"),
        ]
    assert [outcome.code for outcome in refused] == [USAGE] * 5
    assert "pred.mat for coco17" in refused[0].err
    assert all("one part of two ways" in outcome.err for outcome in refused[1:4])
    assert "allowed: a folder" in refused[4].err


def test_a_test_split_without_labels_gives_a_submission(walk: Walk) -> None:
    with contextlib.chdir(walk.folder):
        whole = json.loads(Path("val.json").read_text())
        for person in whole["annotations"]:
            person |= {"keypoints": [0] * 51, "num_keypoints": 0}
        Path("unlabelled.json").write_text(json.dumps(whole))
        Path("test.yaml").write_text(Path("data.yaml").read_text() + "test: unlabelled.json\n")
        outcome = posefabric_cli("evaluate", "trained", "test.yaml", "--split", "test", "--output", "handed-in")
        with zipfile.ZipFile("handed-in/submission.zip") as archive:
            (name,) = archive.namelist()
            results = json.loads(archive.read(name))
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["boxes  ground-truth boxes", "handed-in"]
    assert name == "person_keypoints_test-dev2017_posefabric_results.json"
    assert [set(row) for row in results] == [{"image_id", "category_id", "keypoints", "score"}] * 4


def test_the_score_of_visible_keypoints_is_calibrated_on_validation(walk: Walk) -> None:
    record = json.loads((walk.folder / "trained" / "run.json").read_text())
    predictor = posefabric.load(walk.folder / "trained")
    assert predictor.threshold == record["visible_threshold"]
    poses = predictor.predict(walk.folder / "people" / "images" / "000001.png")
    assert (poses.visible == (poses.score >= predictor.threshold)).all()


def test_boxes_by_file_name_are_used(walk: Walk) -> None:
    with contextlib.chdir(walk.folder):
        Path("boxes.json").write_text('{"000001.png": [[10, 10, 60, 90], [20, 30, 90, 150]]}')
        image = "people/images/000001.png"
        outcome = posefabric_cli("predict", "trained", image, "--boxes", "boxes.json", "--output", "boxed", "--json")
        results = json.loads(Path("boxed/keypoints.json").read_text())
        refused = posefabric_cli("predict", "trained", image, "--boxes", "people", "--output", "boxed")
    assert outcome.figures["poses"] == 2
    assert [result["file_name"] for result in results] == ["000001.png", "000001.png"]
    assert refused.code == INPUT_OUTPUT


@pytest.mark.parametrize(
    ("names", "given", "code", "message"),
    [
        (["broken.png"], ["broken.png"], BAD_DATA, "broken.png cannot be read"),
        ([], ["none.png"], INPUT_OUTPUT, "none.png does not exist"),
        ([], ["."], INPUT_OUTPUT, "no images in"),
        (["a.jpg"], ["a.jpg", "--output", "."], USAGE, "a.jpg would be written over another image"),
        (["a.jpg", "a.png"], ["a.jpg", "a.png", "--output", "out"], USAGE, "a.jpg would be written over another image"),
    ],
)
def test_images_that_cannot_be_predicted(
    walk: Walk, tmp_path: Path, names: list[str], given: list[str], code: int, message: str
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(
            b"" if "broken" in name else cv2.imencode(name[-4:], np.zeros((9, 9, 3), np.uint8))[1].tobytes()
        )
    before = {name: (tmp_path / name).read_bytes() for name in names}
    with contextlib.chdir(tmp_path):
        outcome = posefabric_cli("predict", walk.folder / "trained", *given)
    assert message in outcome.err
    assert outcome.code == code
    assert before == {name: (tmp_path / name).read_bytes() for name in names}


def test_people_with_other_keypoints_are_refused(walk: Walk) -> None:
    with contextlib.chdir(walk.folder):
        posefabric_cli("data", "synthesize", "--count", "12", "--output", "lsp", "--skeleton", "lsp14")
        outcome = posefabric_cli("evaluate", "trained", "lsp/annotations.json", "--split", "train")
        split = posefabric_cli("evaluate", "trained", "data.yaml", "--split", "tset")
        missing = posefabric_cli("evaluate", "trained", "data.yaml", "--split", "test")
    assert outcome.code == missing.code == BAD_DATA
    assert "those of the net, coco17" in outcome.err
    assert split.code == USAGE
    assert "did you mean 'test'" in split.err
    assert "no 'test' split" in missing.err


def test_a_dataset_without_persons_is_refused_before_any_work(walk: Walk) -> None:
    with contextlib.chdir(walk.folder):
        whole = json.loads(Path("people/annotations.json").read_text())
        Path("one.json").write_text(json.dumps(whole | {key: whole[key][:1] for key in ("images", "annotations")}))
        outcomes = [posefabric_cli("search", "one.json", "--images", "people/images", *FAST, "--output", "empty")]
        outcomes += [
            posefabric_cli("evaluate", "trained", "one.json", "--images", "people/images", "--split", split)
            for split in ("train", "val", "test")
        ]
        assert not Path("empty").exists()
    assert outcomes[0].code == BAD_DATA
    assert "has no persons in its split" in outcomes[0].err
    assert sorted(outcome.code for outcome in outcomes[1:]) == [0, BAD_DATA, BAD_DATA]


PACKAGE = Path(posefabric.__file__).parents[1]
"""Where the package that is tested lies, whatever the folder a process starts in."""

HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""Python ignores Ctrl-C where a shell started the tests in the background; a process that is tested does not."""


def launch(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONPATH": str(PACKAGE)}
    line = [sys.executable, "-c", f"{HEEDING}; from posefabric.cli import main; main()", *arguments]
    return subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_in_a_process_of_its_own_stdout_holds_the_json_and_nothing_else(walk: Walk) -> None:
    """And with `--quiet` stderr is empty; what is said without it, the next test reads."""
    process = launch("evaluate", "trained", "data.yaml", "--quiet", "--json", folder=walk.folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert Outcome(0, out, err).figures["AP"] >= 0
    assert len(out.splitlines()) == 1
    assert err == ""


MANY_PROBLEMS = {"images": [], "categories": [], "annotations": [{"id": f"x{i}"} for i in range(2000)]}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_that_closes_the_pipe_is_an_error_of_output(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(MANY_PROBLEMS))
    process = launch("data", "check", "bad.json", "--quiet", *options, folder=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert (process.wait(timeout=120), process.stderr.read()) == (INPUT_OUTPUT, "")


def test_a_terminal_that_lacks_the_letters_of_a_name_shows_their_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    image = {"id": 1, "file_name": "../\u00e9.png"}
    (tmp_path / "named.json").write_text(json.dumps({"images": [image], "categories": [], "annotations": []}))
    process = launch("data", "check", "named.json", folder=tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == BAD_DATA, err
    assert "\\xe9.png" in out


def test_quiet_leaves_out_warnings_too(walk: Walk, tmp_path: Path) -> None:
    line = ("data", "init", "val.json", "--output")
    for options, silent in (((), False), (("--quiet",), True)):
        process = launch(*line, str(tmp_path / f"{silent}.yaml"), *options, folder=walk.folder)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert (err == "") == silent


def test_an_interrupted_command_exits_130_and_leaves_a_checkpoint(walk: Walk) -> None:
    line = ("train", "data.yaml", "--architecture", "searched", *FAST, "--set", "train.epochs=2000", "--output", "cut")
    process = launch(*line, folder=walk.folder)
    metrics = walk.folder / "cut" / "metrics.jsonl"
    assert process.stderr is not None
    for text in process.stderr:
        if "validation" in text:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert metrics.read_text().count("\n") >= 2
    assert list((walk.folder / "cut" / "checkpoints").glob("step-*"))
