"""Table 3.2 of the thesis is about whitened CIFAR-10; its threats mean that space there, and no other table does."""

from pathlib import Path

import pytest

from touchstone.paths import study_files
from touchstone.plan import build
from touchstone.plan.asked import tried
from touchstone.plan.plan import Plan
from touchstone.study import claims as claim_table
from touchstone.study.checks import load_study
from touchstone.study.config import ConfigError
from touchstone.study.schema import resolved_phases


def test_table_3_2_is_attacked_in_whitened_space(paper: Plan) -> None:
    models = [one for one in paper.models if (one.study, one.dataset) == ("margin", "cifar10")]
    assert {one.model for one in models} == {"nin"}
    assert {build.net(paper, one).normalize for one in models} == {"whitened"}
    for attack, norm, radii in (("fgsm-linf", "linf", (0.05,)), ("deepfool-l2", "l2", (1.0, 2.0))):
        threats = {paper.threat(one, attack) for one in models}
        assert [(t.norm, t.space, t.bounds, t.epsilons) for t in threats] == [(norm, "whitened", "none", radii)]


def test_the_other_tables_are_attacked_in_pixels(paper: Plan) -> None:
    models = [one for one in paper.models if (one.study, one.dataset) == ("margin", "mnist")]
    assert {paper.threat(one, "fgsm-linf").space for one in models} == {"pixel"}
    assert {build.net(paper, one).normalize for one in models} == {"none"}


def test_the_worst_case_is_in_pixels_alone(paper: Plan) -> None:
    model = next(one for one in paper.models if (one.study, one.dataset) == ("margin", "cifar10"))
    assert paper.threat(model, "worst-linf").epsilons == (0.031373,)
    assert paper.threat(model, "worst-l2").epsilons == (0.25, 0.5)
    assert {paper.threat(model, f"worst-{norm}").space for norm in ("linf", "l2")} == {"pixel"}
    untested = {w.attack: w.why_not for w in build.tables_job(paper, "margin").worst if w.dataset == "cifar10"}
    assert untested["fgsm-linf"] == "fgsm-linf works in whitened space, the worst case in pixels"
    tested = {w.attack: w.judges for w in build.tables_job(paper, "margin").worst if w.dataset == "mnist"}
    assert [judge.radius for judge in tested["fgsm-linf"]] == [0.2]


def test_margin_takes_its_gradient_there_without_weight_decay(paper: Plan) -> None:
    study = paper.studies["margin"]
    nets = {name: one for name, one in study.defenses.items() if name.startswith("margin-ce")}
    assert {(one.options["space"], one.options["data"], one.options["norm"]) for one in nets.values()} == {
        ("whitened", "ce", "l2")
    }
    decayed = {name: one for name, one in nets.items() if name.endswith("+decay")}  # the text tells of these alone
    assert sorted(one.options["c"] for name, one in nets.items() if name not in decayed) == [0.001, 0.005, 0.01]
    for name in nets:
        decays = {phase.weight_decay for phase in resolved_phases(study, name, "cifar10")}
        assert decays == ({1e-4} if name in decayed else {0.0})
    assert [phase.weight_decay for phase in resolved_phases(study, "plain", "cifar10")] == [1e-4]


def test_vat_is_on_its_authors_net_as_printed_and_on_the_other_rows_net_as_coded(paper: Plan, root: Path) -> None:
    study = paper.studies["margin"]
    nets = {(one.model, one.defense) for one in paper.models if one.study == "margin" and "vat" in one.defense}
    assert nets == {("mlp-1000-bn", "vat-printed"), ("mlp-1000", "vat-coded")}
    assert study.defenses["vat-printed"].options == study.defenses["vat-coded"].options
    known = claim_table.known(study)
    files = study_files("margin", root)
    claims = claim_table.load(claim_table.read(files.claims), "margin", known, tried(study))
    rows = claim_table.expand(claims, study.readings)
    rows = rows[(rows["defense"] == "vat") & (rows["source_table"] == "Table 3.1a")]
    places = rows.groupby("reading")[["cell_model", "cell_defense"]].agg(lambda words: set(words))
    assert dict(places.loc["headline"]) == {"cell_model": {"mlp-1000-bn"}, "cell_defense": {"vat-printed"}}
    assert dict(places.loc["coded"]) == {"cell_model": {"mlp-1000"}, "cell_defense": {"vat-coded"}}
    assert list(rows["reading"]).count("coded") == 3, "its clean error too"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l2: [l2, grid-l2]": "l2: [l2]"}, r"worst\.l2: has no radius in pixels on 'cifar10'"),
        (
            {"normalize: whitened": "normalize: dataset"},
            r"models\.nin\.normalize: must be whitened where a threat or def",
        ),
        (  # the defenses alone are in whitened space
            {"{mnist: pixel, cifar10: whitened}": "pixel", "normalize: whitened": "normalize: none"},
            r"models\.nin\.normalize: must be whitened where a threat or defense",
        ),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(project: Path, changes: dict[str, str], message: str) -> None:
    files = study_files("margin", project)
    text = files.definition.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    files.definition.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_study(files)
