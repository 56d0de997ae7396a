"""Signals wait for the step at hand; a second one, or a step that takes too long, does not."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable

import pytest

from posefabric import cli, signals
from posefabric.engine.interruption import Interruption


def ending_of(act: Callable[[], None]) -> tuple[int | None, float]:
    """The exit code of a process that does something, negative for a signal, and the seconds until then."""

    def obey() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        act()

    process = multiprocessing.get_context("fork").Process(target=obey)
    began = time.monotonic()
    process.start()
    process.join(60)
    return process.exitcode, time.monotonic() - began


def stuck_after(*signals: int) -> None:
    """A step that never ends, in which signals come."""
    with Interruption() as interrupted, interrupted.held():
        for number in signals:
            os.kill(os.getpid(), number)
        time.sleep(30)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_second_ctrl_c_ends_the_process_at_once(first: int) -> None:
    code, seconds = ending_of(lambda: stuck_after(first, signal.SIGINT))
    assert code == -signal.SIGINT
    assert seconds < 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_step_that_takes_too_long_is_not_waited_for(number: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert signals.PATIENCE_S <= 10
    monkeypatch.setattr(signals, "PATIENCE_S", 0.2)
    found, seconds = ending_of(lambda: stuck_after(number))
    assert found == code
    assert seconds < 5


def test_what_is_held_is_finished_first() -> None:
    done = []

    def work() -> None:
        with Interruption() as interrupted:
            with interrupted.held():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("step")
            done.append("after")
            assert interrupted.agree()
            interrupted.end_if_agreed()
            done.append("never")

    with pytest.raises(SystemExit) as caught:
        work()
    assert caught.value.code == 143
    assert done == ["step", "after"]


def test_outside_of_a_step_a_signal_ends_the_run_at_once_and_handlers_come_back() -> None:
    def validate() -> None:
        with Interruption():
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(30)

    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(SystemExit):
        validate()
    assert signal.getsignal(signal.SIGUSR1) == before


def lost(number: int) -> None:
    """A signal whose exception is swallowed, as by Python in a destructor, or by a library at its import."""
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), number)
        time.sleep(30)


def test_a_signal_whose_exception_is_lost_ends_the_run_at_its_next_look() -> None:
    with pytest.raises(SystemExit) as caught, Interruption():
        lost(signal.SIGTERM)
    assert caught.value.code == 143


def validates_for_long() -> None:
    with Interruption():
        lost(signal.SIGTERM)
        time.sleep(30)


def works_for_long() -> None:
    cli.heed_signals()
    lost(signal.SIGUSR1)
    time.sleep(30)


@pytest.mark.parametrize("act", [validates_for_long, works_for_long])
def test_a_signal_whose_exception_is_lost_ends_the_process_in_time(
    act: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "PATIENCE_S", 0.2)
    code, seconds = ending_of(act)
    assert code == 143
    assert seconds < 5
