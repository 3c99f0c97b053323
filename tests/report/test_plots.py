"""Plots: what they draw is compared with numbers computed here, from arrays and tables made here."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text
from synthetic_results import STD, make_run
from toy_cells import cells
from toy_drawings import drawing, shown

from touchstone.files import DamagedError
from touchstone.findings.inputs import write_tables
from touchstone.paths import FORMS, Results
from touchstone.plan.jobs import Shown
from touchstone.registry import load, options
from touchstone.report import plots
from touchstone.report.plots import output, selection, training, weights
from touchstone.report.plots.sources import Series, histories
from touchstone.report.plots.sources import weights as read_weights
from touchstone.study.schema import RESULT_TABLES

SHAPE = (6, 3, 5, 5)


def texts(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in figure.findobj(Text))


def of(label: str, runs: dict[str, Any], missing: dict[str, str] | None = None) -> Series:
    return Series(label, "mnist", label, "lenet", runs, missing or {})


def series(label: str, *seeds: int, missing: dict[str, str] | None = None, spread: float = 0.3) -> Series:
    return of(label, {str(s): np.random.default_rng(s).uniform(-spread, spread, SHAPE) for s in seeds}, missing)


def place(root: Path, label: str = "std", *, failed: tuple[int, ...] = (), seeds: int = 1, **run: Any) -> Shown:
    """Write the trainings of a kind of model into results of a run, and return what a drawing says of it."""
    models = [STD._replace(seed=seed) for seed in range(seeds)]
    for m in models:
        make_run(Results(root).model_folder(m), SHAPE, seed=m.seed, model=m, failed=m.seed in failed, **run)
    return shown(label, *models)


def bars(ax: Axes) -> np.ndarray:
    return np.array([patch.get_height() for patch in ax.patches])


# ---- the table


def test_every_plot_can_be_read_drawn_and_configured() -> None:
    for plot in plots.PLOTS.values():
        assert callable(load(plot.fn))
        assert callable(load(plot.read))
        assert not set(options(plot.fn)) & set(options(plot.read)), "an option is of one of them"
        assert plot.data in (*RESULT_TABLES, plots.MODELS, plots.RECORDS, plots.POINTS, plots.FEATURES)
    histogram = plots.PLOTS["weight-histogram"]
    assert [*options(histogram.fn), *options(histogram.read)] == ["near_zero", "parameter"]


def test_the_table_is_read_without_matplotlib_and_drawing_needs_no_torch() -> None:
    code = (
        "import sys, touchstone.report.plots as p; assert 'matplotlib' not in sys.modules;"
        "from touchstone.registry import load; [load(t) for one in p.PLOTS.values() for t in (one.fn, one.read)];"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_plot_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no plot named 'worstcase'.*did you mean 'worst-case'"):
        output.draw(drawing("worstcase"), Results(tmp_path))


def test_matplotlib_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    weights.histogram([series("std", 0)])
    assert dict(mpl.rcParams) == before


# ---- files


@pytest.mark.slow
def test_files_are_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from matplotlib.figure import Figure;"
        "from touchstone.report.plots import output; figure = Figure(); ax = figure.subplots();"
        "ax.fill_between([0, 1], [1, 2], label='{std, adv}'); ax.legend(); output.save(figure, sys.argv[1:])"
    )
    written = []
    for number in (1, 2):
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        files = [tmp_path / f"figures{number}" / f"f.{form}" for form in FORMS]
        subprocess.run([sys.executable, "-c", code, *map(str, files)], check=True, env=environment)
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    for content in written[0]:
        assert b"<dc:date>" not in content
        assert b"CreationDate" not in content
        assert mpl.__version__.encode() not in content
    assert sorted(p.name for p in (tmp_path / "figures1").iterdir()) == ["f.pdf", "f.png", "f.svg"]


def test_truncated_checkpoint_names_file_and_rule(tmp_path: Path) -> None:
    kind = place(tmp_path)
    file = Results(tmp_path).model(STD).weights
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"std/0/model\.safetensors cannot be used: expected sha256 .*rule train"):
        output.draw(drawing("rho-grid", kind), Results(tmp_path))


def test_another_layer_is_drawn_if_the_net_has_it(tmp_path: Path) -> None:
    one = drawing("weight-histogram", place(tmp_path), options={"parameter": "net.conv9.weight", "near_zero": 0.1})
    with pytest.raises(ValueError, match=r"expected tensor 'net.conv9.weight', got net.conv1.weight"):
        output.draw(one, Results(tmp_path))


def test_sources_say_why_a_run_has_no_model(tmp_path: Path) -> None:
    results, kind = Results(tmp_path), place(tmp_path, seeds=3, failed=(1, 2))
    (found,) = read_weights(drawing("rho-grid", kind), results)
    assert list(found.runs) == ["0"]
    assert found.notes == ["std: seeds 1, 2 failed in epoch 3"]
    (found,) = histories(drawing("training-loss", kind), results)
    assert {seed: len(run) for seed, run in found.runs.items()} == {"0": 10, "1": 2, "2": 2}
    (found,) = read_weights(drawing("rho-grid", shown("std", *kind.models[1:2])), results)
    assert found.notes == ["std: failed in epoch 3"]


def test_a_training_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=r"std/0/run\.json cannot be used: .*No such file.*rule train"):
        read_weights(drawing("rho-grid", shown("std", STD)), Results(tmp_path))


def test_a_defense_outside_the_run_is_said(tmp_path: Path) -> None:
    (found,) = read_weights(drawing("rho-grid", shown("std+l1")), Results(tmp_path))
    assert found.notes == ["std+l1: not part of this run"]
    assert "std+l1:\nnot part of this run" in texts(weights.rho_grid([found]))


def test_failure_before_the_first_epoch_ended_is_an_empty_history(tmp_path: Path) -> None:
    kind = place(tmp_path, failed=(0,), epochs=0)
    assert "std: failed in epoch 3" in texts(output.draw(drawing("training-loss", kind), Results(tmp_path)))


def test_an_emptied_history_loses_no_curve_without_a_word(tmp_path: Path) -> None:
    kind = place(tmp_path)
    Results(tmp_path).model(STD).history.write_text("")
    with pytest.raises(DamagedError, match=r"history\.csv cannot be used: expected sha256 .*rule train"):
        output.draw(drawing("training-loss", kind), Results(tmp_path))


def test_what_no_dataset_stands_in_for_survives_the_disk(tmp_path: Path) -> None:
    results = Results(tmp_path)
    tables = {"cells": cells(stand_in=""), "selection": candidates().assign(stand_in="")}
    write_tables({results.table("minmax", name): made for name, made in tables.items()})
    (ax,) = output.draw(drawing("worst-case"), results).axes
    assert ax.get_title() == "mnist, lenet\nlinf, n = 300"
    assert output.draw(drawing("selection"), results).axes[0].get_title() == "std+l1\nmnist"


def test_a_plot_of_a_table_shows_what_it_names(tmp_path: Path) -> None:
    results = Results(tmp_path)
    write_tables({results.table("minmax", "cells"): pd.concat([cells(), cells(model="mlp")])})
    (ax,) = output.draw(drawing("worst-case", models=("mlp",), defenses=("adv",)), results).axes
    assert len(ax.containers) == 1
    figure = output.draw(drawing("worst-case", models=("mlp", "lenet"), defenses=("adv", "std")), results)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["adv", "std"]
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == ["digits for mnist, mlp", "digits for mnist, lenet"]


# ---- weights


def test_histogram_counts_weights_per_model() -> None:
    std, adv = series("std", 0, 1), series("adv", 2, spread=0.9)
    figure = weights.histogram([std, adv], near_zero=0.05)
    edges = np.linspace(-1, 1, weights.BINS + 1) * max(np.abs(v).max() for v in adv.runs.values())
    for ax, one in zip(figure.axes, (std, adv), strict=True):
        counts = [np.histogram(v, edges)[0] for v in one.runs.values()]
        np.testing.assert_allclose(bars(ax), np.mean(counts, axis=0))
        assert bars(ax).sum() == pytest.approx(450)
    share = np.mean(np.abs(np.stack(list(std.runs.values()))) < 0.05)
    assert figure.axes[0].get_title() == f"std (2 seeds)\n|w| < 0.05: {share:.1%}"


def test_missing_models_are_written_into_the_histogram() -> None:
    lost = of("std+l1", {}, {"0": "failed in epoch 3", "1": "failed in epoch 3"})
    figure = weights.histogram([series("std", 0, missing={"1": "failed in epoch 7"}), lost])
    assert "std (1 seed)" in texts(figure)
    assert "seed 1 failed in epoch 7" in texts(figure)
    assert "std+l1:\nfailed in epoch 3" in texts(figure)


def test_nothing_to_draw_is_still_a_figure() -> None:
    lost = [of(label, {}, {"0": "not trained"}) for label in ("std", "adv")]
    for plot in (weights.histogram, weights.histogram_and_values, weights.rho_grid):
        assert "std:\nnot trained" in texts(plot(lost))


def test_values_are_in_order_of_position() -> None:
    std, adv = series("std", 4, 5), series("adv", 6)
    figure = weights.histogram_and_values([std, adv])
    for ax, one, seed in zip(figure.axes[1::2], (std, adv), ("4", "6"), strict=True):
        (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
        tips = [segment[1] for segment in lines.get_segments()]
        np.testing.assert_allclose(tips, np.column_stack([np.arange(450), one.runs[seed].ravel()]))
        assert f"{one.label}, seed {seed}" in ax.get_title()
    assert figure.axes[0].get_title().startswith("(a)")
    assert figure.axes[1].get_title().startswith("(b)")


def test_rho_grid_lays_kernels_out_with_gaps() -> None:
    one = series("std", 0, spread=3.0)
    figure = weights.rho_grid([one], margin=0.3)
    (mesh,) = figure.axes[0].findobj(QuadMesh)
    image = np.ma.filled(np.ma.masked_invalid(mesh.get_array()).reshape(17, 35), -1)
    rho = 1 / (1 + np.abs(one.runs["0"]))
    for out, channel, row, column in [(0, 0, 0, 0), (5, 2, 4, 4), (3, 1, 2, 0)]:
        assert image[channel * 6 + row, out * 6 + column] == pytest.approx(rho[out, channel, row, column])
    assert (image[5] == -1).all()
    assert (image[:, 5] == -1).all()
    share = np.mean((rho < 0.3) | (rho > 0.7))
    assert f"{share:.0%} of the weights within 0.3 of 0 or 1" in texts(figure)
    assert (mesh.norm.vmin, mesh.norm.vmax) == (0, 1)


# ---- training


def history(*losses: float) -> pd.DataFrame:
    return pd.DataFrame({"epoch": range(1, len(losses) + 1), "loss": losses, "l1": [2 * v for v in losses]})


def test_loss_is_the_mean_with_the_range_of_seeds() -> None:
    one = of("std", {"0": history(3.0, 2.0, 1.0), "1": history(5.0, 2.0, 0.0)})
    figure = training.loss([one], columns=("loss", "l1"))
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[1, 4], [2, 2], [3, 0.5]])
    (band,) = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    corners = {tuple(v) for v in band.get_paths()[0].vertices}
    assert {(1.0, 3.0), (1.0, 5.0), (3.0, 0.0), (3.0, 1.0)} <= corners
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [8, 4, 1])
    (names,) = figure.legends
    assert [name.get_text() for name in names.get_texts()] == ["std (2 seeds)"], "once for both panels"
    figure.draw_without_rendering()
    under = [ax.get_tightbbox() for ax in figure.axes]
    assert not any(names.get_tightbbox().overlaps(one) for one in under), "where no curve is"


def test_failed_training_is_drawn_up_to_its_end() -> None:
    one = of("std+l1", {"0": history(3.0, 2.0, 1.0), "1": history(9.0, 8.0)}, {"1": "failed in epoch 3"})
    figure = training.loss([one])
    assert "std+l1 (1 seed)" in texts(figure)
    assert "std+l1: seed 1 failed in epoch 3" in texts(figure)
    drawn = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    assert [[1, 9], [2, 8]] in drawn
    assert [[2, 8]] in [d for line, d in zip(figure.axes[0].lines, drawn, strict=True) if line.get_marker() == "x"]


def test_unknown_column_of_the_history() -> None:
    with pytest.raises(ValueError, match=r"history of 'std' has no column 'los'.*did you mean 'loss'"):
        training.loss([of("std", {"0": history(1.0)})], columns=("los",))


# ---- selection


def candidates(defense: str = "std+l1") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "dataset": "mnist",
            "stand_in": "digits",
            "model": "lenet",
            "defense": defense,
            "candidate": ["l1=1e-06", "l1=1e-05", "l1=1e-04"],
            "status": ["ok", "ok", "failed"],
            "validation_accuracy": [0.98, 0.97, np.nan],
            "robust_accuracy": [0.1, 0.2, np.nan],
            "selected": [False, True, False],
        }
    )


def test_selection_shows_every_candidate_and_the_chosen_one() -> None:
    figure = selection.sensitivity(pd.concat([candidates(), candidates("std+l2")]))
    ax = figure.axes[0]
    assert ax.get_title() == "std+l1\ndigits for mnist"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["l1=1e-06", "l1=1e-05", "l1=1e-04"]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [98, 97, np.nan])
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [10, 20, np.nan])
    np.testing.assert_allclose(ax.lines[2].get_xdata(), [2])
    (band,) = ax.patches
    assert (band.get_x(), band.get_width()) == (pytest.approx(0.6), pytest.approx(0.8))


def test_models_that_select_apart_have_panels_of_their_own() -> None:
    figure = selection.sensitivity(pd.concat([candidates(), candidates().assign(model="mlp", stand_in="")]))
    assert [ax.get_title() for ax in figure.axes] == ["lenet std+l1\ndigits for mnist", "mlp std+l1\nmnist"]


def test_nothing_selected_is_said() -> None:
    assert "nothing had to be selected" in texts(selection.sensitivity(candidates()[:0]))


def test_missing_columns_are_listed() -> None:
    with pytest.raises(ValueError, match=r"the table lacks .*defense.*; it has dataset"):
        selection.sensitivity(pd.DataFrame({"dataset": ["digits"]}))
