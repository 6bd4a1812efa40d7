"""Both ends of a pipe: a process that measures answers JSON lines, and `bench.py` asks it.

Standard library only: the peers' virtual environment uses it too.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".venv-peers"
# Large temporaries make glibc map and unmap pages at every step, which costs the dense step most:
# every implementation runs with a heap that stays warm.
WARM_HEAP = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


class Worker:
    """A process that answers JSON lines."""

    def __init__(self, *command: str, threads: int = 1):
        env = os.environ | WARM_HEAP | {"OMP_NUM_THREADS": str(threads)}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  until `close`
        self.process = subprocess.Popen(
            command, cwd=HERE, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip

    @classmethod
    def ours(cls, name: str, threads: int = 1) -> "Worker":
        return cls(sys.executable, "worker.py", name, str(threads), threads=threads)

    @classmethod
    def peer(cls, script: str) -> "Worker":
        return cls(str(PEERS / "bin" / "python"), script)

    def ask(self, **job) -> dict:
        """Send a job, wait for the answer.

        Raises:
            RuntimeError: the process ended; with the last line that it had to say.
        """
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(said[-1] if said else f"ended with {self.process.returncode}")
        return json.loads(line)

    def close(self) -> None:
        self.process.communicate()
        self.errors.close()


def serve(answer) -> None:
    """Answer jobs line by line; whatever else is printed goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        out.write(json.dumps(answer(json.loads(line))) + "\n")
        out.flush()


def measure(work, job: dict) -> dict:
    """Do the work as often as the job says: seconds each time, and the most memory so far.

    `busy` are the seconds that the process itself computed: the same as those that passed where one
    thread has a core to itself, and less troubled by others on the machine.
    """
    for _ in range(job.get("warm_up", 0)):
        work()
    repeats = job.get("repeats", 1)
    started, busy = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        work()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return {"seconds": seconds / repeats, "busy": busy / repeats, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """The most memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
