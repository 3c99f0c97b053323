"""A study as data: the typed form of studies/<study>/study.yaml. Nothing here imports torch."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from touchstone import recipe
from touchstone.attacks import ATTACKS
from touchstone.recipe import Phase, Rule
from touchstone.registry import BudgetRule
from touchstone.study.config import Count, Slug, Strict

Positive = Annotated[float, Field(gt=0)]
Norm = Literal["linf", "l2", "l1", "l0"]
Slugs = Annotated[list[Slug], Field(min_length=1)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
LIMITS = ("steps", "attack_steps", "restarts", "binary_steps", "queries")  # options that a cap may lower
Definition = TypeVar("Definition", bound=Strict)
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


def _said(kind: type[Any], *, leave_out: Collection[str] = ()) -> Callable[[type[Definition]], type[Definition]]:
    """Give a definition the fields of a part of a recipe, every one of them optional, with their bounds and words."""
    hints = get_type_hints(kind)

    def derived(base: type[Definition]) -> type[Definition]:
        own = {f.name: f for f in fields(kind)}.keys() - {*leave_out, *base.model_fields}
        more: dict[str, Any] = {f.name: _optional(hints[f.name], f) for f in fields(kind) if f.name in own}
        return create_model(base.__name__, __base__=base, __doc__=base.__doc__, __module__=base.__module__, **more)

    return derived


def _optional(hint: Any, one: dataclasses.Field[Any]) -> tuple[Any, Any]:
    """Return a field of a recipe as pydantic wants it."""
    limits, each = one.metadata.get("bounds", {}), one.metadata.get("each", False)
    if each:
        items = [Annotated[item, Field(**limits)] if item is not ... else ... for item in get_args(hint)]
        hint = tuple[tuple(items)]  # type: ignore[valid-type]  # made here, not written
    return Annotated[hint, Field(**({} if each else limits))] | None, Field(
        default=None, description=one.metadata["doc"]
    )


@_said(Rule)
class RuleDef(Strict):
    """An optimiser and its schedule; what is left out is said elsewhere."""

    @property
    def said(self) -> dict[str, Any]:
        """What it says, as `touchstone.recipe.merge` takes it."""
        return self.model_dump(exclude_none=True)


@_said(recipe.Augment)
class Augment(Strict):
    """How training images vary; what is left out does not happen."""


@_said(Phase, leave_out=("init", *recipe.RULE_FIELDS))
class TrainingDef(RuleDef):
    """What a recipe and a phase may both say."""

    groups: dict[Slug, RuleDef] = Field(default={}, description="optimisers of other groups than the model, by name")
    augment: Augment | None = Field(default=None, description="how training images vary")


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
    """A norm with its radii per dataset."""

    norm: Norm
    space: Literal["pixel", "normalized"]
    bounds: Literal["data", "none"] = "data"
    epsilons: dict[Slug, Annotated[list[NotNegative], Field(min_length=1)]]


class AttackDef(MemberDef):
    """An attack as a paper ran it, under one threat.

    `grid` maps options to values of which one is chosen for all samples, see `touchstone.evaluation.published`.
    `budget_rule` is for a minimal-norm attack, where the paper read its epsilons in another way than is usual for it.
    """

    threat: Slug | None = None
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
    worst: dict[Norm, list[Slug]] = {}
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


def resolved_phases(study: Study, defense: str, dataset: str) -> tuple[Phase, ...]:
    """Return how a defense is trained on a dataset: its phases with what they leave to the recipe."""
    usual, out = study.recipes[dataset].said, []
    for number, phase in enumerate(phases_of(study, defense, dataset)):
        out.append(recipe.merge(usual, {"init": "continue" if number else "fresh"}, phase.said))
    return tuple(out)
