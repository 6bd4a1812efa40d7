"""The compiled rollout: what `sparse.py` computes, as machine code made by numba, for the CPU.

A sample runs through all its steps alone, in buffers that fit into the core's cache; threads share
out the samples. Three ideas make it fast:

* The matrix products run on blocks of 96 cells, which fit into the cache beside the weights.
  NumPy's `dot` in compiled code calls SciPy's BLAS; it is kept from splitting a product between
  threads, because our own threads have a core each already.
* Forward, the tape is an undo log: the cells that a step changed, and what was in them before.
  Backward, the film is played in reverse: old values are put back, and what the step computed
  is computed again from them.
* Only the box around the living cells is looked at, so an almost empty grid costs little.

Everything that is compiled stands in this file; what it takes from elsewhere at compile time is
the hash in `fire.py`; the plan is passed in as arguments. `kept.py` keeps the machine code on disk.
numba is imported with this module, so import it late; `available` says whether it can be used.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Lock

from nca_lib.rollout import fire
from nca_lib.rollout.fire import GOLDEN, MASK
from nca_lib.rollout.plan import Plan, Weights, check_first_derivative

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

try:
    from nca_lib.rollout.kept import kernel

    import numba
    import scipy.linalg.cython_blas  # noqa: F401  np.dot in compiled code needs it
    from numba import njit

    IMPORT_PROBLEM = "NUMBA_DISABLE_JIT is set" if numba.config.DISABLE_JIT else ""
except Exception as error:
    IMPORT_PROBLEM = f"numba or SciPy cannot be imported ({error})"

    def njit(function=None, **_):
        return function or (lambda function: function)


if IMPORT_PROBLEM:
    kernel = njit


BLOCK = 96  # cells that go through the matrix products together
ALONE = 1 << 18  # a BLAS that can't be kept from it splits products of more multiplications
PART = 128  # steps, after which Python hears of a Ctrl-C
THREADING_PAYS = 64  # steps of samples in a call, from which on threads compute them


# The grid of a sample is kept as rows: x [N, C], N = (H + 2) * (W + 2) cells with an empty border,
# and vitals [N], a copy of the alive channel. wide = W + 2. A box is (top, bottom, left, right) as
# in range(top, bottom). The first cell inside the border is (1, 1). `settings` are those of a
# `Plan`: (alive channel, alive threshold, fire threshold, sobel, frozen [C]).

mix = njit(fire.mix)


@njit
def larger(a, b):
    """The maximum; not a number if one of the two is not, as in torch."""
    return a if a > b or np.isnan(a) else b


@njit
def fill_rows(grid, x):
    """Copy a grid [C, H, W] into the rows."""
    channels, height, width = grid.shape
    for y in range(height):
        for k in range(width):
            i = (y + 1) * (width + 2) + k + 1
            for c in range(channels):
                x[i, c] = grid[c, y, k]


@njit
def read_rows(x, grid):
    """Copy the rows into a grid [C, H, W]."""
    channels, height, width = grid.shape
    for c in range(channels):
        for y in range(height):
            for k in range(width):
                grid[c, y, k] = x[(y + 1) * (width + 2) + k + 1, c]


@njit
def grow(box, by, height, width, border):
    """The box and `by` cells around it, within the grid (plus `border` cells)."""
    top, bottom, left, right = box
    return (
        max(top - by, 1 - border),
        min(bottom + by, height + 1 + border),
        max(left - by, 1 - border),
        min(right + by, width + 1 + border),
    )


@njit
def mark_alive(vitals, least, box, wide, tall, mask):
    """mask [N] of the cells in the box: does the neighbourhood exceed the threshold?"""
    top, bottom, left, right = box
    n = right - left + 2
    for y in range(top, bottom):
        start = y * wide + left - 1
        north = vitals[start - wide : start - wide + n]
        here = vitals[start : start + n]
        south = vitals[start + wide : start + wide + n]
        for k in range(n):
            tall[k] = larger(larger(north[k], here[k]), south[k])
        row = mask[start + 1 : start + n - 1]
        for k in range(n - 2):
            row[k] = larger(larger(tall[k], tall[k + 1]), tall[k + 2]) > least


@njit
def choose_acting(alive, box, wide, seed, step, threshold, acting):
    """List the cells that are alive and fire (`fire.fires`, number for number); how many."""
    key = mix(mix((mix(seed & MASK) + step * GOLDEN) & MASK) ^ (seed >> 32))
    top, bottom, left, right = box
    n = 0
    for y in range(top, bottom):
        for k in range(left, right):
            i = y * wide + k
            if alive[i]:
                cell = (y - 1) * (wide - 2) + k - 1
                acting[n] = i
                n += mix((key + cell * GOLDEN) & MASK) < threshold
    return n


@njit
def copy_row(target, source):
    """target[:] = source, which takes numba longer to compile."""
    for k in range(len(target)):
        target[k] = source[k]


@njit
def add_row(total, part):
    """total += part"""
    for k in range(len(total)):
        total[k] += part[k]


@njit
def empty_row(row, frozen):
    """`row *= 0` but for frozen channels, as in the dense step: infinity becomes not a number."""
    for k in range(len(row)):
        if not frozen[k]:
            row[k] *= row.dtype.type(0)


@njit
def copy_channel(x, channel, out):
    """out[:] = x[:, channel]"""
    for k in range(len(x)):
        out[k] = x[k, channel]


@njit
def add_matrix(total, part):
    """total += part, for matrices of one shape."""
    for k in range(len(total)):
        for j in range(total.shape[1]):
            total[k, j] += part[k, j]


@njit
def perceive(flat, cells, wide, sobel, seen):
    """What the cells see, seen [n, P]: itself, Sobel x, Sobel y (8 times too large), or all nine.

    flat [N * C] is x in one dimension: the states of neighbours in a row follow each other.
    """
    c1 = seen.shape[1] // (3 if sobel else 9)  # C
    c2, c3 = 2 * c1, 3 * c1
    for k in range(len(cells)):
        i, row = cells[k], seen[k]
        n = flat[(i - wide - 1) * c1 : (i - wide + 2) * c1]  # three cells to the north, [3C]
        m = flat[(i - 1) * c1 : (i + 2) * c1]
        s = flat[(i + wide - 1) * c1 : (i + wide + 2) * c1]
        first, second, third = row, row[len(row) // 3 :], row[2 * (len(row) // 3) :]
        if not sobel:
            for c in range(c3):
                first[c] = n[c]
            for c in range(c3):
                second[c] = m[c]
            for c in range(c3):
                third[c] = s[c]
            continue
        for c in range(c1):
            first[c] = m[c1 + c]
        for c in range(c1):  # the two diagonals, then the straight neighbours twice
            diagonals = (s[c2 + c] - n[c]) + (n[c2 + c] - s[c])
            second[c] = diagonals + ((m[c2 + c] - m[c]) + (m[c2 + c] - m[c]))
        for c in range(c1):
            diagonals = (s[c2 + c] - n[c]) - (n[c2 + c] - s[c])
            third[c] = diagonals + ((s[c1 + c] - n[c1 + c]) + (s[c1 + c] - n[c1 + c]))


@njit
def perceive_transposed(grad, cells, wide, sobel, g):
    """Add the gradients of what the cells saw, grad [n, P], to their neighbourhoods in g [N, C]."""
    c1 = g.shape[1]
    for k in range(len(cells)):
        i, row = cells[k], grad[k]
        if not sobel:
            for j in range(9):
                cell, part = g[i + (j // 3 - 1) * wide + j % 3 - 1], row[j * c1 :]
                for c in range(c1):
                    cell[c] += part[c]
            continue
        across, down = row[c1:], row[2 * c1 :]
        west, middle, east = g[i - wide - 1], g[i - wide], g[i - wide + 1]
        for c in range(c1):
            west[c] -= across[c] + down[c]
        for c in range(c1):
            middle[c] -= down[c] + down[c]
        for c in range(c1):
            east[c] += across[c] - down[c]
        west, middle, east = g[i - 1], g[i], g[i + 1]
        for c in range(c1):
            west[c] -= across[c] + across[c]
        for c in range(c1):
            middle[c] += row[c]
        for c in range(c1):
            east[c] += across[c] + across[c]
        west, middle, east = g[i + wide - 1], g[i + wide], g[i + wide + 1]
        for c in range(c1):
            west[c] -= across[c] - down[c]
        for c in range(c1):
            middle[c] += down[c] + down[c]
        for c in range(c1):
            east[c] += across[c] + down[c]


@njit
def hidden_layer(flat, cells, wide, sobel, w1_t, bias, seen, hidden):
    """Gather what the cells see, seen [n, P], and send it to the hidden layer, [n, D]."""
    perceive(flat, cells, wide, sobel, seen)
    np.dot(seen, w1_t, hidden)
    zero = bias.dtype.type(0)
    for k in range(len(cells)):
        row = hidden[k]
        for j in range(len(bias)):
            v = row[j] + bias[j]
            row[j] = zero if v <= zero else v


@njit
def log(cells, values, used, x, changing):
    """Write down cells that are about to change, and their states; double the log when full."""
    n = len(changing)
    if used + n > len(cells):
        room = max(used + n, 2 * len(cells))
        more_cells = np.empty(room, cells.dtype)
        more_values = np.empty((room, x.shape[1]), x.dtype)
        for k in range(used):
            more_cells[k] = cells[k]
            copy_row(more_values[k], values[k])
        cells, values = more_cells, more_values
    for k in range(n):
        cells[used + k] = changing[k]
        copy_row(values[used + k], x[changing[k]])
    return cells, values, used + n


@njit
def act(flat, acting, wide, sobel, w1_t, bias, w2_t, seen, hidden, change):
    """What the acting cells add to their states, change [n, C], block by block."""
    block, n = len(seen), len(acting)
    for a in range(0, n, block):
        z = min(a + block, n)
        h = hidden[: z - a]
        hidden_layer(flat, acting[a:z], wide, sobel, w1_t, bias, seen[: z - a], h)
        np.dot(h, w2_t, change[a:z])


@kernel
def forward(
    s, state, w1_t, bias, w2_t, rng_seeds, steps, record, first_step, settings, block, keep, frames
):
    """Run sample s; fill frames[:, s] and return the film for the way back (empty if not `keep`).

    state [B, C, H, W], w1_t [P, D], bias [B, D], w2_t [D, C], rng_seeds [B],
    frames [R, B, C, H, W].
    """
    alive_channel, least, threshold, sobel, frozen = settings
    channels, height, width = state.shape[1:]
    wide, count = width + 2, (height + 2) * (width + 2)
    flat, vitals = np.zeros(count * channels, state.dtype), np.zeros(count, state.dtype)
    x = flat.reshape(count, channels)
    fill_rows(state[s], x)
    copy_channel(x, alive_channel, vitals)
    before, after = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    occupied = np.ones(count, np.bool_)
    acting, emptied = np.empty(count, np.int32), np.empty(count, np.int32)
    change, tall = np.empty((count, channels), x.dtype), np.empty(wide, x.dtype)
    seen = np.empty((block, w1_t.shape[0]), x.dtype)
    hidden = np.empty((len(seen), w1_t.shape[1]), x.dtype)

    cells, values, used = np.empty(0, np.int32), np.empty((0, channels), x.dtype), 0
    marks = np.empty((steps if keep else 0, 6), np.int64)  # acting, changed, and the box
    box, frame = (1, height + 1, 1, width + 1), 0
    for t in range(steps):
        mark_alive(vitals, least, box, wide, tall, before)
        n = choose_acting(before, box, wide, rng_seeds[s], first_step + t, threshold, acting)
        act(flat, acting[:n], wide, sobel, w1_t, bias[s], w2_t, seen, hidden, change)
        if keep:
            cells, values, used = log(cells, values, used, x, acting[:n])
        for k in range(n):
            add_row(x[acting[k]], change[k])
            vitals[acting[k]] = x[acting[k], alive_channel]
        mark_alive(vitals, least, box, wide, tall, after)
        m, living = list_emptied(before, after, occupied, box, wide, emptied)
        if keep:
            cells, values, used = log(cells, values, used, x, emptied[:m])
            marks[t, 0], marks[t, 1] = n, n + m
            marks[t, 2], marks[t, 3], marks[t, 4], marks[t, 5] = box
        for k in range(m):
            empty_row(x[emptied[k]], frozen)
            vitals[emptied[k]] = x[emptied[k], alive_channel]
        if not frozen.any():  # then all cells outside the box are empty
            box = grow(living, 1, height, width, 0)
        if frame < len(record) and t + 1 == record[frame]:
            read_rows(x, frames[frame, s])
            frame += 1
    return flat, cells[:used], values[:used], marks


@njit
def list_emptied(before, after, occupied, box, wide, emptied):
    """List the cells in the box that must be emptied; how many, and the box of those that live.

    occupied [N] tells which cells may hold anything: at first all, then those that live.
    """
    top, bottom, left, right = box
    y0, y1, x0, x1 = bottom, top, right, left
    m = 0
    for y in range(top, bottom):
        for k in range(left, right):
            i = y * wide + k
            lives = before[i] and after[i]
            if lives:
                y0, y1, x0, x1 = min(y0, y), y + 1, min(x0, k), max(x1, k + 1)
            elif before[i] or occupied[i]:
                emptied[m] = i
                m += 1
            occupied[i] = lives
    return m, (y0, y1, x0, x1)


@njit
def put_back(x, vitals, alive_channel, cells, values):
    """Undo what a step changed; where a cell stands twice its oldest value is put back last."""
    for k in range(len(cells) - 1, -1, -1):
        copy_row(x[cells[k]], values[k])
        vitals[cells[k]] = values[k, alive_channel]


@njit
def take_in(g, grad_frame, recorded, before, after, frozen, box, wide):
    """Add the gradient of a recorded frame [C, H, W] to g [N, C], and empty that of dead cells."""
    height, width = grad_frame.shape[1:]
    top, bottom, left, right = grow(box, 2, height, width, 1)
    for y in range(top, bottom):
        for k in range(left, right):
            i = y * wide + k
            if recorded and 0 < y <= height and 0 < k <= width:
                for c in range(g.shape[1]):
                    g[i, c] += grad_frame[c, y - 1, k - 1]
            if not (before[i] and after[i]):
                empty_row(g[i], frozen)


@njit
def act_transposed(flat, acting, wide, sobel, weights, grad_change, buffers, g, sums):
    """Take the gradient of what the cells added, [n, C], back to their neighbourhoods g [N, C].

    weights: w1 [D, P], its transpose, bias [D], w2 [C, D]; sums: the gradients of w1, bias and w2,
    added to.
    """
    (w1, w1_t, bias, w2), (grad_w1, grad_bias, grad_w2) = weights, sums
    seen, hidden, grad_seen, grad_hidden, part_w1, part_w2 = buffers
    block, n, zero = len(seen), len(acting), flat.dtype.type(0)
    for a in range(0, n, block):
        z = min(a + block, n)
        p, h, gp, gh = seen[: z - a], hidden[: z - a], grad_seen[: z - a], grad_hidden[: z - a]
        hidden_layer(flat, acting[a:z], wide, sobel, w1_t, bias, p, h)
        np.dot(grad_change[a:z].T, h, part_w2)
        add_matrix(grad_w2, part_w2)
        np.dot(grad_change[a:z], w2, gh)
        for k in range(z - a):
            row, h_row = gh[k], h[k]
            for j in range(len(row)):
                row[j] = zero if h_row[j] <= zero else row[j]  # as torch's ReLU, see above
            add_row(grad_bias, row)
        np.dot(gh.T, p, part_w1)
        add_matrix(grad_w1, part_w1)
        np.dot(gh, w1, gp)
        perceive_transposed(gp, acting[a:z], wide, sobel, g)


@kernel
def backward(s, grad_frames, film, w1, w1_t, bias, w2, record, settings, block, grads):
    """Take the gradient of sample s back through its film; fill grads[...][s].

    grads: state [B, C, H, W], w1 [B, D, P], bias [B, D], w2 [B, C, D], zero at first.
    """
    alive_channel, least, _, sobel, frozen = settings
    start, cells, values, marks = film
    grad_state, grad_w1, grad_bias, grad_w2 = grads
    channels, height, width = grad_state.shape[1:]
    wide, count = width + 2, (height + 2) * (width + 2)
    flat, vitals = np.empty(len(start), start.dtype), np.empty(count, start.dtype)
    copy_row(flat, start)
    x = flat.reshape(count, channels)
    g = np.zeros(count * channels, flat.dtype).reshape(count, channels)
    copy_channel(x, alive_channel, vitals)
    before, after = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    grad_change, tall = np.empty((count, channels), x.dtype), np.empty(wide, x.dtype)
    seen = np.empty((block, w1_t.shape[0]), x.dtype)
    hidden = np.empty((len(seen), w1_t.shape[1]), x.dtype)
    buffers = (seen, hidden, np.empty(seen.shape, x.dtype), np.empty(hidden.shape, x.dtype),
               np.empty(w1.shape, x.dtype), np.empty(w2.shape, x.dtype))  # fmt: skip
    weights, sums = (w1, w1_t, bias[s], w2), (grad_w1[s], grad_bias[s], grad_w2[s])
    used, frame = len(cells), len(record) - 1
    for t in range(len(marks) - 1, -1, -1):
        n, changed = marks[t, 0], marks[t, 1]
        box = (marks[t, 2], marks[t, 3], marks[t, 4], marks[t, 5])
        near = grow(box, 2, height, width, 0)
        mark_alive(vitals, least, near, wide, tall, after)
        put_back(
            x, vitals, alive_channel, cells[used - changed : used], values[used - changed : used]
        )
        used -= changed
        mark_alive(vitals, least, near, wide, tall, before)
        recorded = frame >= 0 and t + 1 == record[frame]
        take_in(g, grad_frames[frame, s], recorded, before, after, frozen, box, wide)
        frame -= recorded
        acting = cells[used : used + n]
        for k in range(n):
            copy_row(grad_change[k], g[acting[k]])
        act_transposed(flat, acting, wide, sobel, weights, grad_change, buffers, g, sums)
    read_rows(g, grad_state[s])


@lru_cache(maxsize=1)
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """The threads are kept from call to call: new ones would have to warm up their heaps."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=thread_pool.cache_clear)  # threads do not survive a fork


@lru_cache(maxsize=1)
def blas() -> ThreadpoolController:
    """The OpenBLAS that SciPy uses; empty where it uses another library."""
    return ThreadpoolController().select(internal_api="openblas")


class OneBlasThread:
    """While anybody is inside, BLAS splits no product; when the last leaves, all is as before."""

    def __init__(self):
        self.lock, self.inside, self.before = Lock(), 0, []

    def set(self, threads: list[int]) -> None:
        for library, count in zip(blas().lib_controllers, threads, strict=True):
            # threadpoolctl lets only the thread that came first set them: go past that
            getattr(library, "_real_set_num_threads", library.set_num_threads)(count)

    def __enter__(self):
        with self.lock:
            if self.inside == 0:
                self.before = [library.num_threads for library in blas().lib_controllers]
                self.set([1] * len(self.before))
            self.inside += 1

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.set(self.before)


one_blas_thread = OneBlasThread()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_blas_thread.__init__)  # those inside stayed behind


def block_size(weights: int) -> int:
    """How many cells go through a product with this many weights together."""
    return BLOCK if len(blas()) else min(BLOCK, max(1, ALONE // weights))


def each_sample(work, batch: int, steps: int) -> list:
    """Call `work(sample)` for each sample, on as many threads as torch would use.

    A Ctrl-C must not meet the main thread in a kernel: that would be a SystemError, and late.
    """
    threads = min(torch.get_num_threads(), batch)
    with one_blas_thread:
        if batch * steps < THREADING_PAYS:
            return [work(s) for s in range(batch)]
        return list(thread_pool(threads).map(work, range(batch)))  # kernels leave Python's lock


def as_array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def settings_of(plan: Plan, channels: int, dtype: np.dtype) -> tuple:
    """The plan as the kernels take it: one tuple of plain values and an array."""
    frozen = np.zeros(channels, np.bool_)
    frozen[list(plan.frozen)] = True
    least, threshold = dtype.type(plan.alive_threshold), round(plan.fire_rate * 2**32)
    return plan.alive_channel, least, threshold, plan.sobel, frozen


def run(state, w1, bias, w2, rng_seeds, plan, keep):
    """The frames `[R, B, C, H, W]` as an array, and what `backward` needs of each sample."""
    arrays = [as_array(a) for a in (state, w1.t(), bias, w2.t(), rng_seeds)]
    dtype, record = arrays[0].dtype, np.array(plan.record_steps)
    frames = np.empty((len(record), *state.shape), dtype)
    settings = settings_of(plan, state.shape[1], dtype)
    rest = plan.steps, record, plan.first_step, settings, block_size(w1.numel()), keep, frames
    films = each_sample(lambda s: forward(s, *arrays, *rest), len(state), plan.steps)
    return torch.from_numpy(frames), films


class CompiledRollout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, state, w1, bias, w2, rng_seeds, plan):
        frames, ctx.films = run(state, w1, bias, w2, rng_seeds, plan, keep=True)
        ctx.shape, ctx.plan = state.shape, plan
        ctx.save_for_backward(w1, bias, w2)
        return frames

    @staticmethod
    def backward(ctx, grad_frames):
        check_first_derivative()
        w1, bias, w2 = ctx.saved_tensors
        weights = [as_array(w) for w in (w1, w1.t(), bias, w2)]
        grad_frames = as_array(grad_frames)
        batch, dtype = len(bias), grad_frames.dtype
        shapes = ctx.shape, (batch, *w1.shape), bias.shape, (batch, *w2.shape)
        grads = tuple(np.zeros(shape, dtype) for shape in shapes)
        settings = settings_of(ctx.plan, ctx.shape[1], dtype)
        rest = np.array(ctx.plan.record_steps), settings, block_size(w1.numel()), grads

        def work(s):
            backward(s, grad_frames, ctx.films[s], *weights, *rest)

        each_sample(work, batch, ctx.plan.steps)
        # A sum in the order of the samples, whatever the number of threads
        grads = grads[0], grads[1].sum(0), grads[2], grads[3].sum(0)
        return *map(torch.from_numpy, grads), None, None


def compiled_rollout(state: Tensor, weights: Weights, rng_seeds: Tensor, plan: Plan) -> Tensor:
    """`sparse.sparse_rollout`, compiled: the same arguments, the same result.

    For float32 and float64 on the CPU. The result does not depend on the number of threads.
    """
    args = state, *weights, rng_seeds, plan
    if torch.is_grad_enabled() and any(a.requires_grad for a in args[:4]):
        return CompiledRollout.apply(*args)
    frames, last = state.new_empty(len(plan.record_steps), *state.shape), state
    for first in range(0, plan.steps, PART):
        end = min(first + PART, plan.steps)
        a, z = (bisect_right(plan.record_steps, step) for step in (first, end))
        record = (*(step - first for step in plan.record_steps[a:z] if step < end), end - first)
        part = plan._replace(
            steps=end - first, record_steps=record, first_step=plan.first_step + first
        )
        made = run(last, *args[1:5], part, keep=False)[0]
        frames[a:z], last = made[: z - a], made[-1]
    return frames


def run_once() -> None:
    """One step forward and backward: compiles both kernels, or loads them."""
    state = torch.ones(1, 16, 3, 3, requires_grad=True)
    weights = Weights(torch.ones(8, 48), torch.ones(1, 8), torch.ones(16, 8))
    plan = Plan(1, (1,), 0, 1.0, True, (), 1, 0.1)
    compiled_rollout(state, weights, torch.tensor([0]), plan).sum().backward()


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # whatever the mode of the first rollout
@torch.enable_grad()
def self_test() -> str:
    """Try the kernels: what is wrong, or nothing."""
    try:
        run_once()
    except Exception as error:
        return f"numba cannot compile the rollout here ({type(error).__name__}: {error})"
    return ""


def available() -> tuple[bool, str]:
    """Whether the compiled rollout can be used here, and why (not).

    The first call of a process loads the machine code (0.2 s); the first on a machine compiles it
    (10 to 20 s), unless set-up did. NCA_COMPILED=0 switches the compiled rollout off.
    """
    if os.environ.get("NCA_COMPILED") == "0":
        return False, "switched off by NCA_COMPILED=0"
    problem = IMPORT_PROBLEM or self_test()
    return not problem, problem or "compiled by numba"
