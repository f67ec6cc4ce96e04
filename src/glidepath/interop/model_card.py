"""README.md of an exported model: where its weights come from."""

from __future__ import annotations

from dataclasses import dataclass

from glidepath.study.specs import Trajectory


@dataclass(frozen=True)
class ModelCard:
    """What is known about some weights."""

    name: str
    trajectory: Trajectory
    """What was trained; the weights may be of an update on its way."""
    weights: str
    """Which weights: "end state of segment …", "snapshot", …"""
    updates_done: int
    study: str | None
    cell_id: str | None
    val_loss: float | None
    """On all validation tokens of the first domain [nats/token]."""
    sources: tuple[str, ...]
    """A line per domain of the training text."""

    def text(self, architecture: str) -> str:
        """Markdown, with the metadata that model hubs read. Licence unknown: it depends on the text."""
        path = self.trajectory.path.arrays()
        tokens = int(path.positions[self.updates_done]) * self.trajectory.model.context_length
        facts = {
            "study": self.study,
            "cell": self.cell_id,
            "weights": self.weights,
            "updates": f"{self.updates_done:,}",
            "training tokens": f"{tokens:,}",
            "validation loss": None if self.val_loss is None else f"{self.val_loss:.4f} nats/token",
            "parametrisation": f"{self.trajectory.model.parametrization}, folded into the weights",
            "context": f"{self.trajectory.model.context_length:,} tokens",
            "trajectory": self.trajectory.digest,
            "corpus": self.trajectory.corpus_id,
            "engine version": str(self.trajectory.engine_version),
        }
        rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items() if value is not None)
        sources = "\n".join(f"* {source}" for source in self.sources)
        return CARD.format(name=self.name, architecture=architecture, rows=rows, sources=sources)


CARD = """\
---
library_name: transformers
pipeline_tag: text-generation
license: unknown
---

# {name}

A language model trained by Glidepath, written as `{architecture}`: float32, logits as in training.

| | |
|---|---|
{rows}

## Text

{sources}

The licence of the weights is not known to Glidepath: it depends on the text.

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/directory")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/directory")
```

Texts begin and end with the tokenizer's `eos_token`, as documents did in training.
"""
