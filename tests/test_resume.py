"""Checkpoints: resumed is uninterrupted, to the bit, also after a real kill; damage is refused with a sentence."""

from __future__ import annotations

import json
import os
import random
import shutil
import time

import pytest
import torch
from safetensors.torch import save_file

from dgmlab.errors import LabError
from dgmlab.schedules import cyclical
from dgmlab.training import NonFinite, Run, checkpoint
from dgmlab.training.history import History

from .support import TinyGAN, TinyLSTM, TinyVAE, assert_equal_to_the_bit, data, kill, process, tiny_run, train


def scripted(run: Run, steps: int) -> Run:
    """Train with knob changes that depend on the step alone."""
    while run.step < steps:
        if run.step == 30:
            run.knobs.drive("lr", cyclical(100, 1e-3, 1e-2))
        if run.step % 17 == 5 and hasattr(run.knobs, "beta"):
            run.knobs.beta = run.step / 20
        run.advance()
    return run


BUILDS = {"vae": lambda **o: tiny_run(dropout=0.2, **o),
          "gan": lambda **o: Run(TinyGAN, data(), batch_size=32, **o),
          "lstm": lambda **o: Run(lambda: TinyLSTM(dropout=0.2), data(), batch_size=32, **o)}


@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize("cut", [0, 1, 6, 47])
def test_saved_and_resumed_is_uninterrupted(kind, cut, tmp_path):
    build = BUILDS[kind]
    whole, first, second = scripted(build(), 80), scripted(build(), cut), build()
    first.save(tmp_path / "a")
    assert second.resume(tmp_path / "a") and second.step == cut
    assert_equal_to_the_bit(first, second)
    assert_equal_to_the_bit(scripted(second, 80), whole)
    assert_equal_to_the_bit(scripted(first, 80), whole)         # saving disturbs nothing


def test_nothing_to_resume_is_no_error(tmp_path):
    run = tiny_run(folder=tmp_path / "none")
    assert run.resume() is False and run.step == 0
    with pytest.raises(LabError, match="no folder to resume from"):
        tiny_run().resume()
    with pytest.raises(LabError, match="no folder to save to"):
        tiny_run().save()


def test_a_change_that_waits_for_its_step_is_saved_with_the_run(tmp_path):
    """Paused, moved, saved: the change is in nobody's log yet."""
    run = train(tiny_run(), 20)
    run.knobs.beta = 5
    run.knobs.drive("lr", cyclical(40, 1e-3, 1e-2))
    run.save(tmp_path / "a")
    other = tiny_run()
    other.resume(tmp_path / "a")
    assert other.knobs.beta == 5
    assert_equal_to_the_bit(train(run, 20), train(other, 20))
    assert [e["step"] for e in other.knobs.log] == [20, 20]


def test_checkpoints_come_at_their_steps_and_the_last_k_stay(tmp_path):
    run = tiny_run(folder=tmp_path, every=10, keep=2)
    train(run, 45)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["knobs.jsonl", "step-000000030.safetensors",
                                                          "step-000000040.safetensors"]


def test_changes_after_the_last_checkpoint_are_in_the_journal(tmp_path):
    whole = scripted(tiny_run(), 70)
    scripted(tiny_run(folder=tmp_path, every=40), 59)       # changes at 56 and 73 come after the checkpoint at 40
    run = tiny_run(folder=tmp_path, every=40)
    assert run.resume() and run.step == 40 and len(run.knobs.log) < len(whole.knobs.log)
    assert_equal_to_the_bit(train(run, 30), whole)          # nobody moves the knob at 56: the journal does


def test_the_journal_survives_a_second_and_a_third_death(tmp_path):
    whole = scripted(tiny_run(), 120)
    scripted(tiny_run(folder=tmp_path, every=50), 99)
    for stop in (53, 60, 95):                               # each resumes at 50 and dies before the next checkpoint
        run = tiny_run(folder=tmp_path, every=50)
        run.resume()
        train(run, stop - 50)
    run = tiny_run(folder=tmp_path, every=50)
    run.resume()
    assert_equal_to_the_bit(scripted(run, 120), whole)
    lines = (tmp_path / "knobs.jsonl").read_text().splitlines()
    events = {(e["step"], e["knob"]): e for e in map(json.loads, lines)}
    assert sorted(events.values(), key=lambda e: e["step"]) == whole.knobs.log


def test_a_journal_cut_off_in_a_line_loses_that_line_only(tmp_path):
    scripted(tiny_run(folder=tmp_path, every=100), 60)
    journal = tmp_path / "knobs.jsonl"
    complete = journal.read_text()
    journal.write_text(complete[:-9])
    run = tiny_run(folder=tmp_path, every=100)
    run.resume()
    train(run, 60)
    assert [e["step"] for e in run.knobs.log] == [5, 22, 30, 39]
    run.knobs.beta = 3
    train(run, 1)                                           # what is written now does not stick to the torn line
    again = tiny_run(folder=tmp_path, every=100)
    again.resume()
    assert_equal_to_the_bit(train(again, 61), run)


def test_garbage_in_the_journal_is_told_and_passed_over(tmp_path):
    scripted(tiny_run(folder=tmp_path, every=100), 30)
    journal = tmp_path / "knobs.jsonl"
    first, second = journal.read_text().splitlines()
    journal.write_bytes(f"{first}\n\xff{{broken\n[1]\n{second}\n".encode("latin-1"))
    run = tiny_run(folder=tmp_path, every=100)
    run.resume()
    train(run, 30)
    assert [e["step"] for e in run.knobs.log] == [5, 22]
    assert len(run.notes) == 2 and "damaged at line 2" in run.notes[0] and "line 3" in run.notes[1]


def test_a_fall_back_takes_the_folder_along(tmp_path):
    """After a broken loss the run is at an earlier step; a kill now must not resurrect the abandoned branch."""
    run = tiny_run(folder=tmp_path, every=20, keep=10)
    train(run, 110)
    run.knobs.beta = 3
    train(run, 15)
    with torch.no_grad():
        run.model.decoder.bias.fill_(float("nan"))
    with pytest.raises(NonFinite):
        train(run, 1)
    assert run.step == 50 and run.knobs.beta == 1
    assert max(checkpoint.step_of(p) for p in checkpoint.found(tmp_path)) == 40
    assert (tmp_path / "knobs.jsonl").read_text() == ""
    train(run, 20)
    other = tiny_run(folder=tmp_path, every=20, keep=10)
    other.resume()
    assert other.step == 60
    assert_equal_to_the_bit(train(other, 50), train(tiny_run(), 110))


def test_a_fall_back_to_the_beginning_goes_on_in_its_folder(tmp_path):
    run = train(tiny_run(folder=tmp_path, every=10), 35)
    with torch.no_grad():
        run.model.decoder.bias.fill_(float("nan"))
    with pytest.raises(NonFinite):
        train(run, 1)
    assert run.step == 0
    assert_equal_to_the_bit(train(run, 35), train(tiny_run(), 35))


def test_after_resuming_a_broken_loss_goes_back_to_the_checkpoint(tmp_path):
    train(tiny_run(folder=tmp_path, every=100), 210)
    run = tiny_run(folder=tmp_path, every=100)
    run.resume()
    train(run, 5)
    with torch.no_grad():
        run.model.decoder.bias.fill_(float("nan"))
    with pytest.raises(NonFinite, match="back at step 200"):
        train(run, 1)
    assert len(run.history) == 200
    assert_equal_to_the_bit(train(run, 30), train(tiny_run(), 230))


def test_reset_empties_the_folder_and_starts_over_in_it(tmp_path):
    run = scripted(tiny_run(folder=tmp_path, every=10), 25)
    run.reset()
    assert list(tmp_path.iterdir()) == []
    train(run, 12)
    other = tiny_run(folder=tmp_path, every=10)
    other.resume()
    assert_equal_to_the_bit(train(other, 2), train(tiny_run(), 12))


# -- damage ----------------------------------------------------------------------------------------------------------

def saved(folder, steps=30):
    """A run's folder with checkpoints at 10, 20 and 30."""
    train(tiny_run(folder=folder, every=10), steps)
    return checkpoint.found(folder)[0]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def nothing(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_text('{"step": 30}')


def foreign(path):
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})


def foreign_without_a_word(path):
    save_file({"weight": torch.zeros(3)}, path)


def only_the_format(path):
    save_file({"weight": torch.zeros(3)}, path, {"format": checkpoint.FORMAT})


def pickle_bomb(path):
    torch.save({"a": 1}, path)


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut_short, nothing, garbage, foreign, foreign_without_a_word, only_the_format,
                                    pickle_bomb, a_folder], ids=lambda f: f.__name__)
def test_a_damaged_newest_checkpoint_is_refused_and_the_one_before_used(damage, tmp_path):
    newest = saved(tmp_path)
    damage(newest)
    with pytest.raises(LabError) as error:
        checkpoint.read(newest)
    assert str(newest) in str(error.value) and "\n" not in str(error.value)
    run = tiny_run(folder=tmp_path, every=10, keep=1)
    assert run.resume() and run.step == 20 and run.notes == [str(error.value)]
    if damage is a_folder:
        newest.rmdir()
    assert_equal_to_the_bit(train(run, 15), train(tiny_run(), 35))
    assert [checkpoint.step_of(p) for p in checkpoint.found(tmp_path)] == [30]


def test_a_damaged_newer_checkpoint_does_not_push_out_a_good_one(tmp_path):
    cut_short(saved(tmp_path))
    run = tiny_run(folder=tmp_path, every=4, keep=1)
    run.resume()
    train(run, 4)
    assert [checkpoint.step_of(p) for p in checkpoint.found(tmp_path)] == [30, 24]
    again = tiny_run(folder=tmp_path, every=4, keep=1)
    assert again.resume() and again.step == 24


def test_a_folder_of_nothing_but_damage_is_one_sentence(tmp_path):
    saved(tmp_path)
    for path in checkpoint.found(tmp_path):
        cut_short(path)
    with pytest.raises(LabError, match="No checkpoint in .* can be read: .* truncated"):
        tiny_run(folder=tmp_path).resume()


def test_one_flipped_bit_anywhere_is_noticed(tmp_path):
    path = saved(tmp_path)
    content, generator = path.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(12), *generator.sample(range(header), 250), *generator.sample(range(header, len(content)), 150)]
    tensors, meta = checkpoint.read(path)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            again, same = checkpoint.read(path)
        except LabError:
            continue
        # a space between two words of the header may have become another one
        assert same == meta and again.keys() == tensors.keys(), f"byte {place} went unnoticed"
        assert all(torch.equal(again[name], tensors[name]) for name in tensors), f"byte {place} went unnoticed"


def test_a_file_of_another_version_of_the_model_is_refused(tmp_path):
    saved(tmp_path)
    for build, words in (
            (lambda: Run(lambda: TinyVAE(latent=3), data(), batch_size=32), "holds another model"),
            (lambda: Run(TinyGAN, data(), batch_size=32), "holds another model"),
            (lambda: tiny_run(seed=1), "was made with seed 0, this run has seed 1"),
            (lambda: tiny_run(batch_size=16), "batches of 32 from 200 examples, this one draws 16"),
            (lambda: Run(TinyVAE, data(100), batch_size=32), "from 200 examples, this one draws 32 from 100")):
        run = build()
        with pytest.raises(LabError, match=words):
            run.resume(tmp_path)
        assert run.step == 0 and len(run.history) == 0


def test_a_refused_checkpoint_leaves_the_run_as_it_was(tmp_path):
    saved(tmp_path)
    run = tiny_run(batch_size=16)
    with pytest.raises(LabError):
        run.resume(tmp_path)
    assert_equal_to_the_bit(train(run, 10), train(tiny_run(batch_size=16), 10))


def test_a_run_of_another_device_is_refused(tmp_path):
    path = saved(tmp_path)
    tensors, meta = checkpoint.read(path)
    checkpoint.write(path, tensors, meta | {"device": "cuda"})
    with pytest.raises(LabError, match="made on 'cuda'"):
        tiny_run().resume(tmp_path)


# -- folders ---------------------------------------------------------------------------------------------------------

def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    first = train(tiny_run(folder=tmp_path, every=10), 3)           # before its first regular checkpoint, even
    second = tiny_run(folder=tmp_path, every=10)
    with pytest.raises(LabError, match="already holds a run; call run.resume"):
        train(second, 1)
    with pytest.raises(LabError, match="already holds a run"):
        train(tiny_run(), 5).save(tmp_path)
    assert second.resume() and second.step == 0
    assert_equal_to_the_bit(train(second, 3), first)


def test_a_run_may_be_saved_into_a_folder_of_its_own_again_and_again(tmp_path):
    run = tiny_run(keep=2)
    for _ in range(4):
        train(run, 3)
        path = run.save(tmp_path)
        assert path.exists()
    assert [checkpoint.step_of(p) for p in checkpoint.found(tmp_path)] == [12, 9]


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    run = tiny_run(folder=tmp_path / "file" / "run")
    with pytest.raises(LabError, match="could not be written"):
        train(run, 1)
    with pytest.raises(LabError, match="could not be written"):
        tiny_run().save(tmp_path / "file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(LabError, match="could not be written"):
        train(tiny_run(folder=tmp_path), 1)


def test_a_full_disk_leaves_the_old_checkpoint_and_no_rubbish(tmp_path, monkeypatch):
    run = train(tiny_run(folder=tmp_path, every=10), 15)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LabError, match=r"could not be written \(No space left on device\)"):
        train(run, 10)
    monkeypatch.undo()
    assert [checkpoint.step_of(p) for p in checkpoint.found(tmp_path)] == [10, 0]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert run.step == 20
    assert_equal_to_the_bit(train(run, 15), train(tiny_run(), 35))      # there is space again


def test_what_a_kill_left_half_written_is_swept_up(tmp_path):
    saved(tmp_path)
    (tmp_path / ".step-000000040.safetensors.abc.part").write_bytes(b"half")
    run = tiny_run(folder=tmp_path)
    run.resume()
    assert not list(tmp_path.glob(".*"))


def test_a_saved_history_of_a_run_without_steps(tmp_path):
    history = History()
    tensors, meta = history.state()
    history.restore(tensors, json.loads(json.dumps(meta)))
    assert len(history) == 0 and history.last() == {}


# -- a real kill -----------------------------------------------------------------------------------------------------

def train_until_killed(send, kind, folder):
    run = BUILDS[kind](folder=folder, every=37, keep=2)
    run.resume()
    send(run.step)
    scripted(run, 10**6)


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_killed_at_random_moments_and_resumed_it_is_uninterrupted(kind, tmp_path):
    """kill -9 of a real process, five times in a row, then the rest in this one."""
    generator, starts = random.Random(1), []
    for _ in range(5):
        child, receiver = process(train_until_killed, kind, tmp_path)
        starts.append(receiver.recv())
        time.sleep(generator.uniform(0.02, 0.3))
        kill(child)
    run = BUILDS[kind](folder=tmp_path, every=37, keep=2)
    assert run.resume() and starts == sorted(starts) and run.step >= starts[-1]
    goal = run.step + 60
    assert_equal_to_the_bit(scripted(run, goal), scripted(BUILDS[kind](), goal))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def move_by_hand_until_killed(send, folder):
    run = tiny_run(folder=folder, every=1000)
    for tick in run.steps(10**6):
        send((tick.step, tick["loss"]))
        run.knobs.beta = 1 + tick.step % 7          # only the journal knows


def test_changes_by_hand_up_to_the_kill_are_made_again(tmp_path):
    """What a live session showed before the kill comes out again, though nobody moves the knobs this time."""
    child, receiver = process(move_by_hand_until_killed, tmp_path)
    shown = [receiver.recv() for _ in range(150)]
    kill(child)
    run = tiny_run(folder=tmp_path, every=1000)
    assert run.resume() and run.step == 0
    train(run, 150)
    assert list(enumerate(run.history.column("loss").tolist(), 1)) == shown
    assert [e["value"] for e in run.knobs.log] == [1 + k % 7 for k in range(1, 150)]


def test_a_copied_folder_resumes_elsewhere(tmp_path):
    scripted(tiny_run(folder=tmp_path / "a", every=25), 60)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    run = tiny_run(folder=tmp_path / "c", every=25)
    run.resume(tmp_path / "b")
    assert_equal_to_the_bit(scripted(run, 90), scripted(tiny_run(), 90))
    again = tiny_run(folder=tmp_path / "c", every=25)
    again.resume()
    assert_equal_to_the_bit(scripted(again, 90), run)
