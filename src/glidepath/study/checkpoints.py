"""What the jobs over checkpoints trained elsewhere are: which checkpoints there are, and which averages of them.

Needed while a Snakefile is parsed: nothing is downloaded. Directories are known by sampled content, revisions of the
Hub by name.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glidepath.study.averages import AVERAGING_VERSION, History, snapshot_weights
from glidepath.study.averaging_config import RAW, EmulatedDecayScheme, Scheme, SwaScheme
from glidepath.study.checkpoint_config import (
    MOST_UPDATES,
    UPDATES,
    CheckpointsConfig,
    DirectoryCheckpoints,
    HubCheckpoints,
    Revision,
    TrajectoryConfig,
)
from glidepath.study.identity import canonical_json, digest, fingerprint
from glidepath.study.section import StudyError
from glidepath.study.specs import Spec

CONFIG = "config.json"
EVALUATED = "spec.json"
"""What was evaluated, beside the losses and written after them: the job's spec, and the parameters that there were."""
WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")


class CheckpointSpec(Spec):
    """One checkpoint: a revision of a repository, or a directory."""

    kind: Literal["huggingface", "directories"]
    repository: str | None
    revision: str | None
    path: str | None
    """Relative to the working directory."""
    content: str | None
    """Digest of sampled content of a directory."""

    @property
    def checkpoint_id(self) -> str:
        """Name of its record in the store: what a person knows it by, as far as a rule's names of files allow."""
        known = Path(self.path or "").name if self.repository is None else f"{self.repository}@{self.revision}"
        return f"{re.sub('[^A-Za-z0-9.@+_-]+', '--', known)[-100:]}-{digest(self.model_dump(mode='json'))}"


class CheckpointAverageSpec(Spec):
    """What decides the losses of one average at the points of one trajectory."""

    averaging_version: int
    corpus_id: str
    context_length: int
    checkpoints: tuple[tuple[int, str], ...]
    """Updates done and name of the record, ascending."""
    evaluate_at: tuple[int, ...]
    """Of these updates, the points."""
    average: str
    scheme: Scheme | None
    """None: the checkpoints themselves, under the name `raw`."""
    tokens_per_update: int
    n_params: int | None
    """None unless the scheme counts in tokens per parameter."""
    lr: float | None
    weight_decay: float | None
    """Both None unless the scheme emulates a decay."""

    def to_json(self) -> str:
        return canonical_json(self.model_dump(mode="json"))

    def points_shared_with(self, other: Mapping[str, Any]) -> set[int]:
        """Points at which another job, given by its plain data, has evaluated the same average of the same checkpoints:
        one with fewer or more checkpoints later on."""
        ours = self.model_dump(mode="json")
        if any(other.get(key) != value for key, value in ours.items() if key not in ("checkpoints", "evaluate_at")):
            return set()
        return {
            point
            for point in set(self.evaluate_at) & set(other["evaluate_at"])
            if [one for one in ours["checkpoints"] if one[0] <= point]
            == [one for one in other["checkpoints"] if one[0] <= point]
        }


@dataclass(frozen=True)
class PlannedTrajectory:
    """The checkpoints of one training and the jobs over them."""

    config: TrajectoryConfig
    checkpoints: dict[int, CheckpointSpec]
    """By updates done, ascending."""
    averages: dict[str, CheckpointAverageSpec]
    """By the name of their directory in the store, which says what is averaged and not in which trajectory: the raw
    weights first."""


def planned_trajectories(config: CheckpointsConfig, corpus_id: str, base: Path) -> dict[str, PlannedTrajectory]:
    """All trajectories by name; `base` is the directory that relative paths start from.

    Raises StudyError for a directory that is no checkpoint, fewer than two checkpoints, a scheme that is defined at no
    point, and where transformers is not installed.
    """
    if find_spec("transformers") is None:
        raise StudyError(
            "checkpoints need the package transformers, which is not installed: pip install 'glidepath[hf]', or run "
            "make setup"
        )
    found = {}
    for name, trajectory in config.trajectories.items():
        key = f"trajectories.{name}"
        checkpoints = _checkpoints(trajectory, f"{key}.source", base)
        if len(checkpoints) < 2:
            raise StudyError(
                f"{key}.source has checkpoints after {sorted(checkpoints)} updates only: an average needs at least "
                "two. Give more"
            )
        at = sorted(checkpoints)
        points = tuple(at[:: -config.points_every][::-1])
        history = history_of(trajectory, at[-1])
        specs = {}
        for average, scheme in {RAW: None, **config.schemes}.items():
            if scheme is not None:
                _check_defined(key, average, scheme, history, at, points)
            spec = CheckpointAverageSpec(
                averaging_version=AVERAGING_VERSION,
                corpus_id=corpus_id,
                context_length=config.context_length,
                checkpoints=tuple((updates, checkpoints[updates].checkpoint_id) for updates in at),
                evaluate_at=points,
                average=average,
                scheme=scheme,
                tokens_per_update=trajectory.tokens_per_update,
                n_params=trajectory.n_params if isinstance(scheme, SwaScheme) else None,
                lr=trajectory.lr if isinstance(scheme, EmulatedDecayScheme) else None,
                weight_decay=trajectory.weight_decay if isinstance(scheme, EmulatedDecayScheme) else None,
            )
            specs[f"{average}-{digest(spec.model_dump(mode='json'))}"] = spec
        found[name] = PlannedTrajectory(trajectory, {updates: checkpoints[updates] for updates in at}, specs)
    return found


def history_of(trajectory: TrajectoryConfig | CheckpointAverageSpec, updates: int) -> History:
    """The training as averages need to know it: equal batches, a constant learning rate."""
    return History(
        positions=np.arange(updates + 1, dtype=np.float64) * trajectory.tokens_per_update,
        lr=np.full(updates, trajectory.lr or 1.0),
        weight_decay=np.full(updates, trajectory.weight_decay or 0.0),
        n_params_counted=trajectory.n_params,
    )


def check_n_params(n_params: int, stored: int) -> None:
    """Raises ValueError for a count of parameters that is more than checkpoints hold."""
    if n_params > stored:
        raise ValueError(
            f"n_params {n_params:,} is more than the {stored:,} parameters that the checkpoints hold. Correct it"
        )


def record_path(checkpoint_id: str) -> str:
    """Where it is written down what files a checkpoint is made of."""
    return f"store/checkpoints/{checkpoint_id}.json"


def _check_defined(
    key: str, average: str, scheme: Scheme, history: History, at: list[int], points: tuple[int, ...]
) -> None:
    """Raises StudyError for a scheme without any point, from the last of which most can be averaged."""
    for point in reversed(points):
        if snapshot_weights(scheme, history, np.array(at[: at.index(point) + 1])) is not None:
            return
    raise StudyError(
        f"schemes.{average} ({canonical_json(scheme.model_dump(mode='json', exclude_none=True))}) averages fewer than "
        f"two checkpoints of {key} at each of its {len(points)} points, whose last is after {points[-1]} updates: it "
        "would have no loss. Change the scheme or give more checkpoints"
    )


def _checkpoints(trajectory: TrajectoryConfig, key: str, base: Path) -> dict[int, CheckpointSpec]:
    match trajectory.source:
        case HubCheckpoints() as source:
            return {
                entry.updates: CheckpointSpec(
                    kind=source.kind, repository=source.repository, revision=entry.revision, path=None, content=None
                )
                for entry in _revisions(source)
            }
        case DirectoryCheckpoints() as source:
            return {
                updates: CheckpointSpec(
                    kind=source.kind, repository=None, revision=None, path=path, content=_content(key, base, path)
                )
                for updates, path in _directories(source, key, base).items()
            }


def _revisions(source: HubCheckpoints) -> tuple[Revision, ...]:
    if source.revisions is None:
        return source.listed
    span = source.revisions
    return tuple(
        Revision(revision=span.template.replace(UPDATES, str(updates)), updates=updates)
        for updates in range(span.first, span.last + 1, span.every)
    )


def _directories(source: DirectoryCheckpoints, key: str, base: Path) -> dict[int, str]:
    """Paths by updates."""
    if source.pattern is None:
        return {entry.updates: entry.path for entry in source.listed}
    before, after = source.pattern.split(UPDATES)
    form = re.compile(f"{re.escape(before)}(\\d+){re.escape(after)}")
    found: dict[int, str] = {}
    # Path.glob would refuse an absolute pattern.
    paths = glob.glob(f"{glob.escape(before)}*{glob.escape(after)}", root_dir=base)  # noqa: PTH207
    for path in sorted(paths):
        matched = form.fullmatch(path)
        if not matched or not int(matched[1]) or not (base / path).is_dir():
            continue
        updates = int(matched[1])
        if updates > MOST_UPDATES:
            raise StudyError(
                f"{key}.pattern {source.pattern!r} matches {path}: {updates} updates are more than {MOST_UPDATES:,}, "
                "the most that can be planned. Rename the directory by its updates"
            )
        if updates in found:
            raise StudyError(
                f"{key}.pattern {source.pattern!r} matches {found[updates]} and {path}, both after {updates} updates: "
                "there is one checkpoint per update. Remove one, or use listed"
            )
        found[updates] = path
    return found


def _content(key: str, base: Path, path: str) -> str:
    """Digest of the sampled content of what a checkpoint is read from."""
    folder = base / path
    files = sorted({file for pattern in (CONFIG, *WEIGHT_PATTERNS, "*.index.json") for file in folder.glob(pattern)})
    names = [file.name for file in files]
    if CONFIG not in names or not any(file.match(pattern) for file in files for pattern in WEIGHT_PATTERNS):
        raise StudyError(
            f"{key}: the directory {path!r} has {names or 'none'} of the files of a checkpoint: it needs {CONFIG} and "
            f"{' or '.join(WEIGHT_PATTERNS)}, as save_pretrained writes them. Correct the path"
        )
    return digest([[file.name, *fingerprint(file)] for file in files])
