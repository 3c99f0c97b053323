"""Statements as they are written: a test and its words."""

from pathlib import Path

import pytest
from toy_claims import write

from touchstone.study.config import ConfigError
from touchstone.study.statements import load


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("beats std adv mnist", "unknown test 'beats'; allowed: above"),
        ("above std", "'above' takes better, worse, dataset; got 1 words"),
        ("above std std mnist mnist", "'above' takes better, worse, dataset; got 4 words"),
        ("above std stdd mnist", "unknown word 'stdd'; .* did you mean 'std'"),
        ("", "unknown test ''"),
        ("see", "unknown test 'see'"),
        ("best-on-most", r"'best-on-most' takes best, others\*; got 0 words"),
    ],
)
def test_a_wrong_test_is_named(tmp_path: Path, test: str, message: str) -> None:
    columns = ["paper", "id", "claim", "evidence_table", "how_to_test", "published_numbers_agree"]
    write(tmp_path, {**dict.fromkeys(columns, "x"), "test": test}, name="qualitative.csv")
    with pytest.raises(ConfigError, match=rf"qualitative\.csv:2: test: {message}"):
        load(tmp_path, {"std", "adv", "mnist"})
