"""Sweeps: what is refused, what survives, and that every run is recorded once, whoever is killed when."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner

from dgmlab import cli, notebooks, results
from dgmlab.errors import LabError
from dgmlab.sweep import folder, grid, grids, kernels, page, sweep, visible_gpus

CLONE = Path(__file__).resolve().parents[1]
PARAMETERS = """\
beta = 1.0  # a number
word = "a"  # a text
sizes = [8, 8]  # a list
wait = 0.0  # seconds
seed = 0  # the seed
scale = "lab"  # the scale
"""
RECORD = "from dgmlab.results import record\nrecord(loss=2 * beta + seed, kl=beta ** 2, said=word)"
POSIX = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")


def notebook(*cells):
    nodes = [nbformat.v4.new_markdown_cell("# Lab 03 · A tiny lab\n\n**Map**"),
             nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
             *map(nbformat.v4.new_code_cell, cells)]
    return nbformat.v4.new_notebook(cells=nodes, metadata={"kernelspec": {
        "display_name": "Python 3", "language": "python", "name": "python3"}})


@pytest.fixture
def labs(tmp_path, monkeypatch):
    """A clone of one lab that takes no time; the working directory is elsewhere."""
    place = tmp_path / "clone" / "labs"
    place.mkdir(parents=True)
    nbformat.write(notebook(RECORD), place / "03_tiny.ipynb")
    monkeypatch.setattr(notebooks, "labs_folder", lambda: place)
    monkeypatch.delenv("DGMLAB_TRACEBACK", raising=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return place


@pytest.fixture
def lab(labs):
    return labs / "03_tiny.ipynb"


def call(*args):
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return CliRunner().invoke(cli.main, ["sweep", *map(str, args)])
    finally:
        signal.signal(signal.SIGTERM, handler)


def sentence(result, code=1):
    """The one line on stderr of a command that was refused."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("dgmlab: "), result.stderr
    return lines[0]


def recorded(place: Path) -> list[dict]:
    return [json.loads(path.read_text("utf-8")) for path in sorted(place.glob("runs/*/run.json"))]


def started(command: list, labs: Path, **environment) -> subprocess.Popen:
    """A process that sweeps over the labs of the test."""
    code = ("import sys; from pathlib import Path; from dgmlab import notebooks; "
            f"notebooks.labs_folder = lambda: Path({str(labs)!r}); from dgmlab.cli import main; main(sys.argv[1:])")
    return subprocess.Popen([sys.executable, "-c", code, "sweep", *map(str, command)], stderr=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})


def until(condition, seconds: float = 300, what: str = "it"):
    give_up = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < give_up, f"{what} did not happen in {seconds} s"
        time.sleep(0.05)
    return found


# -- the grid --------------------------------------------------------------------------------------------------------

def test_the_grid_is_a_product_in_the_order_it_is_given(lab):
    made = grid(lab, ["beta=0.5,1", "word=b,a"], seeds="2", scale="smoke")
    assert [tuple(point.given.values()) for point in made.points[:5]] == [
        (0.5, "b", "smoke", 0), (0.5, "b", "smoke", 1), (0.5, "a", "smoke", 0), (0.5, "a", "smoke", 1),
        (1.0, "b", "smoke", 0)]
    assert len(made.points) == 8 == len({point.name for point in made.points}) == len({p.key for p in made.points})
    assert made.points[0].parameters == {"beta": 0.5, "word": "b", "sizes": [8, 8], "wait": 0.0, "seed": 0,
                                         "scale": "smoke"}


def test_a_run_is_the_same_run_however_it_is_asked_for(lab):
    by_default, = grid(lab, ["word=x"]).points
    in_full, = grid(lab, ["word=x", "beta=1"]).points
    assert by_default.key == in_full.key and by_default.name != in_full.name


@pytest.mark.parametrize("text, expected", [
    ("a,b", ["a", "b"]), ('"a, b",c', ["a, b", "c"]), ('"say ""x""", y', ['say "x"', "y"]), ("007,1e3,true", None),
    ("größe,日本,a b", None), ('" b",b', [" b", "b"]), ("it's,a=b,#x", None), ('"two\nlines",x', ["two\nlines", "x"]),
])
def test_values_are_written_as_in_a_csv_line(text, expected):
    assert grids.values("word", text) == (expected or text.split(","))


@pytest.mark.parametrize("given, options, complaint", [
    (["betta=1"], {}, "has no parameter 'betta'; its parameters, with their defaults, are: beta"),
    (["beta=1,,2"], {}, "An empty value is given for the parameter beta in 'beta=1,,2'"),
    (["beta="], {}, "An empty value is given for the parameter beta in 'beta='; write beta=value,value."),
    (['word=""'], {}, "An empty value is given"),
    (["beta"], {}, "'beta' is not written like name=value,value"), (["=1"], {}, "is not written like name=value"),
    (["beta=1,big"], {}, "The parameter beta is 'big', but it must be a number"),
    (["sizes=[1, 2]"], {}, "it must be a list"), (['word="a'], {}, "not written as in a CSV line"),
    (['word=a\nb'], {}, "several lines"),
    (["beta=.5,1,0.5"], {}, "The value 0.5 of beta is given twice"),
    (["beta=1", "beta=2"], {}, "The parameter beta is given twice"), ([], {}, "There is nothing to sweep over"),
    (["seed=1"], {"seeds": "3"}, "The seeds are given twice, by --seeds and by --grid"),
    (["beta=1"], {"seeds": "0,0"}, "The value 0 of seed is given twice"),
    (["beta=1"], {"seeds": "-1"}, "The seeds are '-1', but they must be how many"),
    (["beta=1"], {"seeds": "a"}, "The seeds are 'a'"), (["beta=1"], {"seeds": "0"}, "The number of seeds is 0"),
    (["beta=1"], {"seeds": "1,,2"}, "The seeds are '1,,2'"), (["beta=1"], {"seeds": ""}, "The seeds are ''"),
    (["scale=lab"], {"scale": "lab"}, "The scale is given twice"),
    (["wait=0,1"], {"seeds": "5000"}, "The grid is 2 wait x 5000 seed, 10,000 runs, more than 1,000; make it smaller, "
                                      "or give --yes"),
])
def test_grids_that_are_refused(lab, given, options, complaint):
    with pytest.raises(LabError) as caught:
        grid(lab, given, **options)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_a_larger_grid_is_run_when_it_is_asked_for(lab):
    assert len(grid(lab, ["wait=0,1"], seeds="600", most=float("inf")).points) == 1200


def test_names_of_runs_are_allowed_everywhere(lab):
    made = grid(lab, ['word=a/b,C:\\x,"..",größe,' + 300 * "x" + ',"a\nb",con'])
    names = [point.name for point in made.points]
    assert len(set(names)) == 7 and all(re.fullmatch(r"word=[A-Za-z0-9=.+_-]{0,80}-[0-9a-f]{10}", n) for n in names)


def test_refusals_of_the_command(labs, tmp_path):
    assert "There is no lab '9'; the labs are: 03_tiny." in sentence(call("9", "--seeds", 2, "-o", "out"))
    assert "has no parameter 'x'" in sentence(call("3", "--grid", "x=1", "-o", "out"))
    assert "Missing option '-o'" in sentence(call("3", "--seeds", 2), 2)
    assert "--retry goes with --resume" in sentence(call("3", "--seeds", 2, "-o", "out", "--retry"), 2)
    assert "--jobs is of this machine" in sentence(
        call("3", "--seeds", 2, "-o", "out", "--jobs", 2, "--scheduler", "tcp://x:1"), 2)
    assert "more than 1,000" in sentence(call("3", "--seeds", 1001, "-o", "out"))
    assert list(Path.cwd().iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in sentence(call("3", "--seeds", 2, "-o", tmp_path / "file" / "out"))
    Path("full").mkdir()
    Path("full", "notes.txt").write_text("mine")
    assert "holds something, and no sweep" in sentence(call("3", "--seeds", 2, "-o", "full", "--resume"))
    assert [each.name for each in Path("full").iterdir() if each.name != ".lock"] == ["notes.txt"]


# -- running ---------------------------------------------------------------------------------------------------------

AWKWARD = ["007", "1e3", "true", "null", "a, b", 'say "x"', " lead", "größe 日本", "back\\slash\nline", "x" * 3000]


@pytest.mark.slow
def test_values_survive_into_the_notebook_and_back(lab, tmp_path):
    def quoted(text):
        return '"' + text.replace('"', '""') + '"'

    out = tmp_path / "out"
    result = call("3", "--grid", "word=" + ",".join(map(quoted, AWKWARD)), "--grid", 'sizes="[1, 2]"', "-o", out,
                  "--jobs", 1)
    assert result.exit_code == 0, result.output
    rows = recorded(out)
    assert sorted(row["metrics"]["said"] for row in rows) == sorted(AWKWARD)        # as the notebook saw it
    assert all(row["metrics"]["said"] == row["swept"]["word"] == row["parameters"]["word"] for row in rows)
    assert all(row["parameters"]["sizes"] == [1, 2] and row["metrics"]["loss"] == 2 for row in rows)
    with open(out / "table.csv", encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file, quoting=csv.QUOTE_NONNUMERIC)
    assert [line[head.index("word")] for line in lines] == AWKWARD                  # text stays text, in grid order
    assert all(line[head.index("loss")] == 2.0 for line in lines)


@pytest.mark.slow
def test_a_failing_run_and_a_hanging_one_stop_no_other(labs, tmp_path):
    nbformat.write(notebook(
        RECORD, "import sys, time\nif word == 'bad': raise ValueError('this is\\nwhy')\nif word == 'dead':\n"
        "    import os; os._exit(3)\nif word == 'endless':\n    print('begun', flush=True)\n    while True: pass",
        "from dgmlab import plots\nfig = plots.figure(60, 40)\nfig.subplots()\nplots.show(fig, alt='Empty axes of the "
        "test \"lab\".')"), labs / "03_tiny.ipynb")
    out = tmp_path / "out"
    assert call("3", "--grid", "word=good,bad,dead,fine", "-o", out, "--jobs", 2).exit_code == 1
    result = call("3", "--grid", "word=good,bad,endless,dead,fine", "-o", out, "--timeout", 10, "--resume", "--jobs", 1)

    assert result.exit_code == 1
    assert "5 runs, 2 done, 3 failed (the first: Cell 5 of 03_tiny (In [4]) failed with ValueError: this is.)" \
        in result.stdout
    rows = {row["swept"]["word"]: row for row in recorded(out)}
    assert {word: row["status"] for word, row in rows.items()} == {
        "good": "done", "fine": "done", "bad": "failed", "dead": "failed", "endless": "stopped"}
    assert rows["endless"]["error"] == "It took longer than 10 s." and rows["endless"]["seconds"] >= 10
    assert "died" in rows["dead"]["error"]
    assert all(row["metrics"]["loss"] == 2 for row in rows.values())                # recorded before it went wrong
    assert all(row["versions"]["python"] and row["seed"] == 0 for row in rows.values())
    partial = nbformat.read(out / "runs" / rows["bad"]["name"] / "notebook.ipynb", 4)
    assert any(output.output_type == "error" for cell in partial.cells for output in cell.get("outputs", []))
    assert (out / "runs" / rows["endless"]["name"] / "notebook.ipynb").is_file()
    figures = out / "runs" / rows["good"]["name"] / "figures"
    assert (figures / "index.html").read_text("utf-8").count('alt="Empty axes of the test &quot;lab&quot;."') == 1
    assert len(list(figures.glob("01_*.png"))) == 1 and rows["good"]["figures"] == 1

    page = (out / "index.html").read_text("utf-8")
    assert "3 of 5 runs did not end well" in page and "It took longer than 10 s." in page
    assert not re.search(r"(src|href)=.?https?:|url\(|@import|<script|<link", page)
    assert "The same for all values of what is swept: loss 2, kl 1." in page and "<img" not in page

    nothing = call("3", "--grid", "word=good,bad,endless,dead,fine", "-o", out, "--resume")
    assert nothing.exit_code == 1 and recorded(out) == sorted(rows.values(), key=lambda row: row["name"])
    nbformat.write(notebook(RECORD), labs / "03_tiny.ipynb")
    assert "The code of 03_tiny was changed since" in sentence(
        call("3", "--grid", "word=good,bad,endless,dead,fine", "-o", out, "--resume", "--retry"))


@pytest.mark.slow
def test_going_on_with_a_sweep(lab, tmp_path, monkeypatch):
    out = tmp_path / "out"
    sweep(grid(lab, ["beta=1,2"]), out, jobs=1)
    assert "holds a sweep; go on with it by --resume" in sentence(call("3", "--grid", "beta=1,2", "-o", out))
    assert "holds 1 runs that this grid has not (beta = 1.0, 2.0)" in sentence(
        call("3", "--grid", "beta=1,3", "-o", out, "--resume"))
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")}

    rows = sweep(grid(lab, ["beta=1,2", "word=a,b"]), out, jobs=1, resume=True)     # word is a by default

    assert [tuple(row["metrics"].values()) for row in rows] == [
        (2, 1, "a"), (2, 1, "b"), (4, 4, "a"), (4, 4, "b")]
    assert before.items() <= {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")}.items()
    (out / "runs" / rows[0]["name"] / "run.json").write_text(json.dumps(rows[0] | {"status": "failed"}))
    again = sweep(grid(lab, ["beta=1,2", "word=a,b"]), out, jobs=1, resume=True, retry=True)
    assert [row["status"] for row in again] == 4 * ["done"] and len(list(out.glob("runs/*"))) == 4
    assert [each.name for each in out.glob(".*")] == [".lock"]

    monkeypatch.setattr(notebooks, "find", lambda name: lab.rename(lab.with_name("04_other.ipynb")))
    assert "holds a sweep of 03_tiny, not of 04_other" in sentence(
        call("4", "--grid", "beta=1,2", "-o", out, "--resume"))


@pytest.mark.slow
def test_a_full_disk_is_a_sentence_and_what_is_recorded_stays(lab, tmp_path, monkeypatch):
    save, saved = folder.save_figures, []

    def full(*arguments):
        saved.append(arguments)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(*arguments)

    monkeypatch.setattr(folder, "save_figures", full)
    out = tmp_path / "out"
    result = call("3", "--grid", "beta=1,2,3", "-o", out, "--jobs", 1)
    assert result.exit_code == 1
    assert "cannot be written (No space left on device); what is recorded stays" in result.stderr.splitlines()[-1]
    assert len(recorded(out)) == 1
    assert call("3", "--grid", "beta=1,2,3", "-o", out, "--jobs", 1, "--resume").exit_code == 0
    assert len(recorded(out)) == 3


def test_a_read_only_folder_is_a_sentence(lab, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(folder.Path, "mkdir", refuse)
    assert "cannot be written (Permission denied)" in sentence(call("3", "--seeds", 2, "-o", tmp_path / "out"))


@POSIX
@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_with_what_is_missing(labs, tmp_path):
    nbformat.write(notebook("import os, time, pathlib\npathlib.Path(os.environ['PIDS'], str(os.getpid())).touch()\n"
                            "time.sleep(wait)", RECORD), labs / "03_tiny.ipynb")
    out, pids = tmp_path / "out", tmp_path / "pids"
    pids.mkdir()
    command = ["3", "--grid", "wait=0,60,61", "-o", out, "--jobs", 2]
    first = started(command, labs, PIDS=str(pids))
    until(lambda: recorded(out) and len(list(pids.iterdir())) == 3, what="the first run")
    assert "Another sweep is at work in" in sentence(call(*command, "--resume"))
    first.kill()
    first.wait()
    until(lambda: not any(alive(int(path.name)) for path in pids.iterdir()), 60, "the end of the orphaned kernels")

    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")}
    assert len(before) == 2 and not (out / "table.csv").exists()
    second = started([*command, "--resume", "--timeout", 3], labs, PIDS=str(pids))
    _, says = second.communicate(timeout=300)
    assert second.returncode == 1, says                     # the long ones are stopped this time
    assert [row["status"] for row in recorded(out)] == ["done", "stopped", "stopped"]
    assert before.items() <= {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*")}.items()
    assert len(list(pids.iterdir())) <= 5 and "33%" in says     # one of three was there at the start


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- kernels ---------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.skipif(not kernels.CAN_FORK, reason="kernels are forked on Linux only")
def test_warm_kernels_give_what_cold_ones_give(labs, tmp_path):
    nbformat.write(notebook(
        "import numpy as np, torch, sys, os\nfrom dgmlab.rng import Rng\nfrom dgmlab.results import record",
        "torch.manual_seed(seed)\nx = torch.randn(64, 64) @ torch.randn(64, 64)\n"
        "record(same=float(x.sum()), ours=float(Rng(seed).normal((5,)).sum()), threads=torch.get_num_threads(), "
        "chance=np.random.rand(), path=str(sys.path), place=os.path.basename(os.getcwd()), "
        "main=sys.modules['__main__'].__dict__ is globals())"), labs / "03_tiny.ipynb")
    found = {}
    for warm in (True, False):
        rows = sweep(grid(labs / "03_tiny.ipynb", [], seeds="2"), tmp_path / str(warm), jobs=1, warm=warm)
        found[warm] = [row["metrics"] for row in rows]
        assert found[warm][0].pop("chance") != found[warm][1].pop("chance")
    assert found[True] == found[False] and found[True][0]["threads"] == 1 and found[True][0]["place"] == "run"


def test_the_imports_of_a_notebook_are_those_of_its_top_level():
    made = notebook("import numpy as np\nfrom a.b import c, d\ndef f():\n    import e", "%magic\nimport g", "import h")
    assert kernels.imports(made) == ["import numpy as np", "from a.b import c, d", "import h"]


def test_gpus_are_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5,")
    assert visible_gpus() == ("2", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == ()


def test_each_worker_has_a_gpu_of_its_own():
    from dgmlab.sweep import running

    job = running.Job("run", "03_tiny", "", {}, owner=os.getpid(), gpus=("0", "1"))
    with running._gpu(job) as one, running._gpu(job) as two, running._gpu(job) as three:
        assert {one["CUDA_VISIBLE_DEVICES"], two["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
        assert three["CUDA_VISIBLE_DEVICES"] in "01"
    with running._gpu(running.Job("run", "03_tiny", "", {})) as none:
        assert none == {}


# -- on a cluster ----------------------------------------------------------------------------------------------------

def test_a_scheduler_that_does_not_answer(lab):
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        began = time.monotonic()
        says = sentence(call("3", "--seeds", 2, "-o", "out", "--scheduler", address))
    assert f"No Dask scheduler answers at '{address}' within 10 s" in says and time.monotonic() - began < 20
    assert "No Dask scheduler answers at 'nonsense" in sentence(
        call("3", "--seeds", 2, "-o", "out", "--scheduler", "nonsense://x"))
    assert not Path("out").exists()


def test_a_cluster_needs_its_package(lab, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'dgmlab[cluster]'" in sentence(call("3", "--seeds", 2, "-o", "out", "--scheduler", "tcp://x:1"))


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler on this machine, and how to start a worker; everything ends with the test."""
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    processes = []

    def start(*arguments):
        processes.append(subprocess.Popen([sys.executable, "-m", "dask", *arguments], cwd=tmp_path,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
        return processes[-1]

    def worker(name):
        return start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name,
                     "--local-directory", str(tmp_path / name))

    start("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard",
          "--dashboard-address", "127.0.0.1:0")
    yield address, worker
    for process in processes:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


@POSIX
@pytest.mark.slow
def test_every_run_is_recorded_once_though_a_worker_is_killed(labs, tmp_path, cluster):
    address, worker = cluster
    nbformat.write(notebook(RECORD, "import os, pathlib, time\npathlib.Path(os.environ['DGMLAB_TEST_RUNS'], "
                            "f'{seed}-{os.getpid()}').touch()\ntime.sleep(wait)"), labs / "03_tiny.ipynb")
    runs, out = tmp_path / "runs", tmp_path / "out"
    runs.mkdir()
    os.environ["DGMLAB_TEST_RUNS"] = str(runs)              # the workers' kernels inherit it
    try:
        workers = [worker("one"), worker("two")]
        from distributed import Client

        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        process = started(["3", "--grid", "wait=3", "--seeds", 6, "-o", out, "--scheduler", address], labs)
        busy = psutil.Process(workers[0].pid)

        def in_the_middle():
            begun = (path.name.split("-") for path in runs.iterdir())
            open_ = {int(pid) for seed, pid in begun if int(seed) not in {row["seed"] for row in recorded(out)}}
            return recorded(out) and open_ & {child.pid for child in busy.children(recursive=True)}

        until(in_the_middle, what="a run that is not the first, in the worker that is to die")
        os.killpg(workers[0].pid, signal.SIGKILL)
        said, says = process.communicate(timeout=300)
    finally:
        del os.environ["DGMLAB_TEST_RUNS"]

    assert process.returncode == 0 and "6 runs, 6 done" in said, says
    rows = recorded(out)
    assert sorted(row["seed"] for row in rows) == list(range(6)) and len(list(out.glob("runs/*"))) == 6
    assert [row["metrics"]["loss"] for row in sorted(rows, key=lambda row: row["seed"])] == [2 + k for k in range(6)]
    with open(out / "table.csv", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 7
    assert len(list(runs.iterdir())) > 6                    # one was begun twice, and is there once


# -- the page --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("axes, expected", [
    ({"seed": [0, 1]}, page.Layout("seed", None, ())),
    ({"a": ["x", "y"], "b": [1, 2], "seed": [0, 1]}, page.Layout("b", "a", ())),
    ({"a": [1, 2], "b": [1, 2, 3], "c": ["x"]}, page.Layout("b", "a", ())),
    ({"a": [1, 2], "b": ["x", "y"], "c": [True, False]}, page.Layout("a", "b", ("c",))),
    ({"a": list(range(8)), "b": list(range(9))}, page.Layout("b", None, ("a",))),
])
def test_what_goes_where_in_the_pictures(axes, expected):
    assert page.layout(axes) == expected


def row(point, status="done", **metrics):
    return {"name": point.name, "status": status, "error": "" if status == "done" else "It failed.", "seconds": 1.5,
            "parameters": point.parameters, "metrics": metrics, "versions": {"python": "3"}, "figures": 2}


def test_the_page_says_its_pictures_in_words(lab):
    made = grid(lab, ["word=<b>,c", "beta=0.01,1"], seeds="3")
    rows = [row(point, kl=point.given["beta"] + point.given["seed"], size=3 + point.given["seed"], said="so")
            for point in made.points]
    text = page.page(made, rows)
    assert "<h1>Lab 03 · A tiny lab</h1>" in text and "12 of 12 done" in text and "<b>" not in text
    alt, = re.findall(r'<img [^>]*alt="([^"]*)"', text)
    assert text.count("<img ") == text.count(' src="data:image/png;base64,') == 1
    assert alt == ("kl against beta. word &lt;b&gt;: 1.0 ± 1.0 at 0.01, 2.0 ± 1.0 at 1; word c: 1.0 ± 1.0 at 0.01, "
                   "2.0 ± 1.0 at 1.")
    assert text.count("<td>1.0 ± 1.0</td>") == 2 and text.count("2 figures") == 12 and "did not end well" not in text
    assert "The same for all values of what is swept: size 4.00 ± 0.85." in text


def test_the_page_says_what_its_numbers_are(lab):
    made = grid(lab, ["beta=1,2"])
    text = page.page(made, [row(point, loss=1.0) for point in made.points])
    assert "The numbers: <code>reconstruction</code>, <code>kl</code>" in text and "mean nothing" not in text
    smoke = grid(lab, ["beta=1,2"], scale="smoke")
    assert "its numbers mean nothing" in page.page(smoke, [row(point, loss=1.0) for point in smoke.points])


def test_every_lab_says_what_it_records():
    text = (CLONE / "dgmlab" / "sweep" / "README.md").read_text(encoding="utf-8")
    for path in notebooks.labs():
        assert re.search(rf"(?m)^\| {path.stem[:2]} \| .+ \|$", text), path.stem


def test_the_page_of_a_sweep_without_numbers(lab):
    made = grid(lab, ["beta=1,2"])
    assert "recorded no numbers" in page.page(made, [row(point) for point in made.points])
    text = page.page(made, [row(point, "failed") for point in made.points])
    assert "2 of 2 runs did not end well" in text and "<img" not in text
    assert "0 of 2 done" in page.page(made, [])


# -- what a lab records ----------------------------------------------------------------------------------------------

def test_numbers_are_recorded_under_their_names(tmp_path, monkeypatch):
    import numpy
    import torch

    path = tmp_path / "numbers.json"
    monkeypatch.setenv("DGMLAB_RESULTS", str(path))
    results.record(kl=1.5, active_units=3)
    results.record(kl=torch.tensor(2.5), size=numpy.int64(4), word="größe")
    assert results.read(path) == {"kl": 2.5, "active_units": 3, "size": 4, "word": "größe"}
    assert isinstance(results.read(path)["size"], int) and list(tmp_path.iterdir()) == [path]
    monkeypatch.setenv("DGMLAB_RESULTS", str(tmp_path / "nowhere" / "x"))
    with pytest.raises(LabError, match="could not be added to .*name a file that can be written"):
        results.record(kl=1)
    monkeypatch.delenv("DGMLAB_RESULTS")
    results.record(kl=1)
    assert results.read(tmp_path / "other") == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [1, 2], "torch.ones(3)", "numpy.array([])"])
def test_only_finite_numbers_and_words_are_recorded(value):
    import numpy
    import torch

    if isinstance(value, str):
        value = eval(value, {"torch": torch, "numpy": numpy})
    with pytest.raises(LabError, match=r"The recorded kl is .*, but it must be a finite number or a word\.$"):
        results.record(kl=value)
    with pytest.raises(LabError, match="was given nothing"):
        results.record()
