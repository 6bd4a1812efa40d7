"""The live model in Chromium: equal to PyTorch, and careful with files."""

import base64
import json
import random
import struct
from pathlib import Path

import nca_lib as nca
from nca_lib import live
from nca_lib.checkpoint import load, resolve
from nca_lib.data import handwriting
from nca_lib.masks import disc, erase
from nca_lib.rollout.fire import fire_mask, rng_seeds
from nca_lib.state import ALIVE_THRESHOLD, state_from_image
from nca_lib.training.tasks import TASKS, task_of

import numpy as np
import pytest
import torch
from PIL import Image

CLOSE = 1e-4
HELPERS = """
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const floats = (text) => new Float32Array(bytes(text).buffer);
const furthest = (a, b) => a.reduce((most, v, k) => Math.max(most, Math.abs(v - b[k])), 0);
const model = (text) => new live.Model(bytes(text));
const refusal = (text) => { try { model(text); } catch (error) { return error.message; } };
const fireMask = (seed, step, height, width, rate) => {
  const key = live.stepKey(live.halves(BigInt(seed)), step);
  return Array.from({ length: height * width }, (_, cell) => +live.fires(key, cell, rate)); };
/** Grow as a list of acts says; how far is each state from the one that PyTorch has? */
function follow(model, { height, width, seed, start, acts }) {
  const grid = new live.Grid(model, height, width, BigInt(seed));
  grid.write(floats(start));
  return acts.map(({ damage, label, style, steps, state }) => {
    if (damage) grid.erase(...damage);
    const condition = model.condition(label, style ? floats(style) : undefined);
    for (let k = 0; k < steps; k++) grid.step([condition]);
    return furthest(grid.read(), floats(state));
  });
}
Object.assign(window, { bytes, floats, furthest, model, refusal, fireMask, follow });
"""


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    page.evaluate(
        """async (text) => { window.live = await import(
        URL.createObjectURL(new Blob([text], { type: "text/javascript" }))); }""",
        live.module("grid.js", "encoder.js", "photo.js", "model.js"),
    )
    page.evaluate(HELPERS)
    yield page
    page.close()


def packed(tensor) -> str:
    """Float32 numbers as JavaScript gets them."""
    return base64.b64encode(np.asarray(tensor, "<f4").tobytes()).decode()


def file_of(path) -> str:
    return base64.b64encode(resolve(path).read_bytes()).decode()


def perform(model, state, seeds, acts) -> list[torch.Tensor]:
    """The states `[B, C, H, W]` after each act: labels, styles, steps, and a disc to erase."""
    states, made = [], 0
    for labels, styles, steps, damage in acts:
        if damage:
            state = erase(state, disc(*torch.tensor(damage)[:, None], tuple(state.shape[2:])))
        condition = model.condition(labels, styles)
        state = model.rollout(state, condition, steps, seeds, first_step=made)[0]
        states.append(state)
        made += steps
    return states


@torch.inference_mode()
def compare(page, path, start, seeds, *acts) -> torch.Tensor:
    """Check that the live model's states are PyTorch's after each act; the last of them.

    A growth may be so sensitive that PyTorch's own float32 is off its float64 by more than that:
    there, and in no more than a tenth of the cases, twice that is the measure.
    """
    model = load(path)
    states = perform(model, start, seeds, acts)
    exact = perform(model.double(), start.double(), seeds, acts)
    rounding = [(s - e).abs().amax((1, 2, 3)) for s, e in zip(states, exact, strict=True)]
    cases = [{"height": start.shape[2], "width": start.shape[3], "start": packed(start[b]),
              "seed": str(int(seeds[b])), "acts": []} for b in range(len(start))]  # fmt: skip
    for (labels, styles, steps, damage), state in zip(acts, states, strict=True):
        for b, case in enumerate(cases):
            style = None if styles is None else packed(styles[b])
            act = {"label": int(labels[b]), "style": style, "steps": steps, "damage": damage}
            case["acts"].append(act | {"state": packed(state[b])})
    follow = "([file, cases]) => { const m = model(file); return cases.map((c) => follow(m, c)); }"
    apart = torch.tensor(page.evaluate(follow, [file_of(path), cases]))  # [B, acts]
    allowed = (2 * torch.stack(rounding, 1)).clamp(min=CLOSE)  # [B, acts]
    assert (apart <= allowed).all(), (apart, allowed)
    assert (apart > CLOSE).float().mean() <= 0.1, apart
    return states[-1]


SIZES = [(28, 28), (40, 32), (57, 57)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("each", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_ten_digits_grow_as_in_pytorch(page, size, each):
    model, labels = load("unified"), torch.arange(10).repeat_interleave(each)
    styles = torch.randn(5, model.config.style_dim, generator=torch.Generator().manual_seed(0))
    styles[0] = 0
    start = torch.zeros(len(labels), model.config.channels, *size)
    start[:, model.spec.alive :, size[0] // 2, size[1] // 2] = 1
    seeds = rng_seeds(len(labels), 5) * 3 + 2**61
    compare(page, "unified", start, seeds, (labels, styles.repeat(2 * each, 1), 64, None))


def test_damage_and_a_different_label_as_in_pytorch(page):
    labels, others = torch.tensor([3, 1, 0, 6]), torch.tensor([8, 7, 4, 2])
    acts = (labels, None, 48, None), (labels, None, 40, [10.5, 15.0, 4.5]), (others, None, 64, None)
    compare(page, "unified", load("unified").seed(4), torch.arange(4), *acts)


def small_model(spec, **settings) -> nca.NCA:
    """A model with small random weights, under which what lives stays about what it is."""
    torch.manual_seed(1)
    model = nca.NCA(spec, **settings).eval()
    torch.nn.init.normal_(model.output.weight, std=0.01)
    if model.conditioning is not None:
        scale = model.conditioning.scale_tril
        torch.nn.init.normal_(model.conditioning.mean)
        scale += 0.3 * torch.randn(scale.shape).tril(-1)
        model.conditioning.temperature.fill_(0.75)
    return model


NAMES = ("cat", "dog", *"01234567")


@torch.inference_mode()
@pytest.mark.parametrize(
    ("ink", "settings"),
    [
        (1, {}),
        (4, {"perception": "patch", "frozen": (0, 5)}),
        (4, {"fire_rate": 0.3, "style_dim": 0}),
        (1, {"label_dim": 0, "style_dim": 0, "frozen": (0,)}),  # no conditioning
        (1, {"label_dim": 0}),
        (1, {"kernels": torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(4)) / 3}),
    ],
)
def test_any_model_as_in_pytorch(page, tmp_path, ink, settings):
    settings = {"channels": 9, "hidden": 30, "label_dim": 5, "style_dim": 3} | settings
    model = small_model(nca.ImageSpec(NAMES, ink, (19, 24)), **settings)
    model.save(tmp_path / "any.safetensors")
    start = torch.rand(1, 9, 19, 24, generator=torch.Generator().manual_seed(2))
    start[:, ink] += 0.2
    start *= disc(torch.tensor([9.5]), torch.tensor([12.0]), torch.tensor([6.0]), (19, 24))[:, None]
    style = torch.tensor([[0.5, -1.0, 2.0]]) if model.config.style_dim else None
    acts, path = (torch.tensor([7]), style, 64, None), tmp_path / "any.safetensors"
    state = compare(page, path, start, torch.tensor([2**62 - 9]), acts)
    assert (state[:, ink] > ALIVE_THRESHOLD).float().mean() > 0.05


def test_fire_masks_bit_for_bit(page):
    draw = random.Random(0)
    seeds = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, *(draw.randrange(2**63) for _ in range(40))]
    cases = [
        (str(seed), draw.choice([0, 1, 31, 10**6]), *draw.choice(SIZES), draw.choice([0.5, 0.1, 1]))
        for seed in seeds
    ]
    found = page.evaluate("(cases) => cases.map((c) => fireMask(...c))", cases)
    for (seed, *rest), mask in zip(cases, found, strict=True):
        assert mask == fire_mask(torch.tensor([int(seed)]), *rest).int().flatten().tolist(), seed


@torch.inference_mode()
@pytest.mark.parametrize("name", ["unified", "small"])
def test_conditions_codes_and_styles_as_in_pytorch(page, tmp_path, name):
    spec, path = nca.mnist().spec, tmp_path / "small.safetensors"
    small_model(spec, channels=4, hidden=8, label_dim=3, style_dim=5).save(path)
    path = path if name == "small" else name
    model, pictures = load(path), nca.mnist().test.limit(20)
    labels, codes = pictures.labels, model.encoder(pictures.images, pictures.labels).mean
    styles = model.infer_style(pictures.images, labels)
    wanted = model.condition(labels, styles), codes, styles, model.condition(labels)
    off = page.evaluate(
        """([file, cases]) => { const m = model(file);
        return cases.map(([label, picture, condition, code, style, mean]) => [
          furthest(m.condition(label, floats(style)), floats(condition)),
          furthest(live.encode(m, floats(picture), label), floats(code)),
          furthest(live.inferStyle(m, floats(picture), label), floats(style)),
          furthest(m.condition(label), floats(mean))]); }""",
        [file_of(path),
         [(int(y), packed(x), *map(packed, each)) for y, x, *each in zip(
             labels, pictures.images, *wanted, strict=True)]],
    )  # fmt: skip
    assert np.max(off) < CLOSE
    assert styles.abs().max() > 0.1


def prepared(page, pixels) -> tuple[np.ndarray | None, str]:
    """What the page makes of bytes `[H, W, 3]`: the picture `[784]`, and what it says of it."""
    pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], 2)
    return page.evaluate(
        """([height, width, text]) => { try {
        const { picture, found } = live.prepare({ height, width, data: bytes(text) }, 1, 28);
        return [[...picture], found]; } catch (error) { return [null, error.message]; } }""",
        [*pixels.shape[:2], base64.b64encode(pixels.tobytes()).decode()],
    )


VECTORS = json.loads((Path(__file__).parents[1] / "handwriting_vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_pictures_are_prepared_as_in_python(page, vector):
    pixels = np.frombuffer(base64.b64decode(vector["pixels"]), np.uint8)
    pixels = pixels.reshape(vector["height"], vector["width"], vector["channels"])
    pixels = pixels.repeat(vector["times"], 0).repeat(vector["times"], 1)
    picture, said = prepared(page, np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    if "refusal" in vector:
        assert picture is None
        assert vector["refusal"] in said
    else:
        wanted = np.array(vector["result"]) / 1000
        assert np.abs(picture - wanted).max() <= 0.03, said
        found = handwriting.prepare(Image.fromarray(pixels.squeeze()))[1]
        assert said == found


@pytest.mark.parametrize("level", [0.1, 0.5, 0.8])  # the higher, the thinner are the strokes
def test_ink_is_thickened_and_laid_into_the_field_as_in_python(page, level):
    script = """([height, width, text]) => { const ink = { height, width, data: floats(text) };
        const [firm, thickened] = live.withFirmStrokes(ink);
        return [[...live.intoTheField(firm, 28)], thickened]; }"""
    for image, side in zip(nca.mnist().test.images, (20, 28, 40, 90, 300, 900), strict=False):
        large = Image.fromarray(image[0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
        ink = ((np.asarray(large) - level) * 4 + 0.5).clip(0, 1)
        ink = ink[handwriting.box_around(ink > 0.05)]
        firm, thickened = handwriting.with_firm_strokes(ink)
        picture, also = page.evaluate(script, [*ink.shape, packed(ink)])
        assert also == thickened
        assert np.abs(handwriting.into_the_field(firm).ravel() - picture).max() <= 0.02


def rewritten(content: bytes, **changes) -> bytes:
    """A model's file with other metadata in its header."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= changes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def test_files_that_are_no_models_are_refused_in_one_sentence(page):
    content, settings = resolve("restore").read_bytes(), load("restore").settings()
    changed = lambda **new: rewritten(content, config=json.dumps(settings | new))  # noqa: E731
    classifier = resolve("unified").with_name("classifier.safetensors").read_bytes()
    for file, wanted in (
        (b"", "damaged"), (content[:400], "damaged"), (content[:-10], "does not lie inside"),
        (content[:-2] + b"\x00\x7c", "NaN or infinity"), (classifier, "give an 'nca_lib model'"),
        (rewritten(content, version="2"), "version 2"), (changed(**{"class": "My"}), "holds a My"),
        (rewritten(content, config="null"), "no configuration"), (changed(task="x"), "task 'x'"),
        (changed(perception="ear"), "perception 'ear'"), (changed(hidden=8), "has shape [256,144]"),
        (changed(style_dim=2), "has shape [256,16]"),
        (changed(label_dim=0, style_dim=16), "conditioning.labels.weight has shape"),
    ):  # fmt: skip
        assert wanted in page.evaluate("refusal", base64.b64encode(file).decode()), wanted


@torch.inference_mode()
def test_tasks_are_the_same_and_restoration_too(page):
    """Nobody says of a model that classifies pictures that it restores them."""
    found = {name: page.evaluate("(f) => model(f).task", file_of(name)) for name in
             ("unified", "restore", "reader")}  # fmt: skip
    for name, task in found.items():
        own = task_of(load(name))
        assert task == {"does": own.does, "fromSeed": own.from_seed}
    assert {task["does"] for task in found.values()} == {task.does for task in TASKS.values()}
    pictures = nca.mnist().test.limit(8)
    start = state_from_image(pictures.images, load("restore").config.channels, threshold=0)
    compare(page, "restore", start, rng_seeds(8, 1), (pictures.labels, None, 64, None))
