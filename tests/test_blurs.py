"""Ways to blur a picture: by hand, and drawn at random from the stream of each sample."""

from dataclasses import replace

from nca_lib.blurs import BLURS, blurred, blurred_at_random, box, gauss, with_noise
from nca_lib.cells import inked_state
from nca_lib.training.batch import draw_batch

import pytest
import torch
from scipy.ndimage import gaussian_filter
from test_pool import CONFIG, digits, filled_run  # noqa: F401

POINT = torch.zeros(1, 1, 28, 40)
POINT[0, 0, 10, 20] = 1.0


def test_the_usual_blur_is_the_mean_of_five_by_five_beyond_the_edge_too():
    images = POINT.clone()
    images[0, 0, 0, 0] = 0.5
    wanted = torch.zeros(1, 1, 28, 40)
    wanted[0, 0, 8:13, 18:23] = 1 / 25
    wanted[0, 0, :3, :3] = 0.5 / 25
    torch.testing.assert_close(box(images), wanted)
    assert BLURS == ("box5", "box3", "box7", "gauss")
    assert torch.equal(blurred(images), box(images))


@pytest.mark.parametrize(("kind", "reach"), [("box3", 1), ("box5", 2), ("box7", 3)])
def test_boxes_of_other_sides(kind, reach):
    wanted = torch.zeros(1, 1, 28, 40)
    wanted[0, 0, 10 - reach : 11 + reach, 20 - reach : 21 + reach] = 1 / (2 * reach + 1) ** 2
    torch.testing.assert_close(blurred(POINT, kind), wanted)


def test_a_gaussian_as_scipy_has_it():
    images = torch.rand(2, 3, 28, 40, generator=torch.Generator().manual_seed(0)).double()
    wanted = gaussian_filter(images.numpy(), 1.5, axes=(2, 3), mode="constant", truncate=4)
    torch.testing.assert_close(gauss(images), torch.from_numpy(wanted), rtol=1e-5, atol=1e-7)
    assert torch.equal(blurred(images, "gauss"), gauss(images))
    assert gauss(POINT).sum().item() == pytest.approx(1)


def test_noise_follows_from_its_generator_and_stays_within_the_bounds():
    grey = torch.full((1, 1, 200, 200), 0.5)
    noisy = with_noise(grey, 0.1, torch.Generator().manual_seed(3))
    assert torch.equal(noisy, with_noise(grey, 0.1, torch.Generator().manual_seed(3)))
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)  # four deviations
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.002)
    black = with_noise(0 * grey, 0.1, torch.Generator().manual_seed(3))
    assert (black == 0).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert black.min() == 0
    assert with_noise(grey + 0.5, 0.1, torch.Generator()).max() == 1


def test_a_picture_is_blurred_as_its_stream_says_in_any_company():
    images = torch.rand(6, 2, 9, 12, generator=torch.Generator().manual_seed(0))
    streams = torch.tensor([0, 5, 2**61, 5, 7, 8])
    images[3] = images[1]
    made = blurred_at_random(images, BLURS, 0.1, streams)
    assert torch.equal(made[3], made[1])
    for k in range(6):
        alone = blurred_at_random(images[k : k + 1], BLURS, 0.1, streams[k : k + 1])
        assert torch.equal(alone[0], made[k])
    assert blurred_at_random(images[:0], BLURS, 0.1, streams[:0]).shape == (0, 2, 9, 12)
    assert blurred_at_random(images.double(), BLURS, 0.1, streams).dtype == torch.float64


def test_of_two_kinds_each_is_as_likely_and_seven_of_eight_stay_without_noise():
    count = 400
    streams = torch.arange(count)
    images = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    made = blurred_at_random(images.expand(count, 1, 9, 9), ("box3", "box7"), 0.0, streams)
    narrow, wide = ((made - blurred(images, kind)).abs().amax((1, 2, 3)) < 1e-6
                    for kind in ("box3", "box7"))  # fmt: skip
    assert (narrow | wide).all()
    assert narrow.sum().item() == pytest.approx(count / 2, abs=40)  # four deviations
    noisy = blurred_at_random(images.expand(count, 1, 9, 9), ("box5",), 0.2, streams)
    off = (noisy - box(images)).square().mean((1, 2, 3)).sqrt()
    clean = off < 1e-6
    assert clean.sum().item() == pytest.approx(0.875 * count, abs=27)
    assert off.max() < 0.2 * 1.4  # of 81 pixels
    assert off[~clean].mean().item() == pytest.approx(0.1, abs=0.03)


def test_a_training_starts_from_the_blurs_and_the_noise_of_its_settings(digits):  # noqa: F811
    config = replace(
        CONFIG, task="restore", blurs=("box7",), pool_share=0.0, batch_size=32, pool_size=32
    )
    for noise in (0.0, 0.3):
        run = filled_run(replace(config, noise=noise))
        batch = draw_batch(run, digits, config)
        images = digits.images[batch.pictures]
        noisy = blurred_at_random(images, ("box7",), noise, batch.seeds)
        assert torch.equal(batch.states, inked_state(noisy, 5, above=0))
        plain = (batch.states[:, :1] - blurred(images, "box7")).abs().amax((1, 2, 3)) < 1e-6
        assert plain.all().item() is (noise == 0)
