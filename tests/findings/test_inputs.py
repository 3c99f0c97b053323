import json
from pathlib import Path
from typing import Any

import pytest
from toy_records import MODEL, clean, header, points, save, save_run

from touchstone.cell import ThreatSpec
from touchstone.findings.inputs import by_model, places, read_run
from touchstone.records import Attacked, Header, Preflight

LINF, L2 = ThreatSpec("linf", epsilons=(0.1,)), ThreatSpec("l2", epsilons=(0.1,))


def test_a_run_is_read_with_whose_it_is(tmp_path: Path) -> None:
    flag = {"flag": "redrawn", "detail": "twice"}
    run = read_run(save_run(tmp_path / "anywhere", flags=[flag], status="failed", reason="loss is nan", epoch_failed=3))
    assert (run.model, run.stand_in, run.status, run.reason) == (MODEL, "digits", "failed", "loss is nan")
    assert (run.epoch_failed, run.epochs, run.seconds, run.flags) == (3, 10, 12.5, (flag,))
    assert run.files.weights == tmp_path / "anywhere" / "model.safetensors"


@pytest.mark.parametrize("content", ['{"cell": ', "[]", '{"status": "ok"}', None])
def test_a_broken_run_json_names_itself_and_the_rule(tmp_path: Path, content: str | None) -> None:
    file = save_run(tmp_path)
    strings = json.loads(file.read_text()) | {"flags": ["redrawn: twice"]}
    file.write_text(json.dumps(strings) if content is None else content)
    with pytest.raises(ValueError, match=r"run\.json: expected the JSON of a training, got: .*\(rule train\)"):
        read_run(file)


def attacked(one: Header) -> Attacked:
    return Attacked(one, points(epsilon=[0.1]))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Attacks on two models: those on the first in two files, which share a preflight."""
    other: dict[str, Any] = {"model": MODEL._replace(seed=1)}
    first = [attacked(clean()), attacked(header("pgd", threat=LINF))]
    preflights = [Preflight(LINF, {}, []), Preflight(L2, {}, [])]
    return [
        save(tmp_path / "b.parquet", attacked(header("cw", threat=LINF)), preflights=preflights),
        save(tmp_path / "c.parquet", attacked(clean(**other))),
        save(tmp_path / "a.parquet", *first, preflights=preflights[:1]),
    ]


def test_all_attacks_on_a_model_come_together_whatever_their_files(files: list[Path]) -> None:
    first, second = by_model(files)
    assert [one.header.attack for one in first.attacks] == ["cw", "clean", "pgd"]
    assert [one.threat for one in first.preflights] == [LINF, L2], "the shared one once"
    assert [one.header.model.seed for one in second.attacks] == [1]
    assert second.preflights == []


def test_every_attack_is_found_in_its_file(files: list[Path]) -> None:
    found = places(files)
    assert {(model.seed, attack): path.name for (model, attack), path in found.items()} == {
        (0, "cw"): "b.parquet",
        (1, "clean"): "c.parquet",
        (0, "clean"): "a.parquet",
        (0, "pgd"): "a.parquet",
    }
