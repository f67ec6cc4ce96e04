"""What the coordinate check trains: a few updates of models that differ in width or depth only."""

from __future__ import annotations

from glidepath.science import schedules
from glidepath.study.cells import model_spec
from glidepath.study.config import StudyConfig
from glidepath.study.coordinate_check import CoordinateCheckConfig
from glidepath.study.identity import canonical_json
from glidepath.study.model_config import OptimizerConfig
from glidepath.study.specs import ModelSpec, OptimizerSpec, PathSpec, Spec


class CoordinateCheckSpec(Spec):
    """Everything that decides the tables of the coordinate check: what travels in its rule's params."""

    models: tuple[ModelSpec, ...]
    replicates: tuple[int, ...]
    """Seeds of initialisation and data order; every model is trained with each."""
    optimizer: OptimizerSpec
    path: PathSpec
    """Constant, without weight decay, up to the last update recorded."""
    peak_lr: float
    record_after: tuple[int, ...]
    """Updates after which activations and weights are compared with their initial values."""
    validation_sequences: int
    fixed_depth: int
    """Depth at which the width varies [layers]."""
    fixed_width: int
    """Width at which the depth varies [features]."""
    tolerance: float
    ci_level: float

    def to_json(self) -> str:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


def coordinate_check_spec(study: StudyConfig, vocab_size: int) -> CoordinateCheckSpec | None:
    """The section `coordinate_check` of a study with every number resolved; None without that section."""
    section = study.coordinate_check
    if section is None:
        return None
    base = study.models[section.model]
    sizes = [(width, base.depth) for width in section.widths] + [(base.width, depth) for depth in section.depths]
    return CoordinateCheckSpec(
        models=tuple(
            model_spec(
                base.model_copy(update={"parametrization": parametrization, "width": width, "depth": depth}), vocab_size
            )
            for parametrization in section.parametrizations
            for width, depth in dict.fromkeys(sizes)
        ),
        replicates=section.replicates,
        optimizer=OptimizerSpec(
            kind="adamw", adam_eps=study.optimizer.adam_eps, grad_clip_norm=study.optimizer.grad_clip_norm
        ),
        path=_path(section, study.optimizer, base.context_length),
        peak_lr=section.peak_lr,
        record_after=section.record_after,
        validation_sequences=section.validation_sequences,
        fixed_depth=base.depth,
        fixed_width=base.width,
        tolerance=section.tolerance,
        ci_level=study.analysis.ci_level,
    )


def _path(section: CoordinateCheckConfig, optimizer: OptimizerConfig, context_length: int) -> PathSpec:
    """What every update applies. Weight decay is off: the check is of what gradients do."""
    updates = max(section.record_after)
    sequences = updates * section.batch_sequences
    if optimizer.adam_beta2_half_life_tokens is None:
        adam_beta2 = optimizer.adam_beta2 or 0.0
    else:
        adam_beta2 = 0.5 ** (section.batch_sequences * context_length / optimizer.adam_beta2_half_life_tokens)
    return PathSpec(
        batch_sequences=schedules.batch_path([section.batch_sequences] * updates),
        lr=schedules.constant(section.peak_lr, sequences),
        weight_decay=schedules.constant(0.0, sequences),
        adam_beta1=schedules.constant(optimizer.adam_beta1, sequences),
        adam_beta2=schedules.constant(adam_beta2, sequences),
    )
