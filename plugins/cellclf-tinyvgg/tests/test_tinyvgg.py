from cellclf.testing import parametrize_backbone


@parametrize_backbone("tinyvgg")
def test_tinyvgg(check):
    check()
