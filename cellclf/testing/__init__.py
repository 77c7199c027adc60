"""Checks that plugin authors run on their backbone.

from cellclf.testing import check_backbone

check_backbone("tinyvgg")
"""

from __future__ import annotations

from cellclf.testing.runner import Check, Outcome, backbone_checks, check_backbone, parametrize_backbone

__all__ = ["Check", "Outcome", "backbone_checks", "check_backbone", "parametrize_backbone"]
