"""Runs the kernel of norms in Triton's interpreter, which has to be chosen before Triton is imported:
`TRITON_INTERPRET=1 python -m tests.training.norm_kernel_job FILE`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glidepath.training import layers


@dataclass(frozen=True)
class Case:
    """A norm and the shape of its operands."""

    kind: layers.NormKind
    n_examples: int
    rows: int
    """Per example."""
    width: int
    dtype: str
    """Of everything but dy."""
    dy_dtype: str
    onto: bool = False

    @property
    def name(self) -> str:
        return "-".join(map(str, vars(self).values()))


class Operands(NamedTuple):
    """x and the output gradient, with gain and what dx is added to, made from a fixed seed."""

    x_ND: Tensor
    dy_ND: Tensor
    gain_D: Tensor
    onto_ND: Tensor | None


SHAPES = ((3, 7, 24, False), (2, 300, 24, True), (1, 5, 3, False), (4, 3, 80, True), (2, 3, 3000, True))
"""Rows that are no multiple of a block, widths that are no power of two; 300 rows are several chunks."""
CASES = [
    *(
        Case(kind, B, rows, D, dtype, dtype, onto)
        for kind in ("rmsnorm", "layernorm")
        for B, rows, D, onto in SHAPES
        for dtype in ("float32", "float64")
    ),
    Case("rmsnorm", 3, 50, 40, "float32", "bfloat16", onto=True),
    Case("layernorm", 3, 50, 40, "float32", "bfloat16"),
]


def operands(case: Case) -> Operands:
    """Rows lie in wider buffers, as slices of packed projections do."""
    generator = torch.Generator().manual_seed(case.rows)
    dtype, dy_dtype = getattr(torch, case.dtype), getattr(torch, case.dy_dtype)
    N, D = case.n_examples * case.rows, case.width

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return Operands(
        x_ND=(2.0 + normal(N, D)).to(dtype),
        dy_ND=normal(N, D + 3).to(dy_dtype)[:, :D],
        gain_D=(1.0 + 0.3 * normal(D)).to(dtype),
        onto_ND=normal(N, D + 5).to(dtype)[:, :D] if case.onto else None,
    )


def main() -> None:
    from glidepath.training.norm_kernel import norm_backward

    results: dict[str, tuple[Tensor, ...]] = {}
    for case in CASES:
        x_ND, dy_ND, gain_D, onto_ND = operands(case)
        _, (xhat_ND, inverse_rms_N1) = layers.norm(case.kind, x_ND, gain_D)
        arguments = (case.kind, dy_ND, gain_D, xhat_ND, inverse_rms_N1, case.n_examples)
        dx_ND, dgain_BD = norm_backward(*arguments)
        added_ND, dgain_too_BD = norm_backward(*arguments, onto_ND)
        assert onto_ND is None or added_ND is onto_ND
        assert torch.equal(dgain_BD, dgain_too_BD)
        results[case.name] = (dx_ND, added_ND, dgain_BD)
    torch.save(results, sys.argv[1])


if __name__ == "__main__":
    main()
