"""The run folder of an imported net: its weights as ours, where they come from, under which licence.

The authors' nets see BGR, normalised by the mean and standard deviation of RGB. Here images are RGB everywhere, so the
inputs of the first convolution are turned round, and the run's `data.mean` and `data.std` are the same numbers
backwards: to the last bit but for the order of a sum, what the authors' net answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posefabric.checkpoints import save_tensors
from posefabric.config import Config, override
from posefabric.released.reading import Imported
from posefabric.runs import SUPERNET_FILE, Run, to_text, write_atomic
from posefabric.settings.data import IMAGENET_MEAN, IMAGENET_STD

REPOSITORY = "https://github.com/yangsenius/PoseNFS"
LICENCE = "MIT, Copyright (c) 2019 senius"

TENSORS_FILE, LICENCE_FILE = "tensors.json", "weights-licence.txt"

MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
"""The licence's own text, which it asks to be kept with every copy."""


CHANNEL_ORDER = "bgr"
"""That of the images the authors' nets see; `IMAGENET_MEAN` and `IMAGENET_STD` are applied in this order."""


def reading_rgb(settings: Config) -> Config:
    """The configuration by which images are shown to a net of the authors' once it reads RGB."""
    mean, std = (",".join(map(str, reversed(numbers))) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    return override(settings, [f"data.mean=[{mean}]", f"data.std=[{std}]"])


def origin(file: Path, commit: str | None, described_by: Mapping[str, str]) -> dict[str, Any]:
    """What is to be known of where a net comes from."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {
        "file": file.name,
        "sha256": digest,
        **described_by,
        "repository": REPOSITORY,
        "commit": commit,
        "licence": LICENCE,
        "channel_order": CHANNEL_ORDER,
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
    }


def keep(folder: Path, settings: Config, imported: Imported, found: Mapping[str, Any]) -> None:
    """Leave a run folder as a search does: the net is its mixture, and others can be derived from it."""
    shown = reading_rgb(settings)
    run = Run.start(folder, "import-weights", shown.data_form(), {"origin": dict(found)})
    if run.finished:
        return
    net = imported.reading_rgb()
    run.save_architecture(net.architecture)
    run.save_architecture(net.architecture, SUPERNET_FILE)
    save_tensors(folder / "weights.safetensors", net.state)
    write_atomic(folder / TENSORS_FILE, to_text(imported.ledger.figures()))
    write_atomic(folder / LICENCE_FILE, _licence(found))
    run.finish()


def told(found: Mapping[str, Any]) -> list[str]:
    """Origin and licence for people."""
    commit = f", commit {found['commit']}" if found["commit"] else ""
    return [
        f"from {found['repository']}{commit}: {found['file']}, SHA-256 {found['sha256']}",
        f"licence of the weights: {found['licence']} ({LICENCE_FILE})",
        f"images: {found['channel_order'].upper()} there; here RGB, the net and data.mean, data.std turned round",
    ]


def _licence(found: Mapping[str, Any]) -> str:
    commit = found["commit"] or "not given"
    facts = f"File: {found['file']}\nSHA-256: {found['sha256']}\nRepository: {found['repository']}\nCommit: {commit}\n"
    changes = "Changed: tensors renamed, those that nothing reads left out, the image's channels turned round.\n"
    return f"The weights in this folder come from the code of another project.\n\n{facts}{changes}\n{LICENCE}\n\n{MIT}"
