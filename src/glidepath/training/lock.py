"""The only right to a folder; the kernel lets go of it when the process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from glidepath.training.files import remove_unfinished

ATTEMPTS = 20
ATTEMPT_SECONDS = 0.01


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the only right to a folder, which is made if need be. Its file `lock` has the number of the process;
    what a killed one had not finished writing is removed.

    Raises RuntimeError, naming the process, if another one holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        if not any(_taken(lock) for _ in range(ATTEMPTS)):
            lock.seek(0)
            raise RuntimeError(
                f"{folder} is in use by another process ({lock.read() or 'number unknown'}): wait for it or stop it"
            )
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}")
        lock.flush()
        remove_unfinished(folder)
        yield


def is_locked(folder: Path) -> bool:
    """Whether a living process holds the folder, in the eyes of the kernel: a number of a process may have been
    given to another since."""
    try:
        with (folder / "lock").open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _taken(lock: IO[str]) -> bool:
    """Try to take the lock; after a refusal wait, since `is_locked` holds it for an instant to look."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(ATTEMPT_SECONDS)
        return False
    return True
