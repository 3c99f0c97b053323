"""A study as data: the typed form of studies/<study>/study.yaml. Nothing here imports torch."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from touchstone.config import Count, Slug, Strict

Positive = Annotated[float, Field(gt=0)]
Slugs = Annotated[list[Slug], Field(min_length=1)]
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


class Recipe(Strict):
    """How a dataset's models are trained unless a phase says otherwise."""

    optimizer: Literal["adam", "sgd"]
    lr: Positive
    batch_size: Count
    epochs: Count
    milestones: list[Count] = []
    gamma: Positive = 1.0


class PhaseDef(Strict):
    """One phase of a defense; what it leaves out comes from the dataset's recipe."""

    init: Slug = "fresh"
    optimizer: Literal["adam", "sgd"] | None = None
    lr: Positive | None = None
    batch_size: Count | None = None
    epochs: Count | None = None
    milestones: list[Count] | None = None
    gamma: Positive | None = None


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
    """

    threat: Slug | None = None
    protocol: Literal["published", "worst"] = "published"
    members: dict[Slug, MemberDef] = {}
    grid: dict[str, list[Any] | dict[Slug, list[Any]]] = {}


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
    """Thresholds under which a weight counts as near zero."""

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


def starts(study: Study, defense: str, dataset: str) -> list[str]:
    """Defenses whose trained weights this one starts from on a dataset."""
    phases = for_dataset(study.defenses[defense].phases, dataset)
    return [phase.init for phase in phases if phase.init in study.defenses]


def datasets_of(study: Study, model: str) -> set[str]:
    """Datasets that `cells` runs a model on; all of them for a model that it does not name."""
    named = {dataset for cells in study.cells if model in cells.models for dataset in cells.datasets}
    return named or set(study.recipes)
