"""The pool, and what a batch takes from it, loses, and puts back."""

from dataclasses import replace

from nca_lib.data import Pictures
from nca_lib.inputs import InputError
from nca_lib.masks import draw_damages
from nca_lib.model import NCA
from nca_lib.spec import MNIST
from nca_lib.state import crop, pad
from nca_lib.training import TrainingConfig
from nca_lib.training.batch import draw_batch, grow_batch
from nca_lib.training.distributed import Distributed
from nca_lib.training.losses import Losses
from nca_lib.training.pool import Pool
from nca_lib.training.run import Hooks, Run
from nca_lib.training.tasks import TASKS

import pytest
import torch
import toy
from toy import INK, bar, inked, toy_model

CONFIG = TrainingConfig(
    iterations=10, batch_size=4, loss_steps=(3, 5), pool_size=8, pool_start=0.0, pool_share=0.5
)


@pytest.fixture
def digits():
    """Thirty pictures, all different, three of each label."""
    images = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    return Pictures(images, torch.arange(30) % 10)


def new_run(model, config):
    return Run(model, config, Hooks(), None, Distributed(), "auto")


def start_of(task, images):
    return TASKS[task].initial_state(toy_model(), images)


def seeds_of(count):
    return toy_model().seed(count)


def filled_run(config, model=None, value=1.0):
    """A run whose pool is full: slot `i` holds picture `i`, style `i / 100`, states all `value`."""
    run = new_run(model or toy_model(), config)
    slots = torch.arange(config.pool_size)
    styles = (slots / 100)[:, None].expand(-1, run.model.config.style_dim)
    states = torch.full((len(slots), *run.pool.states.shape[1:]), value)
    own = run.model.kernels  # their type
    run.pool.put(slots, states.to(own), slots, styles.to(own))
    run.pool.filled = config.pool_size
    return run


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- the pool


def test_an_empty_pool():
    pool = Pool(10, toy_model(style_ink=(0.0, 0.0)).double())
    assert (pool.size, pool.filled) == (10, 0)
    each = (pool.states, pool.pictures, pool.styles)
    assert [tuple(t.shape) for t in each] == [(10, 5, 28, 28), (10,), (10, 2)]
    assert [t.dtype for t in each] == [torch.float64, torch.int64, torch.float64]


def test_what_is_taken_is_a_copy():
    pool = Pool(3, toy_model())
    for tensor in pool.take(torch.tensor([0, 1])):
        tensor += 1
    assert not any(t.any() for t in (pool.states, pool.pictures, pool.styles))


def test_it_fills_up_from_the_front_then_mixes():
    pool = Pool(10, toy_model())
    for wanted in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9]):
        taken, given = pool.choose_slots(3, 1, generator())
        assert taken.tolist() == []
        assert taken.dtype == given.dtype == torch.int64
        assert given.tolist() == wanted
    assert pool.filled == pool.size
    taken, given = pool.choose_slots(3, 2, generator(5))
    shuffled = torch.randperm(10, generator=generator(5)).tolist()
    assert taken.tolist() == shuffled[:3]
    assert given.tolist() == shuffled[3:5]
    assert pool.filled == 10


@pytest.mark.parametrize("filled", [0, 5, 8])
def test_it_is_saved_and_loaded(filled):
    pool, other = filled_run(CONFIG).pool, Pool(8, toy_model())
    saved = {name: getattr(pool, name) for name in ("states", "pictures", "styles")}
    other.load(saved, filled)
    assert other.filled == filled
    for name, tensor in saved.items():
        assert torch.equal(getattr(other, name), tensor)
    for wrong in (-1, 9):
        with pytest.raises(InputError, match=f"^the pool has {wrong} of 8 slots filled$"):
            other.load(saved, wrong)


# ---- when it is used


@pytest.mark.parametrize(
    ("share", "renewal", "taken", "given"),
    [
        (0.5, 1.0, 2, [2, 2, 2, 2]),  # (of a full pool) two go on, two are fresh and stay
        (0.5, 0.25, 2, [0, 1, 0, 1]),  # half a sample is renewed: every other time
        (0.5, 0.0, 2, [0, 0, 0, 0]),  # none is renewed
        (0.25, 0.6, 1, [1, 2, 2, 2]),
        (0.25, 0.1, 1, [0, 0, 0, 1]),
        (1.0, 1.0, 3, [1, 1, 1, 1]),  # one grows from its start at least
        (0.8, 1.0, 3, [1, 1, 1, 1]),
        (0.7, 0.75, 3, [0, 1, 1, 1]),
    ],
)
def test_shares_of_a_full_pool(digits, share, renewal, taken, given):
    config = replace(CONFIG, pool_share=share, pool_renewal=renewal, damage=0.0, switch_share=0.0)
    run, fresh = filled_run(config), 4 - taken
    for run.iteration, now in enumerate(given):
        batch = draw_batch(run, digits, config)
        assert (batch.new, batch.fresh) == (fresh, fresh)
        assert (batch.slots[:fresh] >= 0).tolist() == [True] * now + [False] * (fresh - now)
        assert (batch.slots[fresh:] >= 0).all()
        kept = batch.slots[batch.slots >= 0]
        assert len(kept.unique()) == len(kept) == taken + now
        assert torch.equal(batch.pictures[fresh:], batch.slots[fresh:])


@pytest.mark.parametrize(
    ("start", "renewal", "filled"), [(0.5, 1.0, 0), (0.0, 0.0, 2), (0.0, 0.5, 3), (0.0, 1.0, 4)]
)
def test_before_it_is_used_and_while_it_fills_all_are_fresh(digits, start, renewal, filled):
    config = replace(CONFIG, pool_start=start, pool_renewal=renewal)
    run = new_run(toy_model(), config)
    batch = draw_batch(run, digits, config)
    assert (len(batch.states), batch.new, batch.fresh) == (4, 4, 4)
    assert torch.equal(batch.states, seeds_of(4))
    assert batch.slots.tolist() == list(range(filled)) + [-1] * (4 - filled)
    assert run.pool.filled == filled


# ---- what happens to its samples


def test_the_draws_of_a_batch(digits):
    """In their order, from the run's one generator."""
    config = replace(
        CONFIG, batch_size=16, pool_size=16, switch_share=0.25, damage=0.375,
        damage_kinds=("middle", "half"),
    )  # fmt: skip
    run = filled_run(config)
    run.generator.manual_seed(11)
    batch = draw_batch(run, digits, config)
    g = generator(11)
    shuffled = torch.randperm(16, generator=g)
    taken, given = shuffled[:8], shuffled[8:10]
    drawn = torch.randint(30, (10,), generator=g)
    noise = torch.randn(10, 1, generator=g)
    regions = draw_damages(3, config.damage_kinds, (28, 28), g)
    seeds = torch.randint(2**62, (16,), generator=g)
    assert torch.equal(batch.slots, torch.cat([given, -torch.ones(6).long(), taken]))
    assert torch.equal(batch.pictures, torch.cat([drawn, taken[2:]]))
    assert torch.equal(batch.noise, noise)
    assert torch.equal(batch.rng_seeds, seeds)
    assert torch.equal((batch.states[10:13] == 0).all(1), regions)
    assert torch.equal(run.generator.get_state(), g.get_state())


def test_restoration_never_switches_its_picture(digits):
    config = replace(CONFIG, task="restore", switch_share=0.5, damage=0.5)
    run = filled_run(config)
    batch = draw_batch(run, digits, config)
    assert (batch.new, batch.fresh) == (2, 2)
    wanted = start_of("restore", digits.images[batch.pictures[:2]])
    assert torch.equal(batch.states[:2], wanted)
    assert (batch.states[2] == 0).any()
    assert (batch.states[3] == 1).all()


@pytest.mark.parametrize("task", ["grow", "restore"])
@pytest.mark.parametrize(
    ("value", "lost"),
    [(9.99, False), (10.0, True), (-10.0, True), (float("nan"), True), (float("inf"), True)],
)
def test_wild_samples_start_anew_and_others_stay(digits, task, value, lost):
    config = replace(CONFIG, task=task, damage=0.0, switch_share=0.0)
    run = filled_run(config)
    run.pool.states[:, 3, 20, 5] = value
    batch = draw_batch(run, digits, config)
    anew = start_of(task, digits.images[batch.pictures])
    for sample in (2, 3):
        state = batch.states[sample]
        assert torch.equal(state, anew[sample]) is lost
        assert (state[:3] == 1).all().item() is not lost
    assert torch.equal(batch.pictures[2:], batch.slots[2:])  # its picture stays its target


@pytest.mark.parametrize(("alive", "lost"), [(0.1, True), (0.11, False), (-1.0, True)])
def test_dead_samples_start_anew(digits, alive, lost):
    config = replace(CONFIG, damage=0.0, switch_share=0.0)
    run = filled_run(config)
    run.pool.states[:, 1] = -1.0
    run.pool.states[:, 1, 4, 5] = torch.tensor(alive)
    batch = draw_batch(run, digits, config)
    for sample in (2, 3):
        assert torch.equal(batch.states[sample], seeds_of(1)[0]) is lost


def test_only_the_lost_ones_start_anew(digits):
    """Of four pooled samples one is wild, one is dead."""
    config = replace(CONFIG, batch_size=8, pool_share=0.9, damage=0.0, switch_share=0.0)
    run = filled_run(config)
    run.pool.states[::4, 3, 20, 5] = 11.0
    run.pool.states[1::4, 1] = 0.0
    batch = draw_batch(run, digits, config)
    lost = [slot % 4 < 2 for slot in batch.slots[1:].tolist()]
    assert {slot % 4 for slot in batch.slots[1:].tolist()} == {0, 1, 2, 3}
    seed = seeds_of(1)[0]
    assert [torch.equal(state, seed) for state in batch.states[1:]] == lost
    assert [(state == 1).all().item() for state in batch.states[1:]] == [not it for it in lost]


# ---- what is grown, learned and put back


def learning(model):
    return model.requires_grad_(True)


def outcome(run, digits, config, batch=None):
    """What comes of a batch, by name: the losses, and the share that is right."""
    numbers = grow_batch(run, batch or draw_batch(run, digits, config), digits, config)
    return dict(zip((*Losses._fields, "right"), numbers.tolist(), strict=True))


def test_the_pool_keeps_the_last_loss_step_with_picture_and_style():
    """Grown from the seed in five steps the bar has nine cells, in three steps five."""
    model = toy_model(0.5, (0.25,))
    toy.known_code(model, [1.0], [-60.0])  # the encoder bounds it: the deviation is exp(-5)
    digits = toy.bars([1, 2, 3, 4, 5, 6], 0.75)
    config = replace(CONFIG, pool_renewal=1.0, switch_share=0.0)
    run = new_run(learning(model), config)
    batch = draw_batch(run, digits, config)
    numbers = grow_batch(run, batch, digits, config)
    assert batch.slots.tolist() == [0, 1, 2, 3]
    assert torch.equal(run.pool.pictures[:4], batch.pictures)
    deviation = torch.tensor(-10.0).mul(0.5).exp()
    torch.testing.assert_close(run.pool.styles[:4], 1 + deviation * batch.noise)
    assert (run.pool.styles[:4] != 1).all()
    for state, style in zip(run.pool.states[:4], run.pool.styles[:4, 0], strict=True):
        torch.testing.assert_close(state[INK], bar((0.5 + 0.25 * style).item(), 4))
        assert torch.equal(state[toy.ALIVE], bar(radius=5))
    assert not run.pool.states[4:].any()
    assert not run.pool.states.requires_grad
    assert not run.pool.styles.requires_grad
    assert not numbers.requires_grad


def test_what_is_not_kept_is_not_stored():
    config = replace(CONFIG, pool_renewal=0.0, damage=0.0, switch_share=0.0)
    run = filled_run(config, learning(toy_model()))
    batch = draw_batch(run, toy.bars([0] * 10), config)
    grow_batch(run, batch, toy.bars([0] * 10), config)
    changed = (run.pool.states != 1).flatten(1).any(1).nonzero().flatten()
    assert changed.tolist() == sorted(batch.slots[2:].tolist())
    torch.testing.assert_close(run.pool.styles[:, 0], torch.arange(8) / 100)


def test_infer_styles_pooled_samples_stay_and_new_ones_are_drawn():
    model = toy_model(0.5, (0.25,))
    toy.known_code(model, [-1.0], [-60.0])
    config = replace(CONFIG, batch_size=8, pool_renewal=1.0, switch_share=0.25, damage=0.0)
    run = filled_run(config, learning(model))
    digits = toy.bars([1, 2] * 5, 0.75)
    batch = draw_batch(run, digits, config)
    calls = toy.spy(model)
    grow_batch(run, batch, digits, config)
    (call,) = calls
    seen = (1, 2, 3, 5)  # whether it is alive, twice; then the loss steps
    assert (call.steps, call.record_steps, call.first_step) == (5, seen, 0)
    assert torch.equal(call.rng_seeds, batch.rng_seeds)
    assert torch.equal(call.state, batch.states)
    assert (call.condition[:, 0] == 0.5).all()
    drawn = -1 + torch.tensor(-5.0).exp() * batch.noise
    torch.testing.assert_close(call.condition[:5, 1:], drawn)  # four fresh ones, one switched
    assert torch.equal(call.condition[5:, 1:], batch.styles)
    assert torch.equal(run.pool.styles[batch.slots[5:]], batch.styles)
    torch.testing.assert_close(run.pool.styles[batch.slots[:5]], drawn)


def test_losses_and_accuracy_by_hand():
    """Two fresh bars of the right ink, two of the wrong: the numbers, to the pixel."""
    model = toy_model((1.0, 0.25, *[0.0] * 8))
    toy.known_code(model, [2.0], [1.0])
    digits = toy.bars([0, 1], (0.75, 0.75, *[0.0] * 8))
    config = replace(
        CONFIG, iterations=100, kl_warmup=0.5, kl_weight=0.5, alive_weight=0.0,
        overflow_weight=0.0, pool_share=0.0,
    )  # fmt: skip
    run = new_run(learning(model), config)
    run.iteration = 20
    batch = draw_batch(run, digits, config)._replace(pictures=torch.tensor([0, 0, 1, 1]))
    numbers = outcome(run, digits, config, batch)
    at = {}
    for step in (3, 5):  # too much by 1/4, too little by 1/2, or missing
        drawn, missing = inked(step), 15 - inked(step)
        at[step] = (drawn * (1 / 16 + 1 / 4) / 2 + missing * 9 / 16) / 784
    assert numbers.pop("ink") == pytest.approx((at[3] + at[5]) / 2)
    nats = 0.5 * (torch.e + 4 - 1 - 1)
    assert numbers.pop("kl") == pytest.approx(20 / 50 * 0.5 * nats / 784)
    wrong = (15 - 9 + 15) / 2  # ink 1/4 does not count as ink
    assert numbers.pop("right") == pytest.approx(1 - wrong / 784)
    assert {"alive", "origin", "perceptual", "overflow"} <= numbers.keys()
    assert not any(numbers.values())


@pytest.mark.parametrize(("iteration", "risen"), [(0, 0), (10, 0.2), (49, 0.98), (50, 1), (99, 1)])
def test_the_divergence_comes_in_slowly(iteration, risen):
    model = toy_model()
    toy.known_code(model, [3.0], [0.0])
    digits = toy.bars([0])
    config = replace(CONFIG, iterations=100, kl_weight=0.25, pool_share=0.0)
    run = new_run(learning(model), config)
    run.iteration = iteration
    assert outcome(run, digits, config)["kl"] == pytest.approx(risen * 0.25 * 4.5 / 784)
    wanted = risen * 0.25 * 3 / 784  # of the code's mean, by way of its bias
    noise = model.encoder.code.bias.grad[0].item()  # ink does not depend on the style here
    assert noise == pytest.approx(wanted)


def test_only_new_samples_diverge_and_only_fresh_ones_are_measured():
    model = toy_model()
    toy.known_code(model, [3.0], [0.0])
    config = replace(CONFIG, kl_warmup=0.1, kl_weight=0.25, switch_share=0.5, damage=0.0)
    run = filled_run(config, learning(model))
    run.iteration = 5
    digits = toy.bars([0] * 10)
    batch = draw_batch(run, digits, config)
    assert (batch.new, batch.fresh) == (3, 2)
    numbers = outcome(run, digits, config, batch)
    assert numbers["kl"] == pytest.approx(0.25 * 4.5 / 784)  # the mean over the new ones
    assert numbers["right"] == pytest.approx(1 - 6 / 784)  # of the two that grew from the seed


def test_a_training_with_a_margin(digits):
    """Seeds, damage and the pool have it; the shares of right pixels are those of the pictures."""
    config = replace(CONFIG, margin=2, damage=1.0, switch_share=0.0)
    run = filled_run(config, toy_model().requires_grad_(True))
    batch = draw_batch(run, digits, config)
    assert batch.states.shape[2:] == run.pool.states.shape[2:] == (32, 32)
    fresh = batch.states[: batch.fresh]
    assert torch.equal(crop(fresh, 2), seeds_of(len(fresh)))
    grow_batch(run, batch, digits, config)
    images = digits.images[:2]
    drawn = pad(images, 2).expand(2, 5, 32, 32)
    assert run.accuracy(drawn, images, digits.labels[:2]).min() == 1


def test_a_model_in_double_precision_takes_pictures_in_single():
    model = toy_model(0.5, (0.25,)).double()
    toy.known_code(model, [1.0], [0.5])
    digits = toy.bars([0, 1] * 5, 0.75)
    for task in ("grow", "restore"):
        config = replace(CONFIG, task=task)
        run = filled_run(config, learning(model))
        run.pool.states[::2] = 20.0  # some start anew
        batch = draw_batch(run, digits, config)
        assert {t.dtype for t in (batch.states, batch.noise, batch.styles)} == {torch.float64}
        numbers = grow_batch(run, batch, digits, config)
        assert numbers.dtype == torch.float64
        assert numbers.isfinite().all()
        assert run.pool.states.dtype == run.pool.styles.dtype == torch.float64


def test_a_model_without_styles_or_conditioning_learns(digits):
    torch.manual_seed(0)
    for label_dim in (2, 0):
        run = new_run(NCA(MNIST, channels=5, hidden=4, label_dim=label_dim), CONFIG)
        numbers = outcome(run, digits, CONFIG)
        assert numbers["kl"] == 0
        assert numbers["ink"] > 0
        assert run.pool.styles.shape == (8, 0)


def test_of_several_ranks_each_has_its_share_of_the_pool():
    run = Run(toy_model(), CONFIG, Hooks(), None, Distributed(1, 4), "auto")
    assert run.pool.size == 2
    assert len(draw_batch(run, toy.bars([0, 1, 2]), CONFIG).states) == 1
    assert run.generator.initial_seed() != new_run(toy_model(), CONFIG).generator.initial_seed()
