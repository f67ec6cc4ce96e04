"""The state at the end of a segment: everything needed to continue bit for bit, or the fact that there is
none.

One safetensors file: the optimizer's buffers, `weights/<parameter>`, `exp_avg/<parameter>` and so on, float32, and a
header with the digest of the trajectory whose state it is. A diverged trajectory has a header only. A file
that is not what was written is refused, never repaired and never deleted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from safetensors import safe_open
from torch import Tensor, from_numpy

from glidepath.study.specs import Trajectory
from glidepath.training.tensor_files import save_tensors, verify


@dataclass(frozen=True)
class StateHeader:
    """What a state file says about itself."""

    trajectory_digest: str
    updates_done: int
    status: Literal["completed", "diverged"]
    diverged_step: int | None
    last_finite_loss: float | None
    """Training loss of the last update before divergence, or of the last update [nats/token]."""


def save_state(path: Path, header: StateHeader, tensors: dict[str, Tensor]) -> None:
    """Write a state atomically."""
    save_tensors(
        path,
        {name: tensor.cpu().numpy() for name, tensor in tensors.items()},
        {"state": json.dumps(asdict(header))},
    )


def train_again(path: Path) -> str:
    """What to do about a file of a segment that cannot be used."""
    return f"delete {path.parent} and run again; only that segment is trained anew"


def load_header(path: Path, trajectory: Trajectory) -> StateHeader:
    """Read the header of a state, after checking that the file is whole and belongs to `trajectory`.

    Raises ValueError if it is the state of another trajectory, DamagedFileError if it is not what was written.
    """
    header = StateHeader(**json.loads(verify(path, train_again(path))["state"]))
    if header.trajectory_digest != trajectory.digest:
        raise ValueError(
            f"{path} is the state of trajectory {header.trajectory_digest} after {header.updates_done} "
            f"updates, needed is {trajectory.digest} after {trajectory.updates_done}: {train_again(path)}"
        )
    return header


def load_tensors(path: Path, into: dict[str, Tensor]) -> None:
    """Copy the tensors of a file into the buffers of the same names; others in the file are left alone.

    Raises DamagedFileError, before any buffer is touched, if the file is not what was written.
    """
    verify(path, train_again(path))
    with safe_open(path, framework="numpy") as file:
        for name, tensor in into.items():
            tensor.copy_(from_numpy(file.get_tensor(name)))
