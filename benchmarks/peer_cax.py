"""CAX (Faldor and Cully, ICLR 2025) on the reference work, in the peers' virtual environment.

Built of CAX's own parts: convolution for perception, `NCAUpdate`, `ComplexSystem`'s scan, compiled
by JAX (not counted). What differs: no condition, the alive channel is the last one, JAX draws the
fire masks. In training the samples are grown one after another: XLA's gradients of a batch of 8
took over four times as long on the Intel processor of the measurement.
"""

import os

if hasattr(os, "sched_setaffinity"):  # Linux: one core, as XLA's own settings do not keep it to one
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
from cax.core import ComplexSystem
from cax.core.perceive import ConvPerceive, grad_kernel, identity_kernel
from cax.core.update import NCAUpdate
from flax import nnx
from pipe import measure, serve
from reference import CHANNELS, FAINT, FIRE_RATE, HIDDEN, LOSS_STEPS, STEPS, disc


class Growing(ComplexSystem):
    def __init__(self, rngs):
        size = {"channel_size": CHANNELS, "perception_size": 3 * CHANNELS}
        self.perceive = ConvPerceive(**size, feature_group_count=CHANNELS, rngs=rngs)
        kernel = jnp.concatenate([identity_kernel(num_dims=2), grad_kernel(num_dims=2)], -1)
        self.perceive.conv.kernel[...] = jnp.tile(kernel[:, :, None], (1, 1, 1, CHANNELS))
        self.update = NCAUpdate(
            **size, hidden_layer_sizes=(HIDDEN,), cell_dropout_rate=FIRE_RATE, rngs=rngs
        )
        last = self.update.layers[-1].kernel
        last[...] = FAINT * jax.random.normal(jax.random.key(0), last.shape)

    def _step(self, state, input=None):
        return self.update(state, self.perceive(state))


@nnx.jit
def gradients(system, states):
    @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=(nnx.Carry, 0))
    def loss_of(system, state):
        state, loss, done = state[None], 0.0, 0
        for step in LOSS_STEPS:
            state = system(state, num_steps=step - done)
            loss, done = loss + jnp.square(state[..., :2]).mean() / len(LOSS_STEPS), step
        return system, loss

    return nnx.value_and_grad(lambda system: loss_of(system, states)[1].mean())(system)


system = Growing(nnx.Rngs(0))


def answer(job: dict) -> dict:
    mask = jnp.array(disc(), jnp.float32)[None, :, :, None]
    state = jnp.tile(mask, (job["batch"], 1, 1, CHANNELS))

    def work():
        if job["what"] == "training":
            jax.block_until_ready(gradients(system, state))
        else:
            jax.block_until_ready(system(state, num_steps=STEPS))

    return measure(work, job)


serve(answer)
