"""The real run that a study is for, every number resolved."""

from __future__ import annotations

from typing import Any

from glidepath.study.cells import model_spec, param_counts, steps_in
from glidepath.study.config import StudyConfig


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
