"""The README's training loop runs as it stands there."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.workflow.conftest import REPOSITORY


def test_the_loop_of_the_readme_trains_and_tells_norms(capsys: pytest.CaptureFixture[str]) -> None:
    (loop,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 8), nn.LayerNorm(8), nn.Linear(8, 7))
    before = model[1].weight.detach().clone()
    exec(
        loop,
        {
            "model": model,
            "batches": [(torch.randint(7, (4, 5)), torch.randint(7, (4, 5))) for _ in range(2)],
            "loss_of": lambda logits, targets: F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        },
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["norm", "norm"]
    small, big = (float(x) for x in lines[0].split()[1:])
    assert small > big > 0.0
    assert not torch.equal(before, model[1].weight)
