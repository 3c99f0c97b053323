"""A study as data: the typed form of studies/<study>/study.yaml. Nothing here imports torch."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from types import GenericAlias
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from touchstone import recipe
from touchstone.attacks import attack_spec
from touchstone.data import DATASETS, READERS, reader
from touchstone.models import FIRST_CONV
from touchstone.ranges import Positive, Space
from touchstone.recipe import Phase
from touchstone.registry import BudgetRule, DatasetSpec, is_own
from touchstone.study.config import Count, Definition, Once, Place, Slug, Strict
from touchstone.study.scale import POINTS

AsList = Field(strict=False)  # of a tuple: YAML has lists
Norm = Literal["linf", "l2", "l1", "l0"]
Slugs = Annotated[list[Slug], Field(min_length=1), Once]
InPixels = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # PyTorch keeps it in 64 bits
Seeds = Annotated[int, Field(ge=1, le=1000)]  # how many
LIMITS = ("steps", "attack_steps", "restarts", "binary_steps", "queries")  # options that a cap may lower
WEIGHTS = "weights"  # a first phase's start: what the study gives
RESULT_TABLES = (
    "cells",
    "claims",
    "qualitative",
    "flags",
    "selection",
    "failures",
    "worst",
    "members",
    "attacks",
    "paper",
    "paired",
)


class Open(BaseModel):
    """A definition whose further keys are options of its `fn`."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)
    fn: str = Field(description="a name in the table of such functions, or for a model module:function")

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are not the definition's own."""
        return dict(self.model_extra or {})


class DataDef(Open):
    """Data of the user's own; where they lie is for a run's config to say."""

    fn: str = Field(description="npz, folder, or a reader module:function")
    shape: Annotated[tuple[Count, Count, Count], AsList] = Field(description="channels, height and width of the images")
    classes: Annotated[int, Field(ge=2)] = Field(description="how many")
    mean: Annotated[list[InPixels], Field(min_length=1)] = Field(description="per channel, in pixels of [0, 1]")
    std: Annotated[list[Annotated[Positive, Field(le=1)]], Field(min_length=1)] = Field(
        description="per channel, in pixels of [0, 1]"
    )
    validation: Annotated[int, Field(ge=0)] = Field(
        default=0, description="how many training images the fixed validation split holds"
    )

    @property
    def spec(self) -> DatasetSpec:
        """What a row of the table would say."""
        constants = (tuple(self.mean), tuple(self.std))
        about = ("the user's own", self.validation)
        return DatasetSpec(reader(self.fn), self.shape, self.classes, *constants, *about, options=self.options)


class Standardize(Strict):
    """Mean and standard deviation of the first layer, in pixels: one value for all channels, or one for each."""

    mean: Annotated[list[float], Field(min_length=1)] = Field(description="per channel, in pixels")
    std: Annotated[list[Positive], Field(min_length=1)] = Field(description="per channel, in pixels")


class ModelDef(Open):
    """An architecture and its options; `normalize` is its first layer, with the dataset's constants or none."""

    normalize: Literal["dataset", "none", "whitened"] | Standardize = Field(
        default="dataset",
        description="first layer: the dataset's mean and standard deviation, none, whitened (contrast normalisation "
        "and ZCA, fitted on the training images), or {mean, std}",
    )


def _says(
    kind: type[Any], *, required: Collection[str] = (), leave_out: Collection[str] = ()
) -> Callable[[type[Definition]], type[Definition]]:
    """Give a definition the fields of a part of a recipe that it lacks, with their bounds and words, None where unsaid.

    A required field replaces one that could be left unsaid.
    """
    hints = get_type_hints(kind)

    def derived(base: type[Definition]) -> type[Definition]:
        more: dict[str, Any] = {}
        for one in dataclasses.fields(kind):
            if one.name in required:
                more[one.name] = (_bounded(hints[one.name], one), Field(description=one.metadata["doc"]))
            elif one.name not in (*leave_out, *base.model_fields):
                unsaid = Field(default=None, description=one.metadata["doc"])
                more[one.name] = (_bounded(hints[one.name], one) | None, unsaid)
        return create_model(base.__name__, __base__=base, __doc__=base.__doc__, __module__=base.__module__, **more)

    return derived


def _bounded(hint: Any, one: dataclasses.Field[Any]) -> Any:
    """Return the type of a field of a recipe with the bounds that its metadata say, as pydantic takes them."""
    limits = Field(**one.metadata["bounds"])
    if not one.metadata["each"]:
        return Annotated[hint, limits]
    items = tuple(item if item is ... else Annotated[item, limits] for item in get_args(hint))
    return Annotated[GenericAlias(tuple, items), AsList]


@_says(recipe.OptimizerSettings)
class OptimizerDef(Strict):
    """An optimiser and its schedule; what is left out is said elsewhere."""

    @property
    def said(self) -> dict[str, Any]:
        """What it says, as `touchstone.recipe.merge` takes it."""
        return self.model_dump(exclude_none=True)


@_says(recipe.Augment)
class Augment(Strict):
    """How training images vary; what is left out does not happen."""


@_says(Phase, leave_out=["init"])
class TrainingDef(OptimizerDef):
    """What a recipe and a phase may both say."""

    groups: dict[Slug, OptimizerDef] = Field(
        default={}, description="optimisers of other groups than the model, by name"
    )
    augment: Augment | None = Field(default=None, description="how training images vary")


@_says(Phase, required=["optimizer", "lr", "batch_size", "epochs"], leave_out=["init"])
class Recipe(TrainingDef):
    """How a dataset's models are trained unless a phase says otherwise."""


class PhaseDef(TrainingDef):
    """One phase of a defense; what it leaves out comes from the dataset's recipe.

    The first phase begins with untrained weights (fresh), those that the study gives (weights) or those of a defense,
    each later one where the one before it ended (continue).
    """

    init: Slug | None = Field(
        default=None,
        description="fresh, weights (those given), or a defense whose trained weights the first phase begins with; a "
        "later one: continue",
    )


class MemberDef(Open):
    """An attack and its options; `substitute` is "<model>/<defense>", the kind of model that a transfer starts from."""

    substitute: str | dict[Slug, str] | None = Field(
        default=None,
        description="<model>/<defense> that a transfer starts from, or one per dataset; `plain` in a suite",
    )


def _list_or_dict(value: Any) -> str:
    return "dict" if isinstance(value, dict) else "list"


class FileDef(Strict):
    """A file of weights that somebody else trained."""

    file: Place = Field(description="its path; if relative, from the study's folder")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="its sum, 64 hexadecimal digits")
    key: str = Field(
        default="", description="the file's entry that holds them, if it holds several mappings of tensors"
    )
    format: Literal["safetensors", "torch"] | None = Field(
        default=None, description="safetensors, or torch (of torch.save); by the file's name if left out"
    )

    @property
    def form(self) -> Literal["safetensors", "torch"]:
        """How it is written."""
        return self.format or ("safetensors" if self.file.endswith(".safetensors") else "torch")


class WeightsDef(Strict):
    """Weights of one kind of model: in place of its trainings, or what they begin with (`init: weights`)."""

    dataset: Slug = Field(description="of the recipes")
    model: Slug = Field(description="of the study")
    defense: Slug = Field(description="of the study")
    files: Annotated[list[FileDef], Field(min_length=1)] = Field(
        description="a file per seed in place of trainings; one file that all seeds begin with"
    )


Phases = Annotated[list[PhaseDef], Field(min_length=1)]
# by its kind, so that what is wrong is said of the form that was meant
PerDataset = Annotated[
    Annotated[Phases, Tag("list")] | Annotated[dict[Slug, Phases], Tag("dict")],
    Discriminator(_list_or_dict),
]


class DefenseDef(Open):
    """A training objective; `select` lists candidate options from weak to strong.

    `adaptive` are attacks meant for this defense: they join its worst case in every norm that they work in.
    """

    phases: PerDataset = Field(
        default=[PhaseDef()],
        description="stretches of training, one after another on the same weights, or {dataset: phases}",
    )
    select: Annotated[list[dict[str, Any]], Once] = Field(
        default=[], description="candidate options from weak to strong, of which the study's selection takes one"
    )
    adaptive: dict[Slug, MemberDef] = Field(
        default={},
        description="attacks meant for this defense: they join its worst case in every norm that they work in",
    )


class CellsDef(Strict):
    """What a study runs besides what its claims ask for: every combination of these.

    The attack on no model, `clean`, and the worst case run on every model anyway.
    """

    datasets: Slugs = Field(description="of the recipes")
    models: Slugs = Field(description="of the study")
    defenses: Slugs = Field(description="of the study")
    attacks: Slugs = Field(default=["clean"], description="of the study")


class PeopleDef(Strict):
    """What people are asked: which digit an adversarial image shows, or "?". An assignment is a page of one net."""

    cells: Annotated[list[CellsDef], Field(min_length=1)] = Field(
        description="whose images they see: of minimal-norm attacks, as in `cells`; these run too"
    )
    seeds: Count = Field(default=1, description="nets of each kind whose images they see, those of the first seeds")
    assignments: Count = Field(description="of each net")
    images: Count = Field(description="of an assignment")
    seed: Seed = Field(description="of the order of images and assignments")


Radii = Annotated[list[Positive], Field(min_length=1)]
PerDefense = Annotated[
    Annotated[Radii, Tag("list")] | Annotated[dict[Slug, Radii], Tag("dict")], Discriminator(_list_or_dict)
]


class ThreatDef(Strict):
    """A norm with its radii per dataset, and per defense where those differ."""

    norm: Norm = Field(description="of the perturbation")
    space: Space | dict[Slug, Space] = Field(
        description="where it is measured: pixel, normalized or whitened (after such a first layer); or one per dataset"
    )
    bounds: Literal["data", "none"] = Field(
        default="data", description="data: points stay valid images; none: they need not"
    )
    epsilons: dict[Slug, PerDefense] = Field(
        description="dataset -> radii, rising, or {defense: radii} where the models have their own"
    )

    def radii(self, dataset: str, defense: str) -> list[float]:
        """Return the radii on a model of a defense."""
        found: list[float] = for_cell(self.epsilons, dataset, defense)
        return found

    def on(self, dataset: str) -> list[list[float]]:
        """Return every list of radii on a dataset, one unless the models have their own."""
        given = self.epsilons[dataset]
        return list(given.values()) if isinstance(given, dict) else [given]


class First(Strict):
    """The test images that a published number is about: the first so many."""

    first: Count = Field(description="how many")


Population = First | Literal["all"]


class AttackDef(MemberDef):
    """An attack as a paper ran it, under one threat.

    `grid` maps options to values of which one is chosen for all samples, see `touchstone.evaluation.published`;
    `grid_from` takes over what was chosen so for another attack.
    `budget_rule` is for a minimal-norm attack, where the paper read its epsilons in another way than is usual for it.
    """

    threat: Slug | None = Field(default=None, description="what it may do; none for the clean pass")
    grid: dict[str, list[Any] | dict[Slug, list[Any] | dict[Slug, list[Any]]]] = Field(
        default={}, description="option -> values, of which one is chosen for all samples together"
    )
    grid_from: Slug | None = Field(
        default=None, description="an attack of the same function, on whose grid these values were chosen"
    )
    samples: Population | None = Field(
        default=None, description="{first: 1000} or all: the test images that its numbers are about, if not the study's"
    )
    budget_rule: BudgetRule | None = Field(
        default=None,
        description="how a minimal-norm attack's points count at a radius, if the paper has another way than usual",
    )

    @property
    def counted_by(self) -> Literal["ball"] | BudgetRule:
        """How the points count at an epsilon: the study's word, or what is usual for the attack."""
        return self.budget_rule or attack_spec(self.fn).budget_rule


class Selection(Strict):
    """The criterion that chooses unstated constants; it reads no claim."""

    reference: Slug = Field(description="the defense that candidates are compared with, trained alike")
    tolerance: dict[Slug, Annotated[float, Field(gt=0, le=1)]] = Field(
        description="dataset -> validation accuracy that a candidate may lose against the reference, as a share"
    )
    seed: Seed = Field(description="of these trainings")
    epochs: dict[Slug, Count] = Field(description="dataset -> epochs of these trainings; schedules shrink with them")
    probe: Slug = Field(description="an attack with a fixed budget that shows the sensitivity; it chooses nothing")
    probe_samples: Count = Field(description="validation images under the probe")
    amended: list[str] = Field(
        default=[], description="what was changed after a result of the selection had been seen, and why"
    )


class MonitorDef(Strict):
    """What is measured of nets while they are trained: accuracy, clean and under an attack, on rows and test images."""

    defenses: Slugs = Field(description="whose trainings are watched")
    attack: Slug | dict[Slug, Slug] = Field(
        description="an attack with a fixed budget, at the largest radius of its threat; or one per dataset"
    )
    every: Count = Field(description="epochs from one measurement to the next; they shrink with the epochs")
    samples: Count = Field(description="at most so many training rows, and as many test images")


class Reading(Strict):
    """Another reading of the claims: which slugs stand in for the headline's."""

    mark: str = Field(default="", description="what a verdict says if only this reading reproduces the claim")
    metric: dict[str, str] = Field(default={}, description="headline's metric -> this reading's")
    model: dict[Slug, Slug] = Field(default={}, description="headline's model -> this reading's")
    defense: dict[Slug, Slug] = Field(default={}, description="headline's defense -> this reading's")
    attack: dict[Slug, Slug] = Field(default={}, description="headline's attack -> this reading's")

    @property
    def swaps(self) -> bool:
        """Whether it is about anything."""
        return bool(self.metric or self.model or self.defense or self.attack)

    def changes(self, model: str, defense: str, attack: str, metric: str) -> bool:
        """Say whether it swaps a word of a cell."""
        return model in self.model or defense in self.defense or attack in self.attack or metric in self.metric


class NearZero(Strict):
    """Thresholds under which a weight counts as near zero; a study that gives them measures weights."""

    headline: Positive = Field(description="the threshold of claims and tables")
    thresholds: Annotated[list[Positive], Once] = Field(description="all that are measured")
    parameters: Annotated[list[str], Field(min_length=1), Once] = Field(
        default=[FIRST_CONV], description="names of the tensors that are measured; claims are about the first"
    )


class Pairs(Strict):
    """What nets of other weights than the published ones can be asked: how two attacks compare on one of them."""

    match: Slugs = Field(
        description="attacks, clean among them, under which a net must have the published accuracy to "
        f"{100 * POINTS:g} points"
    )


Axis = Literal["dataset", "model", "defense", "attack", "norm", "epsilon", "metric"]


class ShapeDef(Strict):
    """The shape of a table, where it is not to follow from what tells its numbers apart."""

    rows: Axis = Field(description="what a row is of")
    columns: Axis = Field(description="what a column is of")
    blocks: Axis | None = Field(default=None, description="what each part is of that has columns of its own")

    @property
    def axes(self) -> list[Axis]:
        """All that it tells apart."""
        return [self.rows, self.columns, *([self.blocks] if self.blocks else [])]


class LostDef(Strict):
    """What one of the paper's tables is about of which no number is published: it shows ours alone."""

    number: Annotated[str, Field(min_length=1)] = Field(description='of the table in the paper, such as "5.2"')
    metric: Literal["accuracy", "success_rate", "median_norm", "mean_norm"] = Field(description="what it shows")
    defense: Slug | None = Field(default=None, description="the table's one defense, if it has one")


class TableDef(Strict):
    """One of the paper's tables: its published numbers beside ours, or if they are `lost`, ours alone."""

    source_table: str | None = Field(default=None, description="as claims.csv has it")
    lost: LostDef | None = Field(
        default=None, description="instead of source_table, where the text that was read has none of its numbers"
    )
    title: str = Field(description="heading in the report")
    dataset: Slug | None = Field(default=None, description="the table's one dataset, if it has one")
    shape: ShapeDef | None = Field(
        default=None, description="its rows, columns and blocks, if the usual ones are not its"
    )

    @property
    def label(self) -> str:
        """What the paper calls it."""
        return self.source_table or f"Table {self.lost.number if self.lost else ''}"

    @property
    def heading(self) -> str:
        """Its title without its label."""
        return self.title.removesuffix(f" ({self.label})")


class FigureDef(Open):
    """A plot, and what of the study it shows; a plot says which of these it takes (`touchstone.report.plots`)."""

    datasets: Annotated[list[Slug], Once] = Field(default=[], description="of the recipes; all if left out")
    models: Annotated[list[Slug], Once] = Field(default=[], description="of the study; all if left out")
    defenses: Annotated[list[Slug], Once] = Field(
        default=[], description="of the study, in the order of drawing; all if left out"
    )
    attacks: Annotated[list[Slug], Once] = Field(
        default=[], description="of the study, or worst-<norm>; all if left out"
    )
    samples: Count | None = Field(default=None, description="at most so many test images; all if left out")
    epsilon: Positive | None = Field(default=None, description="radius of the attacks; the largest if left out")
    along: Annotated[list[str], Once] = Field(
        default=[],
        description="options of the defenses on the axis: along each, those that differ from the first in it alone",
    )

    @property
    def named(self) -> list[str]:
        """The keys that it gives of those that say what it shows."""
        return [name for name in FigureDef.model_fields if name != "fn" and getattr(self, name)]


class Study(Strict):
    """The whole of a study.yaml."""

    study: Slug = Field(description="the folder's name")
    title: str = Field(description="heading of the report")
    citation: str = Field(description="the work")
    headline: str = Field(description="which reading of the paper is the headline, fixed before anything is run")
    report: Literal["study", "model"] = Field(
        default="study", description="of what its report is: of a work, or of a net of the user's own"
    )
    seeds: Seeds | dict[Slug, Seeds] = Field(description="trainings per model")
    samples: Population = Field(
        default="all", description="{first: 1000} or all: the test images that the published numbers are about"
    )
    redraws: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="how often an initialisation that learns nothing in its first epoch is drawn again"
    )
    datasets: dict[Slug, DataDef] = Field(default={}, description="data of the user's own")
    models: dict[Slug, ModelDef] = Field(min_length=1, description="architectures")
    recipes: dict[Slug, Recipe] = Field(min_length=1, description="dataset -> how models are trained on it")
    defenses: dict[Slug, DefenseDef] = Field(min_length=1, description="training objectives")
    weights: list[WeightsDef] = Field(default=[], description="what others trained, by dataset, model and defense")
    selection: Selection | None = Field(
        default=None, description="the criterion that chooses constants which the paper leaves out"
    )
    threats: dict[Slug, ThreatDef] = Field(description="what an attack may do")
    attacks: dict[Slug, AttackDef] = Field(min_length=1, description="attacks as the paper ran them")
    worst: dict[Norm, Slugs] = Field(default={}, description="norm -> threats at whose radii the worst case is read")
    plain: str | dict[Slug, str] | None = Field(
        default=None,
        description="<model>/<defense> without protection, or one per dataset: a suite's transfers start there",
    )
    cells: list[CellsDef] = Field(default=[], description="what runs besides what the claims ask for")
    people: PeopleDef | None = Field(default=None, description="what people are asked, where its claims are of that")
    readings: dict[Slug, Reading] = Field(
        default={"headline": Reading()}, description="ways to take the paper; headline is its own"
    )
    near_zero: NearZero | None = Field(
        default=None, description="under what a weight counts as near zero, and of which layers"
    )
    paired: Pairs | None = Field(
        default=None,
        description="the published nets cannot be trained again: absolute numbers are not comparable, pairs are tested",
    )
    monitor: MonitorDef | None = Field(
        default=None, description="trainings that are watched: their accuracy under attack, epoch by epoch"
    )
    labels: dict[str, str] = Field(
        default={},
        description="a word of claims.csv, or a slug or norm -> what the paper calls it in its tables, in their order",
    )
    tables: dict[Slug, TableDef] = Field(default={}, description="tables of the paper in the report")
    figures: dict[Slug, FigureDef] = Field(
        default={},
        description="figures of the report, each with a caption; figures.csv says which are the paper's",
    )

    @property
    def known_datasets(self) -> dict[str, DatasetSpec]:
        """The datasets that it may name: those of the package, and its own."""
        own = {name: one.spec for name, one in self.datasets.items() if is_own(one.fn) or one.fn in READERS}
        return {**DATASETS, **own}

    @property
    def reference(self) -> str:
        """The defense that others are compared with, "" if none is."""
        return self.selection.reference if self.selection else ""


def for_cell(value: Any, dataset: str, defense: str) -> Any:
    """Pick the value of a model where it is written {dataset: value, ...}, and that {defense: value, ...}."""
    for name in (dataset, defense):
        value = value[name] if isinstance(value, Mapping) else value
    return value


def phases_of(study: Study, defense: str, dataset: str) -> list[PhaseDef]:
    """Return what a defense says of its phases on a dataset."""
    phases = study.defenses[defense].phases
    return phases.get(dataset, []) if isinstance(phases, Mapping) else phases


def starts(study: Study, defense: str, dataset: str) -> list[str]:
    """Defenses whose trained weights this one starts from on a dataset."""
    return [phase.init for phase in phases_of(study, defense, dataset) if phase.init in study.defenses]


def weights_of(study: Study, dataset: str, model: str, defense: str) -> list[FileDef]:
    """Files of weights that a study gives for a kind of model, none if it gives none."""
    key = (dataset, model, defense)
    return next((w.files for w in study.weights if (w.dataset, w.model, w.defense) == key), [])


def begins_with_weights(study: Study, defense: str, dataset: str) -> bool:
    """Say whether a defense trains on from weights that are given."""
    return any(phase.init == WEIGHTS for phase in phases_of(study, defense, dataset)[:1])


def datasets_of(study: Study, model: str) -> set[str]:
    """Datasets that `cells` runs a model on; all of them for a model that it does not name."""
    named = {dataset for cells in study.cells if model in cells.models for dataset in cells.datasets}
    return named or set(study.recipes)


def resolved_phases(study: Study, defense: str, dataset: str) -> tuple[Phase, ...]:
    """Return how a defense is trained on a dataset: its phases with what they leave to the recipe."""
    usual, out = study.recipes[dataset].said, []
    for number, phase in enumerate(phases_of(study, defense, dataset)):
        out.append(recipe.merge(usual, {"init": "continue" if number else "fresh"}, phase.said))
    return tuple(out)
