"""A made-up results folder of the study `minmax`, in the shape that the pipeline leaves on disk."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file
from toy_claims import ROW
from toy_drawings import drawing, shown

from touchstone.cell import ModelId
from touchstone.files import sum_of, write_sealed
from touchstone.findings import flags, members, paired, paper, tables
from touchstone.findings.cells import Cell
from touchstone.findings.flags import Flagged
from touchstone.findings.inputs import write_tables
from touchstone.findings.vocabulary import ELSEWHERE
from touchstone.paths import Results, model_files, study_files
from touchstone.plan.jobs import Drawing
from touchstone.report.plots import output
from touchstone.study.checks import load_study
from touchstone.study.claim import Claim
from touchstone.study.schema import FigureDef, Study

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = {"mnist": "digits", "cifar10": "digits-rgb"}
SHAPES = {"mnist": (6, 1, 5, 5), "cifar10": (6, 3, 5, 5)}
DEFENSES = ("std", "std+l1", "std+l2", "minmax-printed", "minmax-coded", "adv")
MODEL = "lenet"
ATTACKS = "results/demo/minmax/attacks/mnist/lenet/std"
STD = ModelId("minmax", "mnist", MODEL, "std", 0)


def make_run(
    folder: Path,
    shape: tuple[int, ...],
    *,
    seed: int,
    model: ModelId = STD,
    spread: float = 0.2,
    failed: bool = False,
    epochs: int | None = None,
) -> Path:
    """Write what one training leaves into a folder and return it; `failed`: in its third epoch."""
    folder.mkdir(parents=True)
    files = model_files(folder)
    rng = np.random.default_rng(seed)
    save_file({"net.conv1.weight": rng.uniform(-spread, spread, shape).astype("f4")}, files.weights)
    epochs = (2 if failed else 10) if epochs is None else epochs
    loss = 2.3 * np.exp(-np.arange(epochs) / 3) + 0.05 * rng.random(epochs)
    pd.DataFrame({"epoch": range(1, epochs + 1), "phase": 0, "loss": loss}).to_csv(files.history, index=False)
    run = {
        "cell": {"run": "demo", **model._asdict(), "stand_in": STAND_IN[model.dataset]},
        "status": "failed" if failed else "ok",
        "reason": "loss or weights not finite in epoch 3" if failed else "",
        "epoch_failed": 3 if failed else None,
        "epochs": 10,
        "selected_options": None,
        "seconds": 12.5,
        "flags": [],
    }
    sums = {"model_sha256": sum_of(files.weights.read_bytes()), "history_sha256": sum_of(files.history.read_bytes())}
    write_sealed(files.run, run | sums)
    return folder


def make_results(root: Path, run: str = "demo", seeds: int = 2) -> Results:
    """Write root/results/<run> with the study `minmax`, and the study beside it; std+l1 on mnist failed."""
    results = Results(root / "results" / run)
    if not (root / "studies").exists():
        (root / "studies").symlink_to(ROOT / "studies")
    study = load_study(study_files("minmax", ROOT))
    for number, (dataset, shape) in enumerate(SHAPES.items()):
        for place, defense in enumerate(DEFENSES):
            for seed in range(seeds):
                model = ModelId("minmax", dataset, MODEL, defense, seed)
                failed = (dataset, defense) == ("mnist", "std+l1")
                drawn = 100 * number + 10 * place + seed
                folder = results.model(model).run.parent
                make_run(folder, shape, seed=drawn, model=model, spread=0.1 + 0.1 * place, failed=failed)
    write_tables(make_tables(results, study, seeds))
    for name, figure in study.figures.items():
        drawn = output.draw(figure_drawing(figure, seeds), results)
        output.save(drawn, [results.figure("minmax", name)])
    config = {
        "run": run,
        "studies": ["minmax"],
        "device": "cpu",
        "threads": 1,
        "jobs": "per_model",
        "batch_size": 256,
        "data": {name: {"source": "embedded"} for name in STAND_IN.values()},
        "stand_in": STAND_IN,
        "caps": [{"epochs": 10, "samples": 300}, {"where": {"attack": "cw-l2"}, "steps": 200}],
    }
    training = {"subject": {"model": STD, "stand_in": "digits"}, "net": {"fn": MODEL}, "objective": {"fn": "ce"}}
    training["phases"] = [{}]
    jobs = {STD.label: {"training": training, "attacks": []}}
    results.config.write_text(json.dumps({"config": config, "jobs": jobs}))
    provenance = {
        "touchstone": "0.1.0",
        "git": "0123456789abcdef",
        "platform": "Linux x86_64",
        "cpu": "Some CPU @ 2.40GHz",
        "cores": 2,
        "memory_gb": 7.8,
        "versions": {"python": "3.11.4", "torch": "2.15.0", "numpy": "2.4.6"},
        "started": "2026-01-01 10:00 UTC",
        "finished": "2026-01-01 10:07 UTC",
        "seconds": 424,
        "command": f"snakemake --cores all --configfile results/{run}/config.yaml",
    }
    for whose in ("", study.study):
        write_sealed(results.provenance(whose), provenance)
    return results


def figure_drawing(figure: FigureDef, seeds: int) -> Drawing:
    """Return what the figures job draws."""
    every = ((d, [ModelId("minmax", figure.datasets[0], MODEL, d, n) for n in range(seeds)]) for d in figure.defenses)
    kinds = [shown(d, *models, dataset=figure.datasets[0]) for d, models in every]
    named = {"datasets": tuple(figure.datasets), "attacks": tuple(figure.attacks)}
    return drawing(figure.fn, *kinds, options=figure.options, **named)


def make_tables(results: Results, study: Study, seeds: int) -> dict[Path, pd.DataFrame]:
    """Return the result tables by their path."""
    written = study_files("minmax", ROOT)
    published = pd.read_csv(written.claims, dtype=str, keep_default_na=False)
    claims = pd.concat([_claims(published, reading, mark.mark, seeds) for reading, mark in study.readings.items()])
    statements = pd.read_csv(written.statements, dtype=str, keep_default_na=False)
    qualitative = statements[["id", "claim", "test", "threshold", "published_numbers_agree"]].assign(
        verdict=["holds", "fails", "not run"] * 4 + ["undecided"],
        right=5,
        compared=6,
        why="open: std above minmax-printed under cw-l2, |w| < 0.01",
        numbers="std over minmax-printed: 0.5 > 0.4 (p 0.2, apart by 0.1: -0.1 to 0.3)",
        worst_verdict="undecided",
        worst_right=1,
        worst_compared=2,
        worst_why="left out: cw-l2: it is unbounded",
        worst_numbers="",
        as_printed="holds 6 of 6",
    )
    cells = _cells(seeds)
    made = {
        "cells": cells,
        "claims": claims,
        "qualitative": qualitative,
        "flags": _flags(seeds),
        "members": members.table([]),
        "selection": _selection(),
        "failures": tables.failures(cells, Results.of(results.root.name), {}),
        "paired": _paired(),
        "worst": tables.worst_cases(cells),
        "attacks": tables.attacks(cells),
        "paper": paper.paper(claims, cells, study.tables, labels={}, readings={}),
    }
    return {results.table("minmax", name): table for name, table in made.items()}


def _claims(published: pd.DataFrame, reading: str, mark: str, seeds: int) -> pd.DataFrame:
    """Give every claim a verdict: one of each kind, then all the rest not comparable."""
    rows = published[published["attack"] != "clean"] if reading == "pixel" else published
    rows = rows[rows["defense"] == "minmax"] if reading == "coded" else rows
    count = len(rows)
    value = rows["value"].astype(float)

    def fill(first: list[str], rest: str) -> list[str]:
        return (first + [rest] * count)[:count]

    verdicts = ["reproduced", "higher", "lower", "inconclusive", "not run", "failed"]
    if reading != "headline":
        verdicts[0] = ELSEWHERE
    stands = ["", "stands", "overstated", "attack gap", "not tested", ""]
    return rows.assign(
        reading=reading,
        ours=value * 0.97,
        n="300",
        seeds=str(seeds),
        h=0.01,
        H=0.014,
        interval_lo=value * 0.95,
        interval_hi=value * 0.99,
        interval_kind=fill(["t", "pooled", "sampling only"] * 9, "t"),
        difference=-0.03 * value,
        tau=0.02,
        verdict=fill(verdicts, "not comparable"),
        why=fill([""] * 5 + ["loss not finite in epoch 3"], "digits stands in for mnist; epochs 3 of 10"),
        only=fill([mark], ""),
        caps=fill([""] * 6, "digits stands in for mnist; epochs 3 of 10; samples 300 of 10000"),
        worst=value * 0.5,
        worst_h=0.01,
        worst_n="300",
        suite="quick",
        stands=fill(stands * 9, ""),
        stands_why=fill(["", "", "", "", "epochs 3 of 10", ""] * 9, ""),
        overstated_by=fill(["", "", "41.0", "", "", ""] * 9, ""),
        attack_gap=fill(["", "0.2", "40.0", "1.25", "", ""] * 9, ""),
        replication_gap=fill(["", "0.1", "1.0", "-6.3", "", ""] * 9, ""),
        cited="",
        kind=fill(["clean", "informative", "informative", "floor"], ""),
        p=fill(["1.0", "0.001", "0.02"], ""),
        q=fill(["1.0", "0.003", "0.03"], ""),
        records=fill([""], "; ".join(f"{ATTACKS}/{seed}/all/records.parquet" for seed in range(seeds))),
    )


def _paired() -> pd.DataFrame:
    """Say of PGD against FGSM that one difference is reproduced, and another one only as coded."""
    found = []
    for name, reading, defense, word in (
        ("t1-std-pgd", "headline", "std", "reproduced"),
        ("t1-minmax-pgd", "headline", "minmax-printed", "lower"),
        ("t1-minmax-pgd", "coded", "minmax-coded", "reproduced"),
    ):
        row = ROW | {"id": name, "cell_defense": defense, "cell_epsilon": 0.3, "low": 0.5, "high": 0.5}
        pair = paired.Pair(
            Claim.of(row | {"cell_model": MODEL}, reading), "fgsm-linf", published=-0.2, norm=row["norm"]
        )
        found.append((pair, paired.Verdict(word, ("on our net",), -0.19, 0.01, 1, 300), ("steps 3 of 40",)))
    return paired.table(found)


def _cells(seeds: int) -> pd.DataFrame:
    rows = []
    for (dataset, stand_in), norm in product(STAND_IN.items(), ("linf", "l2")):
        for (place, defense), seed, eps in product(enumerate(DEFENSES), range(seeds), (0.0, 0.0924, 0.3)):
            failed = (dataset, defense) == ("mnist", "std+l1")
            missing = "missing square" if defense == "adv" else ""
            value = np.nan if failed else 0.97 * (0.4 + 0.1 * place) ** (20 * eps) + 0.01 * seed
            status = "failed" if failed else "incomplete" if missing else "ok"
            model = ("minmax", dataset, MODEL, defense, seed, stand_in)
            about = (f"worst-{norm}", "worst", "pixel", norm, eps, "worst_accuracy", value, 0 if failed else 300)
            rows.append(
                Cell(*model, *about, status, "loss not finite" if failed else missing, about[-1], suite="quick")
            )
    table = pd.DataFrame(rows)
    clean = table[(table["norm"] == "linf") & (table["epsilon"] == 0.0)]
    blank = {"attack": "clean", "protocol": "published", "norm": "none", "epsilon": np.nan, "suite": ""}
    clean = clean.assign(**blank, metric="accuracy", status=clean["status"].replace("incomplete", "ok"))
    return pd.concat([clean, table], ignore_index=True)


def _flags(seeds: int) -> pd.DataFrame:
    details = {
        "zero-gradients": "CE gradient is zero on 41.2 % of 300 samples",
        "one-step-stronger": "fgsm-linf 0.41 < pgd40-linf 0.45; see @madry",
    }
    rows = [
        Flagged("minmax", "mnist", MODEL, defense, seed, "digits", "pgd40-linf", flag, f"{detail} ({seed})")
        for flag, detail in details.items()
        for defense in ("std", "minmax-printed")
        for seed in range(seeds)
    ]
    return flags.table(rows)


def _selection() -> pd.DataFrame:
    rows = []
    for dataset, stand_in in STAND_IN.items():
        for defense in ("std+l1", "std+l2", "minmax-printed"):
            for index in range(5):
                name = defense.partition("+")[2]
                rows.append(
                    {
                        **{"study": "minmax", "dataset": dataset, "model": MODEL, "defense": defense},
                        "stand_in": stand_in,
                        "candidate": f"{name}=1e-0{6 - index}" if name else f"lam=0.1, mu=0.0{index + 1}",
                        "status": "failed" if index == 4 else "ok",
                        "validation_accuracy": 0.983 - 0.01 * index,
                        "bounded": index != 1,
                        "robust_accuracy": 0.1 + 0.1 * index,
                        "fuzziness": 0.44 - 0.05 * index,
                        "near_zero": 0.056,
                        "max_abs": 0.41,
                        "selected": index == 2,
                    }
                )
    return pd.DataFrame(rows)
