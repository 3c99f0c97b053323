"""One run: the names in its config against its studies."""

from collections.abc import Collection, Mapping

from touchstone.data import DATASETS
from touchstone.study.checks.checker import Checker
from touchstone.study.config import Config
from touchstone.study.schema import Study
from touchstone.study.suites import PLAIN, Suites, worst_slug


def check_config(check: Checker, config: Config, studies: Mapping[str, Study], suites: Suites) -> None:
    """Check a run's config, adding what is wrong to `check`."""
    names: dict[str, set[str]] = {
        "dataset": {d for study in studies.values() for d in study.recipes},
        "defense": {d for study in studies.values() for d in study.defenses},
        "attack": {a for study in studies.values() for a in (*study.attacks, *map(worst_slug, study.worst))},
        "model": {m for study in studies.values() for m in study.models},
    }
    _data(check, config, names["dataset"])
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


def _data(check: Checker, config: Config, datasets: Collection[str]) -> None:
    """Each dataset, or what stands in for it with images of the same shape, comes from somewhere."""
    for dataset, actual in config.stand_in.items():
        known = check.known(("stand_in", dataset), dataset, datasets, "dataset")
        if check.known(("stand_in", dataset), actual, DATASETS, "dataset") and known:
            want, got = DATASETS[dataset].shape, DATASETS[actual].shape
            if want != got:
                check.add(("stand_in", dataset), f"{actual!r} has images of shape {got}, {dataset!r} of {want}")
    run = set(config.only.datasets or datasets) & set(datasets)
    for actual in sorted({config.stand_in.get(dataset, dataset) for dataset in run}):
        if actual not in config.data:
            check.add(("data",), f"no source for dataset {actual!r}; write `{actual}: {{source: ...}}`")
    for name, data in config.data.items():
        if check.known(("data", name), name, DATASETS, "dataset"):
            embedded = DATASETS[name].embedded
            if embedded != (data.source == "embedded"):
                allowed = "embedded" if embedded else "download, {mirror: URL} or {local: DIR}"
                check.add(("data", name, "source"), f"the source of {name!r} must be {allowed}")
