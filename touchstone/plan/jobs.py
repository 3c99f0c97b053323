"""Jobs as values: each holds everything that decides its result, and nothing else.

`to_params` turns a job into plain data for Snakemake, which runs it again when they differ; `from_params` is its
inverse. Rules and scripts add nothing that decides a result.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from typing import Any, ClassVar, Literal, Self

from pydantic import TypeAdapter

from touchstone import provenance
from touchstone.attacks import attack_spec
from touchstone.cell import ModelId, ThreatSpec
from touchstone.defenses import defense_spec
from touchstone.models import model_spec
from touchstone.recipe import Phase
from touchstone.registry import AttackSpec, BudgetRule, DatasetSpec, ModelSpec, RawFile

Options = dict[str, Any]  # keyword arguments of a function that a study names
Facts = dict[str, Any]  # what a table says of one of its rows


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # Any: mypy takes no type[...] for hashable
    return TypeAdapter(kind)


def _plain(value: object) -> Any:
    """Return a dataclass as plain data."""
    kind: Any = type(value)
    return _adapter(kind).dump_python(value, mode="json")


@dataclass(frozen=True)
class Code:
    """The functions that a job runs, "module:function", and the digest of all code that they reach."""

    targets: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, *targets: str) -> Self:
        """Return the code behind some functions as it is now."""
        return cls(targets, provenance.digest(*targets))


@dataclass(frozen=True)
class Job:
    """Something that one script does."""

    code: Code

    def to_params(self) -> dict[str, Any]:
        """Return the job as plain data, which is not to be changed."""
        return self._params

    @cached_property
    def _params(self) -> dict[str, Any]:
        params: dict[str, Any] = _plain(self)
        return params

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Self:
        """Return the job that `to_params` made plain, as the code still is.

        Raises:
            RuntimeError: if its code has changed since the run was planned.
        """
        kind: Any = cls
        job: Self = _adapter(kind).validate_python(params)
        provenance.check_unchanged(job.code.digest, job.code.targets)
        return job


# where something is published or downloaded, and how much it is or costs, decides no number
ASIDE = ("source", "mirrors", "archive", "images", "passes", "usual", "library")


def facts(spec: AttackSpec | DatasetSpec | ModelSpec) -> Facts:
    """Return what a table says of an attack, dataset or model, but for what decides no number."""
    return {key: value for key, value in _plain(spec).items() if key not in ASIDE}


@dataclass(frozen=True)
class Subject:
    """Whose result it is: a model of a run, and the dataset that stands in for the model's own, if one does."""

    run: str
    model: ModelId
    stand_in: str = ""

    @property
    def data(self) -> str:
        """The dataset in use."""
        return self.stand_in or self.model.dataset

    def words(self) -> dict[str, str | int]:
        """Return it flat, for files that people read."""
        return {"run": self.run, **self.model._asdict(), "stand_in": self.stand_in}


@dataclass(frozen=True)
class Net:
    """An untrained model: a name of MODELS or "module:function", its options, and the constants of its first layer."""

    fn: str
    normalize: Literal["dataset", "none", "whitened"] | dict[str, list[float]]
    options: Options
    data: DatasetSpec | None = None  # what it is built for, if those are data of the user's own

    @property
    def target(self) -> str:
        """The function that builds it."""
        return model_spec(self.fn).fn


@dataclass(frozen=True)
class Objective:
    """A defense: a name of DEFENSES or "module:class", and its options."""

    fn: str
    options: Options

    @property
    def target(self) -> str:
        """The function that builds it."""
        return defense_spec(self.fn).fn


@dataclass(frozen=True)
class Substitute:
    """A trained model that an attack on another one starts from."""

    model: ModelId
    net: Net


@dataclass(frozen=True)
class Member:
    """One attack, alone or in a suite.

    Attributes:
        slug: its name in the records.
        fn: a name of ATTACKS or "module:function".
        options: its keyword arguments.
        grid: further ones to choose from.
        budget_rule: how its points count at a radius.
        substitute: what it starts from, if it is a transfer.
    """

    slug: str
    fn: str
    options: Options
    grid: dict[str, list[Any]] = field(default_factory=dict)
    budget_rule: Literal["ball"] | BudgetRule = "ball"
    substitute: Substitute | None = None

    @property
    def spec(self) -> AttackSpec:
        """What the table, or its signature, says of it."""
        return attack_spec(self.fn)

    @property
    def targets(self) -> tuple[str, ...]:
        """The functions that run it: its own, and the foreign one that this calls."""
        return (self.spec.fn, *([self.options["target"]] if self.spec.foreign else []))


@dataclass(frozen=True)
class AttackJob:
    """One attack, or the suite of a worst case, over all its radii on one model.

    Attributes:
        attack: its slug; worst-<norm> for a worst case.
        protocol: published (one member) or worst (the members one after another on what is left).
        members: what runs. Nothing else walks a suite.
        suite: where they are from, "" for a published attack.
        threat: None for the clean pass.
        population: the first so many test images are what the published number is about; None for all.
        samples: how many of these, in the order of `touchstone.data.prepare.spread`; None for all.
        examples: how many of its points are kept as images, the first ones of that order.
        seed: of the draws.
        objective: what the model was trained with, where a member climbs that loss.
        facts: what the tables say of the members, the substitutes' models and the data.
        code: of the members and the models.
        chosen_by: whose choice of a grid on the same model its one member takes; it runs before.
    """

    attack: str
    protocol: Literal["published", "worst"]
    suite: str
    members: tuple[Member, ...]
    threat: ThreatSpec | None
    population: int | None
    samples: int | None
    examples: int
    seed: int
    objective: Objective | None
    facts: tuple[Facts, ...]
    code: Code
    chosen_by: "AttackJob | None" = None

    @property
    def kind(self) -> Literal["none", "fixed", "minimal"]:
        """What its records look like: a worst case has rows per radius, whatever its members are."""
        return self.members[0].spec.kind if self.protocol == "published" else "fixed"

    @property
    def substitutes(self) -> tuple[Substitute, ...]:
        """The models that its members start from, each once."""
        return tuple({m.substitute.model: m.substitute for m in self.members if m.substitute}.values())


@dataclass(frozen=True)
class PreflightJob:
    """What is measured of one model under one threat before any attack counts, on the test set.

    Attributes:
        facts: what the tables say of the data and the model.
        code: of the measurement and the model.
    """

    threat: ThreatSpec
    seed: int
    facts: tuple[Facts, ...]
    code: Code
    substitutes: ClassVar[tuple[Substitute, ...]] = ()


@dataclass(frozen=True)
class BatchJob(Job):
    """Some attacks on one model, in one job; `batch` is its name among those of the model.

    Attributes:
        preflights: one per threat of its attacks. Batches of one model may share them; the first one measures.
    """

    subject: Subject
    batch: str
    net: Net
    attacks: tuple[AttackJob, ...]
    preflights: tuple[PreflightJob, ...]
    batch_size: int
    device: Literal["cpu", "cuda"]
    threads: int

    @property
    def substitutes(self) -> tuple[Substitute, ...]:
        """The models that its attacks start from, each once."""
        return tuple({s.model: s for attack in self.attacks for s in attack.substitutes}.values())

    def key(self, part: AttackJob | PreflightJob, **files: str) -> str:
        """Return what a finished part is kept under: the same for everything that gives the same result.

        Args:
            part: one of the batch.
            files: sha256 of every file that it reads.
        """
        decides = [part, self.net, self.batch_size, self.device, self.threads]
        return sha256(json.dumps([[_plain(value) for value in decides], files], sort_keys=True).encode()).hexdigest()[
            :24
        ]


@dataclass(frozen=True)
class Weights:
    """Weights that somebody else trained. Where the file lies decides nothing.

    Attributes:
        sha256: of the file.
        form: how it is written.
        key: the file's entry that holds them, "" if it holds nothing else.
    """

    sha256: str
    form: Literal["safetensors", "torch"]
    key: str = ""


@dataclass(frozen=True)
class Probe:
    """An attack with a fixed budget on some images, that shows how robust a net is; it chooses nothing."""

    member: Member
    threat: ThreatSpec
    samples: int
    batch_size: int


@dataclass(frozen=True)
class Watched:
    """What is measured during a training: the probe, on training rows and on test images, every so many epochs."""

    probe: Probe
    every: int


@dataclass(frozen=True)
class TrainJob(Job):
    """The training of one model, or what stands in its place: given weights without a phase.

    Attributes:
        subject: the model; its seed is that of the training.
        selects: whether options of the objective come from selection.json.
        start: the model whose weights it starts from.
        weights: given ones that it starts from, or without phases ends with.
        redraws: how often an initialisation that stays at chance is drawn again.
        watched: what is measured meanwhile, if anything is; it decides no weight.
    """

    subject: Subject
    net: Net
    objective: Objective
    selects: bool
    start: ModelId | None
    weights: Weights | None
    phases: tuple[Phase, ...]
    redraws: int
    watched: Watched | None
    amp: Literal["bf16"] | None
    compile: bool
    device: Literal["cpu", "cuda"]
    threads: int
    facts: tuple[Facts, ...]


@dataclass(frozen=True)
class SensitivityJob(Job):
    """What is shown of the candidates of a selection.

    Attributes:
        subject: as that of the selection.
        near_zero: |w| below which a weight of the first convolution counts as near zero; None if that is not asked.
    """

    subject: Subject
    net: Net
    probe: Probe
    near_zero: float | None
    device: Literal["cpu", "cuda"]
    threads: int
    facts: tuple[Facts, ...]


@dataclass(frozen=True)
class SelectJob(Job):
    """The choice of unstated constants of one defense, for all seeds of a model.

    Attributes:
        subject: the model whose constants are chosen; its seed is that of the selection.
        reference: the objective that candidates are compared with.
        candidates: options of the objective, from weak to strong.
        tolerance: what a candidate may lose of the reference's validation accuracy, in [0, 1].
    """

    subject: Subject
    net: Net
    reference: Objective
    objective: Objective
    candidates: tuple[Options, ...]
    phases: tuple[Phase, ...]
    tolerance: float
    redraws: int
    amp: Literal["bf16"] | None
    device: Literal["cpu", "cuda"]
    threads: int
    facts: tuple[Facts, ...]


@dataclass(frozen=True)
class Shown:
    """A kind of model in a figure.

    Attributes:
        label: what tells it from the other kinds on its dataset: defense, model, or both.
        dataset: that the study names.
        model: architecture.
        defense: how it is trained.
        models: its trainings, a seed each; none where it is no part of this run.
        batches: for each of them the batches of the attacks that the figure draws.
    """

    label: str
    dataset: str
    model: str
    defense: str
    models: tuple[ModelId, ...]
    batches: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """One figure: what it draws, and of what.

    Attributes:
        study: whose figure it is.
        name: its slug.
        plot: a name of PLOTS.
        options: of the plot's functions.
        datasets: that the figure names, in its order; none: all. So are models and defenses.
        models: see datasets.
        defenses: see datasets.
        attacks: that it draws; none: all.
        samples: at most so many test images are drawn; None: all.
        epsilon: radius at which attacks are drawn; None: the largest.
        along: option -> defense -> its value, for a figure that is drawn along options of the defenses.
        shown: the kinds of models that it draws, in their order; none of a figure of a table.
    """

    study: str
    name: str
    plot: str
    options: Options
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    defenses: tuple[str, ...]
    attacks: tuple[str, ...]
    samples: int | None
    epsilon: float | None
    along: dict[str, dict[str, float]]
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class FeaturesJob(Job):
    """What models make of test images before their last layer, for one figure, and of what an attack makes of them.

    Attributes:
        figure: its slug.
        nets: each model with the one attack whose points are shown, at one radius; the clean pass for none.
    """

    run: str
    study: str
    figure: str
    nets: tuple[BatchJob, ...]

    @property
    def models(self) -> tuple[ModelId, ...]:
        """The models that it reads, each once: those that it is about, and what attacks on them start from."""
        starts = (substitute.model for net in self.nets for substitute in net.substitutes)
        return tuple(dict.fromkeys([*(net.subject.model for net in self.nets), *starts]))


@dataclass(frozen=True)
class FiguresJob(Job):
    """All figures of a study: a process costs more than a figure."""

    run: str
    study: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class ShownNet:
    """A net whose adversarial images people see: the attack, the batch that it is in, and of how many images."""

    subject: Subject
    attack: str
    batch: str
    images: int


@dataclass(frozen=True)
class PagesJob(Job):
    """The pages on which people say what they see.

    Attributes:
        nets: whose images they see.
        per_page: images of one page.
        seed: of the order of images and pages.
    """

    run: str
    study: str
    nets: tuple[ShownNet, ...]
    per_page: int
    seed: int


@dataclass(frozen=True)
class ReportJob(Job):
    """A notebook template with its parameters, as HTML and PDF."""

    title: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Heading:
    """What stands above one of the paper's tables: "Table 1. MNIST: accuracy", and dataset -> what stands in for it."""

    text: str
    stand_ins: dict[str, str]


@dataclass(frozen=True)
class ClaimsJob(Job):
    """What is said of all studies together: their claims in one table, and what produced the results.

    Also the papers' tables in their own shape, of which each study has others: study -> table -> its heading.
    """

    run: str
    headings: dict[str, dict[str, Heading]]


@dataclass(frozen=True)
class FetchJob(Job):
    """Raw files. Where they come from is none of it: other addresses of the same files fetch nothing anew."""

    dataset: str
    files: tuple[RawFile, ...]
    own: Options | None = None  # what the reader of the user's own data is told, their sum among it; nothing is copied

    def record(self) -> dict[str, Any]:
        """Return what is written of the files once they are there."""
        said = {"files": {file.path: file.md5 for file in self.files}} if self.own is None else {"own": self.own}
        return {"dataset": self.dataset, **said}


@dataclass(frozen=True)
class PrepareJob(Job):
    """Raw files into one with a fixed split."""

    dataset: str
    facts: Facts
    own: DatasetSpec | None = None  # what data of the user's own are


@dataclass(frozen=True)
class WriteJob(Job):
    """A file that is written from values of the plan alone, or from other files."""

    values: dict[str, Any] = field(default_factory=dict)


def table_facts(data: DatasetSpec, nets: Iterable[Net], members: Iterable[Member] = ()) -> tuple[Facts, ...]:
    """Return what the tables say of a dataset, of attacks and of models."""
    return (
        facts(data),
        *(facts(m.spec) for m in members),
        *(facts(model_spec(net.fn)) for net in nets),
    )
