"""What a user sees: the study of docs/study.md runs as it stands, Snakemake's report of it, other ways to start it."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest
from checkouts import BIN, copy_checkout, environment
from test_docs import write_files

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("showing")]

CONFIG = ("--configfile", "first.yaml")
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def snakemake(folder: Path, *args: str) -> str:
    done = subprocess.run(
        [str(BIN / "snakemake"), "--cores", "2", *CONFIG, *args],
        cwd=folder,
        env=environment(folder) | NO_NETWORK,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A checkout with the study of its page, after a whole run."""
    folder = copy_checkout(root, tmp_path_factory.mktemp("first"), "config.yaml")
    write_files("study.md", folder)
    snakemake(folder)
    return folder


def test_the_study_of_its_page_ends_with_verdicts(finished: Path) -> None:
    claims = pd.read_csv(finished / "results" / "first" / "claims.csv", dtype=str)
    assert list(claims["id"]) == ["clean", "fgsm", "pgd"]
    assert set(claims["verdict"]) == {"not comparable"}
    assert claims["ours"].notna().all()


def test_snakemakes_report_has_figures_tables_and_pdfs_of_each_study(finished: Path) -> None:
    snakemake(finished, "--report", "report.html")
    page = (finished / "report.html").read_text()
    for kind, name in (
        *[("figures", "worst-case.svg"), ("tables", "cells.csv"), ("paper", "table1.csv")],
        *[("reports", "report.pdf"), ("claims", "claims.csv")],
    ):
        caption = (finished / "reports" / "captions" / f"{kind}.rst").read_text()
        assert f'"{kind}"' in page, kind
        assert name in page, name
        assert caption.split(",")[0].split(":")[0].split("`")[0].split("\n")[0] in page, kind
    assert "Touchstone re-ran published" in page


@pytest.mark.parametrize("more", [("-s", "workflow/Snakefile"), ("--logger", "rich")], ids=" ".join)
def test_it_may_be_started_otherwise_and_has_nothing_to_do(finished: Path, more: tuple[str, ...]) -> None:
    if "rich" in more:
        pytest.importorskip("snakemake_logger_plugin_rich")
    assert "rule train" not in snakemake(finished, "-n", "--verbose", *more)
