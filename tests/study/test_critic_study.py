"""What section 4.4 of the thesis tells in words: the critic without each of its parts, asked for by a statement."""

from pathlib import Path

import pytest

from touchstone.paths import study_files
from touchstone.plan import build
from touchstone.plan.plan import Plan
from touchstone.study import claims, statements

WHOLE = "critic-mlp-printed"
PARTS = {  # statement -> the defense without what it speaks of, and the option that differs
    "cr09": ("critic-mlp-label-everywhere", {"label_in": "every"}),
    "cr10": ("critic-mlp-random-target", {"target": "random"}),
    "cr11": ("critic-mlp-no-cycle", {"cycle": 0.0}),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_left_out_is_trained_and_attacked_as_the_whole_is(paper: Plan, part: str) -> None:
    defense, change = PARTS[part]
    study = paper.studies["critic"]
    whole, less = study.defenses[WHOLE], study.defenses[defense]
    assert less.model_dump() == whole.model_dump() | change
    nets = {name: [m for m in paper.models if m.defense == name] for name in (WHOLE, defense)}
    assert [m._replace(defense=WHOLE) for m in nets[defense]] == nets[WHOLE]
    assert len(nets[defense]) == 10
    shown = {a for a in paper.attacks(nets[WHOLE][0]) if a.startswith("cw95")}  # in figures of the whole alone
    published = {
        m.defense: set(paper.attacks(m)) - shown - {"deepfool-l2-coded"} for m in (nets[WHOLE][0], nets[defense][0])
    }
    assert published[defense] == published[WHOLE]
    assert "inner" in [m.slug for m in build.attack_job(paper, nets[defense][0], "worst-l2").members]


def test_statements_ask_for_them_and_for_what_the_tables_print(paper: Plan, root: Path) -> None:
    files, known = study_files("critic", root), claims.known(paper.studies["critic"])
    found = {one.id: one for one in statements.load(statements.read(files.statements), "critic", known)}
    assert sorted({name.partition("-")[0] for name in found}) == [f"cr{number:02}" for number in range(1, 12)]
    for part, (defense, _) in PARTS.items():
        said = found[part if part in found else f"{part}-robust"]
        assert str(said.test) == f"more-robust rho_adv_all {WHOLE} {defense}"
        assert said.datasets == ("mnist",), "the text prints no number"
    for name in ("cr01-mlp", "cr01-lenet"):
        assert found[name].test.clauses[0].words[2:] == ("std", "at-fgsm", "vat", "margin-l2-printed")


def test_as_coded_rho_counts_how_far_an_attack_came_that_broke_nothing(paper: Plan) -> None:
    """The thesis' code divides what it has moved an image by, whether or not the prediction changed."""
    study = paper.studies["critic"]
    coded = study.readings["coded"]
    assert coded.metric == {"rho_adv_all": "rho_adv_all_ends"}
    for attack in ("deepfool-l2", "high-confidence-l2"):
        assert study.attacks[coded.attack[attack]].options["keep_last"] is True
        assert "keep_last" not in study.attacks[attack].options
