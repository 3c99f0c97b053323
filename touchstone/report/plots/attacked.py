"""Read what attacks made of test images: their records, and the points that are kept of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import pandas as pd
from safetensors import safe_open

from touchstone import paths, records
from touchstone.cell import radius_index
from touchstone.files import read_sealed, verified
from touchstone.findings.inputs import places, read_points
from touchstone.findings.ranks import newly_successful
from touchstone.paths import Results
from touchstone.plan.jobs import Drawing, Shown
from touchstone.records import Attacked, Header
from touchstone.report.plots.gallery import Gallery, Picture, Pixels, Row, State
from touchstone.report.plots.sources import NOT_PART, Series


class Judged(NamedTuple):
    """What became of one image: its class, what the model says of it and of the attack's point, and how far that is."""

    label: int
    clean_pred: int
    clean_conf: float
    adv_pred: int
    adv_conf: float
    distance: float  # in pixels, in the norm of the attack
    success: bool

    @property
    def mistaken(self) -> bool:
        """Whether the image itself is taken for another class."""
        return self.clean_pred != self.label


class Stored(NamedTuple):
    """What is kept of one attack on one model at one radius.

    Attributes:
        header: of its records.
        epsilon: the radius, None without one.
        judged: by sample, its place in the test set.
        points: sample -> (C, H, W) in [0, 1], of the first of them.
    """

    header: Header
    epsilon: float | None
    judged: Mapping[int, Judged]
    points: Mapping[int, Pixels]


def newly(drawing: Drawing, results: Results) -> list[Series[pd.DataFrame]]:
    """Return per kind of model and attack what is newly successful at each radius, by seed."""
    found = []
    for shown in drawing.shown:
        held = [_attacks(shown, seed, results) for seed in range(len(shown.models))]
        for attack in drawing.attacks:
            series = Series[pd.DataFrame](f"{shown.label}, {attack}", shown.dataset, shown.defense, shown.model)
            for model, attacks in zip(shown.models, held, strict=True):
                if (one := attacks.get(attack)) is None:
                    series.missing[str(model.seed)] = NOT_PART
                elif one.attacked.header.status != "ok":
                    series.missing[str(model.seed)] = f"failed: {one.attacked.header.reason}"
                else:
                    series.runs[str(model.seed)] = newly_successful(one.attacked.frame)
                    threat = one.attacked.header.threat
                    series = replace(series, space=threat.space if threat else series.space)
            if not shown.models:
                series.missing["-"] = NOT_PART
            found.append(series)
    return found


def gallery(drawing: Drawing, results: Results) -> Gallery:
    """Return an image of each class, and below it what each attack made of it on each kind of model.

    The images are the first of their class among those whose points the attacks keep: the same for all models, whether
    a model takes them for what they are or not. Of each kind of model the first net is shown that was trained.

    Args:
        drawing: its attacks, in this order, on its models; at its `epsilon`, or their largest radius.
        results: where their files lie.

    Raises:
        ValueError: if an attack was not run at the radius.
    """
    return _rows(drawing, results)


def _rows(drawing: Drawing, results: Results, spared: Callable[[Judged], bool] = lambda _: False) -> Gallery:
    """Return the images that are shown of each class, and rows of what became of them; those `spared` come last."""
    (dataset,) = drawing.datasets
    found = _stored(drawing, results)
    there = [one for one in found.values() if isinstance(one, Stored)]
    chosen = _one_of_each(there[0], spared) if there else {}
    originals = _originals(there[0].header, chosen.values()) if there else {}
    above = tuple(Picture(originals[sample], label) for label, sample in chosen.items())
    rows = [Row((dataset, "originals"), above)] if chosen else []
    for (label, attack), one in found.items():
        if isinstance(one, str):
            rows.append(Row((label, attack), missing=one))
        else:
            pictures = tuple(_picture(one, sample, originals[sample]) for sample in chosen.values())
            rows.append(Row((label, attack, *_about(one)), pictures))
    return Gallery(tuple(map(str, chosen)), tuple(rows))


def broken(drawing: Drawing, results: Results) -> Gallery:
    """Return what `gallery` does, of images that the first attack broke on the first kind of model, if there are any.

    Args:
        drawing: its attacks, on its models; at its `epsilon`, or their largest radius; so many of their points are kept
            as its `samples` say.
        results: where their files lie.
    """
    return _rows(drawing, results, spared=lambda one: one.mistaken or not one.success)


def targets(drawing: Drawing, results: Results) -> Gallery:
    """Return images of each class (rows) led to each class (columns), with the images themselves on the diagonal.

    The first net of the first kind of model is shown, and of each class the first image that this net takes for what it
    is, among those whose points the attacks keep.

    Args:
        drawing: its attacks lead to one class each, all on the same images.
        results: where their files lie.
    """
    found = list(_stored(drawing, results).values())
    there = {_target(one): one for one in found if isinstance(one, Stored)}
    if not there:
        why = "; ".join(dict.fromkeys(one for one in found if isinstance(one, str)))
        return Gallery((), (Row(("all targets",), missing=why or NOT_PART),))
    first = next(iter(there.values()))
    chosen = _one_of_each(first, lambda one: one.mistaken)
    originals = _originals(first.header, chosen.values())
    rows = []
    for label, sample in chosen.items():
        clean, pixels = first.judged[sample], originals[sample]
        itself = Picture(pixels, clean.clean_pred, clean.clean_conf)
        led = {target: _picture(one, sample, pixels, target) for target, one in there.items() if target != label}
        rows.append(Row((f"class {label}",), tuple(({label: itself} | led).get(target) for target in sorted(there))))
    return Gallery(tuple(f"to {target}" for target in sorted(there)), tuple(rows))


class _Held(NamedTuple):
    """An attack on a model, and where its points lie."""

    attacked: Attacked
    examples: Path


def _attacks(shown: Shown, number: int, results: Results) -> dict[str, _Held]:
    """Return the attacks on one net of a kind by their names."""
    batches = (results.attack(shown.models[number], batch) for batch in shown.batches[number])
    examples = {files.records: files.examples for files in batches}
    found: dict[str, _Held] = {}
    for file in dict.fromkeys(places(examples).values()):
        found |= {one.header.attack: _Held(one, examples[file]) for one in records.read(file).attacks}
    return found


def _stored(drawing: Drawing, results: Results) -> dict[tuple[str, str], Stored | str]:
    """Return what is kept of each attack on the first trained net of each kind, or why there is nothing.

    Keys are the label of the kind and the attack, attacks in the order of the drawing and for each its kinds.
    """
    found: dict[tuple[str, str], Stored | str] = {
        (shown.label, attack): NOT_PART for attack in drawing.attacks for shown in drawing.shown
    }
    for shown in drawing.shown:
        for number in range(len(shown.models)):
            held = _attacks(shown, number, results)
            for key in ((shown.label, attack) for attack in drawing.attacks if attack in held):
                if isinstance(found[key], str):
                    found[key] = _read(held[key[1]], drawing.epsilon)
    return found


def _read(held: _Held, epsilon: float | None) -> Stored | str:
    """Return what is kept of an attack at a radius, the largest if None; why there is nothing if it failed."""
    header, frame = held.attacked
    if header.status != "ok":
        return f"failed: {header.reason}"
    radius = _radius(header, epsilon) if header.kind == "fixed" else None
    name = {"none": "clean", "minimal": "minimal", "fixed": f"epsilon-{radius:g}" if radius else ""}[header.kind]
    at = frame[frame["epsilon"].isna() if radius is None else frame["epsilon"] == radius]
    # of a worst case a sample has a row per member that tried it; the one that broke it counts
    rows = at.sort_values("success", ascending=False, kind="stable").drop_duplicates("sample")
    distance = "dist" if header.kind == "none" else f"dist_{header.norm}"
    columns = [*Judged._fields[:5], distance, "success"]
    judged = {int(sample): Judged(*row) for sample, *row in rows[["sample", *columns]].itertuples(index=False)}
    return Stored(header, radius, judged, read_points(held.examples, header.attack, name))


def _radius(header: Header, epsilon: float | None) -> float:
    """Return the radius of an attack that is meant, its largest for None."""
    grid = header.threat.epsilons if header.threat else ()
    place = len(grid) - 1 if epsilon is None else radius_index(grid, epsilon)
    if place is None:
        raise ValueError(f"{header.attack} on {header.model.label} has no radius {epsilon:g}, only {grid}")
    return grid[place]


def _originals(header: Header, samples: Iterable[int]) -> dict[int, Pixels]:
    """Return test images by their places in the test set."""
    files = paths.prepared(header.stand_in or header.model.dataset)
    sha256 = read_sealed(files.facts, "prepare")["sha256"]
    with safe_open(verified(files.data, sha256, "prepare"), framework="np") as data:
        images = data.get_slice("test_x")
        return {sample: images[sample : sample + 1][0].astype("f4") / 255 for sample in samples}


def _one_of_each(stored: Stored, spared: Callable[[Judged], bool]) -> dict[int, int]:
    """Return label -> sample, the first of each class whose point is kept; those `spared` come last."""
    kept = sorted(stored.points, key=lambda sample: spared(stored.judged[sample]))
    found: dict[int, int] = {}
    for sample in kept:
        found.setdefault(stored.judged[sample].label, sample)
    return dict(sorted(found.items()))


def _picture(stored: Stored, sample: int, original: Pixels, target: int | None = None) -> Picture | None:
    """Return what an attack made of an image; None where its point is not kept.

    Args:
        stored: what is kept of the attack.
        sample: place of the image in the test set.
        original: the image.
        target: class that the attack leads to, if to one.
    """
    if sample not in stored.points:
        return None
    one, pixels, header = stored.judged[sample], stored.points[sample], stored.header
    if header.kind == "none":
        return Picture(pixels, one.clean_pred, one.clean_conf)
    hit = bool(one.success) and (target is None or one.adv_pred == target)
    # where no member of a worst case broke an image, the point that is kept is the image
    stays = header.protocol == "worst" and not hit
    said = (one.clean_pred, one.clean_conf) if stays else (one.adv_pred, one.adv_conf)
    state: State = "wrong before" if one.mistaken else "broken" if hit else "not broken"
    return Picture(pixels, *said, change=pixels - original, distance=one.distance, state=state)


def _about(stored: Stored) -> list[str]:
    """Return the lines beside a row: norm and radius, and the confidence of all that was broken."""
    header, judged = stored.header, stored.judged.values()
    if header.kind == "none":
        return [f"mean confidence {100 * fmean(one.clean_conf for one in judged):.0f} %"]
    sure = [one.adv_conf for one in judged if one.success and not one.mistaken]
    where = header.norm if stored.epsilon is None else f"{header.norm}, epsilon {stored.epsilon:g}"
    return [where, *([f"mean confidence {100 * fmean(sure):.0f} %"] if sure else [])]


def _target(stored: Stored) -> int:
    """Return the class that an attack leads to."""
    (member,) = stored.header.members.values()
    target = member["options"].get("target_class")
    if target is None:
        raise ValueError(f"{stored.header.attack} leads to no class: give it a target_class")
    return int(target)
