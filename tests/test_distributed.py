"""Several processes, one run: the numbers of a single process on the same global batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from dgmlab.errors import LabError
from dgmlab.models.vae import VAE
from dgmlab.rng import Rng
from dgmlab.training import Run, TensorBatches, checkpoint

from .support import TinyGAN, data, train

STEPS = 50


def build(kind: str, folder=None) -> Run:
    if kind == "gan":
        return Run(TinyGAN, data(), batch_size=32, knobs={"lr": 0.01}, folder=folder, every=20, device="cpu")
    x = torch.rand(256, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    return Run(lambda: VAE((1, 8, 8), 4, (32,)), x, batch_size=64, folder=folder, every=20, device="cpu")


# What each process runs; the first argument is where rank 0 leaves the history.
WORKER = """
import sys
import numpy as np
from tests.test_distributed import STEPS, build
from tests.support import train
from dgmlab.errors import LabError
kind, out, folder = sys.argv[1:]
run = build(kind, folder)
run.resume()
if kind == "vae":
    run.knobs.beta = 2
train(run, STEPS - run.step)
if run.group.rank == 0:
    weights = np.concatenate([p.detach().flatten().numpy() for p in run.model.parameters()])
    np.savez(out, weights=weights, **{n: run.history.column(n) for n in run.history.names})
"""

BAD_BATCH = """
from tests.support import tiny_run
from dgmlab.errors import LabError
try:
    tiny_run(batch_size=31)
except LabError as error:
    print(error)
"""


def two_processes(code: str, *arguments) -> list[str]:
    """The outputs of two processes of one group (gloo)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
             "OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE,
                                  env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
                 for rank in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in outputs]


def single(kind: str) -> dict[str, np.ndarray]:
    run = build(kind)
    if kind == "vae":
        run.knobs.beta = 2
    train(run, STEPS)
    return {"weights": np.concatenate([p.detach().flatten().numpy() for p in run.model.parameters()]),
            **{name: run.history.column(name) for name in run.history.names}}


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_two_processes_give_the_numbers_of_one(kind, tmp_path):
    two_processes(WORKER, kind, tmp_path / "out.npz", tmp_path / "run")
    expected, made = single(kind), np.load(tmp_path / "out.npz")
    assert set(made) == set(expected)
    for name, values in expected.items():
        assert np.abs(made[name] - values).max() < 1e-6 * np.abs(values).max(), name
    # one of them has written, and a single process can go on from there
    assert [checkpoint.step_of(p) for p in checkpoint.found(tmp_path / "run")] == [40, 20, 0]
    run = build(kind, tmp_path / "run")
    assert run.resume() and run.step == 40
    train(run, STEPS - 40)
    for name in run.history.names:
        np.testing.assert_allclose(run.history.column(name), expected[name], rtol=1e-5)


def test_a_batch_that_does_not_divide_is_one_sentence():
    for output in two_processes(BAD_BATCH):
        assert output.strip() == "A batch of 31 does not divide among 2 processes; choose a multiple of 2."


def test_shards_draw_the_slices_of_one_whole():
    whole, parts = Rng(0), [Rng(0, shard=shard, shards=4) for shard in range(4)]
    for draw in (lambda rng, n: rng.normal((n, 3)), lambda rng, n: rng.uniform((n,)),
                 lambda rng, n: rng.integers(9, (n, 2))):
        assert torch.equal(torch.cat([draw(part, 2) for part in parts]), draw(whole, 8))
    assert all(torch.equal(part.permutation(7), Rng(3).permutation(7)) for part in
               [Rng(3, shard=shard, shards=4) for shard in range(4)])


def test_batches_are_dealt_out_in_slices():
    def flip(batch, rng):
        return ((rng.uniform(batch[0].shape) < 0.5) * batch[0],)
    whole, parts = TensorBatches(torch.arange(1, 21), 8, flip), []
    for shard in range(2):
        part = TensorBatches(torch.arange(1, 21), 8, flip)
        part.share(shard, 2)
        parts.append((part, Rng(1), Rng(2, shard=shard, shards=2)))
    order, noise = Rng(1), Rng(2)
    for _ in range(5):
        assert torch.equal(torch.cat([part.next(o, n)[0] for part, o, n in parts]), whole.next(order, noise)[0])


@pytest.mark.parametrize("shards", [3, 7])
def test_only_whole_shares(shards):
    with pytest.raises(LabError, match=f"8 does not divide among {shards} processes"):
        TensorBatches(torch.arange(20), 8).share(0, shards)
