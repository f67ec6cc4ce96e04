"""One step of a running mean in a process of its own, which prints how much memory it took at most: the rest of a long
test run would be in the figure.

    python -m tests.training.averaging_memory own_snapshots|rounded_checkpoints FOLDER
"""

from __future__ import annotations

import ctypes
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from glidepath.interop.checkpoints import Checkpoints, Parameters
from glidepath.science.averaging import Step
from glidepath.training import snapshots
from glidepath.training.weighted_mean import Snapshots, WeightedMean


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@dataclass
class Watched:
    """Snapshots that note how much memory there is whenever one is read: the peak is while the last ones are."""

    snapshots: Snapshots
    most: int = 0

    def tensor(self, updates_done: int, name: str) -> Tensor:
        self.look()
        return self.snapshots.tensor(updates_done, name)

    def look(self) -> None:
        self.most = max(self.most, anonymous_bytes())


def watching(watched: Watched, done: threading.Event) -> None:
    """Also between reads."""
    while not done.wait(1e-3):
        watched.look()


LARGE = {f"matrix{i}": (1000, 1000) for i in range(4)}
N_SNAPSHOTS = 14


def own_snapshots(folder: Path) -> Snapshots:
    paths = []
    for update in range(1, N_SNAPSHOTS + 1):
        snapshots.save_part(folder, update, {name: torch.full(shape, float(update)) for name, shape in LARGE.items()})
        paths.append(snapshots.part_path(folder, update))
    snapshots.join(paths, folder / "joined", {})
    return snapshots.SnapshotsOfChain([folder / "joined"])


def rounded_checkpoints(folder: Path) -> Snapshots:
    folders = {update: folder / str(update) for update in range(1, N_SNAPSHOTS + 1)}
    for update, to in folders.items():
        to.mkdir()
        tensors = {name: torch.full(shape, update, dtype=torch.bfloat16) for name, shape in LARGE.items()}
        save_file(tensors, to / "model.safetensors")
    return Checkpoints(folders, Parameters(LARGE, {}, str, ()))


def main(written: str, folder: Path) -> None:
    """Fourteen snapshots of four million numbers on disk, averaged in one step."""
    kinds = {"own_snapshots": own_snapshots, "rounded_checkpoints": rounded_checkpoints}
    watched, done = Watched(kinds[written](folder)), threading.Event()
    every = tuple(range(1, N_SNAPSHOTS + 1))
    with ThreadPoolExecutor(1) as beside:
        ctypes.CDLL(None).malloc_trim(0)
        before = anonymous_bytes()
        weights = {name: torch.zeros(shape) for name, shape in LARGE.items()}
        mean = WeightedMean(weights)
        beside.submit(watching, watched, done)
        mean.step(Step(0.0, tuple((i, 1 / N_SNAPSHOTS) for i in range(N_SNAPSHOTS))), every, watched)
        watched.look()
        done.set()
    right = all(torch.equal(w, torch.full(w.shape, (N_SNAPSHOTS + 1) / 2)) for w in weights.values())
    model_bytes = sum(w.nbytes for w in weights.values())
    print(json.dumps({"used": watched.most - before, "model": model_bytes, "right": right}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
