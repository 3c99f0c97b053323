"""What attacks keep, read back for galleries and ranks: from records, points and data made here."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from toy_drawings import drawing, shown
from toy_records import LINF, MODEL, clean, header, points, save, worst

from touchstone import paths
from touchstone.files import DamagedError, sum_of_file, write_sealed
from touchstone.paths import Results
from touchstone.plan.jobs import Drawing
from touchstone.records import Attacked, Header, empty
from touchstone.report.plots import attacked

SAMPLES = [7, 3, 5, 9]  # of the test set, of classes 1, 0, 1, 0
LABELS = [1, 0, 1, 0]
TEST = np.random.default_rng(0).integers(0, 256, (10, 1, 2, 2), dtype="u1")
IMAGES = {sample: TEST[sample] / 255 for sample in SAMPLES}


def frame(epsilons: tuple[float, ...], **columns: Any) -> Any:
    rows = len(epsilons) * len(SAMPLES)
    about = {"sample": SAMPLES * len(epsilons), "label": LABELS * len(epsilons), "epsilon": np.repeat(epsilons, 4)}
    about |= {"clean_pred": LABELS * len(epsilons), "clean_conf": [0.75] * rows}
    return points(**about | columns)


PGD = Attacked(
    header("pgd"),
    frame(
        LINF.epsilons,
        success=[False] * 4 + [True, False, True, True],
        adv_pred=[0] * 8,
        adv_conf=[0.5] * 4 + [0.9, 0.6, 0.7, 0.8],
        dist_linf=[0.1] * 4 + [0.3] * 4,
        adv_rank=[2] * 8,
    ),
)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """A run's results, beside digits."""
    monkeypatch.chdir(tmp_path)
    files = paths.prepared("digits")
    files.data.parent.mkdir(parents=True)
    save_file({"test_x": TEST, "test_y": np.zeros(10, "i8")}, files.data)
    write_sealed(files.facts, {"sha256": sum_of_file(files.data)})
    return Results.of("demo")


def keep(results: Results, *made: Attacked, moved: float = 0.25, kept: int = 4) -> None:
    """Write records and points; each point is its image, moved."""
    files = results.attack(MODEL, "all")
    save(files.records, *made)
    shift = np.stack([IMAGES[sample] + moved for sample in SAMPLES[:kept]]).astype("f4")
    names = {"none": ["clean"], "minimal": ["minimal"], "fixed": ["epsilon-0.1", "epsilon-0.3"]}
    tensors = {}
    for one in made:
        tensors[f"{one.header.attack}/sample"] = np.array(SAMPLES[:kept])
        tensors |= {f"{one.header.attack}/{name}": shift for name in names[one.header.kind]}
    save_file(tensors, files.examples)


def asked(*attacks: str, plot: str = "gallery", **changes: Any) -> Drawing:
    kind = shown("std", MODEL, batches=(("all",),))
    return drawing(plot, kind, study="toy", datasets=("mnist",), defenses=("std",), attacks=attacks, **changes)


def test_a_gallery_has_the_first_image_of_each_class_and_what_became_of_it(results: Results) -> None:
    keep(results, PGD)
    found = attacked.gallery(asked("pgd"), results)
    assert found.columns == ("0", "1")
    originals, row = found.rows
    for sample, original, picture in zip((3, 7), originals.pictures, row.pictures, strict=True):
        assert original is not None
        assert picture is not None
        assert original.pixels == pytest.approx(IMAGES[sample])
        assert picture.change == pytest.approx(np.full((1, 2, 2), 0.25), abs=1e-6)
    assert [(p.label, p.confidence, p.distance, p.state) for p in row.pictures if p] == [
        (0, 0.6, 0.3, "not broken"),
        (0, 0.9, 0.3, "broken"),
    ]
    assert row.label == ("std", "pgd", "linf, epsilon 0.3", "mean confidence 80 %")


def test_a_gallery_of_what_is_broken_has_other_images_only_of_classes_without_one(results: Results) -> None:
    keep(results, PGD)
    found = attacked.broken(asked("pgd", plot="gallery-of-broken", samples=4), results)
    (_, row) = found.rows
    assert [(p.confidence, p.state) for p in row.pictures if p] == [(0.8, "broken"), (0.9, "broken")]
    wrong = PGD.frame.assign(clean_pred=[1, 0, 1, 1] * 2)
    keep(results, PGD._replace(frame=wrong))
    (_, row) = attacked.broken(asked("pgd", plot="gallery-of-broken", samples=4), results).rows
    assert [(p.confidence, p.state) for p in row.pictures if p] == [(0.6, "not broken"), (0.9, "broken")]


def test_the_radius_is_the_one_asked_for(results: Results) -> None:
    keep(results, PGD)
    (_, row) = attacked.gallery(asked("pgd", epsilon=0.1), results).rows
    assert [p.state for p in row.pictures if p] == ["not broken"] * 2
    with pytest.raises(ValueError, match=r"pgd on toy/mnist/lenet/std/0 has no radius 0.2, only \(0.1, 0.3\)"):
        attacked.gallery(asked("pgd", epsilon=0.2), results)


def test_an_image_that_is_mistaken_before_says_so_and_the_clean_pass_has_no_change(results: Results) -> None:
    wrong = PGD.frame.assign(clean_pred=[0] * 8)
    about = frame((np.nan,), norm="none", clean_pred=[0] * 4)
    keep(results, Attacked(clean(), about), PGD._replace(frame=wrong))
    _, plain, row = attacked.gallery(asked("clean", "pgd"), results).rows
    assert [p.state for p in row.pictures if p] == ["not broken", "wrong before"]
    assert [(p.label, p.confidence, p.change) for p in plain.pictures if p] == [(0, 0.75, None)] * 2
    assert plain.label[-1] == "mean confidence 75 %"


def test_of_a_worst_case_the_member_that_broke_an_image_counts(results: Results) -> None:
    tried = frame((0.3,), success=[False] * 4, adv_pred=[5] * 4, member="pgd")
    broke = tried.assign(member="square", success=[True, False, True, True], adv_pred=[6] * 4, adv_conf=0.9)
    rows = frame((0.1,), success=[False] * 4)
    keep(results, Attacked(worst(), pd.concat([rows, tried, broke], ignore_index=True)))
    (_, row) = attacked.gallery(asked("worst-linf"), results).rows
    assert [(p.label, p.confidence, p.state) for p in row.pictures if p] == [
        (0, 0.75, "not broken"),
        (6, 0.9, "broken"),
    ]


def test_points_that_are_not_kept_leave_a_gap_and_what_did_not_run_a_reason(results: Results) -> None:
    keep(results, PGD, kept=1)
    found = attacked.gallery(asked("pgd", "mim"), results)
    assert found.columns == ("1",)
    assert found.rows[-1].missing == "not part of this run"
    keep(results, Attacked(header("pgd", status="failed", reason="loss not finite in epoch 3"), empty()))
    (row,) = attacked.gallery(asked("pgd"), results).rows
    assert row.missing == "failed: loss not finite in epoch 3"


def test_a_file_without_the_points_is_named(results: Results) -> None:
    keep(results, PGD)
    save_file({"a": TEST}, results.attack(MODEL, "all").examples)
    with pytest.raises(DamagedError, match="cannot be used"):
        attacked.gallery(asked("pgd"), results)


def to(target: int) -> Header:
    member = {"fn": "cw", "options": {"target_class": target}}
    return header(f"to-{target}", kind="minimal", members={f"to-{target}": member}, threat=LINF)


def test_images_on_the_diagonal_and_what_each_class_was_led_to(results: Results) -> None:
    made = [
        Attacked(to(target), frame((np.nan,), success=[True] * 4, adv_pred=[target] * 4, clean_pred=[0, 0, 1, 0]))
        for target in (0, 1)
    ]
    keep(results, *made)
    found = attacked.targets(asked("to-1", "to-0", plot="gallery-of-targets"), results)
    assert found.columns == ("to 0", "to 1")
    pictures = [[(p.label, p.state) if p else None for p in row.pictures] for row in found.rows]
    assert pictures == [[(0, "original"), (1, "broken")], [(0, "broken"), (1, "original")]]
    (_, (first, _)) = (row.pictures for row in found.rows)
    assert first is not None
    assert first.pixels == pytest.approx(IMAGES[5] + 0.25), "sample 7 of class 1 is mistaken, sample 5 is not"


def test_an_attack_that_leads_nowhere_is_no_target(results: Results) -> None:
    keep(results, PGD)
    with pytest.raises(ValueError, match="pgd leads to no class: give it a target_class"):
        attacked.targets(asked("pgd", plot="gallery-of-targets"), results)
    (row,) = attacked.targets(asked("mim", plot="gallery-of-targets"), results).rows
    assert row.missing == "not part of this run"


def test_ranks_are_read_for_each_attack_and_seed(results: Results) -> None:
    keep(results, PGD)
    pgd, mim = attacked.newly(asked("pgd", "mim", plot="ranks"), results)
    assert pgd.label == "std, pgd"
    assert pgd.runs["0"]["new"].tolist() == [0, 3]
    assert pgd.runs["0"]["rank2"].iloc[1] == 1
    assert mim.missing == {"0": "not part of this run"}
