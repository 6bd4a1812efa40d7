"""The live rule in headless Chromium: equal to PyTorch, and its files are read with care.

Chromium is looked for on the PATH; without it the tests are skipped, or fail where
NCA_BROWSER=required.
"""

from __future__ import annotations

import base64
import json
import random
import struct
from pathlib import Path

import nca_lib
from nca_lib import live
from nca_lib.cells import ALIVE_ABOVE, disc, erase, seed_state, starts
from nca_lib.checkpoints import RULE, write_tensors
from nca_lib.data import load_digits
from nca_lib.kinds import Kind
from nca_lib.rollout.dense import dense_rollout
from nca_lib.rollout.fire import fire_mask, streams
from nca_lib.rule import NCA, RuleConfig

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from chromium import CHROMIUM, FLAGS, MISSING, needs_chromium, sync_playwright

pytestmark = needs_chromium
WEIGHTS = Path(nca_lib.__file__).parent / "weights"
CLOSE = 1e-4

HELPERS = """
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const floats = (text) => new Float32Array(bytes(text));
const furthest = (a, b) => a.reduce((most, v, k) => Math.max(most, Math.abs(v - b[k])), 0);
/** Grow as a list of acts says; how far is each state from the one that PyTorch has? */
function follow(rule, { height, width, seed, start, acts }) {
  const grid = new live.Grid(rule, height, width, BigInt(seed));
  grid.write(floats(start));
  return acts.map(({ wound, label, style, steps, state }) => {
    if (wound) grid.erase(...wound);
    const genome = rule.genome(label, style ? floats(style) : null);
    for (let k = 0; k < steps; k++) grid.step(genome);
    return furthest(grid.read(), floats(state));
  });
}
Object.assign(window, { bytes, floats, furthest, follow });
"""


@pytest.fixture(scope="module")
def page():
    assert CHROMIUM, MISSING
    errors = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.evaluate(
            """async (text) => { window.live = await import(
            URL.createObjectURL(new Blob([text], { type: "text/javascript" }))); }""",
            live.module("rule.js", "encoder.js"),
        )
        page.evaluate(HELPERS)
        yield page
        browser.close()
    assert errors == []


def packed(tensor) -> str:
    """Float32 numbers as JavaScript gets them."""
    return base64.b64encode(np.asarray(tensor, "<f4").tobytes()).decode()


def file_of(path) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


def follow(page, path, cases) -> list[list[float]]:
    """What the live rule's states of these cases are apart from PyTorch's."""
    return page.evaluate(
        """([file, cases]) => { const rule = live.parseRule(bytes(file));
        return cases.map((each) => follow(rule, each)); }""",
        [file_of(path), cases],
    )


def perform(rule, state, seeds, acts) -> list:
    """The states after each act, `[B, C, H, W]` each; an act wounds and tells before it steps."""
    states, made = [], 0
    for labels, style, steps, wound in acts:
        if wound:
            hole = disc(*(torch.tensor([n]) for n in wound), tuple(state.shape[2:]))
            state = erase(state, hole)
        genome = rule.genome(labels, None if style is None else style.to(state.dtype))
        state = rule.rollout(state, genome, steps, seeds, first_step=made)[0]
        states.append(state)
        made += steps
    return states


@torch.inference_mode()
def compare(page, name, start, seeds, *acts):
    """Check that the live rule's states are PyTorch's: how far they are apart, `[B, acts]`.

    A growth may be so sensitive that PyTorch's own float32 is off its float64 by more than that:
    there, and in no more than a tenth of the cases, twice that is the measure.
    """
    rule = nca_lib.load(name)
    states = perform(rule, start, seeds, acts)
    exact = perform(rule.double(), start.double(), seeds, acts)
    rounding = [(s - e).abs().amax((1, 2, 3)) for s, e in zip(states, exact, strict=True)]
    cases = [
        {
            "height": start.shape[2], "width": start.shape[3], "seed": str(int(seeds[b])),
            "start": packed(start[b]),
            "acts": [
                {"label": int(labels[b]), "style": None if style is None else packed(style[b]),
                 "steps": steps, "wound": wound, "state": packed(state[b])}
                for (labels, style, steps, wound), state in zip(acts, states, strict=True)
            ],
        }
        for b in range(len(start))
    ]  # fmt: skip
    apart = torch.tensor(follow(page, WEIGHTS / f"{name}.safetensors", cases))  # [B, acts]
    allowed = (2 * torch.stack(rounding, 1)).clamp(min=CLOSE)
    assert (apart <= allowed).all(), apart
    assert (apart > CLOSE).float().mean() <= 0.1, apart
    return apart


def five_styles():
    length = nca_lib.load("unified").config.style_dim
    styles = torch.randn(5, length, generator=torch.Generator().manual_seed(0))
    styles[0] = 0
    return styles


def grow_and_compare(page, labels, styles, hw):
    seeds = streams(len(labels), 5) * 3 + 2**61
    start = seed_state(len(labels), nca_lib.load("unified").config.channels, hw)
    return compare(page, "unified", start, seeds, (labels, styles, 64, None))


SIZES = [(28, 28), (40, 32), (57, 57)]


@pytest.mark.parametrize("hw", SIZES)
def test_ten_digits_grow_as_in_pytorch(page, hw):
    grow_and_compare(page, torch.arange(10), five_styles().repeat(2, 1), hw)


@pytest.mark.slow
@pytest.mark.parametrize("hw", SIZES)
def test_ten_digits_in_five_styles_grow_as_in_pytorch(page, hw):
    labels = torch.arange(10).repeat_interleave(5)
    apart = grow_and_compare(page, labels, five_styles().repeat(10, 1), hw)
    print(hw, "median", apart.median(), "max", apart.max(), "over:", (apart > CLOSE).sum())


def test_damage_and_another_label_as_in_pytorch(page):
    labels, others = torch.tensor([3, 1, 0, 6]), torch.tensor([8, 7, 4, 2])
    start = seed_state(4, nca_lib.load("unified").config.channels)
    apart = compare(
        page, "unified", start, torch.arange(4),
        (labels, None, 48, None), (labels, None, 40, [10.5, 15.0, 4.5]), (others, None, 64, None),
    )  # fmt: skip
    print("grown, healed, changed:", apart.amax(0))


def test_restoration_as_in_pytorch(page):
    digits = load_digits("embedded").test.limit(8)
    start = starts("restore", digits.images, nca_lib.load("restore").config.channels)
    print(compare(page, "restore", start, streams(8, 1), (digits.labels, None, 64, None)).max())


def random_rule(**settings) -> NCA:
    """A rule with small random weights, under which what lives stays about what it is."""
    torch.manual_seed(1)
    rule = NCA(RuleConfig(**settings)).eval()
    with torch.no_grad():
        rule.update.weight.normal_(0, 0.01)
        rule.genome.average.normal_()
        rule.genome.spread += 0.3 * torch.randn_like(rule.genome.spread).tril()
    return rule


def random_start(channels, height, width, life):
    """A disc of living cells with random states `[1, C, H, W]`."""
    generator = torch.Generator().manual_seed(2)
    state = torch.rand(1, channels, height, width, generator=generator)
    middle = [torch.tensor([s / 2]) for s in (height, width)]
    state[:, life] += 0.2
    return state * disc(*middle, torch.tensor([height / 3]), (height, width))[:, None]


@torch.inference_mode()
def dense(rule, state, genome, steps, seeds, life):
    """The definition of a step, with the life in another channel than a digit's."""

    def alive(x):
        return F.max_pool2d(x[:, life : life + 1], 3, stride=1, padding=1) > ALIVE_ABOVE

    for t in range(steps):
        before = alive(state)
        fire = fire_mask(seeds, t, *state.shape[2:], rule.config.fire_rate)
        change = rule.change(rule.perceive(state), genome)
        state = state + change * (before & fire[:, None] & rule.free)
        state = state * (before & alive(state) | ~rule.free)
    return state


@torch.inference_mode()
@pytest.mark.parametrize("perception", ["sobel", "patch"])
@pytest.mark.parametrize("ink", [1, 4])
@pytest.mark.parametrize("held", [(), (0, 5)])
def test_any_rule_as_in_pytorch(page, tmp_path, perception, ink, held):
    rule = random_rule(channels=9, hidden=30, label_dim=5, style_dim=3, fire_rate=0.7,
                       perception=perception, held=held)  # fmt: skip
    names = ["cat", "dog", *"01234567"]
    write_tensors(
        tmp_path / "any.safetensors", RULE, rule.state_dict(), record={},
        config=rule.settings() | {"ink": ink, "classes": names, "size": [19, 24]},
    )  # fmt: skip
    start, style = random_start(9, 19, 24, ink), torch.tensor([0.5, -1.0, 2.0])
    genome = rule.genome([7], style)
    seeds = torch.tensor([2**62 - 9])
    state = dense(rule, start, genome, 64, seeds, ink)
    if ink == 1:  # the small reference is the definition
        assert torch.equal(state, dense_rollout(rule, start, genome, 64, seeds, (64,))[0])
    lives = state[:, ink] > ALIVE_ABOVE
    assert 0.05 < lives.float().mean() < 0.9
    act = {"label": 7, "style": packed(style), "steps": 64, "state": packed(state)}
    case = {"height": 19, "width": 24, "seed": str(2**62 - 9), "start": packed(start),
            "acts": [act]}  # fmt: skip
    apart = follow(page, tmp_path / "any.safetensors", [case])
    assert apart[0][0] < CLOSE
    told = page.evaluate(
        """(file) => { const r = live.parseRule(bytes(file));
        return [r.classes, r.ink, r.life, r.anchor, r.size, r.task, r.trainedSteps]; }""",
        file_of(tmp_path / "any.safetensors"),
    )
    assert told == [names, ink, ink, ink + 1, [19, 24], "grow", 32]


@torch.inference_mode()
def test_kernels_of_ones_own_as_in_pytorch(page, tmp_path):
    rule = random_rule(channels=6, hidden=20, label_dim=3, style_dim=2)
    rule.kernels = torch.randn(5, 1, 3, 3, generator=torch.Generator().manual_seed(3)) / 3
    rule.perceived = torch.nn.Linear(5 * 6, 20)
    tensors = rule.state_dict() | {"kernels": rule.kernels}
    write_tensors(tmp_path / "own.safetensors", RULE, tensors, record={}, config=rule.settings())
    start, seeds = random_start(6, 20, 20, 1), torch.tensor([4])
    state = dense_rollout(rule, start, rule.genome([2]), 64, seeds, (64,))[0]
    act = {"label": 2, "style": None, "steps": 64, "state": packed(state)}
    case = {"height": 20, "width": 20, "seed": "4", "start": packed(start), "acts": [act]}
    assert state[:, 1].amax() > ALIVE_ABOVE
    assert follow(page, tmp_path / "own.safetensors", [case])[0][0] < CLOSE


def test_fire_masks_bit_for_bit(page):
    draw = random.Random(0)
    seeds = [0, 1, 2**32 - 1, 2**32, 2**62 - 1, *(draw.randrange(2**62) for _ in range(40))]
    cases = [
        (seed, draw.choice([0, 1, 31, 10**6]), *draw.choice(SIZES), draw.choice([0.5, 0.1, 1.0]))
        for seed in seeds
    ]
    found = page.evaluate(
        """(cases) => cases.map(([seed, ...rest]) =>
        live.fireMask(BigInt(seed), ...rest).join(""))""",
        [(str(seed), *rest) for seed, *rest in cases],
    )
    for (seed, step, height, width, rate), mask in zip(cases, found, strict=True):
        wanted = fire_mask(torch.tensor([seed]), step, height, width, rate)
        assert mask == "".join(map(str, wanted.int().flatten().tolist())), seed


def test_streams_as_in_pytorch(page):
    for count, seed, part in ((3, 0, 0), (5, 17, 3), (2, 2**28 - 1, 1)):
        found = page.evaluate(
            "(args) => [...live.streams(...args)].map(String)", [count, seed, part]
        )
        assert list(map(int, found)) == streams(count, seed, part).tolist()
    assert "seed is 268435456" in page.evaluate(
        "() => { try { live.streams(1, 2 ** 28); } catch (error) { return error.message; } }"
    )


@torch.inference_mode()
def test_styles_of_pictures_as_in_pytorch(page):
    rule, digits = nca_lib.load("unified"), load_digits("embedded").test.limit(20)
    codes = rule.encoder(digits.images, digits.labels).mean
    styles = rule.genome.style_of(codes, digits.labels)
    apart = page.evaluate(
        """([file, cases]) => { const rule = live.parseRule(bytes(file));
        return cases.map(([picture, label, code, style]) => [
          furthest(live.encode(rule, floats(picture), label), floats(code)),
          furthest(live.inferStyle(rule, floats(picture), label), floats(style))]); }""",
        [file_of(WEIGHTS / "unified.safetensors"),
         [(packed(i), int(y), packed(c), packed(s)) for i, y, c, s in zip(
             digits.images, digits.labels, codes, styles, strict=True)]],
    )  # fmt: skip
    assert np.max(apart) < CLOSE
    assert styles.abs().max() > 1


FLOWS = [  # length of a style, classes, layers and hidden units of the flow
    (1, 10, 8, 64), (2, 3, 8, 64), (5, 10, 3, 24), (16, 10, 8, 64),
]  # fmt: skip


def bent_rule(length, classes) -> NCA:
    """A small rule whose flow bends styles at random."""
    torch.manual_seed(length)
    config = RuleConfig(channels=4, hidden=8, label_dim=3, style_dim=length)
    rule = NCA(config, Kind(tuple("abcdefghij"[:classes]), 1, (28, 28))).eval()
    genome, flow = rule.genome, rule.genome.flow
    genome.average.normal_()
    genome.spread.copy_(torch.eye(length) + 0.2 * torch.randn(genome.spread.shape).tril(-1))
    for tensor, spread in ((flow.bias, 0.5), (flow.last, 0.2), (flow.offset, 0.1)):
        tensor.normal_(0, spread)
    return rule


def write_rule(path, rule, without="no such name", **changes):
    """A rule's file, perhaps without some tensors, or with others in their place."""
    tensors = {name: t for name, t in rule.state_dict().items() if without not in name}
    write_tensors(path, RULE, tensors | changes, record={}, config=rule.settings())


def tell(page, path, labels, styles, codes) -> list[torch.Tensor]:
    """The live rule's genomes of styles, and the styles of codes."""
    found = page.evaluate(
        """([file, cases]) => { const rule = live.parseRule(bytes(file));
        return cases.map(([label, style, code]) => [rule.genome(label, style && floats(style)),
          rule.styleOf(floats(code), label)].map((a) => [...a])); }""",
        [file_of(path), [
            (int(y), None if styles is None else packed(styles[b]), packed(codes[b]))
            for b, y in enumerate(labels)
        ]],
    )  # fmt: skip
    return [torch.tensor(each) for each in zip(*found, strict=True)]


def assert_near(found, wanted, most=1e-5):
    torch.testing.assert_close(found.double(), wanted.double(), rtol=most, atol=most)


@torch.inference_mode()
@pytest.mark.parametrize(("length", "classes", "layers", "units"), FLOWS)
def test_styles_are_bent_as_in_pytorch(page, tmp_path, monkeypatch, length, classes, layers, units):
    monkeypatch.setattr("nca_lib.flow.LAYERS", layers)
    monkeypatch.setattr("nca_lib.flow.HIDDEN", units)
    rule, path = bent_rule(length, classes), tmp_path / "bent.safetensors"
    write_rule(path, rule)
    genome, labels = rule.double().genome, torch.arange(classes).repeat(4)
    styles = torch.randn(len(labels), length)
    wanted = genome(labels, styles)
    codes = wanted[:, 3:].float()
    told, back = tell(page, path, labels, styles, codes)
    assert_near(told, wanted)
    assert_near(back, genome.style_of(codes.double(), labels))
    assert (genome.centred(wanted[:, 3:], labels) - styles).abs().amax(1).median() > 0.5  # bent
    average, _ = tell(page, path, labels, None, codes)
    assert_near(average, genome(labels))
    undone = page.evaluate(
        """([file, cases]) => { const { flow } = live.parseRule(bytes(file));
        return cases.map(([label, style]) => furthest(floats(style),
          flow.inverse(flow.forward(floats(style), label), label))); }""",
        [file_of(path), [(int(y), packed(s)) for y, s in zip(labels, styles, strict=True)]],
    )
    assert max(undone) < 1e-6


@torch.inference_mode()
def test_rules_from_before_styles_had_a_flow_work_as_they_did(page, tmp_path):
    path, labels = tmp_path / "old.safetensors", torch.arange(10)
    write_rule(path, bent_rule(5, 10), without=".flow.")
    genome, styles = nca_lib.load(path).double().genome, torch.randn(10, 5)
    codes = genome.average + (genome.spread @ styles.double()[:, :, None])[:, :, 0]
    told, back = tell(page, path, labels, styles, codes)
    assert_near(told[:, 3:], codes)
    assert_near(told, genome(labels, styles))
    assert_near(back, styles)


def test_whole_numbers_are_read(page, tmp_path):
    rule, whole = bent_rule(5, 10), torch.tensor([[-3, 0], [7, 2**24]])
    write_rule(tmp_path / "whole.safetensors", rule, whole=whole)
    found = page.evaluate(
        """(file) => { const { tensors } = live.parseRule(bytes(file));
        return ["genome.flow.orders", "whole"].map((name) =>
          [tensors[name].shape, [...tensors[name].data]]); }""",
        file_of(tmp_path / "whole.safetensors"),
    )
    orders = rule.genome.flow.orders
    assert found == [[list(t.shape), t.flatten().tolist()] for t in (orders, whole)]


def test_flows_that_fit_no_rule_are_refused_in_one_sentence(page, tmp_path):
    rule, path = bent_rule(5, 10), tmp_path / "bent.safetensors"
    orders, last = (rule.genome.flow.state_dict()[name] for name in ("orders", "last"))
    layers, moved, hidden = last.shape
    shapes = f"[{layers},{moved - 1},{hidden}], its configuration: [{layers},{moved},{hidden}]"
    cases = [
        ({"without": "flow.last"}, "flow.last is missing"),
        ({"without": "flow.orders"}, "flow.orders is missing"),
        ({"without": "flow.bias"}, "flow.bias is missing"),
        ({"genome.flow.last": last[:, 1:]}, f"has shape {shapes}"),
        ({"genome.flow.orders": orders + 1}, "flow.orders holds no orders"),
        ({"genome.flow.orders": 0 * orders}, "flow.orders holds no orders"),
    ]
    for changes, wanted in cases:
        write_rule(path, rule, **changes)
        message = page.evaluate(
            """(file) => { try { live.parseRule(bytes(file)); return "taken"; }
            catch (error) { return error.message; } }""",
            file_of(path),
        )
        assert wanted in message, message


def test_a_drawing_is_prepared_as_mnist_was(page):
    """Digits of MNIST, magnified and put anywhere on a pad, come back as they were."""
    images, far = load_digits("embedded").test.limit(30).images[:, 0], []
    for k, image in enumerate(images):
        large = image.repeat_interleave(9, 0).repeat_interleave(9, 1)  # [252, 252]
        pad = F.pad(large, (k % 9, 8 - k % 9, 3 * k % 49, 48 - 3 * k % 49))  # [300, 260]
        found = page.evaluate(
            "(pad) => [...live.prepare(floats(pad).map((v) => v * 0.8), 260, 300)]", packed(pad)
        )
        far.append((torch.tensor(found).view(28, 28) - image).abs().mean().item())
    assert np.median(far) < 0.002, far
    assert max(far) < 0.08, far
    assert page.evaluate("() => live.prepare(new Float32Array(100), 10, 10)") is None
    dot = page.evaluate("() => live.prepare(new Float32Array(100).fill(1, 55, 56), 10, 10)")
    assert sum(dot) == pytest.approx(400)


def test_each_digit_on_a_grid_is_told_its_own_genome(page):
    """Far apart, two seeds grow as each alone would; the second is told to become another."""
    far = page.evaluate(
        """(file) => { const rule = live.parseRule(bytes(file));
        const grow = (seeds) => { const grid = new live.Grid(rule, 28, 84, 3);
          for (const [x, owner] of seeds) grid.plant(14, x, owner);
          for (let k = 0; k < 40; k++) grid.step([rule.genome(3), rule.genome(8)]);
          for (let k = 0; k < 60; k++) grid.step([rule.genome(3), rule.genome(1)]);
          return grid; };
        const both = grow([[14, 0], [70, 1]]);
        const left = grow([[14, 0]]).read(), right = grow([[70, 1]]).read();
        return [furthest(both.read(), left.map((v, k) => v + right[k])), both.lives(14, 42)]; }""",
        file_of(WEIGHTS / "unified.safetensors"),
    )
    assert far == [0, False]


def test_erased_cells_are_counted_and_empty_grids_stay_empty(page):
    lost, sums = page.evaluate(
        """(file) => { const rule = live.parseRule(bytes(file)), genome = rule.genome(0);
        const grid = new live.Grid(rule, 5, 7), sums = [];
        const sum = () => sums.push(grid.read().reduce((a, b) => a + Math.abs(b), 0));
        grid.step(genome), sum(), grid.plant(0, 6), sum();
        const lost = grid.erase(0, 6, 0.5);
        grid.step(genome), sum(), grid.plant(), grid.clear(), sum();
        return [lost, sums]; }""",
        file_of(WEIGHTS / "unified.safetensors"),
    )
    assert lost == 1
    behind_ink = nca_lib.load("unified").config.channels - 1  # a seed holds 1 in all of them
    assert sums == [0, behind_ink, 0, 0]


def rewritten(content: bytes, **changes) -> bytes:
    """A rule's file with other entries in its header."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= changes.pop("metadata", {})
    header |= changes
    for name in [key for key, value in header.items() if value is None]:
        del header[name]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def test_files_that_are_no_rules_are_refused_in_one_sentence(page):
    content = (WEIGHTS / "restore.safetensors").read_bytes()
    other = {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}
    settings = nca_lib.load("restore").settings()
    small, hidden = json.dumps({**settings, "hidden": 8}), settings["hidden"]
    infinite = bytearray(content)
    infinite[-2:] = b"\x00\x7c"
    cases = [
        (b"", "damaged"), (b"\x80\x02pickled", "damaged"), (content[:400], "damaged"),
        (content[:-10], "does not lie inside"), (bytes(infinite), "NaN or infinity"),
        ((WEIGHTS / "judge.safetensors").read_bytes(), "wanted was 'nca_lib rule'"),
        (rewritten(content, metadata={"version": "9"}), "version 9"),
        (rewritten(content, metadata={"config": "null"}), "no configuration"),
        (rewritten(content, metadata={"config": '{"class": "My"}'}), "holds a My"),
        (rewritten(content, metadata={"config": small}), f"has shape [{hidden},144]"),
        (rewritten(content, **{"told.weight": None}), "told.weight is missing"),
        (rewritten(content, **{"told.weight": other}), "BF16"),
    ]  # fmt: skip
    for file, wanted in cases:
        message = page.evaluate(
            """(file) => { try { live.parseRule(bytes(file)); return "taken"; }
            catch (error) { return error.message; } }""",
            base64.b64encode(file).decode(),
        )
        assert wanted in message, message
    old = rewritten(content, metadata={"version": "1"})
    assert page.evaluate(
        "(file) => live.parseRule(bytes(file)).task", base64.b64encode(old).decode()
    ) == "restore"  # fmt: skip
