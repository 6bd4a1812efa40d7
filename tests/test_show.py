"""show, save_gif and the figures: they draw the ink, whatever the model."""

import sys
from types import SimpleNamespace

import nca_lib as nca
from nca_lib.visual import plots
from nca_lib.visual.widgets import GrowthPlayer

import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

FISH = nca.ImageSpec(("fish", "newt"), 4, (12, 17))
FRAMES = {  # name: frames, the ink in them
    "grey": (lambda: nca.load("unified").grow([3, 8], steps=3), 1),
    "colour": (lambda: nca.NCA(FISH, channels=9, hidden=8).grow("newt", steps=3), 4),
    "pictures": (lambda: torch.rand(4, 3, 12, 17), 3),
}


@pytest.mark.parametrize("name", FRAMES)
def test_only_the_ink_is_drawn(name, tmp_path):
    frames, ink = FRAMES[name][0](), FRAMES[name][1]
    wanted = frames[..., :ink, :, :].clamp(0, 1)
    assert torch.equal(plots.ink_of(frames), wanted)
    nca.save_gif(frames, tmp_path / "growth.gif", scale=1)
    nca.save_gif(wanted, str(tmp_path / "ink.gif"), scale=1)
    assert (tmp_path / "growth.gif").read_bytes() == (tmp_path / "ink.gif").read_bytes()
    with Image.open(tmp_path / "growth.gif") as gif:
        count = frames.shape[1] if frames.dim() == 5 else 1
        assert gif.size == (count * frames.shape[-1], frames.shape[-2])
    figure = nca.show(frames)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == count * 4  # a row for each growth


def test_states_of_an_unknown_model_are_not_drawn_as_colours(tmp_path):
    model = nca.load("unified")
    part = model.grow(3, steps=2)[:, 0]  # a slice knows no spec
    for draw in (nca.show, lambda frames: nca.save_gif(frames, tmp_path / "no.gif")):
        with pytest.raises(nca.InputError, match=r"20 channels: pass spec=model\.spec"):
            draw(part)
    assert not (tmp_path / "no.gif").exists()
    nca.save_gif(part, tmp_path / "yes.gif", model.spec)
    with pytest.raises(nca.InputError, match="2 names for 1 growths"):
        nca.show(part, model.spec, ["a", "b"])


def test_a_notebook_gets_a_player(monkeypatch):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    player = nca.show(FRAMES["colour"][0](), names=["a newt"])
    assert isinstance(player, GrowthPlayer)
    assert (player.recorded["size"], player.recorded["steps"]) == ([12, 17], 3)


def test_colours_on_paper():
    ink = torch.zeros(4, 1, 2)
    ink[:, 0, 0] = torch.tensor([0.5, 0.0, 0.25, 0.5])  # half transparent
    assert plots.on_paper(ink).tolist() == [[[1.0, 0.5, 0.75], [1.0, 1.0, 1.0]]]
    assert plots.on_paper(ink[:1]).tolist() == [[0.5, 1.0]]


def test_votes_have_a_colour_each_and_cells_without_ink_have_none():
    assert len(set(plots.VOTES)) == 10
    model = nca.load("reader")
    states = torch.zeros(1, model.config.channels, 28, 28)
    states[:, 0, :, :10] = 0.5  # ink
    states[:, -10 + 7, :, :5] = 1.0
    states[:, -10 + 2, :, 5:] = 1.0
    colours = plots.vote_colours(states, model.spec)[0]  # [4, H, W]
    for column, vote, opacity in ((0, 7, 0.5), (9, 2, 0.5), (10, 2, 0.0)):
        wanted = [*to_rgb(plots.VOTES[vote]), opacity]
        assert colours[:, 3, column].tolist() == pytest.approx(wanted, abs=1e-6)


def test_figures_show_what_they_are_given():
    images = torch.rand(13, 1, 8, 8)
    grown = images.clone()
    grown[3, :, :4] = 1 - grown[3, :, :4]
    titles = [ax.get_title() for ax in plots.compare(images, grown, "").axes if ax.get_title()]
    assert titles == ["100.0%"] * 3 + ["50.0%"] + ["100.0%"] * 9
    strips = plots.film_strips({"a": images, "b": grown}, range(13), "", "a caption")
    assert [ax.get_title() for ax in strips.axes][:2] == ["step 0", "step 1"]
    shown = strips.axes[13 + 3].images[0].get_array()
    assert torch.equal(torch.from_numpy(shown.data), 1 - grown[3, 0])
    log = [{"iteration": k, "ink": 0.1 / (k + 1)} for k in range(5)]
    logs = {"digit-0": log, "digit-1": log, "unified": log}
    (ax,) = plots.learning_curves(logs).axes
    assert len(ax.lines) == 3
    assert list(ax.lines[-1].get_xdata()) == [0, 1, 2, 3, 4]
    for records in (1, 4, 30):
        assert plots.smooth([2.0] * records) == pytest.approx([2.0] * records)
    assert plots.progress_picture(torch.rand(23, 1, 28, 28), scale=2).size == (560, 168)
