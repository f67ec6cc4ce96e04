"""A study with some cells more: what they cost beside what is trained already, and the YAML that trains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import yaml

from glidepath.study.config import StudyConfig, parse_study
from glidepath.study.grid_config import GridConfig
from glidepath.study.section import StudyError
from glidepath.study.segments import plan


@dataclass(frozen=True)
class AddedCell:
    """One point of a grid."""

    model: str
    schedule: str
    peak_lr: float
    tokens_per_parameter: float
    batch_sequences: int
    replicate: int

    @property
    def trunk(self) -> tuple[str, float, int, int]:
        """What cells that share a segment have in common."""
        return self.model, self.peak_lr, self.batch_sequences, self.replicate

    def block(self) -> dict[str, object]:
        """As a block of `grid`."""
        return {
            "models": [self.model],
            "schedules": [self.schedule],
            "peak_lrs": [self.peak_lr],
            "tokens_per_parameter": [self.tokens_per_parameter],
            "batch_sequences": [self.batch_sequences],
            "replicates": [self.replicate],
        }


@dataclass(frozen=True)
class Costs:
    """FLOPs that cells add to a study; a planner's question, asked about the cells that could share with them only."""

    study: StudyConfig
    corpus_id: str
    vocab_size: int
    known: dict[tuple[object, ...], float] = field(default_factory=dict, repr=False, compare=False)
    """Answers so far."""

    def added(self, cell: AddedCell, beside: Sequence[AddedCell] = ()) -> float:
        """Training FLOPs of the segments that the cell adds to the study and the cells beside it; 0 if it is there.

        Infinite for a cell that cannot be planned: a horizon shorter than its warm-up, say.
        """
        kin = tuple(other for other in beside if other.trunk == cell.trunk)
        try:
            return self._flops(cell, (*kin, cell)) - self._flops(cell, kin)
        except StudyError:
            return float("inf")

    def _flops(self, like: AddedCell, more: tuple[AddedCell, ...]) -> float:
        """Of all cells of the study on trunks of that cell, and of `more`."""
        key = (*like.trunk, more)
        if key not in self.known:
            blocks = [kin for block in self.study.grid if (kin := _on_trunk(block, like))]
            blocks += [GridConfig.model_validate(cell.block()) for cell in more]
            # What is recorded along the way costs no training.
            reduced = self.study.model_copy(update={"grid": tuple(blocks), "noise_scale": None, "averaging": None})
            planned = plan(reduced, self.corpus_id, self.vocab_size).segments.values() if blocks else ()
            self.known[key] = float(sum(segment.train_flops_exact for segment in planned))
        return self.known[key]


def _on_trunk(block: GridConfig, cell: AddedCell) -> GridConfig | None:
    """The cells of a block that could share a segment with a cell; None if there are none.

    Another peak learning rate warms up along another path, another batch is another path from the first update on.
    """
    if cell.batch_sequences not in block.batch_sequences:
        return None
    rates = tuple(lr for lr in block.peak_lrs if block.peak_lr_at(lr, cell.batch_sequences) == cell.peak_lr)
    if not rates or cell.model not in block.models or cell.replicate not in block.replicates:
        return None
    return block.model_copy(
        update={
            "models": (cell.model,),
            "peak_lrs": rates,
            "batch_sequences": (cell.batch_sequences,),
            "replicates": (cell.replicate,),
            "holdout": False,
        }
    )


def with_cells(text: str, cells: Sequence[AddedCell]) -> str:
    """The YAML of a study with a block per cell or sweep more, validated; comments are not kept.

    Raises StudyError if a cell does not fit the study.
    """
    data = yaml.safe_load(text)
    data["grid"] = [*data["grid"], *_blocks(cells)]
    parse_study(data, "the study with the cells to make next")
    dumped: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
    return dumped


def _blocks(cells: Sequence[AddedCell]) -> list[dict[str, object]]:
    """Blocks of cells, those that differ only in the peak learning rate in one."""
    found: dict[AddedCell, list[float]] = {}
    for cell in cells:
        found.setdefault(replace(cell, peak_lr=0.0), []).append(cell.peak_lr)
    return [{**cell.block(), "peak_lrs": rates} for cell, rates in found.items()]
