"""Which runs are one law's: peaks, sizes, architectures and horizons."""

from __future__ import annotations

import pandas as pd

from glidepath.laws.curve_groups import groups_of, groups_over_sizes, horizon_ranks
from glidepath.laws.curves import curves_of
from tests.laws.planted_curves import of_sizes, study, together


def test_peaks_are_groups_of_their_own() -> None:
    groups = groups_of(curves_of(study(peak_lrs=(0.005, 0.01))).runs)
    assert [group.peak_lr for group in groups] == [0.005, 0.01]


def refusals(found: dict[str, pd.DataFrame]) -> list[str]:
    return [group.refusal for group in groups_over_sizes(curves_of(found).runs)]


def test_a_peak_of_its_own_for_every_size_is_refused() -> None:
    parts = [of_sizes(model, peak_lrs=(peak,)) for model, peak in (("1M", 0.02), ("4M", 0.01), ("16M", 0.005))]
    (refusal,) = refusals(together(*parts))
    assert "no peak_lr has 3 sizes (1e+06 parameters at 0.02; 4e+06 parameters at 0.01" in refusal


def test_peaks_that_sizes_share_are_groups_and_others_are_refused() -> None:
    found = together(of_sizes("1M", "4M", "16M"), of_sizes("1M", peak_lrs=(0.02,)))
    shared, alone = groups_over_sizes(curves_of(found).runs)
    assert (shared.peak_lr, shared.refusal, len(shared.runs)) == (0.01, "", 18)
    assert alone.peak_lr == 0.02
    assert alone.refusal.startswith("1 size")


def test_a_size_that_is_not_known_is_refused() -> None:
    found = of_sizes("1M", "4M", "16M")
    found["runs"] = found["runs"].assign(n_params_counted=pd.NA)
    assert refusals(found) == ["the size of 16M, 1M, 4M is not known: give n_params"]


def test_architectures_are_laws_of_their_own() -> None:
    wide, deep = of_sizes("1M", "4M", "16M"), of_sizes("64M")
    found = together(
        wide | {"runs": wide["runs"].assign(architecture="wide")},
        deep | {"runs": deep["runs"].assign(architecture="deep")},
    )
    first, second = groups_over_sizes(curves_of(found).runs)
    assert (first.model, second.model) == ("architecture deep", "architecture wide")
    assert first.refusal
    assert {run.model for run in second.runs} == {"1M", "4M", "16M"}


def test_horizons_are_counted_per_size_and_a_log_that_ends_early_is_no_other() -> None:
    found = together(of_sizes("1M", steps=(200, 400, 404)), of_sizes("4M", steps=(800, 1600)))
    ranks = horizon_ranks(curves_of(found).runs)
    of = {cell.split("-")[0] + cell.split("-")[3]: rank for cell, rank in ranks.items()}
    assert of == {"1M200": 0, "1M400": 1, "1M404": 1, "4M800": 0, "4M1600": 1}
