"""The planner: cells to a forest of segments.

Cells share every prefix on which their paths are written alike, and so agree bit for bit. Two recipes may give equal
arrays for a while, as a warm-up to p over W updates and one to 2p over 2W do; that is not sharing, because a segment's
name and its parent's are made of recipes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from glidepath.science import schedules
from glidepath.science.smoothing import MIN_PROBES
from glidepath.study.averaging_config import AveragingConfig
from glidepath.study.cells import Cell, cells, flops_per_token, trunk_key
from glidepath.study.config import EvaluationConfig, NoiseScaleConfig, StudyConfig
from glidepath.study.section import StudyError
from glidepath.study.specs import PathSpec, Recording, SegmentSpec

MIN_SHARED_UPDATES = 32
"""A shared prefix shorter than this is trained by each cell anew: a job costs more than these updates. It
keeps a schedule that decays from the end of the warm-up in one piece."""


MAX_SPEC_PIECES = 900
"""Linux takes 128 KiB in one argument; a piece is at most about 130 characters of it."""


@dataclass(frozen=True)
class Segment:
    """What one training job does, and where its files are."""

    spec: SegmentSpec
    parent: str | None
    """Segment whose end state it starts from; None is initialisation."""
    cell_ids: tuple[str, ...]
    """Cells whose chain runs through it."""
    n_params: int

    @cached_property
    def segment_id(self) -> str:
        spec = self.spec
        return f"{_readable(spec, self.n_params)}-u{spec.start}-{spec.stop}-{spec.digest}"

    @cached_property
    def tokens(self) -> int:
        """Training tokens of this segment."""
        batches = schedules.batches(self.spec.trajectory.path.batch_sequences)
        return int(batches[self.spec.start :].sum()) * self.spec.trajectory.model.context_length

    @property
    def train_flops_exact(self) -> float:
        return self.tokens * flops_per_token(self.spec.trajectory.model)


@dataclass(frozen=True)
class Plan:
    """Cells, the segments that train them, and each cell's chain of segments from update 0 to its end."""

    cells: tuple[Cell, ...]
    segments: dict[str, Segment]
    chains: dict[str, tuple[str, ...]]

    def own_steps(self, cell: Cell) -> int:
        """Updates of the cell that no other cell shares."""
        own = [self.segments[name] for name in self.chains[cell.cell_id] if len(self.segments[name].cell_ids) == 1]
        return sum(segment.spec.stop - segment.spec.start for segment in own)


def plan(study: StudyConfig, corpus_id: str, vocab_size: int) -> Plan:
    """Cells and segments of a study; pure and fast, since it runs whenever the Snakefile is parsed.

    Raises StudyError for what cannot be planned.
    """
    all_cells = cells(study, corpus_id, vocab_size)
    if study.noise_scale:
        _check_probes(study.noise_scale, all_cells)
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in all_cells:
        groups[trunk_key(cell)].append(cell)
    segments: dict[str, Segment] = {}
    chains: dict[str, list[str]] = defaultdict(list)
    for group in groups.values():
        walks = [_walk(cell) for cell in group]
        for walked, start, stop in _branches(walks, study.segments.max_updates):
            segment = _segment(study, [walk.cell for walk in walked], start, stop, walked[0].parent)
            # Branches that part too early to share can still be cut, by max_updates, into segments that are one.
            known = segments.get(segment.segment_id)
            segments[segment.segment_id] = (
                replace(segment, cell_ids=(*known.cell_ids, *segment.cell_ids)) if known else segment
            )
            for walk in walked:
                walk.parent = segment.segment_id
                chains[walk.cell.cell_id].append(segment.segment_id)
    for segment in segments.values():
        _check_size(segment)
    return Plan(all_cells, segments, {cell.cell_id: tuple(chains[cell.cell_id]) for cell in all_cells})


def _check_probes(config: NoiseScaleConfig, all_cells: Sequence[Cell]) -> None:
    """Raises StudyError for a probed cell without enough usable probes of all layers, and if every probed cell has a
    batch of one sequence, which has no usable probe at any distance."""
    compared = False
    for cell in (cell for cell in all_cells if cell.probed):
        batches = schedules.batches(cell.trajectory.path.batch_sequences)
        if batches.max() == 1:
            continue
        compared = True
        usable = int((batches[config.every_updates - 1 :: config.every_updates] > 1).sum())
        if usable < MIN_PROBES:
            raise StudyError(
                f"noise_scale.every_updates {config.every_updates}: {cell.cell_id} has {len(batches)} updates, and "
                f"all layers are probed at {usable} of them with a batch of two sequences or more; a noise scale needs "
                f"{MIN_PROBES}. Lower it, lengthen the cell, or remove its schedule {cell.schedule_name} from "
                "noise_scale.schedules"
            )
    if not compared:
        raise StudyError(
            f"noise_scale.schedules {', '.join(config.schedules)}: all their cells have a batch of one sequence, and "
            "the noise scale compares one sequence with a batch of several. Add a value to batch_sequences, or remove "
            "noise_scale"
        )


def _check_size(segment: Segment) -> None:
    """Raises StudyError if a job's command line cannot hold its specification."""
    path = segment.spec.trajectory.path
    pieces = sum(map(len, (path.batch_sequences, path.lr, path.weight_decay, path.adam_beta1, path.adam_beta2)))
    if pieces > MAX_SPEC_PIECES:
        raise StudyError(
            f"the path of {segment.cell_ids[0]} is written in {pieces} pieces, more than the {MAX_SPEC_PIECES} that a "
            "job's command line holds. Raise batch.multiple_of, or lower refreshes or the number of points."
        )


@dataclass
class _Walk:
    """A cell on its way through the forest and the last segment on its way."""

    cell: Cell
    positions: schedules.Positions
    parent: str | None = None

    @property
    def path(self) -> PathSpec:
        return self.cell.trajectory.path

    @property
    def length(self) -> int:
        return self.cell.total_steps


def _walk(cell: Cell) -> _Walk:
    return _Walk(cell, schedules.positions(schedules.batches(cell.trajectory.path.batch_sequences)))


def _branches(walks: list[_Walk], max_updates: int | None) -> Iterator[tuple[list[_Walk], int, int]]:
    """Segments of walks through one forest, parents first: who walks them, start and stop.

    They also end at the multiples of `max_updates`, wherever they begin, so that another branch moves no cut.
    """
    waiting = [(walks, 0)]
    while waiting:
        # These walks agree so far; their open segment began at `start`.
        walks, start = waiting.pop()
        first, *others = walks
        stop = min([first.length, *(_agreement(first, other) for other in others)])
        ends = any(walk.length == stop for walk in walks)
        cuts = range(max_updates * (start // max_updates + 1), stop, max_updates) if max_updates else range(0)
        edges = [start, *cuts]
        if ends or len(walks) == 1 or stop - start >= MIN_SHARED_UPDATES:
            edges.append(stop)
        for begin, end in pairwise(edges):
            yield walks, begin, end
        start = edges[-1]
        onwards: dict[Hashable, list[_Walk]] = defaultdict(list)
        for walk in walks:
            if walk.length > stop:
                onwards[_recipe(walk, stop + 1)].append(walk)
        waiting.extend((branch, start) for branch in reversed(onwards.values()))


def _agreement(a: _Walk, b: _Walk) -> int:
    """Updates up to which two walks are written alike."""
    updates = schedules.common_batches(a.path.batch_sequences, b.path.batch_sequences)
    alike = min(int(a.positions[updates]), *(schedules.common(x, y) for x, y in zip(_paths(a), _paths(b), strict=True)))
    return int(np.searchsorted(a.positions, alike, side="right")) - 1


def _recipe(walk: _Walk, stop: int) -> Hashable:
    """How the first updates of a walk are written."""
    sequences = int(walk.positions[stop])
    clipped = tuple(schedules.clip(path, sequences) for path in _paths(walk))
    return (schedules.clip_batches(walk.path.batch_sequences, stop), *clipped)


def _paths(walk: _Walk) -> tuple[schedules.Path, ...]:
    path = walk.path
    return path.lr, path.weight_decay, path.adam_beta1, path.adam_beta2


def _segment(study: StudyConfig, through: Sequence[Cell], start: int, stop: int, parent: str | None) -> Segment:
    cell = through[0]  # Any of them: what they share they write alike.
    ends_here = any(c.total_steps == stop for c in through)
    curve = _evaluation_grid(study.evaluation, stop)
    probes = study.noise_scale if any(c.probed for c in through) else None
    recording = Recording(
        norms_every=study.logging.every_updates,
        evaluate_subset_at=_within({*curve, *([stop] if ends_here else ())}, start, stop),
        evaluate_full_at=(stop,) if ends_here else (),
        snapshot_at=_snapshots(study.averaging, through, start, stop),
        probe_every=probes.every_updates if probes else 0,
        probe_norm_layers_every=(probes.norm_layers_every_updates or 0) if probes else 0,
        subset_blocks=study.evaluation.subset_tokens // cell.trajectory.model.context_length,
    )
    spec = SegmentSpec(trajectory=cell.trajectory.clip(stop), start=start, recording=recording)
    return Segment(spec, parent, tuple(c.cell_id for c in through), cell.counts.n_params_non_embedding)


def _snapshots(averaging: AveragingConfig | None, through: Sequence[Cell], start: int, stop: int) -> tuple[int, ...]:
    """The grid common to all cells, and the end: of a cell, or where others branch off."""
    if averaging is None or not any(cell.averaged for cell in through):
        return ()
    return _within({*averaging.snapshots.updates(stop), stop}, start, stop)


def _within(updates: Iterable[int], start: int, stop: int) -> tuple[int, ...]:
    """Those after which a segment can record something, ascending."""
    return tuple(sorted(update for update in updates if start < update <= stop))


def _evaluation_grid(evaluation: EvaluationConfig, stop: int) -> list[int]:
    """Geometric grid of updates, the same for every cell, so that another horizon moves no evaluation."""
    grid: list[int] = []
    i = 0
    while (update := round(evaluation.first_update * 2 ** (i / evaluation.points_per_octave))) <= stop:
        grid.append(update)
        i += 1
    return grid


def _readable(spec: SegmentSpec, n_params: int) -> str:
    """For people only; nothing is parsed back out of it."""
    path = spec.trajectory.path.lr
    size = f"n{n_params / 1e6:.3g}m" if n_params >= 1e6 else f"n{n_params / 1e3:.3g}k"
    peak = max(piece.start_value if piece.shape != "warmup" else piece.end_value for piece in path)
    return f"{size}-{path[-1].shape}-lr{peak:g}-r{spec.trajectory.init_seed}"
