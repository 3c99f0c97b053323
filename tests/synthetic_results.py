"""A made-up results folder of the study `minmax`, in the shape that the pipeline leaves on disk."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from touchstone.findings import tables
from touchstone.report.plots import output
from touchstone.study.config import read

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = {"mnist": "digits", "cifar10": "digits-rgb"}
SHAPES = {"digits": (6, 1, 5, 5), "digits-rgb": (6, 3, 5, 5)}
DEFENSES = ("std", "std+l1", "std+l2", "minmax-printed", "minmax-coded", "adv")
MODEL = "lenet"


def make_run(folder: Path, shape: tuple[int, ...], *, seed: int, spread: float = 0.2, failed: bool = False) -> Path:
    """Write model.safetensors, history.csv and run.json of one training; `failed`: in its third epoch."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    save_file({"net.conv1.weight": rng.uniform(-spread, spread, shape).astype("f4")}, folder / "model.safetensors")
    epochs = 2 if failed else 10
    loss = 2.3 * np.exp(-np.arange(epochs) / 3) + 0.05 * rng.random(epochs)
    pd.DataFrame({"epoch": range(1, epochs + 1), "phase": 0, "loss": loss}).to_csv(folder / "history.csv", index=False)
    dataset, model, defense, seed_name = folder.parts[-4:]
    run = {
        "cell": {"dataset": dataset, "model": model, "defense": defense, "seed": int(seed_name)},
        "status": "failed" if failed else "ok",
        "reason": "loss or weights not finite in epoch 3" if failed else "",
        "epoch_failed": 3 if failed else None,
        "epochs": 10,
        "seconds": 12.5,
    }
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def make_results(root: Path, run: str = "demo", seeds: int = 2) -> Path:
    """Write root/results/<run> with the study `minmax` and return it; std+l1 on digits failed."""
    results = root / "results" / run
    folder = results / "minmax"
    study = read(ROOT / "studies/minmax/study.yaml")[0]
    for number, (dataset, shape) in enumerate(SHAPES.items()):
        for place, defense in enumerate(DEFENSES):
            for seed in range(seeds):
                path = folder / "models" / dataset / MODEL / defense / str(seed)
                failed = (dataset, defense) == ("digits", "std+l1")
                make_run(path, shape, seed=100 * number + 10 * place + seed, spread=0.1 + 0.1 * place, failed=failed)
    for name, table in make_tables(study, seeds).items():
        path = folder / "tables" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    for name, figure in study["figures"].items():
        output.save(output.draw(figure["fn"], figure_sources(folder, figure)), folder / "figures" / name)
    config = {
        "run": run,
        "studies": ["minmax"],
        "device": "cpu",
        "threads": 1,
        "substitute": STAND_IN,
        "caps": [{"epochs": 10, "samples": 300}, {"where": {"attack": "cw-l2"}, "steps": 200}],
    }
    (results / "config.yaml").write_text(json.dumps({"config": config, "jobs": {}}))
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
    (results / "provenance.json").write_text(json.dumps(provenance))
    return results


def figure_sources(folder: Path, figure: dict) -> dict[str, list[str]]:
    """Return what the figure rule passes to `plots.output.draw`."""
    if "table" in figure:
        return {figure["table"]: [str(folder / "tables" / f"{figure['table']}.csv")]}
    models = folder / "models" / STAND_IN[figure["dataset"]] / MODEL
    return {d: sorted(str(p) for p in (models / d).iterdir()) for d in figure["defenses"]}


def make_tables(study: dict, seeds: int) -> dict[str, pd.DataFrame]:
    """Return the result tables by path below tables/, without suffix."""
    published = pd.read_csv(ROOT / "studies/minmax/claims.csv", dtype=str, keep_default_na=False)
    claims = pd.concat([_claims(published, reading, seeds) for reading in study["readings"]])
    statements = pd.read_csv(ROOT / "studies/minmax/qualitative.csv", dtype=str, keep_default_na=False)
    qualitative = statements[["id", "claim", "published_numbers_agree"]].assign(
        holds=["yes", "no", "not run"] * 4 + ["yes"],
        detail="5 of 6; not: std above minmax-printed under cw-l2, |w| < 0.01",
    )
    cells = _cells(seeds)
    return {
        "cells": cells,
        "claims": claims,
        "qualitative": qualitative,
        "flags": _flags(seeds),
        "selection": _selection(),
        "failures": tables.failures(cells, "results/demo/minmax"),
        "worst": tables.worst_cases(cells),
        **{f"paper/{k}": tables.paper_table(claims, t["source_table"]) for k, t in study["tables"].items()},
    }


def _claims(published: pd.DataFrame, reading: str, seeds: int) -> pd.DataFrame:
    """Give every claim a verdict: one of each kind, then all the rest not comparable."""
    rows = published[published["attack"] != "clean"] if reading == "pixel" else published
    rows = rows[rows["defense"] == "minmax"] if reading == "coded" else rows
    count = len(rows)
    value = rows["value"].astype(float)

    def fill(first: list[str], rest: str) -> list[str]:
        return (first + [rest] * count)[:count]

    verdicts = ["reproduced", "higher", "lower", "inconclusive", "not run", "failed: loss not finite in epoch 3"]
    if reading != "headline":
        verdicts[0] = f"only as {reading}"
    stands = ["", "stands", "overstated by 41.0 points", "overstated by 7.5 points", "not tested: epochs 3 of 10", ""]
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
        verdict=fill(verdicts, "not comparable: digits stands in for mnist; epochs 3 of 10"),
        why="",
        caps=fill([""] * 6, "digits stands in for mnist; epochs 3 of 10; samples 300 of 10000"),
        worst=value * 0.5,
        worst_h=0.01,
        worst_n="300",
        stands=fill(stands * 9, ""),
    )


def _cells(seeds: int) -> pd.DataFrame:
    rows = []
    for original, dataset in STAND_IN.items():
        for norm in ("linf", "l2"):
            for place, defense in enumerate(DEFENSES):
                for seed in range(seeds):
                    failed = (dataset, defense) == ("digits", "std+l1")
                    for eps in (0.0, 0.0924, 0.3):
                        rows.append(
                            {
                                "dataset": dataset,
                                "original_dataset": original,
                                "model": MODEL,
                                "defense": defense,
                                "seed": seed,
                                "attack": f"worst-{norm}",
                                "member": f"worst-{norm}",
                                "protocol": "worst",
                                "space": "pixel",
                                "norm": norm,
                                "epsilon": eps,
                                "metric": "worst_accuracy",
                                "value": np.nan if failed else 0.97 * (0.4 + 0.1 * place) ** (20 * eps) + 0.01 * seed,
                                "n": 0 if failed else 300,
                                "status": "failed" if failed else "incomplete" if defense == "adv" else "ok",
                                "reason": "loss not finite" if failed else "missing square" if defense == "adv" else "",
                            }
                        )
    table = pd.DataFrame(rows)
    clean = table[(table["norm"] == "linf") & (table["epsilon"] == 0.0)]
    blank = {"attack": "clean", "member": "clean", "protocol": "published", "norm": "none", "epsilon": np.nan}
    clean = clean.assign(**blank, metric="accuracy", status=clean["status"].replace("incomplete", "ok"))
    return pd.concat([clean, table], ignore_index=True)


def _flags(seeds: int) -> pd.DataFrame:
    details = {
        "zero-gradients": "CE gradient is zero on 41.2 % of 300 samples",
        "one-step-stronger": "fgsm-linf 0.41 < pgd40-linf 0.45; see @madry",
    }
    rows = [
        ("digits", MODEL, defense, seed, "pgd40-linf", flag, f"{detail} ({seed})")
        for flag, detail in details.items()
        for defense in ("std", "minmax-printed")
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["dataset", "model", "defense", "seed", "attack", "flag", "detail"])


def _selection() -> pd.DataFrame:
    rows = []
    for dataset in SHAPES:
        for defense in ("std+l1", "std+l2", "minmax-printed"):
            for index in range(5):
                name = defense.partition("+")[2]
                rows.append(
                    {
                        "dataset": dataset,
                        "defense": defense,
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
