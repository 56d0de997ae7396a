"""The command line: every function of `posefabric.commands` under its own name, with `--json` and `--quiet`.

Figures go to stdout, messages to stderr; a user's error prints one message and exits with the code of its kind.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from posefabric import commands
from posefabric.errors import BUG, INPUT_OUTPUT, INTERRUPTED, TERMINATED, UserError
from posefabric.signals import ENDINGS, set_deadline

COMMANDS: tuple[Callable[..., commands.Result], ...] = (
    commands.demo,
    commands.search,
    commands.derive,
    commands.show,
    commands.train,
    commands.evaluate,
    commands.predict,
    commands.profile,
    commands.report,
    commands.import_weights,
    commands.doctor,
    commands.recipes,
    commands.explain,
)
SHARED_COMMANDS = (commands.search, commands.derive, commands.train, commands.evaluate)
"""What several processes may do together."""

DATA_COMMANDS = (commands.check, commands.synthesize, commands.init, commands.view, commands.import_, commands.download)
EXPERIMENT_COMMANDS = (commands.run, commands.work, commands.table)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
_EXPERIMENTS = "Arms x seeds under one recipe, compared."
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no messages but errors.")]


def build() -> typer.Typer:
    """The application."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.callback()(_describe)
    for command in COMMANDS:
        app.command(command.__name__.replace("_", "-"))(_printing(command))
    for name, about, group in (("data", "Datasets.", DATA_COMMANDS), ("experiment", _EXPERIMENTS, EXPERIMENT_COMMANDS)):
        below = typer.Typer(no_args_is_help=True, help=about)
        for command in group:
            below.command(command.__name__.rstrip("_").replace("_", "-"))(_printing(command))
        app.add_typer(below, name=name)
    return app


def main() -> None:
    """Run the command line and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without the letters of some name
    heed_signals()
    try:
        build()()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(INPUT_OUTPUT)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(INPUT_OUTPUT)
    except Exception:  # noqa: BLE001  the last line of defence: our bug, said as such
        traceback.print_exc()
        print("error: this is a bug in posefabric; the traceback above says where", file=sys.stderr)
        sys.exit(BUG)


def heed_signals() -> None:
    """From now on the signals by which systems end a job end this process with `TERMINATED`."""
    for number, code in ENDINGS.items():
        if code == TERMINATED:
            signal.signal(number, _end)


def _end(*_: object) -> None:
    """End the process by an exception; where that gets lost, as in a destructor or a bare `except`, by force."""
    set_deadline(TERMINATED)
    sys.exit(TERMINATED)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("posefabric"))
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")]


def _describe(version: Version = False) -> None:
    """Neural architecture search for pose estimation: one searched fabric per body part."""


def _printing(command: Callable[..., commands.Result]) -> Callable[..., None]:
    """The command with `--json` and `--quiet`, its result printed."""

    @functools.wraps(command)
    def run(json: bool = False, quiet: bool = False, **arguments: Any) -> None:
        _talk(quiet)
        _check_alone(command)
        result = command(**arguments)
        if os.environ.get("TORCHELASTIC_RUN_ID") and os.environ.get("RANK") != "0":
            return  # rank 0 speaks for all
        try:
            _print(result, as_json=json)
            print(end="", flush=True)
        except BrokenPipeError:
            _give_up_stdout()
            raise typer.Exit(INPUT_OUTPUT) from None  # typer itself would end with 1
        if result.exit_code:
            raise typer.Exit(result.exit_code)

    signature = inspect.signature(command, eval_str=True)
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("json", Json), ("quiet", Quiet))
    ]
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [*(p.replace(kind=keyword_only) for p in signature.parameters.values()), *extra]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _check_alone(command: Callable[..., commands.Result]) -> None:
    """Raise `UserError` where torchrun starts several processes of a command that is for one."""
    if os.environ.get("TORCHELASTIC_RUN_ID") and os.environ.get("WORLD_SIZE") != "1" and command not in SHARED_COMMANDS:
        allowed = ", ".join(shared.__name__ for shared in SHARED_COMMANDS)
        raise UserError("bad-value", f"{command.__name__} in several processes", allowed, "start it without torchrun")


def _talk(quiet: bool) -> None:
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("posefabric").setLevel(logging.ERROR if quiet else logging.INFO)


def _give_up_stdout() -> None:
    """Nobody reads it: what is still in its buffer may go nowhere when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _print(result: commands.Result, as_json: bool) -> None:
    if result.text:
        logging.getLogger("posefabric").info("%s", result.text)
    if as_json and result.items is not None:
        print(json.dumps(list(result.items)))
        return
    if as_json:
        output = {"output": str(result.output)} if result.output else {}
        print(json.dumps({**result.figures, **output}))
        return
    for line in result.lines or _table(result.figures):
        print(line)
    if result.output is not None:
        print(result.output)


def _table(figures: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    width = max((len(key) for key in figures), default=0)
    for key, value in figures.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", *_table(value, indent + "  ")]
        else:
            text = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
            lines.append(f"{indent}{key:<{width}}  {text}")
    return lines
