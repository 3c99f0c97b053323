"""Models as other people write them, in whatever torch context they are: the same numbers, or a clear no."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from attacks.cases import CASES
from tiny_nets import Lambda, classifier, conv, samples
from torch import Tensor, nn
from torch.nn import functional as F

from touchstone.attacks import ATTACKS
from touchstone.attacks.autoattack import autoattack
from touchstone.attacks.pgd import pgd
from touchstone.data.prepare import load, prepare, to_float
from touchstone.defenses.at import Adversarial
from touchstone.defenses.ce import CrossEntropy
from touchstone.defenses.margin import MarginMaximization
from touchstone.evaluation import cascade, flags, published
from touchstone.evaluation.judge import logits
from touchstone.evaluation.preflight import preflight
from touchstone.evaluation.result import Member
from touchstone.models.classifier import Classifier, Normalize
from touchstone.models.net import split
from touchstone.paths import prepared
from touchstone.query import Query
from touchstone.recipe import Phase
from touchstone.registry import load as load_function
from touchstone.registry import options
from touchstone.threat import Threat
from touchstone.training import fit
from touchstone.types import Bounds, MinNorm

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
THREAT = Threat("linf", (0.1,))
PGD = Member("pgd", "pgd", {"steps": 3})


class Viewer(nn.Module):
    """A net that flattens with `view` behind a convolution, as most tutorials do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(channels, 4, 3, padding=1), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.fc(x.view(x.size(0), -1))


def viewer(channels: int = 1) -> tuple[Viewer, Tensor, Tensor]:
    torch.manual_seed(0)
    net = Viewer(channels)
    x = torch.rand(10, channels, 4, 4)
    return net, x, net(x).argmax(1)


def attack(name: str, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    spec = ATTACKS[name]
    budget = {} if spec.kind == "minimal" else {"eps": 0.1}
    more = {"substitute": model} if "substitute" in options(spec.fn) else {}
    given = {**CASES[name].quick, **more, **budget}
    out = load_function(spec.fn)(model, x, y, norm=spec.norms[0], rng=0, **given)
    return out.x_adv if isinstance(out, MinNorm) else out


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_flattens_with_view_is_asked_in_contiguous_memory(channels: int) -> None:
    net, x, y = viewer(channels)
    query = Query(net, batch_size=4)
    torch.testing.assert_close(query.logits(x), net(x))
    assert query.memory_format == torch.contiguous_format
    assert query.flags == {"contiguous_memory"}
    assert query.forwards.tolist() == [1] * 10
    torch.testing.assert_close(logits(net, x), net(x).detach())
    result = published.run(net, x, y, PGD, threat=THREAT, seed=0, batch_size=4)
    assert [flag["flag"] for flag in result.flags if flag["flag"] in flags.QUERY] == ["contiguous_memory"]


def test_another_error_of_a_model_is_not_taken_for_a_view() -> None:
    with pytest.raises(RuntimeError, match="must match"):
        Query(Lambda(viewer()[0], lambda z: z + torch.ones(3))).logits(viewer()[1])


@pytest.mark.parametrize(
    "defense",
    [
        CrossEntropy(),
        Adversarial(norm="linf", eps=0.1, attack_steps=2, step_size=0.05, clean=1.0),
        Adversarial(norm="linf", eps=0.1, attack_steps=2, step_size=0.05, space="normalized"),
        MarginMaximization("printed", "l2", 0.1),
    ],
    ids=["ce", "at", "normalized", "margin"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_that_flattens_with_view_can_be_trained(defense: object, channels: int) -> None:
    net, x, y = viewer(channels)
    model = Classifier(Normalize([0.5], [0.5]), split(net, (channels, 4, 4), 4), (channels, 4, 4))
    before = net.conv.weight.clone()
    phase = Phase(optimizer="adam", lr=0.1, epochs=1, batch_size=5)
    assert fit(model, defense, (x * 255).byte(), y, [phase], seed=0).status == "ok"
    assert not torch.equal(net.conv.weight, before)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["pgd", "fab", "cw", "ead", "square", "spsa", "sparsefool"])
def test_logits_of_another_type_are_brought_into_that_of_the_images(name: str, dtype: torch.dtype) -> None:
    model, x, y = viewer()
    found = attack(name, Lambda(model, lambda z: z.to(dtype)), x, y)
    assert found.dtype == torch.float32
    if dtype == torch.float64:
        assert torch.equal(found, attack(name, model, x, y))


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda z: (z, z), "a tuple of 2: return its logits alone"),
        (lambda z: {"logits": z, "aux": z}, "a dict of logits, aux: return its logits alone"),
        (lambda _: None, "a NoneType"),
        (lambda z: z[:, 0], r"shape \(1,\)"),
        (lambda z: z[:, :1], r"shape \(1, 1\)"),
        (lambda z: z[0], r"shape \(4,\)"),
        (lambda z: z.long(), "torch.int64"),
    ],
    ids=["tuple", "dict", "none", "numbers", "one", "row", "integers"],
)  # fmt: skip
def test_what_is_no_logits_is_named(change: Callable[[Tensor], object], got: str) -> None:
    net, x, y = viewer()
    model = Lambda(net, change)
    with pytest.raises(ValueError, match=rf"the model must return logits \(1, C\), got {got}.*at least 2 classes"):
        pgd(model, x[:1], y[:1], norm="linf", eps=0.1, rng=0)
    with pytest.raises(ValueError, match=r"the model must return logits"):
        published.run(model, x[:1], y[:1], PGD, threat=THREAT, seed=0, batch_size=4)


@contextmanager
def by_default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: by_default(torch.float64),
    "bfloat16": lambda: by_default(torch.bfloat16),
    "deterministic": deterministic,
}


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_the_callers_context_changes_no_number(context: Callable[[], AbstractContextManager]) -> None:
    model = conv()
    x, y = samples(model, 12)
    about = {"threat": THREAT, "seed": 0, "batch_size": 5}
    suite = [PGD, Member("apgd", "apgd", {"steps": 4}), Member("spsa", "spsa", {"steps": 2, "directions": 4})]

    def everything() -> tuple:
        worst = cascade.run(model, x.clone(), y.clone(), suite, **about)
        alone = published.run(model, x.clone(), y.clone(), PGD, **about)
        return worst.records, alone.records, preflight(model, x.clone(), y.clone(), **about)

    expected = everything()
    with context():
        found = everything()
    assert found[0].equals(expected[0])
    assert found[1].equals(expected[1])
    assert found[2] == expected[2]


@pytest.mark.parametrize("context", ["inference_mode", "autocast"])
def test_an_attack_called_where_it_could_not_work_says_so(context: str) -> None:
    """In inference mode every gradient would be zero, and the model look robust."""
    model, x, y = viewer()
    with CONTEXTS[context](), pytest.raises(ValueError, match="call it outside"):
        pgd(model, x, y, norm="linf", eps=0.1, rng=0)


@pytest.mark.parametrize("name", ["pgd", "cw", "square", "autoattack"])
@pytest.mark.parametrize("context", ["no_grad", "float64", "deterministic"])
def test_an_attack_called_in_another_context_finds_the_same(name: str, context: str) -> None:
    if name == "autoattack":
        pytest.importorskip("pyautoattack")
    model = conv()
    x, y = samples(model, 6)
    expected = attack(name, model, x, y)
    with CONTEXTS[context]():
        assert torch.equal(attack(name, model, x, y), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (255 * x, y), r"x must be pixels in \[0, 1\], got \[.*\]: divide by 255"),
        (lambda x, y: ((255 * x).byte(), y), "got torch.uint8: divide by 255"),
        (lambda x, y: (x.half(), y), r"got torch.float16: convert it with .float\(\)"),
        (lambda x, y: (x - 0.5, y), "scale the images"),
        (lambda x, y: (torch.where(x > 0.9, torch.nan, x), y), "x must be pixels"),
        (lambda x, y: (x, F.one_hot(y, 4)), r"of one-hot labels take y.argmax\(1\)"),
        (lambda x, y: (x, y[:-1]), r"y must be \(12,\) int64"),
        (lambda x, y: (x, y.float()), r"y must be \(12,\) int64"),
        (lambda x, y: (x, y + 4), r"y must be in \[0, 4\)"),
        (lambda x, y: (x, y - 4), r"y must be in \[0, 4\)"),
    ],
    ids=["255", "bytes", "half", "shifted", "nan", "one-hot", "fewer", "float", "beyond", "below"],
)  # fmt: skip
@pytest.mark.parametrize("member", [PGD, Member("clean", "clean")], ids=["pgd", "clean"])
def test_samples_that_mean_nothing_are_refused_at_the_start(change: Callable, message: str, member: Member) -> None:
    model = conv()
    x, y = change(*samples(model, 12))
    with pytest.raises(ValueError, match=message):
        published.run(model, x, y, member, threat=THREAT if member is PGD else None, seed=0, batch_size=8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: ((255 * x).byte(), y), "got torch.uint8: divide by 255"),
        (lambda x, y: (x.half(), y), r"got torch.float16: convert it with .float\(\)"),
        (lambda x, y: (x, F.one_hot(y, 4)), r"of one-hot labels take y.argmax\(1\)"),
        (lambda x, y: (torch.cat([x] * 18), torch.cat([y] * 17)), r"y must be \(216,\) int64, got \(204,\)"),
        (lambda x, y: (x, y + 4), r"y must be in \[0, 4\)"),
    ],
    ids=["bytes", "half", "one-hot", "fewer, beyond what is looked at", "beyond"],
)  # fmt: skip
def test_preflight_refuses_samples_that_mean_nothing(change: Callable, message: str) -> None:
    """What is out of range it measures."""
    model = conv()
    x, y = change(*samples(model, 12))
    with pytest.raises(ValueError, match=message):
        preflight(model, x, y, threat=THREAT, seed=0, batch_size=256)


FAR = [
    *(
        ("linf", 1.01, name, r"no linf distance exceeds 1, got epsilon 1.01; of 0 to 255 take")
        for name in ("pgd", "spsa")
    ),
    ("l2", 7.0, "mim", r"no l2 distance exceeds 6.9282, got epsilon 7"),
    ("l1", 49.0, "apgd", r"no l1 distance exceeds 48"),
    ("l0", 17.0, "noise", r"no l0 distance exceeds 16"),
]


@pytest.mark.parametrize(("norm", "eps", "name", "message"), FAR)
def test_an_attack_called_with_a_radius_in_other_units_refuses_it(
    norm: str, eps: float, name: str, message: str
) -> None:
    """It would break every image, and a net look like chance."""
    model = conv()
    x, y = samples(model, 4)
    each = torch.tensor([0.5, eps, 0.5, 0.5])  # one row's is enough
    with pytest.raises(ValueError, match=message):
        load_function(ATTACKS[name].fn)(model, x, y, norm=norm, eps=each, rng=0)
    wide = Query(model, bounds=Bounds(-eps, 1.0))  # unless the box reaches as far
    pgd(wide, x, y, norm="linf", eps=1.01, rng=0, steps=1)


@pytest.mark.parametrize(
    ("threat", "message"),
    [
        (Threat("linf", (8.0,)), "no linf distance exceeds 1, got epsilon 8; of 0 to 255 take epsilon / 255"),
        (Threat("l2", (7.0,)), "no l2 distance exceeds 6.9282, got epsilon 7"),
        (Threat("l1", (49.0,)), "no l1 distance exceeds 48"),
        (Threat("l0", (17.0,)), "no l0 distance exceeds 16"),
    ],
    ids=lambda value: value.norm if isinstance(value, Threat) else "",
)
def test_a_radius_in_other_units_is_refused(threat: Threat, message: str) -> None:
    model = conv()
    x, y = samples(model, 4)
    about = {"threat": threat, "seed": 0, "batch_size": 8}
    with pytest.raises(ValueError, match=message):
        published.run(model, x, y, Member("noise", "noise"), **about)
    with pytest.raises(ValueError, match=message):
        cascade.run(model, x, y, [Member("noise", "noise")], **about)


def test_images_that_require_a_gradient_are_attacked_like_others() -> None:
    model = conv()
    x, y = samples(model, 8)
    about = {"threat": THREAT, "seed": 0, "batch_size": 8}
    expected = published.run(model, x, y, PGD, **about)
    assert published.run(model, x.requires_grad_(), y, PGD, **about).records.equals(expected.records)


class Filtered(nn.Module):
    """A net behind a fixed filter that is no buffer, so `double` does not reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.net = torch.ones(3, 1, 3, 3) / 9, nn.Sequential(nn.Flatten(), nn.Linear(48, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(F.conv2d(x, self.kernel, padding=1, groups=3))


class Single(nn.Module):
    """A net that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))

    def __deepcopy__(self, memo: dict) -> "Single":
        raise TypeError("there is one of these")

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("net", [Filtered, Single])
def test_a_twin_that_cannot_be_made_is_left_out_with_a_flag(net: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = net()
    x, y = samples(model, 12)
    measured = preflight(model, x, y, threat=THREAT, seed=0, batch_size=8)
    assert measured["no_float64"] is True
    assert measured["zero_gradient_ce_x"] == 0
    assert not any(name.startswith("sign_disagreement") for name in measured)
    assert "no_float64" in {flag["flag"] for flag in flags.preflight(measured)}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("form", ["scripted", "traced", "shared"])
def test_models_come_in_many_forms(form: str) -> None:
    plain = conv()
    x, y = samples(plain, 8)
    made = {
        "scripted": lambda: torch.jit.script(plain.net),
        "traced": lambda: torch.jit.trace(plain.net, x[:2]),
        "shared": lambda: nn.Sequential(plain.net[0], plain.net[1], plain.net[1], *plain.net[2:]),
    }[form]()
    model, about = classifier(made), {"threat": THREAT, "seed": 0, "batch_size": 8}
    expected = published.run(plain, x, y, PGD, **about).records
    found = published.run(model, x, y, PGD, **about).records
    assert found["success"].equals(expected["success"])
    measured = preflight(model, x, y, **about)
    assert measured["no_float64"] or measured["sign_disagreement_ce_x"] < 1e-3


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
@pytest.mark.filterwarnings("ignore:.*an autograd kernel was not registered:UserWarning")
def test_an_int8_net_keeps_its_records_though_no_twin_of_it_can_be_asked() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
    model = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    x, y = samples(model, 12)
    about = {"threat": THREAT, "seed": 0, "batch_size": 8}
    measured = preflight(model, x, y, **about)
    assert measured["no_float64"] is True
    assert measured["zero_gradient_ce_x"] == 1, "its kernels have none"
    assert len(published.run(model, x, y, PGD, **about).records) == 12


class Tied(nn.Module):
    """A net that ties everywhere but at the image itself, where it is right."""

    def forward(self, x: Tensor) -> Tensor:
        same = (x == 0.5).flatten(1).all(1, keepdim=True)
        return torch.cat([same.to(x.dtype), torch.zeros(len(x), 3, dtype=x.dtype)], dim=1) + 0 * x.sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_of_autoattack_with_nothing_left_keeps_what_the_others_found(norm: str) -> None:
    pytest.importorskip("pyautoattack")
    x, y = torch.full((4, 1, 6, 6), 0.5), torch.zeros(4, dtype=torch.int64)
    found = autoattack(
        Tied(), x, y, norm=norm, eps=0.1, rng=0, version="custom", attacks=["square"], steps=2, queries=5
    )
    assert found.shape == x.shape


class SmallCnn(nn.Module):
    """The MNIST net of TRADES: it flattens its maps with `view`."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"conv1": (1, 32), "conv2": (32, 32), "conv3": (32, 64), "conv4": (64, 64)}
        layers: dict[str, nn.Module] = {}
        for number, (name, channels) in enumerate(sizes.items(), 1):
            layers |= {name: nn.Conv2d(*channels, 3), f"relu{number}": nn.ReLU()}
            if number % 2 == 0:
                layers[f"maxpool{number // 2}"] = nn.MaxPool2d(2, 2)
        self.feature_extractor = nn.Sequential()
        for name, layer in layers.items():
            self.feature_extractor.add_module(name, layer)
        self.classifier = nn.Sequential()
        heads = {"fc1": nn.Linear(1024, 200), "relu1": nn.ReLU(), "drop": nn.Dropout(0.5), "fc2": nn.Linear(200, 200)}
        for name, layer in {**heads, "relu2": nn.ReLU(), "fc3": nn.Linear(200, 10)}.items():
            self.classifier.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.feature_extractor(x).view(-1, 1024))


@pytest.mark.parametrize(("name", "norm", "eps"), [("trades", "linf", 0.3), ("ddn", "l2", 1.0)])
def test_a_public_net_that_flattens_with_view(name: str, norm: str, eps: float, tmp_path: Path) -> None:
    """Each in the norm that it is made robust in."""
    file = SHARED_DATA / "checkpoints" / f"mnist_smallcnn_robust_{name}.pth"
    if not file.exists() or not (SHARED_DATA / "MNIST").exists():
        pytest.skip(f"no {file} with MNIST beside it")
    model = SmallCnn()
    model.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    prepare("mnist", SHARED_DATA, prepared("mnist", tmp_path))
    test = load(prepared("mnist", tmp_path)).test
    x, y = to_float(test.x[:200]), test.y[:200]
    member = Member("pgd", "pgd", {"steps": 10, "step_size": 0.2, "relative": True})
    about = {"threat": Threat(norm, (eps,)), "seed": 0, "batch_size": 200, "probes": False}
    result = published.run(model, x, y, member, **about)
    assert (result.records["clean_pred"] == result.records["label"]).mean() > 0.97
    assert result.records["success"].mean() < 0.2
    assert "contiguous_memory" in {flag["flag"] for flag in result.flags}
