# ruff: noqa: E501
"""Every malformed config or study is reported before anything runs: file, line, key, value, what is allowed."""

import shutil
from pathlib import Path

import pytest

from touchstone.config import ConfigError
from touchstone.plan import Plan, make_plan


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A copy of what the plan reads."""
    shutil.copytree(root / "studies", tmp_path / "studies")
    shutil.copytree(root / "configs", tmp_path / "configs")
    shutil.copy(root / "config.yaml", tmp_path)
    return tmp_path


def plan(project: Path) -> Plan:
    return make_plan(project, project / "config.yaml")


def line_with(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_the_shipped_files_are_valid(project: Path) -> None:
    assert plan(project).cells
    for name in ("laptop", "paper"):
        assert make_plan(project, project / "configs" / f"{name}.yaml").cells


CONFIG = "config.yaml"
STUDY = "studies/minmax/study.yaml"
# id, file, text to replace, replacement, what the message must contain
BAD = [
    ("unknown-key", CONFIG, "batch_size: 512", "batch_siez: 512", ["batch_siez", "did you mean 'batch_size'"]),
    ("missing-key", CONFIG, "device: cpu ", "# device: cpu ", ["device", "required"]),
    ("duplicate-key", CONFIG, "threads: 1 ", "run: twice\nthreads: 1 ", ["run", "duplicate key"]),
    ("not-yaml", CONFIG, "studies: [minmax]", "studies: [minmax", ["not valid YAML"]),
    ("tab", CONFIG, "threads: 1", "\tthreads: 1", ["not valid YAML"]),
    ("bad-device", CONFIG, "device: cpu", "device: gpu", ["device", "'cpu' or 'cuda'", "got 'gpu'"]),
    ("zero-threads", CONFIG, "threads: 1", "threads: 0", ["threads", "greater than or equal to 1", "got 0"]),
    ("text-for-number", CONFIG, "batch_size: 512", "batch_size: many", ["batch_size", "valid integer", "got 'many'"]),
    ("fraction", CONFIG, "batch_size: 512", "batch_size: 0.5", ["batch_size", "got 0.5"]),
    ("bad-jobs", CONFIG, "jobs: per_model", "jobs: per_cell", ["jobs", "'per_attack' or 'per_model'"]),
    ("bad-run-slug", CONFIG, "run: demo", "run: My Run", ["run", "lower-case letters", "got 'My Run'"]),
    ("no-studies", CONFIG, "studies: [minmax]", "studies: []", ["studies", "at least 1 item"]),
    ("unknown-study", CONFIG, "studies: [minmax]", "studies: [minmx]", ["studies.0", "'minmx'", "did you mean 'minmax'"]),
    ("unknown-dataset", CONFIG, "substitute: {mnist", "substitute: {mnst", ["substitute.mnst", "did you mean 'mnist'"]),
    ("substitute-target", CONFIG, "mnist: digits,", "mnist: digit,", ["'digit'", "did you mean 'digits'"]),
    ("substitute-shape", CONFIG, "mnist: digits,", "mnist: digits-rgb,", ["images of shape (3, 32, 32)"]),
    ("no-source", CONFIG, "  digits: {source: embedded}\n", "", ["data", "no source for dataset 'digits'"]),
    ("wrong-source", CONFIG, "digits: {source: embedded}", "digits: {source: download}", ["data.digits", "must be embedded"]),
    ("source-kind", CONFIG, "digits: {source: embedded}", "digits: {source: ftp}", ["data.digits.source", "got 'ftp'"]),
    ("mirror-url", CONFIG, "digits: {source: embedded}", "digits: {source: {mirror: me}}", ["data.digits.source", "got 'me'"]),
    ("cap-key", CONFIG, "seeds: 1,", "sedes: 1,", ["caps.0.sedes", "did you mean 'seeds'"]),
    ("cap-zero", CONFIG, "seeds: 1,", "seeds: 0,", ["caps.0.seeds", "got 0"]),
    ("cap-where", CONFIG, "attack: cw-l2", "attack: cw", ["caps.3.where.attack", "'cw'", "did you mean"]),
    ("cap-where-key", CONFIG, "{where: {attack: cw-l2}", "{where: {atack: cw-l2}", ["where.atack", "did you mean 'attack'"]),
    ("empty-cap", CONFIG, ", epochs: 5, attack_steps: 10}", "}", ["caps.2", "limits something"]),
    ("study-name", STUDY, "study: minmax", "study: maxmin", ["study", "'minmax'", "'maxmin'"]),
    ("study-key", STUDY, "readings:", "readnigs:", ["readnigs", "did you mean 'readings'"]),
    ("unknown-model", STUDY, "{fn: lenet}", "{fn: lenet5}", ["models.lenet.fn", "'lenet5'", "did you mean 'lenet'"]),
    ("unknown-defense", STUDY, "std: {fn: ce}", "std: {fn: cee}", ["defenses.std.fn", "'cee'", "allowed: adv, ce, minmax"]),
    ("bad-optimizer", STUDY, "optimizer: adam, lr: 0.001", "optimizer: adamw, lr: 0.001", ["recipes.mnist.optimizer"]),
    ("negative-lr", STUDY, "lr: 0.001", "lr: -0.001", ["recipes.mnist.lr", "greater than 0"]),
    ("select-option", STUDY, "{l1: 1.0e-6}", "{l3: 1.0e-6}", ["select.0.l3", "unknown option 'l3'"]),
    ("select-type", STUDY, "{l1: 1.0e-6}", "{l1: tiny}", ["select.0.l1", "expected float, got 'tiny'"]),
    ("missing-option", STUDY, "    variant: coded\n", "", ["defenses.minmax-coded", "'variant' is required"]),
    ("per-dataset", STUDY, "lam: {mnist: 1.0, cifar10: 0.05}", "lam: {mnist: 1.0}", ["lam", "no value for dataset 'cifar10'"]),
    ("per-dataset-name", STUDY, "lam: {mnist: 1.0,", "lam: {mnist: 1.0, svhn: 1.0,", ["lam.svhn", "unknown dataset"]),
    ("init", STUDY, "init: std", "init: stdd", ["phases.0.init", "did you mean 'std'"]),
    ("init-cycle", STUDY, "init: std", "init: minmax-coded", ["phases.0.init", "starts from itself"]),
    ("unknown-attack", STUDY, "{fn: fgsm, threat: linf}", "{fn: fgsn, threat: linf}", ["attacks.fgsm-linf.fn", "did you mean 'fgsm'"]),
    ("attack-option", STUDY, "decay: 1.0}", "dekay: 1.0}", ["mim40-linf.dekay", "did you mean 'decay'"]),
    ("attack-type", STUDY, "{fn: pgd, threat: linf, steps: 40,", "{fn: pgd, threat: linf, steps: forty,", ["expected int"]),
    ("no-threat", STUDY, "{fn: fgsm, threat: linf}", "{fn: fgsm}", ["attacks.fgsm-linf", "a threat is required"]),
    ("unknown-threat", STUDY, "{fn: fgsm, threat: linf}", "{fn: fgsm, threat: lnf}", ["'lnf'", "did you mean 'linf'"]),
    ("norm", STUDY, "{fn: mim, threat: linf,", "{fn: spsa, threat: l2,", ["'spsa' does not work in norm 'l2'"]),
    ("member-norm", STUDY, "      ddn: {fn: ddn, steps: 200}", "      ddn: {fn: spsa}", ["members.ddn.fn", "norm 'l2'"]),
    ("epsilons", STUDY, "{mnist: [0.3], cifar10: [0.03]}}", "{mnist: [0.3, 0.1], cifar10: [0.03]}}", ["must rise", "[0.3, 0.1]"]),
    ("negative-epsilon", STUDY, "{mnist: [0.3], cifar10: [0.03]}}", "{mnist: [-0.3], cifar10: [0.03]}}", ["got -0.3"]),
    ("covers-norm", STUDY, "covers: [l2, l2-px]", "covers: [linf, l2-px]", ["measured in linf"]),
    ("worst", STUDY, "worst: [worst-linf,", "worst: [cw-l2,", ["worst.0", "not under protocol worst"]),
    ("reading-slug", STUDY, "fgsm-linf: fgsm-linf-px", "fgsm-linf: fgsm-linf-pix", ["readings.pixel.attack.fgsm-linf", "did you mean"]),
    ("plot", STUDY, "fn: rho-grid", "fn: rho-gird", ["figures.figure6.fn", "did you mean 'rho-grid'"]),
    ("figure-table", STUDY, "table: cells", "table: cels", ["did you mean 'cells'"]),
    ("near-zero", STUDY, "headline: 0.01,", "headline: 0.02,", ["near_zero.headline", "thresholds"]),
    ("bool-slug", STUDY, "init: std", "init: no", ["phases.0.init"]),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "needles"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_malformed_input_is_named(project: Path, file: str, old: str, new: str, needles: list[str]) -> None:
    path = project / file
    text = path.read_text()
    assert old in text, "the test no longer fits the shipped file"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        plan(project)
    message = str(caught.value)
    assert f"{path.name}:" in message
    for needle in needles:
        assert needle in message


def test_the_line_is_that_of_the_key(project: Path) -> None:
    path = project / CONFIG
    path.write_text(path.read_text().replace("device: cpu", "device: gpu"))
    with pytest.raises(ConfigError) as caught:
        plan(project)
    assert f"{path}:{line_with(path, 'device: gpu')}: device:" in str(caught.value)


def test_all_problems_come_in_one_message(project: Path) -> None:
    path = project / STUDY
    path.write_text(path.read_text().replace("fn: fgsm,", "fn: fgsn,").replace("init: std", "init: stdd"))
    with pytest.raises(ConfigError) as caught:
        plan(project)
    assert len(caught.value.problems) == 3  # fgsm-linf, fgsm-linf-px, init
