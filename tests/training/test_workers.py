"""Several processes train one cell: the same data order, the same numbers up to rounding, the same files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open

from glidepath.training.parameters import ALIGNMENT, Layout
from glidepath.training.workers import ALONE, Workers
from tests.training.small import model_spec, train
from tests.training.workers_job import job_spec, several_updates

ROOT = Path(__file__).parents[2]


def torchrun(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the module of jobs in so many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *launcher, "-m", "tests.training.workers_job", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@given(n=st.integers(0, 1000), size=st.integers(1, 17))
def test_shares_are_consecutive_and_even(n: int, size: int) -> None:
    shares = [Workers(rank, size).share(n) for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_slices_are_aligned_and_their_groups_are_the_whole(size: int) -> None:
    spec = model_spec(parametrization="mup")
    alone, layout = Layout(spec), Layout(spec, size)
    assert layout.groups == alone.groups
    assert layout.size % (size * ALIGNMENT) == 0
    assert 0 <= layout.size - alone.size < size * ALIGNMENT
    length = layout.size // size
    covered = []
    for rank in range(size):
        for group in Workers(rank, size).own_groups(layout.groups, layout.size):
            assert 0 <= group.begin < group.end <= length
            covered += [(rank * length + i, group.multipliers) for i in range(group.begin, group.end)]
    assert covered == [(i, group.multipliers) for group in alone.groups for i in range(group.begin, group.end)]


def test_one_process_changes_nothing() -> None:
    flat = torch.arange(6.0)
    own = ALONE.own(flat)
    assert own.data_ptr() == flat.data_ptr()
    ALONE.sum_into_slices(flat)
    ALONE.join_slices(flat)
    assert torch.equal(own, torch.arange(6.0))
    assert torch.equal(ALONE.norm(flat), torch.linalg.vector_norm(flat))
    assert ALONE.greatest(7) == 7
    assert ALONE.leads


def test_processes_decide_alike(tmp_path: Path) -> None:
    done = torchrun(2, "collectives", tmp_path)
    assert done.returncode == 0, done.stderr
    # Norms of order 1 of (1, 1) and (2, 2): 2 + 4.
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["1 7.0 [0] 6.0"] * 2


def test_updates_are_those_of_one_process(tmp_path: Path) -> None:
    processes = 3
    done = torchrun(processes, "updates", tmp_path)
    assert done.returncode == 0, done.stderr
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-12)):
        for kind in ("adamw", "schedule_free_adamw"):
            expected = several_updates(ALONE, getattr(torch, dtype), kind)
            parts = [np.load(tmp_path / f"{dtype}-{kind}-{rank}.npz") for rank in range(processes)]
            for part in parts:
                for name in ("losses", "norms", "validation"):
                    np.testing.assert_allclose(part[name], expected[name], rtol=tolerance, err_msg=f"{dtype} {name}")
                scale = np.abs(expected["weights"]).max()
                np.testing.assert_allclose(part["weights"], expected["weights"], atol=10 * tolerance * scale, rtol=0)
                np.testing.assert_array_equal(part["weights"], parts[0]["weights"])
            moments = expected["exp_avg_sq"]
            np.testing.assert_allclose(parts[0]["exp_avg_sq"], moments, atol=10 * tolerance * moments.max(), rtol=0)
            # Each sequence is seen once, by one process.
            together = np.concatenate([part["first_ids"] for part in parts])
            np.testing.assert_array_equal(np.sort(together), np.sort(expected["first_ids"]))


def updates_of(folder: Path, rank: int = 0) -> dict[str, NDArray[np.float64]]:
    return dict(np.load(folder / f"updates{rank}.npz"))


def assert_close(folder: Path, kind: str, alone: Path) -> None:
    """The records and files in a folder are those of one process, within 1e-5."""
    expected = train(job_spec(kind), alone)
    for column, values in updates_of(folder).items():
        np.testing.assert_allclose(values, expected.updates[column], rtol=1e-5, err_msg=column)
    with np.load(folder / "statistics0.npz") as statistics:
        for column, values in expected.gradient_statistics.items():
            if column == "group":
                assert list(statistics[column]) == list(values)
            else:
                np.testing.assert_allclose(statistics[column], values, rtol=1e-4, err_msg=column)
    for name in ("state", "snapshots"):
        with (
            safe_open(folder / f"{name}.safetensors", "numpy") as ours,
            safe_open(alone / f"{name}.safetensors", "numpy") as theirs,
        ):
            assert set(ours.keys()) == set(theirs.keys())
            for key in theirs.keys():  # noqa: SIM118
                tensor = theirs.get_tensor(key)
                scale = float(np.abs(tensor).max())
                np.testing.assert_allclose(ours.get_tensor(key), tensor, atol=1e-4 * scale, rtol=0, err_msg=key)


def test_a_segment_goes_from_two_processes_to_one_and_back(tmp_path: Path) -> None:
    """A killed process ends the other, which could not go on; a terminated one lets both save first. The optimizer is
    the one that evaluates other weights than those it trains."""
    kind = "schedule_free_adamw"
    folder = tmp_path / kind
    folder.mkdir()
    killed = torchrun(2, "train", folder, 4, "SIGKILL", 1, 0.0)
    assert killed.returncode != 0
    saved = folder / "scratch" / "progress.safetensors"
    assert saved.exists()
    alone = subprocess.run(
        [sys.executable, "-m", "tests.training.workers_job", "train", folder, "6", "SIGTERM", "0", "1e9"],
        cwd=ROOT, check=False,
    )  # fmt: skip
    assert alone.returncode == 128 + signal.SIGTERM
    terminated = torchrun(2, "train", folder, 9, "SIGTERM", 1, 1e9)
    assert terminated.returncode != 0
    with safe_open(saved, "numpy") as file:
        assert json.loads(file.metadata()["position"])["updates_done"] in (9, 10)
    finished = torchrun(2, "train", folder, 0, "SIGTERM", 0, 1e9)
    assert finished.returncode == 0, finished.stderr
    for column, values in updates_of(folder, 1).items():
        np.testing.assert_array_equal(values, updates_of(folder)[column])
    assert_close(folder, kind, tmp_path / "alone")
