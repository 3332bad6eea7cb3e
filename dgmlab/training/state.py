"""The state of a run: everything that decides its numbers from here on.

Parameters and buffers, the optimizers' moments, both random generators, the place in the data, the knobs with their
schedules and log, and the history. A checkpoint writes it to a file, a guard keeps it in memory.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor

from . import devices


def collect(run, history: bool = True) -> tuple[dict[str, Tensor], dict]:
    """The state of a run: tensors, and JSON-able data."""
    tensors = {f"model.{name}": tensor for name, tensor in run.model.state_dict().items()}
    groups = {}
    for player, optimizer in run.optimizers.items():
        state = optimizer.state_dict()
        groups[player] = [{k: (v.item() if isinstance(v, Tensor) else v) for k, v in group.items()}
                          for group in state["param_groups"]]
        for index, slots in state["state"].items():
            tensors |= {f"optimizer.{player}.{index}.{slot}": value for slot, value in slots.items()}
    batch_tensors, batch_meta = run.batches.state()
    tensors |= {f"batches.{name}": tensor for name, tensor in batch_tensors.items()}
    tensors |= {"rng.noise": run.rng.state(), "rng.order": run._order.state()}
    meta = {"step": run.step, "seed": run.seed, "threads": run.threads.number, "spec": run.spec,
            "device": run.device.type, "knobs": run.knobs.state(), "batches": batch_meta, "optimizers": groups,
            "versions": versions()}
    if history:
        columns, meta["history"] = run.history.state()
        tensors |= columns
    return tensors, meta


def put_back(run, tensors: dict[str, Tensor], meta: dict) -> None:
    """Bring a run into a state."""
    run.batches.restore(part(tensors, "batches."), meta["batches"])     # first: it refuses what does not fit the data
    run.model.load_state_dict(part(tensors, "model."))
    for player, optimizer in run.optimizers.items():
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, f"optimizer.{player}.").items():
            index, slot = name.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value.clone()
        _restore_optimizer(optimizer, slots, meta["optimizers"][player], captured=run._graph is not None)
    run.rng.restore(tensors["rng.noise"])
    run._order.restore(tensors["rng.order"])
    run.knobs.restore(meta["knobs"])
    run.step = meta["step"]
    if meta["threads"] != run.threads.number:
        run.threads = devices.Threads(meta["threads"], "as it was when the run was saved")


def versions() -> dict[str, str]:
    """What the numbers of a run may depend on besides its state."""
    from .. import __version__

    return {"dgmlab": __version__, "torch": torch.__version__, "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}"}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


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
