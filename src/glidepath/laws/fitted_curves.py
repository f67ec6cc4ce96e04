"""A law of loss curves through runs, and how well it is known: every shared point once, samples by trunk or by blocks.

Which laws there are is `LAWS`, and with the size in them `LAWS_OVER_SIZES`; their formulas are in science/laws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glidepath.laws.curves import RunCurve, distinct
from glidepath.science.autocorrelation import block_length
from glidepath.science.laws.annealing import fit_annealing
from glidepath.science.laws.convex_bound import fit_convex_bound
from glidepath.science.laws.curve import Curve
from glidepath.science.laws.curve_fit import CurveFit
from glidepath.science.laws.multi_power import fit_multi_power

Floats = NDArray[np.float64]
FitLaw = Callable[[Sequence[Curve]], CurveFit[Any]]

LAWS: dict[str, FitLaw] = {
    # As applied: it describes the fitted curves two to three times better than a warm-up counted as if at the peak,
    # published ones and those of tiny models.
    "annealing": partial(fit_annealing, warmup="linear"),
    "multi_power": fit_multi_power,
    "convex_bound": fit_convex_bound,
}
LAWS_OVER_SIZES: dict[str, FitLaw] = {
    "annealing_over_sizes": partial(fit_annealing, warmup="linear", with_size=True),
    "multi_power_over_sizes": partial(fit_multi_power, with_size=True),
}
N_PARAMETERS, N_PARAMETERS_OVER_SIZES = 7, 10
"""Of the largest of them; a fit takes more points than this."""
MIN_TRUNKS = 8
"""With fewer independent runs these are not drawn, but blocks of residuals along them."""


@dataclass(frozen=True)
class Fitted:
    """A law through runs, with bootstrap samples of it."""

    runs: tuple[RunCurve, ...]
    """Every point once."""
    found: CurveFit[Any]
    samples: Any
    """The law with a leading axis."""
    reach: int
    """Updates of the longest run."""
    resampling_unit: str

    def predict(self, curve: Curve) -> tuple[Floats, Floats]:
        """Losses at the curve's points and the standard deviation of their logarithm by the parameters alone."""
        predicted = np.asarray(self.found.law.predict(curve), np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = np.log(self.samples.predict(curve))
        # Robust: a few samples in which a parameter ran off must not decide.
        low, high = np.nanquantile(np.where(np.isfinite(drawn), drawn, np.nan), [0.1587, 0.8413], axis=0)
        return predicted, (high - low) / 2

    @cached_property
    def at_points(self) -> dict[str, tuple[float, float]]:
        """The same at every fitted point, by its key, with the standard deviation by least squares."""
        theta = self.found.fit.theta
        predicted = self.found.formula.predict(theta[None])[0]
        sds = self.parameter_sd(theta, self.found.weights)
        keys = [key for run in self.runs for key in run.keys]
        return dict(zip(keys, zip(predicted.tolist(), sds.tolist(), strict=True), strict=True))

    def parameter_sd(self, theta: Floats, weights: Floats) -> Floats:
        """Standard deviation of ln predictions at all points by the parameters alone: least squares with residuals that
        are correlated within a trunk, or within blocks along runs where there are few trunks (sandwich estimate)."""
        formula = self.found.formula
        predicted = formula.predict(theta[None])[0]
        J = formula.jacobian(theta[None])[0] / predicted[:, None]
        J = J[:, (formula.low < theta) & (theta < formula.high)]
        residuals = np.log(self.found.losses / predicted)
        scale = np.sqrt(weights @ J**2)
        J = J / np.where(scale > 0, scale, 1.0)
        clusters, index = np.unique(self._clusters(residuals), return_inverse=True)
        sums = np.zeros((len(clusters), J.shape[1]))
        np.add.at(sums, index, (weights * residuals)[:, None] * J)
        inverse = np.linalg.pinv(J.T @ (weights[:, None] * J), rcond=1e-8, hermitian=True)
        spread = sums @ inverse
        n = int((np.abs(sums).sum(1) > 0).sum())
        sd: Floats = np.sqrt(((J @ spread.T) ** 2).sum(1) * n / max(n - 1, 1))
        return sd

    def standard_error(self, theta: Floats, weights: Floats, points: Sequence[int]) -> float:
        """Of ln predictions at some points (root mean square) by a fit with weights: least squares in every coordinate
        that is not fixed, so that it has no bound where the fit leaves one open that these points need."""
        if not points:
            return 0.0
        formula = self.found.formula
        free = formula.low < formula.high
        predicted = formula.predict(theta[None])[0]
        J = formula.jacobian(theta[None])[0][:, free] / predicted[:, None]
        scale = np.sqrt((J**2).sum(0))
        J = J / np.where(scale > 0, scale, 1.0)
        inverse = np.linalg.inv(J.T @ (weights[:, None] * J) + 1e-12 * np.eye(J.shape[1]))
        leverage = np.einsum("ij,jk,ik->i", J[points], inverse, J[points])
        squares = weights @ np.log(self.found.losses / predicted) ** 2
        return float(np.sqrt(np.mean(leverage) * squares / max((weights > 0).sum() - free.sum(), 1)))

    def _clusters(self, residuals: Floats) -> NDArray[np.object_]:
        """What the residual of every point is correlated with."""
        by_trunk = len({run.trunk for run in self.runs}) >= MIN_TRUNKS
        names: list[str] = []
        for run in self.runs:
            n = len(run.keys)
            if by_trunk:
                names += [run.trunk] * n
            else:
                part = residuals[len(names) : len(names) + n]
                names += [f"{run.cell_id} {i // block_length(part)}" if n > 1 else run.cell_id for i in range(n)]
        return np.array(names, dtype=object)


def fitted(law: str, runs: Sequence[RunCurve], n_samples: int, seed: int) -> Fitted | None:
    """The law through runs, every shared point once; None for too few points."""
    once = distinct(runs)
    n_parameters = N_PARAMETERS_OVER_SIZES if law in LAWS_OVER_SIZES else N_PARAMETERS
    if sum(len(run.keys) for run in once) <= n_parameters:
        return None
    found = (LAWS | LAWS_OVER_SIZES)[law]([run.curve for run in once])
    random = np.random.default_rng(seed)
    trunks = [run.trunk for run in once]
    if len(set(trunks)) >= MIN_TRUNKS:
        samples, unit = found.resampled_by_run(trunks, n_samples, random), "trunk"
    else:
        samples, unit = found.resampled_by_blocks(n_samples, random), "blocks of residuals along runs"
    return Fitted(tuple(once), found, samples, max(run.total_steps for run in runs), unit)
