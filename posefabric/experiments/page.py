"""The table of an experiment for people: as text, and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from posefabric.evaluation.statistics import Interval
from posefabric.experiments.table import ArmRow, BestOf, Contrast, Ranking, Table
from posefabric.reporting.frame import framed
from posefabric.reporting.markup import element, table
from posefabric.reporting.sections import duration, magnitude, scrolling, section

ARMS = ("Arm", "Kind", "Nets", "Mean", "SD", "MACs", "Parameters", "Time", "Over random")
CONTRASTS = ("Contrast", "Difference", "95 % over persons", "p (Holm)", "95 % over seeds", "p (Holm)")
BEST = ("Arm", "Its mean", "Best of n random", "n")
RANKINGS = ("Genotypes of", "Ranked by", "Number", "Kendall's tau", "95 %")

Rows = list[tuple[str, ...]]


def tables(found: Table) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Title -> head and rows, all as text; what is not known is a dash."""
    return {
        f"Arms: {found.metric} on {found.split}": (ARMS, [_arm(name, row) for name, row in found.arms.items()]),
        "Contrasts": (CONTRASTS, [row for contrast in found.contrasts for row in _contrast(contrast)]),
        "Random search in the same time": (BEST, [_best(best) for best in found.best_of]),
        "What ranks genotypes before they are trained": (RANKINGS, [_ranking(ranking) for ranking in found.rankings]),
    }


def notes(found: Table) -> list[str]:
    """What stands below the tables."""
    said = [f"{duration(3600 * found.hours)} in all, {duration(3600 * found.failed_hours)} of it failed or cut off."]
    if found.detectable is not None:
        said.append(f"With these seeds a difference of {found.detectable:.2f} is found in 4 of 5 experiments.")
    return [*said, *(f"missing: {unit}: {why.strip().splitlines()[-1]}" for unit, why in found.missing.items())]


def as_text(found: Table) -> list[str]:
    """Lines for a terminal."""
    lines: list[str] = []
    for title, (head, rows) in tables(found).items():
        if rows:
            lines += [title, *(f"  {line}" for line in _aligned([head, *rows])), ""]
    return [*lines, *notes(found)]


def as_page(found: Table) -> str:
    """One self-contained HTML page."""
    header = element(
        "header",
        element("p", "posefabric experiment", class_="eyebrow"),
        element("h1", found.experiment),
        element("p", _INTRODUCTION, class_="lead"),
    )
    blocks = [
        section(title, scrolling(table(head, rows), title), lead=_LEADS.get(title, ""))
        for title, (head, rows) in tables(found).items()
        if rows
    ]
    listed = element("ul", *(element("li", line) for line in notes(found)))
    return framed(found.experiment, header, *blocks, section("Cost, power, what is missing", listed))


_INTRODUCTION = (
    "Every arm is another way to a net of the same cost, trained by one recipe. What two arms differ by is paired: the "
    "same seeds, the same persons."
)
_LEADS = {
    "Contrasts": "The interval over persons asks what these very nets would show on other persons; the interval over "
    "seeds, what other searches and trainings would show. A claim about a method needs the second. Rows below a "
    "contrast are its seeds.",
    "Random search in the same time": "As many random genotypes as an arm's search and one training pay for, the best "
    "of them chosen on val.",
}


def _arm(name: str, row: ArmRow) -> tuple[str, ...]:
    nets = f"{row.nets}" if row.nets == row.wanted else f"{row.nets} of {row.wanted}"
    if row.mean is None or row.macs is None or row.parameters is None or row.hours is None:
        return (name, row.kind, nets, *["-"] * 6)
    spread = _number(row.sd) + (f" ({row.sd_retrained:.2f} retrained)" if row.sd_retrained is not None else "")
    improvement = "-" if row.improvement is None else f"{row.improvement:+.1f} %"
    ranges = (_range(row.macs), _range(row.parameters), duration(3600 * row.hours))
    return (name, row.kind, nets, f"{row.mean:.2f}", spread, *ranges, improvement)


def _contrast(contrast: Contrast) -> Rows:
    name = f"{contrast.first} - {contrast.second}"
    if contrast.difference is None:
        return [(name, *["-"] * 5)]
    persons, seeds = contrast.persons, contrast.over_seeds
    p_values = (_number(contrast.persons_holm, 3), _number(contrast.over_seeds_holm, 3))
    whole = (name, f"{contrast.difference:+.2f}", _interval(persons), p_values[0], _interval(seeds), p_values[1])
    pairs = contrast.pairs.items() if len(contrast.pairs) > 1 else ()
    return [whole, *((f"  seed {seed}", f"{pair.estimate:+.2f}", _interval(pair), "", "", "") for seed, pair in pairs)]


def _best(best: BestOf) -> tuple[str, ...]:
    return best.arm, f"{best.arm_mean:.2f}", f"{best.score:.2f} ({best.random})", f"{best.draws} of {best.of}"


def _ranking(ranking: Ranking) -> tuple[str, ...]:
    by = ranking.by.replace("_", " ")
    return ranking.over, by, f"{ranking.genotypes}", _number(ranking.tau.estimate), _interval(ranking.tau)


def _range(values: tuple[int, int]) -> str:
    low, high = map(magnitude, values)
    return low if low == high else f"{low} to {high}"


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _interval(interval: Interval | None) -> str:
    if interval is None or interval.low != interval.low:
        return "-"
    return f"{interval.low:+.2f} to {interval.high:+.2f}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
