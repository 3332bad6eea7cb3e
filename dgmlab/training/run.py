"""A training run is a generator.

    run = Run(lambda: VAE(latent=8), digits.train.x, batch_size=128, seed=0)
    for tick in run.steps(2000):
        if tick.step % 500 == 0:
            print(tick.step, tick["loss"])

There is no callback system: a notebook cell iterates the run to its end, a live panel pulls ticks from it between
two screen updates, a sweep runs it headless. Everything that decides its numbers - parameters, optimizer, random
generators, data order, knobs and the log of their changes - belongs to the run, so it can be saved, resumed and
replayed to the same numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import LabError, check_choice, check_number
from ..knobs import Knobs, Real, Whole
from ..models.recipe import Recipe
from ..rng import Rng
from . import devices, graphs
from .batches import TensorBatches
from .draws import SeesDraws, adopt_dropout, global_generator
from .graphs import StepGraph, check_baked
from .history import History
from .interrupts import interrupts
from .live import Live
from .state import collect, put_back
from .store import Store

GUARD_EVERY = 50        # steps between two copies of the state kept in memory, to fall back on


class NonFinite(LabError):
    """A term of the loss became infinite or undefined; the run went back to its last good state."""


class Tick:
    """One completed step: ``tick.step`` counts completed steps, ``tick["kl"]`` is a term of that step's loss."""

    __slots__ = ("step", "_history")

    def __init__(self, step: int, history: History):
        self.step, self._history = step, history

    def __getitem__(self, name: str) -> float:
        return self.metrics[name]

    @property
    def metrics(self) -> dict[str, float]:
        """All terms of the step. On an accelerator, looking makes the host wait for the device."""
        return self._history.row(self.step - 1)

    def __repr__(self):
        return f"step {self.step:,}: " + ", ".join(f"{k} {v:.4g}" for k, v in self.metrics.items())


class Run:
    """A model in training.

    Args:
        build: a function that makes the model (a :class:`~dgmlab.models.recipe.Recipe`), called under the run's
            seed; or a finished model, whose initial weights are then the caller's business.
        batches: tensors (N, ...) to draw batches from, or an object like
            :class:`~dgmlab.training.batches.TensorBatches`.
        batch_size: examples a step, over all processes; only where ``batches`` is given as tensors.
        knobs: start values of knobs by name.
        seed: any whole number; it fixes the initial weights, the data order and all noise.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        precision: ``auto``, ``float32``, ``bfloat16`` (autocast).
        threads: torch's threads on a CPU, ``auto`` or a number. Sums are split differently among other numbers of
            threads, so it is saved with the run and kept when the run is resumed.
        folder: where to leave checkpoints; none are written without it.
        every, keep: steps between two checkpoints, and how many of them are kept.
        graph: capture the step as a CUDA graph (``auto``: for small models on a CUDA device).
        spec: how to build this run again, JSON-able; see :mod:`dgmlab.experiments`.
    """

    def __init__(self, build: Callable[[], Recipe] | Recipe, batches, *, batch_size: int = 128,
                 knobs: dict | None = None, seed: int = 0, device: str = "auto", precision: str = "auto",
                 threads: int | str = "auto", folder: str | Path | None = None, every: int = 1000, keep: int = 3,
                 graph: bool | str = "auto", spec: dict | None = None):
        check_number("The seed", seed, 0, 2**63 - 1, whole=True)
        check_number("The number of steps between two checkpoints", every, 1, whole=True)
        check_number("The number of checkpoints to keep", keep, 1, whole=True)
        from .distributed import processes

        self.group = processes(device)
        self.device = self.group.device if self.group else devices.choose_device(device)
        shard, shards = (self.group.rank, self.group.number) if self.group else (0, 1)
        self.seed, self.spec = int(seed), spec
        self.model = _build(build, self.seed, self.device).to(self.device)
        self.knobs: Knobs = self.model.Knobs(**(knobs or {}))
        self._numeric = [name for name, trait in self.knobs.traits().items() if isinstance(trait, Real | Whole)]
        self.rng = Rng(self.seed, self.device, shard=shard, shards=shards)
        self._order = Rng(self.seed + 1)
        adopt_dropout(self.model, self.rng)

        self.batches = batches if hasattr(batches, "next") else TensorBatches(batches, batch_size)
        self.batches.to(self.device)
        if shards > 1:
            self.batches.share(shard, shards)

        self.players = {name: [p for p in parameters if p.requires_grad]
                        for name, parameters in self.model.players().items()}
        self.parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.precision = devices.choose_precision(self.device, self.parameters, precision)
        self.threads = devices.choose_threads(self.parameters, getattr(self.batches, "batch_size", 1), threads)
        self._graph = None
        check_choice("The choice of a CUDA graph", graph, (True, False, "auto"))
        if graph is True and (self.device.type != "cuda" or self.group):
            raise LabError("A step can be captured as a CUDA graph only by a single process on a CUDA device; leave "
                           "graph='auto'.")
        small = self.parameters <= graphs.SMALL
        if graph is True or (graph == "auto" and small and self.device.type == "cuda" and not self.group):
            self._graph = StepGraph(self)
        fast = {"fused": True} if self.device.type in ("cpu", "cuda", "mps") else {}
        fast |= {"capturable": True} if self._graph else {}
        self.optimizers = {name: self.model.optimizer(name, parameters, **fast)
                           for name, parameters in self.players.items()}

        self.history = History(self.device)
        self.step = 0
        self.lock = threading.RLock()       # held during a step; take it to look at the model from another thread
        self.folder = Path(folder) if folder is not None else None
        self.every, self.keep = int(every), int(keep)
        self.notes: list[str] = []          # sentences about what happened on the way, for the user
        self._store = Store(self)
        self._interrupted = False
        self._good = [self._remember()]
        self.live = Live(self)

    # -- training ------------------------------------------------------------------------------------------------

    def steps(self, number: int) -> Iterator[Tick]:
        """Train for ``number`` steps; yields a :class:`Tick` after each.

        An interrupt (the stop button, Ctrl-C) takes effect between two steps and loses nothing.

        Raises:
            NonFinite: a term of the loss is infinite or undefined. The run is back at its last good state.
        """
        check_number("The number of steps", number, 0, whole=True)
        with interrupts.between_steps() as guarded:
            for _ in range(int(number)):
                with self.lock:
                    self._interrupted = False
                    if guarded:
                        interrupts.stepping = self
                    try:
                        with_threads = torch.get_num_threads()
                        if self.device.type == "cpu" and with_threads != self.threads.number:
                            torch.set_num_threads(self.threads.number)
                        # Numbers that have decayed below 1e-38 (unused codes, dead units) would slow every product.
                        torch.set_flush_denormal(True)
                        tick = self._advance()
                    finally:
                        torch.set_flush_denormal(False)
                        if torch.get_num_threads() != with_threads:
                            torch.set_num_threads(with_threads)
                        if guarded:
                            interrupts.stepping = None
                if self._interrupted:
                    raise KeyboardInterrupt
                yield tick

    def advance(self) -> Tick:
        """Train for one step."""
        return next(self.steps(1))

    def _advance(self) -> Tick:
        if self.folder and self.folder not in self._store.own:
            self.save()                 # so that a kill before the next checkpoint can be resumed as well
        knobs = self.knobs.at(self.step)
        if self.folder and len(self.knobs.log) != self._store.journalled:
            self._store.write_journal()
        if self.step == 0:
            self._good = [self._remember()]         # with the weights and schedules that were put in since
        row = self._first_step(knobs) if self.step == 0 else self._one_step(knobs)
        self.history.note({name: getattr(knobs, name) for name in self._numeric})
        self.history.append(row) if isinstance(row, dict) else self.history.append_packed(*row)
        self.step += 1
        self._guard()
        if self.folder and self.step % self.every == 0:
            self.save()
        return Tick(self.step, self.history)

    def _one_step(self, knobs):
        batch = self.batches.next(self._order, self.rng)
        more = [self.batches.next(self._order, self.rng) for _ in range(self.model.batches(knobs) - 1)]
        if more:
            batch = tuple(torch.cat(parts) for parts in zip(batch, *more, strict=True))
        if self._graph:
            return self._graph(batch, knobs)
        with self.autocast():
            terms = self.model.step(batch, knobs, self.rng, self.update)
        return self.group.mean_of(terms) if self.group else terms

    def _first_step(self, knobs):
        """The first step, watched for random numbers that are not the run's own."""
        before = global_generator(self.device)
        draws = SeesDraws()
        # Messages between processes must not pass through it: torch would never let go of the group again.
        with nullcontext() if self.group else draws:
            row = self._one_step(knobs)
        # The state alone would not do: another thread of a notebook may have drawn meanwhile.
        if (draws.seen or self.group) and not torch.equal(before, global_generator(self.device)):
            self._recall(self._good[0])
            where = f" ({draws.seen})" if draws.seen else ""
            raise LabError(f"{type(self.model).__name__} draws from torch's global generator{where}, so the run could "
                           "not be resumed or replayed; let it draw from the rng that step() and loss() are given, and "
                           "use nn.Dropout rather than other kinds of dropout.")
        return row

    def update(self, player: str | tuple[str, ...], loss: Tensor, *, clip: float | None = None, **settings) -> None:
        """One descent of the parameters of one player, or of several at once, on ``loss``; the model's step calls it.

        ``settings`` go into the optimizer (lr, eps, betas ...); ``clip`` bounds the gradient's norm.
        """
        players = (player,) if isinstance(player, str) else player
        for name in players:
            if name not in self.players:
                check_choice("The player", name, self.players)
        optimizers = [self.optimizers[name] for name in players]
        parameters = [p for name in players for p in self.players[name]]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=self._graph is None)
        loss.backward(inputs=parameters if len(self.players) > len(players) else None)
        if self.group:
            self.group.average_gradients(parameters)
        if clip is not None:                # torch's clip_grad_norm_, but clip may be a tensor
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = nn.utils.get_total_norm(gradients)
            torch._foreach_mul_(gradients, (clip / (norm + 1e-6)).clamp(max=1.0))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                for name, value in settings.items():
                    if name not in group:
                        raise LabError(f"The optimizer {type(optimizer).__name__} has no setting {name!r}; it has "
                                       f"{', '.join(key for key in group if key != 'params')}.")
                    if self._graph and name != "lr":
                        check_baked(name, value)
                    if group[name] is not value:
                        group[name] = value
            optimizer.step()

    def autocast(self):
        """The precision of the run's forward passes."""
        if self.precision is torch.float32:
            return nullcontext()
        # Without the cache of converted weights: it would outlive an update, and a second player of the same step
        # would be trained against the first one's old weights.
        return torch.autocast(self.device.type, self.precision, cache_enabled=False)

    # -- in the background, for notebooks ------------------------------------------------------------------------

    def start(self, steps: int | None = None) -> None:
        """Train in a background thread; see :class:`~dgmlab.training.live.Live`."""
        self.live.start(steps)

    def pause(self, why: str = "") -> None:
        """Stop the background thread after the step it is in; ``why`` is said beside its panel."""
        self.live.pause(why)

    def wait(self) -> None:
        """Block until the background training has reached its goal; an interrupt pauses the run."""
        self.live.wait()

    async def finish(self) -> None:
        """Like :meth:`wait`, as ``await run.finish()``: sliders keep working while the cell waits."""
        await self.live.finish()

    # -- going back ----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Back to step 0: initial weights, first batch, knobs as they were made."""
        with self.lock:
            self._recall(self._good[0])
            self.knobs.reset()
            self.notes.clear()
            if self.folder in self._store.own:
                self._store.clear()

    def _guard(self):
        """Keep copies of good states; on a non-finite loss or parameter go back to one and say what blew up."""
        bad = self.history.first_bad()          # on an accelerator, among the rows that have been fetched
        due = self.step % GUARD_EVERY == 0
        if not bad and (due or self.folder and self.step % self.every == 0):
            self.history.fetch()
            bad = self.history.first_bad() or self._broken_parameters()
        if bad:
            self._fall_back(*bad)
        if due:
            self._good = [self._good[0], *self._good[1:][-1:], self._remember()]

    def _broken_parameters(self) -> tuple[int, list[str]] | None:
        """A finite loss may still have had an infinite gradient; the next loss would show it."""
        names, parameters = zip(*self.model.named_parameters())
        with torch.no_grad():
            finite = torch.stack([torch.isfinite(p).all() for p in parameters]).tolist()
        return None if all(finite) else (self.step - 1, [name for name, good in zip(names, finite) if not good][:2])

    def _fall_back(self, row: int, names: list[str]):
        values = self.history.row(row)
        what = " and ".join(f"{name!r} is {values[name]}" if name in values else f"{name!r} is no longer finite"
                            for name in names)
        broken = "The loss" if names[0] in values else "A parameter"
        # Not the newest copy: the damage may have been done just before it was taken.
        good = self._good[-2] if len(self._good) > 1 else self._good[-1]
        settings = ", ".join(f"{name} {self.history.column(name)[row]:g}" for name in self._numeric)
        self._recall(good)
        self.knobs.forget_plans()               # or a replay would make the fatal change again
        sentence = (f"{broken} stopped being a number at step {row + 1:,}: {what} (with {settings}). The run is back "
                    f"at step {self.step:,}, its last good state; lower the learning rate or undo the last change, "
                    "then go on.")
        self.notes.append(sentence)
        raise NonFinite(sentence)

    def _remember(self) -> dict:
        tensors, meta = self.state(history=False)
        return {"tensors": {name: t.detach().clone() for name, t in tensors.items()}, "meta": meta}

    def _recall(self, good: dict):
        """Go back to a copy in memory; what the folder holds of later steps never happened."""
        self.history.truncate(good["meta"]["step"])
        self.restore(good["tensors"], good["meta"])
        # It has proved to be good for a while, so it is also what the next fall goes back to.
        self._good = self._good[:1] if good is self._good[0] else [self._good[0], good, good]
        self._store.forget_later()

    # -- saving --------------------------------------------------------------------------------------------------

    def state(self, *, history: bool = True) -> tuple[dict[str, Tensor], dict]:
        """Everything that decides the numbers from here on: tensors, and JSON-able data."""
        return collect(self, history)

    def restore(self, tensors: dict[str, Tensor], meta: dict) -> None:
        """Go on from a state."""
        put_back(self, tensors, meta)
        if "history" in meta:
            self.history.restore(tensors, meta["history"])
            now = self._remember()
            self._good = [self._good[0], now, now]

    def save(self, folder: str | Path | None = None) -> Path:
        """Write a checkpoint now; returns its path.

        Raises:
            LabError: the folder cannot be written to, or holds another run.
        """
        return self._store.save(folder)

    def resume(self, folder: str | Path | None = None) -> bool:
        """Go on from the newest readable checkpoint of the run's folder; False where there is none.

        Changes of knobs made after that checkpoint are made again at their steps, so the numbers come out as if the
        run had never stopped.
        """
        return self._store.resume(folder)

    def clear_folder(self) -> None:
        """Delete the run's checkpoints."""
        self._store.clear()


def _build(build, seed: int, device: torch.device) -> Recipe:
    if isinstance(build, nn.Module):
        model = build
    else:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            model = build()
    if not isinstance(model, Recipe):
        raise LabError(f"A run trains a Recipe (see dgmlab/models/recipe.py), not {type(model).__name__}; derive the "
                       "model's class from Recipe.")
    return model
