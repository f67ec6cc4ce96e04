"""The way back after a killed job: one file in scratch with the training state and all rows recorded so
far."""

from __future__ import annotations

import fcntl
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from glidepath.training.recorder import Recorder
from glidepath.training.state import load_tensors, save_tensors


@dataclass(frozen=True)
class Progress:
    """How far a segment has come."""

    updates_done: int
    last_loss: float | None
    recorder: Recorder
    seconds: dict[str, float]
    """Time spent so far, by activity."""
    timed_tokens: int
    """Tokens trained in the time counted as "updates"."""


def progress_path(scratch: Path) -> Path:
    """Where progress is kept."""
    return scratch / "progress.safetensors"


def save_progress(scratch: Path, spec_digest: str, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Replace the saved progress atomically."""
    rows, block_losses = progress.recorder.dump()
    metadata = {
        "spec_digest": spec_digest,
        "rows": rows,
        "position": json.dumps([progress.updates_done, progress.last_loss, progress.seconds, progress.timed_tokens]),
    }
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    save_tensors(progress_path(scratch), {**arrays, **block_losses}, metadata)


def load_progress(scratch: Path, spec_digest: str, tensors: dict[str, Tensor]) -> Progress | None:
    """Copy saved tensors into the given buffers and return the progress, or None if nothing was saved.

    Raises ValueError if what was saved belongs to another spec.
    """
    path = progress_path(scratch)
    if not path.exists():
        return None
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        if metadata["spec_digest"] != spec_digest:
            raise ValueError(
                f"{path} is the progress of segment {metadata['spec_digest']}, not of {spec_digest}: "
                f"remove {scratch} if nothing else is using it"
            )
        kept = {name: file.get_tensor(name) for name in file.keys() if name not in tensors}  # noqa: SIM118
    load_tensors(path, tensors)
    updates_done, last_loss, seconds, timed_tokens = json.loads(metadata["position"])
    return Progress(updates_done, last_loss, Recorder.restore(metadata["rows"], kept), seconds, timed_tokens)


@contextmanager
def locked(scratch: Path) -> Iterator[None]:
    """Hold the only right to a scratch folder, which is made if need be; the kernel lets go of it when the
    process dies.

    Raises RuntimeError if another process holds it.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"{scratch} is in use by another process: wait for it or stop it") from None
        yield


@contextmanager
def sigterm_noted() -> Iterator[threading.Event]:
    """An event that is set when the process is asked to end, so that the loop can save first."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
