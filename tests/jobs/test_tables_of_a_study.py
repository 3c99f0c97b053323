"""From records, runs and selections on disk to every table of a study."""

import re
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy_claims import STUDY
from toy_records import clean, header, points, save, save_run, worst

from touchstone.cell import ModelId, ThreatSpec
from touchstone.files import write_sealed
from touchstone.findings.vocabulary import STANDS, VERDICTS
from touchstone.jobs.tables import TableFiles, tables
from touchstone.models import FIRST_CONV
from touchstone.paths import Results, study_files
from touchstone.plan.jobs import Code
from touchstone.plan.tables import CutShort, Judge, TablesJob, WorstCase
from touchstone.records import Attacked, Preflight
from touchstone.study.checks import load_study
from touchstone.study.claims import known
from touchstone.study.schema import RESULT_TABLES, Reading

STD = ModelId("minmax", "mnist", "lenet", "std", 0)
PLAIN = {"headline": Reading()}
MASKED = {"flag": "zero_gradient_ce", "detail": "41 %"}
REDRAWN = {"flag": "redrawn", "detail": "twice"}


def attack(one: Any, broken: int, **rows: Any) -> Attacked:
    """An attack that breaks the first of 100 samples."""
    return Attacked(one, points(**{"epsilon": [0.3] * 100} | rows, success=np.arange(100) < broken))


CUT = CutShort("mnist", "lenet", "std", "pgd40-linf", data="digits", cut_model=("digits stands in for mnist",))
TESTED = WorstCase("mnist", "pgd40-linf", ThreatSpec("linf"), (Judge(0.3, "worst-linf", 0.3),))


def job(study: str = "minmax", worst: tuple[WorstCase, ...] = (), cut: tuple[CutShort, ...] = ()) -> TablesJob:
    """The tables of a study as it lies in the working folder."""
    defined = load_study(study_files(study))
    return TablesJob(
        Code((), ""),
        "demo",
        study,
        slugs={slot: tuple(names) for slot, names in known(defined).items()},
        reference=defined.reference,
        near_zero=defined.near_zero and defined.near_zero.model_copy(update={"parameters": [FIRST_CONV]}),  # all it has
        tables=defined.tables,
        labels=defined.labels,
        readings=PLAIN,
        worst=worst,
        cut_short=cut,
        match=tuple(defined.paired.match if defined.paired else ()),
    )


def written(study: str = "minmax") -> dict[str, Path | None]:
    """What the tables read of a study."""
    files = study_files(study)
    return {name: f if (f := getattr(files, name)).exists() else None for name in ("claims", "statements")}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """The results of a run beside the studies."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").symlink_to(STUDY.parent)
    return Results.of("demo")


@pytest.fixture
def made(tmp_path: Path, results: Results) -> Path:
    """A run of the study minmax: two attacks and a worst case on one model, in two batches, and a selection."""
    about: dict[str, Any] = {"model": STD}
    threat = ThreatSpec("linf", epsilons=(0.3,))
    nan = {"epsilon": [np.nan] * 100, "norm": "none"}
    first = [attack(clean(**about), 0, **nan), attack(header("pgd40-linf", **about), 40)]
    cascade = worst(**about, threat=threat, members={"pgd": {"fn": "pgd", "options": {}}})
    rest = [attack(cascade, 60, member="pgd", dist_linf=[0.3] * 100)]
    records = [results.attack(STD, batch).records for batch in ("one", "two")]
    save(records[0], *first, preflights=[Preflight(threat, {}, [MASKED])])
    save(records[1], *rest, preflights=[Preflight(threat, {}, [MASKED])])
    run = save_run(results.model(STD).run.parent, np.full((6, 1, 5, 5), 0.5), STD, flags=[REDRAWN])
    chosen = results.selection(STD._replace(defense="std+l1")).sensitivity
    cell = {"study": "minmax", "dataset": "mnist", "stand_in": "digits", "model": "lenet", "defense": "std+l1"}
    write_sealed(chosen, {"cell": cell, "reference": {}, "candidates": [], "selected": None})
    write_sealed(prepared := tmp_path / "digits.json", {"name": "digits", "counts": {"test": 100}})
    more = {"runs": [run], "selections": [chosen], "prepared": [prepared]}
    asked, given = job(worst=(TESTED,), cut=(CUT,)), written()
    (tmp_path / "only").mkdir()
    given = {name: Path(shutil.copy(file, tmp_path / "only")) for name, file in given.items() if file}
    (tmp_path / "studies").unlink()  # all that decides a table is in the job and what it is given
    tables(asked, TableFiles(records=records, **given, **more))
    return tmp_path / "results/demo/minmax/tables"


def test_every_table_of_the_study_is_written(made: Path) -> None:
    assert {path.stem for path in made.glob("*.csv")} == set(RESULT_TABLES)
    assert set(pd.read_csv(made / "paper.csv")["table"]) == {"table1", "table2", "table3"}


def test_a_claim_names_the_files_that_our_number_is_from(made: Path) -> None:
    claims = pd.read_csv(made / "claims.csv", keep_default_na=False).set_index("id")["records"]
    folder = "results/demo/minmax"
    assert claims["t1-std-clean"] == f"{folder}/attacks/mnist/lenet/std/0/one/records.parquet"
    assert claims["t1-std+l1-clean"] == "", "it was not run"
    of_weights = claims[claims.str.endswith("model.safetensors")]
    assert set(of_weights) == {f"{folder}/models/mnist/lenet/std/0/model.safetensors"}


def test_cells_are_those_of_all_batches_and_of_the_weights(made: Path) -> None:
    cells = pd.read_csv(made / "cells.csv", keep_default_na=False)
    found = cells[cells["attack"] != "clean"][["attack", "metric", "epsilon", "value", "stand_in"]]
    assert found.to_numpy().tolist() == [
        ["pgd40-linf", "accuracy", "0.3", 0.6, "digits"],
        ["pgd40-linf", "avg_confidence", "0.3", 0.0, "digits"],
        ["pgd40-linf", "attack_gap", "0.3", 0.2, "digits"],
        ["pgd40-linf", "worst_under_threat", "0.3", 0.4, "digits"],
        ["worst-linf", "worst_accuracy", "0.3", 0.4, "digits"],
    ]
    assert cells[cells["metric"] == "fuzziness"]["n"].tolist() == [150]


def test_every_claim_has_a_verdict_that_is_a_word(made: Path) -> None:
    claims = pd.read_csv(made / "claims.csv", keep_default_na=False, dtype=str).set_index("id")
    assert len(claims) == 65
    assert set(claims["verdict"]) == {"not comparable", "not run", "inconclusive"}
    assert set(claims["verdict"]) <= set(VERDICTS)
    assert set(claims["stands"]) <= {"", *STANDS}
    pgd = claims.loc["t1-std-pgd"]
    assert (pgd["verdict"], pgd["why"], pgd["ours"]) == ("not comparable", "digits stands in for mnist", "0.6")
    assert (pgd["stands"], pgd["overstated_by"], pgd["worst"]) == ("not tested", "", "0.4")
    assert (float(pgd["attack_gap"]), float(pgd["replication_gap"])) == (pytest.approx(20.0), pytest.approx(-0.72))


def test_a_claim_that_names_another_attack_is_judged_as_a_pair(tmp_path: Path, results: Results) -> None:
    """On 100 images of a population of 100, one net, whose clean accuracy is the published one."""
    (tmp_path / "studies").unlink()
    folder = tmp_path / "studies" / "minmax"
    shutil.copytree(STUDY.parent, folder.parent)
    text = (folder / "study.yaml").read_text()
    (folder / "study.yaml").write_text(text + "\npaired: {match: [clean]}\n")
    claims = pd.read_csv(folder / "claims.csv", dtype=str, keep_default_na=False).assign(against="")
    claims.loc[claims["id"] == "t1-std-pgd", "against"] = "fgsm-linf"
    claims.to_csv(folder / "claims.csv", index=False)
    printed = claims.set_index("id")["value"].astype(float)
    wrong = {"clean_pred": (np.arange(100) >= 99).astype(int), "epsilon": [np.nan] * 100, "norm": "none"}
    pgd, fgsm = (attack(header(slug, model=STD), n) for slug, n in (("pgd40-linf", 60), ("fgsm-linf", 20)))
    save(file := results.attack(STD, "all").records, attack(clean(model=STD), 0, **wrong), pgd, fgsm)
    run = save_run(results.model(STD).run.parent, np.full((6, 1, 5, 5), 0.5), STD)
    tables(job(), TableFiles(records=[file], runs=[run], selections=[], prepared=[], **written()))
    (row,) = pd.read_csv(results.table("minmax", "paired")).to_dict("records")
    assert (row["id"], row["attack"], row["against"], row["nets"], row["n"]) == (
        "t1-std-pgd",
        "pgd40-linf",
        "fgsm-linf",
        1,
        100,
    )
    assert row["published"] == pytest.approx(printed["t1-std-pgd"] - printed["t1-std-fgsm"])
    assert row["ours"] == pytest.approx(-0.4)
    assert row["why"] == "on our net"


def test_flags_are_those_of_trainings_preflights_and_attacks(made: Path) -> None:
    flags = pd.read_csv(made / "flags.csv")
    assert flags[["dataset", "stand_in", "attack", "flag", "detail"]].to_numpy().tolist() == [
        ["mnist", "digits", "training", "redrawn", "twice"],
        ["mnist", "digits", "preflight linf", "zero_gradient_ce", "41 %"],
    ]


def test_selections_and_worst_cases_say_whose_they_are(made: Path) -> None:
    assert pd.read_csv(made / "selection.csv")["defense"].tolist() == ["std+l1"]
    assert pd.read_csv(made / "worst.csv")["dataset"].tolist() == ["digits for mnist"] * 2
    assert pd.read_csv(made / "failures.csv").empty


def test_a_failed_training_is_a_failure_with_its_file(results: Results) -> None:
    failed: dict[str, Any] = {"status": "failed", "reason": "loss is nan"}
    records = results.attack(STD, "all").records
    save(records, Attacked(clean(model=STD, **failed), points(sample=[])))
    run = save_run(results.model(STD).run.parent, model=STD, **failed)
    tables(job(), TableFiles(records=[records], runs=[run], selections=[], prepared=[], **written()))
    (row,) = pd.read_csv(results.table("minmax", "failures")).to_numpy().tolist()
    assert row == ["training of std (digits for mnist, lenet; seed 0)", "loss is nan", str(run)]


def test_a_study_of_cells_alone_has_empty_tables_of_claims(tmp_path: Path, results: Results) -> None:
    """No claims, no statements, no reference defense, and nothing measured of weights."""
    (tmp_path / "studies").unlink()
    folder = tmp_path / "studies" / "margin"
    folder.mkdir(parents=True)
    for name in ("study.yaml", "captions.yaml"):
        text = (STUDY.parent / "margin" / name).read_text()
        (folder / name).write_text(re.sub(r"\ntables:\n(  .*\n)+", "\n", text))  # of claims
    mlp = ModelId("margin", "mnist", "mlp-1000", "std", 0)
    records = results.attack(mlp, "all").records
    save(records, attack(clean(model=mlp), 0, epsilon=[np.nan] * 100, norm="none"))
    run = save_run(results.model(mlp).run.parent, model=mlp)
    tables(job("margin"), TableFiles(records=[records], runs=[run], selections=[], prepared=[], **written("margin")))
    cells = pd.read_csv(results.table("margin", "cells"))
    names = ("accuracy", "avg_confidence", "prob_gap")
    assert cells[["model", "attack", "metric"]].to_numpy().tolist() == [["mlp-1000", "clean", name] for name in names]
    for name in ("claims", "qualitative", "paper"):
        assert pd.read_csv(results.table("margin", name)).empty
    assert pd.read_csv(results.table("margin", "attacks"))["attack"].tolist() == ["clean"]


PC, CE = (ModelId("pcloss", "cifar10", "resnet56", defense, 0) for defense in ("pc-printed", "ce"))
WP, RELU = (
    ModelId("weightpen", "cifar10", model, defense, 0)
    for model, defense in (("smallcnn-bounded", "weightpen-printed"), ("smallcnn-relu", "weightpen-unbounded"))
)


@pytest.mark.parametrize(
    ("statement", "ours", "other", "verdict"),
    [
        ("pc17-separated", (PC, [0.6, 0.61, 0.62]), (CE, [0.3, 0.31, 0.32]), "holds"),
        ("pc17-separated", (PC, [0.3, 0.31, 0.32]), (CE, [0.1, 0.11, 0.12]), "fails"),
        ("pc17-separated", (PC, [0.3, 0.31, 0.32]), (CE, [0.5, 0.51, 0.52]), "fails"),
        ("pc17-separated", (PC, [0.5, 0.51]), (CE, [0.3, 0.31]), "undecided"),
        ("pc17-separated", (PC, [0.5, 0.51, 0.52]), (CE, [None] * 3), "not run"),
        ("wp09-tight", (WP, [0.5, 0.51, 0.52]), (RELU, [0.3, 0.31, 0.32]), "holds"),
        ("wp09-tight", (WP, [0.3, 0.31, 0.32]), (RELU, [0.5, 0.51, 0.52]), "fails"),
    ],
)
def test_a_statement_about_features_is_asked_of_what_is_measured_of_them(
    results: Results, statement: str, ours: Any, other: Any, verdict: str
) -> None:
    nets, records = {}, []
    nothing = {"epsilon": [np.nan] * 100, "norm": "none"}
    for (model, silhouettes), seed in product((ours, other), range(len(ours[1]))):
        net = model._replace(seed=seed)
        records.append(save(results.attack(net, "all").records, attack(clean(model=net, stand_in=""), 0, **nothing)))
        cell = {"run": "demo", **net._asdict(), "stand_in": ""}
        told = {"status": "ok", "clean": 60, "silhouette": {"clean": silhouettes[seed], "all": 0.9}}
        nets[f"{model.defense} {seed}"] = {"cell": cell, "reason": "", **told}
    study = ours[0].study
    write_sealed(file := results.features(study, "figure").measured, {"nets": nets})
    tables(
        job(study), TableFiles(records=records, runs=[], selections=[], prepared=[], features=[file], **written(study))
    )
    said = pd.read_csv(results.table(study, "qualitative")).set_index("id")
    assert said.loc[statement, "verdict"] == verdict
    assert ("no number" in str(said.loc[statement, "why"])) == (verdict == "not run")
