"""One run: the names in its config against its studies."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from touchstone.attacks import ATTACKS, attack_spec
from touchstone.data import DATASETS
from touchstone.registry import DatasetSpec, options
from touchstone.study.checks.checker import Checker
from touchstone.study.config import Cap, Config, DataSource, Local
from touchstone.study.schema import LIMITS, MemberDef, Study
from touchstone.study.suites import PLAIN, Suites, norm_of, worst_slug

OF_TRAINING = ("epochs", "attack_steps")  # limits on a training, which no attack belongs to


def check_config(
    check: Checker, config: Config, studies: Mapping[str, Study], suites: Suites, used: Collection[str]
) -> None:
    """Check a run's config, adding what is wrong to `check`; `used` are the datasets that the studies run on."""
    names = Names(check, config, studies)
    Data(check, config, studies, names.of["dataset"], used).run()
    WorstCases(check, config, studies, suites).run()
    Device(check, config).run()
    names.run()
    Answers(check, config, studies).run()
    Caps(check, config, studies, suites).run()


@dataclass(frozen=True)
class Names:
    """Checks that what runs only, and what a cap applies to, is defined in a study."""

    check: Checker
    config: Config
    studies: Mapping[str, Study]

    @property
    def of(self) -> dict[str, set[str]]:
        """Kind -> the slugs of all studies."""
        studies = self.studies.values()
        return {
            "dataset": {d for study in studies for d in study.recipes},
            "defense": {d for study in studies for d in study.defenses},
            "attack": {a for study in studies for a in (*study.attacks, *map(worst_slug, study.worst))},
            "model": {m for study in studies for m in study.models},
            "study": {*self.studies},
        }

    def run(self) -> None:
        """Check `only`, then every cap."""
        names = self.of
        for key, listed in self.config.only:
            kind = key.removesuffix("s")
            for number, name in enumerate(listed):
                self.check.known(("only", key, number), name, names[kind], kind)
        for number, cap in enumerate(self.config.caps):
            for kind, name in cap.where:
                if name is not None:
                    self.check.known(("caps", number, "where", kind), name, names[kind], kind)


@dataclass(frozen=True)
class Data:
    """Checks that each dataset, or what stands in for it with images of the same shape, comes from somewhere."""

    check: Checker
    config: Config
    studies: Mapping[str, Study]
    datasets: set[str]
    used: Collection[str]

    @cached_property
    def rows(self) -> dict[str, DatasetSpec]:
        """Every dataset that the package or a study knows; a name stands for one."""
        known: dict[str, DatasetSpec] = dict(DATASETS)
        for name, study in self.studies.items():
            for dataset, spec in study.known_datasets.items():
                if known.setdefault(dataset, spec) != spec:
                    self.check.add(("studies",), f"{name!r} and another study mean different data by {dataset!r}")
        return known

    def run(self) -> None:
        """Check stand-ins and sources."""
        for dataset, actual in self.config.stand_in.items():
            self._stand_in(dataset, actual)
        run = set(self.used).intersection(self.config.only.datasets or self.used)
        for actual in sorted({self.config.stand_in.get(dataset, dataset) for dataset in run}):
            if actual not in self.config.data:
                self.check.add(("data",), f"no source for dataset {actual!r}; write `{actual}: {{source: ...}}`")
        for name, data in self.config.data.items():
            self._source(name, data)

    def _stand_in(self, dataset: str, actual: str) -> None:
        key = ("stand_in", dataset)
        known = self.check.known(key, dataset, self.datasets, "dataset")
        if self.check.known(key, actual, self.rows, "dataset") and known:
            want, got = self.rows[dataset].shape, self.rows[actual].shape
            if want != got:
                self.check.add(key, f"{actual!r} has images of shape {got}, {dataset!r} of {want}")

    def _source(self, name: str, data: DataSource) -> None:
        if self.check.known(("data", name), name, self.rows, "dataset"):
            own, embedded = name not in DATASETS, self.rows[name].embedded and name in DATASETS
            if embedded != (data.source == "embedded") or (own and not isinstance(data.source, Local)):
                elsewhere = "{local: PATH}" if own else "download, {mirror: URL} or {local: DIR}"
                allowed = "embedded" if embedded else elsewhere
                self.check.add(("data", name, "source"), f"the source of {name!r} must be {allowed}")
        if isinstance(data.source, Local):
            self._local(name, data.source)

    def _local(self, name: str, source: Local) -> None:
        """What the user has is there; a file of the user's own is the one that the study means."""
        key, place = ("data", name, "source", "local"), Path(source.local).expanduser()
        own = self.rows.get(name) if name not in DATASETS else None
        if not (place.is_dir() if name in DATASETS else place.exists()):
            what = "folder" if name in DATASETS else "file or folder"
            self.check.add(key, f"there is no {what} {source.local!r}")
        elif name in DATASETS:
            if absent := [file.path for file in DATASETS[name].files if file.form_in(place) is None]:
                self.check.add(key, f"{source.local!r} must hold the files of {name!r}; it has no {', '.join(absent)}")
        elif own is not None and place.is_file() and "sha256" in own.options:
            self.check.sum(key, place, own.options["sha256"])


@dataclass(frozen=True)
class WorstCases:
    """Checks that the run's suite is behind every worst case of its studies."""

    check: Checker
    config: Config
    studies: Mapping[str, Study]
    suites: Suites

    def run(self) -> None:
        """It has attacks in every norm, and each study the net that its transfers start from."""
        suite = self.config.suite
        if not self.check.known(("suite",), suite, self.suites.by_name, "suite"):
            return
        for norm in sorted({norm for study in self.studies.values() for norm in study.worst}):
            if not self.suites.members(suite, norm):
                self.check.add(("suite",), f"{suite!r} has no attacks in norm {norm}, which a study asks for")
        for name, study in self.studies.items():
            members = [one for norm in study.worst for one in self.suites.members(suite, norm).values()]
            if study.plain is None and any(one.substitute == PLAIN for one in members):
                text = f"{suite!r} has a transfer from a plain net: study {name!r} must say which, `plain`"
                self.check.add(("suite",), text)


@dataclass(frozen=True)
class Answers:
    """Checks that answers are to a study's questions, and that their folder is there."""

    check: Checker
    config: Config
    studies: Mapping[str, Study]

    def run(self) -> None:
        """Check every folder."""
        asking = [name for name, study in self.studies.items() if study.people]
        for name, folder in self.config.answers.items():
            self.check.known(("answers", name), name, asking, "study with `people`")
            if not Path(folder).expanduser().is_dir():
                self.check.add(("answers", name), f"there is no folder {folder!r}")


@dataclass(frozen=True)
class Device:
    """Checks what a device can do."""

    check: Checker
    config: Config

    def run(self) -> None:
        """Check the precision."""
        if self.config.amp and self.config.device == "cpu":
            text = "needs `device: cuda`: on a CPU bfloat16 is mostly emulated, slower and less exact"
            self.check.add(("amp",), text)


@dataclass(frozen=True)
class Caps:
    """Checks that each cap limits something, and one on an attack what that attack has."""

    check: Checker
    config: Config
    studies: Mapping[str, Study]
    suites: Suites

    def run(self) -> None:
        """Check every cap."""
        for number, cap in enumerate(self.config.caps):
            given = {limit for limit, value in cap if limit != "where" and value is not None}
            if not given:
                limits = sorted(Cap.model_fields.keys() - {"where"})
                self.check.add(("caps", number), f"must limit something; allowed: {', '.join(limits)}")
            if cap.where.attack is not None and (members := list(self._members(cap, cap.where.attack))):
                self._limits(number, cap.where.attack, given, members)

    def _limits(self, number: int, attack: str, given: set[str], members: list[MemberDef]) -> None:
        for limit in OF_TRAINING:
            if limit in given:
                text = "is of a training, which no attack belongs to: leave where.attack out"
                self.check.add(("caps", number, limit), text)
        taken = {option for member in members for option in _options(member)}
        for limit in LIMITS:
            if limit in given - taken - {*OF_TRAINING}:
                self.check.add(("caps", number, limit), f"{attack!r} has none")

    def _members(self, cap: Cap, attack: str) -> Iterator[MemberDef]:
        """Yield what the attack consists of in every study and on every defense that the cap applies to.

        There is none where the attack or the suite is unknown, which is said elsewhere.
        """
        for slug, study in self.studies.items():
            if cap.where.study not in (None, slug):
                continue
            worst = norm_of(study, attack) is not None
            if self.config.suite in self.suites.by_name if worst else attack in study.attacks:
                for name, defense in study.defenses.items():
                    if cap.where.defense in (None, name):
                        yield from self.suites.behind(study, defense, self.config.suite, attack).values()


def _options(member: MemberDef) -> set[str]:
    """What an attack can be told, with what it tells the attack that it wraps."""
    spec = attack_spec(member.fn)
    wrapped = [ATTACKS[member.options.get("attack", spec.wraps[0])]] if spec.wraps else []
    return {option for one in (spec, *wrapped) for option in options(one.fn)}
