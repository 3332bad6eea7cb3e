"""Compare, in one run and interleaved, so that a machine that slows down slows every contender.

    python -m tests.bench                       everything that is installed
    python -m tests.bench loop --json out.json  one benchmark, one JSON row a contender

A ratio is the median over the rounds of a contender's seconds to the reference's in the same round; the reference is
the first contender of a benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time

from dgmlab.errors import LabError, check_choice

from . import loop, sweep, tsne

BENCHMARKS = {"loop": loop, "tsne": tsne, "sweep": sweep.OVERHEAD, "sweep_lab": sweep.LAB}


def measure(module, rounds: int) -> list[dict]:
    """Seconds and ratio of every contender of one benchmark."""
    contenders, left_out = {}, []
    for name, make in module.CONTENDERS.items():
        try:
            contenders[name] = make()
        except ImportError as error:
            left_out.append(f"{name} ({error.name} is not installed)")
    for work in contenders.values():        # once for nothing: caches, lazy imports, allocators
        work()
    seconds = {name: [] for name in contenders}
    for round_ in range(rounds):
        names = list(contenders)
        for name in names[round_ % len(names):] + names[:round_ % len(names)]:
            start = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - start)
    for work in contenders.values():
        getattr(work, "close", lambda: None)()
    reference = seconds[next(iter(contenders))]
    if left_out:
        print(f"left out: {', '.join(left_out)}")
    return [{"benchmark": module.NAME, "contender": name, "seconds": statistics.median(times),
             "ratio": statistics.median(t / r for t, r in zip(times, reference))} for name, times in seconds.items()]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--json", metavar="FILE", help="write the rows, the command and the versions to FILE")
    parser.add_argument("--rounds", type=int, default=10, help="how often each contender is timed (default 10)")
    options = parser.parse_args()
    try:
        for name in options.names:
            check_choice("The benchmark", name, BENCHMARKS)
    except LabError as error:
        parser.error(str(error))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rows = []
    for name in options.names or BENCHMARKS:
        rows += measure(BENCHMARKS[name], options.rounds)
        print(f"\n{BENCHMARKS[name].TITLE}\n")
        print(f"{'contender':34} {'ms':>10} {'ratio':>8}")
        for row in rows:
            if row["benchmark"] == name:
                print(f"{row['contender']:34} {1e3 * row['seconds'] / BENCHMARKS[name].PER:10.3f} {row['ratio']:8.3f}")
    if options.json:
        about = {"command": "python -m tests.bench " + " ".join(sys.argv[1:]), "rounds": options.rounds,
                 "threads": torch.get_num_threads(), "cores": os.cpu_count(), "torch": torch.__version__,
                 "python": platform.python_version(), "machine": platform.machine()}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"about": about, "rows": rows}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
