"""The way back: whatever happens to what a killed job left, the numbers are those of a job that ran through."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from glidepath.training.loop import SegmentResult
from glidepath.training.recorder import Recorder
from glidepath.training.resume import Progress, load_progress, previous_path, progress_path, save_progress
from glidepath.training.snapshots import part_path, parts_in
from glidepath.training.tensor_files import DamagedFileError, verify
from tests.training.small import assert_same_tables, segment_spec, train

SPEC = segment_spec(
    stop=12, norms_every=1, evaluate_subset_at=(3, 8), evaluate_full_at=(5, 12), snapshot_at=(2, 4, 9, 12),
    probe_every=5, probe_norm_layers_every=2,
)  # fmt: skip
DIED_AT = 8
"""The job of these tests dies when it has logged this update: the last progress is of the one before."""


class Died(BaseException):
    """The end of a job, with all its files as they are."""


def die_at(at: int) -> Callable[[int], None]:
    def progress(updates_done: int) -> None:
        if updates_done == at:
            raise Died

    return progress


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SegmentResult]:
    folder = tmp_path_factory.mktemp("untouched")
    return folder, train(SPEC, folder)


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a job that saved after every update left."""
    folder = tmp_path_factory.mktemp("dead")
    with pytest.raises(Died):
        train(SPEC, folder, resume_every_seconds=0.0, progress=die_at(DIED_AT))
    return folder / "scratch"


@pytest.fixture
def job(tmp_path: Path, dead: Path) -> Path:
    shutil.copytree(dead, tmp_path / "scratch")
    return tmp_path


def assert_ends_like(untouched: tuple[Path, SegmentResult], folder: Path) -> int:
    """Run the job in `folder` to its end, compare all it made, and return the first update that it trained."""
    trained: list[int] = []
    assert_same_tables(train(SPEC, folder, progress=trained.append), untouched[1])
    for name in ("state.safetensors", "snapshots.safetensors"):
        assert (folder / name).read_bytes() == (untouched[0] / name).read_bytes(), name
    return trained[0]


def updates_in(path: Path) -> int:
    position: dict[str, int] = json.loads(verify(path, "")["position"])
    return position["updates_done"]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# -- what is left of progress


def test_the_progress_before_is_kept(dead: Path) -> None:
    assert updates_in(progress_path(dead)) == DIED_AT - 1
    assert updates_in(previous_path(dead)) == DIED_AT - 2
    assert sorted(path.name for path in dead.iterdir()) == [
        "lock", "progress-previous.safetensors", "progress.safetensors",
        "snapshot-00000002.safetensors", "snapshot-00000004.safetensors",
    ]  # fmt: skip


def test_the_newest_whole_one_counts(
    untouched: tuple[Path, SegmentResult], job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert assert_ends_like(untouched, job) == DIED_AT
    assert capsys.readouterr().err == ""


def test_a_damaged_one_gives_way_to_the_one_before(
    untouched: tuple[Path, SegmentResult], job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = progress_path(job / "scratch")
    damage(newest)
    assert assert_ends_like(untouched, job) == DIED_AT - 1
    assert capsys.readouterr().err == (
        f"{newest} is damaged (its content does not match its checksum): it is removed; what was trained since the "
        "progress before it is trained again\n"
    )


def test_a_damaged_one_never_takes_the_place_of_a_whole_one(untouched: tuple[Path, SegmentResult], job: Path) -> None:
    """The next life saves once and is killed before the new file has its name."""
    scratch = job / "scratch"
    damage(progress_path(scratch))
    with pytest.raises(Died):
        train(SPEC, job, resume_every_seconds=0.0, progress=die_at(DIED_AT))
    progress_path(scratch).unlink()
    assert updates_in(previous_path(scratch)) == DIED_AT - 2
    assert assert_ends_like(untouched, job) == DIED_AT - 1


def test_a_kill_between_the_two_renames_loses_one_save(untouched: tuple[Path, SegmentResult], job: Path) -> None:
    progress_path(job / "scratch").rename(job / "scratch/.progress.safetensors.tmp")
    assert assert_ends_like(untouched, job) == DIED_AT - 1
    assert not (job / "scratch/.progress.safetensors.tmp").exists()


def test_of_two_damaged_ones_nothing_is_left_but_the_beginning(
    untouched: tuple[Path, SegmentResult], job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (progress_path(job / "scratch"), previous_path(job / "scratch")):
        damage(path)
    assert assert_ends_like(untouched, job) == 1
    assert capsys.readouterr().err.count("is damaged") == 2


@pytest.mark.parametrize(("part", "first"), [(2, 1), (4, 1)])
@pytest.mark.parametrize("how", ["damaged", "missing", "another"])
def test_progress_without_its_snapshots_does_not_count(
    untouched: tuple[Path, SegmentResult], job: Path, part: int, first: int, how: str
) -> None:
    """Both files of progress count on both snapshots."""
    path = part_path(job / "scratch", part)
    if how == "damaged":
        damage(path)
    elif how == "missing":
        path.unlink()
    else:
        shutil.copyfile(part_path(job / "scratch", 6 - part), path)
    assert assert_ends_like(untouched, job) == first


def test_a_snapshot_that_progress_does_not_count_on_yet_may_be_damaged(
    untouched: tuple[Path, SegmentResult], tmp_path: Path
) -> None:
    """Killed after the snapshot of update 9, before the progress of update 9 was saved; then the disk fails."""
    with pytest.raises(Died):
        train(SPEC, tmp_path, resume_every_seconds=0.0, progress=die_at(9))
    shutil.copyfile(part_path(tmp_path / "scratch", 4), part_path(tmp_path / "scratch", 9))
    damage(part_path(tmp_path / "scratch", 9))
    assert assert_ends_like(untouched, tmp_path) == 9


def test_a_snapshot_damaged_while_the_job_runs_sends_the_next_run_back(
    untouched: tuple[Path, SegmentResult], tmp_path: Path
) -> None:
    def spoil(updates_done: int) -> None:
        if updates_done == 12:
            damage(part_path(tmp_path / "scratch", 4))

    with pytest.raises(DamagedFileError, match=r"snapshot-00000004.* run again; training goes back to before it"):
        train(SPEC, tmp_path, resume_every_seconds=0.0, progress=spoil)
    assert not (tmp_path / "state.safetensors").exists()
    assert assert_ends_like(untouched, tmp_path) == 1


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_is_noticed_or_harmless(
    untouched: tuple[Path, SegmentResult], job: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One to three files of scratch get a wrong bit, wrong bytes, a wrong end, or lose their end."""
    chance = random.Random(seed)
    files = sorted(path for path in (job / "scratch").iterdir())
    hit = chance.sample(files, chance.randint(1, 3))
    for path in hit:
        content = bytearray(path.read_bytes())
        at = chance.randrange(len(content))
        match chance.randrange(4):
            case 0:
                content[at] ^= 1 << chance.randrange(8)
            case 1:
                content[at : at + 16] = chance.randbytes(16)
            case 2:
                content += chance.randbytes(chance.randint(1, 100))
            case _:
                del content[at:]
        path.write_bytes(content)
    first = assert_ends_like(untouched, job)
    harmless = {job / "scratch/lock"} | ({previous_path(job / "scratch")} if first == DIED_AT else set())
    assert (capsys.readouterr().err == "") == (set(hit) <= harmless), f"seed {seed}: {[path.name for path in hit]}"


# -- no room


UNLIMITED = resource.getrlimit(resource.RLIMIT_FSIZE)


def limit_file_size(n_bytes: int = UNLIMITED[0]) -> None:
    """As if the disk were full for any file beyond that size; without a size there is room again."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, UNLIMITED[1]))


@pytest.fixture(autouse=True)
def _room() -> Iterator[None]:
    yield
    limit_file_size()


def test_a_full_disk_costs_progress_but_no_training(
    untouched: tuple[Path, SegmentResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From update 6 to 8 nothing can be saved; the job dies at 8 and continues from 5."""
    scratch = tmp_path / "scratch"

    def progress(updates_done: int) -> None:
        if updates_done == 6:
            limit_file_size(1000)
        if updates_done == 8:
            raise Died

    with pytest.raises(Died):
        train(SPEC, tmp_path, resume_every_seconds=0.0, progress=progress)
    limit_file_size()
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" could ")[0] for line in said] == ["progress after 6 updates", "progress after 7 updates"]
    assert f"no room for {progress_path(scratch)}" in said[0]
    assert said[0].endswith("training goes on, and if it is ended it will continue from what was saved before")
    assert [updates_in(path) for path in (progress_path(scratch), previous_path(scratch))] == [5, 4]
    assert not list(scratch.glob(".*"))
    assert assert_ends_like(untouched, tmp_path) == 6


def test_a_job_that_finds_room_again_in_time_ends_as_if_nothing_had_been(
    untouched: tuple[Path, SegmentResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def progress(updates_done: int) -> None:
        if updates_done == 6:
            limit_file_size(1000)
        if updates_done == 8:
            limit_file_size()

    result = train(SPEC, tmp_path, resume_every_seconds=0.0, progress=progress)
    assert_same_tables(result, untouched[1])
    assert capsys.readouterr().err.count("could not be saved") == 2


@pytest.mark.parametrize(("full_from", "name"), [(9, "snapshot-00000009"), (12, "snapshot-00000012"), (10, "snapshot")])
def test_no_room_for_a_snapshot_fails_the_job_and_the_next_continues(
    untouched: tuple[Path, SegmentResult], tmp_path: Path, full_from: int, name: str
) -> None:
    def progress(updates_done: int) -> None:
        if updates_done == full_from:
            limit_file_size(1000)

    with pytest.raises(OSError, match=rf"no room for .*{name}.*; make room and run again, which continues"):
        train(SPEC, tmp_path, resume_every_seconds=0.0, progress=progress)
    limit_file_size()
    assert not list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob(".*"))
    assert assert_ends_like(untouched, tmp_path) == full_from


def test_no_room_for_the_end_state_fails_the_job_and_the_next_continues(tmp_path: Path) -> None:
    spec = segment_spec()
    expected = train(spec, tmp_path / "untouched")

    def progress(updates_done: int) -> None:
        if updates_done == 12:
            limit_file_size(1000)

    with pytest.raises(OSError, match=rf"no room for {tmp_path}/job/state.safetensors; make room and run again"):
        train(spec, tmp_path / "job", resume_every_seconds=0.0, progress=progress)
    limit_file_size()
    trained: list[int] = []
    assert_same_tables(train(spec, tmp_path / "job", progress=trained.append), expected)
    assert trained == [12]


def test_a_really_full_disk_fails_the_job_and_with_room_it_continues(tmp_path: Path) -> None:
    """In a file system of its own, mounted for the test where that is allowed."""
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=1m tmpfs /mnt"
    if subprocess.run([*mounted, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    code = """
        import sys
        from pathlib import Path
        from tests.training.small import assert_same_tables, train
        from tests.training.test_resume import SPEC

        disk, ballast, trained = Path("/mnt"), Path("/mnt/ballast"), []

        def fill(updates_done):
            trained.append(updates_done)
            if updates_done == 7:
                try:
                    ballast.write_bytes(bytes(1 << 21))
                except OSError:
                    pass  # What fitted has filled the disk.

        expected = train(SPEC, Path(sys.argv[1]))
        try:
            train(SPEC, disk, resume_every_seconds=0.0, progress=fill)
        except OSError as error:
            print(error)
        ballast.unlink()
        failed_at = trained.pop()
        trained.clear()
        assert_same_tables(train(SPEC, disk, progress=trained.append), expected)
        assert (disk / "state.safetensors").read_bytes() == (Path(sys.argv[1]) / "state.safetensors").read_bytes()
        print(failed_at, trained[0])
    """
    done = subprocess.run(
        [*mounted, f'{mount} && exec "$@"', "sh", sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    message, updates = done.stdout.splitlines()
    assert "No space left on device: no room for /mnt/scratch/snapshot-00000009.safetensors" in message
    assert updates == "9 7"
    assert done.stderr.count("could not be saved") == 2


# -- killed while it saves


def test_kills_during_saves_never_lose_what_was_said_to_be_saved(tmp_path: Path) -> None:
    """A process saves progress after progress, says so, and is killed at a random instant, forty times.

    All tensors of a progress equal its number, so that a mixture of two would show.
    """
    seed = time.time_ns() % 1_000_000
    chance = random.Random(seed)
    tensors = {f"weights/{i}": torch.zeros(1000 * i) for i in (1, 5, 20)}
    done = 0
    for kill in range(40):
        heard, said = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _save_forever(tmp_path, tensors, done, said)
            finally:
                os._exit(1)
        os.close(said)
        os.read(heard, 8)
        time.sleep(chance.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = b""
        while more := os.read(heard, 1 << 16):
            acknowledged = (acknowledged + more)[-8:]
        os.close(heard)
        found = load_progress(tmp_path, "spec", tensors)
        assert found is not None, f"seed {seed}, kill {kill}"
        last = int.from_bytes(acknowledged, "big") if acknowledged else done + 1
        # The one that was being saved may have made it, without having been able to say so.
        assert found.updates_done in (last, last + 1), f"seed {seed}, kill {kill}"
        for tensor in tensors.values():
            assert bool((tensor == found.updates_done).all()), f"seed {seed}, kill {kill}"
        assert found.recorder.block_losses()["loss"].tolist() == [found.updates_done]
        done = found.updates_done
    assert done > 40


def _save_forever(scratch: Path, tensors: dict[str, torch.Tensor], done: int, said: int) -> None:
    while True:
        done += 1
        for tensor in tensors.values():
            tensor.fill_(done)
        recorder = Recorder()
        recorder.add_block_losses(done, "counting", np.array([done], dtype=np.float32))
        save_progress(scratch, "spec", Progress(done, 1.0, recorder, {}, 0), tensors)
        os.write(said, done.to_bytes(8, "big"))


# -- what is no longer needed


def test_snapshots_of_a_life_that_is_not_continued_are_removed(dead: Path, tmp_path: Path) -> None:
    shutil.copytree(dead, tmp_path / "scratch")
    scratch = tmp_path / "scratch"
    shutil.copyfile(part_path(scratch, 4), part_path(scratch, 11))
    with safe_open(progress_path(scratch), framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith("weights/")]  # noqa: SIM118
        tensors = {name: torch.empty(file.get_tensor(name).shape) for name in names}
    assert load_progress(scratch, SPEC.digest, tensors) is not None
    assert list(parts_in(scratch)) == [2, 4]
    for path in (progress_path(scratch), previous_path(scratch)):
        path.unlink()
    assert load_progress(scratch, SPEC.digest, tensors) is None
    assert parts_in(scratch) == {}
