"""From `snakemake human_study` through a browser in which somebody answers to the numbers of Table 4.2.

What the page says meanwhile is in reports/human-study.txt.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from browser import CHROMIUM, Browser
from checkouts import BIN, copy_checkout, environment

from touchstone.files import read_sealed
from touchstone.paths import Results

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]

RESULTS = Results.of("people")
TRANSCRIPT = Path("reports") / "human-study.txt"
CONFIG = """
run: people
studies: [critic]
device: cpu
threads: 1
jobs: per_attack
batch_size: 256
data: {digits: {source: embedded}}
stand_in: {mnist: digits}
only: {models: [mlp-1200], defenses: [std], attacks: [clean, high-confidence-l2]}
caps:
  - {epochs: 2, seeds: 1, samples: 40, assignments: 1}
"""


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "snakemake"), "--cores", "1", *arguments]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    (folder := tmp_path / "checkout").mkdir()
    copy_checkout(root, folder, "config.yaml")
    (folder / "config.yaml").write_text(CONFIG)
    done = snakemake(folder, "human_study")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path) as browser:
        yield browser


def test_somebody_answers_and_the_claims_have_numbers(root: Path, folder: Path, browser: Browser) -> None:
    files = RESULTS.people("critic")
    (page,) = (folder / files.pages).glob("*.html")
    asked = read_sealed(folder / files.key, "pages")["pages"][page.stem]["images"]
    labels = [str(label) for _, label, _ in asked]
    told = [f"open a page of {len(asked)} images on a desktop"]

    def state() -> str:
        return str(browser.run("document.getElementById('done').textContent"))

    def press(*keys: str) -> None:
        for key in keys:
            browser.press(key)
        told.append(f"press {' '.join(keys)}: {state()}")

    browser.open(page, 1200, 900)
    assert state() == "Image 1 of 25, 0 answered"
    browser.picture(browser.folder / "desktop.png")
    press("a", *labels[:10])
    assert state() == "Image 11 of 25, 10 answered", "letters are no answers"
    press("ArrowLeft", "Backspace", "?")
    press("ArrowLeft", "ArrowLeft", "Enter")
    assert state() == "Image 11 of 25, 10 answered", "Enter goes to the next open one"
    assert browser.run("document.getElementById('save').disabled")
    browser.open(page, 390, 844)
    told.append(f"open again, as wide as a phone: {state()}")
    assert state() == "Image 11 of 25, 10 answered", "answers are kept"
    browser.run("localStorage.clear()")
    browser.reload()
    told.append(f"reload where the browser keeps nothing: {state()}")
    assert state() == "Image 11 of 25, 10 answered", "answers are in the address"
    wide = "document.documentElement.scrollWidth <= 390 && document.getElementById('save').disabled"
    assert browser.run(wide), "nothing is cut off on a phone"
    small = "[...document.querySelectorAll('button')].every((b) => b.offsetWidth >= 44 && b.offsetHeight >= 44)"
    assert browser.run(small), "a finger meets every button"
    browser.tap("#keys button:nth-child(1)")
    told.append(f"tap 1: {state()}")
    press("Backspace")
    browser.picture(browser.folder / "phone.png")
    press(*labels[10:])
    press("Enter")
    (saved,) = browser.until(browser.downloads)
    wanted, answers = [*labels[:9], "?", *labels[10:]], pd.read_csv(saved, dtype=str)["answer"].tolist()
    assert answers == wanted
    told.append(f"the file that is downloaded: {' '.join(answers)}")
    (folder / "answers").mkdir()
    (folder / "answers" / saved.name).write_bytes(saved.read_bytes())
    (folder / "config.yaml").write_text(CONFIG + "answers: {critic: answers}\n")
    done = snakemake(folder, str(RESULTS.table("critic", "claims")))
    assert done.returncode == 0, done.stdout + done.stderr
    claims = pd.read_csv(folder / RESULTS.table("critic", "claims"), dtype=str, keep_default_na=False)
    claims = claims[(claims["source_table"] == "Table 4.2a") & (claims["reading"] == "headline")].set_index("id")
    shown = claims.loc[claims["defense"] == "std", ["value", "ours", "n", "verdict"]]
    told += [f"{name}: {', '.join(f'{key} {value}' for key, value in row.items())}" for name, row in shown.iterrows()]
    kept = claims.loc["t4-2a-std-high-confidence-human-no-change"]
    assert (kept["ours"], kept["n"], kept["verdict"]) == ("96.0", "25", "not comparable")
    others = claims[claims["defense"] != "std"]
    assert set(others["verdict"]) == {"not run"}
    assert set(others["why"]) == {"people have not answered"}
    (transcript := browser.folder / TRANSCRIPT.name).write_text("\n".join(told) + "\n")
    assert transcript.read_text() == (root / TRANSCRIPT).read_text(), (
        f"what the page says has changed: see {transcript}"
    )
