"""Other pictures than digits: colours, other sizes, other classes, all the way through."""

import json
from pathlib import Path

from nca_lib import widgets
from nca_lib.baselines import class_pca
from nca_lib.blurs import box
from nca_lib.cells import half_at, half_plane, seed_state, state_from_image
from nca_lib.checkpoint import load, save_model
from nca_lib.classifier import classifier_for, load_classifier, save_classifier, train_classifier
from nca_lib.data import Dataset, Pictures
from nca_lib.evaluation import digits_for, evaluate
from nca_lib.inputs import InputError
from nca_lib.model import NCA, ModelConfig
from nca_lib.report import table, write_figures
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.fire import rng_seeds
from nca_lib.spec import MNIST, ImageSpec
from nca_lib.training import Outputs, TrainingConfig, alive_target, origin_target, train
from nca_lib.training.pretrain import initial_model, merge, pretrain, widen
from nca_lib.training.run import new_run
from nca_lib.visual.plots import on_paper, side_by_side

import pytest
import torch

SPEC = ImageSpec(("cat", "dog", "newt"), ink=4, size=(12, 17))
RULE = ModelConfig(channels=9, hidden=12, label_dim=3, style_dim=2)
TRAINING = TrainingConfig(
    iterations=4, batch_size=4, loss_steps=(3, 5), pool_size=8, pool_start=0.0, origin_weight=1.0,
)  # fmt: skip


def pictures(count=9, spec=SPEC):
    """A square of another colour for each class, half of the grid opaque."""
    labels = torch.arange(count) % len(kind.classes)
    images = torch.zeros(count, kind.ink, *kind.size)
    images[:, :, 3:9, 5:12] = torch.rand(count, kind.ink, 1, 1)
    images[:, -1:] = (images > 0).any(1, keepdim=True).float()
    return Pictures(images, labels)


def data_set(count=9, spec=SPEC):
    each = pictures(count, kind), pictures(count, kind), pictures(count, kind)
    return Dataset(*each, "here", "made", kind)


def alive_rule(config=RULE, spec=SPEC):
    model = initial_model(config, 0, kind)
    torch.nn.init.normal_(model.output.weight, std=0.05)
    return model


@pytest.mark.parametrize("compiled", ["0", "1"])
@pytest.mark.parametrize("perception", ["sobel", "patch"])
def test_colours_grow_alike_by_every_path(monkeypatch, compiled, perception):
    """Life stands behind four channels of ink; all paths must look for it there."""
    monkeypatch.setenv("NCA_COMPILED", compiled)
    config = ModelConfig(channels=9, hidden=12, label_dim=3, style_dim=2, perception=perception)
    model = alive_rule(config)
    state = seed_state(3, 9, SPEC.size, SPEC.life)
    condition = model.condition(["cat", "dog", "newt"])
    with torch.inference_mode():
        fast = model.rollout(state, condition, 12, 5, (6, 12))
        slow = dense_rollout(model, state, condition, 12, rng_seeds(3, 5), (6, 12), 0)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
    assert (fast[-1] != state).any()
    wrong = initial_model(config, 0, ImageSpec(SPEC.classes, 1, SPEC.size))
    wrong.load_state_dict(model.state_dict() | {k: v for k, v in wrong.state_dict().items()
                                               if k.startswith("encoder.conv1")})  # fmt: skip
    with torch.inference_mode():
        assert not torch.equal(wrong.rollout(state, condition, 12, 5, (6, 12)), fast)


def test_a_rule_file_knows_its_kind(tmp_path):
    model = alive_rule()
    save_model(tmp_path / "x.safetensors", model, {})
    again = load(tmp_path / "x.safetensors")
    assert again.spec == SPEC
    assert again.config == RULE
    assert again.trained_labels == [0, 1, 2]
    assert torch.equal(again.grow("newt", steps=3), model.grow(2, steps=3))


def test_shipped_rules_from_before_are_of_mnist():
    assert load("unified").spec == MNIST


def test_labels_by_name():
    model = alive_rule()
    assert torch.equal(model.condition("dog"), model.condition(1))
    assert torch.equal(model.condition(["newt", "cat"]), model.condition([2, 0]))
    with pytest.raises(InputError, match="label 'cow': choose one of cat, dog, newt"):
        model.condition("cow")
    with pytest.raises(InputError, match="label 3: labels go from 0 to 2"):
        model.condition(3)


def test_too_few_channels_for_the_ink():
    with pytest.raises(InputError, match="channels is 4: 4 of ink and one of life are the least"):
        NCA(ModelConfig(channels=4), SPEC)


def test_where_life_and_anchor_should_be():
    images = torch.zeros(1, 4, 12, 17)
    images[0, 3, 6, 8] = 1.0  # opaque black: only opacity shows it
    wanted = torch.zeros(12, 17)
    wanted[4:9, 6:11] = 1.0
    assert torch.equal(alive_target(images)[0, 0], wanted)
    assert origin_target(images).nonzero().tolist() == [[0, 0, 6, 8]]
    state = state_from_image(box(images), 9, above=0)
    assert torch.equal(state[0, 3] > 0, wanted > 0)
    assert torch.equal(state[0, 4], wanted)
    assert not state[0, 5:].any()


def test_half_planes_at_any_angle():
    centre = torch.tensor([5.5]), torch.tensor([8.0])
    right = half_at(*centre, torch.tensor([0.0]), (12, 17))[0]
    assert torch.equal(right, torch.arange(17).expand(12, 17) > 8)
    below = half_at(*centre, torch.tensor([torch.pi / 2]), (12, 17))[0]
    assert torch.equal(below, half_plane("bottom", (12, 17)))


def test_training_takes_everything_from_the_kind(tmp_path):
    """Pool, encoder, losses, damage and starts; twice the same, and it goes on."""
    outputs = Outputs(tmp_path, "toy")
    model, digits = alive_rule(), pictures()
    run = new_run(model, TRAINING)
    assert run.pool.states.shape == (8, 9, 12, 17)
    log = train(model, digits, TRAINING, outputs, log_every=1, progress=False)
    assert len(log) == 4
    assert all(entry["ink"] > 0 and entry["anchor"] > 0 for entry in log)
    again = load(outputs.model)
    style = again.infer_style(digits.images[:2], digits.labels[:2])
    assert style.shape == (2, 2)
    grown = again.redraw(digits.images[0], "cat", ["dog", "newt"], steps=4)
    assert grown.shape == (5, 2, 9, 12, 17)
    with pytest.raises(InputError, match=r"images have shape .*: want \[N, 1, 28, 28\]"):
        train(NCA(), digits, TRAINING, progress=False)


def test_the_loss_is_that_of_all_ink_channels():
    from nca_lib.training import growth_losses

    images = pictures(2).images
    frames = torch.zeros(2, 2, 9, 12, 17)
    frames[:, :, :4] = images
    assert growth_losses(frames, images, TRAINING).ink == 0
    frames[:, :, 2] += 0.5
    assert growth_losses(frames, images, TRAINING).ink.item() == pytest.approx(0.25 / 4)


def test_a_rule_per_class_and_their_mean(tmp_path):
    files = pretrain(RULE, pictures(), TRAINING, tmp_path, spec=SPEC, workers=1, progress=False)
    assert [file.name for file in files] == [f"class-{n}.safetensors" for n in range(3)]
    models = [load(file) for file in files]
    merged = merge(models, "mean")
    assert merged.spec == SPEC
    torch.testing.assert_close(
        merged.output.weight, torch.stack([model.output.weight for model in models]).mean(0)
    )
    assert widen(merged, 20).spec == SPEC


def test_an_evaluation_without_a_judge(tmp_path):
    model = alive_rule()
    model.metadata = {"training": {"task": "grow", "loss_steps": [4]}}
    data = data_set()
    results = evaluate(model, data)
    assert results["classifier_accuracy"] is None
    assert results["samples"] is None
    assert "switching" not in results
    assert list(results["per_digit"]) == ["cat", "dog", "newt"]
    assert "conv_decoder" not in results["baselines"]  # the rival draws digits only
    assert "squared error: left half" in table(results)
    write_figures(model, results, data, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 5
    with pytest.raises(InputError, match="choose the --data that it was trained on"):
        digits_for(load("unified"), data)


def test_squared_errors_by_hand(monkeypatch):
    """A model that changes nothing leaves an empty grid: the error is that of the picture."""
    model = initial_model(RULE, 0, SPEC)
    model.metadata = {"training": {"task": "grow", "loss_steps": [4]}}
    data = data_set()
    wanted = pytest.approx(data.test.images.square().mean().item())
    rows = evaluate(model, data)["mse_over_time"]
    assert list(rows["persistence"].values()) == [wanted] * 3
    assert list(rows["unwounded"].values()) == [wanted] * 4
    assert [list(row.values()) for row in rows["regeneration"].values()] == [[wanted] * 4] * 10


def test_a_classifier_for_other_classes(tmp_path):
    data = data_set(30)
    classifier, record = train_classifier(data, 1, 0)
    assert classifier(data.test.images).shape == (30, 3)
    save_classifier(tmp_path / "classifier.safetensors", classifier, record)
    again = classifier_for(SPEC, tmp_path / "classifier.safetensors")
    assert again.spec == SPEC
    torch.testing.assert_close(
        again(data.test.images), classifier(data.test.images), atol=1e-2, rtol=1e-2
    )
    assert classifier_for(SPEC) is None
    assert classifier_for(MNIST).spec == MNIST == load_classifier().spec
    with pytest.raises(InputError, match="these are other pictures"):
        classifier_for(MNIST, tmp_path / "classifier.safetensors")
    model = alive_rule()
    model.metadata = {"training": {"task": "grow", "loss_steps": [4]}}
    results = evaluate(model, data, classifier=again)
    assert 0 <= results["classifier_accuracy"] <= 1
    assert 0 <= results["switching"]["classifier_accuracy"] <= 1


def test_a_pca_of_fewer_pictures_than_numbers():
    train_set = pictures(6)
    pca = class_pca(train_set, 4)
    torch.testing.assert_close(pca.redraw(train_set), train_set.images, atol=1e-4, rtol=0)
    one = class_pca(pictures(3), 4)
    assert torch.equal(one.means[0], pictures(3).images[0].flatten()) or one.means.any()
    assert not one.deviations.any()


def test_colours_on_paper():
    ink = torch.zeros(4, 1, 2)
    ink[:, 0, 0] = torch.tensor([0.5, 0.0, 0.25, 0.5])  # half transparent
    assert on_paper(ink).tolist() == [[[1.0, 0.5, 0.75], [1.0, 1.0, 1.0]]]
    assert on_paper(ink[:1]).tolist() == [[0.5, 1.0]]
    table_of = torch.arange(24.0).view(2, 3, 1, 2, 2) / 24
    assert torch.equal(side_by_side(table_of)[2:, 4:], 1 - table_of[1, 2, 0])


def test_widgets_show_any_kind():
    model = alive_rule()
    model.metadata = {"training": {"task": "grow", "loss_steps": [4]}}
    player = widgets.GrowthPlayer(widgets.grow_frames(model, "newt"), spec=SPEC)
    assert (player.recorded["size"], player.recorded["steps"]) == ([12, 17], 12)
    live = widgets.LiveDigit(model, "newt")
    assert live.label == 2
    assert live.state.shape == (1, 9, 12, 17)
    assert live.picture()


# --- a researcher's hooks, ten lines each


def test_own_loss():
    def bold(frames, images, labels):  # [R, B, C, H, W], [B, I, H, W], [B]
        return 7 * (frames[:, :, :1] - images).square().mean()

    model, digits = NCA(ModelConfig(channels=6, hidden=8, style_dim=0)), pictures(8, MNIST)
    config = TrainingConfig(iterations=1, batch_size=4, loss_steps=(2,), pool_size=4)
    log = train(model, digits, config, loss=bold, progress=False)
    usual = train(NCA(model.config), digits, config, progress=False)
    assert log[0]["ink"] == pytest.approx(7 * usual[0]["ink"])
    assert model.metadata["hooks"] == {"loss": bold.__qualname__}
    with pytest.raises(InputError, match="loss gave the shape"):
        train(model, digits, config, loss=lambda f, i, y: f.mean((1, 2)), progress=False)


def test_own_kernels(tmp_path):
    laplacian = torch.tensor([[0.5, 1.0, 0.5], [1.0, -6.0, 1.0], [0.5, 1.0, 0.5]]) / 8
    itself = torch.zeros(3, 3)
    itself[1, 1] = 1.0
    kernels = torch.stack([itself, laplacian])[:, None]  # [2, 1, 3, 3]
    model = NCA(ModelConfig(channels=6, hidden=8, style_dim=0), kernels=kernels)
    config = TrainingConfig(iterations=2, batch_size=4, loss_steps=(2,), pool_size=4)
    train(model, pictures(8, MNIST), config, Outputs(tmp_path, "own"), progress=False)
    again = load(tmp_path / "own.safetensors")  # the kernels are in the file
    assert torch.equal(again.kernels, kernels)
    assert torch.equal(again.grow(3, steps=4), model.grow(3, steps=4))
    with pytest.raises(InputError, match=r"want \[K, 1, 3, 3\]"):
        NCA(kernels=torch.zeros(2, 1, 5, 5))


def test_own_optimiser(tmp_path):
    def sgd(model):
        return torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)

    model = NCA(ModelConfig(channels=6, hidden=8, style_dim=0))
    config = TrainingConfig(iterations=10, batch_size=4, loss_steps=(2,), pool_size=4)
    run = new_run(model, config, hooks={"optimiser": sgd})
    run.optimisers.step(config.learning_rate)  # at the top of the cycle it is what was asked for
    assert run.optimisers.each["own"].param_groups[0]["lr"] == pytest.approx(0.5)
    outputs = Outputs(tmp_path, "own")
    train(model, pictures(8, MNIST), config, outputs, optimiser=sgd, progress=False)
    with pytest.raises(InputError, match=r"hooks\.optimiser"):  # another one can't go on with it
        train(model, pictures(8, MNIST), config, outputs, resume=True, progress=False)


def test_own_channels_and_grid():
    kind = ImageSpec(("left", "right"), ink=3, size=(10, 14))
    model = NCA(ModelConfig(channels=8, hidden=16, label_dim=2, style_dim=0), kind)
    images = torch.zeros(2, 3, 10, 14)
    images[0, 0, :, :7] = images[1, 2, :, 7:] = 1.0  # red on the left, blue on the right
    config = TrainingConfig(iterations=2, batch_size=4, loss_steps=(4,), pool_size=4)
    train(model, Pictures(images, torch.arange(2)), config, progress=False)
    assert model.grow(["left", "right"], steps=5).shape == (6, 2, 8, 10, 14)


def test_own_task():
    """The picture lies upside down at the start; the model is to turn it."""

    def fallen(images, labels):  # -> states [B, C, H, W]
        return torch.cat([images.flip(2), torch.ones_like(images).repeat(1, 5, 1, 1)], 1)

    model, digits = NCA(ModelConfig(channels=6, hidden=8, style_dim=0)), pictures(8, MNIST)
    config = TrainingConfig(iterations=2, batch_size=4, loss_steps=(2,), pool_size=4)
    log = train(model, digits, config, start=fallen, progress=False)
    assert log[-1]["iteration"] == 2
    upside_down = (digits.images.flip(2) - digits.images).square().mean()
    assert log[0]["ink"] == pytest.approx(upside_down.item(), rel=0.3)  # a new model changes nothing
    with pytest.raises(InputError, match="starts of its own"):
        evaluate(model, Dataset(digits, digits, digits, "here"))
    with pytest.raises(InputError, match="start gave states"):
        train(model, digits, config, start=lambda images, labels: images, progress=False)


class Blind(NCA):
    """A class of one's own."""

    def perceive(self, state):
        return super().perceive(state) * 0


def test_a_class_of_ones_own_is_not_loaded_as_another(tmp_path):
    file = tmp_path / "x.safetensors"
    save_model(file, Blind(RULE, SPEC), {})
    with pytest.raises(InputError, match="a model of the class Blind, not NCA"):
        load(file)
    assert isinstance(load(file, Blind), Blind)


# --- from the command line


def test_coloured_pictures_by_one_command(tmp_path, monkeypatch, capsys):
    from nca_lib.cli import run_command

    monkeypatch.chdir(tmp_path)
    tiny = "--iterations 2 --batch-size 2 --pool-size 2 --loss-steps 3 5 --channels 8 --hidden 8"
    assert run_command(["paint", *tiny.split()]) == 0
    said = capsys.readouterr().out
    assert "squared error" in said
    assert "the pictures it was trained on" in said
    made = {path.name for path in Path("runs/paint").iterdir()}
    assert {"paint.safetensors", "paint.json", "grow-fish.gif", "figures"} <= made
    args = "grow snail --weights runs/paint/paint.safetensors --out x.png --steps 4"
    assert run_command(args.split()) == 0
    assert "a snail in 4 steps" in capsys.readouterr().out
    assert (
        run_command(["grow", "cow", "--weights", "runs/paint/paint.safetensors", "--out", "x.png"])
        == 2
    )
    assert "choose one of fish, snail, toadstool" in capsys.readouterr().err
    evaluated = "evaluate --weights runs/paint/paint.safetensors --data pictures"
    assert run_command(evaluated.split()) == 0
    assert (
        run_command(["evaluate", "--weights", "runs/paint/paint.safetensors", "--limit", "2"]) == 2
    )
    assert "choose the --data that it was trained on" in capsys.readouterr().err


def test_other_data_by_name(tmp_path, monkeypatch, capsys):
    """Letters in EMNIST's format, made small: twenty-six classes through every command."""
    from nca_lib.cli import run_command

    from test_sets import written

    monkeypatch.chdir(tmp_path)
    written(tmp_path, "letters", train=13, test=2)
    data = f"--data letters --data-root {tmp_path}"
    tiny = f"{data} --iterations 1 --batch-size 2 --pool-size 2 --loss-steps 3 --hidden 8"
    for command, end in [
        (f"classifier {data} --epochs 1 --out classifier.safetensors", "classifier.safetensors"),
        (f"finetune --merge scratch {tiny} --out runs", "runs/unified.safetensors"),
        (f"restore {tiny} --out runs", "runs/restore.safetensors"),
        ("grow z --weights runs/unified.safetensors --steps 3 --out z.gif", "z.gif"),
    ]:
        assert run_command(command.split()) == 0, command
        assert capsys.readouterr().out.strip().endswith(end)
    assert load("runs/unified.safetensors").spec.classes[25] == "z"
    evaluated = f"evaluate --weights runs/unified.safetensors {data} --json m.json"
    assert run_command(evaluated.split()) == 0
    assert json.loads(Path("m.json").read_text())["classifier_accuracy"] is None
    assert run_command([*evaluated.split(), "--classifier", "classifier.safetensors"]) == 0
    results = json.loads(Path("m.json").read_text())
    assert 0 <= results["classifier_accuracy"] <= 1
    assert list(results["per_digit"])[-1] == "z"
    capsys.readouterr()
    assert run_command(f"classifier {data} --device mps".split()) == 2
    assert "--device mps can't take effect" in capsys.readouterr().err
    assert run_command(["evaluate", "--weights", "unified", "--classifier", "classifier.safetensors"]) == 2
    assert "these are other pictures" in capsys.readouterr().err
    assert run_command(f"evaluate --weights unified {data}".split()) == 2
    assert "choose the --data that it was trained on" in capsys.readouterr().err
