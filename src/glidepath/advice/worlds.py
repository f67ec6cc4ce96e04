"""What candidates would come to, and what is asked for, in every world of the bootstrap."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from glidepath.advice.candidates import Candidate
from glidepath.advice.choice import Choice
from glidepath.advice.loss import LossAtTarget
from glidepath.advice.peak_lr import LrAtTarget
from glidepath.advice.said import Said
from glidepath.laws.back_tests import REACH_POWER, reach_of
from glidepath.laws.law import Floats, Settings
from glidepath.study.recommendation import TargetRun

MIN_FINITE = 0.8
"""Share of the bootstrap in which a quantity must have an answer."""


@dataclass(frozen=True)
class Worlds:
    """Bootstrap samples of what is asked for and of every outcome, row by row of one world."""

    loss: Said
    loss_rate: float
    lr: Said | None
    lr_rate: float
    curvature: Floats
    slopes: Floats
    """Standard normal [samples, 2]: of the error of the loss law and of the learning-rate law."""
    common: Floats
    """What all points of a world are off by together [samples]: text and replicates that they share."""
    text_share: float
    """Of the variance of `common`, that of the validation text, which no further run tells of."""
    quantities: Floats

    @classmethod
    def of(cls, choice: Choice, target: TargetRun, loss: LossAtTarget, lr: LrAtTarget, settings: Settings) -> Worlds:
        n = settings.n_bootstrap
        slopes = np.random.default_rng(settings.seed + 3).standard_normal((n, 2))
        said = loss.said[0]
        curvature = np.full(n, 0.0)
        if choice.inside:
            longest = choice.inside[-1]
            sampled = longest.curvature_samples
            curvature = np.where(np.isfinite(sampled) & (sampled > 0), sampled, longest.optimum.curvature)
        lr_said = lr.said[0] if lr.said and lr.said[0].samples is not None else None
        samples = said.points.samples
        common = np.zeros(n) if samples is None else (samples - samples.mean(0)).mean(1)
        variance = float(np.nanvar(common))
        text = min(1.0, (loss.evaluation_sd or 0.0) ** 2 / variance) if variance > 0 else 0.0
        made = cls(said, loss.error.rate, lr_said, lr.error.rate, curvature, slopes, common, text, np.empty((n, 0)))
        size, horizon = float(target.n_params_counted), float(target.token_horizon)
        quantities = [made._loss(size, horizon)]
        if lr_said is not None:
            at = made._ln_peak_lr(float(choice.n_params) if lr_said.predictor.one_size else size, horizon)
            if np.isfinite(at).mean() > MIN_FINITE:
                quantities.append(at)
        return replace(made, quantities=np.stack(quantities, axis=1))

    def _loss(self, n_params: float, tokens: float) -> Floats:
        return _drawn(self.loss, self.loss_rate, self.slopes[:, 0], n_params, tokens)

    def _ln_peak_lr(self, n_params: float, tokens: float) -> Floats:
        assert self.lr is not None
        return _drawn(self.lr, self.lr_rate, self.slopes[:, 1], n_params, tokens)

    def outcomes(self, candidate: Candidate) -> Floats:
        """Losses that its runs would have, were they without noise, in every world [samples, runs].

        A run of a replicate that is there shares its seeds and the validation text with the others: it does not tell
        what they are all off by, and that is taken out. A new replicate tells all of it but the text.
        """
        rates = candidate.peak_lrs or (None,)
        found = np.stack([self._outcome(candidate, peak_lr) for peak_lr in rates], axis=1)
        if self.loss.points.samples is None:
            return found
        return found - self.common[:, None] * (self.text_share if candidate.what == "replicate" else 1.0)

    def _outcome(self, candidate: Candidate, peak_lr: float | None) -> Floats:
        sweep = candidate.sweep
        if sweep is not None and not np.isnan(sweep.samples).all() and peak_lr is not None:
            if candidate.what == "replicate":
                return np.asarray(sweep.samples[:, int(np.abs(sweep.peak_lrs - peak_lr).argmin())])
            with np.errstate(divide="ignore", invalid="ignore"):
                off = np.log(peak_lr) - np.log(sweep.lr_samples)
                own = np.where(sweep.curvature_samples > 0, sweep.curvature_samples, self.curvature)
                return np.asarray(sweep.loss_samples + own * off**2)
        n_params, tokens = float(candidate.n_params), float(candidate.token_horizon)
        floor = self._loss(n_params, tokens)
        if self.lr is None or peak_lr is None:
            return floor
        best = self._ln_peak_lr(float(self.lr.points.n_params[0]) if self.lr.predictor.one_size else n_params, tokens)
        with np.errstate(invalid="ignore"):
            return np.asarray(floor + self.curvature * (np.log(peak_lr) - best) ** 2)


def _drawn(said: Said, rate: float, slope: Floats, n_params: float, tokens: float) -> Floats:
    """What a law says at a size and horizon [samples], off by its error at a reach of 1, drawn as `slope`."""
    assert said.curves is not None
    at = np.array([n_params]), np.array([tokens])
    reach = reach_of(*at, said.points) ** REACH_POWER
    return np.asarray(said.curves(*at)[:, 0] + rate * reach * slope, np.float64)
