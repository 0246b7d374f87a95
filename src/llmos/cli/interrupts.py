"""Ctrl-C at a prompt, never lost.

`input` sleeps in select (with readline) or read (without). CPython's handler of a signal only leaves a flag; the sleep has to be
broken for the flag to be seen. A signal that comes after the last look at the flag and before the system call, or that the
kernel gives to another thread, breaks no sleep, and the prompt would wait with the interrupt in its pocket. So a thread hears
of every SIGINT through the wakeup descriptor and knocks: a second signal breaks the sleep of the main thread.

The knock has a handler in C that does nothing, set behind the back of the module `signal`: `input` looks for signals once more
while the KeyboardInterrupt is already on its way, and there a handler in Python ends in a SystemError. Sending SIGINT again
would interrupt twice.
"""

import ctypes
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["heard_interrupts"]

_KNOCK = getattr(signal, "SIGURG", None)  # ignored where nobody asks for it, so a knock that comes late harms nobody
_PAUSES_S = tuple(0.01 * 2**i for i in range(10))  # a knock too can come just before the sleep, but not ten in 10 s


@contextmanager
def heard_interrupts() -> Iterator[None]:
    """Inside, every SIGINT soon reaches its Python handler, whatever the main thread sleeps in. For the main thread only.

    Windows ends the sleep of `input` itself, and has nothing to knock with.
    """
    if _KNOCK is None or not hasattr(signal, "pthread_kill"):
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    _handle_in_c(_KNOCK)
    descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_knock, args=(reading, threading.get_ident()), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        os.close(writing)  # the thread sees the end and goes
        signal.signal(_KNOCK, signal.SIG_DFL)


def _knock(reading: int, main: int) -> None:
    """After each SIGINT, knock at growing intervals; a knock at a thread that is awake does nothing."""
    pauses_s: Iterator[float] = iter(())
    while True:
        pause_s = next(pauses_s, None)
        if select.select([reading], [], [], pause_s)[0]:
            told = os.read(reading, 512)
            if not told:
                break
            if signal.SIGINT in told:
                pauses_s = iter(_PAUSES_S)
        elif pause_s is not None and _KNOCK is not None:
            signal.pthread_kill(main, _KNOCK)
    os.close(reading)


def _handle_in_c(number: int) -> None:
    """Let a signal do nothing but end system calls: its handler is the C library's abs()."""
    library = ctypes.CDLL(None)
    library.signal.argtypes, library.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    library.signal(number, ctypes.cast(library.abs, ctypes.c_void_p))
    signal.siginterrupt(number, True)
