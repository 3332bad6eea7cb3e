"""Where and how a run computes: device, number of threads, precision.

The thread count matters more than anything else on a CPU: with two threads on a busy two-core machine, the small
models of the labs were measured 9 to 70 times slower than with one, because the threads wait for each other at every
operation. So the choice follows the work in a step, not the number of cores.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

from ..errors import LabError, check_choice, check_number

# Below this many floating-point operations a step, starting and joining threads costs more than it saves.
WORK_FOR_THREADS = 4e9


class Threads(NamedTuple):
    number: int
    why: str


def choose_device(wanted: str = "auto") -> torch.device:
    """The device to train on: ``auto`` takes CUDA, then Apple's MPS, then the CPU."""
    if wanted != "auto":
        kind = str(wanted).split(":")[0]
        check_choice("The device", kind, ("auto", "cpu", "cuda", "mps"))
        if kind == "cuda" and not torch.cuda.is_available():
            raise LabError("The device is 'cuda', but torch finds no CUDA device here; use device='auto' or 'cpu'.")
        if kind == "cuda" and torch.device(wanted).index not in (None, *range(torch.cuda.device_count())):
            raise LabError(f"The device is {str(wanted)!r}, but torch finds only {torch.cuda.device_count()} CUDA "
                           "device(s) here, counted from 0.")
        if kind == "mps" and not torch.backends.mps.is_available():
            raise LabError("The device is 'mps', but torch finds no Apple GPU here; use device='auto' or 'cpu'.")
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(parameters: int, batch_size: int, wanted: int | str = "auto", *, live: bool = False) -> Threads:
    """How many threads torch should use for one training run on a CPU, and the reason in words.

    Args:
        parameters: number of trainable parameters.
        batch_size: examples a step; a step costs about 6 * parameters * batch_size operations (forward 2, backward 4).
        wanted: a number to insist on, or ``auto``.
        live: a browser and a notebook server want a core too.
    """
    if wanted != "auto":
        check_number("The number of threads", wanted, 1, whole=True)
        return Threads(int(wanted), "asked for")
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return Threads(max(1, int(os.environ["OMP_NUM_THREADS"])), "OMP_NUM_THREADS is set")
    work = 6 * parameters * batch_size
    if work < WORK_FOR_THREADS:
        return Threads(1, f"a step costs about {work / 1e6:,.0f} million operations, too few to share")
    free = max(1, cores() - 1) if live else cores()
    return Threads(free, f"a step costs about {work / 1e9:,.1f} billion operations, worth {free} of {cores()} cores")


def choose_precision(device: torch.device, parameters: int, wanted: str = "auto") -> torch.dtype:
    """float32, or bfloat16 where it pays: large models on a CUDA device that computes in it."""
    check_choice("The precision", wanted, ("auto", "float32", "bfloat16"))
    if wanted != "auto":
        return getattr(torch, wanted)
    pays = device.type == "cuda" and parameters >= 5_000_000 and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if pays else torch.float32
