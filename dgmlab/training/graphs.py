"""A training step as one CUDA graph.

A small model on a GPU spends its time launching kernels, not computing. Captured once, the whole step - forward,
backward, optimizer - is launched with one call. What may change between steps lives at fixed places in memory: the
batch is copied into place, and every real-valued knob is a tensor that is filled before the launch, so a slider keeps
working. A knob that is not a real number (a choice, a count) shapes the graph itself: when it changes, the step is
captured anew. So does a real-valued knob that the model lists in ``baked_knobs``, because it decides in Python with it
or because it is an optimizer's setting other than the learning rate.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from ..errors import LabError
from ..knobs import Real
from .history import pack

SMALL = 20_000_000  # parameters up to which launches cost more than the arithmetic, so that "auto" captures the step
WARM_UP = 3         # eager steps before a capture, so that optimizers have made their state and cuBLAS its workspaces


class StepGraph:
    """Runs the step of a run on a CUDA device, captured after a few eager steps."""

    def __init__(self, run):
        self.run = run
        self.graph: torch.cuda.CUDAGraph | None = None
        self.shape: tuple | None = None
        self.eager_steps = 0
        self.given_up = False       # the step could not be captured: it stays eager
        traits = run.knobs.traits()
        baked = set(run.model.baked_knobs)
        self.real = [name for name, trait in traits.items() if isinstance(trait, Real) and name not in baked]
        self.rest = [name for name in traits if name not in self.real]
        self.knobs = {name: torch.zeros((), device=run.device) for name in self.real}

    def __call__(self, batch: tuple[Tensor, ...], knobs) -> dict[str, Tensor] | tuple[Tensor, tuple[str, ...]]:
        """One step: the terms of the loss by name, or, captured, as one tensor and their names."""
        for name in self.real:
            self.knobs[name].fill_(getattr(knobs, name))
        values = {name: getattr(knobs, name) for name in self.rest}
        static = SimpleNamespace(**self.knobs, **values)
        shape = (tuple(values.items()), tuple((t.shape, t.dtype) for t in batch))
        if shape != self.shape:
            self.graph, self.shape, self.eager_steps = None, shape, 0
        if self.graph is None:
            if self.eager_steps < WARM_UP or self.given_up:
                self.eager_steps += 1
                return self._eager(batch, static)
            try:
                self.graph = self._capture(batch, static)
            except RuntimeError as error:           # something in the model makes the host wait, or allocates
                self.given_up = True
                self.run.notes.append(f"The step could not be captured as a CUDA graph ({str(error).splitlines()[0]}); "
                                      "it is launched operation by operation, which is slower.")
                return self._eager(batch, static)
        for place, tensor in zip(self.batch, batch):
            place.copy_(tensor)
        self.graph.replay()
        return self.row, self.names

    def _eager(self, batch, knobs):
        run = self.run
        stream = torch.cuda.Stream(run.device)  # a side stream, as capture asks for
        stream.wait_stream(torch.cuda.current_stream(run.device))
        with torch.cuda.stream(stream), run.autocast():
            terms = run.model.step(batch, knobs, run.rng, run.update)
        torch.cuda.current_stream(run.device).wait_stream(stream)
        return {name: value.detach() if isinstance(value, Tensor) else value for name, value in terms.items()}

    def _capture(self, batch, knobs) -> torch.cuda.CUDAGraph:
        run = self.run
        self.batch = tuple(tensor.clone() for tensor in batch)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(run.rng.generator)
        # "thread_local": what other cells of a notebook do on the device meanwhile is none of the capture's business.
        with (torch.cuda.device(run.device), run.autocast(),
              torch.cuda.graph(graph, stream=torch.cuda.Stream(run.device), capture_error_mode="thread_local")):
            terms = run.model.step(self.batch, knobs, run.rng, run.update)
            self.row, self.names = pack(terms, run.device), tuple(terms)
        return graph


def check_baked(name: str, value) -> None:
    """Of an optimizer's settings only the learning rate may be a tensor; torch reads the others on the host."""
    if any(isinstance(v, Tensor) for v in (value if isinstance(value, tuple) else (value,))):
        raise LabError(f"The optimizer's setting {name!r} comes from a knob that a captured step holds as a tensor; "
                       "list the knob in the model's baked_knobs.")
