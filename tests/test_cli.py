"""The command line: what it says, what it refuses and how, and the notebooks it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import click
import nbformat
import pytest

from dgmlab import cli, doctor, notebooks
from dgmlab.errors import LabError

from .support import call, sentence

CLONE = Path(__file__).resolve().parents[1]
PARAMETERS = """\
beta = 1.0          # KL weight; beta = 1 is the ELBO
steps = 20
scale = "lab"
hidden = [8, 8]
live: bool = False
seed = None
"""


def notebook(*cells, parameters=PARAMETERS):
    nodes = [nbformat.v4.new_markdown_cell("# A lab"),
             nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
             *map(nbformat.v4.new_code_cell, cells)]
    return nbformat.v4.new_notebook(cells=nodes, metadata={"kernelspec": {
        "display_name": "Python 3", "language": "python", "name": "python3"}})


@pytest.fixture
def labs(tmp_path, monkeypatch):
    """A clone of two labs; the working directory is elsewhere."""
    folder = tmp_path / "clone" / "labs"
    folder.mkdir(parents=True)
    nbformat.write(notebook("print(beta, steps, scale, hidden, live, seed)", "import sys; print(sys.executable)"),
                   folder / "03_vae.ipynb")
    nbformat.write(notebook("pass", "raise ValueError('the second line\\nis not shown')"), folder / "06_gan.ipynb")
    (folder / "03_vae.out.ipynb").write_text("not a lab")
    monkeypatch.setattr(notebooks, "labs_folder", lambda: folder)
    monkeypatch.setattr(notebooks.lab_format, "breaches", lambda notebook, stem: [])    # a few cells are no lab
    monkeypatch.delenv("DGMLAB_TRACEBACK", raising=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return folder


def printed(path):
    cells = nbformat.read(path, 4).cells
    return ["".join(output.text for output in cell.get("outputs", []) if output.output_type == "stream").strip()
            for cell in cells if cell.cell_type == "code"]


# -- help and errors -------------------------------------------------------------------------------------------------

def test_help_lists_every_command_in_a_section():
    result = call("--help")
    assert result.exit_code == 0
    assert sorted(name for names in cli.SECTIONS.values() for name in names) == sorted(cli.main.commands)
    for title, names in cli.SECTIONS.items():
        assert f"{title}:" in result.output
        for name in names:
            assert re.search(rf"^  {name}\s+\S.*\.$", result.output, re.M), f"{name} has no whole sentence in the help"
    assert call().output == result.output
    for name in cli.main.commands:
        assert call(name, "--help").exit_code == 0


def test_unknown_command_lists_the_known():
    assert "'frob'; the commands are: lab, run, " in sentence(call("frob"), 2)
    assert "'frob'; the commands are: list, fetch, verify." in sentence(call("data", "frob"), 2)
    assert "Missing argument 'LAB'" in sentence(call("run"), 2)


def test_no_error_is_a_traceback(monkeypatch):
    def fail(error):
        def command():
            raise error
        monkeypatch.setitem(cli.main.commands, "lab", click.Command("lab", callback=command))
        return call("lab")

    assert sentence(fail(LabError("Two lines\nbecome one."))) == "dgmlab: Two lines become one."
    assert sentence(fail(RuntimeError("what.\nwhere"))) == (
        "dgmlab: Unexpected RuntimeError: what; DGMLAB_TRACEBACK=1 shows where.")
    assert "The package nowhere is not installed" in sentence(fail(ModuleNotFoundError("no", name="nowhere")))
    assert sentence(fail(KeyboardInterrupt()), 130) == "dgmlab: interrupted."
    monkeypatch.setenv("DGMLAB_TRACEBACK", "1")
    assert isinstance(fail(LabError("shown whole")).exception, LabError)


def test_errors_of_the_real_command():
    code = "import sys; from dgmlab.cli import main; main(sys.argv[1:])"
    for args, expected in ((["run", "nosuch"], "There is no lab 'nosuch'; the labs are: "),
                           (["data", "fetch", "nosuch"], "must be one of: digits, glyphs, ")):
        done = subprocess.run([sys.executable, "-c", code, *args], cwd=CLONE, capture_output=True, text=True)
        assert done.returncode == 1 and done.stdout == ""
        assert expected in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


# -- finding and parameters ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("wanted", ["3", "03", "vae", "VAE", "03_vae", "labs/03_vae.ipynb"])
def test_a_lab_is_found_by_number_or_name(labs, wanted):
    assert notebooks.find(wanted) == labs / "03_vae.ipynb"


def test_an_unknown_lab_lists_the_known(labs):
    for wanted in ("4", "va", "", "03_vae.out"):
        assert f"There is no lab {wanted!r}; the labs are: 03_vae, 06_gan." in sentence(call("run", wanted))
        assert "the labs are: 03_vae, 06_gan." in sentence(call("lab", wanted or "x"))


def test_an_installed_package_says_where_the_labs_are(monkeypatch, tmp_path):
    monkeypatch.setattr(notebooks, "__file__", str(tmp_path / "site-packages" / "dgmlab" / "notebooks.py"))
    monkeypatch.chdir(tmp_path)
    assert "they come with the repository" in sentence(call("lab"))
    monkeypatch.chdir(CLONE)
    assert notebooks.labs_folder() == CLONE / "labs"


def test_parameters_are_read_from_their_cell():
    assert notebooks.parameters(notebook()) == {"beta": 1.0, "steps": 20, "scale": "lab", "hidden": [8, 8],
                                                "live": False, "seed": None}
    assert notebooks.parameters(notebook(parameters="a = -1\nb = range(3)\nc: int\nd = e = 'x'")) == {
        "a": -1, "b": None, "d": "x", "e": "x"}


def test_unknown_parameter_lists_the_known(labs):
    says = sentence(call("run", "vae", "-p", "betta", "4"))
    assert "03_vae has no parameter 'betta'" in says and "beta (1.0), steps (20), scale ('lab'), " in says


@pytest.mark.parametrize("default, text, value", [
    (1.0, "4", 4.0), (1.0, "1e-3", 1e-3), (1.0, "-.5", -0.5), (20, "1e3", 1000), (20, "-3", -3), (True, "no", False),
    ("lab", "3", "3"), ("lab", "yes", "yes"), ([8, 8], "[16]", [16]), ([0.5], "[1, 2]", [1.0, 2.0]),
    (["a"], "[b, c]", ["b", "c"]), ((1, "a"), "[2, b]", [2, "b"]), (None, "7", 7), (None, "text", "text"),
    (None, "null", None), ({"a": 1}, "{a: 2}", {"a": 2}),
])
def test_values_take_the_type_of_the_default(default, text, value):
    parsed = notebooks.parse("p", text, default)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize("default, text, kind", [
    (1.0, "big", "a number"), (1.0, "true", "a number"), (1.0, "nan", "a number"), (1.0, ".inf", "a number"),
    (20, "2.5", "a whole number"), (20, "[1]", "a whole number"), (True, "1", "true or false"),
    ([8, 8], "8", "a list"), ([8, 8], "[a]", "a whole number"), ({"a": 1}, "[", "a dict"),
])
def test_values_of_another_type_are_refused(default, text, kind):
    with pytest.raises(LabError, match=rf"it must be {kind}"):
        notebooks.parse("p", text, default)


def test_values_are_refused_before_anything_runs(labs):
    assert "The parameter steps is '2.5', but it must be a whole number (its default is 20)." in sentence(
        call("run", "vae", "-p", "steps", "2.5"))
    assert "given twice" in sentence(call("run", "vae", "-p", "scale", "lab", "--scale", "lab"), 2)
    assert "'huge' is not one of 'smoke', 'lab', 'paper'" in sentence(call("run", "vae", "--scale", "huge"), 2)
    assert list(Path.cwd().iterdir()) == []


# -- running ---------------------------------------------------------------------------------------------------------

def test_run_with_parameters_in_this_interpreter(labs, tmp_path, monkeypatch):
    # A kernel of the same name, registered by another environment, must not be taken instead.
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    before = (labs / "03_vae.ipynb").read_bytes()

    result = call("run", "3", "-p", "beta", "4", "-p", "hidden", "[16]", "--scale", "smoke")

    assert result.exit_code == 0, result.output
    assert re.match(r"03_vae ran in \d+ s: 03_vae\.out\.ipynb\n", result.stdout)
    out = Path("03_vae.out.ipynb")
    assert printed(out)[2:] == ["4.0 20 smoke [16] False None", sys.executable]
    assert (labs / "03_vae.ipynb").read_bytes() == before


def test_a_failing_cell_is_one_sentence_and_the_rest_is_kept(labs):
    result = call("run", "gan", "-o", "half.ipynb")
    assert result.exit_code == 1
    says = result.stderr.strip().splitlines()[-1]           # the progress bar comes before
    assert says == (f"dgmlab: Cell 4 of 06_gan (In [3]) failed with ValueError: the second line; the notebook up to "
                    f"there is {Path.cwd() / 'half.ipynb'}.")
    assert "Traceback" not in result.stderr
    assert any(output.output_type == "error" for cell in nbformat.read("half.ipynb", 4).cells
               for output in cell.get("outputs", []))


def test_a_cell_that_takes_too_long(labs):
    nbformat.write(notebook("import time; time.sleep(60)"), labs / "07_slow.ipynb")
    result = call("run", "slow", "--timeout", "1")
    assert result.exit_code == 1
    assert "A cell of 07_slow took longer than 1 s; the notebook up to there is " in result.stderr.splitlines()[-1]


def test_outputs_that_cannot_be_written(labs):
    assert "would overwrite the lab itself" in sentence(call("run", "vae", "-o", labs / "03_vae.ipynb"))
    assert "does not exist; make it" in sentence(call("run", "vae", "-o", "nowhere/out.ipynb"))


def test_a_broken_notebook_is_a_sentence(labs):
    (labs / "03_vae.ipynb").write_text('{"cells": [')
    assert "is not a whole notebook" in sentence(call("run", "vae"))


# -- saved outputs ---------------------------------------------------------------------------------------------------

WIDGET = "application/vnd.jupyter.widget-view+json"


def test_outputs_are_made_anew_and_are_the_same_each_time(labs):
    path = labs / "03_vae.ipynb"
    nbformat.write(notebook("import pathlib; print(pathlib.Path.cwd())", "import ipywidgets; ipywidgets.IntSlider()",
                            "beta"), path)
    assert "its code was changed after its outputs were made" in call("outputs", "vae", "--check").stderr

    assert call("outputs", "vae").exit_code == 0
    first = path.read_text()
    saved = nbformat.read(path, 4)
    assert printed(path)[1] == "labs"                       # the clone's own place is cut off
    assert [len(cell.outputs) for cell in saved.cells[1:]] == [0, 1, 0, 1]
    assert WIDGET not in first and "widgets" not in saved.metadata
    assert saved.metadata.language_info == {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    assert all("execution" not in cell.metadata for cell in saved.cells)
    assert saved.cells[1].metadata.tags == ["parameters"]

    assert call("outputs", "vae", "--check").exit_code == 0
    assert call("outputs", "vae").exit_code == 0
    assert path.read_text() == first
    assert [each.name for each in labs.glob(".*")] == []    # nothing half-written beside


def test_a_failing_run_keeps_the_old_outputs(labs):
    before = (labs / "06_gan.ipynb").read_bytes()
    assert "06_gan.ipynb keeps its old outputs, because its fresh run failed with ValueError" in sentence(
        call("outputs", "gan"))
    assert (labs / "06_gan.ipynb").read_bytes() == before


@pytest.mark.parametrize("code, complaint", [
    ("import warnings; warnings.warn('too old')", "left a warning"),
    ("print(object())", "shows a path or an address of this machine"),
    ("print('/home/somebody/file')", "shows a path or an address of this machine"),
])
def test_outputs_that_should_not_be_published(labs, code, complaint):
    nbformat.write(notebook(code), labs / "03_vae.ipynb")
    result = call("outputs", "vae")
    assert result.exit_code == 1 and f"03_vae.ipynb: cell 3 {complaint}" in result.stderr


def test_check_finds_what_another_program_saved(labs):
    path = labs / "03_vae.ipynb"
    nbformat.write(notebook("beta", "steps"), path)
    assert call("outputs", "vae").exit_code == 0
    saved = nbformat.read(path, 4)
    saved.cells[2].metadata["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}
    saved.cells[3].execution_count = 7
    nbformat.write(saved, path)
    says = call("outputs", "--check", "vae").stderr
    assert "it carries widget state, times or versions" in says and "were not run once each" in says


# -- doctor and data -------------------------------------------------------------------------------------------------

def test_doctor_says_what_was_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    result = call("doctor")
    assert re.search(r"Python +3\.1\d", result.output) and re.search(r"device +(cpu|cuda|mps)", result.output)
    assert re.search(r"threads +\d+ for the small models: .* takes [\d.]+ ms with 1 thread", result.output)
    assert f"{tmp_path / 'data'}, writable" in result.output
    assert result.output.strip().splitlines()[-1] == "Everything needed is here."
    assert result.exit_code == 0


def versions(monkeypatch, **changed):
    real = doctor.importlib.metadata.version
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: changed.get(name) or real(name))


@pytest.mark.parametrize("version, works", [("7.0.1", False), ("7.1.0", True), ("7.4.0", True), ("6.31.0", True)])
def test_doctor_knows_the_kernel_that_loses_updates(monkeypatch, version, works):
    versions(monkeypatch, ipykernel=version)
    finding, = doctor._live_widgets()
    assert finding.essential is not works and (f"ipykernel {version} loses" in finding.trouble) is not works


def test_doctor_compares_versions(monkeypatch):
    versions(monkeypatch, torch="1.0", click="8.99")
    found = {finding.about: finding for finding in doctor._packages()}
    assert found["torch"].essential and "torch 1.0 is not what the labs need (>=2.6)" in found["torch"].trouble
    assert not found["click"].trouble and found["click"].text.startswith("8.99 (tested: ")


def test_doctor_works_where_packages_are_missing(monkeypatch):
    real = doctor.importlib.metadata.version

    def version(name):
        if name == "numpy":
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    result = call("doctor")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "numpy is not installed: run `pip install 'numpy>=2.0'`."
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    result = call("doctor")
    assert result.exit_code == 1 and "The packages the labs need are not installed" in result.output.splitlines()[-1]


def test_doctor_finds_a_data_folder_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path / "file"))
    result = call("doctor")
    assert result.exit_code == 1 and "set DGMLAB_DATA to a folder that can" in result.output.splitlines()[-1]


def test_data_commands(monkeypatch, tmp_path):
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    listed = call("data", "list").output
    assert re.search(r"^digits +built-in +-  ", listed, re.M)
    assert re.search(r"^mnist +not downloaded +12 MB", listed, re.M)
    assert "digits is built-in" in call("data", "fetch", "digits").output
    verified = call("data", "verify")
    assert verified.exit_code == 0 and verified.output.startswith("digits: ")
    damaged = tmp_path / "published" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half a download")
    verified = call("data", "verify")
    assert verified.exit_code == 1 and damaged.name in verified.output
    assert "must be one of: digits, glyphs, " in sentence(call("data", "verify", "nosuch"))


# -- lab and test ----------------------------------------------------------------------------------------------------

def test_lab_asks_the_network_for_nothing(labs):
    command, environment = cli.labs.jupyterlab("vae", None, browser=False)
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={labs}" in command and "--LabApp.default_url=/lab/tree/03_vae.ipynb" in command
    assert "--no-browser" in command and "--LabApp.extension_manager=readonly" in command
    assert environment["JUPYTER_PREFER_ENV_PATH"] == "1"


def test_lab_refuses_a_port_in_use(labs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot be used" in sentence(call("lab", "--port", taken.getsockname()[1]))


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_lab_serves_the_labs(labs, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = cli.labs.jupyterlab("vae", port, browser=False)
    environment |= {"JUPYTER_TOKEN": "secret", "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
                    "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "set")}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        give_up, page = time.monotonic() + 60, ""
        while not page:
            assert server.poll() is None and time.monotonic() < give_up
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/lab?token=secret", timeout=5).read().decode()
            except OSError:
                time.sleep(0.2)
        notices = json.load(urllib.request.urlopen(
            f"http://127.0.0.1:{port}/lab/api/settings/@jupyterlab/apputils-extension:notification?token=secret"))
        files = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/contents?token=secret", timeout=5))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    assert re.search(r'"news":\s*\{"disabled":\s*true\}', page)
    assert notices["schema"]["properties"]["fetchNews"]["default"] == "false"       # the page does not even ask
    assert "03_vae.ipynb" in [each["name"] for each in files["content"]]


def test_test_runs_pytest_twice_and_returns_the_worst_code(labs, monkeypatch):
    calls = []

    def fake(command, cwd, env):
        calls.append(command[3:])
        assert command[:3] == [sys.executable, "-m", "pytest"] and cwd == labs.parent and env["OMP_NUM_THREADS"]
        return len(calls) - 1

    monkeypatch.setattr(cli.authors.subprocess, "call", fake)
    assert call("test").exit_code == 1
    assert calls[0] == ["tests"]
    assert calls[1][:3] == ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=180"]
    assert calls[1][-4:] == ["--dist", "loadfile", "labs/03_vae.ipynb", "labs/06_gan.ipynb"]
    calls.clear()
    assert call("test", "--fast").exit_code == 0
    assert calls == [["tests", "-m", "not browser and not slow"]]
    calls.clear()
    assert call("test", "-k", "vae", "-x").exit_code == 0
    assert calls == [["-k", "vae", "-x"]]
