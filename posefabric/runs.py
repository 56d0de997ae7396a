"""The run folder: what a run is made from, what it measured, and what it leaves; every file is written whole or not.

`run.json` says what was run and on what; `metrics.jsonl` holds one object per logged step, `search.jsonl` the film of a
search (`posefabric.film`); `architecture.json` and `weights.safetensors` hold neither times nor paths; `checkpoints/`
holds what a resume needs (`posefabric.checkpoints`). No torch here.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock
from pydantic import Field, InstanceOf

from posefabric import documents
from posefabric.architecture import Architecture
from posefabric.config import Config
from posefabric.errors import UserError
from posefabric.handmade import Description, HandMade, read_description
from posefabric.locks import LOCK_FILES, hold
from posefabric.provenance import git_state, versions
from posefabric.texts import LARGEST_LOG, file_digest, parse_json, read_text

FORMAT = 1

METRICS, CANDIDATES = "metrics.jsonl", "candidates.jsonl"
"""What was measured after which step; every net that a strategy compared, with its seed, MACs and score."""

SEALED = "sha256"
"""The key of `run.json` that holds the digests of what a run left."""

FROM_SCRATCH = "from_scratch"
"""The key of `run.json` that says that the derived net of a search has no weights."""

SUPERNET_FILE = "supernet.json"
"""The mixture that a search found, beside the derived `architecture.json`; `weights.safetensors` fits it."""

RESUME = "resume"
"""The key of `run.json` that says whether a resume is exact to the last bit, and on what."""

WITHOUT_EFFECT = ("num_workers", "in_memory", "max_json")
"""Settings of `data` that decide how a run goes on and not what it finds: a resume may choose them anew."""

SKIPPED_IMAGES = "skipped_images"
"""The key of `run.json` that lists the damaged images a run went on without."""


@dataclass(frozen=True)
class Record:
    """The types of what `run.json` holds and others rely on; there may be more."""

    format: Literal[1]
    command: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    state: Literal["running", "finished"] = "running"
    place: Mapping[str, InstanceOf[str] | None] | None = None
    sha256: Mapping[str, str] | None = None
    derived: Annotated[str, Field(pattern=r"^[\w.+%-]+$")] | None = None
    skipped_images: Sequence[InstanceOf[str]] = ()
    visible_threshold: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    rollbacks: Sequence[Mapping[str, Any]] = ()


class Run:
    """An open run folder."""

    def __init__(self, path: Path, lock: FileLock | None = None) -> None:
        self.path, self._lock = path, lock
        if not (path / "run.json").is_file():
            raise UserError("bad-run", f"{path} has no run.json", "a folder written by posefabric")
        self.record: dict[str, Any] = read_record(path / "run.json")
        documents.check_types(Record, self.record, code="bad-run", where=str(path / "run.json"))

    @staticmethod
    def start(path: Path, command: str, config: Mapping[str, Any], data: Mapping[str, Any]) -> Run:
        """Make a run folder, or open it again to resume.

        A folder of another command, configuration (but for `WITHOUT_EFFECT`) or data raises `UserError("run-differs")`
        with the difference; one that another process is writing into `UserError("run-busy")`, within a second. A run
        that stopped before its first step is begun anew.
        """
        if path.exists() and not path.is_dir():
            raise UserError("not-writable", f"{path} is a file", "a new or empty folder")
        wanted = {"format": FORMAT, "command": command, "config": dict(config), "data": dict(data)}
        if not (path / "run.json").exists():
            if path.exists() and any(file.name not in LOCK_FILES for file in path.iterdir()):
                raise UserError("run-differs", f"{path} exists and is no run folder", "a new or empty folder")
            make_folder(path)
        elif (run := Run(path)).finished:
            _check_same(run.record, wanted, path)
            return run
        lock = hold(path)
        if (path / "run.json").exists():
            run = Run(path, lock)
            if run.finished or run.rows() or any(path.glob("checkpoints/step-[1-9]*")):
                _check_same(run.record, wanted, path)
                return run
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
        record = {**wanted, "state": "running", "started": _now(), "versions": versions(), "git": git_state()}
        write_atomic(path / "run.json", to_text(record))
        return Run(path, lock)

    def hold(self) -> None:
        """Keep other processes from writing here as long as this object lives. Raises `UserError("run-busy")`."""
        self._lock = hold(self.path)
        self.record = read_record(self.path / "run.json")  # another may have held it a moment ago

    @property
    def finished(self) -> bool:
        return self.record.get("state") == "finished"

    @property
    def config(self) -> Config:
        """The configuration it was started with. Raises `UserError("bad-run")`."""
        where = f"{self.path / 'run.json'}: config"
        return documents.from_data(Config, self.record.get("config"), code="bad-run", where=where)

    def note(self, **entries: Any) -> None:
        """Add entries to `run.json`."""
        self.record |= entries
        write_atomic(self.path / "run.json", to_text(self.record))

    def seal(self) -> None:
        """Note the digests of what can be told by them later; whoever changes one of these files seals anew."""
        files = [self.path / name for name in ("architecture.json", "weights.safetensors")]
        self.note(**{SEALED: {file.name: file_digest(file) for file in files if file.is_file()}})

    def finish(self) -> None:
        """Mark the run as done; its checkpoints are no longer needed."""
        self.seal()
        self.note(state="finished", ended=_now())
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        if self._lock is not None:
            self._lock.release(force=True)

    def log(self, row: Mapping[str, Any], name: str = METRICS) -> None:
        """Append one object to a JSONL file of the run folder."""
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise not_written(self.path / name, error) from error

    def rows(self, name: str = METRICS) -> list[dict[str, Any]]:
        """Every row of a file, in order, with its step but for candidates; a last line cut short by a crash is none."""
        file = self.path / name
        text = read_text(file, code="bad-run", most=LARGEST_LOG) if file.exists() else ""
        lines, parse = text.splitlines(keepends=True), _object if name == CANDIDATES else _row
        return [parse(line, f"{file}, line {i}") for i, line in enumerate(lines, start=1) if line.endswith("\n")]

    def cut_rows(self, step: int, name: str = METRICS) -> None:
        """Forget rows logged after a checkpoint's step."""
        kept = [row for row in self.rows(name) if row["step"] <= step]
        write_atomic(self.path / name, "".join(json.dumps(row) + "\n" for row in kept))

    def save_architecture(self, architecture: Description, name: str = "architecture.json") -> None:
        make_folder((self.path / name).parent)
        write_atomic(self.path / name, documents.to_json(architecture))

    def architecture(self, name: str = "architecture.json") -> Architecture:
        """What a search left, or a training of it; a hand-made net raises `UserError("bad-architecture")`."""
        described = self.description(name)
        if isinstance(described, HandMade):
            found = f"{self.path / name} describes a hand-made net ({described.head})"
            raise UserError("bad-architecture", found, "fabrics, as a search leaves them")
        return described

    def description(self, name: str = "architecture.json") -> Description:
        """Whatever net the run holds."""
        return read_description(self.path / name)

    @property
    def own_tensors_file(self) -> Path:
        """What the net derived last has of its own, if anything: norms, or once tuned all weights."""
        return self.path / "architectures" / f"{self.record.get('derived')}.safetensors"

    def figures(self) -> dict[str, Any]:
        """What `evaluation.json` holds; empty before there is one."""
        file = self.path / "evaluation.json"
        return read_record(file) if file.is_file() else {}

    def save_figures(self, figures: Mapping[str, Any]) -> None:
        write_atomic(self.path / "evaluation.json", to_text(figures))

    def save_diagnosis(self, diagnosis: Mapping[str, Any]) -> None:
        """What goes wrong where, for the report (`evaluation.diagnosis`)."""
        write_atomic(self.path / "diagnosis.json", to_text(diagnosis))


def next_output(command: str) -> Path:
    """`runs/<command>-<n>` with the first free n."""
    suffixes = (path.name.removeprefix(f"{command}-") for path in Path("runs").glob(f"{command}-*"))
    return Path("runs") / f"{command}-{max((int(s) for s in suffixes if s.isdecimal()), default=0) + 1}"


def make_folder(path: Path) -> None:
    """Make a folder and those above it. Raises `UserError("not-writable")`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(path, error) from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # what cannot be removed now is removed when the run goes on
            draft.unlink(missing_ok=True)
        raise not_written(path, error, len(data)) from error


def not_written(path: Path, error: OSError, size: int | None = None) -> UserError:
    """What a failed write of `size` bytes is to people: a full disk says what is needed, what is free, and where."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return UserError("not-writable", f"cannot write {path}: {error.strerror}")
    folder = next(parent for parent in path.parents if parent.is_dir())
    needed = "" if size is None else f"{size / 1e6:.1f} MB are needed, "
    free = f"{shutil.disk_usage(folder).free / 1e6:.1f} MB are free in {folder}"
    quota = " (the quota may allow less)" if error.errno == errno.EDQUOT else ""
    return UserError("disk-full", f"{path} does not fit on the disk: {needed}{free}{quota}")


def _check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    theirs, ours = (
        to_text(_decisive({key: record.get(key) for key in wanted})).splitlines() for record in (found, wanted)
    )
    if theirs != ours:
        changes = [
            line for line in difflib.unified_diff(theirs, ours, n=0, lineterm="") if line[:2] not in ("--", "++", "@@")
        ]
        raise UserError("run-differs", f"{path} holds another run:\n" + "\n".join(changes))


def _decisive(record: dict[str, Any]) -> dict[str, Any]:
    """A record without settings that change nothing of what a run finds."""
    config = record.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
        return record
    data = {key: value for key, value in config["data"].items() if key not in WITHOUT_EFFECT}
    return {**record, "config": {**config, "data": data}}


def read_record(path: Path) -> dict[str, Any]:
    """A JSON object of a run folder. Raises `UserError("bad-run")`."""
    return _object(read_text(path, code="bad-run"), str(path))


def _row(text: str, where: str) -> dict[str, Any]:
    """A logged row. A damaged one is told of: nothing that a run goes on from depends on it."""
    todo = "Restore the line, or remove it: a run goes on without it, and only the report lacks it."
    try:
        row = _object(text, where)
    except UserError as error:
        raise UserError("bad-run", error.given, error.allowed, todo) from None
    if type(row.get("step")) is not int:
        raise UserError("bad-run", f"{where} has no step", "a number of steps in every row", todo)
    return row


def _object(text: str, where: str) -> dict[str, Any]:
    value = parse_json(text, code="bad-run", where=where)
    if not isinstance(value, dict):
        raise UserError("bad-run", f"{where} holds a {type(value).__name__}", "a JSON object")
    return value


def to_text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1) + "\n"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
