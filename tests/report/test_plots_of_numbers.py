"""Plots of numbers and of single images: what they draw is compared with numbers computed here."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.stats import gaussian_kde, norm, t
from toy_cells import cells, published
from toy_drawings import drawing, shown
from toy_records import MODEL, header, points, save

from touchstone.findings.inputs import write_tables
from touchstone.findings.intervals import share_margins
from touchstone.paths import Results, studies
from touchstone.records import Attacked
from touchstone.report.plots import density, output, robustness, style, sweeps, training
from touchstone.report.plots.numbers import deviations, estimate
from touchstone.report.plots.sources import Series, Swept, ratios
from touchstone.study.config import read


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def band(ax: Axes, place: int = 0) -> set[tuple[float, float]]:
    """The corners of a band, rounded."""
    found = [one for one in ax.collections if isinstance(one, PolyCollection)][place]
    return {(round(float(x), 6), round(float(y), 6)) for x, y in found.get_paths()[0].vertices}


# ---- numbers and looks


def test_an_interval_is_over_seeds_from_three_on_and_over_samples_before() -> None:
    seeds = pd.Series([0.5, 0.6, 0.7])
    found = estimate(seeds, pd.Series([100] * 3), share=True)
    half = t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert found == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    margins = share_margins(0.5, 100)
    assert estimate(seeds[:1], pd.Series([100]), share=True) == pytest.approx((0.5, 0.5 - margins[0], 0.5 + margins[1]))
    assert estimate(seeds[:1], pd.Series([100]), share=False) == (0.5, 0.5, 0.5), "nothing is known"
    assert deviations(seeds, 3.0) == pytest.approx((0.6, 0.3, 0.9))
    assert deviations(seeds[:1], 3.0) == (0.5, 0.5, 0.5)


def test_every_defense_has_a_look_but_for_points_of_a_sweep(root: Path) -> None:
    """A variant of a sweep stands on an axis, where its curve has the look of the model."""
    for files in studies(root).values():
        study = read(files.definition)[0]
        swept = {name for one in study["figures"].values() if one["fn"] == "sweep" for name in one["defenses"]}
        assert set(study["defenses"]) - swept <= style.LOOKS.keys(), files.study


def test_a_defense_looks_the_same_whatever_stands_beside_it() -> None:
    alone, among = style.looks(["margin-l1"]), style.looks(["std", "adv", "margin-l1", "mine"])
    assert alone["margin-l1"] == among["margin-l1"]
    assert len(set(among.values())) == len({(look.marker, str(look.dash)) for look in among.values()}) == 4
    models = style.looks(["a std", "b std"], {"a std": "std", "b std": "std"})
    assert {look.colour for look in models.values()} == {style.BLACK}
    assert models["a std"].dash != models["b std"].dash


# ---- robustness


def test_a_security_curve_is_the_mean_over_seeds_with_its_interval() -> None:
    other = published("pgd", "accuracy", value=1.0)
    clean = published("clean", "accuracy", norm="none", value=0.9)[lambda one: one["epsilon"] == 0.1]
    figure = robustness.security_curves(pd.concat([other, clean.assign(epsilon=np.nan), cells()]))
    (ax,) = figure.axes
    std, adv = ax.containers
    np.testing.assert_allclose(std[0].get_xydata(), [[0, 90], [0.1, 45], [0.3, 25]])
    np.testing.assert_allclose(adv[0].get_xydata(), [[0, 90], [0.1, 75], [0.3, 55]])
    below, above = share_margins(0.45, 300)
    np.testing.assert_allclose(std[2][0].get_segments()[1][:, 1], [45 - 100 * below, 45 + 100 * above])
    assert ax.get_title() == "digits for mnist, lenet\nlinf, n = 300"
    assert {"std", "adv"} <= {t.get_text() for t in figure.legends[0].get_texts()}
    assert figure.legends[0].get_title().get_text() == "suite quick"


def test_each_dataset_model_and_norm_has_a_panel() -> None:
    changes: list[dict[str, Any]] = [{"attack": "worst-l2", "norm": "l2"}, {}, {"dataset": "cifar10", "stand_in": ""}]
    both = pd.concat([cells(**one) for one in [*changes, {"model": "mlp"}]])
    titles = [ax.get_title().split(",")[:-1] for ax in robustness.security_curves(both).axes if ax.containers]
    whose = ["digits for mnist, lenet\nlinf", "cifar10, lenet\nlinf", "digits for mnist, mlp\nlinf"]
    assert [",".join(title) for title in titles] == [*whose, "digits for mnist, lenet\nl2"]


def test_incomplete_is_hollow_and_failed_is_named() -> None:
    table = cells()
    table.loc[table["defense"] == "std", "status"] = "incomplete"
    figure = robustness.security_curves(table)
    std, adv = (container[0] for container in figure.axes[0].containers)
    assert std.get_markerfacecolor() == "white"
    assert adv.get_markerfacecolor() == adv.get_color()
    assert "incomplete: std" in texts(figure)
    table.loc[table["defense"] == "std", ["status", "value", "n"]] = ["failed", np.nan, 0]
    figure = robustness.security_curves(table)
    assert "failed: std" in texts(figure)
    assert "n = 300" in texts(figure)


@pytest.mark.parametrize("plot", [robustness.security_curves, robustness.heat_map])
def test_what_cannot_be_drawn_of_cells_is_said(plot: Any) -> None:
    with pytest.raises(ValueError, match="rows of worst_accuracy measure a cell twice, the first is dataset=mnist"):
        plot(pd.concat([cells(), cells()]))
    with pytest.raises(ValueError, match=r"the table lacks .*defense.*; it has dataset"):
        plot(pd.DataFrame({"dataset": ["digits"]}))
    assert "attack was run" in texts(plot(cells(metric="fuzziness", protocol="published")))


def test_a_heat_map_has_every_attack_at_its_middle_radius() -> None:
    clean = published("clean", "accuracy", norm="none", value=0.9)[lambda one: one["epsilon"] == 0.1]
    far = published("deepfool", "accuracy", norm="l2", value=0.02)[lambda one: one["epsilon"] == 0.1]
    table = pd.concat([cells(), far.assign(epsilon=np.nan), published("pgd", "accuracy"), clean.assign(epsilon=np.nan)])
    table = table[(table["attack"] != "pgd") | (table["defense"] == "adv")]
    figure = robustness.heat_map(table)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["std", "adv"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["clean", "pgd 0.1", "worst-linf 0.1", "deepfool ∞"]
    np.testing.assert_allclose(ax.images[0].get_array().filled(-1), [[90, -1, 45, 2], [90, 75, 75, 2]])
    (dash,) = [text for text in ax.texts if text.get_text() == "–"]
    assert dash.get_color() == "black", "on white"


def test_a_wide_heat_map_goes_on_below() -> None:
    many = pd.concat([published(f"a{n}", "accuracy") for n in range(robustness.WIDEST + 1)])
    shown = [len(ax.get_xticks()) for ax in robustness.heat_map(many).axes if ax.images]
    assert shown == [robustness.WIDEST, 1]


# ---- sweeps


C = {"std": 0.1, "adv": 1e-3, "third": 0.0}


def swept(*tables: pd.DataFrame, along: dict[str, dict[str, float]] | None = None, datasets: Any = ("mnist",)) -> Swept:
    attacks = tuple(dict.fromkeys(attack for table in tables for attack in table["attack"]))
    return Swept(pd.concat(tables), along or {"c": C}, datasets, attacks)


def at_one(attack: str, metric: str, **changes: Any) -> pd.DataFrame:
    """A number without a radius."""
    return published(attack, metric, **changes)[lambda one: one["epsilon"] == 0.1].assign(epsilon=np.nan)


def test_a_sweep_is_drawn_along_the_values_of_an_option() -> None:
    data = swept(at_one("clean", "error"), at_one("deepfool", "rho_adv"))
    figure = sweeps.sweep(data, metrics=["error", "rho_adv"], sigmas=3.0)
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1e-3, 75], [0.1, 45]])
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[1e-3, 0.75], [0.1, 0.45]])
    spread = 3 * np.std([0.7, 0.8], ddof=1)
    assert {(0.001, round(0.75 - spread, 6)), (0.001, round(0.75 + spread, 6))} <= band(right)
    assert (left.get_ylabel(), right.get_ylabel(), left.get_xlabel()) == ("error (%)", "rho adv", "c")
    assert left.get_title() == "digits for mnist\nnot part of this run: 0"
    assert (left.get_xscale(), [x.get_text() for x in left.get_xticklabels()]) == ("symlog", ["0", "0.001", "0.1"])
    assert left.lines[0].get_linestyle() == "--", "clean"


def test_a_sweep_has_a_row_per_dataset_and_a_curve_per_model_and_attack() -> None:
    rows = [at_one("clean", "accuracy", model=model) for model in ("a", "b")] + [
        published("pgd", "accuracy", model="a")
    ]
    figure = sweeps.sweep(
        swept(*rows, along={"c": C, "s": {"std": 2.0, "adv": 4.0}}, datasets=("mnist", "cifar10")), metrics=["accuracy"]
    )
    first, second = figure.axes
    assert {line.get_label() for line in first.lines} == {"a clean", "b clean", "a pgd 0.1", "a pgd 0.3"}
    assert (first.get_xscale(), second.get_xscale()) == ("symlog", "linear")
    assert figure.get_supxlabel() == "cifar10: not part of this run"
    below, above = share_margins(0.75, 300)
    assert {(0.001, round(100 * (0.75 - below), 6)), (0.001, round(100 * (0.75 + above), 6))} <= band(first)


def test_a_sweep_needs_a_metric_for_each_attack() -> None:
    with pytest.raises(ValueError, match="give one metric, or one for each of clean; got error, rho_adv"):
        sweeps.sweep(swept(at_one("clean", "error")), metrics=["error", "rho_adv"])


def test_a_sweep_reads_published_numbers_of_what_it_names(tmp_path: Path) -> None:
    results = Results(tmp_path)
    write_tables({results.table("minmax", "cells"): pd.concat([cells(), at_one("clean", "error")])})
    what = {"datasets": ("mnist",), "defenses": ("std",), "attacks": ("clean",), "along": {"c": {"std": 1.0}}}
    figure = output.draw(drawing("sweep", **what, options={"metrics": ["error"]}), results)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), [[1, 45]])


# ---- density


def of_images(label: str, *seeds: Any, model: str = "lenet", missing: dict[str, str] | None = None) -> Series:
    return Series(label, "mnist", label, model, {str(n): np.asarray(one) for n, one in enumerate(seeds)}, missing or {})


def test_a_density_is_the_kernel_estimate_over_all_seeds() -> None:
    seeds = [norm.ppf(np.linspace(0.01, 0.99, 50), 0.3, 0.1), norm.ppf(np.linspace(0.01, 0.99, 40), 0.4, 0.1)]
    series = [
        of_images("std", *seeds),
        of_images("adv", [0.2, 0.2], model="mlp"),
        of_images("ce", missing={"-": "gone"}),
    ]
    figure = density.density(series, panels={"(a)": ["lenet"], "(b)": ["mlp"]}, mark=0.2)
    left, right = figure.axes
    both = np.concatenate(seeds)
    x, y = left.lines[0].get_data()
    np.testing.assert_allclose(y, gaussian_kde(both)(x))
    assert x[-1] == pytest.approx(np.quantile(both, density.SHOWN))
    assert left.lines[0].get_label() == f"std (2 seeds, {np.mean(both < 0.2):.1%} below 0.2)"
    assert "ce: gone" in texts(figure)
    assert "adv (1 seed, 0.0% below 0.2): too few images" in texts(figure)
    assert (left.get_title(), right.get_title()) == ("(a)", "(b)")


def test_ratios_are_those_of_the_images_that_are_right_and_broken(tmp_path: Path) -> None:
    results = Results(tmp_path)
    models = [MODEL._replace(seed=seed) for seed in range(2)]
    about = {"norm": "l2", "epsilon": [np.nan] * 3, "x_l2": [2.0] * 3, "dist_l2": [0.5, 1.0, 1.0]}
    frame = points(**about, success=[True, True, False], clean_pred=[0, 1, 0])
    save(results.attack(models[0], "all").records, Attacked(header("deepfool", kind="minimal", model=models[0]), frame))
    failed = header("deepfool", kind="minimal", model=models[1], status="failed", reason="no net")
    save(results.attack(models[1], "all").records, Attacked(failed, frame.head(0)))
    kind = shown("std", *models, batches=(("all",), ("all",)))
    (found, other) = ratios(drawing("rho-density", kind, shown("adv"), attacks=("deepfool",)), results)
    np.testing.assert_allclose(found.runs["0"], [0.25])
    assert found.gaps == ["seed 1 failed: no net"]
    assert other.notes == ["adv: not part of this run"]


# ---- training under attack


def test_accuracy_is_drawn_in_the_epochs_in_which_it_was_measured() -> None:
    nan = np.nan
    runs = {
        str(seed): pd.DataFrame(
            {
                **{"epoch": [1, 2, 3], "train_robust": [0.2, nan, 0.4], "test_robust": [0.1 + 0.2 * seed, nan, 0.5]},
                **{"train_clean": [0.8, nan, 0.9], "test_clean": [0.7, nan, 0.8]},
            }
        )
        for seed in range(2)
    }
    series = [Series("std", "mnist", "std", "lenet", runs), Series("adv", "cifar10", "adv", "lenet", {}, {"-": "gone"})]
    figure = training.accuracy(series, kinds=["robust", "clean"])
    train, test, *_ = figure.axes
    np.testing.assert_allclose(train.lines[0].get_xydata(), [[1, 20], [3, 40]])
    np.testing.assert_allclose(test.lines[0].get_xydata(), [[1, 20], [3, 50]])
    np.testing.assert_allclose(test.lines[1].get_ydata(), [70, 80])
    assert {(1.0, 10.0), (1.0, 30.0)} <= band(test)
    assert test.lines[1].get_linestyle() == ":"
    assert [ax.get_title() for ax in figure.axes] == [f"mnist, {part}" for part in training.PARTS.values()]
    assert figure.get_supxlabel() == "cifar10: adv: gone"


def test_a_dataset_without_a_training_has_no_panel_unless_none_has() -> None:
    lacking = [Series[pd.DataFrame](name, "cifar10", name, "lenet", {}, {"-": "not part of this run"}) for name in "ab"]
    figure = training.accuracy([Series("std", "mnist", "std", "lenet", {}, {"0": "failed in epoch 3"}), *lacking])
    assert len(figure.axes) == 4
    assert figure.get_supxlabel() == ""
    assert "std: failed in epoch 3" in texts(figure)
    assert [len(ax.get_xticks()) for ax in figure.axes] == [0] * 4
    watched = pd.DataFrame({"epoch": [1], "train_robust": [0.5], "test_robust": [0.5]})
    figure = training.accuracy([Series("std", "mnist", "std", "lenet", {"0": watched}), *lacking])
    assert (len(figure.axes), figure.get_supxlabel()) == (2, "cifar10: not part of this run")


def test_a_training_that_was_not_watched_has_no_such_curve() -> None:
    runs = {"0": pd.DataFrame({"epoch": [1], "loss": [1.0]})}
    with pytest.raises(ValueError, match="the history of 'std' has no column 'train_robust'"):
        training.accuracy([Series("std", "mnist", "std", "lenet", runs)])
