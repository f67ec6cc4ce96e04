"""The way back after a killed job: a file in scratch with the training state and all rows recorded so far, and
the one before it.

A file of progress counts only if it is whole, and if every snapshot that it counts on is: otherwise the one
before is taken, and failing that the beginning. Whatever is trained again comes out the same, so that damage
costs time and never changes a result.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from glidepath.training.files import sync, written_atomically
from glidepath.training.recorder import Recorder
from glidepath.training.snapshots import GO_BACK, checksum, part_path, parts_in
from glidepath.training.state import load_tensors
from glidepath.training.tensor_files import CHECKSUM, DamagedFileError, verify, write_tensors


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


def previous_path(scratch: Path) -> Path:
    """Where the progress before it is kept."""
    return scratch / "progress-previous.safetensors"


def save_progress(scratch: Path, spec_digest: str, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Make this the saved progress once it is written and read back; what was saved becomes the previous one.

    If it cannot be written, as on a full disk, what was saved stays, stderr says so, and training may go on.
    """
    path = progress_path(scratch)
    rows, recorded = progress.recorder.dump()
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    try:
        parts = {u: checksum(part) for u, part in parts_in(scratch).items() if u <= progress.updates_done}
        metadata = {
            "spec_digest": spec_digest,
            "rows": rows,
            "position": json.dumps({
                "updates_done": progress.updates_done, "last_loss": progress.last_loss,
                "seconds": progress.seconds, "timed_tokens": progress.timed_tokens,
            }),
            "snapshots": json.dumps(parts),
        }  # fmt: skip
        with written_atomically(path) as temporary:
            write_tensors(temporary, {**arrays, **recorded}, metadata)
            sync(temporary)
            verify(temporary, "check the disk")
            if path.exists():
                path.replace(previous_path(scratch))
    except (OSError, DamagedFileError) as error:
        print(
            f"progress after {progress.updates_done} updates could not be saved ({error}): training goes on, and if "
            "it is ended it will continue from what was saved before",
            file=sys.stderr,
        )


def load_progress(scratch: Path, spec_digest: str, tensors: dict[str, Tensor]) -> Progress | None:
    """Copy saved tensors into the given buffers and return the progress, or None if nothing was saved.

    Of two saved ones the newest that is whole counts. One that is not is removed, and stderr says what is lost.
    Snapshots that were taken after it are removed too, since they will be taken again.

    Raises ValueError if what was saved belongs to another spec.
    """
    progress = None
    for path in (progress_path(scratch), previous_path(scratch)):
        try:
            progress = _loaded(path, spec_digest, tensors)
        except FileNotFoundError:
            continue
        except DamagedFileError as damage:
            # Out of the way: the next save would make it the previous one in place of the whole one.
            path.unlink()
            print(f"{damage}; what was trained since the progress before it is trained again", file=sys.stderr)
            continue
        break
    for updates_done, part in parts_in(scratch).items():
        if progress is None or updates_done > progress.updates_done:
            part.unlink()
    return progress


def _loaded(path: Path, spec_digest: str, tensors: dict[str, Tensor]) -> Progress:
    """One file of progress. Raises DamagedFileError if it, or a snapshot it counts on, is not what was written;
    FileNotFoundError if there is none."""
    metadata = verify(path, "it is removed")
    if metadata["spec_digest"] != spec_digest:
        raise ValueError(
            f"{path} is the progress of segment {metadata['spec_digest']}, not of {spec_digest}: "
            f"remove {path.parent} if nothing else is using it"
        )
    for updates_done, expected in json.loads(metadata["snapshots"]).items():
        part = part_path(path.parent, int(updates_done))
        if not part.exists() or verify(part, GO_BACK)[CHECKSUM] != expected:
            raise DamagedFileError(f"{part} is not the snapshot that {path} counts on: {path.name} is removed")
    with safe_open(path, framework="numpy") as file:
        recorded = {name: file.get_tensor(name) for name in file.keys() if name not in tensors}  # noqa: SIM118
    load_tensors(path, tensors)
    position = json.loads(metadata["position"])
    return Progress(recorder=Recorder.restore(metadata["rows"], recorded), **position)


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
