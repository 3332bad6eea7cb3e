"""Sessions that were handed in: whether their numbers hold, what a stranger's file cannot do, and how one is played."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
import torch

from dgmlab import dashboard, notebooks, sessions
from dgmlab.cli import sessions as commands
from dgmlab.errors import LabError
from dgmlab.experiments import (
    annealing,
    autoencoders,
    build_handed_in,
    dialogue,
    gans,
    generators,
    judging,
    language,
    memorising,
    translation,
    vae,
)
from dgmlab.training.session import compare, load_session, save_session
from dgmlab.widgets import panel as panels
from dgmlab.widgets import playback

from .support import call, sentence, tiny_run, train, until


def steer(run, moves=(), steps=12):
    """Train, and move knobs: (step, knob, value)."""
    for step in range(steps):
        for at, knob, value in moves:
            if at == step:
                setattr(run.knobs, knob, value)
        run.advance()
    return run


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict:
    """A session of lab 00's experiment, in which the learning rate is moved at step 10."""
    path = tmp_path_factory.mktemp("session") / "good.json"
    save_session(steer(memorising.make_run(5, 16), [(10, "lr", 0.0123)], 30), path)
    return json.loads(path.read_text())


@pytest.fixture
def write(tmp_path, good):
    def write(name="handed.json", **parts) -> Path:
        """The good session as a file, some of its parts being others; ``a__b`` is part b of part a."""
        session = json.loads(json.dumps(good))
        for key, value in parts.items():
            *way, last = key.split("__")
            place = session
            for each in way:
                place = place[each]
            place[last] = value
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(session))
        return path

    return write


# -- do the numbers hold? --------------------------------------------------------------------------------------------

def test_a_class_is_replayed_in_one_go(write, good, tmp_path):
    write("class/anna/a.json")
    write("class/ben/b.json", knobs__log=[{"step": 10, "knob": "lr", "value": 0.05}])
    write("class/cem/c.json", history__loss=[2 * each for each in good["history"]["loss"]])
    (tmp_path / "class" / "dora.json").write_text('{"format": "dgml')
    result = call("replay", tmp_path / "class", "--json", tmp_path / "found.json")
    assert result.exit_code == 1 and result.stderr == ""
    lines = {line.split()[0].removeprefix(f"{tmp_path}{os.sep}class{os.sep}"): line.split()[1:]
             for line in result.stdout.splitlines()[:5]}
    assert lines["session"] == ["experiment", "steps", "numbers", "largest", "difference"]
    assert lines[str(Path("anna/a.json"))] == ["memorising", "30", "equal", "0"]
    assert lines[str(Path("ben/b.json"))][:3] == ["memorising", "30", "DIFFER"]
    assert lines[str(Path("cem/c.json"))] == ["memorising", "30", "DIFFER", "0.5"]
    assert lines["dora.json"] == ["-", "-", "not", "replayed", "-"]
    assert re.search(r"b\.json: The numbers differ by up to .*, first by more than 0.001 at step 1\d; ", result.stdout)
    assert "c.json: The numbers kept in the file differ by up to 0.5 (relative)" in result.stdout
    assert "the file was edited after it was saved" in result.stdout and "cannot be read as a session" in result.stdout
    assert result.stdout.splitlines()[-1] == "The numbers of 1 of 4 sessions hold."
    found = json.loads((tmp_path / "found.json").read_text())
    assert [(each["outcome"], each["holds"]) for each in found] == [
        ("equal", True), ("differ", False), ("differ", False), ("refused", False)]


def test_numbers_that_hold_are_exit_code_0(write):
    result = call("replay", write())
    assert result.exit_code == 0 and result.stdout.endswith("The numbers of 1 of 1 session hold.\n")


def test_rounding_passes_up_to_the_tolerance_only(write, good):
    nearly = write(digest="of another processor", instructions="AVX9000",
                   history__loss=[each * (1 + 1e-6) for each in good["history"]["loss"]])
    result = call("replay", nearly)
    assert result.exit_code == 0 and "equal within rounding" in result.stdout
    assert "what is different here: instructions AVX9000 then, " in result.stdout
    assert call("replay", nearly, "--tolerance", "0").exit_code == 1
    edited = write(history__loss=[each * (1 + 1e-6) for each in good["history"]["loss"]])
    assert call("replay", edited).exit_code == 1, "numbers that belie the file's own digest are no rounding"


def test_numbers_of_other_terms_or_gaps_elsewhere_differ_infinitely(good):
    run = steer(memorising.make_run(5, 16), [(10, "lr", 0.0123)], 30)
    nan = [float("nan"), *good["history"]["loss"][1:]]
    renamed = {"other" if name == "loss" else name: column for name, column in good["history"].items()}
    for history in (good["history"] | {"loss": nan}, renamed):
        found = compare(run, good | {"history": history, "digest": "x"})
        assert found.largest_difference == float("inf") and not found.holds(1e9)
    assert compare(run, good).exact


def test_threads_are_those_of_the_session(write, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    call("replay", write(threads=3))
    assert 3 in seen


def test_a_session_that_never_started_holds(tmp_path):
    run = memorising.make_run(5, 4)
    save_session(run, tmp_path / "fresh.json")
    train(run, 3)
    run.reset()
    save_session(run, tmp_path / "reset.json")
    assert call("replay", tmp_path).stdout.endswith("The numbers of 2 of 2 sessions hold.\n")
    with pytest.raises(LabError, match="saved at step 0, so there is nothing to play"):
        playback(tmp_path / "fresh.json")


def test_a_driven_knob_that_was_taken_over_before_the_first_step(tmp_path):
    """There and back before Start leaves no trace in the log, and the schedule is gone all the same."""
    run = annealing.make_run(schedule="cyclical", steps=20)
    run.knobs.beta = 0.3
    run.knobs.beta = 1.0
    save_session(train(run, 12), tmp_path / "taken.json")
    assert set(run.history.column("beta")) == {1.0}
    assert call("replay", tmp_path).exit_code == 0


# -- what is refused -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("parts, words", [
    ({"format": "dgmlab session 9"}, "is not a session of this lab"),
    ({"spec": None}, "This run was made by hand"),
    ({"spec__experiment": "os"}, "The experiment is 'os', but it must be one of: annealing, "),
    ({"spec__experiment": "../vae"}, "must be one of"), ({"spec__experiment": ["vae"]}, "must be text"),
    ({"spec": {"experiment": "vae"}}, "The experiment's arguments is None"),
    ({"spec__arguments": {"image": 5}}, "has no argument 'image' in this version; it has images, width, seed"),
    ({"spec__arguments": {"images": 10**9}}, "argument images is 1000000000, but it must be a number from"),
    ({"spec__arguments": {"images": -4}}, "The number of training images is -4"),
    ({"spec__arguments": {"images": "5"}}, "The number of training images is '5'"),
    ({"spec__arguments": {"images": [5] * 99}}, "has 99 members, more than 16"),
    ({"spec__arguments": {"images": "x" * 999}}, "has 999 characters, more than 200"),
    ({"steps": 10**30}, "Its number of steps is"), ({"steps": -1}, "number of steps"), ({"steps": "9"}, "steps"),
    ({"steps": True}, "number of steps"), ({"steps": 10}, "A step of the history"), ({"seed": -1}, "Its seed"),
    ({"threads": 10**6}, "Its number of threads"), ({"device": "tpu"}, "Its device is 'tpu'"),
    ({"precision": "float8"}, "Its precision"), ({"versions": []}, "Its versions"), ({"versions": {"a": 1}}, "version"),
    ({"digest": None}, "Its digest"), ({"saved": 5}, "Its entry saved"), ({"knobs": 3}, "Its knobs"),
    ({"knobs__initial": {"lr": 1e-3, "mood": 1}}, "no knob named 'mood'"),
    ({"knobs__initial": {"beta": 1}}, "no initial value of 'lr'"),
    ({"knobs__initial": {"beta": 1, "lr": 7}}, "must be a number from 0 to 1"),
    ({"knobs__log": {}}, "The log"), ({"knobs__log": ["x"]}, "A change in the log"),
    ({"knobs__log": [{"step": 1.5, "knob": "lr", "value": 0.1}]}, "The step of a change is 1.5"),
    ({"knobs__log": [{"step": 1, "knob": 7, "value": 0.1}]}, "The knob of a change"),
    ({"knobs__log": [{"step": 1, "knob": "lr"}]}, "must have a value or a schedule"),
    ({"knobs__log": [{"step": 1, "knob": "lr", "value": 9}]}, r"learning rate \(lr\) is 9, but it must be a number"),
    ({"knobs__log": [{"step": 1, "knob": "lr", "value": {}}]}, "must be a number"),
    ({"knobs__log": [{"step": 1, "knob": "mood", "value": 9}]}, "no knob named 'mood'"),
    ({"knobs__log": [{"step": 1, "knob": "lr", "schedule": {"steps": 9, "stop": 5}}]}, "must be a number from 0 to 1"),
    ({"knobs__log": [{"step": 1, "knob": "lr", "schedule": {"tempo": 9}}]}, "does not describe a schedule"),
    ({"history": []}, "Its history"), ({"history": {}}, "The history's steps"),
    ({"history": {"steps": [1], "loss": []}}, "a number for each of its 1 steps"),
    ({"history": {"steps": [1], "loss": ["x"]}}, "a number for each of its 1 steps")])
def test_a_file_that_cannot_be_is_one_sentence(write, parts, words):
    path = write(**parts)
    says = sentence(call("replay", path))
    assert re.search(words, says) and str(path) in says and "Traceback" not in says
    with pytest.raises(LabError, match=words):
        playback(path)


@pytest.mark.parametrize("content, words", [
    (b"", "cannot be read as a session"), (b'{"format": "dgm', "cannot be read"), (b"\xff\xfe\x00", "cannot be read"),
    (b"[1, 2]", "is not a session"), (b"[" * 100_000, "cannot be read"), (b"9" * 9999, "cannot be read"),
    (b" " * 20_000_001, "has 20 MB, but a session has at most 20")])
def test_a_file_that_is_no_session_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    assert words in sentence(call("replay", path))


def test_places_without_a_session(tmp_path):
    assert "There is no session at nowhere.json." in sentence(call("replay", "nowhere.json"))
    assert "There is no session in the folder" in sentence(call("replay", tmp_path))
    assert "There is no folder" in sentence(call("replay", tmp_path, "--json", tmp_path / "no" / "x.json"), 2)
    assert "There is no session at nowhere.json." in sentence(call("play", "nowhere.json"))
    assert "Missing argument 'SESSION...'" in sentence(call("replay"), 2)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "is not a file" in sentence(call("replay", tmp_path / "pipe"))


def test_a_billion_steps_end_at_the_time_limit(write):
    says = sentence(call("replay", write(steps=10**9), "--timeout", "0.3"))
    assert re.search(r"given up after [\d,]+ of 1,000,000,000 steps, at the limit of 0.3 s", says)


def test_a_session_writes_nothing_and_reads_no_file_that_it_names(tmp_path, write):
    secret, folder = tmp_path / "secret.txt", tmp_path / "written"
    secret.write_text("a secret sentence .\n" * 50)
    assert call("replay", write(spec__arguments__folder=str(folder))).exit_code == 0
    assert not folder.exists()
    for corpus in (str(secret), f"{secret},{secret}", "../secret.txt", "no/where.txt", ["grammar"]):
        says = sentence(call("replay", write(spec={"experiment": "language", "arguments": {"corpus": corpus}})))
        assert "no file that a session names is read" in says and "secret sentence" not in says
    for spec in ({"experiment": "vae", "arguments": {"dataset": str(secret)}},
                 {"experiment": "dialogue", "arguments": {"corpus": str(secret)}},
                 {"experiment": "generators", "arguments": {"target": "../secret.txt"}},
                 {"experiment": "translation", "arguments": {"source": str(secret)}},
                 {"experiment": "translation", "arguments": {"data": str(tmp_path)}}):
        assert re.search("must be one of|There is no font", sentence(call("replay", write(spec=spec))))


@pytest.mark.parametrize("spec", [
    {"experiment": "vae", "arguments": {"hidden": [10**6]}}, {"experiment": "vae", "arguments": {"latent": 10**7}},
    {"experiment": "annealing", "arguments": {"layers": 500}}, {"experiment": "gans", "arguments": {"batch": 10**8}},
    {"experiment": "gans", "arguments": {"data": "line", "start": {"height": [1e300] * 99}}},
    {"experiment": "translation", "arguments": {"blocks": 10**4}}])
def test_a_session_cannot_ask_for_what_does_not_fit_into_memory(write, spec):
    assert "The session's argument" in sentence(call("replay", write(spec=spec)))


def test_what_is_wrong_with_the_arguments_only_inside_the_experiment(write):
    says = sentence(call("replay", write(spec={"experiment": "gans", "arguments": {
        "data": "line", "start": {"nonsense": 1}}})))
    assert "The experiment gans cannot be made with the arguments of the session (TypeError: " in says


def test_a_device_that_is_not_here_is_replaced(good):
    if torch.cuda.is_available():
        pytest.skip("it is here")
    spec = {"experiment": "vae", "arguments": {"device": "cuda"}}
    assert build_handed_in(good | {"spec": spec, "device": "cuda"}).device.type == "cpu"


# -- playing ---------------------------------------------------------------------------------------------------------

MADE = {
    "vae": lambda: steer(vae.make_run(), [(4, "beta", 3.33), (8, "lr", 1e-2)]),
    "gans": lambda: steer(gans.make_run("ring", steps=30), [(4, "loss", "minimax"), (8, "penalty", 2.0)]),
    "gans_line": lambda: steer(gans.make_run("line", start={}), [(4, "turn", "generator")]),
    "gans_images": lambda: steer(gans.make_run("digits", loss="Wasserstein"), [(4, "clip", 0.05)], 6),
    "annealing": lambda: steer(annealing.make_run(schedule="cyclical", steps=30), [(4, "free_bits", 0.5)]),
    "annealing_by_hand": lambda: steer(annealing.make_run(schedule="by hand", steps=30), [(4, "beta", 0.5)]),
    "translation": lambda: steer(translation.make_run(scale="smoke"), [(1, "cycle", 1.0)], 2),
    "photographs": lambda: steer(translation.make_run("photographs", scale="smoke"), [(1, "cycle", 1.0)], 2),
    "language": lambda: steer(language.make_run(corpus="grammar", model="both", scale="smoke", schedule="cyclical",
                                                steps=20), [(2, "word_dropout", 0.5)], 5),
    "generators": lambda: steer(generators.make_run(), [(4, "criterion", "MMD")]),
    "generators_plane": lambda: steer(generators.make_run("ring", 2), [(4, "batch", 64)]),
    "generators_images": lambda: steer(generators.make_run("digits", 4, (16,))),
    "autoencoders": lambda: steer(autoencoders.make_run(watched=True, fall=20), [(4, "noise", 0.2)]),
    "memorising": lambda: steer(memorising.make_run(5, 16), [(4, "lr", 1e-2)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_every_panel_plays_its_sessions(name, tmp_path, monkeypatch):
    """What the Save button of any lab's panel can write is played to the same numbers, and leaves its picture."""
    monkeypatch.setenv("DGMLAB_LIVE", "0")
    run = MADE[name]()
    path = save_session(run, tmp_path / f"{name}.json")
    panel, shown = playback(path), []
    monkeypatch.setattr(panels, "still", lambda rows, data: shown.append(data))
    panel._ipython_display_()
    assert panel.run.step == run.step and compare(panel.run, load_session(path)).exact
    assert panel.run.knobs.log == run.knobs.log and "to the last bit" in panel._said
    assert set(shown[0]) == set(panel.pictures)
    panel.run.reset()                                       # and once more
    panel.run.wait()
    assert compare(panel.run, load_session(path)).exact


def test_every_experiment_with_a_panel_is_played_above():
    from dgmlab.widgets.player import PANELS

    assert {name.partition("_")[0] for name in MADE} - {"photographs"} == set(PANELS)


@pytest.mark.parametrize("run", [lambda: judging.make_run(), lambda: dialogue.make_run(scale="smoke")])
def test_an_experiment_without_a_panel_says_so(run, tmp_path):
    path = save_session(steer(run(), steps=1), tmp_path / "x.json")
    with pytest.raises(LabError, match="has no panel to play its session in"):
        playback(path)


@pytest.fixture
def playing(write, good, tmp_path, monkeypatch):
    """A panel that plays a session, as in a notebook."""
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path / "data"))
    panel = playback(write())
    yield panel
    panel.run.pause()


def test_played_in_a_notebook_it_pauses_at_the_end_and_can_be_played_again(playing, good):
    run, rate = playing.run, playing.controls[0].input
    assert "30 steps with 1 move: Start plays it" in playing.status.value and rate.value == 1e-3
    assert playing.speed.value == 30                # else it would be over before one had looked
    assert "recover" not in playing.buttons and run.folder is None and run.spec == good["spec"]
    for _ in range(2):
        playing.buttons["start"].click()
        until(lambda: run.step == 30 and not run.live.training, "it plays to the end and pauses")
        assert rate.value == 0.0123 and run.knobs.log == good["knobs"]["log"] and compare(run, good).exact
        until(lambda: "All 30 steps gave the same numbers" in playing.status.value, "it says so")
        playing.buttons["reset"].click()
        assert run.step == 0 and rate.value == 1e-3 and "Start plays it" in playing.status.value


def test_who_moves_a_knob_takes_over(playing):
    run = playing.run
    for _ in run.steps(4):
        pass
    playing.controls[0].input.value = 2e-3
    assert "taken over at step 4" in playing.status.value
    for _ in run.steps(10):
        pass
    assert [(event["step"], event["value"]) for event in run.knobs.log] == [(4, 2e-3)] and run.knobs.lr == 2e-3
    playing.buttons["reset"].click()
    for _ in run.steps(12):
        pass
    assert [(event["step"], event["value"]) for event in run.knobs.log] == [(10, 0.0123)]


@pytest.fixture
def labs(tmp_path, monkeypatch):
    folder = tmp_path / "clone" / "labs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(notebooks, "labs_folder", lambda: folder)
    return folder


def test_play_opens_a_notebook_made_for_the_session(write, labs, monkeypatch):
    started = []
    monkeypatch.setattr("dgmlab.cli.labs.start", lambda command, environment: started.append(command))
    path = write("o'hara <b>|x.json", versions__torch="<script>alert(1)</script>")
    for _ in range(2):                                      # the second time over the first
        result = call("play", path, "--no-browser")
        assert result.exit_code == 0, result.output
    assert started[0][-1] == "--LabApp.default_url=/lab/tree/sessions/played/o'hara <b>|x.ipynb"
    made = labs / "sessions" / "played" / "o'hara <b>|x.ipynb"
    notebook = nbformat.read(made, 4)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "<script" not in text and "<b>" not in text and "&#60;script&#62;alert&#40;1&#41;" in text
    for row in ("| experiment | memorising |", "| steps | 30 |", "| 10 | learning rate | 0.0123 |"):
        assert row in text
    code, = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    monkeypatch.chdir(made.parent)
    names: dict = {}
    exec(code, names)
    assert names["playback"]("o'hara <b>|x.json").run.step == 0
    assert call("play", made.parent / path.name, "--no-browser").exit_code == 0     # the copy itself


def test_a_drag_is_one_row_of_the_table():
    knobs = vae.make_run().knobs.traits()
    log = [{"step": 100 + k, "knob": "beta", "value": k / 10} for k in range(40)] + [
        {"step": 300, "knob": "beta", "schedule": {"steps": 50, "start": 0.0, "stop": 1.0}},
        {"step": 310, "knob": "lr", "value": 0.01}]
    assert sessions._moves(log, knobs) == [("100 to 139", "KL weight β", "3.9"),
                                           ("300", "KL weight β", "linear 0 to 1 over 50 steps"),
                                           ("310", "learning rate", "0.01")]


def test_a_recording_that_cannot_be_written(write, labs):
    (labs / "sessions").write_text("a file, not a folder")
    assert "The recording could not be written to" in sentence(call("play", write()))


def test_a_run_made_by_hand_cannot_be_played(tmp_path):
    path = save_session(train(tiny_run(), 3), tmp_path / "own.json")
    assert "This run was made by hand" in sentence(call("replay", path))
    assert "This run was made by hand" in sentence(call("play", path))


# -- a panel on a page of its own ------------------------------------------------------------------------------------

@pytest.mark.parametrize("lab", notebooks.labs(), ids=lambda path: path.stem)
def test_the_page_of_a_lab_is_its_title_its_first_panel_and_what_one_sees(lab, tmp_path):
    before = lab.read_bytes()
    page = nbformat.read(dashboard.page(lab, tmp_path, Path("visitors")), 4)
    nbformat.validate(page)
    first, last = page.cells[0], page.cells[-1]
    assert first.source.startswith(f"# Lab {lab.stem[:2]} · ") and "Shift+Enter" not in first.source
    assert page.metadata.title == first.source.splitlines()[0].removeprefix("# ")
    code = [cell.source for cell in page.cells if cell.cell_type == "code"]
    assert "os.chdir('visitors')" in code[0] and re.search(r"_(panel|bench)\(|drag_|spoil_", code[-1])
    assert last.cell_type == "markdown" and "(saved" not in last.source
    assert all(not cell.get("outputs") for cell in page.cells) and lab.read_bytes() == before


def test_a_lab_without_a_panel_has_no_page(labs, tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Lab 42 · Words")]),
                   labs / "42_words.ipynb")
    assert "42_words has no panel among its first 6 cells" in sentence(call("dashboard", "42"))
    assert "There is no lab 'nosuch'" in sentence(call("dashboard", "nosuch"))


def test_a_dashboard_without_voila_says_what_to_install(monkeypatch):
    monkeypatch.setattr(dashboard.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'dgmlab[dashboard]'" in sentence(call("dashboard", "03"))


def test_a_dashboard_serves_from_this_environment_and_cleans_up(monkeypatch, tmp_path):
    served = []

    class Server:
        def __init__(self, command, env):
            page = Path(command[3])
            served.append((command, env, page, page.is_file()))

        def wait(self):
            return 0

        def terminate(self):
            pass

    monkeypatch.setattr(commands.subprocess, "Popen", Server)
    monkeypatch.chdir(tmp_path)
    assert call("dashboard", "vae", "--no-browser").exit_code == 0
    (command, env, page, there), = served
    assert there and not page.parent.exists() and "--no-browser" in command and "--template=dgmlab" in command
    assert env["DGMLAB_LIVE"] == "1" and env["JUPYTER_PREFER_ENV_PATH"] == "1"
