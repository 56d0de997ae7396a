"""Train the tabular benchmark: every architecture of the cut space, three seeds each.

    python tools/train_table.py train ROWS.jsonl [--share 0/2]
    python tools/train_table.py write ROWS.jsonl...

`train` appends a row per training and skips those that are there; `--share i/n` takes every n-th training, for n
processes with a file each. `write` makes `posefabric/tabular/table.json` of them, which must be complete.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from posefabric import documents, tabular
from posefabric.models.cost import count
from posefabric.tabular.cut import architectures
from posefabric.tabular.protocol import train
from posefabric.tabular.table import FILE, Row, TabularBenchmark, Trained

SEEDS = (0, 1, 2)


def train_share(file: Path, first: int, step: int) -> None:
    """All trainings of a share that a file lacks, seed after seed."""
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    done = {(row["architecture"], row["seed"]) for row in rows}
    table = architectures()
    wanted = [(name, seed) for seed, name in itertools.islice(itertools.product(SEEDS, table), first, None, step)]
    began, left = time.monotonic(), [key for key in wanted if key not in done]
    with file.open("a") as out:
        for count, (name, seed) in enumerate(left, 1):
            row = {"architecture": name, "seed": seed, **dataclasses.asdict(train(table[name], seed))}
            print(json.dumps(row), file=out, flush=True)
            minutes = (time.monotonic() - began) / 60
            print(f"{count} of {len(left)}, {minutes:.1f} minutes", flush=True)


def write_table(files: Sequence[Path]) -> None:
    """The table of complete rows, one architecture a line."""
    trained: dict[tuple[str, int], Trained] = {}
    for line in itertools.chain.from_iterable(file.read_text().splitlines() for file in files):
        row = json.loads(line)
        key = row.pop("architecture"), row.pop("seed")
        trained[key] = documents.from_data(Trained, row, code="bad-value", where=str(key))
    rows = {}
    for name, architecture in architectures().items():
        cost = count(architecture)
        rows[name] = Row(cost.macs, cost.parameters, tuple(trained[name, seed] for seed in SEEDS))
    table = documents.to_data(TabularBenchmark(rows))
    lines = [f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}" for name, row in table["rows"].items()]
    target = Path(tabular.__file__).with_name(FILE)
    target.write_text('{"format": 1, "rows": {\n' + ",\n".join(lines) + "\n}}\n")
    print(f"{target}: {len(lines)} architectures, {target.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("file", type=Path)
    training.add_argument("--share", default="0/1")
    commands.add_parser("write").add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    if given.command == "write":
        write_table(given.files)
    else:
        first, step = map(int, given.share.split("/"))
        train_share(given.file, first, step)


if __name__ == "__main__":
    main()
