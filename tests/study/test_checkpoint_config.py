"""Configurations of checkpoints: what is refused, with key, value, rule and remedy, and what jobs follow from them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from glidepath.study.checkpoint_config import parse_checkpoints
from glidepath.study.checkpoints import CheckpointAverageSpec, PlannedTrajectory, planned_trajectories
from glidepath.study.config import parse_study
from glidepath.study.section import StudyError

CONFIG: dict[str, Any] = yaml.safe_load("""
checkpoints: mine
corpus:
  domains:
    - {name: text, use: validation, source: {kind: files, paths: [text.txt]}, validation_tokens: 256}
  tokenizer: {kind: hub, id: owner/model, vocab_size: 300}
context_length: 32
trajectories:
  hub:
    source:
      kind: huggingface
      repository: owner/model
      revisions: {template: "step{updates}", first: 10, last: 60, every: 10}
    tokens_per_update: 256
    n_params: 1000
  own:
    source: {kind: directories, pattern: "runs/step{updates}"}
    tokens_per_update: 256
    n_params: 1000
schemes:
  lawa_3: {kind: lawa, checkpoints: 3, every_updates: 10}
  decay: {kind: emulated_decay, fraction: 0.5, shape: linear}
""")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("step10", "step20", "step030", "step_best", "step0"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(name.encode())
    return tmp_path


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    data = copy.deepcopy(CONFIG)
    change(data)
    return data


def planned(base: Path, data: dict[str, Any] = CONFIG) -> dict[str, PlannedTrajectory]:
    return planned_trajectories(parse_checkpoints(data, "mine.yaml"), "corpus", base)


def hub(data: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = data["trajectories"]["hub"]["source"]
    return source


def own(data: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = data["trajectories"]["own"]["source"]
    return source


def test_checkpoints_are_found_by_their_number(base: Path) -> None:
    found = planned(base)
    assert list(found["own"].checkpoints) == [10, 20, 30]
    assert [spec.path for spec in found["own"].checkpoints.values()] == ["runs/step10", "runs/step20", "runs/step030"]
    assert {u: spec.revision for u, spec in found["hub"].checkpoints.items()} == {
        u: f"step{u}" for u in range(10, 70, 10)
    }
    assert [spec.average for spec in found["hub"].averages.values()] == ["raw", "lawa_3", "decay"]


def test_points_are_counted_from_the_end(base: Path) -> None:
    found = planned(base, changed(lambda data: data.update(points_every=4)))
    assert {spec.evaluate_at for spec in found["hub"].averages.values()} == {(20, 60)}


def test_the_identity_of_an_average_is_what_decides_its_losses(base: Path) -> None:
    before = planned(base)
    (base / "runs/step20/model.safetensors").write_bytes(b"other weights")
    after = planned(base, changed(lambda data: data["schemes"].update(more={"kind": "ema", "timescale_fraction": 0.3})))
    assert not before["own"].averages.keys() & after["own"].averages.keys()
    assert before["hub"].averages.keys() < after["hub"].averages.keys()
    assert before["own"].checkpoints[10] == after["own"].checkpoints[10]


def test_what_a_scheme_does_not_use_is_no_part_of_its_identity(base: Path) -> None:
    before = planned(base)["hub"].averages

    def renamed(data: dict[str, Any]) -> None:
        data["trajectories"]["other"] = data["trajectories"].pop("hub") | {"hours_per_update": 2.0}

    assert planned(base, changed(renamed))["other"].averages.keys() == before.keys()
    start = {"kind": "swa", "start_tokens_per_parameter": 1}
    data = changed(lambda data: data["schemes"].update(since=start))
    first = names_of(planned(base, data)["hub"])
    data["trajectories"]["hub"]["n_params"] = 2000
    counted = names_of(planned(base, data)["hub"])
    assert {name for name in first if counted[name] != first[name]} == {"since"}
    data["trajectories"]["hub"].update(lr=0.1, weight_decay=0.1)
    decayed = names_of(planned(base, data)["hub"])
    assert {name for name in counted if decayed[name] != counted[name]} == {"decay"}


def names_of(trajectory: PlannedTrajectory) -> dict[str, str]:
    """Directory in the store by average."""
    return {spec.average: name for name, spec in trajectory.averages.items()}


def test_points_before_a_further_checkpoint_are_shared(base: Path) -> None:
    def specs(data: dict[str, Any]) -> dict[str, CheckpointAverageSpec]:
        return {spec.average: spec for spec in planned(base, data)["hub"].averages.values()}

    short, long = specs(CONFIG), specs(changed(lambda data: hub(data)["revisions"].update(last=70)))
    for average in short:
        assert long[average].points_shared_with(short[average].model_dump(mode="json")) == {10, 20, 30, 40, 50, 60}
    assert not long["raw"].points_shared_with(short["lawa_3"].model_dump(mode="json"))
    listed = [{"revision": f"step{u}" if u != 40 else "again", "updates": u} for u in range(10, 70, 10)]
    other = specs(changed(lambda data: hub(data).update(revisions=None, listed=listed)))
    assert other["raw"].points_shared_with(short["raw"].model_dump(mode="json")) == {10, 20, 30}


def test_names_of_records_are_told_apart_and_fit_the_rules(base: Path) -> None:
    listed = [{"revision": name, "updates": i + 1} for i, name in enumerate(("a/b", "a--b", "a:b", "a b", "../b"))]
    data = changed(lambda data: hub(data).update(revisions=None, listed=listed) or data["schemes"].clear())
    data["schemes"]["ema"] = {"kind": "ema", "timescale_fraction": 0.5}
    names = {spec.checkpoint_id for spec in planned(base, data)["hub"].checkpoints.values()}
    assert len(names) == 5
    assert all(re.fullmatch("[A-Za-z0-9.@+_-]+", name) for name in names)


def test_a_directory_of_more_updates_than_are_trained_is_refused(base: Path) -> None:
    (base / "runs/step20261121160000").mkdir()
    with pytest.raises(StudyError, match=r"matches runs/step20261121160000: .* more than 10,000,000.* Rename"):
        planned(base)


Change = Callable[[dict[str, Any]], object]

WRONG: dict[str, tuple[Change, str]] = {
    "no place for the number": (
        lambda d: hub(d)["revisions"].update(template="main"),
        r"trajectories.hub.source.revisions: template 'main' must have \{updates\} once.*for example step\{updates\}",
    ),
    "a range that ends between": (
        lambda d: hub(d)["revisions"].update(last=65),
        r"first 10, last 65, every 10: last must be first or come a multiple of every after it. Change",
    ),
    "two ways at once": (
        lambda d: hub(d).update(listed=[{"revision": "a", "updates": 3}]),
        "exactly one of revisions and listed. Give one",
    ),
    "no way": (lambda d: own(d).pop("pattern"), "exactly one of pattern and listed. Give one"),
    "falling updates": (
        lambda d: hub(d).update(
            revisions=None, listed=[{"revision": "b", "updates": 3}, {"revision": "a", "updates": 2}]
        ),
        "listed.updates has 2 after 3: they must rise. Sort them",
    ),
    "no repository": (lambda d: hub(d).update(repository="model"), "trajectories.hub.source.repository = 'model'"),
    "a pattern of its own": (lambda d: own(d).update(pattern="runs/*"), r"must have \{updates\} once.* and no \*"),
    "one revision for several updates": (
        lambda d: hub(d).update(
            revisions=None, listed=[{"revision": "main", "updates": 3}, {"revision": "main", "updates": 5}]
        ),
        "trajectories.hub.source: listed has the revision 'main' more than once.* Remove all but one",
    ),
    "one directory for several updates": (
        lambda d: own(d).update(
            pattern=None, listed=[{"path": "runs/step10", "updates": 1}, {"path": "runs/./step10", "updates": 2}]
        ),
        "trajectories.own.source: listed has the path 'runs/step10' more than once",
    ),
    "more updates than are trained": (
        lambda d: hub(d)["revisions"].update(first=1, last=10**12, every=10**12 - 1),
        r"revisions.last = 1000000000000: .*less than or equal to 10000000",
    ),
    "more checkpoints than can be planned": (
        lambda d: hub(d)["revisions"].update(first=1, last=10**6, every=1),
        r"first 1, last 1000000, every 1: these are 1,000,000 checkpoints, and no more than 10,000 .* Raise every",
    ),
    "half an optimizer": (
        lambda d: d["trajectories"]["own"].update(lr=0.1),
        "lr 0.1 and weight_decay None: only their product matters, so both are needed or neither",
    ),
    "weights replaced whole": (
        lambda d: d["trajectories"]["own"].update(lr=2.0, weight_decay=0.5),
        r"lr 2.0 × weight_decay 0.5 must be less than 1.* Lower one",
    ),
    "a name of the tables": (
        lambda d: d["schemes"].update(raw={"kind": "ema", "timescale_fraction": 0.1}),
        "schemes has 'raw', a name that the tables need themselves. Give it another",
    ),
    "too little text": (
        lambda d: d.update(context_length=200),
        "corpus.domains.0.validation_tokens 256 is less than two blocks of context_length 200.*Raise it",
    ),
    "text for training": (
        lambda d: d["corpus"]["domains"][0].update(use="training", validation_fraction=0.1),
        r"corpus.domains: domains \['text'\] have use: training, but nothing is trained here",
    ),
    "a tokenizer to be trained": (
        lambda d: d["corpus"].update(tokenizer={"kind": "train_bpe", "vocab_size": 300}),
        r"corpus.tokenizer.kind = 'train_bpe': it must be one of 'file', 'hub'",
    ),
    "a key that is not there": (lambda d: d.update(scheme={}), "scheme = {}: there is no such key"),
    "no averages at any point": (
        lambda d: d["schemes"]["lawa_3"].update(every_updates=15),
        r"schemes.lawa_3 .* averages fewer than two checkpoints of trajectories.hub at each of its 6 points.* Change",
    ),
    "one checkpoint": (
        lambda d: own(d).update(pattern="runs/step2{updates}"),
        r"trajectories.own.source has checkpoints after \[\] updates only.* at least two",
    ),
    "a directory without weights": (
        lambda d: own(d).update(
            pattern=None, listed=[{"path": "runs", "updates": 1}, {"path": "runs/step10", "updates": 2}]
        ),
        r"trajectories.own.source: the directory 'runs' has none of the files of a checkpoint",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_refused(fault: str, base: Path) -> None:
    change, message = WRONG[fault]
    with pytest.raises(StudyError, match=message):
        planned(base, changed(change))


def test_two_directories_of_one_update_are_refused(base: Path) -> None:
    (base / "runs/step30").mkdir()
    with pytest.raises(StudyError, match=r"matches runs/step030 and runs/step30, both after 30 updates"):
        planned(base)


def test_a_study_says_that_this_is_none() -> None:
    with pytest.raises(StudyError, match=r"mine.yaml has the key checkpoints, so it is no study.*Run it with"):
        parse_study(CONFIG, "mine.yaml")


def test_a_configuration_survives_its_json() -> None:
    config = parse_checkpoints(CONFIG, "mine.yaml")
    assert parse_checkpoints(json.loads(config.model_dump_json()), "JSON") == config
