"""Files that know whether they are whole: written, damaged in every way, refused with what to do."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray
from safetensors.numpy import load_file, safe_open

from glidepath.training.files import remove_unfinished, written_atomically
from glidepath.training.lock import is_locked, locked
from glidepath.training.snapshots import SnapshotFile, join, part_path, parts_in, save_part
from glidepath.training.state import load_header, load_tensors
from glidepath.training.tensor_files import CHECKSUM, DamagedFileError, save_tensors, verify
from tests.training.small import segment_spec, train

REMEDY = "buy a new disk"
ARRAYS: dict[str, NDArray[Any]] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([1.5, -0.0, np.nan]),
    "c": np.array(7, dtype=np.int64),
    "none": np.empty((0, 4), dtype=np.float32),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_tensors(tmp_path / "file", ARRAYS, {"who": 'a "quoted" name', "rows": "[1, 2]"})
    return tmp_path / "file"


def test_what_is_written_is_read_by_the_public_library(file: Path) -> None:
    read = load_file(file)
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)
    with safe_open(file, framework="numpy") as opened:
        assert opened.metadata().items() >= {"who": 'a "quoted" name', "rows": "[1, 2]"}.items()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays=st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "__metadata__"),
        arrays_of.arrays(
            st.sampled_from([np.dtype(t) for t in ("f4", "f8", "f2", "i8", "u2", "i4")]),
            arrays_of.array_shapes(min_dims=0, min_side=0),
        ),
        max_size=4,
    ),
    metadata=st.dictionaries(st.text(), st.text(), max_size=3),
)
def test_any_content_comes_back(tmp_path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    save_tensors(tmp_path / "any", arrays, metadata)
    assert {k: v for k, v in verify(tmp_path / "any", REMEDY).items() if k != CHECKSUM} == {
        k: v for k, v in metadata.items() if k != CHECKSUM
    }
    for name, array in load_file(tmp_path / "any").items():
        assert array.tobytes() == arrays[name].tobytes()
        assert array.shape == arrays[name].shape


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(file: Path) -> None:
    content = file.read_bytes()
    n = int.from_bytes(content[:8], "little")
    checksum = json.loads(content[8 : 8 + n])["__metadata__"]["sha256"]
    assert content.count(checksum.encode()) == 1
    assert checksum == hashlib.sha256(content.replace(checksum.encode(), b"0" * 64)).hexdigest()


def test_the_same_content_gives_the_same_bytes(file: Path) -> None:
    backwards = dict(reversed(ARRAYS.items()))
    save_tensors(file.with_name("again"), backwards, {"who": 'a "quoted" name', "rows": "[1, 2]"})
    assert file.with_name("again").read_bytes() == file.read_bytes()


def test_every_single_bit_counts(file: Path) -> None:
    """Each bit of the file turned over, one at a time, is noticed; so is each length it may be cut to."""
    content = file.read_bytes()
    for bit in range(8 * len(content)):
        wrong = bytearray(content)
        wrong[bit // 8] ^= 1 << bit % 8
        file.write_bytes(wrong)
        with pytest.raises(DamagedFileError):
            verify(file, REMEDY)
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match=rf"^{file} is damaged \(.*\): {REMEDY}$"):
            verify(file, REMEDY)
    file.write_bytes(content + b"\0")
    with pytest.raises(DamagedFileError):
        verify(file, REMEDY)
    file.write_bytes(content)
    verify(file, REMEDY)


def test_a_file_that_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "none", REMEDY)


def test_what_is_no_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"IsADirectoryError.*buy a new disk"):
        verify(tmp_path, REMEDY)


# -- end states and snapshots


def test_a_damaged_state_of_a_parent_is_refused_and_left_alone(tmp_path: Path) -> None:
    parent, child = tmp_path / "parent", segment_spec(start=7, stop=12)
    train(segment_spec(stop=7), parent)
    state = parent / "state.safetensors"
    whole = state.read_bytes()
    generator = np.random.default_rng(0)
    for at in (0, 8, 100, len(whole) - 1, *generator.integers(len(whole), size=10)):
        wrong = bytearray(whole)
        wrong[at] ^= 0x10
        state.write_bytes(wrong)
        with pytest.raises(
            DamagedFileError, match=rf"{state} is damaged .*: delete {parent} and run again; only that segment is"
        ):
            train(child, tmp_path / "child", state)
        assert state.read_bytes() == wrong
        assert not (tmp_path / "child/state.safetensors").exists()
    # The remedy works.
    state.unlink()
    train(segment_spec(stop=7), parent)
    assert state.read_bytes() == whole
    assert train(child, tmp_path / "child", state).status == "completed"


def test_a_damaged_state_touches_no_buffer(tmp_path: Path) -> None:
    spec = segment_spec(stop=2)
    train(spec, tmp_path)
    state = tmp_path / "state.safetensors"
    with safe_open(state, framework="numpy") as opened:
        buffers = {name: torch.full(opened.get_tensor(name).shape, 3.0) for name in opened.keys()}  # noqa: SIM118
    state.write_bytes(state.read_bytes()[:-1] + b"!")
    with pytest.raises(DamagedFileError):
        load_tensors(state, buffers)
    with pytest.raises(DamagedFileError):
        load_header(state, spec.trajectory)
    assert all((buffer == 3.0).all() for buffer in buffers.values())


WEIGHTS = {u: {"w": torch.full((3, 2), float(u)), "v": torch.arange(5.0) * u} for u in (3, 7, 8)}


@pytest.fixture
def parts(tmp_path: Path) -> dict[int, Path]:
    for updates_done, weights in WEIGHTS.items():
        save_part(tmp_path, updates_done, weights)
    return parts_in(tmp_path)


def test_parts_are_joined_to_one_file(parts: dict[int, Path], tmp_path: Path) -> None:
    assert list(parts) == [3, 7, 8]
    join(list(parts.values()), tmp_path / "joined", {"who": "me"})
    joined = SnapshotFile(tmp_path / "joined")
    assert joined.metadata["who"] == "me"
    assert joined.updates_done == [3, 7, 8]
    assert sorted(joined.weights(3)) == ["v", "w"]
    for updates_done, weights in WEIGHTS.items():
        for name, weight in joined.weights(updates_done).items():
            np.testing.assert_array_equal(weight, weights[name])


def test_a_damaged_part_is_not_joined(parts: dict[int, Path], tmp_path: Path) -> None:
    parts[7].write_bytes(parts[7].read_bytes()[:-1] + b"!")
    with pytest.raises(DamagedFileError, match=rf"{part_path(tmp_path, 7)} is damaged .*: run again; training goes"):
        join(list(parts.values()), tmp_path / "joined", {})
    assert not list(tmp_path.glob("*joined*"))


def test_damaged_snapshots_are_refused(parts: dict[int, Path], tmp_path: Path) -> None:
    joined = tmp_path / "joined"
    join(list(parts.values()), joined, {})
    joined.write_bytes(joined.read_bytes()[:-1] + b"!")
    with pytest.raises(DamagedFileError, match=rf"{joined} is damaged .*: delete {tmp_path} and run again"):
        SnapshotFile(joined)


# -- no room


@contextmanager
def no_file_beyond(n_bytes: int) -> Iterator[None]:
    """As if the disk were full: the kernel refuses to let any file of this process grow beyond `n_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_room_the_old_file_stays_and_no_other(file: Path) -> None:
    before = file.read_bytes()
    bigger = {"a": np.zeros(10_000, dtype=np.float32)}
    with (
        no_file_beyond(2000),
        pytest.raises(OSError, match=rf"no room for {file}; make room and run again, which continues from here"),
    ):
        save_tensors(file, bigger, {})
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def in_a_file_system_of(n_bytes: int, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a namespace whose /mnt is a file system of that size; skip the test where none may be
    mounted."""
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size={n_bytes} tmpfs /mnt"
    if subprocess.run([*mounted, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    return subprocess.run(
        [*mounted, f'{mount} && exec "$@"', "sh", sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_really_full_disk() -> None:
    done = in_a_file_system_of(
        100_000,
        """
        import os
        from pathlib import Path
        import numpy as np
        from glidepath.training.tensor_files import save_tensors, verify

        file = Path("/mnt/file")
        save_tensors(file, {"a": np.zeros(8_000, dtype=np.float32)}, {})
        Path("/mnt/ballast").write_bytes(bytes(40_000))
        try:
            save_tensors(file, {"a": np.ones(20_000, dtype=np.float32)}, {})
        except OSError as error:
            print(error)
        verify(file, "")
        print(sorted(os.listdir("/mnt")))
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "[Errno 28] No space left on device: no room for /mnt/file; make room and run again, which continues from "
        "here\n['ballast', 'file']\n"
    )


# -- temporary files and the lock


def test_what_a_killed_process_left_is_overwritten_and_swept(tmp_path: Path) -> None:
    with written_atomically(tmp_path / "x") as temporary:
        temporary.write_text("first")
        left = temporary
    left.write_text("of a killed one")
    with written_atomically(tmp_path / "x") as temporary:
        assert temporary == left
        temporary.write_text("whole")
    assert (tmp_path / "x").read_text() == "whole"
    assert not left.exists()
    for name in (".y.tmp", ".progress.safetensors.tmp"):
        (tmp_path / name).write_text("of a killed one")
    with locked(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "x"]


def test_only_unfinished_files_are_swept(tmp_path: Path) -> None:
    for name in ("x.tmp", ".x", ".x.tmp", "x"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".x", "x", "x.tmp"]


def test_an_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), written_atomically(tmp_path / "x") as temporary:
        temporary.write_text(str(1 // 0))
    assert not list(tmp_path.iterdir())


def test_file_rename_folder_are_synced_in_this_order(tmp_path: Path) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from glidepath.training.files import written_atomically

        asked = []
        sys.addaudithook(lambda event, _: asked.append("rename") if event == "os.rename" else None)
        os.fsync = lambda descriptor: asked.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        with written_atomically(Path(sys.argv[1]) / "x") as temporary:
            temporary.write_text("whole")
        print(asked)
    """
    folder = tmp_path / "folder"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['sync .x.tmp', 'rename', 'sync folder']\n"


def test_the_second_process_is_told_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    assert not is_locked(folder)
    with locked(folder):
        assert is_locked(folder)
        with pytest.raises(RuntimeError, match=rf"{folder} is in use by another process \(pid {os.getpid()}\): wait"):
            locked(folder).__enter__()
    assert not is_locked(folder)
    with locked(folder):
        assert (folder / "lock").read_text() == f"pid {os.getpid()}"


def test_looking_does_not_keep_a_job_from_starting(tmp_path: Path) -> None:
    """Another process has its eye on the lock for longer than any look lasts."""
    with locked(tmp_path):
        pass
    with (tmp_path / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        timer = threading.Timer(0.03, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        timer.start()
        with locked(tmp_path):
            assert is_locked(tmp_path)
        timer.join()
