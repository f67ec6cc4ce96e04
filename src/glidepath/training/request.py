"""What a training job is asked for, checked before any work."""

from __future__ import annotations

from pathlib import Path

from glidepath.study.specs import SegmentSpec
from glidepath.training.batches import TokenStore, n_sequences


def check_request(spec: SegmentSpec, tokens: TokenStore, parent_state: Path | None) -> None:
    """Refuse, before any work, what cannot be honoured. Raises ValueError with the key, the value and the
    rule."""
    recording, model = spec.recording, spec.trajectory.model
    if not 0 <= spec.start < spec.stop:
        raise ValueError(f"start = {spec.start}: must be at least 0 and less than the {spec.stop} updates of the path")
    if (parent_state is None) != (spec.start == 0):
        raise ValueError(
            f"start = {spec.start} with parent state {parent_state}: a parent is needed exactly if start > 0"
        )
    for key in ("probe_every", "probe_norm_layers_every"):
        if getattr(recording, key) < 0:
            raise ValueError(f"recording.{key} = {getattr(recording, key)}: must be at least 1, or 0 for never")
    if recording.norms_every < 1:
        raise ValueError(f"recording.norms_every = {recording.norms_every}: must be at least 1")
    for key in ("evaluate_subset_at", "evaluate_full_at", "snapshot_at"):
        for updates_done in getattr(recording, key):
            if not spec.start < updates_done <= spec.stop:
                raise ValueError(
                    f"recording.{key} has {updates_done}: this segment covers {spec.start + 1} to "
                    f"{spec.stop} updates done"
                )
    if tokens.vocab_size != model.vocab_size:
        raise ValueError(
            f"model.vocab_size = {model.vocab_size}: the tokens have vocab_size = {tokens.vocab_size}; make them equal"
        )
    available = n_sequences(len(tokens.validation(tokens.domains[0])), model.context_length)
    wanted = {"recording.subset_blocks": recording.subset_blocks} if recording.evaluate_subset_at else {}
    if plateau := spec.trajectory.plateau:
        wanted["plateau.subset_blocks"] = plateau.subset_blocks
    for key, blocks in wanted.items():
        if not 1 <= blocks <= available:
            raise ValueError(
                f"{key} = {blocks}: domain {tokens.domains[0]!r} has {available} blocks of {model.context_length} "
                f"tokens; ask for 1 to {available}"
            )
