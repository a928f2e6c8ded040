"""All checks of the conformance kit by name: each takes a settings object and raises AssertionError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import TypeAlias

import torch

from ..core.method import Method
from . import declared, hostile, hygiene, invariance, results

Check: TypeAlias = Callable[[Method], None]

_ALL: tuple[Check, ...] = (
    declared.facts,
    declared.registered,
    declared.frozen_settings,
    declared.checked_settings,
    declared.protocol,
    declared.needs,
    declared.layer_setting,
    invariance.batch_size,
    invariance.neighbours,
    invariance.seed_repeats,
    invariance.seed_matters,
    invariance.rows_repeat,
    invariance.sharing,
    invariance.targets,
    results.values,
    results.record,
    results.heatmap,
    results.signs,
    results.double,
    results.no_graph,
    results.diagnostics,
    results.several_inputs,
    hygiene.untouched,
    hygiene.random_numbers,
    hygiene.interruptions,
    hygiene.failing_network,
    hygiene.modes,
    hygiene.leaks,
    hygiene.untouched_input,
    hostile.empty_batch,
    hostile.one_pixel,
    hostile.oblong,
    hostile.vectors,
    hostile.constant_network,
    hostile.not_finite,
)


def _apart(check: Check) -> Check:
    """Returns the check run on one thread, with torch's grad mode put back for the next check if it was left astray.

    Tensors this small cost more to share among threads than to compute.
    """

    @wraps(check)
    def run(method: Method) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled()):
                check(method)
        finally:
            torch.set_num_threads(threads)

    return run


CHECKS: Mapping[str, Check] = {check.__name__: _apart(check) for check in _ALL}
"""Every check by name, for `pytest.mark.parametrize`."""


def failures(method: Method) -> dict[str, str]:
    """Returns what each failed check found, by the check's name; empty if the method conforms."""
    found: dict[str, str] = {}
    for name, check in CHECKS.items():
        try:
            check(method)
        except AssertionError as error:
            found[name] = str(error) or "an assertion without a message"
        except Exception as error:
            found[name] = f"expected a result; found {type(error).__name__}: {error}"
    return found
