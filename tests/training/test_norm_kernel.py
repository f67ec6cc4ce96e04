"""The kernel of norms, in Triton's interpreter: against torch's own functions differentiated example by example, and
against the backward pass that runs on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glidepath.training import layers
from tests.training import reference
from tests.training.norm_kernel_job import CASES, Case, operands

triton = pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}
Results = dict[str, tuple[Tensor, Tensor, Tensor]]


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """By case: dx, dx added to something, and the gradient of the gain by example."""
    path = tmp_path_factory.mktemp("kernel") / "results.pt"
    command = [sys.executable, "-W", "error", "-m", "tests.training.norm_kernel_job", str(path)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: Results = torch.load(path)
    return results


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative to the largest number of all: a sum may cancel."""
    torch.testing.assert_close(got.double(), expected, rtol=0.0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_derivative_of_every_example(case: Case, interpreted: Results) -> None:
    """In double precision from the same, possibly rounded, numbers."""
    x_ND, dy_ND, gain_D, onto_ND = (None if x is None else x.double() for x in operands(case))
    assert x_ND is not None
    assert dy_ND is not None
    assert gain_D is not None
    dx_ND, added_ND, dgain_BD = interpreted[case.name]
    tolerance = TOLERANCE[case.dtype]
    for b, (x, dy) in enumerate(zip(x_ND.split(case.rows), dy_ND.split(case.rows), strict=True)):
        x, gain = (y.clone().requires_grad_() for y in (x, gain_D))
        expected = torch.autograd.grad(reference.norm(case.kind, x, gain), (x, gain), dy)
        close(dx_ND.split(case.rows)[b], expected[0], 10 * tolerance)
        close(dgain_BD[b], expected[1], tolerance)
    before = torch.zeros_like(x_ND) if onto_ND is None else onto_ND
    close(added_ND - before, dx_ND.double(), 10 * tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_the_backward_pass_of_a_cpu(case: Case, interpreted: Results) -> None:
    x_ND, dy_ND, gain_D, onto_ND = operands(case)
    _, saved = layers.norm(case.kind, x_ND, gain_D)
    arguments = (case.kind, dy_ND.clone(), gain_D, saved, case.n_examples, onto_ND)
    expected_ND, expected_BD = layers.norm_backward(*arguments)
    _, added_ND, dgain_BD = interpreted[case.name]
    close(added_ND, expected_ND.double(), TOLERANCE[case.dtype])
    close(dgain_BD, expected_BD.double(), TOLERANCE[case.dtype])


def test_rows_divide_into_examples_and_fit() -> None:
    from glidepath.training.norm_kernel import norm_backward

    def asked(n_examples: int, width: int) -> None:
        x_ND, gain_D = torch.ones(6, width), torch.ones(width)
        norm_backward("rmsnorm", x_ND, gain_D, x_ND, torch.ones(6, 1), n_examples)

    with pytest.raises(ValueError, match="n_examples = 4: must divide the 6 rows"):
        asked(4, 8)
    with pytest.raises(ValueError, match="D = 20000: a row must fit into registers"):
        asked(3, 20000)


@pytest.mark.parametrize(
    ("device", "width", "takes"), [("cuda", 16384, True), ("cuda", 16385, False), ("cpu", 8, False)]
)
def test_longer_rows_take_the_plain_formula(device: str, width: int, takes: bool) -> None:
    assert layers.takes_norm_kernel(torch.device(device), width) == takes


@pytest.mark.parametrize("dy_type", ["*fp32", "*bf16"])
def test_it_compiles_for_a_gpu(dy_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To machine code of an H100, which needs none: what the interpreter accepts the compiler might not."""
    from glidepath.training.norm_kernel import _kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"CENTRED": True, "ADD": True, "BLOCK_ROWS": 2, "BLOCK_D": 1024}
    types = {name: "*fp32" if name.endswith("ptr") else "i32" for name in _kernel.arg_names}
    signature = types | {"dy_ptr": dy_type} | dict.fromkeys(constants, "constexpr")
    source = triton.compiler.ASTSource(_kernel, signature, constants)
    compiled = triton.compile(source, target=triton.backends.compiler.GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]
    # Without atomics sums are the same in every run.
    assert "atom" not in compiled.asm["ptx"]
