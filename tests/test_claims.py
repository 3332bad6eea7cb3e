"""Claims: the verdict as statistics, the runs over seeds, what the command line says, the records in data/claims."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from scipy import stats

from dgmlab import cli
from dgmlab.errors import LabError
from dgmlab.experiments import claims, measuring
from dgmlab.experiments.claims import DIRECTION, NOT, REPRODUCED, Claim, Evidence, evidence, in_digits, verdict
from dgmlab.experiments.fingerprints import fingerprint
from dgmlab.experiments.measuring import Measured, measure

CLONE = Path(__file__).resolve().parents[1]
INFINITE = math.inf


# -- the verdict -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("n", [3, 5, 20])
def test_the_interval_is_students(n):
    values = np.random.default_rng(n).normal(2, 3, n)
    found = verdict(values, (0, INFINITE))
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_a_ratio_is_judged_on_its_logarithm():
    values = np.exp(np.random.default_rng(0).normal(1, 0.3, 8))
    found, of_logs = verdict(values, (1, INFINITE), no_effect=1, ratio=True), verdict(np.log(values), (0, INFINITE))
    assert [found.mean, found.low, found.high] == pytest.approx(np.exp([of_logs.mean, of_logs.low, of_logs.high]))
    assert found.word == of_logs.word
    upside_down = verdict(1 / values, (0, 1), no_effect=1, ratio=True)
    assert [upside_down.low, upside_down.high] == pytest.approx([1 / found.high, 1 / found.low])
    assert upside_down.word == found.word == REPRODUCED


@pytest.mark.parametrize("values, expected, no_effect, word", [
    ([2, 2.1, 1.9], (1, 3), 0, REPRODUCED),
    ([4, 4.1, 3.9], (1, 3), 0, DIRECTION),                  # beyond what is expected, but no doubt an effect
    ([0.5, 0.6, 0.4], (1, 3), 0, DIRECTION),
    ([0.9, 1.1, 1.0], (1, 3), 0, DIRECTION),                # astride the near end
    ([0.5, -0.4, 0.1], (1, 3), 0, NOT),
    ([-2, -2.1, -1.9], (1, 3), 0, NOT),                     # the other direction
    ([0.5, 0.6, 0.4], (1, 3), None, NOT),                   # no "no effect": in or out
    ([2, 2, 2], (1, 3), None, REPRODUCED),
    ([1, 1, 1], (1, 3), 0, DIRECTION),                      # the ends do not belong to what is expected
    ([0, 0, 0], (0, INFINITE), 0, NOT),
    ([2, 2.1, 40], (1, 3), 0, NOT),                         # one wild seed of three proves nothing
    ([-5, -5.1, -4.9], (-INFINITE, -1), 0, REPRODUCED),
    ([-0.5, -0.6, -0.4], (-INFINITE, -1), 0, DIRECTION),
    ([1e-12, 3e-13, 2e-12], (-INFINITE, 1e-4), None, REPRODUCED),
])
def test_the_three_words(values, expected, no_effect, word):
    assert verdict(values, expected, no_effect=no_effect).word == word
    # Turned round with everything that was expected, the same numbers say the same.
    turned = verdict([-v for v in values], (-expected[1], -expected[0]), no_effect=no_effect and -no_effect)
    assert turned.word == word


def test_more_seeds_narrow_the_interval():
    rng = np.random.default_rng(1)
    widths = []
    for n in (3, 5, 10, 40, 160):
        found = [verdict(rng.normal(0, 1, n), (0, 1)) for _ in range(200)]
        widths.append(np.mean([each.high - each.low for each in found]))
    assert (np.diff(widths) < 0).all()
    assert widths[-1] == pytest.approx(widths[-2] / 2, rel=0.1)


def test_the_interval_covers_the_truth_19_times_in_20():
    rng = np.random.default_rng(2)
    found = [verdict(rng.normal(1, 2, 5), (0, 2)) for _ in range(4000)]
    assert np.mean([each.low < 1 < each.high for each in found]) == pytest.approx(0.95, abs=0.012)
    # An effect that is not there is taken for one in the expected direction 1 time in 40.
    none = [verdict(rng.normal(0, 2, 5), (0, INFINITE)).word for _ in range(4000)]
    assert np.mean([word != NOT for word in none]) == pytest.approx(0.025, abs=0.01)


@pytest.mark.parametrize("values, ratio, says", [
    ([1, 2], False, "2 seeds, but it needs at least 3"),
    ([1, 2, math.nan], False, "finite numbers; look"),
    ([1, 2, math.inf], False, "finite"),
    ([1, 2, 0], True, "above 0, since they are ratios"),
    ([[1, 2], [3, 4], [5, 6]], False, "at least 3"),
])
def test_what_no_verdict_can_be_given_on(values, ratio, says):
    with pytest.raises(LabError, match=says):
        verdict(values, (1, 3), ratio=ratio, no_effect=None)


# -- claims ----------------------------------------------------------------------------------------------------------

@pytest.fixture(autouse=True)
def from_zero(monkeypatch):
    monkeypatch.setattr(measuring, "FIRST", 0)


def lucky(seed):
    return {"gain": 2 + 0.1 * (seed % 3), "times": 4.0 + 0.1 * seed, "seed": seed, "undefined": math.nan}


def steady(seed):
    return {"pid": os.getpid(), "threads": _threads(), "loss": -1.0}


def broken(seed):
    if seed == 1:
        raise ZeroDivisionError("a division\nby zero")
    return {"gain": 1.0}


def refuses(seed):
    raise LabError("The disk is full; free some space.")


def _threads():
    import torch

    return torch.get_num_threads()


def claim(identity="90.gain", experiment=lucky, quantity="gain", expected=(1, 3), **more):
    return Claim(identity, "a paper, table 1", f"Sentence of {identity}: P < N*D, |a| is <b>.", experiment, quantity,
                 "gain, nats", expected, "on what, how long", **more)


TOGETHER = [claim(), claim("90.times", quantity="times", expected=(1, INFINITE), ratio=True, no_effect=1.0),
            claim("91.steady", steady, "loss", (0, 1), note="Tried: a, b.")]


@pytest.mark.parametrize("expected, no_effect", [((3, 1), 0), ((1, 1), 0), ((-1, 1), 0)])
def test_an_interval_must_leave_no_effect_out(expected, no_effect):
    with pytest.raises(LabError, match="low < high"):
        claim(expected=expected, no_effect=no_effect)


def test_every_claim_of_the_labs_is_whole():
    known = claims.all_claims()
    assert [each.lab for each in known] == sorted(each.lab for each in known) and "03" in {c.lab for c in known}
    for each in known:
        assert len(each.lab) == 2 and each.lab.isdigit() and each.id.count(".") == 1, each.id
        assert each.says[-1] == "." and each.says.count(". ") == 0, f"{each.id} is to be said in one sentence"
        assert all(text.strip() == text and text for text in (each.source, each.measured, each.settings)), each.id
        assert getattr(sys.modules[each.experiment.__module__], each.experiment.__name__) is each.experiment, each.id


def test_two_claims_of_one_name_are_refused(monkeypatch):
    from dgmlab.experiments import vae_claims

    monkeypatch.setattr(vae_claims, "CLAIMS", [*vae_claims.CLAIMS, vae_claims.CLAIMS[0]])
    with pytest.raises(LabError, match="Two claims are called 03.noise"):
        claims.all_claims()


# -- measuring -------------------------------------------------------------------------------------------------------

def test_claims_of_one_experiment_share_its_runs():
    ran = []

    def counted(seed):
        ran.append(seed)
        return lucky(seed)

    gain, times = measure([claim(experiment=counted), claim("90.times", counted, "times", (1, 9))], 4, jobs=1)
    assert sorted(ran) == [0, 1, 2, 3]
    assert gain.values == [2.0, 2.1, 2.2, 2.0] and times.values == [4.0, 4.1, 4.2, 4.3]
    assert gain.verdict == verdict(gain.values, (1, 3)) and gain.verdict.word == REPRODUCED


def test_a_failure_costs_its_own_claims_only(capfd):
    found = measure([claim(), claim("90.broken", broken), claim("90.refuses", refuses),
                     claim("90.absent", quantity="loss"), claim("90.nan", quantity="undefined")], 3, jobs=1)
    assert [bool(each.verdict) for each in found] == [True, False, False, False, False]
    assert [each.error for each in found[1:]] == [
        "Seed 1 failed: ZeroDivisionError: a division by zero",
        "Seed 0 failed: The disk is full; free some space.",
        "The experiment test_claims.lucky gives no number called 'loss'; it gives: gain, times, seed, undefined.",
        "The seeds gave [nan, nan, nan], but a verdict needs finite numbers; look at the experiment."]
    assert capfd.readouterr().err == ""
    assert json.loads(json.dumps(measuring.record(found[4]), allow_nan=False))["values"] == [None] * 3


@pytest.mark.slow
def test_seeds_run_side_by_side_on_one_thread_each():
    at_once = [claim(), claim("90.pid", steady, "pid", (0, INFINITE)), claim("90.threads", steady, "threads", (0, 2))]
    gain, pid, threads = measure(at_once, 6, jobs=2)
    assert gain.values == [2.0, 2.1, 2.2] * 2                       # in the order of the seeds
    assert os.getpid() not in pid.values and len(set(pid.values)) <= 2
    assert threads.values == [1] * 6


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how, code, says", [("Ctrl-C", 130, "dgmlab: interrupted."), ("kill", 143, "")])
def test_an_interrupt_ends_the_workers(how, code, says):
    command = [sys.executable, "-m", "dgmlab", "claims", "03.beta_kl", "--jobs", "2"]
    process = subprocess.Popen(command, cwd=CLONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    workers, deadline = [], time.monotonic() + 60
    while len(workers) < 2 and time.monotonic() < deadline:         # until both have begun to compute
        time.sleep(0.5)
        workers = [each for each in psutil.Process(process.pid).children() if each.cpu_times().user > 3]
    if how == "kill":
        process.terminate()
    else:
        os.killpg(process.pid, signal.SIGINT)                       # to the workers as well
    _, said = process.communicate(timeout=30)
    assert process.returncode == code and said.strip() == says
    assert len(workers) == 2 and psutil.wait_procs(workers, timeout=10)[1] == []


# -- the command line ------------------------------------------------------------------------------------------------

@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Three claims of two labs, an empty place for records, and experiments whose code is as it is."""
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(claims, "fingerprint", lambda experiment: f"code of {experiment}")
    monkeypatch.setattr(claims, "RECORDS", tmp_path / "data" / "claims")
    monkeypatch.setattr(claims, "all_claims", lambda: list(TOGETHER))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(cli.main, ["claims", "--jobs", "1", *map(str, arguments)])


def test_the_table(clone):
    done = call()
    assert done.exit_code == 0 and done.stderr == ""                # whatever the verdicts
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == ["claim", "mean", "[95", "%", "interval]", "expected", "n", "verdict"]
    assert lines[1].split() == ["90.gain", "2.08", "[1.98,", "2.18]", "1", "to", "3", "5", "reproduced"]
    assert "Sentence of 90.gain: P < N*D, |a| is <b>. (gain, nats)" in lines[2]
    assert lines[-1].startswith("3 claims: 2 reproduced, 1 not reproduced.") and not (clone / "data").exists()


def test_which_claims(clone, monkeypatch):
    for given, wanted in ((["90"], 2), (["91", "90.gain"], 2), (["90.times"], 1), (["90.gain", "90"], 2)):
        assert f"\n{wanted} claim{'s' * (wanted > 1)}: " in call("--seeds", 3, *given).stdout
    monkeypatch.setattr(claims, "all_claims", lambda: [claim("03.gain")])
    for given in ("3", "03", "vae", "03_vae"):                      # by the lab's notebook
        assert "03.gain" in call("--list", given).stdout
    refused = call("vea")
    assert refused.exit_code == 1 and "called 'vea'. `dgmlab claims --list` shows all." in refused.stderr
    assert "do you mean 03.gain?" in call("03.gian").stderr and "do you mean 03.gain?" in call("03.g").stderr


def test_list_measures_nothing(clone, monkeypatch):
    monkeypatch.setattr(measuring, "measure", None)
    done = call("--list")
    assert done.exit_code == 0 and [line for line in done.stdout.splitlines() if line[0] != " "] == [
        "90.gain", "90.times", "91.steady"]


def test_json_is_plain(clone):
    assert call("--json", "out.json", "--seeds", 4).exit_code == 0
    found = json.loads((clone / "out.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [each["id"] for each in found] == ["90.gain", "90.times", "91.steady"]
    second = found[1]
    assert {key: second[key] for key in ("lab", "expected", "seeds", "verdict", "ratio", "no_effect", "error")} == {
        "lab": "90", "expected": [1, None], "seeds": 4, "verdict": REPRODUCED, "ratio": True, "no_effect": 1.0,
        "error": None}
    assert second["values"] == [4.0, 4.1, 4.2, 4.3] and second["interval"][0] < second["mean"] < second["interval"][1]
    assert second["command"] == "dgmlab claims 90.times --seeds 4"
    assert {"dgmlab", "python", "torch", "numpy"} <= set(second["versions"]) and second["made"] and "seconds" in second
    assert found[2]["note"] == "Tried: a, b."


def test_a_failed_experiment_is_in_the_table_and_in_the_exit_code(clone, monkeypatch):
    monkeypatch.setattr(claims, "all_claims", lambda: [claim(), claim("90.broken", broken)])
    done = call("--save", "--json", "out.json")
    assert done.exit_code == 1
    assert "ZeroDivisionError: a division by zero" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 claims: 1 reproduced, 1 error.")
    assert json.loads((clone / "out.json").read_text())[1]["verdict"] is None
    assert "Lab 90 is not recorded (90.broken without a verdict)" in done.stderr
    assert not (clone / "data" / "claims" / "90.json").exists()


@pytest.mark.parametrize("arguments, says", [
    (["--save", "90.gain"], "name labs, not claims"),
    (["--save", "--seeds", "4"], "at least 5 seeds"),
    (["--seeds", "2"], "2 is not in the range x>=3"),
    (["--json", "absent/out.json"], "There is no folder"),
    (["--page", "90"], "The page is of all labs; leave out 90"),
    (["--page", "--save"], "With --page nothing new is measured, so --save cannot be given beside it"),
    (["--stale", "--json", "out.json"], "With --stale nothing new is measured, so --json"),
    (["--confirm", "--save"], "With --confirm nothing new is measured, so --save"),
    (["--list", "--stale", "--page"], "With --list nothing new is measured, so --stale and --page"),
])
def test_what_cannot_be_done_is_said_before_anything_runs(clone, monkeypatch, arguments, says):
    monkeypatch.setattr(measuring, "measure", None)
    done = call(*arguments)
    assert done.exit_code == 2 and says in done.stderr and len(done.stderr.splitlines()) == 1


def test_nothing_is_recorded_outside_a_clone(clone):
    (clone / "pyproject.toml").unlink()
    done = call("--save")
    assert done.exit_code == 2 and "use --json FILE" in done.stderr
    for option in ("--page", "--confirm"):
        done = call(option)
        assert done.exit_code == 2 and "Records and their page lie in a clone" in done.stderr
        assert len(done.stderr.splitlines()) == 1 and not (clone / "data").exists()


# -- records ---------------------------------------------------------------------------------------------------------

def test_save_evidence_and_what_is_stale(clone, monkeypatch):
    assert [sentence[:40] for sentence in measuring.stale()] == ["The claims of lab 90 are not recorded in",
                                                                 "The claims of lab 91 are not recorded in"]
    assert call("--save").exit_code == 0 and measuring.stale() == []
    records = clone / "data" / "claims"
    assert sorted(each.name for each in records.iterdir()) == ["90.json", "91.json", "README.md"]
    page = (records / "README.md").read_text()
    assert "## Lab 90" in page and "## Lab 91" in page and "Tried: a, b." in page
    assert "`dgmlab claims 91 --seeds 5 --save`" in page

    table = evidence(90)
    assert isinstance(table, Evidence) and table["seeds"].tolist() == [5, 5]
    assert table["verdict"].tolist() == [REPRODUCED, REPRODUCED] and table["expected"].tolist() == ["1 to 3", "above 1"]
    assert table["measured, 95 % interval"][0] == "2.08 [1.98, 2.18]"
    assert "P &lt; N*D, |a| is &lt;b&gt;." in table._repr_html_() == evidence("90")._repr_html_()

    before = page.encode()
    monkeypatch.setattr(claims, "all_claims", lambda: [TOGETHER[0], claim("90.times", quantity="seed"), TOGETHER[2]])
    assert measuring.stale() == ["The record of 90.times has another quantity and no_effect and ratio and expected "
                                 "than the code; `dgmlab claims 90 --save` measures and records them again."]
    monkeypatch.setattr(claims, "all_claims", lambda: TOGETHER[1:])
    assert "Recorded for lab 90 are the claims 90.gain, 90.times, but the code has 90.times" in measuring.stale()[0]
    monkeypatch.setattr(claims, "all_claims", lambda: TOGETHER)
    (records / "README.md").write_text("by hand")
    assert "README.md is not what the records and today's code give" in measuring.stale()[0]
    partial = [Measured(TOGETHER[0], [2.0] * 5, 0.1, verdict([2, 2, 2], (1, 3)))]
    assert "90.times not measured" in measuring.save(partial, TOGETHER)[0]
    few = [Measured(TOGETHER[2], [2.0] * 4, 0.1, verdict([2, 2, 2], (1, 3)))]
    assert "fewer than 5 seeds" in measuring.save(few, TOGETHER)[0]
    assert (records / "README.md").read_bytes() == before           # written anew, from the records as they were


def test_the_page_leads_with_what_was_found(clone, monkeypatch):
    (clone / "labs").mkdir()
    for name, title in (("90_luck", "# Lab 90 · Luck\n\nYou try it."), ("90_luck.out", "# Of a run")):
        (clone / "labs" / f"{name}.ipynb").write_text(json.dumps({"cells": [{"source": [title]}]}))
    monkeypatch.setattr(claims, "all_claims", lambda: [*TOGETHER, claim("91.less", expected=(3, 4)),
                                                        claim("91.open", expected=(2, 3), no_effect=None)])
    assert call("--save").exit_code == 0
    head, *sections = (clone / "data" / "claims" / "README.md").read_text().split("\n## ")
    assert "\n**5 claims: 2 reproduced, 1 direction only, 2 not reproduced.**\n" in head
    assert [line for line in head.splitlines() if line.startswith("|")] == [
        "| lab | claims | reproduced | direction only | not reproduced | stale |",
        "| --- | --- | --- | --- | --- | --- |",
        "| [Lab 90 · Luck](#lab-90) | 2 | 2 | 0 | 0 | 0 |",
        "| [Lab 91](#lab-91) | 3 | 0 | 1 | 2 | 0 |",
        "| all | 5 | 2 | 1 | 2 | 0 |"]
    not_shown, undecided, direction, lab_90, lab_91 = sections
    assert not_shown.startswith("What did not show\n\nNot reproduced: ")
    assert "* [`91.steady`](#91.steady): Sentence of 91.steady: " in not_shown and "91.open" not in not_shown
    assert undecided.startswith("What stays open\n\n") and "* [`91.open`](#91.open): " in undecided
    assert direction.startswith("What showed in direction only\n\n") and "* [`91.less`](#91.less): " in direction
    assert "expected 3 to 4, ours 2.08 [1.98, 2.18]." in direction
    assert lab_90.startswith("Lab 90 · Luck\n\n2 claims: 2 reproduced. [The notebook](../../labs/90_luck.ipynb).\n")
    assert ('\n| <a id="90.gain"></a>`90.gain`: Sentence of 90.gain: P &lt; N\\*D, \\|a\\| is &lt;b>. '
            "| a paper, table 1 | gain, nats | 1 to 3 | 2.08 [1.98, 2.18] | **reproduced** | 5 "
            "| `dgmlab claims 90.gain --seeds 5` |\n") in lab_90
    assert '<a id="lab-91"></a>' in lab_90 and lab_91.startswith("Lab 91\n\n3 claims: ")


def test_what_was_measured_of_other_code_is_stale(clone, monkeypatch):
    assert call("--save").exit_code == 0
    record = json.loads((clone / "data" / "claims" / "90.json").read_text())[0]
    assert record["code"] == "code of test_claims.lucky"
    assert call("--stale").stdout == "0 of 3 recorded claims are stale.\n"
    assert "stale" not in evidence(90)._repr_html_()

    changed = {"test_claims.lucky": "new code"}                     # as if the experiment had been edited
    monkeypatch.setattr(claims, "fingerprint", lambda experiment: changed.get(experiment, f"code of {experiment}"))
    assert measuring.stale() == ["data/claims/README.md is not what the records and today's code give; `dgmlab claims "
                                 "--page` writes it anew."]
    monkeypatch.setattr(measuring, "measure", None)
    done = call("--page")
    assert done.exit_code == 0 and measuring.stale() == []
    assert done.stdout.endswith("still the same.\n")
    assert "\n2 of 3 recorded claims are stale; `dgmlab claims 90 --save` measures them again, " in done.stdout
    page = (clone / "data" / "claims" / "README.md").read_text()
    assert "**3 claims: 2 reproduced, 1 not reproduced (2 of them stale).**" in page
    assert "## What is stale\n\n* Lab 90, all 2; `dgmlab claims 90 --save` measures them again.\n" in page
    assert page.count("**reproduced** (stale)") == 2 and "**not reproduced** |" in page

    table = evidence(90)
    assert table["verdict"].tolist() == ["reproduced (stale)"] * 2
    assert "dgmlab claims 90 --save measures it again" in table._repr_html_()
    assert "stale" not in evidence(91)._repr_html_()
    assert call("--stale", "91").stdout == "0 of 1 recorded claims are stale.\n"
    assert call("--stale", "90.gain").stdout.startswith("90.gain  reproduced, of ")

    changed.clear()                                                 # and now the edit is taken back
    assert "--page" in measuring.stale()[0]
    monkeypatch.setattr(claims, "fingerprint", fingerprint)         # there is no such experiment any more
    assert "\n3 of 3 recorded claims are stale; `dgmlab claims 90 91 --save` measures them" in call("--stale").stdout


def test_one_seed_confirms_what_is_stale(clone, monkeypatch):
    assert call("--save").exit_code == 0
    code = "an edit that changes no number"
    monkeypatch.setattr(claims, "fingerprint", lambda experiment: f"{code}: {experiment}")
    done = call("--confirm", "90.gain")                             # and with it, what shares its experiment
    assert done.exit_code == 0 and done.stdout == "90.gain\n90.times\n2 claims confirmed.\n"
    records = {lab: json.loads((clone / "data" / "claims" / f"{lab}.json").read_text()) for lab in ("90", "91")}
    assert [each["code"] for each in records["90"]] == [f"{code}: test_claims.lucky"] * 2
    assert records["91"][0]["code"] == "code of test_claims.steady" and measuring.stale() == []
    page = (clone / "data" / "claims" / "README.md").read_text()
    again = f" On {records['90'][0]['confirmed']}, when the code had changed, seed 0 gave the same numbers again.\n"
    assert page.count(again) == 1
    assert call("--confirm", 90).stdout == "0 claims confirmed.\n"

    code = "an edit that changes one"
    other = dict(lucky(0), times=4.0 + 1e-15)
    monkeypatch.setattr(measuring, "_once", lambda number, experiment, seed: (number, other, 0.1, ""))
    done = call("--confirm", "90")
    assert done.exit_code == 1
    assert done.stdout == "test_claims.lucky is not confirmed: other numbers for 90.times.\n0 claims confirmed.\n"
    assert call("--stale", "90").stdout.count("90.") == 2
    monkeypatch.setattr(measuring, "_once", lambda number, experiment, seed: (number, {}, 0.1, "Seed 0 failed: no."))
    assert "test_claims.lucky is not confirmed: Seed 0 failed: no.\n" in call("--confirm", "90").stdout
    assert call("--save", "90").exit_code == 1                      # a failure; what is recorded stays
    assert "confirmed" in json.loads((clone / "data" / "claims" / "90.json").read_text())[0]


def test_no_evidence_says_how_to_make_it(clone):
    with pytest.raises(LabError, match="`dgmlab claims 07 --save`"):
        evidence("07")
    claims.RECORDS.mkdir(parents=True)
    (claims.RECORDS / "07.json").write_text("[{")
    with pytest.raises(LabError, match="is not whole"):
        evidence(7)


@pytest.mark.parametrize("numbers, text", [
    ((2.3026, 2.3001, 2.3051), "2.3026 [2.3001, 2.3051]"),
    ((59.2, 40.1, 80.3), "59 [40, 80]"),
    ((1234.5, 1000, 1500), "1,234 [1,000, 1,500]"),
    ((2e-13, -1e-13, 5e-13), "2.0e-13 [-1.0e-13, 5.0e-13]"),
    ((3.0, 3.0, 3.0), "3.000 [3.000, 3.000]"),
    ((0.0, 0.0, 0.0), "0.0 [0.0, 0.0]"),
])
def test_digits(numbers, text):
    assert in_digits(*numbers) == text


def test_what_is_recorded_is_what_the_code_claims(monkeypatch):
    monkeypatch.undo()                                              # the page names the real first seed
    assert measuring.stale() == []


def test_every_record_is_of_seeds_that_nothing_was_tried_out_on(monkeypatch):
    monkeypatch.undo()
    page = measuring.readme()
    for lab in measuring.recorded_labs():
        for each in claims.records(lab):
            assert each["first_seed"] == measuring.FIRST == 100, each["id"]
        number = each["seeds"]
        assert f"`dgmlab claims {lab} --seeds {number} --save` with the seeds 100 to {99 + number}" in page


def test_the_recorded_verdicts_follow_from_the_recorded_seeds():
    assert "03" in measuring.recorded_labs()
    for lab in measuring.recorded_labs():
        for each in claims.records(lab):
            found = verdict(each["values"], each["expected"], no_effect=each["no_effect"], ratio=each["ratio"])
            assert (found.mean, found.low, found.high) == pytest.approx((each["mean"], *each["interval"])), each["id"]
            assert found.word == each["verdict"] and len(each["values"]) == each["seeds"] >= measuring.SEEDS, each["id"]


# -- lab 03's experiments where they need no training ----------------------------------------------------------------

def test_the_point_beside_the_curve_and_the_point_mass():
    from dgmlab.experiments.vae_claims import integrated, point_mass

    assert integrated(11) == pytest.approx({"difference": 0, "fall": 10}, abs=1)
    assert point_mass(11) == pytest.approx({"growth": math.log(10), "fall": math.log(10)}, abs=0.05)
    assert point_mass(11) == point_mass(11) != point_mass(12)
