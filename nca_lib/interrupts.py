"""Interruptions: Ctrl-C and the signals that ask a process to end.

Outside of training a signal ends the command where it is. Training finishes its iteration, saves
itself, and ends then; asked a second time it ends at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Ctrl-C, kill, a closed terminal, Ctrl-Break
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


class Stopped(Exception):
    """Somebody asked to stop, and what was done until then is saved."""

    def __init__(self, message: str, number: int | None = None):
        super().__init__(message)
        self.number = number or signal.SIGINT  # of the signal


def end(number, frame) -> None:
    """A handler: one line, and the end. No exception: it might be raised inside compiled code."""
    line = f"nca: stopped by {signal.Signals(number).name}; finished files stay\n"
    with suppress(Exception):  # the terminal may be gone
        sys.stdout.flush()
        os.write(2, line.encode())
    os._exit(128 + number)


def say(message: str, code: int) -> int:
    """One line on standard error, if that is still there; returns the exit code."""
    try:
        print(f"nca: {message}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = None  # the terminal is gone: nothing more to flush there
    return code


class StopFlag:
    """Whether somebody asked to stop, and by which signal."""

    number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None


@contextmanager
def handled_by(handler):
    """Send our signals to `handler` meanwhile; one that is ignored (nohup) stays ignored.

    Yields the handlers from before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield {}  # signals are the main thread's business
        return
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    before = {n: old for n, old in usual.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield before
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def stop_flag():
    """Yields a `StopFlag` that a signal raises; a second signal does what it did before."""
    flag, before = StopFlag(), {}

    def ask(number, frame):
        if flag():
            signal.signal(number, before[number])
            signal.raise_signal(number)
        flag.number = number

    with handled_by(ask) as usual:
        before.update(usual)
        yield flag


def die_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that came about."""
    number = os.getppid()

    def watch():
        while os.getppid() == number:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
