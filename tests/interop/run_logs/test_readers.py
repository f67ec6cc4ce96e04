"""Every format as its program writes it, and what becomes of its rows."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from glidepath.interop.run_logs.part import Seen, array_of, numbers, value_at
from glidepath.interop.run_logs.reading import constants_of, parts_of
from glidepath.study.import_sources import Source, SourceConfig
from glidepath.study.section import StudyError


def source_of(format_: str, **keys: Any) -> Source:
    data = {
        "name": "log",
        "format": format_,
        "paths": ["log"],
        "run": {"kind": "file"},
        "columns": {"step": "step", "train_loss": "loss"},
        **keys,
    }
    source: Source = TypeAdapter(SourceConfig).validate_python(data)
    return source


def read(path: Path, source: Source, wanted: list[str] | None = None) -> tuple[dict[str, list[Any]], list[int], Seen]:
    """Columns, rows and what else was seen."""
    seen = Seen()
    columns: dict[str, list[Any]] = {}
    rows: list[int] = []
    for part in parts_of(source, path, wanted, seen):
        rows += part.rows.tolist()
        for name, values in part.columns.items():
            columns.setdefault(name, []).extend(values.to_pylist())
    return columns, rows, seen


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_tell_what_is_missing_from_what_is_not_finite() -> None:
    values, wrong = numbers(pa.array(["1.5", None, "NaN", "1e-3", "step", "-Infinity", " 2 ", "12,000"]))
    assert np.isnan(values[[1, 4]]).all()
    assert np.isinf(values[[2, 5]]).all()
    assert values[[0, 3, 6, 7]].tolist() == [1.5, 1e-3, 2.0, 12000.0]
    assert wrong.tolist() == [False] * 4 + [True] + [False] * 3
    for array in (pa.array([1, None, 3]), pa.array([1.0, None, 3.0]), pa.array(["1", None, "3"])):
        assert np.array_equal(numbers(array)[0], [1.0, np.nan, 3.0], equal_nan=True)
    assert numbers(pa.array([float("nan"), None], from_pandas=False))[0].tolist()[0] == np.inf


def test_a_path_with_dots_is_found_literally_or_within_objects() -> None:
    record = {"a.b": 1, "c": {"d": {"e": 2}}, "f.g": {"h": 3}}
    assert [value_at(record, name) for name in ("a.b", "c.d.e", "f.g.h", "c.x")] == [1, 2, 3, None]
    assert array_of([1, 2.5, None]).to_pylist() == [1.0, 2.5, None]
    assert array_of([1, "NaN"]).to_pylist() == ["1", "NaN"]


def test_csv(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", '\ufeffstep,loss,"run, name"\n1,5.5,a\n2,,a\n3,nan,"b,c"\n')
    columns, rows, seen = read(path, source_of("csv"))
    assert columns == {"step": ["1", "2", "3"], "loss": ["5.5", None, "nan"], "run, name": ["a", "a", "b,c"]}
    assert rows == [1, 2, 3]
    assert list(seen.columns) == ["step", "loss", "run, name"]
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("step,loss\n1,2\n")
    assert read(tmp_path / "a.csv.gz", source_of("csv"), ["loss"])[0] == {"loss": ["2"]}
    assert read(written(tmp_path / "a.tsv", "step\tloss\n1\t2\n"), source_of("csv"))[0] == {
        "step": ["1"],
        "loss": ["2"],
    }


def test_a_csv_line_that_was_cut_off_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "step,loss,lr\n1,5,1\n2,4\n3,3,1\n")
    columns, _, seen = read(path, source_of("csv"), ["step", "loss"])
    assert columns["step"] == ["1", "3"]
    assert (seen.unreadable, seen.first_unreadable) == (1, "2,4")


def test_parquet_with_structures(tmp_path: Path) -> None:
    table = pa.table(
        {"step": [1, 2], "eval": [{"loss": 5.0, "set": "a"}, {"loss": None, "set": "b"}], "list": [[1], []]}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    columns, rows, seen = read(tmp_path / "a.parquet", source_of("parquet"), ["step", "eval.loss"])
    assert columns == {"step": [1, 2], "eval.loss": [5.0, None]}
    assert rows == [1, 2]
    assert list(seen.columns) == ["step", "eval.loss", "eval.set"]
    with pytest.raises(ValueError, match="is no Parquet file"):
        read(written(tmp_path / "b.parquet", "step,loss\n"), source_of("parquet"))


def test_json_lines_with_one_cut_off(tmp_path: Path) -> None:
    text = '{"step": 1, "m": {"loss": 5}}\n\n{"step": 2, "m": {"loss": NaN}}\n{"step": 3, "m"'
    columns, rows, seen = read(written(tmp_path / "a.jsonl", text), source_of("jsonl"), ["step", "m.loss"])
    assert columns["step"] == [1.0, 2.0]
    assert columns["m.loss"][0] == 5.0
    assert np.isnan(columns["m.loss"][1])
    assert rows == [1, 3]
    assert (seen.unreadable, seen.first_unreadable) == (1, '{"step": 3, "m"')


RECORDS = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}]
COLUMNS = {"step": [1, 2], "loss": [5.0, 4.0]}
BY_ROW = {"step": {"0": 1, "1": 2}, "loss": {"0": 5.0, "1": 4.0}}


@pytest.mark.parametrize("value", [RECORDS, COLUMNS, BY_ROW], ids=["records", "columns", "columns by row"])
def test_json_of_one_run(tmp_path: Path, value: Any) -> None:
    columns, rows, _ = read(written(tmp_path / "a.json", json.dumps(value)), source_of("json"))
    assert columns == {"step": [1.0, 2.0], "loss": [5.0, 4.0]}
    assert rows == [1, 2]


@pytest.mark.parametrize("value", [RECORDS, COLUMNS, BY_ROW], ids=["records", "columns", "columns by row"])
def test_json_of_several_runs(tmp_path: Path, value: Any) -> None:
    text = json.dumps({"a": value, "b": value})
    columns, _, _ = read(written(tmp_path / "a.json", text), source_of("json"), ["_key", "step", "loss"])
    assert columns == {"_key": ["a", "a", "b", "b"], "step": [1.0, 2.0, 1.0, 2.0], "loss": [5.0, 4.0, 5.0, 4.0]}


def test_json_of_runs_with_a_history_each(tmp_path: Path) -> None:
    runs = [{"name": name, "config": {"lr": lr}, "out": {"history": RECORDS}} for name, lr in (("a", 1), ("b", 2))]
    source = source_of("json", records="out.history")
    expected = {"name": ["a", "a", "b", "b"], "config.lr": [1.0, 1.0, 2.0, 2.0], "loss": [5.0, 4.0, 5.0, 4.0]}
    assert read(written(tmp_path / "a.json", json.dumps(runs)), source, list(expected))[0] == expected
    one = written(tmp_path / "b.json", json.dumps(runs[0]))
    assert read(one, source, ["name", "loss"])[0] == {"name": ["a", "a"], "loss": [5.0, 4.0]}
    by_name = written(tmp_path / "c.json", json.dumps({run["name"]: run for run in runs}))
    assert read(by_name, source, ["_key", "loss"])[0] == {"_key": expected["name"], "loss": expected["loss"]}
    lines = written(tmp_path / "d.jsonl", "\n".join(map(json.dumps, runs)))
    assert read(lines, source_of("jsonl", records="out.history"), ["name"])[0] == {"name": expected["name"]}


@pytest.mark.parametrize("text", ["3", "[1, 2]", '{"a": 1}', "[", "{}"])
def test_json_without_records_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"a.json (holds no records: .*Say|is not JSON: .*Correct)"):
        read(written(tmp_path / "a.json", text), source_of("json"))


def test_wandb_history_with_nulls_between(tmp_path: Path) -> None:
    rows = [
        {"_step": 0, "_timestamp": 1.7e9, "train/loss": 9.1, "val/loss": None},
        {"_step": 0, "_timestamp": 1.7e9, "train/loss": None, "val/loss": 9.0},
        {"_step": 1, "_timestamp": 1.7e9 + 1, "train/loss": "NaN", "val/loss": None},
    ]
    path = written(tmp_path / "history.json", json.dumps(rows))
    columns, _, _ = read(path, source_of("wandb"), ["_step", "train/loss", "val/loss"])
    assert columns == {"_step": [0, 0, 1], "train/loss": ["9.1", None, "NaN"], "val/loss": [None, 9.0, None]}
    values, wrong = numbers(array_of([9.1, None, "NaN"]))
    assert not wrong.any()
    assert np.array_equal(values, [9.1, np.nan, np.inf], equal_nan=True)
    lines = written(tmp_path / "wandb-history.jsonl", "\n".join(map(json.dumps, rows)))
    assert read(lines, source_of("wandb"), ["_step"])[0] == {"_step": [0, 0, 1]}


def test_a_panel_of_wandb_has_a_column_per_run(tmp_path: Path) -> None:
    text = (
        '"Step","big - lr 3e-4 - val/loss","big - lr 3e-4 - val/loss__MIN","big - lr 3e-4 - val/loss__MAX",'
        '"small - val/loss","small - val/loss__MIN","small - val/loss__MAX"\n'
        '"10","3.1","3.1","3.1","4.1","4.1","4.1"\n"20","","","","4.0","4.0","4.0"\n'
    )
    columns, rows, _ = read(written(tmp_path / "a.csv", text), source_of("wandb"), ["Step", "_key", "val/loss"])
    assert columns == {
        "Step": ["10", "10", "20"],
        "_key": ["big - lr 3e-4", "small", "small"],
        "val/loss": ["3.1", "4.1", "4.0"],
    }
    assert rows == [1, 1, 2]
    with pytest.raises(ValueError, match=r"run.wandb is no export of a history.*scan_history"):
        read(written(tmp_path / "run.wandb", ""), source_of("wandb"))


MEGATRON = """\
using world size: 8, data-parallel size: 8
 [2024-05-01 10:00:00] iteration       10/     100 | consumed samples:         2560 | elapsed time per iteration (ms): \
1234.5 | learning rate: 1.500000E-06 | global batch size:   256 | lm loss: 1.042700E+01 | loss scale: 1.0 | \
grad norm: 9.872 | number of skipped iterations:   0 | number of nan iterations:   0 |
------------------------------------------------------------------------------------------------
 validation loss at iteration 10 | lm loss value: 1.050000E+01 | lm loss PPL: 3.631550E+04 |\x20
------------------------------------------------------------------------------------------------
 [2024-05-01 10:00:12] iteration       20/     100 | consumed samples:         5120 | elapsed time per iteration (ms): \
1200.1 | learning rate: 3.000000E-06 | global batch size:   256 | lm loss: NAN | loss scale: 1.0 | grad norm: 3.1 |
 validation loss at iteration 20 on validation set | lm loss value: 9.0E+00 | lm loss PPL: 8.1E+03 |
 validation loss at iteration 20 on test set | lm loss value: 9.1E+00 | lm loss PPL: 8.9E+03 |
 validation loss at the end of training for val data | lm loss value: 8.5E+00 | lm loss PPL: 4.9E+03 |
"""


def test_megatron(tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt", MEGATRON)
    wanted = ["iteration", "consumed samples", "learning rate", "global batch size", "lm loss", "grad norm"]
    more = ["total iterations", "validation lm loss", "validation lm loss PPL", "test lm loss"]
    columns, rows, _ = read(path, source_of("text_log", preset="megatron"), [*wanted, *more])
    assert rows == [2, 4, 6, 7, 8, 9]
    assert columns["iteration"] == [10, 10, 20, 20, 20, 20]
    assert columns["total iterations"] == [100, None, 100, None, None, None]
    assert columns["lm loss"][:3] == ["1.042700E+01", None, "NAN"]
    assert columns["learning rate"][0] == "1.500000E-06"
    assert columns["consumed samples"][2] == "5120"
    assert columns["validation lm loss"] == [None, "1.050000E+01", None, "9.0E+00", None, "8.5E+00"]
    assert columns["test lm loss"][4] == "9.1E+00"
    assert numbers(array_of(columns["lm loss"]))[0][2] == np.inf


TITAN = (
    "[rank0]:[titan] 2025-02-01 10:00:00,123 - root - INFO - Training starts at step 1\n"
    "[rank0]:[titan] 2025-02-01 10:00:09,456 - root - INFO - \x1b[31mstep:  1  \x1b[32mloss: 12.2714  \x1b[33m"
    "grad_norm:  5.1234  \x1b[34mmemory: 40.30GiB(50.36%)  \x1b[36mtps: 7,123  \x1b[35mmfu: 41.20%\x1b[39m\n"
    "[rank0]:[titan] 2025-02-01 10:00:19,456 - root - INFO - step: 10  loss:  7.1234  memory: 40.30GiB(50%)  tps: 70\n"
    "[rank0]:[titan] 2025-02-01 10:00:20,456 - root - INFO - \x1b[32mvalidate step: 10  loss:  7.2222  memory: 1GiB\n"
)


def test_torchtitan_in_colours(tmp_path: Path) -> None:
    path = written(tmp_path / "log.txt", TITAN)
    wanted = ["step", "loss", "grad_norm", "tps", "mfu", "validate_loss"]
    columns, rows, _ = read(path, source_of("text_log", preset="torchtitan"), wanted)
    assert rows == [2, 3, 4]
    assert columns["step"] == [1, 10, 10]
    assert columns["loss"] == ["12.2714", "7.1234", None]
    assert columns["grad_norm"] == ["5.1234", None, None]
    assert columns["tps"] == ["7,123", "70", None]
    assert columns["validate_loss"] == [None, None, "7.2222"]


def test_lines_by_patterns_of_ones_own(tmp_path: Path) -> None:
    text = "step:0/3350 val_loss:10.82\r step:1/3350 train_time:10ms\rstep:125/3350 val_loss:4.66 train_time:9\nend\n"
    source = source_of("text_log", patterns=[r"step:(?P<step>\d+)/(?P<total>\d+) val_loss:(?P<val>\S+)"])
    columns, rows, _ = read(written(tmp_path / "a.txt", text), source)
    assert columns == {"step": ["0", "125"], "total": ["3350", "3350"], "val": ["10.82", "4.66"]}
    assert rows == [1, 3]


def test_event_files_of_tensorboard(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path))
    for step in range(3):
        for tag, value in (("train/loss", 5.0 - step), ("lr", 0.1)):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(wall_time=100.0 + step, step=step, summary=summary))
    writer.add_event(Event(step=2, summary=Summary(value=[Summary.Value(tag="val", simple_value=float("nan"))])))
    writer.close()
    (path,) = tmp_path.glob("*tfevents*")
    columns, rows, seen = read(path, source_of("tensorboard"), ["step", "train/loss", "lr", "val"])
    assert columns["step"] == [0, 1, 2]
    assert columns["train/loss"] == [5.0, 4.0, 3.0]
    assert columns["lr"] == pytest.approx([0.1] * 3)
    assert columns["val"][:2] == [None, None]
    assert np.isnan(columns["val"][2])
    assert rows == [1, 2, 3]
    assert "wall_time" in seen.columns


def test_what_stands_beside_a_log_and_in_its_path_is_known_of_all_its_rows(tmp_path: Path) -> None:
    folder = tmp_path / "runs/7b/first"
    folder.mkdir(parents=True)
    written(folder / "config.yaml", "wandb_version: 1\noptimizer: {desc: null, value: {lr: 0.1}}\nlayers: 3\n")
    written(folder / "h-summary.json", '{"val": {"loss": 2.5}}')
    source = source_of(
        "csv",
        run={"kind": "path", "pattern": "runs/(?P<size>[^/]+)/(?P<run>[^/]+)/"},
        beside={"config": "config.yaml", "summary": "{stem}-summary.json"},
    )
    assert constants_of(source, "runs/7b/first/h.csv", tmp_path) == {
        "size": "7b",
        "config.wandb_version": 1,
        "config.optimizer.lr": 0.1,
        "config.layers": 3,
        "summary.val.loss": 2.5,
    }
    with pytest.raises(StudyError, match=r"beside.summary names .*other-summary.json, which cannot be read.*Correct"):
        constants_of(source, "runs/7b/first/other.csv", tmp_path)
    with pytest.raises(StudyError, match=r"run.pattern .* is not found in the path 'h.csv'.*Correct"):
        constants_of(source, "h.csv", tmp_path)
