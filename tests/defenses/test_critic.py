"""The adversary critic against sample-by-sample references, and its unrolled attack against finite differences."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from sklearn.datasets import load_digits
from small import Small, assert_same, gradients, images
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.high_confidence import high_confidence
from touchstone.data import DATASETS
from touchstone.defenses.critic import VARIANTS, Adversary, AdversaryCritic, mean, nearest_class, other_class, unrolled
from touchstone.models.classifier import build
from touchstone.models.mlp import Noise
from touchstone.query import Query
from touchstone.types import Bounds, Step

Y = torch.tensor([0, 3, 1, 2, 0, 2])
QUIET = {"hidden": 5, "input_noise": 0.0, "hidden_noise": 0.0}
BOTH = pytest.mark.parametrize("variant", ["printed", "coded"])


def sharp(scale: float = 2.0, seed: int = 0) -> Small:
    """A net whose confidences differ, and whose boundaries are within reach."""
    model = Small(9, 7, 4, seed=seed)
    with torch.no_grad():
        model.first.weight.mul_(scale)
        model.classifier.weight.mul_(scale)
    return model


def slope(model: Small, x: Tensor) -> Tensor:
    """Jacobian (classes, inputs) at one flat input."""
    return model.classifier.weight * (1 - model.first(x).tanh() ** 2) @ model.first.weight


def walk(
    model: Small, x: Tensor, target: int, c: Tensor, variant: str, steps: int, at: list | None = None
) -> tuple[Tensor, list]:
    """The attack on one flat image, and (iterate, sigmoid, indicator) of each step.

    With the list of another run as `at` those that carry no gradient are taken from there: what is left of the function
    has that gradient as its derivative.
    """
    coded = variant == "coded"
    stretch, trace, total, product = 1.05 if coded else 1.0, [], torch.zeros_like(x), 1.0
    for i in range(steps):
        z = x + stretch * total
        if coded:
            z = at[i][0] if at else z.detach()
        p = model.classifier(model.first(z).tanh()).softmax(dim=0)
        soft = torch.sigmoid(c - p[target])
        hard = at[i][2] if at else float(p[target] < c)
        product = product * (soft - (at[i][1] if at else soft.detach()) + hard)
        trace.append((z.detach(), soft.detach(), hard))
        jacobian = slope(model, z)
        w = jacobian[target] - p @ jacobian  # of log p_target
        if coded:
            length = (w @ w + 1e-8).sqrt()
            r = (1e-4 + (c.log() - p[target].log()).abs() / length) * w / length
        else:
            r = (c.log() - p[target].log()).abs() * w / (w @ w)
        total = total + product * r
    return x + stretch * total, trace


def closest(model: Small, x: Tensor, origin: int) -> int:
    logits, jacobian = model.classifier(model.first(x).tanh()).detach(), slope(model, x).detach()
    away = [float((logits[k] - logits[origin]).abs() / (jacobian[k] - jacobian[origin]).norm()) for k in range(4)]
    return min((k for k in range(4) if k != origin), key=away.__getitem__)


@BOTH
def test_gradient_of_the_unrolled_attack_against_finite_differences(variant: str) -> None:
    model, x = sharp(), images(6)
    targets, goals = (Y + 1) % 4, torch.tensor([0.9, 0.3, 0.99, 0.6, 0.1, 0.9], dtype=torch.float64)
    ours = unrolled(model, x, targets, goals.log(), steps=4, **VARIANTS[variant].attack)
    runs = [walk(model, *row, variant, 4) for row in zip(x.flatten(1), targets.tolist(), goals, strict=True)]
    torch.testing.assert_close(ours.flatten(1), torch.stack([end for end, _ in runs]))
    assert {hard for _, trace in runs for _, _, hard in trace} == {0.0, 1.0}
    weight = images(6, seed=1) - 0.5
    derivative = gradients((weight * ours).sum(), model)

    def value() -> Tensor:
        rows = zip(x.flatten(1), targets.tolist(), goals, runs, strict=True)
        ends = [walk(model, row, t, c, variant, 4, at=trace)[0] for row, t, c, (_, trace) in rows]
        return (weight.flatten(1) * torch.stack(ends)).sum()

    h = 1e-6
    generator = torch.Generator().manual_seed(0)
    for parameter, exact in zip(model.parameters(), derivative, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parameter += h * direction
            above = value()
            parameter -= 2 * h * direction
            below = value()
            parameter += h * direction
        assert ((above - below) / (2 * h)).item() == pytest.approx((exact * direction).sum().item(), rel=1e-5, abs=1e-7)


def test_training_and_evaluation_share_their_steps() -> None:
    """Without a box, a longest step and the floor the attack of the evaluation stops where the unrolled one does."""
    model, x = sharp(), images(6)
    y = model(x).argmax(dim=1)
    query = Query(model, bounds=Bounds(-math.inf, math.inf))
    options = {"steps": 30, "target_confidence": 0.9, "longest": None, "overshoot": 0.02}
    found = high_confidence(query, x, y, norm="l2", rng=0, **options)
    assert found.found.any()
    goal = torch.full((6,), math.log(0.9), dtype=torch.float64)
    constants = {"steps": 30, "through": False, "nudge": 1e-4, "overshoot": 0.02}
    ends = unrolled(model, x, nearest_class(model, x, y), goal, **constants)
    torch.testing.assert_close(ends[found.found].detach(), found.x_adv[found.found])


def test_where_the_model_is_flat_the_attack_stays_and_gradients_are_finite() -> None:
    model, x = Small(9, 7, 4), images(6)
    with torch.no_grad():
        model.first.weight.zero_()
    for variant in VARIANTS.values():
        ends = unrolled(model, x, Y, torch.full((6,), -0.1, dtype=torch.float64), steps=3, **variant.attack)
        assert torch.equal(ends, x)
        assert all(g.isfinite().all() for g in gradients(ends.sum(), model))


def reference(
    model: Small, critic: Callable[[Tensor], Tensor], x: Tensor, c: Tensor, defense: AdversaryCritic
) -> tuple[Tensor, Tensor]:
    """Losses of the critic and of the classifier for confidences c of the classes."""
    coded, constants = defense.variant == "coded", (defense.variant, defense.attack_steps)
    critics, gans, cycles, penalties = [], [], [], {0: [], 1: []}
    for row, y in zip(x.flatten(1), Y.tolist(), strict=True):
        clean = model(row[None])[0].softmax(dim=0)
        origin = int(clean.argmax()) if coded else y
        target = closest(model, row, origin)
        there, _ = walk(model, row, target, c[target], *constants)
        taken = int(model(there[None]).argmax()) if coded else target
        start, c_back = (there.detach(), clean[origin]) if coded else (there, c[origin])
        back, _ = walk(model, start, origin, c_back, *constants)
        for kind, (image, label) in enumerate([(row, y), (there.detach(), taken)]):
            image = image.clone().requires_grad_()
            logit = critic(image.view(1, 1, 3, 3))[0, label]
            (g,) = torch.autograd.grad(logit, image, create_graph=True)
            critics.append(-torch.log(torch.sigmoid(-logit if kind else logit)))
            penalties[kind].append((g.norm() - 1) ** 2)
        if not coded or taken != origin:
            gans.append(-torch.log(torch.sigmoid(critic(there.view(1, 1, 3, 3))[0, taken])))
            distance = ((back - row) ** 2).sum()
            cycles.append(distance if coded else distance.sqrt())
    penalty = sum(sum(p) for p in penalties.values()) / 6
    ce = F.cross_entropy(model(x), Y)
    gan, cycle = sum(gans) / len(gans), sum(cycles) / len(cycles)
    return sum(critics) / 6 + defense.gradient_penalty * penalty, ce + defense.lam * gan + defense.cycle * cycle


def both(
    defense: AdversaryCritic, model: nn.Module, batch: tuple[Tensor, Tensor], epoch: int = 9, seed: int = 0
) -> tuple[Iterator[Step], Adversary]:
    extra = defense.setup(model, 4)
    return defense.steps(model, extra, *batch, seed=seed, epoch=epoch), extra


@BOTH
@pytest.mark.parametrize("seed", [0, 8])
def test_losses_and_gradients_of_both_steps(variant: str, seed: int) -> None:
    """With seed 8 some images are left where they are taken for what they are, some for neither that nor the target."""
    model, x = sharp(4.0 if seed else 2.0, seed), images(6)
    options = {"cycle": 0.3, "gradient_penalty": 2.0, "attack_steps": 1 if seed else 3}
    defense = AdversaryCritic(variant, 0.5, **options, **QUIET)
    stream, extra = both(defense, model, (x, Y))
    if seed:
        extra.observe = lambda p, decay: extra.confidence.copy_(torch.tensor([0.9, 0.3, 0.6, 0.4]))  # noqa: ARG005
    first = next(stream)
    for_critic, for_model = reference(model, extra.critic, x, extra.confidence, defense)
    assert_same(first.loss, for_critic, extra)
    second = next(stream)
    assert_same(second.loss, for_model, model)
    for step in (first, second):
        torch.testing.assert_close(step.loss, sum(step.terms.values()))
    assert next(stream, None) is None


def test_the_variants_do_not_agree() -> None:
    losses = []
    for variant in VARIANTS:
        stream, _ = both(AdversaryCritic(variant, 0.5, **QUIET), sharp(), (images(6), Y))
        losses.append([step.loss.item() for step in stream])
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_gradient_penalty_of_a_linear_critic_is_that_of_its_weight_vectors() -> None:
    model, x = sharp(), images(6)
    stream, extra = both(AdversaryCritic("printed", 0.5, gradient_penalty=3.0, **QUIET), model, (x, Y))
    extra.critic = nn.Sequential(nn.Flatten(), nn.Linear(9, 4).double())
    off = (extra.critic[1].weight.norm(dim=1) - 1) ** 2
    targets = nearest_class(model, x, Y)
    closed = 3.0 * (off[Y].mean() + off[targets].mean())
    step = next(stream)
    torch.testing.assert_close(step.terms["critic_gradient"], closed)
    weight = extra.critic[1].weight
    ours, theirs = (
        torch.autograd.grad(v, weight, retain_graph=True)[0] for v in (step.terms["critic_gradient"], closed)
    )
    torch.testing.assert_close(ours, theirs)


@BOTH
def test_without_weights_the_classifier_learns_from_cross_entropy_alone(variant: str) -> None:
    model, x = sharp(), images(6)
    stream, _ = both(AdversaryCritic(variant, 0.0, cycle=0.0, **QUIET), model, (x, Y))
    _, step = stream
    assert_same(step.loss, F.cross_entropy(model(x), Y), model)


@BOTH
def test_pre_training_is_cross_entropy_and_counts_confidences(variant: str) -> None:
    model, x = sharp(), images(6)
    stream, extra = both(AdversaryCritic(variant, 0.5, pretrain_epochs=2, **QUIET), model, (x, Y), epoch=2)
    (step,) = stream
    decay = 2.5e-6 * (model.first.weight**2).sum() if variant == "coded" else 0.0
    expected = F.cross_entropy(model(x), Y) + decay
    assert step.group == "model"
    assert_same(step.loss, expected, _Only(model.first))
    assert (extra.confidence < 1).any()
    later, _ = both(AdversaryCritic(variant, 0.5, pretrain_epochs=2, **QUIET), model, (x, Y), epoch=3)
    assert [step.group for step in later] == ["critic", "model"]


class _Only(nn.Module):
    """A part of a model, for its parameters."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part


def test_as_coded_only_images_that_the_attack_has_moved_to_another_class_count() -> None:
    """Confidences that every image has already: nothing moves, and nothing is asked of the classifier."""
    model, x = sharp(), images(6)
    terms = {}
    for variant in VARIANTS:
        stream, extra = both(AdversaryCritic(variant, 0.5, confidence_decay=0.0, **QUIET), model, (x, Y))
        extra.observe = lambda p, decay: None  # noqa: ARG005
        extra.confidence.fill_(1e-30)
        *_, step = stream
        assert all(g.isfinite().all() for g in gradients(step.loss, model))
        terms[variant] = step.terms
    assert terms["coded"]["gan"].item() == terms["coded"]["cycle"].item() == 0.0
    assert terms["printed"]["gan"] > 0


def test_a_mean_of_what_counts() -> None:
    values = torch.tensor([1.0, 2.0, 4.0])
    assert mean(values, torch.tensor([1.0, 0.0, 1.0])) == 2.5
    assert mean(values, torch.zeros(3)) == 0.0


def test_running_confidences_by_hand() -> None:
    """0.5, 0.25, ... over their sum: after two batches the last one weighs 2/3; class 2 is never predicted."""
    extra = Adversary(nn.Identity(), 3)
    extra.observe(torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.5, 0.4]]), 0.5)
    torch.testing.assert_close(extra.confidence, torch.tensor([0.7, 0.5, 1.0]))
    extra.observe(torch.tensor([[0.4, 0.3, 0.3]]), 0.5)
    torch.testing.assert_close(extra.confidence, torch.tensor([0.7 / 3 + 2 * 0.4 / 3, 0.5, 1.0]))
    extra.observe(torch.tensor([[0.9, 0.1, 0.0]]), 0.0)
    torch.testing.assert_close(extra.confidence, torch.tensor([0.9, 0.5, 1.0]))


def test_a_state_dict_holds_critic_and_confidences() -> None:
    defense, model = AdversaryCritic("coded", 0.5, **QUIET), sharp()
    extra = defense.setup(model, 4)
    extra.observe(torch.tensor([[0.8, 0.1, 0.1, 0.0]], dtype=torch.float64), 0.5)
    again = defense.setup(model, 5)
    assert not torch.equal(again.critic.fc1.weight, extra.critic.fc1.weight)
    again.load_state_dict(extra.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), extra.state_dict().values(), strict=True))
    assert {"confidence", "batches", "critic.fc3.weight"} <= extra.state_dict().keys()


def test_each_optimiser_moves_its_own_weights() -> None:
    model = sharp()
    stream, extra = both(AdversaryCritic("coded", 0.5, **QUIET), model, (images(6), Y))
    ours = {"critic": list(extra.critic.parameters()), "model": list(model.parameters())}
    for step, group in zip(stream, ("critic", "model"), strict=True):
        assert step.group == group
        before = {name: [p.detach().clone() for p in parameters] for name, parameters in ours.items()}
        parameters = list(step.parameters)
        assert {id(p) for p in parameters} == {id(p) for p in ours[group]}
        for p, grad in zip(parameters, torch.autograd.grad(step.loss, parameters), strict=True):
            p.data -= 0.1 * grad
        moved = {n: any(not torch.equal(a, b) for a, b in zip(before[n], ours[n], strict=True)) for n in ours}
        assert moved == {"critic": group == "critic", "model": group == "model"}


def test_the_classifier_faces_the_critic_after_its_step() -> None:
    model = sharp()
    stream, extra = both(AdversaryCritic("printed", 0.5, **QUIET), model, (images(6), Y))
    next(stream)
    with torch.no_grad():
        extra.critic.fc3.weight.zero_()
    assert next(stream).terms["gan"].item() == pytest.approx(0.5 * math.log(2))


def test_noise_comes_from_the_batch_s_seed_alone() -> None:
    defense, batch = AdversaryCritic("coded", 0.5, hidden=5), (images(6), Y)
    losses = []
    for seed, rng in ((0, 1), (1, 1), (1, 2)):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        losses.append([step.loss.item() for step in both(defense, sharp(), batch, seed=rng)[0]])
        assert torch.equal(torch.get_rng_state(), state)
    assert losses[0] == losses[1]
    assert losses[1][0] != losses[2][0]
    assert losses[1][1] != losses[2][1]


def test_the_attack_runs_in_eval_mode_and_modes_come_back() -> None:
    """A batch norm learns from the pass of cross-entropy, and from no other."""
    model = sharp()
    model.first = nn.Sequential(model.first, nn.BatchNorm1d(7).double(), nn.Dropout(0.5))
    model.train()
    model.first[2].eval()
    list(both(AdversaryCritic("coded", 0.5, **QUIET), model, (images(6), Y))[0])
    assert model.first[1].num_batches_tracked == 1
    assert [m.training for m in (model, *model.first)] == [True, True, True, False]


@BOTH
def test_it_overfits_64_digits(variant: str) -> None:
    bunch = load_digits()
    x = torch.from_numpy(bunch.images[:64] / 16).float()[:, None]
    y = torch.from_numpy(bunch.target[:64])
    model = Small(64, 64, 10).float()
    defense = AdversaryCritic(variant, 0.1, hidden=32)
    extra = defense.setup(model, 0)
    parameters = {"critic": extra.critic.parameters(), "model": model.parameters()}
    optimizers = {group: torch.optim.Adam(p, lr=0.02, betas=(0.5, 0.999)) for group, p in parameters.items()}
    for epoch in range(1, 21):
        for step in defense.steps(model, extra, x, y, seed=epoch, epoch=epoch):
            assert step.loss.isfinite()
            optimizers[step.group].zero_grad()
            step.loss.backward(inputs=list(step.parameters))
            optimizers[step.group].step()
    assert (model(x).argmax(dim=1) == y).double().mean() > 0.95
    assert step.terms["gan"] > 0


def test_the_critic_has_the_noise_that_was_asked_for() -> None:
    defense = AdversaryCritic("coded", 0.5, hidden=5, input_noise=0.1, hidden_noise=0.7)
    critic = defense.setup(Small(9, 7, 4), 0).critic
    assert [part.std for part in critic.modules() if isinstance(part, Noise)] == [0.1, 0.7, 0.7]


def test_a_built_model_knows_its_shape() -> None:
    extra = AdversaryCritic("coded", 0.1, hidden=8).setup(build("lenet", DATASETS["digits-rgb"], seed=0), 0)
    assert extra.critic.fc1.in_features == 3 * 32 * 32
    assert extra.critic.fc3.out_features == 10


def test_a_model_has_to_know_its_shape() -> None:
    with pytest.raises(ValueError, match="the shape of the images, which Linear does not know"):
        AdversaryCritic("coded", 0.5).setup(nn.Linear(9, 4), 0)


# ---- what section 4.4 compares with: another target, and a critic that is told the class in every layer


def test_a_random_target_is_any_class_but_the_one_to_leave() -> None:
    origin = torch.arange(4).repeat(500)
    target = other_class(origin, 4, seed=3)
    assert target.dtype == torch.int64
    counts = torch.zeros(4, 4, dtype=torch.int64).index_put_((origin, target), torch.tensor(1), accumulate=True)
    assert (counts.diagonal() == 0).all()
    expected = 500 / 3
    statistic = sum((counts[a, b] - expected) ** 2 / expected for a in range(4) for b in range(4) if a != b)
    assert statistic < 20.1  # chi squared, 8 degrees of freedom, 1 %
    assert torch.equal(target, other_class(origin, 4, seed=3))
    assert not torch.equal(target, other_class(origin, 4, seed=4))


@BOTH
def test_with_a_random_target_everything_else_is_the_same(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses are those of the whole defense where the nearest class is the one drawn."""
    model, x = sharp(), images(6)
    origin = model(x).argmax(dim=1) if variant == "coded" else Y
    drawn = other_class(origin, 4, seed=5)
    assert not torch.equal(drawn, nearest_class(model, x, origin))
    stream, _ = both(AdversaryCritic(variant, 0.5, target="random", **QUIET), model, (x, Y), seed=5)
    ours = [step.loss for step in stream]
    monkeypatch.setattr("touchstone.defenses.critic.nearest_class", lambda *_: drawn)
    stream, _ = both(AdversaryCritic(variant, 0.5, **QUIET), model, (x, Y), seed=5)
    torch.testing.assert_close(ours, [step.loss for step in stream], rtol=0, atol=0)


def told(net: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """The critic that is told the class in every layer, by hand."""
    label, h = torch.eye(4, dtype=x.dtype)[classes], x.flatten(1)
    for name in ("fc1", "fc2"):
        layer = getattr(net, name)
        h = F.leaky_relu(torch.cat([h, label], dim=1) @ layer.weight.T + layer.bias, 0.2)
    return (torch.cat([h, label], dim=1) @ net.fc3.weight.T + net.fc3.bias).squeeze(1)


def test_a_critic_that_is_told_the_class_in_every_layer() -> None:
    """One logit per image; each layer sees the class beside what comes in, and none of the classes' logits is left."""
    extra = AdversaryCritic("coded", 0.5, label_in="every", **QUIET).setup(sharp(), 4)
    shapes = [tuple(layer.weight.shape) for layer in extra.critic.modules() if isinstance(layer, nn.Linear)]
    assert shapes == [(5, 9 + 4), (5, 5 + 4), (1, 5 + 4)]
    assert all(not layer.bias.any() for layer in extra.critic.modules() if isinstance(layer, nn.Linear))
    x, generator = images(6), torch.Generator()
    for classes in (Y, (Y + 1) % 4):
        torch.testing.assert_close(extra(x, classes, generator), told(extra.critic, x, classes))
    assert not torch.allclose(extra(x, Y, generator), extra(x, (Y + 1) % 4, generator))


@BOTH
def test_both_steps_ask_the_critic_that_is_told_the_class(variant: str) -> None:
    """Its losses and gradients are the reference's with that critic's answers for all classes in place of logits."""
    model, x = sharp(), images(6)
    defense = AdversaryCritic(variant, 0.5, label_in="every", cycle=0.3, gradient_penalty=2.0, attack_steps=3, **QUIET)
    stream, extra = both(defense, model, (x, Y))
    first = next(stream)

    def logits(x: Tensor) -> Tensor:
        return torch.stack([told(extra.critic, x, torch.full((len(x),), k)) for k in range(4)], dim=1)

    for_critic, for_model = reference(model, logits, x, extra.confidence, defense)
    assert_same(first.loss, for_critic, extra)
    assert_same(next(stream).loss, for_model, model)


def test_the_critic_that_is_told_the_class_has_the_noise_that_was_asked_for() -> None:
    defense = AdversaryCritic("coded", 0.5, hidden=5, input_noise=0.1, hidden_noise=0.7, label_in="every")
    extra = defense.setup(Small(9, 7, 4), 0)
    assert [part.std for part in extra.critic.modules() if isinstance(part, Noise)] == [0.1, 0.7, 0.7]
    ask = [extra(images(6), Y, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(ask[0], ask[1])
    assert not torch.equal(ask[0], ask[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "neurips"}, "variant must be one of 'printed', 'coded', got 'neurips'"),
        ({"lam": -1.0}, "lam must be finite float >= 0, got -1.0"),
        ({"attack_steps": 0}, "attack_steps must be int >= 1 and <= 1000000000, got 0"),
        ({"target": "any"}, "target must be one of 'nearest', 'random', got 'any'"),
        ({"label_in": "first"}, "label_in must be one of 'last', 'every', got 'first'"),
        ({"confidence_decay": 1.0}, "confidence_decay must be float >= 0 and < 1"),
        ({"hidden_noise": math.nan}, "hidden_noise must be finite float >= 0, got nan"),
    ],
)
def test_constants_are_checked(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdversaryCritic(**{"variant": "coded", "lam": 0.5, **options})
