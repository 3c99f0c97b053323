from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from touchstone.losses import ce, dlr, margin
from touchstone.query import Query, as_query, tiles
from touchstone.types import Bounds


class Spy(nn.Module):
    """A small convolutional net that remembers what it was given, and fails when told to."""

    def __init__(self, fail: Callable[[Tensor], None] = lambda _: None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(8, 4)
        self.seen: list[Tensor] = []
        self.fail = fail

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        self.fail(x)
        return self.out(self.drop(self.norm(self.conv(x)).tanh().flatten(1)))


def block(count: int = 7) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(count, 1, 4, 4), torch.arange(count) % 4


def plain_gradient(model: Spy, x: Tensor, y: Tensor) -> Tensor:
    model.eval()
    x = x.clone().requires_grad_()
    return torch.autograd.grad(margin(model(x), y).sum(), x)[0]


def test_gradient_is_autograds_whatever_the_chunks() -> None:
    model, (x, y) = Spy(), block()
    expected = plain_gradient(model, x, y)
    for batch_size in (1, 3, 7, 100):
        logits, loss, grad = Query(model, batch_size=batch_size).grad(x, y, margin)
        torch.testing.assert_close(grad, expected)
        torch.testing.assert_close(logits, model(x))
        torch.testing.assert_close(loss, margin(model(x), y))
        assert grad.is_contiguous()
        assert [out.requires_grad for out in (logits, loss, grad)] == [False] * 3
    assert max(len(seen) for seen in model.seen[1:4]) == 1


def test_foreign_code_gets_gradients_through_the_chunks_and_every_pass_is_counted() -> None:
    model, (x, y) = Spy(), block()
    model.train()
    expected = plain_gradient(Spy(), x, y)
    for batch_size in (1, 3, 7):
        query, inputs = Query(model, samples=9, batch_size=batch_size), x.clone().requires_grad_()
        rows = torch.tensor([8, 1, 2, 3, 4, 5, 8])
        logits = query.attached(inputs, rows=rows)
        assert query.forwards.tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 2]
        assert not query.backwards.any()
        loss = margin(logits, y).sum()
        (grad,) = torch.autograd.grad(loss, inputs, retain_graph=True)
        torch.testing.assert_close(grad, expected)
        torch.autograd.grad(loss, inputs)
        assert query.backwards.tolist() == [0, 2, 2, 2, 2, 2, 0, 0, 4]
        assert not query.zero_grads.any()
        (nothing,) = torch.autograd.grad((0 * query.attached(inputs, rows=rows)).sum(), inputs)
        assert not nothing.any()
        assert query.zero_grads.tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 2]
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_logits_stay_detached_for_foreign_code_that_wants_no_gradient() -> None:
    query, (x, _) = Query(Spy()), block()
    assert not query.attached(x).requires_grad
    with torch.no_grad():
        assert not query.attached(x.clone().requires_grad_()).requires_grad
    assert query.forwards.tolist() == [2] * 7


def test_no_rows_ask_the_model_nothing() -> None:
    """Many a net cannot be asked: `x.view(len(x), -1)` of no rows may be anything."""
    model, (x, y) = Spy(), block()
    query, none = Query(model), slice(0)
    query.probe(x)
    asked = len(model.seen)
    shapes = [tuple(found.shape) for found in query.grad(x[none], y[none], margin)]
    assert shapes == [(0, 4), (0,), (0, 1, 4, 4)]
    assert query.logits(x[none]).shape == (0, 4)
    assert query.jacobian(x[none], torch.arange(2))[1].shape == (0, 2, 1, 4, 4)
    inputs = x[none].clone().requires_grad_()
    query.attached(inputs).sum().backward()
    assert inputs.grad.shape == inputs.shape
    assert len(model.seen) == asked


def test_gradient_works_where_gradients_are_off() -> None:
    x, y = block()
    with torch.no_grad():
        assert Query(Spy()).grad(x, y, ce)[2].any()


def test_jacobian_has_one_gradient_per_wanted_class() -> None:
    model, (x, _) = Spy(), block(3)
    model.eval()
    full = torch.autograd.functional.jacobian(model, x)  # (3, 4, 3, 1, 4, 4)
    query = Query(model, batch_size=2)
    _, jac = query.jacobian(x, torch.tensor([2, 0]))
    for row in range(3):
        torch.testing.assert_close(jac[row], full[row, [2, 0], row])
    own = torch.tensor([[0, 1], [2, 3], [3, 0]])
    torch.testing.assert_close(query.jacobian(x, own)[1][1], full[1, [2, 3], 1])
    assert query.forwards.tolist() == [2, 2, 2]
    assert query.backwards.tolist() == [4, 4, 4]


def test_passes_are_counted_per_sample() -> None:
    x, y = block(3)
    query = Query(Spy(), samples=5, batch_size=2)
    query.logits(x)
    query.logits(x, rows=torch.tensor([4, 4, 0]))
    query.grad(x, y, ce, rows=torch.tensor([4, 2, 2]))
    assert query.forwards.tolist() == [2, 1, 3, 0, 3]
    assert query.backwards.tolist() == [0, 0, 2, 0, 1]
    with pytest.raises(ValueError, match="rows must name the sample of each of the 3 inputs, got 2"):
        query.logits(x, rows=torch.tensor([0, 1]))


def test_counters_grow_to_the_block_when_no_number_was_given() -> None:
    x, _ = block(3)
    query = Query(Spy())
    query.logits(x[:1])
    query.logits(x)
    assert query.forwards.tolist() == [2, 1, 1]


def test_zero_gradients_are_counted() -> None:
    x, y = block(3)
    query = Query(Spy())
    query.grad(x, y, lambda logits, y: margin(logits, y) * torch.tensor([1.0, 0.0, 1.0]))
    assert query.zero_grads.tolist() == [0, 1, 0]


def fail_with(error: Exception) -> Callable[[Tensor], None]:
    def fail(_: Tensor) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [None, RuntimeError("broken model")])
def test_the_model_comes_back_as_it_was(error: Exception | None) -> None:
    model, (x, y) = Spy(fail_with(error) if error else lambda _: None), block()
    model.train()
    model.drop.eval()
    model.conv.weight.requires_grad_(False)
    model.out.weight.grad = torch.ones_like(model.out.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    query = Query(model)
    calls = (lambda: query.logits(x), lambda: query.grad(x, y, ce), lambda: query.jacobian(x, torch.arange(4)))
    for call in calls:
        if error:
            with pytest.raises(RuntimeError, match="broken model"):
                call()
        else:
            call()
    assert [m.training for m in (model, model.conv, model.norm, model.drop)] == [True, True, True, False]
    assert not model.conv.weight.requires_grad
    assert model.conv.bias.requires_grad
    assert torch.equal(model.out.weight.grad, torch.ones_like(model.out.weight))
    assert model.conv.bias.grad is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_is_asked_in_eval_mode() -> None:
    model, (x, _) = Spy().train(), block()
    assert torch.equal(Query(model).logits(x), Query(model).logits(x))


def test_images_reach_the_model_in_channels_last_memory_also_with_one_channel() -> None:
    model, (x, y) = Spy(), block()
    Query(model).grad(x, y, ce)
    assert model.seen[-1].stride() == (16, 1, 4, 1)
    assert x.stride() == (16, 16, 4, 1)


def out_of_memory_above(limit: int) -> Callable[[Tensor], None]:
    def fail(x: Tensor) -> None:
        if len(x) > limit:
            raise torch.OutOfMemoryError

    return fail


def test_out_of_memory_halves_the_batch_and_sets_a_flag() -> None:
    model, (x, _) = Spy(), block()
    expected = Query(model).logits(x)
    small = Spy(out_of_memory_above(2))
    query = Query(small, batch_size=100)
    torch.testing.assert_close(query.logits(x), expected)
    assert [len(seen) for seen in small.seen] == [7, 3] + [1] * 7
    assert query.batch_size == 1
    assert query.flags == {"out_of_memory_halved"}
    assert query.forwards.tolist() == [1] * 7
    assert Query(model).flags == set()


def test_out_of_memory_with_one_row_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Query(Spy(out_of_memory_above(0))).logits(block()[0])


def test_what_cudnn_says_without_room_to_work_in_halves_the_batch_too() -> None:
    def fail(x: Tensor) -> None:
        if len(x) > 3:
            raise RuntimeError("GET was unable to find an engine to execute this computation")

    query = Query(Spy(fail))
    torch.testing.assert_close(query.logits(block()[0]), Query(Spy()).logits(block()[0]))
    assert query.flags == {"out_of_memory_halved"}
    with pytest.raises(RuntimeError, match="broken"):
        Query(Spy(fail_with(RuntimeError("broken")))).logits(block()[0])


def test_as_query_makes_or_keeps_a_query_and_the_probe_counts_nothing() -> None:
    model, (x, _) = Spy(), block()
    query = as_query(model, x)
    assert query.bounds == Bounds(0.0, 1.0)
    assert as_query(query, x) is query
    assert query.probe(x) == 4
    assert len(model.seen) == 1
    assert query.probe(x) == 4
    assert len(model.seen) == 1
    assert query.forwards.tolist() == [0] * 7


def test_what_is_not_logits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the model must return logits \(7, C\), got shape \(7, 1, 4, 4\)"):
        Query(nn.Identity()).logits(block()[0])
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        Query(Spy(), batch_size=0)


def test_tiles_cover_every_row_once() -> None:
    assert [list(range(7))[tile] for tile in tiles(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(tiles(0, 3)) == []


def test_a_loss_is_the_one_of_that_name_as_far_as_the_model_has_the_classes_for_it() -> None:
    x, _ = block()
    query = as_query(Spy(), x)
    assert query.loss("dlr") is dlr  # the number of classes is not known yet
    query.probe(x)
    assert query.loss("dlr") is dlr
    query.classes = 2
    assert query.loss("dlr") is margin
    assert query.flags == {"margin_instead_of_dlr"}
    assert query.loss("ce") is ce


def test_own_is_the_loss_that_came_with_the_model() -> None:
    assert Query(Spy(), own_loss=margin).loss("own") is margin
    with pytest.raises(ValueError, match="loss 'own' is the one that the model was trained with, and none came"):
        Query(Spy()).loss("own")
    with pytest.raises(ValueError, match=r"unknown loss 'onw'; allowed: ce, .*own.*; did you mean 'own'\?"):
        Query(Spy(), own_loss=margin).loss("onw")
