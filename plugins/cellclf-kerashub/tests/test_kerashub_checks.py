"""All of cellclf's checks on tiny networks of each family."""

import pytest
from conftest import preset

from cellclf.testing import backbone_checks

CASES = [
    pytest.param(check, id=f"{name}-{check.name}")
    for name in ("resnet_d", "efficientnet", "densenet", "vit", "dinov2", "dinov2_giant", "dinov3")
    for check in backbone_checks("kerashub", params={"preset": preset(name)})
]
CASES += [
    pytest.param(check, id=f"file-{check.name}")
    for check in backbone_checks("kerashub:dinov2", params={"width": 64, "depth": 4, "registers": 1})
]


@pytest.mark.parametrize("check", CASES)
def test_it(check):
    check()
