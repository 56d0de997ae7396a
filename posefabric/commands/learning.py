"""Commands that search and train: `demo`, `search`, `derive`, `train`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from posefabric import documents
from posefabric.budget import checked_budget
from posefabric.commands.arguments import (
    Assignments,
    Category,
    ConfigFile,
    Data,
    Images,
    Output,
    Recipe,
    Result,
    RunFolder,
    check_skeletons,
    headline,
    note_place,
    open_split,
    read_settings,
    reopen,
    write_text,
)
from posefabric.config import Config, override
from posefabric.errors import BAD_DATA, UserError, suggestion
from posefabric.handmade import HEADS, Description, read_description
from posefabric.methods import DERIVATIONS, told
from posefabric.runs import SUPERNET_FILE, Run, next_output
from posefabric.settings import STRATEGY_NAMES

logger = logging.getLogger(__name__)

Budget = Annotated[
    str | None,
    typer.Option(
        help="MACs of the whole net (150M, 1.2G), a share of the supernet's (60%), or 12ms by a latency table."
    ),
]


def demo(output: Annotated[Path, typer.Option(help="The folder to write into.")] = Path("demo")) -> Result:
    """The whole way on the embedded synthetic people: search, derive, train, evaluate, predict, report."""
    from posefabric.engine.demo import run_demo

    figures, page = run_demo(output)
    return Result(headline(figures), page)


def search(
    data: Data,
    recipe: Recipe = "base",
    strategy: Annotated[
        str | None, typer.Option(help=f"{', '.join(STRATEGY_NAMES[:-1])} or {STRATEGY_NAMES[-1]}.")
    ] = None,
    parts: Annotated[str | None, typer.Option(help="The partition of the body: 1, 3, 5, 8 or your own.")] = None,
    budget: Budget = None,
    config: ConfigFile = None,
    set: Assignments = None,
    images: Images = None,
    category: Category = None,
    output: Output = None,
) -> Result:
    """Search an architecture: a run folder that ends in the derived net and its inherited weights."""
    from posefabric import ranks
    from posefabric.data.sources import Where, describe
    from posefabric.engine import sharing
    from posefabric.engine.search import search as run_search

    ranks.join()
    flags = [f"search.strategy={strategy}"] * (strategy is not None) + [f"model.parts={parts}"] * (parts is not None)
    settings = read_settings(recipe, config, [*(set or []), *flags, *_within(budget)])
    where = Where(images, category)
    train_people, val_people = (open_split(data, split, settings, where) for split in ("train", "val"))
    supernet = settings.model.supernet(train_people.skeleton, settings.backbone.describe())
    folder = output or next_output("search")
    run = sharing.start(folder, "search", settings.data_form(), describe(data, where))
    note_place(run, data, where)
    if not run.finished:
        run_search(run, settings, supernet, train_people, val_people)
    return Result(headline(run.figures()), folder)


def derive(
    run: RunFolder,
    method: Annotated[str, typer.Option(help=told(DERIVATIONS))] = "argmax",
    budget: Budget = None,
    set: Assignments = None,
    data: Annotated[
        str | None, typer.Option(help="The data of the search, if they are no longer where they were.")
    ] = None,
    images: Images = None,
    output: Output = None,
) -> Result:
    """Derive another architecture from the same search; what it loses is measured where the data can be opened."""
    from posefabric import ranks
    from posefabric.engine import sharing
    from posefabric.engine.deriving import derive_again, needs_people
    from posefabric.strategies.cost import cost_figures

    ranks.join()
    opened = sharing.reopen(run)
    changes = [*(set or []), f"search.derive={method}", *_within(budget)]
    settings = override(opened.config, changes)
    people = None
    try:
        people = reopen(opened, settings, data, images)
    except UserError as error:
        if data is not None or needs_people(settings.search):
            raise
        logger.warning("the derived net is not measured: %s", error.finding)
    derived = derive_again(opened, settings, people)
    if output is not None and ranks.rank() == 0:
        write_text(output, documents.to_json(derived))
    figures = cost_figures(settings.search, opened.architecture(SUPERNET_FILE), derived)
    return Result(figures, output or run / "architecture.json")


def train(
    data: Data,
    architecture: Annotated[
        Path, typer.Option(help=f"An architecture file, a run folder, or a hand-made head: {', '.join(HEADS)}.")
    ],
    weights: Annotated[Path | None, typer.Option(help="A run folder whose weights are inherited.")] = None,
    rehearse_crash: Annotated[
        bool, typer.Option("--rehearse-crash", help="Only prove, here and on these data, that a resume is exact.")
    ] = False,
    teacher: Annotated[
        Path | None, typer.Option(help="A run to learn from as train.distill weighs it; --weights unless said.")
    ] = None,
    recipe: Recipe = "base",
    config: ConfigFile = None,
    set: Assignments = None,
    images: Images = None,
    category: Category = None,
    output: Output = None,
) -> Result:
    """Train an architecture, from scratch or from a search's weights."""
    from posefabric import ranks

    if rehearse_crash:
        options: dict[str, object] = {"architecture": architecture, "weights": weights, "teacher": teacher}
        options |= {"recipe": recipe, "config": config, "set": set, "images": images, "category": category}
        return _rehearsed(["train", data, *_options(options)])
    from posefabric.data.sources import Where, describe
    from posefabric.engine import sharing
    from posefabric.engine.distillation import read_teacher
    from posefabric.engine.train import build_net
    from posefabric.engine.train import train as run_train
    from posefabric.predictor import kept_weights, require_weights

    ranks.join()
    settings = read_settings(recipe, config, set or [])
    head = str(architecture) if str(architecture) in HEADS and not architecture.exists() else None
    if not head and not architecture.exists() and (hint := suggestion(str(architecture), HEADS)):
        raise UserError("missing-file", f"{architecture} does not exist{hint}", "a file, a run folder or a head")
    given = None if head else read_description(architecture)
    settings = _with_net(settings, given, set or []) if given else settings
    where = Where(images, category)
    people = open_split(data, "train", settings, where), open_split(data, "val", settings, where)
    described = given or settings.model.handmade(str(head), people[0].skeleton, settings.backbone.describe())
    check_skeletons(described, people[0].skeleton.keypoints, data)
    if weights is not None:
        require_weights(weights)
    inherited = kept_weights(Run(weights), described) if weights else None
    folder = output or next_output("train")
    source = {"architecture": documents.to_data(described), "weights": weights and str(weights)}
    master = None
    if (taught_by := _teacher(settings, weights, teacher)) is not None:
        master, source["teacher"] = read_teacher(Run(taught_by), described)
    run = sharing.start(folder, "train", settings.data_form(), describe(data, where) | source)
    if not run.finished:
        run_train(run, settings, build_net(described, settings, inherited), people, master)
    return Result(headline(run.figures()), folder)


def _rehearsed(line: list[str]) -> Result:
    """The result of a rehearsal; it fails where nothing but the last bit may differ and more does."""
    from posefabric import ranks
    from posefabric.engine.rehearsal import rehearse

    if ranks.launched():
        raise UserError("bad-value", "--rehearse-crash by several processes", "one process, without torchrun")
    figures = rehearse(line)
    return Result(figures, exit_code=0 if figures["exact"] else BAD_DATA)


def _options(given: Mapping[str, Any]) -> list[str]:
    """Arguments of a command as its options; what was not given is left out."""
    pairs = ((name, value) for name, value in given.items() if value is not None)
    return [
        word
        for name, value in pairs
        for one in (value if isinstance(value, list) else [value])
        for word in (f"--{name}", str(one))
    ]


def _within(budget: str | None) -> list[str]:
    return [] if budget is None else [f"search.budget={checked_budget(budget)}"]


def _teacher(settings: Config, weights: Path | None, teacher: Path | None) -> Path | None:
    """The run that teaches; none where nothing is to be learned from it."""
    if not settings.train.distill:
        if teacher is not None:
            logger.warning("--teacher is without effect: train.distill is 0")
        return None
    if teacher is None and weights is None:
        raise UserError("bad-value", "train.distill without a teacher", "--teacher RUN, or --weights RUN")
    return teacher or weights


def _with_net(settings: Config, described: Description, assignments: list[str]) -> Config:
    """The settings with what the architecture decides; assignments that it overrules are warned of."""
    overruled = [assignment for assignment in assignments if assignment.startswith(("model.", "backbone."))]
    if overruled:
        logger.warning("train takes the net from --architecture; without effect: %s", ", ".join(overruled))
    return settings.with_net(described)
