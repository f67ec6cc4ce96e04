"""What a study will cost, against sums done by hand and one job at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glidepath.study.averages import average_specs
from glidepath.study.budget import ANALYSIS_SECONDS, Budget, budget
from glidepath.study.budget_words import described
from glidepath.study.cells import flops_per_token, param_counts
from glidepath.study.config import read_study
from glidepath.study.figure_list import figures_of
from glidepath.study.positions import position_specs
from glidepath.study.segments import Plan, Segment, plan
from glidepath.study.speed import Conditions, Speed, needs_gpu, workloads
from tests.study.studies import CORPUS_ID, GOOD, VOCAB_SIZE, planned, study

ROOT = Path(__file__).parents[2]
ONE = {**GOOD["grid"][0], "peak_lrs": [0.01], "tokens_per_parameter": [20]}
QUIET = (("averaging", None), ("noise_scale", None))
TWO_CORES = Conditions(cores=2, threads=1, warm=True, gpu=False)
SPEED = Speed(
    device="cpu",
    update_seconds=1.0,
    probed_update_seconds=3.0,
    evaluation_token_seconds=1e-3,
    save_seconds=10.0,
    job_seconds=100.0,
)


def speeds(plan: Plan, conditions: Conditions = TWO_CORES, speed: Speed = SPEED) -> dict[str, Speed]:
    """The same speed for everything."""
    return {w.digest: speed for several in workloads(plan, conditions).values() for w in several}


def budget_of(*changes: tuple[str, Any], conditions: Conditions = TWO_CORES) -> Budget:
    plan = planned(*changes)
    return budget(study(*changes), plan, conditions, speeds(plan, conditions), ROOT)


def stage(found: Budget, name: str) -> Any:
    return next(stage for stage in found.stages if stage.stage == name)


def test_flops_by_hand() -> None:
    """Constant and wsd share 211 of their 264 updates of 256 tokens; linear decay stands alone."""
    changes = (("grid", [ONE]), *QUIET)
    train = stage(budget_of(*changes), "train")
    flops = flops_per_token(planned().cells[0].trajectory.model)
    shared = sum(s.spec.stop - s.spec.start for s in planned(*changes).segments.values())
    assert 211 + 53 + 53 + 264 - 3 <= shared <= 211 + 53 + 53 + 264
    assert (train.cells, train.jobs, train.tokens) == (3, 4, shared * 256)
    assert train.train_flops_exact == pytest.approx(shared * 256 * flops)
    assert train.unshared_train_flops_exact == pytest.approx(3 * 264 * 256 * flops)
    assert train.sharing_factor == pytest.approx(3 * 264 / shared)


def test_nothing_shared_saves_nothing() -> None:
    alone = {**ONE, "schedules": ["linear_0"]}
    found = budget_of(("grid", [alone]), ("analysis.reference_schedule", "linear_0"), *QUIET)
    assert found.total.sharing_factor == 1.0
    assert found.total.unshared_core_seconds == found.total.core_seconds
    assert "1.00 times as much; sharing saves 0 s on 2 cores" in described(found)


def test_own_files_are_weighed(tmp_path: Path) -> None:
    """30 MB to read take a second of one process, 8 MB to encode 2 s of two."""
    (tmp_path / "a.txt").write_bytes(b"x" * 20_000_000)
    (tmp_path / "b.txt").write_bytes(b"x" * 10_000_000)
    own = ("corpus.domains.0.source", {"kind": "files", "paths": ["*.txt"]})
    one = ("corpus.domains", [{**GOOD["corpus"]["domains"][0], "source": own[1], "max_bytes": 8_000_000}])
    found = budget(study(one), planned(one), TWO_CORES, {}, tmp_path)
    tokenize = stage(found, "tokenize")
    assert tokenize.wall_seconds == pytest.approx(1.0 + 2.0)
    assert tokenize.core_seconds == pytest.approx(1.0 + 4.0)
    assert tokenize.disk_bytes == pytest.approx(0.9 * 8e6)


def test_snapshots_take_disk() -> None:
    n_bytes = 4 * param_counts(planned().cells[0].trajectory.model).n_params_total
    quiet, kept = (stage(budget_of(("grid", [ONE]), *more), "train") for more in (QUIET, ()))
    assert quiet.disk_bytes == 4 * 3 * n_bytes
    snapshots = sum(len(s.spec.recording.snapshot_at) for s in planned(("grid", [ONE])).segments.values())
    assert kept.disk_bytes - 3 * kept.jobs * n_bytes == snapshots * n_bytes > 20 * n_bytes


def seconds_one_by_one(segment: Segment) -> float:
    """The time of a job with `SPEED`, counted event by event."""
    spec, total = segment.spec, 0.0
    for updates_done in range(spec.start + 1, spec.stop + 1):
        total += 3.0 if (every := spec.recording.probe_every) and updates_done % every == 0 else 1.0
        if updates_done in spec.recording.evaluate_full_at:
            total += 1e-3 * (16_384 + 4096)
        elif updates_done in spec.recording.evaluate_subset_at:
            total += 1e-3 * 64 * spec.recording.subset_blocks
    saves = 1 + len(spec.recording.snapshot_at) + int(total // 60)
    return total + 10.0 * saves + 100.0


def test_losses_by_position_are_jobs_on_snapshots() -> None:
    """Each evaluates its points on the 16,384 tokens of the first domain."""
    temporal = ("temporal", {"schedules": ["constant"]})
    without, found = stage(budget_of(), "average"), stage(budget_of(temporal), "average")
    specs = position_specs(planned(temporal), study(temporal)).values()
    points = sum(len(spec.evaluate_at) for spec in specs)
    assert found.jobs == without.jobs + len(specs)
    assert found.core_seconds - without.core_seconds == pytest.approx(points * 16_384 * 1e-3 + len(specs) * 100.0)


def test_times_against_a_count_event_by_event() -> None:
    plan = planned()
    found = budget_of()
    seconds = {name: seconds_one_by_one(segment) for name, segment in plan.segments.items()}
    train, average, analysis = (stage(found, name) for name in ("train", "average", "analysis"))
    assert train.core_seconds == pytest.approx(sum(seconds.values()))
    assert train.wall_seconds == pytest.approx(sum(seconds.values()) / 2)
    alone = sum(seconds[name] for chain in plan.chains.values() for name in chain)
    assert train.unshared_core_seconds == pytest.approx(alone)
    averages = average_specs(plan, study().averaging)
    points = sum(len(spec.evaluate_at) for spec in averages.values())
    assert average.jobs == len(averages) == 8
    # Eight averages and the raw weights, on both domains.
    assert average.core_seconds == pytest.approx(points * 9 * (16_384 + 4096) * 1e-3 + 8 * 100.0)
    several = {"fit": len(study().analysis.laws), "figure": len(figures_of(study())), "spike-removal": 0}
    several["collect-positions"] = 0
    jobs = sum(several.get(name, 1) * s for name, s in ANALYSIS_SECONDS.items())
    of_curves = 12 * (0.03 + 0.12 + 0.08)
    assert analysis.core_seconds == pytest.approx(jobs + 12 * 0.02 + several["fit"] * 1000 * 1e-3 + of_curves)
    assert analysis.jobs == sum(several.get(name, 1) for name in ANALYSIS_SECONDS)
    assert found.total.core_seconds == sum(s.core_seconds for s in found.stages)


CHECK = ("coordinate_check", {"model": "d16", "widths": [16, 32], "depths": [], "peak_lr": 0.01, "batch_sequences": 2,
                              "record_after": [3], "replicates": [0, 1], "parametrizations": ["mup"]})  # fmt: skip


def test_the_coordinate_check_is_predicted_from_flops() -> None:
    """Two models, twice: 3 updates of 2 sequences and two measurements of 8, which take two forward passes of three.
    What trains 4 sequences of d16 in 1 s trains the FLOPs of d32 at the same rate."""
    found = stage(budget_of(CHECK), "coordinate_check")
    small = planned().cells[0].trajectory.model
    wide = small.model_copy(update={"d_model": 32, "n_head": 4, "d_ff": 2 * small.d_ff})
    ratio = flops_per_token(wide) / flops_per_token(small)
    seconds = 2 * (6 + 2 * 8 * 2 / 3) / 4 * (1 + ratio)
    assert (found.jobs, found.core_seconds) == (1, pytest.approx(seconds + 100.0))
    assert budget_of(CHECK).total.core_seconds == sum(s.core_seconds for s in budget_of(CHECK).stages)
    assert (stage(budget_of(), "coordinate_check").jobs, stage(budget_of(), "coordinate_check").core_seconds) == (0, 0)


def test_a_model_of_the_check_runs_at_the_rate_of_the_nearest_width() -> None:
    """d32 itself is measured, at 7 s: a deep d16 of more FLOPs does not matter."""
    deep, wide = ({**GOOD["models"]["d16"], **change} for change in ({"depth": 16}, {"width": 32}))
    changes = (("models", {"d16": GOOD["models"]["d16"], "deep": deep, "wide": wide}),
               ("grid.0.models", ["d16", "deep", "wide"]), CHECK)  # fmt: skip
    plan = planned(*changes)
    taken = {"d16": 1.0, "deep": 1000.0, "wide": 7.0}
    names = {cell.trajectory.model: cell.model_name for cell in plan.cells}
    known = {
        w.digest: SPEED.model_copy(update={"update_seconds": taken[names[w.model]]})
        for several in workloads(plan, TWO_CORES).values()
        for w in several
    }
    found = stage(budget(study(*changes), plan, TWO_CORES, known, ROOT), "coordinate_check")
    assert found.core_seconds == pytest.approx(2 * (6 + 2 * 8 * 2 / 3) / 4 * (1.0 + 7.0) + 100.0)
    assert stage(budget(study(*changes), plan, TWO_CORES, {}, ROOT), "coordinate_check").core_seconds is None


def test_many_cores_wait_for_the_longest_chain() -> None:
    plan = planned()
    many = Conditions(cores=1000, threads=1, warm=True, gpu=False)
    longest = max(
        sum(seconds_one_by_one(plan.segments[name]) for name in plan.chains[cell.cell_id]) for cell in plan.cells
    )
    assert stage(budget_of(conditions=many), "train").wall_seconds == pytest.approx(longest)


def test_threads_are_cores_held() -> None:
    two = Conditions(cores=4, threads=2, warm=True, gpu=False)
    train = stage(budget_of(conditions=two), "train")
    assert train.core_seconds == pytest.approx(2 * stage(budget_of(), "train").core_seconds)
    assert train.wall_seconds == pytest.approx(stage(budget_of(), "train").wall_seconds)


def test_jobs_of_a_gpu_take_their_share_of_it() -> None:
    large = ("models.d16", {"depth": 8, "width": 512, "head_width": 64, "context_length": 64})
    fewer = ("grid.0.tokens_per_parameter", [0.002])
    plan = planned(large, fewer, *QUIET)
    assert all(needs_gpu(segment.n_params) for segment in plan.segments.values())
    conditions = Conditions(cores=16, threads=1, warm=True, gpu=True)
    (workload,) = next(iter(workloads(plan, conditions).values()))
    assert (workload.gpu_share, workload.processes) == (50, 2)
    train = stage(budget_of(large, fewer, *QUIET, conditions=conditions), "train")
    assert train.wall_seconds == pytest.approx(train.core_seconds / 2)


def test_between_measured_batches_time_is_interpolated() -> None:
    grid = {**ONE, "schedules": ["constant"], "batch_sequences": [2, 4, 6, 8]}
    changes = (("grid", [grid]), ("target.batch_sequences", 4), *QUIET)
    plan = planned(*changes)
    (several,) = workloads(plan, TWO_CORES).values()
    measured = [w.batch_sequences for w in several]
    assert measured == [2, 6, 8] or measured == [2, 4, 8]
    # An update takes 1 s + 0.5 s per sequence; a straight line is met whichever batches were measured.
    known = {w.digest: SPEED.model_copy(update={"update_seconds": 1 + 0.5 * w.batch_sequences}) for w in several}
    core_seconds = stage(budget(study(*changes), plan, TWO_CORES, known, ROOT), "train").core_seconds
    expected = sum(
        seconds_one_by_one(s) + (s.spec.stop - s.spec.start) * 0.5 * int(s.tokens / (s.spec.stop - s.spec.start) / 64)
        for s in plan.segments.values()
    )
    # Longer jobs save their state more often.
    assert core_seconds == pytest.approx(expected, rel=0.1)
    assert core_seconds > expected


def test_what_is_not_measured_is_not_guessed() -> None:
    models = {"d16": GOOD["models"]["d16"], "d24": {**GOOD["models"]["d16"], "width": 24}}
    changes = (("models", models), ("grid.0.models", ["d16", "d24"]))
    plan = planned(*changes)
    small = {key: s for key, s in speeds(plan).items() if key in speeds(planned())}
    found = budget(study(*changes), plan, TWO_CORES, small, ROOT)
    assert found.unmeasured == ("d24",)
    assert (found.total.core_seconds, stage(found, "train").wall_seconds) == (None, None)
    text = described(found)
    assert "The speed of d24 on this machine is not known." in text
    assert text.splitlines()[-1].split()[:4] == [
        "total",
        "24",
        f"{found.total.jobs}",
        f"{found.total.train_flops_exact:.3g}",
    ]
    assert "> " in text.splitlines()[-1]
    assert "not known" in text


def test_sharing_on_four_horizons_three_cooldowns_three_shapes() -> None:
    """36 cells of horizons T, 2T, 4T, 8T. Alone: 9·15 T = 135 T. Shared: 3·(0.1 + 0.2 + 0.4)·15 T = 31.5 T of cooldowns
    and a trunk of 0.9·8 T = 7.2 T, together 38.7 T: 3.49 times less."""
    sharing = read_study(ROOT / "config/sharing.yaml")
    found = plan(sharing, CORPUS_ID, VOCAB_SIZE)
    cost = budget(sharing, found, TWO_CORES, {}, ROOT)
    assert len(found.cells) == 36
    assert cost.total.sharing_factor == pytest.approx(135 / 38.7, rel=0.01)
    assert cost.total.train_flops_exact <= cost.total.unshared_train_flops_exact / 3
    assert f"{cost.total.sharing_factor:.2f} times as much" in described(cost)
