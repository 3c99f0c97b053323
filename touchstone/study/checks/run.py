"""One run: the names in its config against its studies."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from touchstone.attacks import ATTACKS
from touchstone.data import DATASETS
from touchstone.registry import options
from touchstone.study.checks.checker import Checker
from touchstone.study.config import Config, Local
from touchstone.study.schema import LIMITS, MemberDef, Study
from touchstone.study.suites import PLAIN, Suites, norm_of, worst_slug

OF_TRAINING = ("epochs", "attack_steps")  # limits on a training, which no attack belongs to


def check_config(
    check: Checker, config: Config, studies: Mapping[str, Study], suites: Suites, used: Collection[str]
) -> None:
    """Check a run's config, adding what is wrong to `check`; `used` are the datasets that the studies run on."""
    names: dict[str, set[str]] = {
        "dataset": {d for study in studies.values() for d in study.recipes},
        "defense": {d for study in studies.values() for d in study.defenses},
        "attack": {a for study in studies.values() for a in (*study.attacks, *map(worst_slug, study.worst))},
        "model": {m for study in studies.values() for m in study.models},
    }
    _data(check, config, names["dataset"], used)
    _suite(check, config, studies, suites)
    if config.amp and config.device == "cpu":
        check.add(("amp",), "needs `device: cuda`: on a CPU bfloat16 is mostly emulated, slower and less exact")
    for key, listed in config.only:
        kind = key.removesuffix("s")
        for number, name in enumerate(listed):
            check.known(("only", key, number), name, names[kind], kind)
    for number, cap in enumerate(config.caps):
        for kind, name in cap.where:
            if name is not None:
                check.known(("caps", number, "where", kind), name, names[kind], kind)
        if not any(value is not None for limit, value in cap if limit != "where"):
            check.add(("caps", number), "a cap limits something")
        if cap.where.attack in names["attack"]:
            _limits(check, number, config, studies, suites)


def _limits(check: Checker, number: int, config: Config, studies: Mapping[str, Study], suites: Suites) -> None:
    """A cap on an attack limits what the attack has."""
    cap = config.caps[number]
    given = {limit for limit, value in cap if limit != "where" and value is not None}
    for limit in OF_TRAINING:
        if limit in given:
            check.add(("caps", number, limit), "is of a training, which no attack belongs to: leave where.attack out")
    taken = {o for m in _members(str(cap.where.attack), config, studies, suites) for o in _options(m)}
    for limit in LIMITS:
        if limit in given - taken - {*OF_TRAINING}:
            check.add(("caps", number, limit), f"{cap.where.attack!r} has none")


def _members(attack: str, config: Config, studies: Mapping[str, Study], suites: Suites) -> Iterator[MemberDef]:
    """Attacks of that name, or those behind a worst case."""
    for study in studies.values():
        if norm := norm_of(study, attack):
            yield from suites.members(config.suite, norm).values() if config.suite in suites.by_name else ()
            yield from (member for defense in study.defenses.values() for member in defense.adaptive.values())
        elif attack in study.attacks:
            yield study.attacks[attack]


def _options(member: MemberDef) -> set[str]:
    """What an attack can be told, with what it tells the attack that it wraps."""
    spec = ATTACKS[member.fn]
    wrapped = [ATTACKS[member.options.get("attack", spec.wraps[0])]] if spec.wraps else []
    return {option for one in (spec, *wrapped) for option in options(one.fn)}


def _suite(check: Checker, config: Config, studies: Mapping[str, Study], suites: Suites) -> None:
    """The run's suite has attacks in every norm of a worst case, each study the net that transfers start from."""
    if not check.known(("suite",), config.suite, suites.by_name, "suite"):
        return
    for norm in sorted({norm for study in studies.values() for norm in study.worst}):
        if not suites.members(config.suite, norm):
            check.add(("suite",), f"{config.suite!r} has no attacks in norm {norm}, which a study asks for")
    for name, study in studies.items():
        members = [one for norm in study.worst for one in suites.members(config.suite, norm).values()]
        if study.plain is None and any(one.substitute == PLAIN for one in members):
            text = f"{config.suite!r} has a transfer from a plain net: study {name!r} must say which, `plain`"
            check.add(("suite",), text)


def _data(check: Checker, config: Config, datasets: Collection[str], used: Collection[str]) -> None:
    """Each dataset in use, or what stands in for it with images of the same shape, comes from somewhere."""
    for dataset, actual in config.stand_in.items():
        known = check.known(("stand_in", dataset), dataset, datasets, "dataset")
        if check.known(("stand_in", dataset), actual, DATASETS, "dataset") and known:
            want, got = DATASETS[dataset].shape, DATASETS[actual].shape
            if want != got:
                check.add(("stand_in", dataset), f"{actual!r} has images of shape {got}, {dataset!r} of {want}")
    run = set(config.only.datasets or used) & set(used)
    for actual in sorted({config.stand_in.get(dataset, dataset) for dataset in run}):
        if actual not in config.data:
            check.add(("data",), f"no source for dataset {actual!r}; write `{actual}: {{source: ...}}`")
    for name, data in config.data.items():
        if check.known(("data", name), name, DATASETS, "dataset"):
            embedded = DATASETS[name].embedded
            if embedded != (data.source == "embedded"):
                allowed = "embedded" if embedded else "download, {mirror: URL} or {local: DIR}"
                check.add(("data", name, "source"), f"the source of {name!r} must be {allowed}")
        if isinstance(data.source, Local) and not Path(data.source.local).expanduser().is_dir():
            check.add(("data", name, "source", "local"), f"there is no folder {data.source.local!r}")
