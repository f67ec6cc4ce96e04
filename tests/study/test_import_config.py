"""Configurations of imported runs: what is refused, with key, value, rule and remedy, and what they say of a run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from glidepath.study.config import parse_study
from glidepath.study.import_config import parse_imports, read_imports
from glidepath.study.import_files import files_of, log_files
from glidepath.study.section import StudyError

CONFIG: dict[str, Any] = yaml.safe_load("""
imports: mine
sources:
  - name: curves
    format: csv
    paths: ["logs/*.csv"]
    run: {kind: file}
    columns: {step: step, train_loss: loss, lr: lr}
    where: {split: train, used: true, n: [1, 2.5]}
  - name: points
    format: json
    paths: [points.json]
    rows: runs
    run: {kind: row}
    columns: {n_params_total: N, token_horizon: D, val_loss: loss}
    units: {n_params_total: millions, token_horizon: billions}
  - name: megatron
    format: text_log
    preset: megatron
    paths: ["logs/*/out.log"]
    run: {kind: path, pattern: "logs/(?P<run>[^/]+)/out.log"}
    columns: {step: iteration, train_loss: lm loss}
    lr: {kind: table, path: lr.csv, of: {run: run}}
runs:
  - {match: "*", model: small, peak_lr: 1.0e-3, batch_tokens: 1000}
  - {regex: "(?P<n_params_total>[0-9.]+[MB])-(?P<schedule>.+)", model: large}
  - {match: "7B-*", excluded: a trial}
schedules:
  cosine: {kind: cosine, final_lr_fraction: 0.1}
holdout: ["*-cosine"]
target: {n_params: 7.0e+9, tokens_per_parameter: 20}
""")


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    data = copy.deepcopy(CONFIG)
    change(data)
    return data


def test_what_is_valid_is_read() -> None:
    config = parse_imports(CONFIG, "mine.yaml")
    assert [source.format for source in config.sources] == ["csv", "json", "text_log"]
    assert config.sources[0].where == {"split": ("train",), "used": ("true",), "n": ("1", "2.5")}
    assert [source.lr_kind.kind for source in config.sources] == ["logged", "unknown", "table"]
    assert config.target is not None
    assert config.target.tokens == pytest.approx(1.4e11)


def test_a_study_says_that_this_is_none() -> None:
    with pytest.raises(StudyError, match=r"mine.yaml has the key imports, so it is no study.*Run it with"):
        parse_study(CONFIG, "mine.yaml")


def test_it_survives_its_way_through_json() -> None:
    config = parse_imports(CONFIG, "mine.yaml")
    assert parse_imports(config.model_dump(mode="json", exclude_unset=True), "given as JSON") == config


def test_later_entries_override_earlier_ones_and_names_tell_facts() -> None:
    config = parse_imports(CONFIG, "mine.yaml")
    assert config.facts_of("other") == {"model": "small", "peak_lr": 1e-3, "batch_tokens": 1000}
    assert config.facts_of("1.3B-cosine") == {
        "model": "large",
        "peak_lr": 1e-3,
        "batch_tokens": 1000,
        "n_params_total": 1.3e9,
        "schedule": "cosine",
        "holdout": True,
    }
    assert config.facts_of("7B-wsd")["excluded"] == "a trial"


def test_a_group_that_is_no_number_is_refused_where_it_is_found() -> None:
    config = parse_imports(changed(lambda d: d.update(runs=[{"regex": "(?P<peak_lr>.+)"}])), "mine.yaml")
    with pytest.raises(
        StudyError, match=r"runs.regex: in the name 'high' the group peak_lr is 'high': a number.*Correct"
    ):
        config.facts_of("high")


Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, tuple[Change, str]] = {
    "an unknown key": (lambda d: d.update(extra=1), r"extra = 1: there is no such key. Correct it or remove it"),
    "an unknown quantity": (
        lambda d: d["sources"][0]["columns"].update(los="loss"),
        r"sources.0.columns.los = 'los': it should be 'step', .*'val_loss'.*Change",
    ),
    "an unknown format": (
        lambda d: d["sources"][0].update(format="xls"),
        r"sources.0.format = 'xls': it must be one of 'csv', 'parquet'.*Correct",
    ),
    "no format": (lambda d: d["sources"][0].pop("format"), r"sources.0 = .*: its key format is required. Add it"),
    "a unit of another quantity": (
        lambda d: d["sources"][0].update(units={"train_loss": "millions"}),
        r"sources.0: units.train_loss = millions: its unit is one of nat, bit, perplexity, bit_per_byte. Correct",
    ),
    "a unit without its column": (
        lambda d: d["sources"][0].update(units={"val_loss": "bit"}),
        r"sources.0: units has val_loss, which columns has not. Add it there or remove its unit",
    ),
    "bytes that are not known": (
        lambda d: d["sources"][0].update(units={"train_loss": "bit_per_byte"}),
        r"sources.0: bytes_per_token None with .*bit_per_byte.*: losses in bit_per_byte need it.*Add it",
    ),
    "no loss": (
        lambda d: d["sources"][1]["columns"].pop("val_loss") and d["sources"][1]["units"].clear(),
        r"sources.1: columns has neither train_loss nor val_loss: a run needs a loss. Add one",
    ),
    "no place of a point": (
        lambda d: d["sources"][0]["columns"].pop("step"),
        r"sources.0: columns has neither step nor tokens_seen.*Add one, or say rows: runs",
    ),
    "points that are rows": (
        lambda d: d["sources"][0].update(run={"kind": "row"}),
        r"sources.0: run.kind row with rows: points: a run has several points. Say rows: runs",
    ),
    "a path that names no run": (
        lambda d: d["sources"][2]["run"].update(pattern="logs/(.+)"),
        r"sources.2.run: pattern 'logs/\(.\+\)' has no named group run.*Write it so",
    ),
    "a broken pattern": (
        lambda d: d["sources"][2]["run"].update(pattern="(?P<run>"),
        r"sources.2.run: pattern .* is no regular expression: .*Correct it",
    ),
    "both presets and patterns": (
        lambda d: d["sources"][2].update(patterns=["(?P<step>.)"]),
        r"sources.2: preset megatron and 1 patterns: lines are told by exactly one. Give one of them",
    ),
    "a pattern without groups": (
        lambda d: d["sources"][2].update(preset=None, patterns=["loss"]),
        r"sources.2: patterns.0 'loss' has no named group",
    ),
    "records of a table": (
        lambda d: d["sources"][0].update(records="history"),
        r"sources.0: records 'history' with format csv: only json and jsonl have it. Remove it",
    ),
    "a learning rate that no column has": (
        lambda d: d["sources"][1].update(lr={"kind": "logged"}),
        r"sources.1: lr.kind logged without columns.lr.*Add it or change lr",
    ),
    "a name twice": (
        lambda d: d["sources"][1].update(name="curves"),
        r"sources has the name 'curves' more than once.*Rename one",
    ),
    "runs by nothing": (
        lambda d: d["runs"].append({"model": "x"}),
        r"runs.3: runs are named by exactly one of match and regex. Give one",
    ),
    "a group that is no fact": (
        lambda d: d["runs"].append({"regex": "(?P<size>.)"}),
        r"runs.3: regex has the named group 'size': it must be one of model, n_params_total.*Correct",
    ),
    "a fact twice": (
        lambda d: d["runs"].append({"regex": "(?P<model>.)", "model": "x"}),
        r"runs.3: model is given by itself and as a group of regex. Remove one",
    ),
    "two horizons": (
        lambda d: d["target"].update(token_horizon=1e9),
        r"target: token_horizon 1000000000.0 and tokens_per_parameter 20.0: .*exactly one.*Give one",
    ),
    "a law of tables that an import does not have": (
        lambda d: d.update(analysis={"laws": ["temporal"]}),
        r"analysis: laws has temporal, whose tables an import does not have: it can ask for lr_optimum, .*Remove it",
    ),
    "an evaluation set of no loss": (
        lambda d: d["sources"][0].update(domain="c4"),
        r"sources.0: domain 'c4' names the evaluation set of columns.val_loss, where columns.domain does not. Remove",
    ),
    "decimals of what is no CSV": (
        lambda d: d["sources"][0].update(format="parquet", decimal=","),
        r"sources.0: decimal ',' with format parquet: only csv has it. Remove it",
    ),
    "a number that YAML reads as text": (
        lambda d: d["target"].update(n_params="1.2e8"),
        r"target.n_params = '1.2e8': a number is needed, and YAML reads this as text. Write 1.2e\+8\.",
    ),
    "a whole number with an exponent": (
        lambda d: d["target"].update(batch_tokens="5e5"),
        r"target.batch_tokens = '5e5': a whole number is needed.*Write 500000\.",
    ),
    "a law that is not there": (lambda d: d.update(analysis={"laws": ["magic"]}), r"analysis.laws.0 = 'magic'"),
}


@pytest.mark.parametrize("change", WRONG)
def test_what_is_wrong_is_refused(change: str) -> None:
    alter, message = WRONG[change]
    with pytest.raises(StudyError, match=message) as refusal:
        parse_imports(changed(alter), "mine.yaml")
    assert str(refusal.value).startswith("The import mine.yaml cannot be run. ")


def test_no_mapping_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("- a\n")
    with pytest.raises(StudyError, match=r"is list, not a mapping of keys"):
        read_imports(tmp_path / "mine.yaml")
    with pytest.raises(StudyError, match=r"The import .*none.yaml cannot be read"):
        read_imports(tmp_path / "none.yaml")


def test_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    config = parse_imports(changed(lambda d: d["sources"][0].update(beside={"config": "{stem}.json"})), "mine.yaml")
    for name in ("logs/run10.csv", "logs/run9.csv", "logs/a/out.log", "points.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_of(config.sources[0], tmp_path) == ["logs/run9.csv", "logs/run10.csv"]
    assert log_files(config, tmp_path) == [
        *("logs/run9.csv", "logs/run9.json", "logs/run10.csv", "logs/run10.json"),
        *("points.json", "logs/a/out.log", "lr.csv"),
    ]
    (tmp_path / "points.json").unlink()
    with pytest.raises(
        StudyError, match=r"The source points: paths has 'points.json', which matches no file in .*Correct"
    ):
        log_files(config, tmp_path)
