"""Ways to blur a picture: known answers, and what the RNG seed of each sample decides."""

from nca_lib.data.blur import BLURS, add_noise, blur, box_blur, gaussian_blur, random_blur

import pytest
import torch
from scipy.ndimage import gaussian_filter

POINT = torch.zeros(1, 1, 28, 40)
POINT[0, 0, 10, 20] = 1.0


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("kind", "reach"), [("box3", 1), ("box5", 2), ("box7", 3)])
def test_a_box_is_a_mean_and_empty_beyond_the_border(kind, reach):
    images = POINT.clone()
    images[0, 0, 0, 0] = 0.5
    wanted = torch.zeros(1, 1, 28, 40)
    wanted[0, 0, 10 - reach : 11 + reach, 20 - reach : 21 + reach] = 1 / (2 * reach + 1) ** 2
    wanted[0, 0, : reach + 1, : reach + 1] = 0.5 / (2 * reach + 1) ** 2
    torch.testing.assert_close(blur(images, kind), wanted)
    assert BLURS[0] == "box5"
    assert torch.equal(blur(images), box_blur(images))


def test_a_gaussian_as_scipy_has_it():
    images = torch.rand(2, 3, 28, 40, generator=generator()).double()
    wanted = gaussian_filter(images.numpy(), 1.5, axes=(2, 3), mode="constant", truncate=4)
    torch.testing.assert_close(gaussian_blur(images), torch.tensor(wanted), rtol=1e-5, atol=1e-7)
    assert torch.equal(blur(images, "gauss"), gaussian_blur(images))
    assert gaussian_blur(POINT).sum().item() == pytest.approx(1)


def test_noise_follows_from_its_generator_and_is_clipped():
    grey = torch.full((1, 1, 200, 200), 0.5)
    noisy, black = add_noise(grey, 0.1, generator(3)), add_noise(0 * grey, 0.1, generator(3))
    assert torch.equal(noisy, add_noise(grey, 0.1, generator(3)))
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)  # four deviations
    assert noisy.mean().item() == pytest.approx(0.5, abs=0.002)
    assert (black == 0).double().mean().item() == pytest.approx(0.5, abs=0.01)
    assert (black.min(), add_noise(grey + 0.5, 0.1, generator()).max()) == (0, 1)


def test_a_picture_is_blurred_alike_in_any_batch():
    images = torch.rand(6, 2, 9, 12, generator=generator())
    seeds = torch.tensor([0, 5, 2**61, 5, 7, 8])
    images[3] = images[1]
    before = images.clone()
    blurred = random_blur(images, BLURS, 0.1, seeds)
    assert torch.equal(images, before)
    assert torch.equal(blurred[3], blurred[1])
    for k in range(6):
        alone = random_blur(images[k : k + 1], BLURS, 0.1, seeds[k : k + 1])
        assert torch.equal(alone[0], blurred[k])
    assert random_blur(images[:0], BLURS, 0.1, seeds[:0]).shape == (0, 2, 9, 12)
    assert random_blur(images.double(), BLURS, 0.1, seeds).dtype == torch.float64


def test_kinds_are_equally_likely_and_one_in_eight_gets_noise():
    images = torch.rand(1, 1, 9, 9, generator=generator()).expand(400, 1, 9, 9)
    blurred = random_blur(images, ("box3", "box7"), 0.0, torch.arange(400))
    narrow, wide = (
        (blurred - blur(images, kind)).abs().amax((1, 2, 3)) < 1e-6 for kind in ("box3", "box7")
    )
    assert (narrow | wide).all()
    assert narrow.sum().item() == pytest.approx(200, abs=40)  # four deviations
    noisy = random_blur(images, ("box5",), 0.2, torch.arange(400))
    off = (noisy - box_blur(images)).square().mean((1, 2, 3)).sqrt()
    clean = off < 1e-6
    assert clean.sum().item() == pytest.approx(350, abs=27)
    assert off.max() < 0.2 * 1.4  # of 81 pixels
    assert off[~clean].mean().item() == pytest.approx(0.1, abs=0.03)
