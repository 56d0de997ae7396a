"""The sections about a search itself: how it went, as a film, and whether several seeds of it agree."""

from __future__ import annotations

from collections.abc import Sequence

from posefabric.architecture import Architecture
from posefabric.draw import draw_frames, plot_search
from posefabric.draw.fabrics import operation_colours_of
from posefabric.evaluation.agreement import Agreement, SeedGroup, collapse_step, skip_threshold
from posefabric.film import Frame, changes
from posefabric.reporting.markup import Html, disclosure, element, join, table
from posefabric.reporting.reading import RunNotes
from posefabric.reporting.sections import drawing, magnitude, scrolling, section

WENT = "How the search went"

_WHAT_ONE_SEES = (
    "While a search learns, its mixtures move from undecided to decided. A search is healthy when entropy falls "
    "slowly, skipping does not take over, and decisions stop changing before the end."
)
_FRAMES = (
    "Each fabric at the start, in the middle and at the end. Bars in a cell: shares of its operations, blank is what "
    "zero has. Arrows: the wider, the larger an input's share. Strong is what would be derived then, faint or dotted "
    "what would not."
)


def how_it_went(run: RunNotes, prefix: str, *, with_frames: bool) -> Html:
    """Curves and film of a search; nothing where a run holds no film. Frames of fabrics are many drawings."""
    if not run.film or run.supernet is None:
        return Html()
    alarm = skip_threshold(run.supernet)
    curves = drawing(
        plot_search(run.rows, run.film, alarm), f"{prefix}-search", "Entropies, shares, compute, and changed decisions"
    )
    verdict = element("ul", *(element("li", sentence) for sentence in _verdicts(run, alarm)))
    frames = _frames(run.supernet, run.film, prefix) if with_frames else Html()
    return section(WENT, verdict, curves, frames, lead=_WHAT_ONE_SEES)


def _verdicts(run: RunNotes, alarm: float) -> list[str]:
    """The same in words."""
    frames, last = run.film, run.film[-1].step
    changed = {name: steps[-1] for name, steps in changes(frames).items() if steps}
    said = []
    if changed:
        latest = max(changed, key=lambda name: changed[name])
        share = f"{100 * changed[latest] / max(last, 1):.0f} % of the way"
        said.append(
            f"Decisions last changed at step {changed[latest]} of {last} ({latest.replace('_', ' ')}), {share}."
        )
    else:
        said.append(f"No decision changed in {last} steps.")
    entropies = [(key, row[key]) for key in ("alpha_entropy", "beta_entropy") for row in run.rows[-2:] if key in row]
    if entropies:
        told = " and ".join(f"{value:.2f} ({key.split('_')[0]})" for key, value in dict(entropies).items())
        said.append(f"At the end the mixtures have {told} of the entropy of even ones.")
    if (macs := frames[-1].macs) is not None and (budget := frames[-1].budget) is not None:
        said.append(f"The net that would be derived costs {magnitude(macs)} MACs, {macs / budget:.1%} of the budget.")
    step = collapse_step(run.rows, alarm)
    collapse = run.about.get("collapse")
    if step is not None:
        said.append(f"The search collapsed: from step {step} on, skips have more than {alarm:.0%} of alpha.")
    elif isinstance(collapse, dict):
        said.append(f"An alarm was raised at step {collapse.get('step')}: {collapse.get('found')}.")
    return said


def _frames(supernet: Architecture, film: Sequence[Frame], prefix: str) -> Html:
    middle = min(film, key=lambda frame: abs(frame.step - film[-1].step / 2))
    moments = {frame.step: frame for frame in (film[0], middle, film[-1])}
    colours = operation_colours_of(supernet)
    changed = changes(film)
    blocks: list[Html] = []
    for name, (space, _) in supernet.fabrics().items():
        titles = {f"step {step}": frame.fabrics[name] for step, frame in moments.items()}
        figure = drawing(draw_frames(space, titles, colours), f"{prefix}-film-{name}", f"Frames of {name}")
        steps = changed[name]
        told = f"changed {len(steps)} times, last at step {steps[-1]}" if steps else "never changed"
        if widths := film[-1].fabrics[name].kept_widths:
            told += f"; channels {', '.join(f'{channels} at 1/{stride}' for stride, channels in widths.items())}"
        title = join(element("strong", name.replace("_", " ")), element("span", told, class_="aside"))
        blocks.append(disclosure(title, figure, opened=not blocks))
    keys = (
        element("span", element("i", style=f"background:{colour}"), name, class_="chip")
        for name, colour in colours.items()
    )
    return join(element("p", _FRAMES, class_="note"), element("p", *keys), *blocks)


AGREE = "Do the seeds agree?"

_AGREEMENT = (
    "Searches of one recipe that differ in their seed. If what they keep differs as much as what random mixtures keep, "
    "the search found its seed and not the data. Tau compares the order of all shares: 1 the same, 0 unrelated."
)


def agreement(groups: Sequence[SeedGroup]) -> Html:
    """One table per recipe that several seeds were searched with; nothing where there is none."""
    if not groups:
        return Html()
    return section(AGREE, *(_group(group) for group in groups), lead=_AGREEMENT)


def _group(group: SeedGroup) -> Html:
    head = ("Fabric", "Agree", "Choices that differ", "Of random nets", "p", "Tau of alpha", "Tau of beta")
    rows = [_row(name.replace("_", " "), seen) for name, seen in group.fabrics.items()]
    found = element("ul", *(element("li", text) for text in group.findings)) if group.findings else Html()
    title = element("p", f"{len(group.runs)} seeds: {', '.join(group.runs)}")
    return join(title, scrolling(table(head, rows, class_="agreement"), "Agreement of the seeds"), found)


def _row(name: str, seen: Agreement) -> tuple[str, ...]:
    taus = (f"{tau:.2f}" if tau == tau else "all even" for tau in (seen.alpha_tau, seen.beta_tau))
    verdict = "by chance" if seen.by_chance else "yes"
    return name, verdict, f"{seen.differing:.0%}", f"{seen.random:.0%}", f"{seen.p_value:.3f}", *taus
