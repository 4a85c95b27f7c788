"""Two torch modules with the same weights must give the same logits."""

import torch


def randomise(module):
    """Random batch-norm statistics and scales, so that logits have some size and every tensor matters."""
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(m.weight, 0.8, 1.6)
            torch.nn.init.normal_(m.bias, 0, 0.3)
    return module.eval()


def assert_same_logits(ours, theirs, resolution):
    """Load the weights of ``theirs`` into ``ours`` and compare, in double precision: logits may reach hundreds."""
    torch.manual_seed(0)
    theirs = randomise(theirs.double())
    ours = ours.double().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    image = torch.randn(2, 3, resolution, resolution, dtype=torch.float64)
    with torch.inference_mode():
        expected = theirs(image)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(ours(image), expected, atol=1e-5, rtol=1e-5)
