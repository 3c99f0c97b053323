"""A study as data: the typed form of studies/<study>/study.yaml. Nothing here imports torch."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from touchstone.attacks import ATTACKS
from touchstone.registry import BudgetRule
from touchstone.study.config import Count, Slug, Strict

Positive = Annotated[float, Field(gt=0)]
Slugs = Annotated[list[Slug], Field(min_length=1)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
LIMITS = ("steps", "attack_steps", "restarts", "binary_steps", "queries")  # options that a cap may lower
RESULT_TABLES = ("cells", "claims", "qualitative", "flags", "selection", "failures", "worst")


class Open(BaseModel):
    """A definition whose further keys are options of its `fn`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    fn: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are not the definition's own."""
        return dict(self.model_extra or {})


class Standardize(Strict):
    """Mean and standard deviation of the first layer, in pixels: one value for all channels, or one for each."""

    mean: Annotated[list[float], Field(min_length=1)]
    std: Annotated[list[Positive], Field(min_length=1)]


class ModelDef(Open):
    """An architecture and its options; `normalize` is its first layer, with the dataset's constants or none."""

    normalize: Literal["dataset", "none"] | Standardize = "dataset"


class RuleDef(Strict):
    """An optimiser and its schedule, see `touchstone.training.Rule`; what is left out is said elsewhere."""

    optimizer: Literal["adam", "sgd"] | None = None
    lr: Positive | None = None
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)] | None = None
    momentum: NotNegative | None = None
    nesterov: bool | None = None
    weight_decay: NotNegative | None = None
    schedule: Literal["constant", "multistep", "exponential", "linear"] | None = None
    milestones: list[Count] | None = None
    gamma: Positive | None = None


class Augment(Strict):
    """How training images vary, see `touchstone.training.augment.augmented`; what is left out does not happen."""

    crop: Count | None = None
    translate: Annotated[float, Field(gt=0, lt=1)] | None = None
    fill: Literal["zero", "edge", "reflect"] | None = None
    flip: bool | None = None
    rotate: Annotated[float, Field(gt=0, le=180)] | None = None
    resized_crop: bool | None = None
    probability: Annotated[float, Field(gt=0, le=1)] | None = None


class TrainingDef(RuleDef):
    """What a recipe and a phase may both say; `groups` are other optimisers than the model's, by name."""

    batch_size: Count | None = None
    epochs: Count | None = None
    groups: dict[Slug, RuleDef] = {}
    augment: Augment | None = None
    validation_share: Annotated[float, Field(ge=0, lt=1)] | None = None
    keep: Literal["last", "best_val"] | None = None
    collapse: Literal["stop", "finish"] | None = None


class Recipe(TrainingDef):
    """How a dataset's models are trained unless a phase says otherwise."""

    optimizer: Literal["adam", "sgd"]
    lr: Positive
    batch_size: Count
    epochs: Count


class PhaseDef(TrainingDef):
    """One phase of a defense; what it leaves out comes from the dataset's recipe.

    The first phase begins with untrained weights (fresh) or those of a defense, each later one where the one before it
    ended (continue).
    """

    init: Slug | None = None


class MemberDef(Open):
    """An attack and its options; `substitute` is "<model>/<defense>", the kind of model that a transfer starts from."""

    substitute: str | dict[Slug, str] | None = None


Phases = Annotated[list[PhaseDef], Field(min_length=1)]
# by its kind, so that what is wrong is said of the form that was meant
PerDataset = Annotated[
    Annotated[Phases, Tag("list")] | Annotated[dict[Slug, Phases], Tag("dict")],
    Discriminator(lambda value: "dict" if isinstance(value, dict) else "list"),
]


class DefenseDef(Open):
    """A training objective; `select` lists candidate options from weak to strong.

    `adaptive` are attacks meant for this defense: they join its worst case in every norm that they work in.
    """

    phases: PerDataset = [PhaseDef()]
    select: list[dict[str, Any]] = []
    adaptive: dict[Slug, MemberDef] = {}


class CellsDef(Strict):
    """What a study runs besides what its claims ask for: every combination of these.

    The attack on no model, `clean`, and the worst case run on every model anyway.
    """

    datasets: Slugs
    models: Slugs
    defenses: Slugs
    attacks: Slugs = ["clean"]


class ThreatDef(Strict):
    """A norm with its radii per dataset, or the pixel radii of other threats (`covers`)."""

    norm: Literal["linf", "l2", "l1", "l0"]
    space: Literal["pixel", "normalized"]
    bounds: Literal["data", "none"] = "data"
    epsilons: dict[Slug, Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]] = {}
    covers: list[Slug] = []


class AttackDef(MemberDef):
    """An attack, or a cascade of members, under one threat.

    `grid` maps options to values of which one is chosen for all samples, see `touchstone.evaluation.loop.run`.
    `budget_rule` is for a minimal-norm attack, where the paper read its epsilons in another way than is usual for it.
    """

    threat: Slug | None = None
    protocol: Literal["published", "worst"] = "published"
    members: dict[Slug, MemberDef] = {}
    grid: dict[str, list[Any] | dict[Slug, list[Any]]] = {}
    budget_rule: BudgetRule | None = None

    @property
    def rule(self) -> str:
        """How the points count at an epsilon: the study's word, or what is usual for the attack."""
        return self.budget_rule or ATTACKS[self.fn].budget_rule


class Selection(Strict):
    """The criterion that chooses unstated constants; it reads no claim."""

    reference: Slug
    tolerance: dict[Slug, Positive]
    seed: int
    epochs: dict[Slug, Count]
    probe: Slug
    probe_samples: Count
    amended: list[str] = []


class Reading(Strict):
    """Another reading of the claims: which slugs stand in for the headline's."""

    mark: str = ""
    defense: dict[Slug, Slug] = {}
    attack: dict[Slug, Slug] = {}


class NearZero(Strict):
    """Thresholds under which a weight counts as near zero; a study that gives them measures the first convolution."""

    headline: Positive
    thresholds: list[Positive]


class TableDef(Strict):
    """One of the paper's tables."""

    source_table: str
    title: str
    dataset: Slug | None = None


class FigureDef(Open):
    """A plot, and the models or the table (of tables/) that it shows."""

    defenses: list[Slug] = []
    dataset: Slug | None = None
    table: Slug | None = None


class Study(Strict):
    """The whole of a study.yaml."""

    study: Slug
    title: str
    citation: str
    headline: str
    seeds: Count
    redraws: Annotated[int, Field(ge=0)] = 0
    models: dict[Slug, ModelDef]
    recipes: dict[Slug, Recipe]
    defenses: dict[Slug, DefenseDef]
    selection: Selection | None = None
    threats: dict[Slug, ThreatDef]
    attacks: dict[Slug, AttackDef]
    worst: list[Slug] = []
    cells: list[CellsDef] = []
    readings: dict[Slug, Reading] = {"headline": Reading()}
    near_zero: NearZero | None = None
    labels: dict[str, str] = {}
    tables: dict[Slug, TableDef] = {}
    figures: dict[Slug, FigureDef] = {}

    @property
    def reference(self) -> str:
        """The defense that others are compared with, "" if none is."""
        return self.selection.reference if self.selection else ""


def for_dataset(value: Any, dataset: str) -> Any:
    """Pick this dataset's value where it is written {dataset: value, ...}."""
    return value[dataset] if isinstance(value, Mapping) else value


def phases_of(study: Study, defense: str, dataset: str) -> list[PhaseDef]:
    """Return what a defense says of its phases on a dataset."""
    phases = study.defenses[defense].phases
    return phases.get(dataset, []) if isinstance(phases, Mapping) else phases


def starts(study: Study, defense: str, dataset: str) -> list[str]:
    """Defenses whose trained weights this one starts from on a dataset."""
    return [phase.init for phase in phases_of(study, defense, dataset) if phase.init in study.defenses]


def datasets_of(study: Study, model: str) -> set[str]:
    """Datasets that `cells` runs a model on; all of them for a model that it does not name."""
    named = {dataset for cells in study.cells if model in cells.models for dataset in cells.datasets}
    return named or set(study.recipes)


# what an optimiser reads besides its rate, with what it is where nobody says, and what a schedule must be told
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"betas": [0.9, 0.999], "weight_decay": 0.0},
    "sgd": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
}
SCHEDULES = {"constant": (), "multistep": ("milestones", "gamma"), "exponential": ("gamma",), "linear": ()}
# schedule -> what changes where only a share of the epochs is run, so that every rate keeps its share of them
SHORTER: dict[str, Callable[[dict[str, Any], float], dict[str, Any]]] = {
    "multistep": lambda rule, share: {"milestones": sorted({max(1, round(m * share)) for m in rule["milestones"]})},
    "exponential": lambda rule, share: {"gamma": rule["gamma"] ** (1 / share)},
}


def rule(*parts: RuleDef) -> dict[str, Any]:
    """Return the optimiser and schedule that several parts make, a later one before an earlier one.

    Only keys with a meaning are in it; one that the schedule needs and nobody says is missing.
    """
    said = {k: v for part in parts for k, v in part.model_dump(exclude_none=True).items() if k in RuleDef.model_fields}
    kind = {"optimizer": said["optimizer"], "lr": said["lr"], "schedule": said.get("schedule", "constant")}
    needed = {k: said[k] for k in SCHEDULES[kind["schedule"]] if k in said}
    return kind | {k: said.get(k, default) for k, default in OPTIMIZERS[kind["optimizer"]].items()} | needed


def training(*parts: TrainingDef) -> dict[str, Any]:
    """Return what several parts say of a training, a later one before an earlier one.

    What a group does not say it has from the rest.
    """
    own = TrainingDef.model_fields.keys() - RuleDef.model_fields.keys() - {"groups"}
    said = {k: v for part in parts for k, v in part.model_dump(exclude_none=True).items() if k in own}
    names = dict.fromkeys(name for part in parts for name in part.groups)
    groups = {name: rule(*parts, *(p.groups[name] for p in parts if name in p.groups)) for name in names}
    defaults = {"augment": {}, "validation_share": 0.0, "keep": "last", "collapse": "stop"}
    return {**rule(*parts), **defaults, **said, "groups": groups}


def shrunk(full: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """Return what `training` returned with fewer epochs, its schedules shrunk with them."""
    share = epochs / full["epochs"]

    def shorter(one: Mapping[str, Any]) -> dict[str, Any]:
        return {**one, **SHORTER.get(one["schedule"], lambda *_: {})(one, share)}

    return {**shorter(full), "epochs": epochs, "groups": {name: shorter(g) for name, g in full["groups"].items()}}
