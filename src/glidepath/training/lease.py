"""A share of a device, held while a process lives: several small cells on one GPU, no cell on a GPU that is full.

The workflow's scheduler knows how much of all GPUs of a machine is taken, but not of which one. A device has eight
slots and every slot is a file; who holds the kernel's lock on it has the slot, so nothing is left behind by a process
that was killed. A device has a queue for one: its holder alone takes slots there, and waits for those of running cells.
So cells cannot block each other, and a large cell is not passed by small ones for ever.

The processes of one cell take a device each. Two workflows at once on one machine, both with cells of several
processes, could each hold what the other waits for; within one workflow its scheduler rules that out.
"""

from __future__ import annotations

import fcntl
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

SLOTS = 8
"""Per device: an eighth is the smallest share."""
POLL_SECONDS = 0.2


def slots_of(share: int) -> int:
    """Slots that a share of one device takes, rounded up [percent].

    Raises ValueError if the share is not between 1 and 100.
    """
    if not 1 <= share <= 100:
        raise ValueError(
            f"gpu_share = {share}: the share of one device must be 1 to 100 percent; a cell that is to use several "
            "devices has a process for each"
        )
    # 12 percent is meant to be an eighth.
    return max(1, math.floor(share * SLOTS / 100 + 0.5))


@contextmanager
def leased(devices: Sequence[str], share: int, folder: Path) -> Iterator[int]:
    """Hold a share [percent] of one of the devices, waiting for it if need be; gives the index of the device.

    The device with most room is taken. `devices` are names that everybody uses for them, `folder` is where their slots
    are, made if need be. Raises ValueError for a share that no device has.
    """
    needed = slots_of(share)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        index, queue = _queue(devices, folder)
        with queue:
            free = set(_slots(devices[index], folder))
            taken = 0
            while taken < needed:
                for slot in sorted(free):
                    if taken < needed and (lock := _try_lock(slot)):
                        held.enter_context(lock)
                        free.remove(slot)
                        taken += 1
                if taken < needed:
                    time.sleep(POLL_SECONDS)
        yield index


def _queue(devices: Sequence[str], folder: Path) -> tuple[int, IO[bytes]]:
    """The device with most room among those nobody waits for, with the right to take its slots."""
    while True:
        queues = {i: lock for i, name in enumerate(devices) if (lock := _try_lock(folder / f"{name}.queue"))}
        if queues:
            room = {i: _room(devices[i], folder) for i in queues}
            best = max(room, key=lambda i: (room[i], -i))
            for i, lock in queues.items():
                if i != best:
                    lock.close()
            return best, queues[best]
        time.sleep(POLL_SECONDS)


def _room(device: str, folder: Path) -> int:
    """Free slots of a device whose queue this process holds."""
    locks = [lock for slot in _slots(device, folder) if (lock := _try_lock(slot))]
    for lock in locks:
        lock.close()
    return len(locks)


def _slots(device: str, folder: Path) -> list[Path]:
    return [folder / f"{device}.{i}" for i in range(SLOTS)]


def _try_lock(path: Path) -> IO[bytes] | None:
    """The open, locked file, or None if another process has it."""
    file = path.open("wb")
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    file.close()
    return None
