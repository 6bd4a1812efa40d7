"""CAX (Faldor & Cully, ICLR 2025) on the reference work, in its own virtual environment.

Built of CAX's own parts: convolution for perception, `NCAUpdate`, `ComplexSystem`'s scan, compiled
by JAX. Differences: no genome, the life channel is the last one, the loss is taken at the last step
alone; each makes its work a little smaller.
"""

import resource
import sys
import time

import jax
import jax.numpy as jnp
from cax.core import ComplexSystem
from cax.core.perceive import ConvPerceive
from cax.core.perceive.kernels import grad_kernel, identity_kernel
from cax.core.update import NCAUpdate
from flax import nnx
from reference import CHANNELS, FAINT, FIRE_RATE, HIDDEN, SIZE, STEPS, disc


class Growing(ComplexSystem):
    def __init__(self, rngs):
        seen = 3 * CHANNELS
        self.perceive = ConvPerceive(CHANNELS, seen, feature_group_count=CHANNELS, rngs=rngs)
        kernel = jnp.concatenate([identity_kernel(2), grad_kernel(2)], -1)  # [3, 3, 3]
        kernel = jnp.tile(kernel[:, :, None], (1, 1, 1, CHANNELS))
        self.perceive.conv.kernel[...] = kernel
        self.update = NCAUpdate(CHANNELS, seen, (HIDDEN,), cell_dropout_rate=FIRE_RATE, rngs=rngs)
        last = self.update.layers[-1].kernel
        last[...] = FAINT * jax.random.normal(jax.random.key(0), last.shape)

    def _step(self, state, input=None, *, sow=False):
        return self.update(state, self.perceive(state))


@nnx.jit
def training(system, state):
    def loss(system):
        return jnp.square(system(state, num_steps=STEPS)[..., :2]).mean()

    return nnx.value_and_grad(loss)(system)


class CAX:
    def __init__(self):
        self.system = Growing(nnx.Rngs(0))

    def answer(self, job):
        mask = jnp.array(disc(), jnp.float32)[None, :, :, None]
        state = jnp.tile(mask, (job["batch"], 1, 1, CHANNELS))
        assert state.shape[1] == SIZE
        if job["what"] == "training":
            work = lambda: training(self.system, state)[0]  # noqa: E731
        else:
            work = lambda: self.system(state, num_steps=STEPS)  # noqa: E731
        for _ in range(job.get("warm_up", 0)):
            jax.block_until_ready(work())
        started = time.perf_counter()
        jax.block_until_ready(work())
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "seconds": seconds,
            "peak_mib": peak / (2**20 if sys.platform == "darwin" else 2**10),
        }


if __name__ == "__main__":
    import json

    cax, out = CAX(), sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        out.write(json.dumps(cax.answer(json.loads(line))) + "\n")
        out.flush()
