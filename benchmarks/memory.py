"""Section `memory`: the most memory that integrated gradients take, measured in a fresh process each."""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .harness import Effort
from .report import Goal, Section, Table, at_least
from .subject import Subject, bare_gradient, gradient_batches, load_subject

MIB = 1 << 20
STEPS = 50
CLOSE = 0.10


@dataclass(frozen=True, slots=True)
class Found:
    """What one process measured: bytes, and how many rows its largest batch had."""

    bytes: int
    batch: int

    @property
    def mib(self) -> str:
        return f"{self.bytes / MIB:.0f} MiB"


def measure(subject: Subject, effort: Effort) -> Section:
    """Runs the section: one process for each contender, number of steps and way of measuring."""
    del subject  # each process loads its own
    runs = [("seewhy", STEPS), ("seewhy", effort.many_steps), ("captum", STEPS)]
    resident = [_in_process(*run, "resident") for run in runs]
    tensors = [_in_process(*run, "tensors") for run in runs]
    rows = [
        (
            *(library, str(steps)),
            *(one.mib, f"{one.bytes / resident[0].bytes:.2f}", str(one.batch)),
            *(other.mib, f"{other.bytes / tensors[0].bytes:.2f}", str(other.batch)),
        )
        for (library, steps), one, other in zip(runs, resident, tensors, strict=True)
    ]
    ours = f"/ seewhy, {STEPS} steps"
    columns = ("library", "steps", "resident", ours, "largest batch", "tensors", ours, "largest batch")
    note = (
        "Resident: the process's largest resident memory during the call less that right before it. Tensors: the "
        "most bytes that tensors made during the call held at one time, in a process of its own. captum as it is "
        f"called by default (`n_steps={STEPS}`, no `internal_batch_size`). seewhy finds its batch size by timing."
    )
    few, many, peer = (found.bytes for found in resident)
    change = many / few - 1
    goals = [
        Goal(
            f"memory at {effort.many_steps} steps within {CLOSE:.0%} of that at {STEPS}",
            f"{change:+.1%}",
            abs(change) <= CLOSE,
            f"{abs(abs(change) - CLOSE) * 100:.0f} points",
        ),
        at_least(f"captum / seewhy, {STEPS} steps:", peer / few, 4, f"{peer / few:.1f}"),
    ]
    setting = "Integrated gradients with a fixed number of steps on one photograph, EfficientNet-Lite0."
    return Section("memory", setting, [Table("Peak memory of one call", columns, rows, note)], goals)


def _in_process(library: str, steps: int, how: str) -> Found:
    command = [sys.executable, "-m", "benchmarks.memory", library, str(steps), how, str(torch.get_num_threads())]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed: {done.stderr}")
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def resident_of(method: str, count: int) -> Found:
    """Returns the resident memory of one call of a sampling method with so many samples, in a process of its own."""
    return _in_process(method, count, "resident")


def _caller(library: str, steps: int, subject: Subject) -> Callable[[], Any]:
    if library == "captum":
        from captum.attr import IntegratedGradients

        target = int(subject.network(subject.x).argmax())
        black = -torch.ones_like(subject.x)
        return lambda: IntegratedGradients(subject.network).attribute(subject.x, black, target, n_steps=steps)
    import seewhy

    if library == "rise":
        rise = seewhy.methods.Rise(masks=steps)
        return lambda: seewhy.attribute(subject.model, subject.x, rise, options=seewhy.Options(backend="torch"))
    method = seewhy.methods.IntegratedGradients(steps=steps)
    return lambda: seewhy.attribute(subject.model, subject.x, method)


def _resident(run: Callable[[], Any]) -> int:
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has it: hands freed memory back, so that it counts again
        ctypes.CDLL(None).malloc_trim(0)
    _forget_peak()
    before = _peak()
    run()
    return _peak() - before


def _forget_peak() -> None:
    """Makes the peak start anew from what is resident now, on Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    """Returns the largest resident memory of this process; of its own alone, unlike ru_maxrss after a fork."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _tensors(run: Callable[[], Any]) -> int:
    from seewhy.engine.memory import PeakMeter

    with PeakMeter() as meter:
        run()
    peak: int = meter.peak
    return peak


def main() -> None:
    """Measures one call in this process and writes its bytes to standard output."""
    library, steps, how, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    subject = load_subject(1, None)
    bare_gradient(subject.network, subject.x)  # loads the libraries' kernels, which is nobody's cost
    run = _caller(library, int(steps), subject)
    size = _resident(run) if how == "resident" else _tensors(run)
    batches = [found.good for found in gradient_batches(subject.model).values()] or [int(steps)]
    sys.stdout.write(json.dumps(asdict(Found(size, max(batches)))) + "\n")


if __name__ == "__main__":
    main()
