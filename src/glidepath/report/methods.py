"""Method notes: what each number is, in a line of formula, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One method: its formula in plain text and its source."""

    name: str
    formula: str
    source: str


METHODS = (
    Method(
        "Applied schedule",
        "update s = 0 … T−1: warm-up (s+1)/W of the peak, decay with progress (s − s₀)/D; no update is "
        "spent at learning rate 0",
        "This project's convention; the array that was applied is a column of updates.parquet.",
    ),
    Method(
        "Decay to zero",
        "linear schedule whose decay aims at 0 instead of a tenth of the peak, each at its own best peak",
        "Bergsma et al., Straight to Zero, ICLR 2025 (arXiv 2502.15938)",
    ),
    Method(
        "AdamW as an average",
        "final weights = c₀·θ₀ + Σᵢ cᵢ·xᵢ, cᵢ = αᵢ·Π_{j>i}(1 − αⱼ), α = learning rate × weight decay of the parameter "
        "group; effective number of updates (Σc)²/Σc²",
        "Bergsma et al., Straight to Zero, ICLR 2025 (arXiv 2502.15938)",
    ),
    Method(
        "Paired difference",
        "mean over replicates of loss(schedule) − loss(reference), same initialisation and data order; "
        "minimum detectable difference = (t₀.₉₇₅ + t₀.₈₀) · SE",
        "Standard paired comparison; errors over replicates, pooled, and over validation blocks.",
    ),
    Method(
        "Optimal peak learning rate",
        "L = a·x² + b·x + c with x = ln peak; optimum exp(−b / 2a); intervals by bootstrap; refused unless "
        "a > 0 and the optimum lies inside the grid",
        "Bjorck et al., Scaling Optimal LR Across Token Horizons, ICLR 2025 (arXiv 2409.19913)",
    ),
    Method(
        "Instability",
        "diverged: loss or gradient norm not finite, or loss > 2 ln V; excluded from comparisons and fits: also cells "
        "that end more than 1 nat/token above the best of their sweep; loss spike: consecutive updates more than 6 "
        "robust standard deviations above the running median of 65 updates",
        "This project's rules; exclusion after Bjorck et al., ICLR 2025 (arXiv 2409.19913)",
    ),
    Method(
        "Optimal peak at another horizon",
        "peak*(D) = C · D^(−b), least squares in logarithms over the tuned horizons",
        "Bjorck et al., ICLR 2025 (arXiv 2409.19913)",
    ),
    Method(
        "Transfer over width and depth",
        "log2 peak* = constant + shift · log2 size, over models that differ in width or depth alone, at one token "
        "horizon",
        "Yang et al. 2022 (arXiv 2203.03466); in depth: Dey et al. 2025 (arXiv 2505.01618)",
    ),
    Method(
        "Coordinate check",
        "rms(x(s) − x(0)) of activations x after s updates on fixed inputs, slope in log2 against log2 size; stable if "
        "its interval lies within ± the tolerance",
        "Yang et al. 2022 (arXiv 2203.03466), appendix D.1",
    ),
    Method(
        "Loss law",
        "L(D) = E + B · D^(−β) per model, or L(N, D) = E + A · N^(−α) + B · D^(−β) over sizes",
        "Hoffmann et al., Training Compute-Optimal Large Language Models, 2022 (arXiv 2203.15556)",
    ),
    Method(
        "Compute saving",
        "1 − D′/D, where the schedule reaches at D′ tokens the loss that the reference reaches at D, by "
        "the curves through the trained horizons",
        "After Bergsma et al., ICLR 2025 (arXiv 2502.15938), who report 60 % from one pair of grid points",
    ),
    Method(
        "Gradient noise scale",
        "tr Σ / |G|², |G|² = (B·|g_B|² − b·|g_b|²)/(B − b), tr Σ = (|g_b|² − |g_B|²)/(1/b − 1/B), b one "
        "sequence; ratio of window means, jackknife errors",
        "McCandlish et al. 2018 (arXiv 1812.06162); per-example norms: Gray et al., NeurIPS 2024 (arXiv 2411.00999)",
    ),
    Method(
        "Checkpoint averaging",
        "window: uniform over the last part of training, w ∝ the training that a snapshot stands for; LAWA: equal "
        "weights of the last checkpoints at one distance; EMA: w ∝ ∫ exp(−age/τ) over what a snapshot stands for; "
        "evaluated on the same blocks as the raw weights and a real cooldown of the same trunk. Best window: each half "
        "of the validation blocks is scored with the window that is best on the other half",
        "Izmailov et al. 2018 (arXiv 1803.05407); Sanyal et al. 2023 (arXiv 2306.03241); Hägele et al., NeurIPS 2024 "
        "(arXiv 2405.18392)",
    ),
    Method(
        "Emulated decay",
        "weights wᵢ = Rᵢ − (1 − αᵢ₊₁)·Rᵢ₊₁, Rᵢ = rᵢ·Π_{j>i}(1 − rⱼαⱼ), r the decay's multiplier: they give every "
        "update of AdamW the coefficient that it would have had under the decay; without weight decay wᵢ = rᵢ − rᵢ₊₁",
        "This project, from the coefficients of Bergsma et al. (arXiv 2502.15938); the limit without weight decay is "
        "WSM, Tian et al. 2025 (arXiv 2507.17634)",
    ),
    Method(
        "Steps saved",
        "first t ≥ s at which the raw loss reaches that of the average at s, linear in ln tokens between points; "
        "saved: t − s; interval: all t at which Student's test does not tell the two losses apart",
        "Sanyal et al. 2023 (arXiv 2306.03241); the interval is this project's",
    ),
    Method(
        "Cooldown oracle",
        "drop of the loss by a cooldown = gain·(a + c·length) + b·progress: gain = raw − averaged loss before it, "
        "length = how much of training lies how far below the peak, progress = slope of the averaged loss in ln tokens "
        "× what is left to train; a, b, c by least squares on the study's cooldowns; errors without the cooldown's own "
        "trunk; refused outside the range of the study",
        "This project, after the valley of Wen et al. 2024 (arXiv 2410.05192) and Hägele et al. (arXiv 2405.18392)",
    ),
    Method(
        "Training FLOPs",
        "3 × forward, two per multiply-add: hidden matrices, head, and attention over unmasked pairs; "
        "6·N·D is a second column",
        "Kaplan et al. 2020 (arXiv 2001.08361) for 6·N·D",
    ),
)
