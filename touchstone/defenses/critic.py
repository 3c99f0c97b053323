"""The adversary critic: adversarial images that a second net cannot tell from natural ones of their class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks.boundary import nearest_boundary
from touchstone.attacks.high_confidence import confidence_step, likelihood
from touchstone.defenses.base import Objective, classifier, means, step, weights
from touchstone.models.labelled_critic import labelled_critic
from touchstone.models.mlp import Noise, critic
from touchstone.norms import distance, rowwise
from touchstone.query import as_query, evaluating
from touchstone.ranges import BelowOne, Count, NotNegative, PrintedOrCoded, Whole
from touchstone.rng import as_rng
from touchstone.types import Step


class Variant(NamedTuple):
    """Where the author's code is not what the thesis prints.

    Attributes:
        attack: constants of `unrolled`; without `through` the way back starts at a constant, too.
        predicted: classes are what the classifier predicts, not the label and the attack's target; so only images whose
            prediction the attack has changed count for the classifier.
        squared: whether the distance of the cycle is.
        decay: weight of half the sum of squares of all weights but the last layer's, while pre-training.
    """

    attack: Mapping[str, float]
    predicted: bool
    squared: bool
    decay: float


VARIANTS = {
    "printed": Variant({"through": True}, predicted=False, squared=False, decay=0.0),
    "coded": Variant(
        {"through": False, "nudge": 1e-4, "floor": 1e-4, "overshoot": 0.05}, predicted=True, squared=True, decay=5e-6
    ),
}


class Critic(NamedTuple):
    """Where a critic learns the class that it judges an image of.

    Attributes:
        build: (shape, classes, *, hidden, input_noise, hidden_noise) -> the net.
        logit: (net, x (B, C, H, W), classes (B,)) -> (B,), how natural each image looks for its class.
    """

    build: Callable[..., nn.Module]
    logit: Callable[[nn.Module, Tensor, Tensor], Tensor]


CRITICS = {
    "last": Critic(critic, lambda net, x, classes: net(x).gather(1, classes[:, None]).squeeze(1)),
    "every": Critic(labelled_critic, lambda net, x, classes: net(x, classes)),
}

# (model, x, class to leave, number of classes, seed) -> class to reach
TARGETS: dict[str, Callable[[nn.Module, Tensor, Tensor, int, int], Tensor]] = {
    "nearest": lambda model, x, origin, _classes, _seed: nearest_class(model, x, origin),
    "random": lambda _model, _x, origin, classes, seed: other_class(origin, classes, seed),
}


@dataclass(frozen=True)
class AdversaryCritic(Objective):
    """Two steps per batch: the critic's, then mean CE(x) + lam * mean -log D_k(x') + cycle * mean |x'' - x|.

    x' is the high-confidence attack on x towards the class k of the nearest boundary, x'' the attack on x' back to
    the class of x, and D_k the critic's probability that an image taken for class k is natural. The critic is trained
    by cross-entropy, with a penalty on the length of its gradient at x and at x'. The attack aims at the running mean
    of the confidence that images of its target have. It is unrolled: the classifier's gradient passes through it.

    Source: Matyasko (2020), sections 4.4 and 4.5, eqs. 4.3 to 4.5 and alg. 1; Gulrajani et al. (2017) for the
    penalty. The signs of eqs. 4.3 and 4.4 are those of the text and of the code: as printed the critic's objective has
    no lower bound. Expectations are means over the batch. What else the code does differently is in VARIANTS. The
    indicator that stops the attack has the gradient of sigmoid(C - p) in both. The way back aims at the running mean of
    y as printed, and as coded at the confidence of x, which carries gradients too. Deviation: the code updates the
    running means at each evaluation of the attack, two or three times per batch; here it is once. Printed steps have
    no longest one: where the slope all but vanishes an image may go anywhere.

    The attack sees the model in eval mode. Its critic, for images of the model's `shape`, is drawn in setup.

    Section 4.4 says what the defense was compared with: a target drawn from the other classes, and a critic that is
    told the class in every layer, as that of Li et al. (2017), Triple-GAN.

    Args:
        variant: "printed" or "coded".
        lam: weight of the critic's judgement, >= 0; 0.5 for the MLP and 0.1 for LeNet.
        cycle: weight of the distance after the way there and back, >= 0.
        gradient_penalty: weight of the mean of (|grad_x D's logit| - 1)^2, >= 0.
        attack_steps: of the attack, >= 1.
        confidence_decay: what the running means keep of their past with each batch, in [0, 1).
        pretrain_epochs: first epochs with cross-entropy alone, >= 0; they fill the running means.
        hidden: width of the critic's hidden layers, >= 1.
        input_noise: standard deviation of the noise on the critic's images, in pixels, >= 0.
        hidden_noise: that of the noise on its hidden layers, >= 0.
        target: of the attack: "nearest", the class of the nearest boundary, or "random", any but the one to leave.
        label_in: where the critic has the class: "last", a logit for each class, or "every" layer, and one logit.

    Raises:
        ValueError: for a constant outside what is said above; from setup, for a model that does not know its shape.
    """

    variant: PrintedOrCoded
    lam: NotNegative
    cycle: NotNegative = 0.01
    gradient_penalty: NotNegative = 10.0
    attack_steps: Count = 5
    confidence_decay: BelowOne = 0.5
    pretrain_epochs: Whole = 1
    hidden: Count = 1200
    input_noise: NotNegative = 0.1
    hidden_noise: NotNegative = 0.5
    target: Literal["nearest", "random"] = "nearest"
    label_in: Literal["last", "every"] = "last"

    def setup(self, model: nn.Module, seed: int) -> Adversary:
        """Return the critic, initialised from `seed`, with running means of one."""
        shape = getattr(model, "shape", None)
        if shape is None:
            raise ValueError(f"the critic needs the shape of the images, which {type(model).__name__} does not know")
        layer, kind = classifier(model), CRITICS[self.label_in]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            noise = {"input_noise": self.input_noise, "hidden_noise": self.hidden_noise}
            net = kind.build(shape, layer.out_features, hidden=self.hidden, **noise)
        return Adversary(net, layer.out_features, kind.logit).to(layer.weight)

    def steps(
        self, model: nn.Module, extra: Adversary, x: Tensor, y: Tensor, *, seed: int, epoch: int
    ) -> Iterator[Step]:
        """Yield the critic's step, then the classifier's; while pre-training the latter alone."""
        way, logits = VARIANTS[self.variant], model(x)
        terms = means(self.parts(logits, y))
        extra.observe(logits.detach().softmax(dim=1), self.confidence_decay)
        if epoch <= self.pretrain_epochs:
            hidden = [w for w in weights(model, "all") if w is not classifier(model).weight]
            yield step(model, **terms, decay=way.decay / 2 * sum(w.square().sum() for w in hidden))
            return
        constants = {"steps": self.attack_steps, **way.attack}
        with evaluating(model):
            clean = model(x)
            origin = clean.argmax(dim=1) if way.predicted else y
            target = TARGETS[self.target](model, x, origin, len(extra.confidence), seed)
            there = unrolled(model, x, target, extra.confidence[target].log(), **constants)
            taken = model(there).argmax(dim=1) if way.predicted else target
            start = there if constants["through"] else there.detach()
            goal = likelihood(clean, origin) if way.predicted else extra.confidence[origin].log()
            back = unrolled(model, start, origin, goal, **constants)
        generator = torch.Generator(x.device).manual_seed(seed)
        yield self.critic_step(extra, (x, y), (there.detach(), taken), generator)
        fooled = (taken != origin).to(x.dtype)  # as printed all are: a target is never the class to leave
        natural = F.softplus(-extra(there, taken, generator))  # -log D, by the critic that has just been trained
        error = distance(back - x, "l2")
        terms["gan"] = self.lam * mean(natural, fooled)
        terms["cycle"] = self.cycle * mean(error.square() if way.squared else error, fooled)
        yield step(model, **terms)

    def critic_step(
        self, extra: Adversary, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> Step:
        """Return the step of the critic on natural images (B, C, H, W), their classes (B,), and on the attack's."""
        terms, penalty = {}, 0.0
        for name, sign, (x, classes) in (("critic_real", -1, real), ("critic_fake", 1, fake)):
            x = x.detach().requires_grad_()
            logits = extra(x, classes, generator)
            (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
            terms[name] = F.softplus(sign * logits).mean()
            penalty = penalty + (distance(slope, "l2") - 1).square().mean()
        terms["critic_gradient"] = self.gradient_penalty * penalty
        return Step(extra.critic.parameters(), sum(terms.values()), terms, group="critic")


class Adversary(nn.Module):
    """What changes with the training besides the model: the critic, and the model's mean confidence in each class.

    Args:
        net: the critic.
        classes: how many there are.
        logit: how the net is asked about an image and its class, as `Critic` says.
    """

    confidence: Tensor
    batches: Tensor

    def __init__(
        self,
        net: nn.Module,
        classes: int,
        logit: Callable[[nn.Module, Tensor, Tensor], Tensor] = CRITICS["last"].logit,
    ) -> None:
        super().__init__()
        self.critic = net
        self.logit = logit
        self.register_buffer("confidence", torch.ones(classes))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
        """Return the logit (B,) of each image for its class (B,) int64; the critic's noise comes from `generator`."""
        for layer in self.critic.modules():
            if isinstance(layer, Noise):
                layer.generator = generator
        return self.logit(self.critic, x, classes)

    @torch.no_grad()
    def observe(self, p: Tensor, decay: float) -> None:
        """Update the running means with a batch of probabilities (B, classes), grouped by the predicted class.

        Batches weigh decay^age over the sum of these weights, as in TensorFlow's moving average without bias; the
        first one replaces what the means start from. A class that no image is taken for keeps its mean.
        """
        confidence, predicted = p.max(dim=1)
        members = F.one_hot(predicted, p.shape[1]).to(p.dtype)
        count = members.sum(dim=0)
        total = (confidence[:, None] * members).sum(dim=0)  # no matrix product: autocast would round it
        change = torch.where(count > 0, total / count - self.confidence, 0.0)
        self.batches += 1
        self.confidence += (1 - decay) / (1 - decay**self.batches) * change


def unrolled(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    goal: Tensor,
    *,
    steps: int,
    through: bool,
    nudge: float = 0.0,
    floor: float = 0.0,
    overshoot: float = 0.0,
) -> Tensor:
    """Return where the high-confidence attack ends (B, C, H, W), with a graph down to the weights; there is no box.

    Source: Matyasko (2020), alg. 1 and section 4.4: the steps r_i are summed as long as p < C; that indicator is
    round(sigmoid(C - p)), with the gradient of the sigmoid.

    Args:
        model: x -> logits (B, classes).
        x: (B, C, H, W).
        target: (B,) int64, the class to reach.
        goal: (B,) log C.
        steps: at most, >= 1.
        through: gradients pass through the iterates; otherwise each r_i is taken at a constant.
        nudge: see `confidence_step`, as is floor.
        floor: as above.
        overshoot: steps are stretched by 1 + overshoot.
    """
    total, going = torch.zeros_like(x), goal.new_ones(len(x))
    for _ in range(steps):
        z = x + (1 + overshoot) * total
        z = (z if through else z.detach()).requires_grad_()
        value = likelihood(model(z), target)
        (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
        below = torch.sigmoid(goal.exp() - value.exp())
        going = going * (below + (below.round() - below).detach())
        move = confidence_step(slope, goal - value, nudge=nudge, floor=floor)
        total = total + rowwise(going.to(x.dtype), x) * move
    return x + (1 + overshoot) * total


def nearest_class(model: nn.Module, x: Tensor, origin: Tensor) -> Tensor:
    """Return the class (B,) int64 whose boundary to `origin` (B,) is nearest, linearised at x (B, *shape)."""
    query = as_query(model, x)
    query.probe(x)
    return nearest_boundary(query, x, origin, torch.arange(len(x), device=x.device), "l2")[0]


def other_class(origin: Tensor, classes: int, seed: int) -> Tensor:
    """Return a class (B,) int64 drawn evenly from the `classes` but `origin` (B,)."""
    steps = 1 + as_rng(seed, len(origin), origin.device).integers(classes - 1, ())
    return (origin + steps) % classes


def mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of those values (B,) that count (B,), 0 if none does."""
    return (values * counted).sum() / counted.sum().clamp_min(1)
