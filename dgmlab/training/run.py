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

import json
import math
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import LabError, check_number
from ..knobs import Knobs, Real, Whole
from ..models.recipe import Recipe
from ..rng import Rng
from . import checkpoint, devices
from .batches import TensorBatches
from .dropout import adopt_dropout
from .history import History
from .live import Live

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

        self.group = processes()
        self.device = self.group.device if self.group else devices.choose_device(device)
        shard, shards = (self.group.rank, self.group.number) if self.group else (0, 1)
        self.seed, self.spec = int(seed), spec
        self.model = _build(build, seed).to(self.device)
        self.knobs: Knobs = self.model.Knobs(**(knobs or {}))
        self._numeric = [name for name, trait in self.knobs.traits().items() if isinstance(trait, Real | Whole)]
        self._settings: dict[str, float] = {}
        self.rng = Rng(seed, self.device, shard=shard, shards=shards)
        self._order = Rng(seed + 1)
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
        if graph is True or (graph == "auto" and self.device.type == "cuda" and not self.group):
            from .graphs import StepGraph

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
        self._journalled: list[dict] = []
        self._interrupted = self._stepping = False
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
        with self._own_threads(), self._interrupts_between_steps():
            for _ in range(int(number)):
                yield self.advance()

    def advance(self) -> Tick:
        """Train for one step."""
        with self.lock:
            if self.step == 0 and self.folder:
                self._claim_folder()
            self._stepping = True
            try:
                row = self._one_step()
            finally:
                self._stepping = False
            self.history.note(self._settings)
            self.history.append(row) if isinstance(row, dict) else self.history.append_packed(row)
            self.step += 1
            self._guard()
            if self.folder:
                if len(self.knobs.log) != len(self._journalled):
                    self._write_journal()
                if self.step % self.every == 0:
                    self.save()
            tick = Tick(self.step, self.history)
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt
        return tick

    def _one_step(self):
        knobs = self.knobs.at(self.step)
        self._settings = {name: getattr(knobs, name) for name in self._numeric}
        batch = self.batches.next(self._order, self.rng)
        if self._graph:
            return self._graph(batch, knobs)
        foreign = torch.get_rng_state() if self.step == 0 else None
        with self.autocast():
            terms = self.model.step(batch, knobs, self.rng, self.update)
        if foreign is not None and not torch.equal(foreign, torch.get_rng_state()):
            raise LabError(f"{type(self.model).__name__} draws from torch's global generator, so the run could not be "
                           "resumed or replayed; let it draw from the rng that step() and loss() are given.")
        return self.group.mean_of(terms) if self.group else terms

    def update(self, player: str, loss: Tensor, *, clip: float | None = None, **settings) -> None:
        """One descent of one player's parameters on ``loss``; the model's step calls it.

        ``settings`` go into the optimizer (lr, eps, betas ...); ``clip`` bounds the gradient's norm.
        """
        optimizer, parameters = self.optimizers[player], self.players[player]
        optimizer.zero_grad(set_to_none=self._graph is None)
        loss.backward(inputs=parameters if len(self.players) > 1 else None)
        if self.group:
            self.group.average_gradients(parameters)
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        for group in optimizer.param_groups:
            for name, value in settings.items():
                if group[name] is not value:
                    group[name] = value
        optimizer.step()

    def autocast(self):
        """The precision of the run's forward passes."""
        if self.precision is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision)

    # -- in the background, for notebooks ------------------------------------------------------------------------

    def start(self, steps: int | None = None) -> None:
        """Train in a background thread; see :class:`~dgmlab.training.live.Live`."""
        self.live.start(steps)

    def pause(self) -> None:
        """Stop the background thread after the step it is in."""
        self.live.pause()

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
            self._good = self._good[:1]
            self.knobs.reset()
            self.notes.clear()
            if self.folder:
                self.clear_folder()

    def _guard(self):
        """Keep copies of good states; on a non-finite loss go back to one and say which term blew up."""
        on_cpu = self.device.type == "cpu"
        if on_cpu and not math.isfinite(sum(self.history.row(self.step - 1).values())):
            self._fall_back()
        if self.step % GUARD_EVERY == 0:
            if not on_cpu and self.history.first_bad(self._good[-1]["meta"]["step"]):
                self._fall_back()
            self._good = [self._good[0], *self._good[1:][-1:], self._remember()]

    def _fall_back(self):
        row, names = self.history.first_bad(self._good[-1]["meta"]["step"])
        values = self.history.row(row)
        what = " and ".join(f"{name!r} is {values[name]}" for name in names)
        # Not the newest copy: the damage may have been done just before it was taken.
        good = self._good[-2] if len(self._good) > 1 else self._good[-1]
        with self.knobs._lock:
            moved = self.knobs.values()
        self._recall(good)
        settings = ", ".join(f"{name} {value:g}" for name, value in moved.items() if isinstance(value, float))
        sentence = (f"The loss stopped being a number at step {row + 1:,}: {what} (with {settings}). The run is back at "
                    f"step {self.step:,}, its last good state; lower the learning rate or undo the last change, "
                    "then go on.")
        self.notes.append(sentence)
        raise NonFinite(sentence)

    def _remember(self) -> dict:
        tensors, meta = self.state(history=False)
        return {"tensors": {name: t.detach().clone() for name, t in tensors.items()}, "meta": meta}

    def _recall(self, good: dict):
        self.history.truncate(good["meta"]["step"])
        self.restore(good["tensors"], good["meta"])
        self._good = [g for g in self._good if g["meta"]["step"] <= self.step]

    # -- saving --------------------------------------------------------------------------------------------------

    def state(self, *, history: bool = True) -> tuple[dict[str, Tensor], dict]:
        """Everything that decides the numbers from here on: tensors, and JSON-able data."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        groups = {}
        for player, optimizer in self.optimizers.items():
            state = optimizer.state_dict()
            groups[player] = [{k: (v.item() if isinstance(v, Tensor) else v) for k, v in group.items()}
                              for group in state["param_groups"]]
            for index, slots in state["state"].items():
                tensors |= {f"optimizer.{player}.{index}.{slot}": value for slot, value in slots.items()}
        batch_tensors, batch_meta = self.batches.state()
        tensors |= {f"batches.{name}": tensor for name, tensor in batch_tensors.items()}
        tensors |= {"rng.noise": self.rng.state(), "rng.order": self._order.state()}
        meta = {"step": self.step, "seed": self.seed, "threads": self.threads.number, "spec": self.spec,
                "knobs": self.knobs.state(), "batches": batch_meta, "optimizers": groups,
                "versions": versions()}
        if history:
            columns, meta["history"] = self.history.state()
            tensors |= columns
        return tensors, meta

    def restore(self, tensors: dict[str, Tensor], meta: dict) -> None:
        """Go on from a state."""
        pick = _picker(tensors)
        self.model.load_state_dict(pick("model."))
        for player, optimizer in self.optimizers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in pick(f"optimizer.{player}.").items():
                index, slot = name.split(".", 1)
                slots.setdefault(int(index), {})[slot] = value.clone()
            _restore_optimizer(optimizer, slots, meta["optimizers"][player])
        self.batches.restore(pick("batches."), meta["batches"])
        self.rng.restore(tensors["rng.noise"])
        self._order.restore(tensors["rng.order"])
        self.knobs.restore(meta["knobs"])
        self.step = meta["step"]
        self.threads = devices.Threads(meta["threads"], "as it was when the run was saved")
        if "history" in meta:
            self.history.restore(tensors, meta["history"])
            self._good = [self._good[0], self._remember()]

    def save(self, folder: str | Path | None = None) -> Path:
        """Write a checkpoint now; returns its path."""
        folder = Path(folder) if folder is not None else self.folder
        if folder is None:
            raise LabError("This run has no folder to save to; give one, as in run.save('my_run').")
        path = checkpoint.path_for(folder, self.step)
        with self.lock:
            if not self.group or self.group.rank == 0:
                checkpoint.write(path, *self.state())
                checkpoint.prune(folder, self.keep)
        return path

    def resume(self, folder: str | Path | None = None) -> bool:
        """Go on from the newest readable checkpoint of the run's folder; False where there is none.

        Changes of knobs made after that checkpoint are made again at their steps, so the numbers come out as if the
        run had never stopped.
        """
        folder = Path(folder) if folder is not None else self.folder
        if folder is None:
            raise LabError("This run has no folder to resume from; give one, as in run.resume('my_run').")
        best = checkpoint.newest(folder)
        journal = self._read_journal(folder)
        if best is None and not journal:
            return False
        with self.lock:
            if best:
                path, tensors, meta, refused = best
                self.notes += refused
                self._check_same_run(path, tensors, meta)
                self.restore(tensors, meta)
            self._journalled = journal
            self.knobs.replay([event for event in journal if event not in self.knobs.log])
        return True

    def clear_folder(self) -> None:
        """Delete the run's checkpoints."""
        for path in checkpoint.found(self.folder):
            path.unlink()
        (self.folder / "knobs.jsonl").unlink(missing_ok=True)
        self._journalled = []

    def _check_same_run(self, path, tensors, meta):
        mine = {name: tuple(t.shape) for name, t in self.model.state_dict().items()}
        theirs = {name: tuple(t.shape) for name, t in _picker(tensors)("model.").items()}
        if mine != theirs:
            raise LabError(f"{path} holds another model than this run's; build the run with the same sizes, or choose "
                           "another folder.")
        if meta["seed"] != self.seed:
            raise LabError(f"{path} was made with seed {meta['seed']}, this run has seed {self.seed}; use the same seed "
                           "to resume it.")

    def _claim_folder(self):
        if checkpoint.found(self.folder):
            raise LabError(f"{self.folder} already holds a run; call run.resume() to go on with it, or choose another "
                           "folder.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._journalled:
            (self.folder / "knobs.jsonl").unlink(missing_ok=True)

    def _write_journal(self):
        """Append the newest changes of knobs, so that a kill between two checkpoints does not lose them."""
        new = [event for event in self.knobs.log if event not in self._journalled]
        if new and (not self.group or self.group.rank == 0):
            with open(self.folder / "knobs.jsonl", "a", encoding="utf-8") as file:
                file.writelines(json.dumps(event) + "\n" for event in new)
        self._journalled += new

    @staticmethod
    def _read_journal(folder) -> list[dict]:
        path = Path(folder) / "knobs.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]          # a line without its end was cut off
        return sorted((json.loads(line) for line in lines), key=lambda event: event["step"])

    # -- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _own_threads(self):
        before = torch.get_num_threads()
        if self.device.type == "cpu" and before != self.threads.number:
            torch.set_num_threads(self.threads.number)
        # Numbers that have decayed below 1e-38 (unused codes, dead units) would slow every product many times over.
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            if torch.get_num_threads() != before:
                torch.set_num_threads(before)

    @contextmanager
    def _interrupts_between_steps(self):
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def on_interrupt(number, frame):
            if self._stepping:
                self._interrupted = True
            elif callable(before):
                before(number, frame)

        signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def versions() -> dict[str, str]:
    """What the numbers of a run may depend on besides its state."""
    from .. import __version__

    return {"dgmlab": __version__, "torch": torch.__version__, "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}"}


def _build(build, seed: int) -> Recipe:
    if isinstance(build, nn.Module):
        model = build
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build()
    if not isinstance(model, Recipe):
        raise LabError(f"A run trains a Recipe (see dgmlab/models/recipe.py), not {type(model).__name__}; derive the "
                       "model's class from Recipe.")
    return model


def _picker(tensors):
    return lambda prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _restore_optimizer(optimizer, slots, groups):
    """Put an optimizer's state back in place: a captured graph keeps pointing at the same memory."""
    for group, saved in zip(optimizer.param_groups, groups):
        for name, value in saved.items():
            if name == "params":
                continue
            if isinstance(group[name], Tensor):
                group[name].fill_(value)
            else:
                group[name] = tuple(value) if isinstance(group[name], tuple) else value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        if index not in slots:
            if parameter in optimizer.state:            # going back to before the first step
                for value in optimizer.state[parameter].values():
                    value.zero_()
            continue
        state = optimizer.state[parameter]
        for slot, value in slots[index].items():
            if slot in state:
                state[slot].copy_(value)
            else:
                state[slot] = value.to(parameter.device)
