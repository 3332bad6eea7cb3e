"""The run: equal to a bare loop, the same from the same seed, several players, dropout, history, going back."""

from __future__ import annotations

import math
import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from dgmlab.errors import LabError
from dgmlab.experiments import recorded
from dgmlab.models.recipe import Recipe
from dgmlab.rng import Rng
from dgmlab.schedules import cyclical, monotonic
from dgmlab.training import NonFinite, Run, TensorBatches, graphs
from dgmlab.training import run as run_module
from dgmlab.training.devices import choose_device, choose_precision, choose_threads
from dgmlab.training.draws import OwnDropout
from dgmlab.training.history import History, pack

from .support import TinyGAN, TinyLSTM, TinyVAE, assert_equal_to_the_bit, data, everything, tiny_run, train


def bare_order(order_rng, examples, batch_size):
    while True:
        order = torch.randperm(examples, generator=order_rng)
        for start in range(0, examples - batch_size + 1, batch_size):
            yield order[start:start + batch_size]


# -- the same numbers ------------------------------------------------------------------------------------------------

def test_a_run_is_the_bare_loop_to_the_bit():
    x, losses = data(), []
    torch.manual_seed(3)
    model, rng, order = TinyVAE(), Rng(3), torch.Generator().manual_seed(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    batches = bare_order(order, len(x), 32)
    for _ in range(60):
        loss = model.loss((x[next(batches)],), SimpleNamespace(beta=2.0), rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    run = train(tiny_run(seed=3, knobs={"beta": 2.0}), 60)
    assert run.history.column("loss").tolist() == losses
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, run.model.state_dict()[name]), name


def test_a_run_with_dropout_is_the_bare_loop_to_the_bit():
    """Dropout by hand: keep where a uniform draw of the run's generator is at least p."""
    x = data()
    torch.manual_seed(0)
    model, rng, order = TinyVAE(), Rng(0), torch.Generator().manual_seed(1)

    class ByHand(nn.Module):
        def forward(self, z):
            return z * (rng.uniform(z.shape) >= 0.3) / 0.7

    model.dropout = ByHand()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    batches = bare_order(order, len(x), 32)
    for _ in range(30):
        loss = model.loss((x[next(batches)],), SimpleNamespace(beta=1.0), rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    run = train(tiny_run(dropout=0.3), 30)
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, run.model.state_dict()[name]), name


def test_two_optimizers_are_the_bare_loop_to_the_bit():
    x, F = data(), nn.functional
    torch.manual_seed(0)
    model, rng, order = TinyGAN(), Rng(0), torch.Generator().manual_seed(1)
    settings = dict(lr=1e-2, betas=(0.5, 0.9), eps=1e-6, fused=True)
    d_opt = torch.optim.Adam(model.discriminator.parameters(), **settings)
    g_opt = torch.optim.Adam(model.generator.parameters(), **settings)
    batches = bare_order(order, len(x), 32)
    for _ in range(30):
        batch = x[next(batches)]
        for _ in range(3):
            fake = model.generator(rng.normal((32, 2))).detach()
            d = F.softplus(-model.discriminator(batch)).mean() + F.softplus(model.discriminator(fake)).mean()
            d_opt.zero_grad()
            d.backward()
            d_opt.step()
        g = F.softplus(-model.discriminator(model.generator(rng.normal((32, 2))))).mean()
        g_opt.zero_grad()
        g.backward()
        g_opt.step()
    run = train(Run(TinyGAN, x, batch_size=32, knobs=dict(critics=3, lr=1e-2, beta2=0.9, eps=1e-6)), 30)
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, run.model.state_dict()[name]), name
    assert run.history.last() == {"discriminator": d.item(), "generator": g.item()}


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    one, same, other = (train(tiny_run(seed=seed), 20) for seed in (5, 5, 6))
    assert_equal_to_the_bit(one, same)
    assert not np.array_equal(one.history.column("loss"), other.history.column("loss"))
    assert not torch.equal(one._order.permutation(50), other._order.permutation(50))


@pytest.mark.parametrize("seed", [np.int64(3), 3.0])
def test_a_seed_may_be_any_kind_of_whole_number(seed):
    assert_equal_to_the_bit(train(tiny_run(seed=seed), 3), train(tiny_run(seed=3), 3))


def test_the_global_generator_is_neither_used_nor_disturbed():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train(tiny_run(dropout=0.2), 20)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = tiny_run(dropout=0.2)
    for _ in second.steps(20):
        torch.rand(7)
    assert_equal_to_the_bit(first, second)


def test_another_thread_that_draws_all_the_time_changes_nothing():
    """Not even at the first step, where the run watches for foreign draws."""
    quiet, stop = train(tiny_run(dropout=0.2), 20), threading.Event()

    def draw():
        while not stop.is_set():
            torch.rand(3)

    noisy = [tiny_run(dropout=0.2) for _ in range(8)]
    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for run in noisy:
            train(run, 20)
    finally:
        stop.set()
        thread.join()
    for run in noisy:
        assert_equal_to_the_bit(quiet, run)


def test_two_runs_in_turn_do_not_disturb_each_other():
    alone = [train(tiny_run(seed=s), 30) for s in (0, 1)]
    together = [tiny_run(seed=s) for s in (0, 1)]
    for _ in zip(together[0].steps(30), together[1].steps(30), strict=True):
        pass
    for a, b in zip(alone, together, strict=True):
        assert_equal_to_the_bit(a, b)


def test_steps_in_pieces_and_one_by_one_are_steps():
    whole, pieces = train(tiny_run(), 25), tiny_run()
    train(pieces, 10)
    for tick in pieces.steps(100):
        if tick.step == 17:
            break
    while pieces.step < 25:
        pieces.advance()
    assert_equal_to_the_bit(whole, pieces)


def test_what_a_run_sets_for_itself_is_put_back_after_each_step():
    class Watching(TinyVAE):
        def loss(self, batch, knobs, rng):
            inside.append((torch.get_num_threads(), float(torch.tensor(1e-40) * 1)))
            return super().loss(batch, knobs, rng)
    inside, before = [], (torch.get_num_threads(), float(torch.tensor(1e-40) * 1))
    assert before[1] > 0
    for _ in Run(Watching, data(), batch_size=32, threads=2).steps(2):
        assert (torch.get_num_threads(), float(torch.tensor(1e-40) * 1)) == before
    assert inside == [(2, 0.0)] * 2


def test_generators_that_end_in_any_order_put_the_interrupt_handler_back():
    ours = signal.getsignal(signal.SIGINT)
    first, second, third = (tiny_run().steps(3) for _ in range(3))
    next(first), next(second), next(third)
    assert signal.getsignal(signal.SIGINT) is not ours
    for generator in (first, third, second):
        generator.close()
    assert signal.getsignal(signal.SIGINT) is ours


# -- several players -------------------------------------------------------------------------------------------------

def test_only_the_named_player_moves():
    run = Run(TinyGAN, data(), batch_size=32, knobs={"idle": True})
    before = everything(run)
    after = everything(train(run, 1))
    moved = {name.split(".")[1] for name in before if name.startswith("model.") and
             not torch.equal(before[name], after[name])}
    assert moved == {"discriminator"}
    run.knobs.idle = False
    train(run, 1)
    moved = {name.split(".")[1] for name in before if name.startswith("model.") and
             not torch.equal(after[name], everything(run)[name])}
    assert moved == {"discriminator", "generator"}


def test_the_number_of_discriminator_steps_is_a_knob():
    run = Run(TinyGAN, data(), batch_size=32)
    train(run, 3)
    run.knobs.critics = 5
    train(run, 2)
    steps = {p: next(iter(run.optimizers[p].state.values()))["step"].item() for p in run.players}
    assert steps == {"discriminator": 3 * 2 + 2 * 5, "generator": 5}


def test_settings_reach_the_optimizer_of_each_player():
    run = train(Run(TinyGAN, data(), batch_size=32, knobs=dict(lr=0.02, eps=1e-5, beta2=0.8)), 1)
    for optimizer in run.optimizers.values():
        group = optimizer.param_groups[0]
        assert (group["lr"], group["eps"], group["betas"]) == (0.02, 1e-5, (0.5, 0.8))


def one_update(**settings):
    class Model(TinyVAE):
        def step(self, batch, knobs, rng, update):
            terms = self.loss(batch, knobs, rng)
            update(settings.pop("player", "model"), terms["loss"], **settings)
            return terms
    return Run(Model, data(), batch_size=32)


@pytest.mark.parametrize("settings, words", [
    ({"player": "critic"}, "must be one of: model"), ({"momentum": 0.9}, "Adam has no setting 'momentum'; it has lr,")])
def test_an_update_that_cannot_be_is_one_sentence(settings, words):
    with pytest.raises(LabError, match=words):
        train(one_update(**settings), 1)


@pytest.mark.parametrize("clip", [0.01, torch.tensor(0.01), 1e6])
def test_clip_bounds_the_norm_of_the_gradient_as_torch_does(clip):
    run, free = one_update(clip=clip), one_update()
    train(run, 1), train(free, 1)
    nn.utils.clip_grad_norm_(list(free.model.parameters()), float(clip))
    for mine, theirs in zip(run.model.parameters(), free.model.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_frozen_parameters_stay():
    def build():
        model = TinyVAE()
        model.encoder.requires_grad_(False)
        return model
    run = Run(build, data(), batch_size=32)
    before = run.model.encoder.weight.clone()
    train(run, 5)
    assert torch.equal(before, run.model.encoder.weight) and run.parameters == 18


def test_in_bfloat16_the_second_player_sees_the_first_ones_new_weights():
    """autocast keeps converted weights; kept over an update they would be those of before."""
    class Twice(TinyGAN):
        def step(self, batch, knobs, rng, update):
            before = self.discriminator(batch[0])
            update("discriminator", before.square().mean(), lr=0.5)
            after = self.discriminator(batch[0])
            update("generator", self.generator(batch[0][:, :2]).mean() + 0 * after.mean(), lr=0.5)
            return {"moved": (after - before).abs().max()}
    run = Run(Twice, data(), batch_size=32, precision="bfloat16")
    assert train(run, 1).history.last()["moved"] > 0.1


# -- random numbers --------------------------------------------------------------------------------------------------

def test_own_dropout_keeps_the_expectation_and_the_share():
    layer = OwnDropout(0.25, Rng(0))
    out = layer(torch.ones(100_000))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(layer.eval()(out), out) and torch.equal(OwnDropout(1.0, Rng(0))(torch.ones(5)), torch.zeros(5))


def test_a_layer_that_is_used_under_two_names_is_adopted_under_both():
    class Model(TinyVAE):
        def __init__(self):
            super().__init__(dropout=0.5)
            self.again = self.dropout
            self.blocks = nn.Sequential(nn.Sequential(self.dropout, nn.Dropout(0.1).eval()))
    run = train(Run(Model, data(), batch_size=32), 1)
    kinds = [type(m) for m in (run.model.dropout, run.model.again, *run.model.blocks[0])]
    assert kinds == [OwnDropout] * 4 and not run.model.blocks[0][1].training


def test_an_lstm_with_dropout_layers_of_its_own():
    runs = [train(Run(lambda: TinyLSTM(dropout=0.3), data(), batch_size=32), 20) for _ in range(2)]
    assert_equal_to_the_bit(*runs)
    column = runs[0].history.column("loss")
    assert column[-5:].mean() < column[:5].mean()


class Functional(TinyVAE):
    def loss(self, batch, knobs, rng):
        return super().loss((nn.functional.dropout(batch[0], 0.1),), knobs, rng)


class GlobalNoise(TinyVAE):
    def loss(self, batch, knobs, rng):
        return super().loss((batch[0] + torch.randn_like(batch[0]),), knobs, rng)


@pytest.mark.parametrize("build", [lambda: TinyLSTM(inside=0.3), Functional, GlobalNoise])
def test_draws_from_the_global_generator_are_refused_at_the_first_step(build):
    run = Run(build, data(), batch_size=32)
    before = everything(run)
    for _ in range(2):
        with pytest.raises(LabError, match="draws from torch's global generator .* rng that step"):
            train(run, 1)
        assert run.step == 0 and all(torch.equal(tensor, before[name]) for name, tensor in everything(run).items())


def transformer(kind: str, attention: float):
    transformers = pytest.importorskip("transformers")
    sizes = {"bert": dict(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                          hidden_dropout_prob=0.2, attention_probs_dropout_prob=attention),
             "gpt2": dict(vocab_size=20, n_embd=8, n_layer=1, n_head=2, n_positions=8, resid_pdrop=0.2, embd_pdrop=0.2,
                          attn_pdrop=attention, bos_token_id=0, eos_token_id=0)}[kind]

    class Model(Recipe):
        def __init__(self):
            super().__init__()
            self.body = (transformers.BertForMaskedLM(transformers.BertConfig(**sizes)) if kind == "bert"
                         else transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)))

        def loss(self, batch, knobs, rng):
            return {"loss": self.body(input_ids=batch[0], labels=batch[0]).loss}

    return Run(Model, (data(64, 8) * 20).long(), batch_size=8)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_transformers_with_dropout(kind, tmp_path):
    """Their attention dropout is a function and draws from the global generator; the rest are layers."""
    with pytest.raises(LabError, match="global generator"):
        train(transformer(kind, 0.1), 1)
    run, other = train(transformer(kind, 0.0), 6), transformer(kind, 0.0)
    assert sum(isinstance(m, OwnDropout) for m in run.model.modules()) >= 3
    run.save(tmp_path / "a")                        # the output weights are the input weights: one storage, two names
    other.resume(tmp_path / "a")
    assert_equal_to_the_bit(train(run, 3), train(other, 3))


# -- batches ---------------------------------------------------------------------------------------------------------

def test_each_epoch_shows_every_example_once_in_another_order():
    batches, order = TensorBatches(torch.arange(12), 4), Rng(0)
    epochs = [torch.cat([batches.next(order, order)[0] for _ in range(3)]).tolist() for _ in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs) and epochs[0] != epochs[1] != epochs[2]


def test_a_rest_waits_and_tensors_stay_together():
    batches, order = TensorBatches((torch.arange(10), torch.arange(10) * 2), 4), Rng(0)
    for _ in range(3):
        first, second = batches.next(order, order), batches.next(order, order)
        assert len({*first[0].tolist(), *second[0].tolist()}) == 8
        assert torch.equal(first[1], 2 * first[0])


def test_a_transform_draws_from_the_runs_noise():
    def binarise(batch, rng):
        return ((rng.uniform(batch[0].shape) < batch[0]).float(),)
    runs = [train(Run(TinyVAE, TensorBatches(data(), 32, binarise)), 10) for _ in range(2)]
    assert_equal_to_the_bit(*runs)
    assert set(runs[0].batches.next(Rng(0), Rng(0))[0].unique().tolist()) == {0, 1}


@pytest.mark.parametrize("make, words", [
    (lambda: tiny_run(batch_size=201), "only 200 examples"), (lambda: tiny_run(batch_size=0), "batch size is 0"),
    (lambda: Run(TinyVAE, (data(200), data(100))), r"equally many examples; these hold \[100, 200\]"),
    (lambda: Run(TinyVAE, data().numpy()), r"torch.as_tensor\(array\)"),
    (lambda: tiny_run(seed=-1), "seed is -1"), (lambda: tiny_run(seed=1.5), "seed is 1.5"),
    (lambda: tiny_run(seed="a"), "seed is 'a'"), (lambda: tiny_run(every=0), "between two checkpoints is 0"),
    (lambda: tiny_run(keep=0), "checkpoints to keep is 0"),
    (lambda: tiny_run(knobs={"gamma": 1}), "no knob named 'gamma'"),
    (lambda: tiny_run(knobs={"beta": -1}), "beta"), (lambda: tiny_run(device="tpu"), "auto, cpu, cuda, mps"),
    (lambda: tiny_run(precision="float16"), "auto, float32, bfloat16"), (lambda: tiny_run(threads=0), "threads is 0"),
    (lambda: tiny_run(graph=True, device="cpu"), "captured as a CUDA graph only"),
    (lambda: tiny_run(graph="yes"), "auto"),
    (lambda: Run(lambda: nn.Linear(1, 1), data()), "trains a Recipe .* not Linear"),
    (lambda: list(tiny_run().steps(-1)), "number of steps is -1"),
    (lambda: list(tiny_run().steps(2.5)), "number of steps is 2.5")])
def test_bad_input_is_one_sentence(make, words):
    with pytest.raises(LabError, match=words) as error:
        make()
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


# -- history ---------------------------------------------------------------------------------------------------------

class Lazy(TinyVAE):
    """One term appears only from the fourth step on, another only at every third."""

    def loss(self, batch, knobs, rng):
        terms, self.calls = super().loss(batch, knobs, rng), getattr(self, "calls", 0) + 1
        if self.calls > 3:
            terms["late"] = float(self.calls)
        if self.calls % 3 == 0:
            terms["penalty"] = torch.tensor(10.0 * self.calls)
        return terms


def test_the_columns_are_the_terms():
    run, seen = tiny_run(), []
    for tick in run.steps(12):
        run.knobs.beta = tick.step / 2
        seen.append((tick.step, tick["loss"], dict(tick.metrics)))
    assert run.history.names == ["loss", "reconstruction", "kl"] and len(run.history) == 12
    assert run.history.steps.tolist() == [step for step, _, _ in seen] == list(range(1, 13))
    for name in run.history.names:
        assert run.history.column(name).tolist() == [metrics[name] for _, _, metrics in seen]
    frame = run.history.frame()
    assert frame.index.tolist() == list(range(1, 13))
    assert set(frame) == {"loss", "reconstruction", "kl", "beta", "lr"}
    np.testing.assert_allclose(frame["loss"], frame["reconstruction"] + frame["beta"] * frame["kl"], rtol=1e-5)
    assert frame["beta"].tolist() == [1.0, *(t / 2 for t in range(1, 12))]
    assert run.history.last() == seen[-1][2]


def test_terms_that_come_and_go_leave_gaps(tmp_path):
    run = train(Run(Lazy, data(), batch_size=32), 120)
    late, penalty = run.history.column("late"), run.history.column("penalty")
    assert np.isnan(late[:3]).all() and late[3:].tolist() == list(range(4, 121))
    assert penalty[2::3].tolist() == [10.0 * k for k in range(3, 121, 3)] and np.isnan(penalty[0::3]).all()
    assert run.step == 120 and run.notes == []      # a gap is not a broken loss
    assert len(run.history.frame()) == 120
    run.save(tmp_path / "a")
    other = Run(Lazy, data(), batch_size=32)
    other.resume(tmp_path / "a")
    assert other.history.names == run.history.names
    pieces = train(other, 5).history
    assert len(pieces.column("penalty")) == 125 == len(pieces.column("loss"))


def test_recorded_metrics_join_at_their_steps():
    run = tiny_run()
    for tick in run.steps(6):
        if tick.step % 3 == 0:
            run.history.record(np.int64(tick.step), accuracy=tick.step / 10)
    steps, values = run.history.recorded("accuracy")
    assert (steps.tolist(), values.tolist()) == ([3, 6], [0.3, 0.6])
    frame = run.history.frame()
    assert frame["accuracy"].dropna().to_dict() == {3: 0.3, 6: 0.6}


def test_an_unknown_column_lists_the_known_ones():
    run = train(tiny_run(), 1)
    with pytest.raises(LabError, match="loss, reconstruction, kl"):
        run.history.column("elbo")


def test_a_term_that_is_no_number_is_one_sentence():
    class Wide(TinyVAE):
        def loss(self, batch, knobs, rng):
            return super().loss(batch, knobs, rng) | {"each": batch[0].sum(-1)}
    with pytest.raises(LabError, match=r"must be one number; these have the shapes .*each \[32\]"):
        train(Run(Wide, data(), batch_size=32), 1)


def test_an_old_tick_of_a_run_that_was_reset_says_so():
    run = tiny_run()
    tick = list(run.steps(5))[-1]
    run.reset()
    with pytest.raises(LabError, match="no step 5 any more"):
        tick.metrics  # noqa: B018


def test_reset_keeps_the_schedules_that_an_experiment_gives_to_its_run():
    @recorded
    def make_run(steps: int = 10):
        run = tiny_run()
        run.knobs.drive("beta", monotonic(steps, 0, 4, ramp=1.0))
        return run

    run = make_run()
    for value in (None, 3.0, None):
        if value is not None:                   # a hand may take over before the first step, as ever
            run.knobs.beta = value
        beta = train(run, 10).history.column("beta")
        assert np.allclose(beta, 3.0 if value else 0.4 * np.arange(10))
        run.reset()


def test_the_history_may_be_read_from_other_threads_while_it_grows():
    run, errors, stop = Run(Lazy, data(), batch_size=32), [], threading.Event()

    def read():
        try:
            while not stop.is_set():
                frame = run.history.frame()
                assert len(frame) == 0 or np.isfinite(frame["loss"]).all()
                if run.history.rows:
                    assert len(run.history.column("kl")) >= len(frame)
                    run.history.last()
        except Exception as error:
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    train(run, 400)
    stop.set()
    for reader in readers:
        reader.join()
    assert not errors and run.step == 400


def test_packed_rows_give_the_same_history():
    """What an accelerator does: rows wait in a buffer, and the names may change between two of them."""
    one, two = History("cpu"), History("cpu")
    generator = torch.Generator().manual_seed(0)
    for step in range(700):
        terms = {"a": torch.randn((), generator=generator), "b": step}
        if step % 300 > 200:
            terms |= {"c": 0.5}
        one.append(terms)
        two.append_packed(pack(terms, torch.device("cpu")), tuple(terms))
        if step == 500:
            assert len(two) == 501 and two.rows <= 501
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(one.column(name).astype(np.float32), two.column(name).astype(np.float32))
    two.append_packed(pack({"a": math.inf, "b": 1.0}, torch.device("cpu")), ("a", "b"))
    assert two.first_bad() is None and two.last()["a"] == math.inf and two.first_bad() == (700, ["a"])


# -- broken numbers --------------------------------------------------------------------------------------------------

def assert_finite(run):
    assert all(torch.isfinite(tensor).all() for tensor in everything(run).values() if tensor.is_floating_point())


def test_a_broken_loss_names_the_term_and_goes_back():
    class Fragile(TinyVAE):
        def loss(self, batch, knobs, rng):
            terms = super().loss(batch, knobs, rng)
            terms["kl"] = terms["kl"] * (math.inf if knobs.beta == 50 else 1)
            return terms
    run, smooth = Run(Fragile, data(), batch_size=32), Run(Fragile, data(), batch_size=32)
    train(run, 130)
    run.knobs.beta = 50
    with pytest.raises(NonFinite) as error:
        train(run, 1)
    assert str(error.value).startswith("The loss stopped being a number at step 131: 'kl' is inf (with beta 50, lr "
                                       "0.001). The run is back at step 50,")
    assert run.step == 50 == len(run.history) and run.notes == [str(error.value)] and run.knobs.beta == 1
    assert_equal_to_the_bit(run, train(smooth, 50))
    assert_equal_to_the_bit(train(run, 100), train(smooth, 100))


def test_a_rate_that_is_too_high_can_be_lowered_and_training_goes_on():
    class Unstable(TinyVAE):
        def optimizer(self, player, parameters, **fast):
            return torch.optim.SGD(parameters, lr=1e-3, **fast)
    run = train(Run(Unstable, data(), batch_size=32, knobs={"lr": 1e-3}), 120)
    run.knobs.lr = 1.0
    with pytest.raises(NonFinite, match="lr 1"):
        train(run, 500)
    assert run.step in (50, 100) and run.knobs.lr == 1e-3 and run.knobs.log == []
    assert_finite(run)
    run.knobs.lr = 1e-2
    train(run, 200)
    assert_finite(run)
    assert run.history.column("loss")[-20:].mean() < run.history.column("loss")[:20].mean()


def test_a_broken_parameter_behind_a_finite_loss_is_noticed():
    class Poisoned(TinyVAE):
        """A gradient that is undefined while the loss is not: the square root at 0."""
        def loss(self, batch, knobs, rng):
            terms = super().loss(batch, knobs, rng)
            if knobs.beta == 7:
                terms["loss"] = terms["loss"] + (self.decoder.bias * 0).square().sum().sqrt()
            return terms
    run = train(Run(Poisoned, data(), batch_size=32), 149)
    run.knobs.beta = 7
    with pytest.raises(NonFinite, match=r"A parameter stopped being a number at step 150: 'decoder.bias' is no longer"):
        train(run, 1)
    assert run.step == 50
    assert_finite(run)
    train(run, 120)                 # the fatal change is undone
    run.knobs.beta = 7
    with pytest.raises(NonFinite, match=r"The loss stopped being a number at step 172: 'loss' is nan"):
        train(run, 10)
    assert run.step == 100
    assert_finite(run)


def test_parameters_broken_from_outside_are_put_right():
    run = train(tiny_run(), 60)
    with torch.no_grad():
        run.model.encoder.weight.fill_(math.nan)
    with pytest.raises(NonFinite, match="'loss' is nan and 'reconstruction' is nan and 'kl' is nan"):
        train(run, 1)
    assert run.step == 0
    assert_equal_to_the_bit(train(run, 60), train(tiny_run(), 60))


def test_a_fall_to_the_beginning_keeps_what_was_put_in_before_the_first_step():
    run, schedule = tiny_run(), cyclical(100, 0, 4)
    with torch.no_grad():
        run.model.encoder.weight.fill_(0.5)
    run.knobs.drive("beta", schedule)
    train(run, 10)
    with torch.no_grad():
        run.model.decoder.bias.fill_(math.inf)
    with pytest.raises(NonFinite, match="back at step 0"):
        train(run, 1)
    assert (run.model.encoder.weight == 0.5).all() and run.knobs.schedules == {"beta": schedule}
    train(run, 10)
    assert run.history.column("beta").tolist() == [schedule(t) for t in range(10)] and len(run.knobs.log) == 1


def test_a_second_fall_does_not_go_back_to_the_beginning():
    run = train(tiny_run(), 210)
    for _ in range(3):
        with torch.no_grad():
            run.model.decoder.bias.fill_(math.inf)
        with pytest.raises(NonFinite):
            train(run, 1)
        assert run.step == 150
    train(run, 20)


def test_reset_gives_the_run_as_it_was_built():
    run = tiny_run(dropout=0.1, knobs={"beta": 2})
    train(run, 70)
    run.knobs.beta = 9
    train(run, 10)
    run.reset()
    assert run.step == 0 == len(run.history) and run.knobs.beta == 2
    assert_equal_to_the_bit(train(run, 80), train(tiny_run(dropout=0.1, knobs={"beta": 2}), 80))


# -- devices ---------------------------------------------------------------------------------------------------------

def test_the_device_is_chosen_in_order(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device().type == "cuda" == choose_device("cuda:0").type
    with pytest.raises(LabError, match=r"'cuda:3', but torch finds only 1"):
        choose_device("cuda:3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "mps" and choose_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu" and choose_device(torch.device("cpu")).type == "cpu"
    for missing, words in (("cuda", "no CUDA device"), ("mps", "no Apple GPU"), ("tpu", "one of"), (None, "one of")):
        with pytest.raises(LabError, match=words):
            choose_device(missing)


def test_threads_follow_the_variable_then_the_work(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose_threads(10**9, 1000).number == 3 and choose_threads(10, 10, 2) == (2, "asked for")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert choose_threads(50_000, 128).number == 1
    assert choose_threads(10**8, 128).number == 4 and choose_threads(10**8, 128, live=True).number == 3


def test_precision_pays_only_for_large_models_on_cuda(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert choose_precision(cuda, 10**7) is torch.bfloat16 and choose_precision(cuda, 10**5) is torch.float32
    assert choose_precision(torch.device("cpu"), 10**7) is torch.float32


# -- the captured step, without a GPU --------------------------------------------------------------------------------

class Eager(graphs.StepGraph):
    """A StepGraph whose capture keeps the call itself: everything but CUDA's part."""

    def _eager(self, batch, knobs):
        terms = self.run.model.step(batch, knobs, self.run.rng, self.run.update)
        return pack(terms, self.run.device), tuple(terms)

    def _capture(self, batch, knobs):
        self.captures = getattr(self, "captures", 0) + 1
        self.batch = tuple(tensor.clone() for tensor in batch)

        def replay():
            terms = self.run.model.step(self.batch, knobs, self.run.rng, self.run.update)
            self.row, self.names = pack(terms, self.run.device), tuple(terms)
        return SimpleNamespace(replay=replay)


def captured(run):
    run._graph = Eager(run)
    return run


@pytest.mark.parametrize("moves", [{}, {5: ("beta", 4.0), 20: ("beta", 0.0), 25: ("lr", 1e-2)}])
def test_knobs_as_tensors_give_the_same_numbers(moves):
    runs = tiny_run(), captured(tiny_run())
    for run in runs:
        for tick in run.steps(40):
            if tick.step in moves:
                setattr(run.knobs, *moves[tick.step])
    plain, graph = (run.history.frame() for run in runs)
    np.testing.assert_allclose(plain, graph, rtol=2e-5)
    assert runs[1]._graph.captures == 1 and runs[0].knobs.log == runs[1].knobs.log


def test_a_choice_is_captured_anew_and_a_number_is_not():
    class Baked(TinyGAN):
        baked_knobs = ("eps", "beta2")
    run = captured(Run(Baked, data(), batch_size=32))
    captures = []
    for name, value in (("lr", 1e-2), ("lr", 1e-3), ("critics", 3), ("objective", "saturating"), ("eps", 1e-6)):
        setattr(run.knobs, name, value)
        train(run, 6)
        captures.append(run._graph.captures)
    assert captures == [1, 1, 2, 3, 4] and len(run.history) == 30
    plain = Run(TinyGAN, data(), batch_size=32)
    for name, value in (("lr", 1e-2), ("lr", 1e-3), ("critics", 3), ("objective", "saturating"), ("eps", 1e-6)):
        setattr(plain.knobs, name, value)
        train(plain, 6)
    np.testing.assert_allclose(run.history.frame()[["discriminator", "generator"]],
                               plain.history.frame()[["discriminator", "generator"]], rtol=1e-4)


def test_a_setting_that_may_not_be_a_tensor_says_what_to_do():
    with pytest.raises(LabError, match="list the knob in the model's baked_knobs"):
        train(captured(Run(TinyGAN, data(), batch_size=32)), 1)


def test_a_captured_run_falls_back_and_goes_on_with_the_tensors_it_captured():
    run = captured(tiny_run())
    train(run, 120)
    run.knobs.lr = 0.5
    with torch.no_grad():
        run.model.decoder.bias.fill_(math.nan)
    with pytest.raises(NonFinite):
        train(run, 60)
    assert run.step == 50 and run._graph.captures == 1
    plain = train(tiny_run(), 120)
    np.testing.assert_allclose(train(run, 70).history.column("loss"), plain.history.column("loss"), rtol=2e-5)
    assert run._graph.captures == 1


def test_a_copy_is_kept_every_fifty_steps_and_no_more_than_three():
    run = tiny_run()
    for _ in run.steps(260):
        assert len(run._good) <= 3
    assert [good["meta"]["step"] for good in run._good] == [0, 200, 250] and run_module.GUARD_EVERY == 50
