"""`glidepath plan --next K`: the further cells that would sharpen a recommendation most for their cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from glidepath.advice.next_cells import cells_of
from glidepath.advice.recommend import Basis, recommend
from glidepath.laws.law import Settings
from glidepath.stages.recommend import provenance
from glidepath.study import tables
from glidepath.study.added_cells import with_cells
from glidepath.study.config import parse_study
from glidepath.study.final_losses import final_losses
from glidepath.study.import_config import parse_imports
from glidepath.study.recommendation import NextCell, TargetRun
from glidepath.study.section import StudyError
from glidepath.study.target import target_of, target_of_imports
from glidepath.study.units import duration

HEADER = "# {study}, and the {n} cells that should sharpen its recommendation most for their cost.\n"


def print_next_cells(file: Path, n_cells: int, results: Path | None, output: Path | None) -> None:
    """Print a table, and with `output` write the study with the cells in it.

    Raises ValueError for fewer than one cell, a file that is no study and no imported runs, and results that are not
    there; StudyError for an output of imported runs, which have no grid.
    """
    if n_cells < 1:
        raise ValueError(f"--next {n_cells} names no cell: give at least 1")
    if not file.is_file():
        raise ValueError(f"{file} does not exist: --next needs the YAML file of a study or of imported runs")
    text = file.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    imported = isinstance(data, dict) and "imports" in data
    if imported and output:
        raise StudyError(f"--output {output}: imported runs have no grid to add cells to. Leave it out")
    basis = _imports(data, file, results) if imported else _study(data, file, results)
    recommended = recommend(basis, n_cells, provenance(()))
    cells = recommended.next_cells
    if not cells:
        print(
            "No further run of half the target's compute, or sweep of all of it, is expected to remove 5 % of the "
            "variance of the predicted loss or the peak learning rate, or nothing tells how much runs differ: add "
            "replicates first."
        )
        return
    print("\n".join(lines(cells)))
    if output:
        points = [point for cell in cells for point in cells_of(cell)]
        named = HEADER.format(study=recommended.study, n=len(points))
        output.write_text(named + with_cells(text, points), encoding="utf-8")
        print(f"{output} is the study with these cells: what it shares with the store is not trained again.")


def _study(data: object, file: Path, results: Path | None) -> Basis:
    study = parse_study(data, str(file))
    folder = results or Path("results") / study.study
    runs = tables.read(tables.RUNS, _there(folder))
    target = TargetRun.model_validate(target_of(study, int(runs["vocab_size"].iloc[0])))
    analysis = study.analysis
    return Basis(
        name=study.study,
        target=target,
        runs=runs,
        losses=final_losses(runs, tables.read(tables.BLOCK_LOSSES, folder / "block_losses.parquet")),
        settings=Settings(analysis.reference_schedule, analysis.ci_level, analysis.bootstrap_samples, analysis.seed),
        optimizer=study.optimizer,
        study=study,
    )


def _imports(data: object, file: Path, results: Path | None) -> Basis:
    config = parse_imports(json.loads(json.dumps(data)), str(file))
    target, analysis = TargetRun.model_validate(target_of_imports(config)), config.analysis
    folder = results or Path("results") / config.imports
    runs = tables.read(tables.RUNS, _there(folder))
    reference = analysis.reference_schedule or ""
    return Basis(
        name=config.imports,
        target=target,
        runs=runs,
        losses=final_losses(runs, tables.read(tables.BLOCK_LOSSES, folder / "block_losses.parquet")),
        settings=Settings(reference, analysis.ci_level, analysis.bootstrap_samples, analysis.seed),
    )


def _there(results: Path) -> Path:
    runs = results / "runs.parquet"
    if not runs.is_file():
        raise ValueError(f"{runs} does not exist: --next goes by what was trained. Run the study, or give --results")
    return runs


def lines(cells: Sequence[NextCell]) -> Iterator[str]:
    """A table for a terminal: cell, FLOPs, hours where known, and the shares of variance that it should remove."""
    exact = cells[0].train_flops_exact is not None
    unit = "adds FLOP" if exact else "6ND FLOP"
    rows = [("run", "cell", unit, "time", "off loss", "off ln LR")]
    for cell in cells:
        rate = f" lr {', '.join(f'{rate:g}' for rate in cell.peak_lrs)}" if cell.peak_lrs else ""
        seed = f" r{cell.replicate}" if cell.replicate is not None else ""
        batch = f" b{cell.batch_sequences}" if cell.batch_sequences else ""
        where = f"{cell.model} {cell.schedule}{rate} tpp {cell.tokens_per_parameter:g}{batch}{seed}"
        rows.append(
            (
                cell.what,
                where,
                f"{_flops(cell):.2e}",
                "-" if cell.hours is None else duration(3600 * cell.hours),
                f"{100 * cell.loss_variance_removed:.0f} %",
                "-" if cell.peak_lr_variance_removed is None else f"{100 * cell.peak_lr_variance_removed:.0f} %",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        left = (text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True))
        right = (text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True))
        yield "  ".join([*left, *right])
    total = sum(_flops(cell) for cell in cells)
    loss = 100 * sum(cell.loss_variance_removed for cell in cells)
    counted = "FLOP" if exact else "FLOP (6ND)"
    yield f"Together {total:.2e} {counted}, expected to remove {loss:.0f} % of the variance of the predicted loss."


def _flops(cell: NextCell) -> float:
    flops = cell.train_flops_6nd if cell.train_flops_exact is None else cell.train_flops_exact
    assert flops is not None
    return flops
