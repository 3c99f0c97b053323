"""The job that writes what people are asked: pages of adversarial images, and the key. Torch is not imported."""

import base64
import io
import json
import shutil
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from touchstone import records
from touchstone.files import DamagedError, sum_of, write_bytes, write_sealed
from touchstone.findings.inputs import read_points
from touchstone.paths import PeopleFiles, Results
from touchstone.plan.jobs import PagesJob, ShownNet

Shown = list[int]  # sample (its place in the test set), label, adversarial target


class Net(NamedTuple):
    """What people see of one net, and what the key says of it."""

    facts: dict[str, Any]
    images: list[bytes]  # PNG
    shown: list[Shown]


def pages(job: PagesJob, results: Results, template: Path) -> None:
    """Write a page for each assignment, and the key, which alone says what a page shows.

    A page holds images of one net, as in Matyasko (2020), section 4.5. Their order, and that of the pages of all nets,
    is drawn. A page is named by its number and by the sum of its images, so that answers to other ones are not counted.

    Args:
        job: whose images.
        results: of the run.
        template: of a page, for `string.Template`; `$page` becomes JSON, {page, images}.

    Raises:
        DamagedError: if the images of an attack are not those of its records.
    """
    nets, rng = [_net(results, shown) for shown in job.nets], np.random.default_rng(job.seed)
    drawn: list[tuple[int, NDArray[np.int64]]] = []
    for number, net in enumerate(nets):
        order = rng.permutation(len(net.images))
        drawn += [(number, order[start : start + job.per_page]) for start in range(0, len(order), job.per_page)]
    page, key = Template(template.read_text(encoding="utf-8")), {}
    files: PeopleFiles = results.people(job.study)
    if files.pages.exists():
        shutil.rmtree(files.pages)  # the key is not to them
    files.pages.mkdir(parents=True)
    for place, one in enumerate(rng.permutation(len(drawn)), start=1):
        number, chosen = drawn[one]
        images = [nets[number].images[i] for i in chosen]
        name = f"{place:04d}-{sum_of(b''.join(images))[:8]}"
        asked = {"page": name, "images": [base64.b64encode(image).decode() for image in images]}
        write_bytes(files.pages / f"{name}.html", page.substitute(page=json.dumps(asked)).encode())
        key[name] = {"net": number, "images": [nets[number].shown[i] for i in chosen]}
    write_sealed(files.key, {"nets": [net.facts for net in nets], "pages": key})


def _net(results: Results, shown: ShownNet) -> Net:
    """Read the images of an attack on one net; those of a net whose training failed are none."""
    model, files = shown.subject.model, results.attack(shown.subject.model, shown.batch)
    header, frame = next(one for one in records.read(files.records).attacks if one.header.attack == shown.attack)
    facts = {"model": model, "stand_in": header.stand_in, "attack": shown.attack, "norm": header.norm}
    facts |= {"space": header.threat.space if header.threat else "", "failed": header.reason}
    if header.status == "failed":
        return Net(facts, [], [])
    rows = frame[frame["epsilon"].isna()].head(shown.images)
    kept = read_points(files.examples, shown.attack, "minimal")
    points = [kept[sample] for sample in rows["sample"] if sample in kept]
    if len(points) < len(rows):
        raise DamagedError(files.examples, "attack", f"{len(points)} images of {len(rows)} records")
    said: list[Shown] = rows[["sample", "label", "adv_pred"]].to_numpy().tolist()
    return Net(facts, [_png(point) for point in points], said)


def _png(point: NDArray[np.float32]) -> bytes:
    """Return an image (C, H, W) in [0, 1], grey or in colours, as a file."""
    values = np.rint(point * 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)).save(out, "png")
    return out.getvalue()
