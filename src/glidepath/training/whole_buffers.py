"""The optimizer's buffers as files have them: whole, whoever holds which slice of them."""

from __future__ import annotations

import torch
from torch import Tensor

from glidepath.training.parameters import Layout
from glidepath.training.workers import Workers


class WholeBuffers:
    """`tensors` are the parameters of every buffer as `buffer/parameter`, in the leader; elsewhere there are none.

    Of one process they are views of the live buffers. Of several they are views of copies on the leader's CPU, which
    `gather` fills from the slices and `scatter` deals out to them; all processes call them together.
    """

    def __init__(self, workers: Workers, layout: Layout, slices: dict[str, Tensor]) -> None:
        self._workers, self._slices = workers, slices
        if workers.size == 1:
            self._whole = slices
        elif workers.leads:
            self._whole = {name: torch.zeros(layout.size, dtype=part.dtype) for name, part in slices.items()}
        else:
            self._whole = {}
        views = {name: layout.views(flat) for name, flat in self._whole.items()}
        self.weights = views.get("weights", {})
        self.tensors = {f"{name}/{parameter}": view for name, of in views.items() for parameter, view in of.items()}

    def gather(self) -> None:
        """Bring the tensors up to date with the slices."""
        if self._workers.size > 1:
            for name, part in self._slices.items():
                self._workers.gather(part, self._whole.get(name))

    def scatter(self) -> None:
        """Set the slices to what the tensors are."""
        if self._workers.size > 1:
            for name, part in self._slices.items():
                self._workers.scatter(self._whole.get(name), part)
