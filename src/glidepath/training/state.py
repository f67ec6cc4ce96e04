"""The state at the end of a segment: everything needed to continue bit for bit, or the fact that there is
none.

One safetensors file: `weights/<parameter>`, `exp_avg/<parameter>`, `exp_avg_sq/<parameter>`, float32, and a
header with the digest of the trajectory whose state it is. A diverged trajectory has a header only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, from_numpy

from glidepath.study.specs import Trajectory
from glidepath.training.files import written_atomically
from glidepath.training.model import Decoder
from glidepath.training.optimizer import AdamW


@dataclass(frozen=True)
class StateHeader:
    """What a state file says about itself."""

    trajectory_digest: str
    updates_done: int
    status: Literal["completed", "diverged"]
    diverged_step: int | None
    last_finite_loss: float | None
    """Training loss of the last update before divergence, or of the last update [nats/token]."""


def state_tensors(decoder: Decoder, optimizer: AdamW) -> dict[str, Tensor]:
    """The tensors of a state by name, as views of the live buffers."""
    buffers = {
        "weights": decoder.flat_weights,
        "exp_avg": optimizer.exp_avg,
        "exp_avg_sq": optimizer.exp_avg_sq,
    }
    return {
        f"{buffer}/{name}": tensor
        for buffer, flat in buffers.items()
        for name, tensor in decoder.layout.views(flat).items()
    }


def save_state(path: Path, header: StateHeader, tensors: dict[str, Tensor]) -> None:
    """Write a state atomically."""
    save_tensors(
        path,
        {name: tensor.cpu().numpy() for name, tensor in tensors.items()},
        {"state": json.dumps(asdict(header))},
    )


def load_header(path: Path, trajectory: Trajectory) -> StateHeader:
    """Read the header of a state and check that it belongs to `trajectory`.

    Raises ValueError if it is the state of another trajectory.
    """
    with safe_open(path, framework="numpy") as file:
        header = StateHeader(**json.loads(file.metadata()["state"]))
    if header.trajectory_digest != trajectory.digest:
        raise ValueError(
            f"{path} is the state of trajectory {header.trajectory_digest} after {header.updates_done} "
            f"updates, needed is {trajectory.digest} after {trajectory.updates_done}: delete it and let its "
            "segment be trained again"
        )
    return header


def load_tensors(path: Path, into: dict[str, Tensor]) -> None:
    """Copy the tensors of a file into the buffers of the same names; others in the file are left alone."""
    with safe_open(path, framework="numpy") as file:
        for name, tensor in into.items():
            tensor.copy_(from_numpy(file.get_tensor(name)))


def save_tensors(path: Path, arrays: dict[str, NDArray[np.float32]], metadata: dict[str, str]) -> None:
    """Write arrays and metadata to a safetensors file atomically."""
    with written_atomically(path) as temporary:
        save_file(arrays, temporary, metadata=metadata)
