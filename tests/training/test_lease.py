"""Which cells run at once on which device."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from glidepath.training.lease import leased, slots_of

HOLDER = """
import sys, time
from pathlib import Path
from glidepath.training.lease import leased

with leased(sys.argv[3:], int(sys.argv[2]), Path(sys.argv[1])) as index:
    print(index, flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path, share: int, *devices: str) -> subprocess.Popen[str]:
    """A process that holds a share, says of which device, and lets go at the end of its input."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(share), *devices],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def device_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout
    return int(process.stdout.readline())


def release(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.communicate("\n")


def test_shares_are_eighths() -> None:
    assert [slots_of(share) for share in (1, 12, 25, 50, 75, 100)] == [1, 1, 2, 4, 6, 8]
    for share in (0, 101, 200):
        with pytest.raises(ValueError, match=rf"gpu_share = {share}: .* 1 to 100 percent"):
            slots_of(share)


def test_small_cells_spread_over_devices_and_fill_them(tmp_path: Path) -> None:
    with ExitStack() as held:
        indices = [held.enter_context(leased(["a", "b"], 50, tmp_path)) for _ in range(4)]
    assert indices == [0, 1, 0, 1]


def test_processes_of_a_cell_get_a_device_each(tmp_path: Path) -> None:
    holders = [holder(tmp_path, 100, "a", "b", "c") for _ in range(3)]
    assert sorted(map(device_of, holders)) == [0, 1, 2]
    release(*holders)


def test_a_full_device_is_waited_for_and_a_killed_process_lets_go(tmp_path: Path) -> None:
    first = holder(tmp_path, 75, "a")
    device_of(first)
    began = time.monotonic()
    second = holder(tmp_path, 50, "a")
    time.sleep(1.0)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert device_of(second) == 0
    assert time.monotonic() - began >= 1.0
    release(second)


def test_a_large_cell_is_not_passed_by_small_ones(tmp_path: Path) -> None:
    """Two devices, a small cell on each, a large one waits; a further small cell must not go where the large one
    waits."""
    small = [holder(tmp_path, 25, "a", "b") for _ in range(1)]
    assert device_of(small[0]) == 0
    small.append(holder(tmp_path, 25, "a", "b"))
    assert device_of(small[1]) == 1
    large = holder(tmp_path, 100, "a", "b")
    time.sleep(1.0)
    later = holder(tmp_path, 25, "a", "b")
    assert device_of(later) == 1
    release(small[0])
    assert device_of(large) == 0
    release(small[1], large, later)
