import torch

from touchstone.attacks.adam import BETA1, BETA2, TINY, adam_


def test_steps_are_those_of_torch() -> None:
    torch.manual_seed(0)
    ours = torch.randn(3, 5, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.1, betas=(BETA1, BETA2), eps=TINY)
    m, v = torch.zeros_like(ours), torch.zeros_like(ours)
    for step in range(5):
        grad = torch.randn_like(ours)
        spread = adam_(ours, m, v, grad, 0.1, step)
        theirs.grad = grad
        adam.step()
        torch.testing.assert_close(ours, theirs.detach())
        moment = adam.state[theirs]["exp_avg_sq"] / (1 - BETA2 ** (step + 1))
        torch.testing.assert_close(spread, moment.sqrt() + TINY)
