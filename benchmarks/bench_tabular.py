"""Every strategy on the tabular benchmark: what its searches find, against the true ranking.

    python benchmarks/bench_tabular.py ROWS.jsonl [--seeds 5] [--strategies sync,gumbel] [--set search.epochs=16]

A search is a row of the file; rows that are there are not searched again, so other settings need another file.
Printed per strategy, over its searches: the mean test loss of what was found (times 1000, mean of the table's seeds),
its gain over the mean random architecture with Student's 95 % interval over searches, relative improvement, how many
per cent of all architectures are worse, and Kendall's tau of the supernet's scores of 30 architectures with their true
ranking. The table's own figures and its proxies follow.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posefabric.evaluation.statistics import rank_correlation, relative_improvement, seed_difference
from posefabric.strategies import STRATEGIES
from posefabric.tabular import TabularBenchmark, architectures, name_of
from posefabric.tabular.protocol import search
from posefabric.tabular.table import PROXIES

NUM_SCORED = 30

Row = Mapping[str, Any]


def search_missing(file: Path, strategies: Sequence[str], seeds: int, settings: Sequence[str]) -> list[Row]:
    """The rows of a file, with those that it lacked."""
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    done = {(row["strategy"], row["seed"]) for row in rows}
    names = list(architectures())
    scored = [names[i] for i in np.random.default_rng(0).choice(len(names), NUM_SCORED, replace=False)]
    with file.open("a") as out:
        for seed in range(seeds):
            for strategy in strategies:
                if (strategy, seed) in done:
                    continue
                found = search(strategy, seed, *settings)
                scores = {name: found.score(architectures()[name]) for name in scored}
                rows.append(
                    {"strategy": strategy, "seed": seed, "found": name_of(found.architecture), "scores": scores}
                )
                print(json.dumps(rows[-1]), file=out, flush=True)
    return rows


def line(table: TabularBenchmark, rows: Sequence[Row]) -> str:
    """What the searches of one strategy found."""
    found = [row["found"] for row in rows]
    losses, mean = [table.query(name) for name in found], table.mean_random()
    gain = seed_difference([mean] * len(losses), losses)
    improvement = -relative_improvement(losses, [mean] * len(losses))
    percentile = float(np.mean([table.percentile(name) for name in found]))
    tau = float(np.mean([table.correlation(row["scores"]).estimate for row in rows]))
    return (
        f"{np.mean(losses):.2f} | {gain.estimate:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}) | {improvement:+.0f} % | "
        f"{percentile:.0f} | {tau:+.2f} | {len(set(found))} of {len(found)}"
    )


def print_table(table: TabularBenchmark, rows: Sequence[Row]) -> None:
    """Strategies, then proxies, then what cannot be beaten."""
    print("| strategy | loss | gain over random (95 %) | improvement | percentile | supernet tau | different nets |")
    print("|---|---|---|---|---|---|---|")
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        print(f"| {strategy} | {line(table, [row for row in rows if row['strategy'] == strategy])} |")
    scores, ranking = table.scores(), table.ranking()
    print(f"\nbest {scores[ranking[0]]:.2f} ({ranking[0]}), mean {table.mean_random():.2f}, ", end="")
    print(f"worst {scores[ranking[-1]]:.2f} ({ranking[-1]}); noise of one seed {table.seed_noise():.2f}")
    print(f"tau between seeds: loss {table.seed_agreement():.2f}, PCK {table.seed_agreement('pck'):.2f}")
    print(f"tau of loss and PCK, means over seeds: {-table.correlation(scores, 'pck').estimate:.2f}")
    for proxy in PROXIES:
        tau = table.correlation(table.proxy(proxy))
        print(f"tau of {proxy}: {tau.estimate:+.2f} ({tau.low:+.2f} to {tau.high:+.2f})")
    val = [-loss for loss in table.scores("val_loss").values()]
    print(f"tau of the validation loss: {rank_correlation(val, [-loss for loss in scores.values()]).estimate:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = search_missing(given.file, given.strategies.split(","), given.seeds, given.set)
    print_table(TabularBenchmark.shipped(), rows)


if __name__ == "__main__":
    main()
