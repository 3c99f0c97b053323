"""Features in a plane: every point is there, adversarial ones apart, silhouettes in words."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from safetensors.numpy import save_file
from toy_drawings import drawing, shown
from toy_records import MODEL

from touchstone.files import DamagedError, sum_of_file, write_sealed
from touchstone.paths import Results
from touchstone.report.plots.embedding import Cloud, tsne
from touchstone.report.plots.features import features

PLANE = np.arange(12, dtype="f4").reshape(6, 2)
CLASSES = np.array([0, 0, 7, 7, 0, 7])
MADE = np.array([False] * 4 + [True] * 2)


def cloud(adversarial: np.ndarray) -> Cloud:
    return Cloud("ce", "", PLANE, CLASSES, adversarial, {"clean": [0.25, 0.5], "all": [0.125]})


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


def drawn(ax: Axes, colour: str | None = None) -> dict[str, int]:
    lines = [line for line in ax.lines if colour is None or line.get_color() == colour]
    return {str(line.get_marker()): len(line.get_xdata()) for line in lines}


def test_clean_points_and_beside_them_the_adversarial_ones_in_black() -> None:
    figure = tsne([cloud(MADE)])
    clean, both = figure.axes
    assert drawn(clean) == {"$0$": 2, "$7$": 2}
    assert drawn(both, "black") == {"$0$": 1, "$7$": 1}
    assert titles(figure) == [
        "ce: clean points\nsilhouette 0.38 (0.25 to 0.50)",
        "ce: with adversarial points\nsilhouette 0.12",
    ]


def test_without_adversarial_points_a_kind_has_one_panel_and_a_failed_one_says_so() -> None:
    figure = tsne([cloud(np.zeros(6, "?")), Cloud("pc", "failed in epoch 3")])
    assert titles(figure) == ["ce: clean points\nsilhouette 0.38 (0.25 to 0.50)", "pc: clean points"]
    assert "failed in epoch 3" in [text.get_text() for text in figure.findobj(Text)]


def test_a_kind_that_is_not_part_of_the_run_is_only_named() -> None:
    figure = tsne([Cloud("mmc", "not part of this run"), cloud(MADE)])
    assert len(figure.axes) == 2
    assert figure.get_supxlabel() == "mmc: not part of this run"


FIRST = MODEL._replace(seed=1)  # seed 0 failed


def kept(results: Results) -> None:
    """Write what the job of a figure leaves: one net failed, two did not."""
    files = results.features("toy", "one")
    tensors = {"plane": PLANE, "label": CLASSES, "adversarial": MADE}
    files.points.parent.mkdir(parents=True)
    save_file({f"{FIRST.label}/{name}": values for name, values in tensors.items()}, files.points)
    nets: dict = {MODEL.label: {"status": "failed", "reason": "loss not finite"}}
    for seed, value in ((1, 0.25), (2, None)):
        nets[MODEL._replace(seed=seed).label] = {"status": "ok", "silhouette": {"clean": value, "all": 0.5}}
    write_sealed(files.measured, {"nets": nets, "points_sha256": sum_of_file(files.points)})


def test_features_are_those_of_the_first_trained_net_and_silhouettes_of_all(tmp_path: Path) -> None:
    results, nets = Results(tmp_path), [MODEL._replace(seed=seed) for seed in range(3)]
    kept(results)
    kinds = [shown("std", *nets), shown("adv", MODEL), shown("pc")]
    drawn = drawing("features", *kinds, study="toy", datasets=("mnist",))
    std, adv, pc = features(drawn, results)
    assert np.array_equal(std.plane, PLANE)
    assert np.array_equal(std.adversarial, MADE)
    assert std.silhouettes == {"clean": [0.25], "all": [0.5, 0.5]}
    assert (adv.label, adv.missing) == ("adv", "failed: loss not finite")
    assert (pc.label, pc.missing) == ("pc", "not part of this run")
    results.features("toy", "one").points.write_bytes(b"")
    with pytest.raises(DamagedError, match="rule features"):
        features(drawn, results)


def test_without_any_model_no_file_is_read(tmp_path: Path) -> None:
    (cloud,) = features(drawing("features", shown("pc"), datasets=("mnist", "cifar10")), Results(tmp_path))
    assert (cloud.label, cloud.missing) == ("mnist: pc", "not part of this run")


@pytest.mark.parametrize("clouds", [[], [Cloud("pc", "not part of this run")]])
def test_nothing_to_draw_is_said(clouds: list[Cloud]) -> None:
    said = [text.get_text() for text in tsne(clouds).findobj(Text)]
    assert (clouds[0].missing if clouds else "nothing to draw") in said
