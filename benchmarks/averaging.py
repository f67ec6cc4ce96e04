"""How fast snapshots are averaged, against reading the same bytes and doing nothing with them.

    python benchmarks/averaging.py [--parameters 25000000] [--snapshots 12] [--rounds 7] [--directory DIR]

Weights only, no evaluation, one thread each. In every round, in turns: a plain read of the files that an average needs,
and the average. `window` is one average of k snapshots, started afresh; `slide` is the step of a moving window, which
reads the snapshot that comes and the one that goes. `cached`: the files are in the page cache; `from disk`: they are
dropped from it first, so that both wait for the disk. Medians, and quartiles of the ratio of each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from glidepath.science.averaging import Step, cheapest_step, equal_weights
from glidepath.training import snapshots
from glidepath.training.weighted_mean import WeightedMean

WIDTH = 2048
BUFFER_BYTES = 1 << 20
CLOCK = time.perf_counter if not os.environ.get("CPU") else time.process_time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=25_000_000)
    parser.add_argument("--snapshots", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", type=Path, help="where the files are written; default: a temporary one")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.directory) as folder:
        paths = written(Path(folder), args.parameters, args.snapshots)
        n = len(paths)
        window = np.array([equal_weights(n, range(first, first + n - 1)) for first in (0, 1)])
        tasks = {
            f"window of {n - 1}": cheapest_step(np.zeros(n), window[0]),
            "slide by one": cheapest_step(window[0], window[1]),
        }
        print(f"{args.parameters / 1e6:.3g}M parameters, {paths[0].stat().st_size / 1e6:.0f} MB per snapshot")
        print("task            files       GB/s read   GB/s averaged   time over a plain read (quartiles)")
        for name, step in tasks.items():
            for cached in (True, False):
                print(measured(name, step, cached, paths, args.rounds), flush=True)


def written(folder: Path, parameters: int, n: int) -> list[Path]:
    """Files of one snapshot each, as training writes them."""
    weights = {f"matrix{i}": torch.randn(WIDTH, WIDTH) for i in range(max(1, parameters // WIDTH**2))}
    paths = []
    for update in range(1, n + 1):
        snapshots.save_part(folder, update, weights)
        paths.append(snapshots.part_path(folder, update))
    return paths


def measured(name: str, step: Step, cached: bool, paths: Sequence[Path], rounds: int) -> str:
    needed = [paths[i] for i, _ in step.shares]
    n_bytes = sum(path.stat().st_size for path in needed)
    first = snapshots.SnapshotFile(paths[0])
    weights = {name: torch.zeros(tensor.shape) for name, tensor in first.weights(1).items()}
    updates_done = range(1, len(paths) + 1)
    mean = WeightedMean(weights)
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 1):
        for average, times in zip((False, True), seconds, strict=True):
            # Mapped anew: pages that a mapping has touched cannot be dropped.
            kept = snapshots.SnapshotsOfChain(paths)
            for path in needed if not cached else ():
                drop(path)
            begin = CLOCK()
            if average:
                mean.step(step, updates_done, kept)
            else:
                plain_read(needed)
            if i:
                times.append(CLOCK() - begin)
    ratios = [average / read for read, average in zip(*seconds, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    rates = [n_bytes / statistics.median(times) / 1e9 for times in seconds]
    where = "cached" if cached else "from disk"
    return f"{name:15} {where:11} {rates[0]:9.2f}   {rates[1]:13.2f}   {middle:10.2f} ({low:.2f}-{high:.2f})"


def plain_read(paths: Sequence[Path]) -> None:
    """The cheapest thing to do with a file: into one buffer, over and over."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def drop(path: Path) -> None:
    """Out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


if __name__ == "__main__":
    main()
