from cellclf.testing import parametrize_backbone


@parametrize_backbone("efficientnetlite0")
def test_efficientnetlite0(check):
    check()
