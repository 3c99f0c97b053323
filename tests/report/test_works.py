"""Whose works a run is made of, read from its resolved config."""

from typing import Any

from touchstone.report import works
from touchstone.report.works import Part


def job(study: str, defense: str, *members: tuple[str, str, dict[str, Any]], stand_in: str = "") -> dict[str, Any]:
    subject = {"model": [study, "mnist", "net", defense, 0], "stand_in": stand_in}
    training = {"subject": subject, "net": {"fn": "lenet5"}, "objective": {"fn": defense}, "phases": [{}]}
    found = [{"members": [{"slug": slug, "fn": fn, "options": options}]} for slug, fn, options in members]
    return {"training": training, "attacks": [{"attacks": found}]}


JOBS = {
    "a": job("s", "pc", ("pgd40", "pgd", {}), ("black-box", "transfer", {"attack": "mim"}), stand_in="digits"),
    "b": job("s", "pc", ("pgd40", "pgd", {}), ("pgd100", "pgd", {}), ("mine", "toys:fn", {}), stand_in="digits"),
    "c": job("other", "margin", ("cw", "cw", {})),
}


def test_parts_of_a_study_are_named_once_and_with_what_an_attack_wraps() -> None:
    named = [("pgd", "pgd40"), ("transfer", "black-box"), ("mim", "black-box"), ("pgd", "pgd100"), ("toys:fn", "mine")]
    assert works.parts("s", JOBS) == (
        Part("dataset", "digits", "mnist"),
        Part("model", "lenet5", "net"),
        Part("defense", "pc", "pc"),
        *(Part("attack", name, slug) for name, slug in named),
    )
    assert works.parts("nothing", JOBS) == ()


def test_weights_that_are_given_were_not_made_by_a_defense() -> None:
    given = job("s", "ce")
    given["training"]["phases"] = []
    assert [part.kind for part in works.parts("s", {"a": given})] == ["dataset", "model"]


def test_sources_stand_in_the_order_of_the_tables_and_lead_to_the_works() -> None:
    lines = works.sources(works.parts("s", JOBS)).splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[1] for row in shown] == ["digits", "lenet5", "pc", "pgd", "mim", "transfer", "toys:fn"]
    assert shown[3][2] == "pgd40, pgd100"
    assert shown[4][3] == "Dong et al. (2018), [arXiv:1710.06081](https://arxiv.org/abs/1710.06081)"
    assert shown[-1] == ["attack", "toys:fn", "mine", "the user's own"]
    assert works.sources([]) == ""


def test_a_number_ends_where_the_sentence_goes_on() -> None:
    text = "A thesis, doi:10.32657/10356/143316, chapter 3; also arXiv:2106.01538."
    assert works.linked(text) == (
        "A thesis, [doi:10.32657/10356/143316](https://doi.org/10.32657/10356/143316), chapter 3; "
        "also [arXiv:2106.01538](https://arxiv.org/abs/2106.01538)."
    )
