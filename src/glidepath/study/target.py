"""The real run that a study or imported runs are for, every number resolved."""

from __future__ import annotations

from typing import Any

from glidepath.study.cells import model_spec, param_counts, steps_in
from glidepath.study.config import StudyConfig
from glidepath.study.import_config import ImportConfig
from glidepath.study.section import StudyError


def target_of(study: StudyConfig, vocab_size: int) -> dict[str, Any]:
    """The target as plain data: names and sizes, horizon in tokens and updates.

    Raises StudyError when the horizon is not even one update.
    """
    target = study.target
    model = model_spec(study.models[target.model], vocab_size)
    counts = param_counts(model)
    n_params: int = getattr(counts, f"n_params_{study.tokens_per_parameter_uses}")
    batch_tokens = target.batch_sequences * model.context_length
    where = f"target: model {target.model}, tokens_per_parameter {target.tokens_per_parameter:g}"
    total_steps = steps_in(target.tokens_per_parameter * n_params, batch_tokens, where)
    return {
        "model": target.model,
        "n_params_counted": n_params,
        "n_params_non_embedding": counts.n_params_non_embedding,
        "context_length": model.context_length,
        "tokens_per_parameter": target.tokens_per_parameter,
        "batch_sequences": target.batch_sequences,
        "batch_tokens": batch_tokens,
        "total_steps": total_steps,
        "token_horizon": total_steps * batch_tokens,
    }


def target_of_imports(config: ImportConfig) -> dict[str, Any]:
    """The target of imported runs as plain data; it has no name, and laws are told by its size.

    Raises StudyError without a target.
    """
    target = config.target
    if target is None:
        raise StudyError(f"{config.imports} has no target: give target.n_params and target.token_horizon")
    n_params, tokens = round(target.n_params), round(target.tokens)
    return {
        "model": "",
        "n_params_counted": n_params,
        "n_params_non_embedding": n_params if config.tokens_per_parameter_uses == "non_embedding" else None,
        "context_length": target.context_length,
        "tokens_per_parameter": tokens / n_params,
        "batch_tokens": target.batch_tokens,
        "total_steps": round(tokens / target.batch_tokens) if target.batch_tokens else None,
        "token_horizon": tokens,
        "schedule": target.schedule,
        "peak_lr": target.peak_lr,
    }
