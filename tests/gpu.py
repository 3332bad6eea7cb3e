"""Checks and a small benchmark for a CUDA device: ``python -m tests.gpu [--json FILE]``.

Without a GPU it says so and ends well; everything else in the project passes without one.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time

import numpy as np
import torch

from dgmlab.models.vae import VAE
from dgmlab.rng import Rng
from dgmlab.training import Run

TOLERANCE = 2e-3        # relative: float32 sums in another order, through 100 steps of Adam
SIZES = {"digits, 8x8, 256": ((1, 8, 8), (256,), 128), "28x28, 200-200": ((1, 28, 28), (200, 200), 128),
         "28x28, 2048-2048": ((1, 28, 28), (2048, 2048), 512)}


class CpuRng(Rng):
    """Draws on the CPU and carries the numbers over: the same noise on both devices."""

    def __init__(self, seed, device):
        super().__init__(seed, "cpu")
        self.target = device

    def normal(self, shape):
        return super().normal(shape).to(self.target)


def images(shape, examples=4096):
    return torch.rand(examples, *shape, generator=torch.Generator().manual_seed(0)).square()


def make(size="digits, 8x8, 256", **options):
    shape, hidden, batch = SIZES[size]
    return Run(lambda: VAE(shape, 8, hidden), images(shape), batch_size=batch, **options)


def history(run, steps):
    for _ in run.steps(steps):
        pass
    return np.stack([run.history.column(name) for name in run.history.names])


def same_as_cpu():
    """100 eager steps with the same noise agree with the CPU."""
    runs = [make(device="cpu"), make(device="cuda", graph=False)]
    for run in runs:
        run.rng = CpuRng(0, run.device)
    cpu, gpu = (history(run, 100) for run in runs)
    difference = np.abs(cpu - gpu).max() / np.abs(cpu).max()
    assert difference < TOLERANCE, f"relative difference {difference:.2g}"
    return f"largest relative difference {difference:.1e} (allowed {TOLERANCE:g})"


def graph_equals_eager():
    """200 captured steps, with the KL weight and the rate moved twice, agree with eager ones."""
    results = []
    for graph in (False, True):
        run = make(device="cuda", graph=graph)
        for step, beta, lr in ((0, 1.0, 1e-3), (80, 4.0, 1e-3), (140, 0.5, 3e-4)):
            run.knobs.beta, run.knobs.lr = beta, lr
            history(run, {0: 80, 80: 60, 140: 60}[step])
        results.append(np.stack([run.history.column(name) for name in run.history.names]))
        if graph:
            assert run._graph.graph is not None, "the step was never captured"
    kl = results[1][2]
    assert kl[139] < kl[79], "raising the KL weight did not lower the KL: the graph does not read the knob"
    difference = np.abs(results[0] - results[1]).max() / np.abs(results[0]).max()
    assert difference < TOLERANCE, f"relative difference {difference:.2g}"
    return f"largest relative difference {difference:.1e}"


def no_host_synchronisation():
    """No step makes the host wait for the device, captured or not."""
    for graph in (False, True):
        run = make(device="cuda", graph=graph)
        history(run, 20)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(20):         # between two guards and two fetches, which are meant to wait
                run.advance()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return "20 steps each way"


def resume_is_exact():
    """A captured run, saved and resumed, gives the numbers of the uninterrupted one."""
    with tempfile.TemporaryDirectory() as folder:
        whole = history(make(device="cuda"), 150)
        first = make(device="cuda")
        history(first, 90)
        first.save(folder)
        second = make(device="cuda")
        second.resume(folder)
        assert np.array_equal(history(second, 60), whole)
    return "equal to the last bit"


def non_finite_falls_back():
    """A rate that blows the model up brings it back to a good state."""
    from dgmlab.training import NonFinite

    run = make(device="cuda")
    history(run, 120)
    run.knobs.lr = 1.0
    run.knobs.beta = 100.0
    with torch.no_grad():
        next(run.model.parameters()).fill_(float("nan"))
    try:
        history(run, 100)
    except NonFinite as error:
        assert run.step <= 120 and all(torch.isfinite(p).all() for p in run.model.parameters())
        return str(error)
    raise AssertionError("a NaN went unnoticed")


def bench() -> list[dict]:
    """Milliseconds a step: eager, captured, captured in bfloat16; CPU beside them."""
    ways = {"cpu, float32": dict(device="cpu"), "cuda, eager": dict(device="cuda", graph=False),
            "cuda, graph": dict(device="cuda", graph=True),
            "cuda, graph, bfloat16": dict(device="cuda", graph=True, precision="bfloat16")}
    rows = []
    for size in SIZES:
        runs = {way: make(size, **options) for way, options in ways.items()}
        seconds = {way: [] for way in ways}
        for round_ in range(6):
            for way, run in runs.items():
                steps = 20 if way.startswith("cpu") else 200
                torch.cuda.synchronize()
                start = time.perf_counter()
                for _ in run.steps(steps):
                    pass
                torch.cuda.synchronize()
                if round_:
                    seconds[way].append((time.perf_counter() - start) / steps)
        reference = statistics.median(seconds["cuda, eager"])
        for way, times in seconds.items():
            rows.append({"benchmark": f"gpu: VAE {size}", "contender": way, "seconds": statistics.median(times),
                         "ratio": statistics.median(times) / reference})
            print(f"{size:20} {way:24} {1e3 * rows[-1]['seconds']:9.3f} ms a step  {rows[-1]['ratio']:7.3f}")
    return rows


CHECKS = (same_as_cpu, graph_equals_eager, no_host_synchronisation, resume_is_exact, non_finite_falls_back)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="write the table, the device, versions and command to FILE")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA device here: the GPU checks were not run.")
        return 0
    torch.backends.cuda.matmul.allow_tf32 = False
    checks, failed = {}, 0
    for check in CHECKS:
        try:
            checks[check.__name__] = f"passed: {check()}"
        except Exception as error:
            failed += 1
            checks[check.__name__] = f"FAILED: {type(error).__name__}: {error}"
        print(f"{check.__name__}: {checks[check.__name__]}", flush=True)
    rows = bench()
    if options.json:
        about = {"command": "python -m tests.gpu " + " ".join(sys.argv[1:]), "device": torch.cuda.get_device_name(),
                 "torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version()}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"about": about, "checks": checks, "rows": rows}, file, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
