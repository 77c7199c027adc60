"""Run the checks: all at once, one by one, or as pytest's parameters."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cellclf.backbones.spec import BackboneSpec
from cellclf.errors import OptionError, PluginError, unknown
from cellclf.plugins.discovery import one_line
from cellclf.testing.case import Case, CheckFailed
from cellclf.testing.checks import CHECKS, NEED_NO_NETWORK


@dataclass(frozen=True)
class Outcome:
    """How one check ended.

    Args:
        check: Its name.
        status: ``"passed"``, ``"failed"``, ``"expected"`` (failed, as ``expected_failures`` lists) or ``"skipped"``.
        message: What is wrong, or why it was not run; empty if it passed.
    """

    check: str
    status: str
    message: str = ""

    def __str__(self) -> str:
        return f"{self.check}: {self.status}" + f" ({self.message})" * bool(self.message)


@dataclass(frozen=True)
class Check:
    """One check of one backbone, ready to be called.

    Calling it raises AssertionError if the backbone fails, unittest.SkipTest if it cannot be checked here.
    """

    name: str
    case: Case = field(repr=False)
    function: Callable[[Case], None] = field(repr=False)

    def __call__(self) -> None:
        """Run it."""
        try:
            self.function(self.case)
        except (CheckFailed, unittest.SkipTest):
            raise
        # third-party code may raise anything; all of it is a failure of the check
        except Exception as error:
            raise CheckFailed(one_line(error)) from error


def backbone_checks(
    network: str | BackboneSpec, *, params: Mapping[str, Any] | None = None, size: int | None = None
) -> list[Check]:
    """Return the checks of a backbone, each to be called; they share one built network.

    Args:
        network: Its name (``"plugin:name"``) or its spec.
        params: Parameters to check it with, or None for the defaults; small ones make it quick.
        size: Side of the images, pixels; None is the smallest with a feature map larger than 1x1.

    Raises:
        UnknownNameError: There is no backbone or parameter of that name.

    Examples:
        >>> checks = backbone_checks("residual", params={"filters": [2, 2, 2]})
        >>> checks[0].name, checks[0]()
        ('fields', None)
    """
    case = Case(network, params, size)
    case.spec.settings(params)  # an unknown name is the caller's mistake, not a failed check
    return [Check(function.__name__, case, function) for function in CHECKS]


def check_backbone(
    network: str | BackboneSpec,
    *,
    params: Mapping[str, Any] | None = None,
    size: int | None = None,
    expected_failures: Mapping[str, str] | None = None,
    on_fail: str = "raise",
) -> list[Outcome]:
    """Run all checks of a backbone.

    Args:
        network: Its name (``"plugin:name"``) or its spec.
        params: Parameters to check it with, or None for the defaults; small ones make it quick.
        size: Side of the images, pixels; None is the smallest with a feature map larger than 1x1.
        expected_failures: Names of checks that it is known to fail, each with the reason. One that passes
            is a failure, too.
        on_fail: ``"raise"`` raises after the last check if any failed; ``"collect"`` only returns the outcomes.

    Returns:
        The outcome of each check, in order.

    Raises:
        PluginError: Some checks failed; the message has all of them.
        UnknownNameError: There is no backbone, parameter or check of a name that was given.

    Examples:
        >>> from cellclf.testing import check_backbone
        >>> outcomes = check_backbone("residual", params={"filters": [4, 4, 4]})
        >>> {outcome.status for outcome in outcomes}
        {'passed'}
    """
    if on_fail not in ("raise", "collect"):
        raise OptionError(f"on_fail={on_fail!r}: expected 'raise' or 'collect'")
    expected = _expected(expected_failures)
    outcomes: list[Outcome] = []
    for check in backbone_checks(network, params=params, size=size):
        unbuilt = [done for done in outcomes if done.check == "builds" and done.status in ("failed", "expected")]
        if unbuilt and check.name not in NEED_NO_NETWORK:
            outcomes.append(Outcome(check.name, "skipped", "the network was not built"))
        else:
            outcomes.append(_run(check, expected.get(check.name)))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed and on_fail == "raise":
        name = network if isinstance(network, str) else network.name
        lines = "".join(f"\n  {outcome.check}: {outcome.message}" for outcome in failed)
        raise PluginError(f"backbone {name!r} fails {len(failed)} of {len(outcomes)} checks:{lines}")
    return outcomes


def parametrize_backbone(
    network: str | BackboneSpec,
    *,
    params: Mapping[str, Any] | None = None,
    size: int | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Any:
    """Make one pytest test of each check; the test function takes ``check`` and calls it.

    Args:
        network: As in ``check_backbone``.
        params: As in ``check_backbone``.
        size: As in ``check_backbone``.
        expected_failures: As in ``check_backbone``; these become strict xfails.

    Returns:
        A decorator for a test function. Needs pytest, which cellclf does not install.

    Examples:
        >>> @parametrize_backbone("residual", params={"filters": [2, 2, 2]})
        ... def test_residual(check):
        ...     check()
    """
    import pytest

    expected = _expected(expected_failures)
    cases = []
    for check in backbone_checks(network, params=params, size=size):
        reason = expected.get(check.name)
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        cases.append(pytest.param(check, id=check.name, marks=marks))
    return pytest.mark.parametrize("check", cases)


def _expected(failures: Mapping[str, str] | None) -> dict[str, str]:
    names = [function.__name__ for function in CHECKS]
    for name, reason in dict(failures or {}).items():
        if name not in names:
            raise unknown("check", name, names)
        if not isinstance(reason, str) or not reason:
            raise OptionError(f"expected_failures[{name!r}] is {reason!r}: expected the reason")
    return dict(failures or {})


def _run(check: Check, reason: str | None) -> Outcome:
    try:
        check()
    except unittest.SkipTest as error:
        return Outcome(check.name, "skipped", str(error))
    except CheckFailed as error:
        return Outcome(check.name, "expected", reason) if reason else Outcome(check.name, "failed", str(error))
    if reason:
        return Outcome(
            check.name, "failed", f"it passes, but was expected to fail ({reason}): remove it from expected_failures"
        )
    return Outcome(check.name, "passed")
