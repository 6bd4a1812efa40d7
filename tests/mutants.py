"""Mutation testing: `make mutants`, or `python tests/mutants.py [PATTERN ...]`.

The files named in `pyproject.toml` ([tool.mutmut]) are changed in many small ways, one at a time; a
change that no fast test notices is a survivor. `tests/survivors.md` says which may, and why.

    python tests/mutants.py                      all of it, some twenty minutes on one core
    python tests/mutants.py "*.conditioning.*"   a file
    python tests/mutants.py "*x_disc__mutmut_*"  a function
    python tests/mutants.py --show               only the scores and survivors of the last run

The work happens in the folder `mutants/` (not in git). It is kept: the next run tries only what has
changed since, in the code or in the names of its tests.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.mutation.file_mutation import MutationVisitor

KILLED = ("killed", "timeout", "segfault", "caught by type check")
QUIET = ("torch.inference_mode()", "torch.no_grad()")


def mutate_under_inference_mode() -> None:
    """mutmut leaves decorated functions alone; under these decorators it need not."""
    skip = MutationVisitor._skip_node_and_children

    def skip_fewer(self, node):
        if isinstance(node, cst.FunctionDef) and node.decorators:
            names = {cst.Module([]).code_for_node(d.decorator) for d in node.decorators}
            if names <= set(QUIET):
                return False
        return skip(self, node)

    MutationVisitor._skip_node_and_children = skip_fewer


def results() -> dict[str, dict[str, str]]:
    """The state of each mutant, by file and name."""
    found = {}
    for path in mutmut.walk_mutatable_files():
        data = mutmut.SourceFileMutationData(path=path)
        data.load()
        states = {n: mutmut.status_by_exit_code[c] for n, c in data.exit_code_by_key.items()}
        if states:
            found[str(path)] = states
    return found


def report(patterns: list[str]) -> None:
    """Print the score of each file, of all, and every survivor with its change."""
    total, survivors = Counter(), []
    print(f"\n{'file':<36}{'mutants':>9}{'killed':>9}{'score':>9}")
    for path, states in sorted(results().items()):
        chosen = {
            name: state
            for name, state in states.items()
            if not patterns or any(fnmatch(name, pattern) for pattern in patterns)
        }
        killed = [name for name, state in chosen.items() if state in KILLED]
        survivors += [(name, state) for name, state in chosen.items() if state not in KILLED]
        total += Counter(mutants=len(chosen), killed=len(killed))
        if chosen:
            print(row(path, len(chosen), len(killed)))
    print(row("all", total["mutants"], total["killed"]))
    for name, state in survivors:
        print(f"\n{name}: {state}")
        change = mutmut.get_diff_for_mutant(name).splitlines()
        lines = [line for line in change if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        print("\n".join(lines))


def row(name: str, mutants: int, killed: int) -> str:
    return f"{name:<36}{mutants:>9}{killed:>9}{killed / max(1, mutants):>9.1%}"


def main() -> None:
    os.chdir(Path(__file__).resolve().parent.parent)
    os.environ |= {"OMP_NUM_THREADS": "1", "NCA_COMPILED": "0"}  # before torch is imported
    patterns = [argument for argument in sys.argv[1:] if argument != "--show"]
    mutate_under_inference_mode()
    if not sys.stdout.isatty():
        mutmut.print_stats = lambda *_, **__: None  # no spinner in a file
    if "--show" not in sys.argv[1:]:
        mutmut._run(patterns, max_children=1)
    report(patterns)


if __name__ == "__main__":
    main()
