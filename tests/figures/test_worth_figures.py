"""Steps saved and predicted cooldowns: what stands in the frame is what stands in the tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from glidepath import figures
from glidepath.figures import steps_saved as saved_figure
from glidepath.study import figure_list
from tests.figures import planted

Tables = dict[str, pd.DataFrame]


def frame_of(name: str, tables: Tables) -> pd.DataFrame:
    return figures.load(name).data({table: tables[table] for table in figure_list.entry(name).tables})


def with_savings(tables: Tables) -> Tables:
    """Six averages at two learning rates; the loss of average i is i/100 above that of the best."""
    rows = [
        {
            "model": "small", "schedule": "constant", "peak_lr": lr, "batch_sequences": planted.BATCH,
            "average": f"average_{i}", "updates_done": update, "tokens_seen": 512 * update, "n_replicates": 2,
            "val_loss_raw": 3.5, "val_loss_averaged": 3.0 + lr + i / 100,
            "status": "none" if i == 1 and update == 100 else "beyond" if update == 400 else "reached",
            "tokens_saved": 512.0 * (800 - update), "tokens_saved_low": 512.0 * 100,
            "tokens_saved_high": np.nan if update == 400 else 512.0 * 1000, "ci_level": 0.9,
        }
        for lr in planted.PEAKS[:2]
        for i in range(6)
        for update in (100, 200, 400)
    ]  # fmt: skip
    schema = figure_list.table_schema("steps_saved")
    return tables | {"steps_saved": planted.filled(schema, rows)}


def test_the_best_averages_are_drawn_and_the_others_counted(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("steps_saved", with_savings(tables_of("whole")))
    ranks = frame.drop_duplicates("average").set_index("average")["rank"].to_dict()
    assert ranks == {f"average_{i}": i for i in range(saved_figure.MOST_AVERAGES)}
    assert frame["n_averages"].unique().tolist() == [6]
    assert frame["last_tokens"].unique().tolist() == [512 * 400]
    assert not (frame["status"] == "none").any()
    assert len(frame) == 2 * (saved_figure.MOST_AVERAGES * 3 - 1)


def test_what_is_not_reached_is_hollow(tables_of: Callable[[str], Tables]) -> None:
    frame = frame_of("steps_saved", with_savings(tables_of("whole")))
    figure = figures.load("steps_saved").draw(frame)
    for ax in figure.axes:
        hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "white"]
        assert {float(x) for line in hollow for x in np.asarray(line.get_xdata())} == {512.0 * 400}


def test_every_held_out_cooldown_is_a_mark_beside_its_prediction(tables_of: Callable[[str], Tables]) -> None:
    tables = tables_of("whole")
    frame = frame_of("cooldown_oracle", tables)
    real = tables["cooldown_oracle"].query("status == 'held_out'")
    drawn = frame[frame["item"] == "cooldown"]
    assert len(drawn) == len(real) > 0
    left, right = figures.load("cooldown_oracle").draw(frame).axes
    marks = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in left.get_lines()
        if line.get_marker() == "o"
    }
    assert marks == set(zip(real["val_loss_cooldown"], real["val_loss_predicted"], strict=True))
    errors = [float(line.get_xdata()[0]) for line in right.get_lines() if line.get_marker() in ("o", "s")]
    assert sorted(errors) == sorted(tables["cooldown_oracle_scores"]["rmse"])
