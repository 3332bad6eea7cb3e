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
import platform
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import LabError, check_choice, check_number
from ..knobs import Knobs, Real, Whole
from ..models.recipe import Recipe
from ..rng import Rng
from . import checkpoint, devices
from .batches import TensorBatches
from .dropout import adopt_dropout
from .graphs import StepGraph, check_baked
from .history import History
from .live import Live

JOURNAL = "knobs.jsonl"
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
        if graph is True or (graph == "auto" and self.device.type == "cuda" and not self.group):
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
        self._own: set[Path] = set()        # folders that hold this run and no other
        self._journalled = 0                # how many entries of the knobs' log are in the journal
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
        with _interrupts.between_steps() as guarded:
            for _ in range(int(number)):
                with self.lock:
                    self._interrupted = False
                    if guarded:
                        _interrupts.stepping = self
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
                            _interrupts.stepping = None
                if self._interrupted:
                    raise KeyboardInterrupt
                yield tick

    def advance(self) -> Tick:
        """Train for one step."""
        return next(self.steps(1))

    def _advance(self) -> Tick:
        if self.folder and self.folder not in self._own:
            self.save()                 # so that a kill before the next checkpoint can be resumed as well
        knobs = self.knobs.at(self.step)
        if self.folder and len(self.knobs.log) != self._journalled:
            self._write_journal()
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
        if self._graph:
            return self._graph(batch, knobs)
        with self.autocast():
            terms = self.model.step(batch, knobs, self.rng, self.update)
        return self.group.mean_of(terms) if self.group else terms

    def _first_step(self, knobs):
        """The first step, watched for random numbers that are not the run's own."""
        before = _global_generator(self.device)
        with _SeesDraws() as draws:
            row = self._one_step(knobs)
        # Another thread may have drawn meanwhile, hence both signs.
        if draws.seen and not torch.equal(before, _global_generator(self.device)):
            self._recall(self._good[0])
            raise LabError(f"{type(self.model).__name__} draws from torch's global generator ({draws.seen}), so the "
                           "run could not be resumed or replayed; let it draw from the rng that step() and loss() are "
                           "given, and use nn.Dropout rather than other kinds of dropout.")
        return row

    def update(self, player: str, loss: Tensor, *, clip: float | None = None, **settings) -> None:
        """One descent of one player's parameters on ``loss``; the model's step calls it.

        ``settings`` go into the optimizer (lr, eps, betas ...); ``clip`` bounds the gradient's norm.
        """
        if player not in self.players:
            check_choice("The player", player, self.players)
        optimizer, parameters = self.optimizers[player], self.players[player]
        optimizer.zero_grad(set_to_none=self._graph is None)
        loss.backward(inputs=parameters if len(self.players) > 1 else None)
        if self.group:
            self.group.average_gradients(parameters)
        if clip is not None:                # torch's clip_grad_norm_, but clip may be a tensor
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = nn.utils.get_total_norm(gradients)
            torch._foreach_mul_(gradients, (clip / (norm + 1e-6)).clamp(max=1.0))
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
            self.knobs.reset()
            self.notes.clear()
            if self.folder in self._own:
                self.clear_folder()

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
        if self.folder in self._own and self._writes:
            for path in checkpoint.found(self.folder):
                if checkpoint.step_of(path) > self.step:
                    path.unlink(missing_ok=True)
            self._rewrite_journal(self.folder, self.knobs.log)

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
                "device": self.device.type,
                "knobs": self.knobs.state(), "batches": batch_meta, "optimizers": groups,
                "versions": versions()}
        if history:
            columns, meta["history"] = self.history.state()
            tensors |= columns
        return tensors, meta

    def restore(self, tensors: dict[str, Tensor], meta: dict) -> None:
        """Go on from a state."""
        pick = _picker(tensors)
        self.batches.restore(pick("batches."), meta["batches"])         # first: it refuses what does not fit the data
        self.model.load_state_dict(pick("model."))
        for player, optimizer in self.optimizers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in pick(f"optimizer.{player}.").items():
                index, slot = name.split(".", 1)
                slots.setdefault(int(index), {})[slot] = value.clone()
            _restore_optimizer(optimizer, slots, meta["optimizers"][player], captured=self._graph is not None)
        self.rng.restore(tensors["rng.noise"])
        self._order.restore(tensors["rng.order"])
        self.knobs.restore(meta["knobs"])
        self.step = meta["step"]
        if meta["threads"] != self.threads.number:
            self.threads = devices.Threads(meta["threads"], "as it was when the run was saved")
        if "history" in meta:
            self.history.restore(tensors, meta["history"])
            now = self._remember()
            self._good = [self._good[0], now, now]

    def save(self, folder: str | Path | None = None) -> Path:
        """Write a checkpoint now; returns its path.

        Raises:
            LabError: the folder cannot be written to, or holds another run.
        """
        folder = Path(folder) if folder is not None else self.folder
        if folder is None:
            raise LabError("This run has no folder to save to; give one, as in run.save('my_run').")
        with self.lock:
            path = checkpoint.path_for(folder, self.step)
            if self._writes:
                if folder not in self._own:
                    if checkpoint.found(folder):
                        raise LabError(f"{folder} already holds a run; call run.resume() to go on with it, or choose "
                                       "another folder.")
                    checkpoint.sweep(folder)
                    self._rewrite_journal(folder, self.knobs.log)
                checkpoint.write(path, *self.state())
                checkpoint.prune(folder, self.keep, self.step)
            self._own.add(folder)
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
        if best is None:
            return False
        path, tensors, meta, refused = best
        self._check_same_run(path, tensors, meta)
        with self.lock:
            self.notes += refused
            self.restore(tensors, meta)
            later = [event for event in self._read_journal(folder) if event["step"] >= self.step]
            self.knobs.replay(later)
            self._own.add(folder)
            if folder == self.folder and self._writes:
                checkpoint.sweep(folder)
                self._rewrite_journal(folder, self.knobs.log, later)
        return True

    def clear_folder(self) -> None:
        """Delete the run's checkpoints."""
        if self._writes:
            for path in checkpoint.found(self.folder):
                path.unlink(missing_ok=True)
            (self.folder / JOURNAL).unlink(missing_ok=True)
        self._own.discard(self.folder)
        self._journalled = 0

    @property
    def _writes(self) -> bool:
        """Of several processes, only one writes files."""
        return not self.group or self.group.rank == 0

    def _check_same_run(self, path, tensors, meta):
        mine = {name: tuple(t.shape) for name, t in self.model.state_dict().items()}
        theirs = {name: tuple(t.shape) for name, t in _picker(tensors)("model.").items()}
        same_handles = (set(meta["optimizers"]), set(meta["knobs"]["values"])) == (
            set(self.optimizers), set(self.knobs.values()))
        if mine != theirs or not same_handles:
            raise LabError(f"{path} holds another model than this run's; build the run with the same sizes, or choose "
                           "another folder.")
        if meta["seed"] != self.seed:
            raise LabError(f"{path} was made with seed {meta['seed']}, this run has seed {self.seed}; use the same "
                           "seed to resume it.")
        if meta["device"] != self.device.type:
            raise LabError(f"{path} was made on {meta['device']!r}, whose random numbers {self.device.type!r} cannot "
                           f"continue; build the run with device={meta['device']!r} to resume it.")

    # The journal holds the changes of knobs, so that a kill between two checkpoints does not lose them.

    def _write_journal(self):
        new = self.knobs.log[self._journalled:]
        if self._writes:
            with _writing(self.folder), open(self.folder / JOURNAL, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(event) + "\n" for event in new)
        self._journalled += len(new)

    def _rewrite_journal(self, folder: Path, *logs: list[dict]):
        text = "".join(json.dumps(event) + "\n" for log in logs for event in log)
        with _writing(folder):
            checkpoint.write_atomically(folder / JOURNAL, text.encode())
        if folder == self.folder:
            self._journalled = len(self.knobs.log)

    def _read_journal(self, folder) -> list[dict]:
        path = Path(folder) / JOURNAL
        events: dict[tuple, dict] = {}
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.exists() else []
        for number, line in enumerate(lines, 1):            # a last line without its end was cut off by a kill
            try:
                event = json.loads(line)
                events[event["step"], event["knob"]] = event        # of a resumed run, the later entry counts
            except (json.JSONDecodeError, KeyError, TypeError):
                self.notes.append(f"{path} is damaged at line {number}; the change of a knob noted there is lost.")
        return sorted(events.values(), key=lambda event: event["step"])


class _Interrupts:
    """In the main thread, an interrupt that falls into a step of a run waits for its end."""

    def __init__(self):
        self.stepping: Run | None = None
        self._open = 0              # generators of steps that have begun and not ended, in whatever order they will
        self._before: Callable | None = None

    @contextmanager
    def between_steps(self):
        """Watch for interrupts; yields whether it does."""
        handler = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(handler):
            yield False
            return
        if handler != self._handle:
            self._before = handler
            signal.signal(signal.SIGINT, self._handle)
        self._open += 1
        try:
            yield True
        finally:
            self._open -= 1
            # A forgotten generator may end in any thread.
            if not self._open and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, self._before)

    def _handle(self, number, frame):
        if self.stepping is not None:
            self.stepping._interrupted = True
        else:
            self._before(number, frame)


_interrupts = _Interrupts()


class _SeesDraws(TorchDispatchMode):
    """Notes the first operation of this thread that draws random numbers from a global generator."""

    seen = ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if torch.Tag.nondeterministic_seeded in func.tags and not (kwargs or {}).get("generator"):
            self.seen = self.seen or str(func).removesuffix(".default")
        return func(*args, **(kwargs or {}))


def _global_generator(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def _writing(folder: Path):
    try:
        yield
    except OSError as error:
        raise LabError(f"The folder {folder} could not be written to ({error.strerror}); "
                       "free some space or choose another folder.") from error


def versions() -> dict[str, str]:
    """What the numbers of a run may depend on besides its state."""
    from .. import __version__

    return {"dgmlab": __version__, "torch": torch.__version__, "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}"}


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


def _picker(tensors):
    return lambda prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _restore_optimizer(optimizer, slots, groups, captured: bool):
    """Put an optimizer's state back in place: a captured graph keeps pointing at the same memory."""
    for group, saved in zip(optimizer.param_groups, groups):
        for name, value in saved.items():
            if name == "params":
                continue
            if isinstance(group[name], Tensor):
                group[name].fill_(value)
            else:
                group[name] = tuple(value) if isinstance(group[name], tuple) else value
    parameters = [(p, group) for group in optimizer.param_groups for p in group["params"]]
    for index, (parameter, group) in enumerate(parameters):
        if index not in slots:
            state = optimizer.state.get(parameter, {})          # going back to before the first step
            if captured:
                for value in state.values():
                    value.zero_()
            else:
                state.clear()
            continue
        state = optimizer.state[parameter]
        for slot, value in slots[index].items():
            if slot in state:
                state[slot].copy_(value)
            elif slot == "step" and not (group.get("fused") or group.get("capturable")):
                state[slot] = value                         # torch counts on the CPU then
            else:
                state[slot] = value.to(parameter.device)
