"""`glidepath plan --next` on a planted study: a table, and a study that trains the cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from glidepath.__main__ import main
from glidepath.study import tables
from glidepath.study.cells import cells
from glidepath.study.config import parse_study
from tests.study.test_added_cells import TEXT
from tests.synthetic import Study, Truth

LR = 0.004


def planted(tmp_path: Path) -> list[str]:
    """The study of the YAML as if trained: five horizons, five rates, two replicates; its target is twice as long."""
    data = yaml.safe_load(TEXT)
    factors, horizons = (0.25, 0.5, 1.0, 2.0, 4.0), (5.0, 10.0, 20.0, 40.0)
    data["grid"] = [
        {"models": ["s"], "schedules": ["wsd"], "peak_lrs": [LR * f for f in factors],
         "tokens_per_parameter": list(horizons), "replicates": [0, 1]}
    ]  # fmt: skip
    data["warmup"] = {"fraction": 0.02}
    data["target"]["tokens_per_parameter"] = 160
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    n_params = cells(parse_study(data, "test"), "c", 512)[0].n_params_counted
    study = Study(
        schedules={"wsd": Truth(lr_scale=1.0)}, models={"s": n_params}, tokens_per_parameter=horizons,
        lr_factors=factors, lr_centre=LR,
    )  # fmt: skip
    runs, blocks = replace(study, own_sd=0.004, position_sd=0.002).tables()
    runs["vocab_size"], runs["corpus_id"] = 512, "c"
    tables.write(tables.RUNS, runs, tmp_path / "runs.parquet")
    tables.write(tables.BLOCK_LOSSES, blocks, tmp_path / "block_losses.parquet")
    return ["plan", str(file), "--results", str(tmp_path)]


def test_the_cells_are_printed_and_written_as_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = planted(tmp_path)
    output = tmp_path / "next.yaml"
    assert main([*arguments, "--next", "3", "--output", str(output)]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "cell", "adds", "FLOP", "time", "off", "loss", "off", "ln", "LR"]
    rows = [row for row in rows if row.startswith(("horizon", "replicate", "peak_lr"))]
    assert rows
    text = output.read_text(encoding="utf-8")
    before, after = (parse_study(yaml.safe_load(t), "test") for t in ((tmp_path / "study.yaml").read_text(), text))
    assert after.grid[: len(before.grid)] == before.grid
    old, new = ({cell.cell_id for cell in cells(study, "c", 512)} for study in (before, after))
    assert old < new
    assert text.startswith(f"# added, and the {len(new - old)} cells")


def test_what_cannot_be_asked_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = planted(tmp_path)
    assert main([*arguments, "--next", "0"]) == 2
    assert "give at least 1" in capsys.readouterr().err
    assert main(["plan", str(tmp_path / "no.yaml"), "--next", "1"]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main([*arguments[:-1], str(tmp_path / "empty"), "--next", "1"]) == 2
    assert "--next goes by what was trained" in capsys.readouterr().err
