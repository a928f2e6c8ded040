"""The conformance kit: what every explanation method must keep to, also one from another package.

In the tests of a package with a method of its own:

    import pytest
    from seewhy.testing import CHECKS

    @pytest.mark.parametrize("check", CHECKS)
    def test_conforms(check):
        CHECKS[check](EdgeDetector())

or in one line, with one report of everything that is wrong: `seewhy.testing.check_method("edge-detector")`. Settings
that make a method cheap make the checks fast: `check_method(Rise(masks=100))`.
"""

from ..core.method import Method
from ..methods.registry import find
from .checks import CHECKS, Check, failures

__all__ = ["CHECKS", "Check", "check_method", "failures"]


def check_method(method: Method | str | type[Method]) -> None:
    """Runs every check on a method given by settings object, name or class.

    Raises AssertionError with one line for each check that failed.
    """
    settings = find(method)
    found = failures(settings)
    if found:
        lines = "".join(f"\n  {name}: {what}" for name, what in found.items())
        raise AssertionError(
            f"{settings.info.name} fails {len(found)} of {len(CHECKS)} checks; see seewhy.testing.CHECKS:{lines}"
        )
