"""The pages that people answer on: whose images they show, in what order, and what they keep to themselves."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from toy_records import MODEL, header, points, save

from touchstone.cell import ThreatSpec
from touchstone.files import DamagedError, read_sealed
from touchstone.jobs.people import pages
from touchstone.paths import Results
from touchstone.plan.jobs import Code, PagesJob, ShownNet, Subject
from touchstone.records import Attacked, empty

NETS = [MODEL, MODEL._replace(defense="adv")]
COUNT = 5  # images of a net
NEAR = {"kind": "minimal", "threat": ThreatSpec("l2"), "samples": 6}


def shades(place: int) -> np.ndarray:
    """Six images, each of one shade, by which it is known again."""
    return np.stack([np.full((1, 28, 28), (10 * place + i) / 255, dtype="float32") for i in range(6)])


def save_examples(images: np.ndarray, file: Path) -> None:
    save_file({"near/minimal": images, "near/sample": np.arange(20, 20 + len(images))}, file)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    found = Results(tmp_path)
    for place, model in enumerate(NETS):
        frame = points(label=[3] * 6, adv_pred=[8] * 6, sample=[*range(20, 26)], epsilon=[np.nan] * 6, norm="l2")
        files = found.attack(model, "all")
        save(files.records, Attacked(header("near", model=model, **NEAR), frame))
        save_examples(shades(place), files.examples)
    return found


@pytest.fixture
def job() -> PagesJob:
    nets = tuple(ShownNet(Subject("demo", model, "digits"), "near", "all", COUNT) for model in NETS)
    return PagesJob(Code((), ""), "demo", MODEL.study, nets, per_page=2, seed=0)


@pytest.fixture
def template(root: Path) -> Path:
    return root / "reports" / "people.html"


def shown(page: Path) -> dict:
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page.read_text())[1])


def test_each_page_shows_images_of_one_net_and_the_key_knows_them(
    job: PagesJob, results: Results, template: Path
) -> None:
    pages(job, results, template)
    files = results.people(MODEL.study)
    key = read_sealed(files.key, "pages")
    assert {path.stem for path in files.pages.iterdir()} == key["pages"].keys()
    assert sorted(len(page["images"]) for page in key["pages"].values()) == [1, 1, 2, 2, 2, 2]
    for name, page in key["pages"].items():
        pictures = [
            Image.open(io.BytesIO(base64.b64decode(one))) for one in shown(files.pages / f"{name}.html")["images"]
        ]
        values = [int(np.asarray(one)[0, 0]) for one in pictures]
        assert values == [10 * page["net"] + sample - 20 for sample, _, _ in page["images"]]
        assert {(label, target) for _, label, target in page["images"]} == {(3, 8)}
        assert {(one.size, one.mode, *one.info) for one in pictures} == {((28, 28), "L")}, "pixels alone"
    seen = sorted(sample for page in key["pages"].values() for sample, *_ in page["images"])
    assert seen == sorted([*range(20, 25)] * 2), "each once, the first of the attack's"


def test_a_page_says_neither_labels_nor_nets_and_loads_nothing(job: PagesJob, results: Results, template: Path) -> None:
    pages(job, results, template)
    for path in results.people(MODEL.study).pages.iterdir():
        text = path.read_text()
        assert shown(path).keys() == {"page", "images"}
        told = template.read_text().replace("$page", "")
        assert len(text) - len(told) == len(re.search(r"\{\"page\".*\}", text)[0])
        assert not re.search(r"(https?:|//\w+\.|src=\"(?!data:)|href=\"|\bimport\b|fetch\(|XMLHttp)", told)
        assert "default-src 'none'" in told


def test_the_seed_draws_the_order_and_the_name_holds_the_images(
    job: PagesJob, results: Results, template: Path
) -> None:
    def made(seed: int) -> dict:
        pages(replace(job, seed=seed), results, template)
        return read_sealed(results.people(MODEL.study).key, "pages")["pages"]

    assert made(0) == made(0)
    assert made(0) != made(1)
    assert [page["net"] for page in made(0).values()] != [0, 0, 0, 1, 1, 1], "pages of all nets are mixed"
    assert len([*results.people(MODEL.study).pages.iterdir()]) == 6, "none is left of another key"
    before = set(made(0))
    save_examples(shades(9), results.attack(NETS[0], "all").examples)
    assert len(before & set(made(0))) == 3, "answers to other images are to other pages"


def test_a_net_without_images_is_in_the_key_alone(job: PagesJob, results: Results, template: Path) -> None:
    failed = header("near", model=NETS[0], **NEAR, status="failed", reason="the loss is nan")
    save(results.attack(NETS[0], "all").records, Attacked(failed, empty()))
    pages(job, results, template)
    key = read_sealed(results.people(MODEL.study).key, "pages")
    assert [net["failed"] for net in key["nets"]] == ["the loss is nan", ""]
    assert {page["net"] for page in key["pages"].values()} == {1}


def test_fewer_images_than_records_are_no_images_of_theirs(job: PagesJob, results: Results, template: Path) -> None:
    save_examples(shades(0)[:3], results.attack(NETS[0], "all").examples)
    with pytest.raises(DamagedError, match=r"3 images of 5 records.*rule attack"):
        pages(job, results, template)
