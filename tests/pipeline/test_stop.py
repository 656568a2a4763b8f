"""A stop signal ends a run where it stands, but never in the middle of a commit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import pytest

from pipeline.stop import Stopped, StopSignals

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[Sequence[object]]:
    """Of the test session; they must be back after every test."""
    before = [signal.getsignal(number) for number, _ in SIGNALS]
    yield before
    assert [signal.getsignal(number) for number, _ in SIGNALS] == before


def within(block: Callable[[StopSignals], object]) -> None:
    with StopSignals() as stop:
        block(stop)


def stopped(block: Callable[[StopSignals], object]) -> Stopped:
    with pytest.raises(Stopped) as raised:
        within(block)
    return raised.value


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_stops_the_block_with_its_exit_code(number: signal.Signals, code: int):
    done = []

    def block(stop: StopSignals) -> None:
        done.append("before")
        signal.raise_signal(number)
        done.append("after")

    stop = stopped(block)
    assert done == ["before"]
    assert (stop.exit_code, str(stop)) == (code, number.name)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_within_a_commit_waits_until_the_commit_is_over(number: signal.Signals, code: int):
    done = []

    def block(stop: StopSignals) -> None:
        with stop.deferred():
            done.append("first half")
            signal.raise_signal(number)
            done.append("second half")
        done.append("next iteration")

    assert stopped(block).exit_code == code
    assert done == ["first half", "second half"]


def test_a_commit_without_a_signal_goes_on():
    done = []

    def block(stop: StopSignals) -> None:
        for iteration in range(2):
            with stop.deferred():
                done.append(iteration)

    within(block)
    assert done == [0, 1]


def test_between_two_commits_a_signal_stops_at_once():
    done = []

    def block(stop: StopSignals) -> None:
        with stop.deferred():
            done.append("commit")
        signal.raise_signal(signal.SIGTERM)
        done.append("next iteration")

    stopped(block)
    assert done == ["commit"]


def test_a_commit_that_fails_raises_its_own_error_although_a_signal_waits():
    def block(stop: StopSignals) -> None:
        with stop.deferred():
            signal.raise_signal(signal.SIGTERM)
            raise OSError("disk is full")

    with pytest.raises(OSError, match="disk is full"):
        within(block)


def test_a_signal_that_a_failed_commit_kept_waiting_is_not_forgotten():
    """The run would recover from such a failure, and go on."""

    def block(stop: StopSignals) -> None:
        stop.check()
        with suppress(OSError), stop.deferred():
            signal.raise_signal(signal.SIGTERM)
            raise OSError("disk is full")
        stop.check()

    assert stopped(block).exit_code == 143


def test_only_the_first_signal_counts():
    done = []

    def block(stop: StopSignals) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)  # an impatient Ctrl-C does not disturb the way out
            done.append("cleaned up")

    assert stopped(block).exit_code == 143
    assert done == ["cleaned up"]


def test_no_handler_of_errors_swallows_a_stop():
    def block(stop: StopSignals) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except Exception:
            pytest.fail("a stop is not an Exception")

    stopped(block)


def test_a_stop_that_ray_made_a_plain_interrupt_of_is_that_stop_again():
    def block(stop: StopSignals) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # as ray.get does

    assert stopped(block).exit_code == 143


def test_an_interrupt_without_a_signal_is_none_of_its_business():
    def block(stop: StopSignals) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        within(block)
    assert type(raised.value) is KeyboardInterrupt


def test_the_handlers_of_before_are_back_afterwards(handlers: Sequence[object]):
    with StopSignals():
        during = [signal.getsignal(number) for number, _ in SIGNALS]
    assert [now is not before for now, before in zip(during, handlers, strict=True)] == [True, True]
    assert [signal.getsignal(number) for number, _ in SIGNALS] == handlers
