"""`glidepath export`: from a study's store to a model that has the losses of the study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from glidepath.__main__ import main
from glidepath.corpus.store import TokenStore
from glidepath.study import tables
from glidepath.study.layout import average_directory, segment_directory
from glidepath.training.snapshots import SnapshotFile
from tests.interop import trained

pytestmark = [pytest.mark.usefixtures("_in_the_study"), pytest.mark.xdist_group("export")]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        trained.build()
    return root


@pytest.fixture
def _in_the_study(study: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(study)
    return


def export(output: Path, *arguments: str) -> int:
    return main(["export", "--output", str(output / "model"), *arguments])


CELL = ("--results", "results/mine", "--cell", "d16-linear-a")


def test_a_cell_has_the_loss_that_the_study_measured(tmp_path: Path) -> None:
    assert export(tmp_path, *CELL) == 0
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokens = np.array(TokenStore.open(trained.CORPUS).validation("own"), np.int64)
    inputs, targets = (torch.from_numpy(x.reshape(-1, 16)) for x in (tokens[:-1], tokens[1:]))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten()).item()
    evaluations = tables.of_segment(tables.EVALUATIONS)
    measured = tables.read(evaluations, Path(segment_directory(trained.END)) / "evaluations.parquet")
    assert loss == pytest.approx(measured["val_loss"].item(), abs=1e-5)
    card = (tmp_path / "model/README.md").read_text()
    assert f"| validation loss | {loss:.4f} nats/token |" in card
    assert "| cell | d16-linear-a |" in card
    assert "| study | mine |" in card
    assert "own: " in card


@pytest.mark.parametrize(
    ("updates", "segment", "which"),
    [(6, trained.TRUNK, "snapshot"), (12, trained.TRUNK, "end state"), (16, trained.END, "snapshot")],
)
def test_weights_on_the_way_are_those_that_were_kept(updates: int, segment: str, which: str, tmp_path: Path) -> None:
    assert export(tmp_path, *CELL, "--updates", str(updates)) == 0
    directory = Path(segment_directory(segment))
    if which == "snapshot":
        kept = SnapshotFile(directory / "snapshots.safetensors").weights(updates)["embedding"].numpy()
    else:
        kept = load_file(directory / "state.safetensors")["weights/embedding"]
    np.testing.assert_array_equal(load_file(tmp_path / "model/model.safetensors")["model.embed_tokens.weight"], kept)
    assert f"| weights | {which} of segment {segment} |" in (tmp_path / "model/README.md").read_text()


def test_an_average_is_that_of_the_snapshots_and_has_the_loss_that_was_measured(tmp_path: Path) -> None:
    """A window of 60 % of 136 sequences holds (72, 104] and (104, 136] of the snapshots after 16 and 20 updates, and of
    (−8, 24] nothing."""
    assert export(tmp_path, *CELL, "--average", "window_60") == 0
    kept = SnapshotFile(Path(segment_directory(trained.END)) / "snapshots.safetensors")
    first = SnapshotFile(Path(segment_directory(trained.TRUNK)) / "snapshots.safetensors")
    embeddings = [first.weights(6), kept.weights(16), kept.weights(20)]
    tokens = np.array([24.0, 104.0, 136.0])
    shares = np.diff(np.maximum([-56.0, *tokens], 0.4 * 136.0)) / (0.6 * 136.0)
    expected = sum(s * w["embedding"].double().numpy() for s, w in zip(shares, embeddings, strict=True))
    exported = load_file(tmp_path / "model/model.safetensors")["model.embed_tokens.weight"]
    np.testing.assert_allclose(exported, expected, rtol=1e-6, atol=1e-7)
    losses = tables.read(tables.AVERAGE_LOSSES, Path(average_directory(trained.AVERAGES.average_id)) / "losses.parquet")
    loss = losses[losses["average"] == "window_60"]["val_loss"].item()
    card = (tmp_path / "model/README.md").read_text()
    assert f"| validation loss | {loss:.4f} nats/token |" in card
    assert "| weights | average window_60 of 2 snapshots after 16 to 20 updates |" in card


def test_the_best_cell_is_the_completed_one_with_the_lowest_loss(tmp_path: Path) -> None:
    """The one that diverged had a lower loss on its way."""
    assert export(tmp_path, "--results", "results/mine", "--best") == 0
    assert "| cell | d16-linear-a |" in (tmp_path / "model/README.md").read_text()


def test_a_segment_needs_no_study(tmp_path: Path) -> None:
    assert export(tmp_path, "--segment", trained.TRUNK) == 0
    card = (tmp_path / "model/README.md").read_text()
    assert "# n1k-trunk" in card
    assert "| study |" not in card
    assert "| validation loss |" not in card


def test_a_diverged_cell_can_be_had_from_before(tmp_path: Path) -> None:
    assert export(tmp_path, "--results", "results/mine", "--cell", "d16-hot", "--updates", "1") == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((*CELL, "--updates", "7"), "no weights were kept there; weights are there after [6, 12, 16, 20] updates"),
        (
            ("--results", "results/mine", "--cell", "d16-linear"),
            "no such cell_id in plan.parquet; the nearest are d16-linear-b, d16-linear-a",
        ),
        (
            ("--results", "results/mine", "--cell", "d16-hot"),
            "and has no end state; weights are there after [1] updates",
        ),
        (
            ("--results", "results/mine", "--cell", "d16-linear-b"),
            "segment n1k-not-yet has not been trained; the nearest",
        ),
        (("--segment", "n1k-linear"), "segment n1k-linear has not been trained; the nearest are n1k-linear-end"),
        (("--results", "results/yours", "--best"), "results/yours has no runs.parquet; give the results folder"),
        (("--cell", "d16-linear-a"), "--results is not given"),
        (
            (*CELL, "--average", "window_6"),
            "--average window_6: the study has no such average; the nearest are window_60",
        ),
        ((*CELL, "--average", "window_10"), "--average window_10 holds fewer than two snapshots after 20 updates"),
        (
            (*CELL, "--average", "window_60", "--updates", "12"),
            "no snapshot was taken there; there are some after 6, 16",
        ),
        (("--segment", trained.END, "--average", "window_60"), "averages are of cells; name one with --cell"),
        (
            ("--results", "results/mine", "--cell", "d16-linear-b", "--average", "window_60"),
            "has no averages yet; run the target average",
        ),
        (
            ("--results", "results/mine", "--cell", "d16-hot", "--average", "window_60"),
            "no snapshots of this cell are kept; name a cell of averaging.schedules",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_paragraph(
    arguments: tuple[str, ...], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path, *arguments) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_gone_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = Path(segment_directory(trained.TRUNK)) / "state.safetensors"
    state.rename("elsewhere")
    assert export(tmp_path, "--segment", trained.TRUNK) == 2
    assert f"{state} is missing; run the study again" in capsys.readouterr().err
    Path("elsewhere").rename(state)
