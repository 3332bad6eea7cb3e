"""Does our VAE land where the literature puts it? The published check on stochastically binarised MNIST.

Burda et al. 2016 (arXiv:1509.00519, table 1): one stochastic layer of 50 units, two hidden layers of 200 tanh units on
either side, Bernoulli pixels drawn anew from the greys at every presentation, and a bound with 5,000 draws on the
10,000 test images: about -86.8 nats for the VAE and -84.8 for the IWAE with k = 50.

    python -m dgmlab.experiments.burda --model vae --epochs 1200 --folder runs/burda_vae --data MNIST/raw

Settings are chosen with ``--choose``, which keeps the last 10,000 training images for validation and leaves the test
images alone; the figures come from a run on all 60,000, as published. A killed run goes on from its last checkpoint
when the same command is given again. The figures are left in ``FOLDER/result.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import LabError
from ..metrics.latent import active_units
from ..metrics.likelihood import elbo, importance_weighted_bound, kl_per_dimension
from ..models.iwae import IWAE
from ..models.vae import VAE
from ..rng import Rng
from ..schedules import Schedule
from ..training import Run, TensorBatches, checkpoint
from ..training.state import versions

PUBLISHED = {"vae": -86.76, "iwae": -84.78}       # Burda et al. 2016, table 1, nats; recalled, not re-read
SHAPE = (1, 28, 28)
VALIDATION = 10_000
TEST_SEED = 2016                                  # fixes the binarised test images and the draws of the bound


@dataclass(frozen=True)
class Settings:
    """What the figures depend on. ``lr`` falls along half a cosine from its value to a hundredth of it."""

    model: str = "vae"
    epochs: int = 1000
    batch_size: int = 100
    lr: float = 1e-3
    samples: int = 50                             # k, of the IWAE
    seed: int = 0
    precision: str = "float32"
    choose: bool = False                          # hold out VALIDATION images, for choosing the other settings

    @property
    def command(self) -> str:
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in vars(self).items()
                           if not isinstance(value, bool))
        return f"python -m dgmlab.experiments.burda {options}" + " --choose" * self.choose


def binarise(x: Tensor, rng: Rng) -> Tensor:
    """Each pixel 1 with its grey as the probability."""
    return (rng.uniform(x.shape) < x).float()


def greys(folder: Path) -> tuple[Tensor, Tensor]:
    """The 60,000 training and 10,000 test images, (N, 1, 28, 28) in [0, 1], from MNIST's idx files."""
    images = []
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        path = folder / name
        if not path.is_file():
            raise LabError(f"There is no file {path}; give the folder of MNIST's unpacked idx files as --data.")
        images.append(torch.from_numpy(np.fromfile(path, np.uint8)[16:].reshape(-1, *SHAPE)).float() / 255)
    return images[0], images[1]


def build(settings: Settings, pixel_means: Tensor) -> VAE:
    """The published networks and their start: Glorot & Bengio's weights, the decoder's last bias at the mean image."""
    arguments = dict(shape=SHAPE, latent=50, hidden=(200, 200), observation="bernoulli", activation="tanh")
    model = VAE(**arguments) if settings.model == "vae" else IWAE(**arguments, samples=settings.samples)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    with torch.no_grad():
        model.decoder.dense[-1].bias.copy_(pixel_means.clamp(0.001, 0.999).logit())
    return model


def train(settings: Settings, data: Path, folder: Path, warm_start: Path | None = None, every: int = 10) -> Run:
    """Train, or go on training, to the end; prints a line every ``every`` epochs.

    The bound in that line is on 10,000 images that were held out with ``--choose``, else on training images.
    """
    images = greys(data)[0]
    x = images[:-VALIDATION] if settings.choose else images
    watched = binarise(images[-VALIDATION:], Rng(TEST_SEED))
    batches = TensorBatches(x, settings.batch_size, transform=lambda batch, rng: (binarise(batch[0], rng),))
    epoch = len(x) // settings.batch_size
    steps = settings.epochs * epoch
    run = Run(lambda: build(settings, x.mean(0).flatten()), batches, seed=settings.seed, threads=1,
              precision=settings.precision, folder=folder, every=steps, keep=2, spec=vars(settings))
    if not run.resume():
        if warm_start:
            run.model.load_state_dict(_weights(warm_start))
        run.knobs.drive("lr", Schedule(steps, settings.lr, settings.lr / 100, ramp=1.0, shape="cosine"))
    start, before = time.perf_counter(), seconds_so_far(run)
    for tick in run.steps(steps - run.step):
        if tick.step % (every * epoch) == 0 or tick.step == steps:
            bound = elbo(run.model, watched, Rng(1))
            seconds = before + time.perf_counter() - start
            run.history.record(tick.step, watched_elbo=bound.nats, seconds=seconds)
            run.save()
            recent = run.history.column("loss")[-every * epoch:].mean()
            print(f"epoch {tick.step // epoch:5,}  loss {recent:7.2f}  ELBO {bound}  {seconds:7.0f} s", flush=True)
    return run


def seconds_so_far(run: Run) -> float:
    """Time spent training up to the run's checkpoint, over all sessions."""
    return float(run.history.recorded("seconds")[1][-1]) if run.step else 0.0


def evaluate(run: Run, data: Path, samples: int = 5000) -> dict:
    """The figures on the 10,000 test images, binarised once with a fixed seed."""
    start = time.perf_counter()
    test = binarise(greys(data)[1], Rng(TEST_SEED))
    bound = importance_weighted_bound(run.model, test, Rng(TEST_SEED + 1), samples)
    lower = elbo(run.model, test, Rng(TEST_SEED + 2), samples=10)
    with torch.no_grad():
        mu, logvar = run.model.encode(test)
    units = active_units(mu)
    return {"test_bound": bound.nats, "standard_error": bound.standard_error, "draws": bound.samples,
            "test_images": bound.examples, "test_elbo": lower.nats, "reconstruction": lower.reconstruction,
            "kl": lower.kl, "active_units": units.number, "active_units_threshold": units.threshold,
            "largest_kl_of_a_dimension": float(kl_per_dimension(mu, logvar).max()),
            "test_seed": TEST_SEED, "seconds_of_evaluation": round(time.perf_counter() - start, 1)}


def _weights(folder: Path) -> dict[str, Tensor]:
    found = checkpoint.newest(folder)
    if not found:
        raise LabError(f"There is no checkpoint in {folder} to start from; train that model first.")
    return {name.removeprefix("model."): tensor for name, tensor in found[1].items() if name.startswith("model.")}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m dgmlab.experiments.burda", description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", choices=("vae", "iwae"), default="vae")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--samples", type=int, default=50, help="k of the IWAE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the training")
    parser.add_argument("--folder", type=Path, required=True, help="checkpoints and result.json")
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's unpacked idx files")
    parser.add_argument("--warm-start", type=Path, help="folder of another run whose weights to start from")
    parser.add_argument("--choose", action="store_true", help="hold out 10,000 training images; no test figures")
    options = vars(parser.parse_args(arguments))
    folder, data, warm_start = (options.pop(name) for name in ("folder", "data", "warm_start"))
    settings = Settings(**options)
    try:
        run = train(settings, data, folder, warm_start)
        if settings.choose:
            return
        figures = evaluate(run, data)
    except LabError as error:
        raise SystemExit(str(error)) from None
    command = settings.command + (f" --warm-start {warm_start.name}" if warm_start else "")
    result = {"command": f"{command} --folder DIR --data DIR",
              "settings": vars(settings), "steps": run.step, "seconds": round(seconds_so_far(run), 1),
              "threads": run.threads.number, "parameters": run.parameters, **figures,
              "published": PUBLISHED[settings.model],
              "difference": round(figures["test_bound"] - PUBLISHED[settings.model], 2),
              "versions": versions() | {"numpy": np.__version__}}
    checkpoint.write_atomically(folder / "result.json", (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
