"""The page around the sections: title, contents, comparison of several runs, style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from posefabric.errors import UserError
from posefabric.evaluation.agreement import SeedGroup
from posefabric.reporting import sections
from posefabric.reporting.architectures import SEARCHED, searched
from posefabric.reporting.diagnosis import diagnosis
from posefabric.reporting.frame import framed
from posefabric.reporting.markup import Html, element, join, table
from posefabric.reporting.pictures import pictures
from posefabric.reporting.reading import RunNotes, read_run
from posefabric.reporting.searching import agreement, how_it_went

PICTURE_BYTES = 3_500_000
"""How much of the page the pictures of all runs may take, encoded."""


MOST_FILMS = 2
"""In a page about more runs, the fabrics of a search's film are not drawn."""


def write_report(runs: Sequence[Path], output: Path, seeds: Sequence[SeedGroup] = ()) -> Path:
    """Write one self-contained HTML page (under 5 MB, no requests) about run folders; returns its path.

    `seeds` are groups of searches that differ in their seed alone, with what was found about their agreement. What a
    run did not write is left out with a note. Raises `UserError("bad-run")` for a folder without `run.json` or with a
    damaged file, `UserError("not-writable")` for an output that cannot be written.
    """
    assert runs
    page = report_page([read_run(run) for run in runs], seeds)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError("not-writable", f"{output}: {error.strerror}") from error
    return output


def report_page(runs: Sequence[RunNotes], seeds: Sequence[SeedGroup] = ()) -> str:
    """The whole page as text."""
    title = " and ".join(run.name for run in runs) if len(runs) <= 3 else f"{len(runs)} runs"
    header = element(
        "header",
        element("p", "posefabric report", class_="eyebrow"),
        element("h1", title),
        element("p", _INTRODUCTION, class_="lead"),
        _contents(runs) if len(runs) > 1 else "",
    )
    articles = [_article(runs, index) for index in range(len(runs))]
    return framed(title, header, _comparison(runs) if len(runs) > 1 else "", agreement(seeds), *articles)


_INTRODUCTION = (
    "A pose network finds the keypoints of a person in a photograph. Here a search decided, for each part of "
    "the body, which computations are worth keeping; this page shows what it kept and how well it works."
)


def _contents(runs: Sequence[RunNotes]) -> Html:
    links = (element("li", element("a", run.name, href=f"#run-{i}")) for i, run in enumerate(runs))
    return element("nav", element("ul", *links), aria_label="Runs")


def _comparison(runs: Sequence[RunNotes]) -> Html:
    """One row per run, one column per headline figure that any of them has."""
    figures = [dict(sections.headline_figures(run)) for run in runs]
    names = tuple(dict.fromkeys(name for row in figures for name in row))
    if not names:
        return Html()
    rows = [(run.name, *(row.get(name, "not known") for name in names)) for run, row in zip(runs, figures, strict=True)]
    heading = element("h2", "The runs side by side")
    return element("section", heading, sections.scrolling(table(("Run", *names), rows), "Comparison of the runs"))


def _article(runs: Sequence[RunNotes], index: int) -> Html:
    run, prefix = runs[index], f"run-{index}"
    earlier = [other for other in range(index) if runs[other].architecture == run.architecture]
    same = earlier[0] if earlier and run.architecture is not None else None
    architecture = searched(run, prefix) if same is None else _same(runs[same].name, f"#run-{same}")
    parts = (
        sections.headline(run),
        architecture,
        how_it_went(run, prefix, with_frames=len(runs) <= MOST_FILMS),
        sections.curves(run, prefix),
        sections.keypoints(run),
        diagnosis(run, prefix),
        pictures(run, PICTURE_BYTES // len(runs)),
        sections.skipped_images(run),
        sections.configuration(run),
    )
    heading = element("h2", run.name) if len(runs) > 1 else Html()
    return element("article", heading, join(*parts), id=prefix)


def _same(name: str, href: str) -> Html:
    sentence = element("p", "The same architecture as ", element("a", name, href=href), ".")
    return sections.section(SEARCHED, sentence)
