# ruff: noqa: E501
"""Every malformed config or study is reported before anything runs: file, line, key, value, what is allowed."""

import re
from pathlib import Path

import pytest

from touchstone.plan.plan import Plan, make_plan
from touchstone.study.config import ConfigError


def plan(project: Path) -> Plan:
    return make_plan(project, project / "config.yaml")


def line_with(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def test_the_shipped_files_are_valid(project: Path) -> None:
    assert plan(project).models
    for name in ("laptop", "cifar10", "paper"):
        assert make_plan(project, project / "configs" / f"{name}.yaml").models


CONFIG = "config.yaml"
STUDY = "studies/minmax/study.yaml"
CAPTIONS = "studies/minmax/captions.yaml"
SUITES = "studies/worst.yaml"
PGD = "{fn: pgd, threat: linf, steps: 40, step_size: 0.01}"
MIM = "{fn: mim, threat: linf, steps: 40, step_size: 0.01, decay: 1.0}"
CELLS = "\nworst: {linf: [linf, linf-px], l2: [l2, l2-px]}"


def cells(**changed: str) -> str:
    """A study with cells of its own."""
    lists = {"datasets": "[mnist]", "models": "[lenet]", "defenses": "[std]", **changed}
    return f"\ncells: [{{{', '.join(f'{k}: {v}' for k, v in lists.items())}}}]{CELLS}"


# id, file, text to replace, replacement, what the message must contain
BAD = [
    ("unknown-key", CONFIG, "batch_size: 512", "batch_siez: 512", ["batch_siez", "did you mean 'batch_size'"]),
    ("missing-key", CONFIG, "device: cpu ", "# device: cpu ", ["device", "required"]),
    ("duplicate-key", CONFIG, "threads: 1 ", "run: twice\nthreads: 1 ", ["run", "duplicate key"]),
    ("not-yaml", CONFIG, "studies: [minmax]", "studies: [minmax", ["not valid YAML"]),
    ("tab", CONFIG, "threads: 1", "\tthreads: 1", ["not valid YAML"]),
    ("bad-device", CONFIG, "device: cpu", "device: gpu", ["device", "'cpu' or 'cuda'", "got 'gpu'"]),
    ("amp-on-a-cpu", CONFIG, "device: cpu ", "amp: bf16\ndevice: cpu ", ["amp", "needs `device: cuda`"]),
    ("amp", CONFIG, "device: cpu ", "amp: fp16\ndevice: cpu ", ["amp", "got 'fp16'"]),
    ("checkpoint", CONFIG, "device: cpu ", "checkpoint: {hours: 1}\ndevice: cpu ", ["checkpoint.hours", "allowed: epochs, minutes"]),
    ("zero-threads", CONFIG, "threads: 1", "threads: 0", ["threads", "greater than or equal to 1", "got 0"]),
    ("text-for-number", CONFIG, "batch_size: 512", "batch_size: many", ["batch_size", "valid integer", "got 'many'"]),
    ("fraction", CONFIG, "batch_size: 512", "batch_size: 0.5", ["batch_size", "got 0.5"]),
    ("bad-jobs", CONFIG, "jobs: per_model", "jobs: per_cell", ["jobs", "'per_attack', 'per_norm' or 'per_model'"]),
    ("bad-run-slug", CONFIG, "run: demo", "run: My Run", ["run", "lower-case letters", "got 'My Run'"]),
    ("no-studies", CONFIG, "studies: [minmax]", "studies: []", ["studies", "at least 1 item"]),
    ("unknown-study", CONFIG, "studies: [minmax]", "studies: [minmx]", ["studies.0", "'minmx'", "did you mean 'minmax'"]),
    ("seeds-of-one", STUDY, "seeds: {mnist: 10, cifar10: 3} ", "seeds: {mnist: 3} ", ["seeds", "needs a value for dataset 'cifar10'"]),
    ("seeds-of-another", STUDY, "seeds: {mnist: 10, cifar10: 3} ", "seeds: {mnist: 3, cifar1: 3} ", ["seeds.cifar1", "did you mean 'cifar10'"]),
    ("unknown-dataset", CONFIG, "stand_in: {mnist", "stand_in: {mnst", ["stand_in.mnst", "did you mean 'mnist'"]),
    ("stand-in", CONFIG, "mnist: digits,", "mnist: digit,", ["'digit'", "did you mean 'digits'"]),
    ("stand-in-shape", CONFIG, "mnist: digits,", "mnist: digits-rgb,", ["images of shape (3, 32, 32)"]),
    ("no-source", CONFIG, "  digits: {source: embedded}\n", "", ["data", "no source for dataset 'digits'"]),
    ("wrong-source", CONFIG, "digits: {source: embedded}", "digits: {source: download}", ["data.digits", "must be embedded"]),
    ("source-kind", CONFIG, "digits: {source: embedded}", "digits: {source: ftp}", ["data.digits.source", "got 'ftp'"]),
    ("source-of-list", CONFIG, "digits: {source: embedded}", "digits: {source: {local: [a]}}", ["data.digits.source.local: input should be a valid string"]),
    ("source-of-two", CONFIG, "digits: {source: embedded}", "digits: {source: {local: a, mirror: 'https://b'}}", ["data.digits.source: should be embedded, download, {mirror: URL} or {local: PATH}"]),
    ("mirror-url", CONFIG, "digits: {source: embedded}", "digits: {source: {mirror: me}}", ["data.digits.source", "got 'me'"]),
    ("cap-key", CONFIG, "seeds: 1,", "sedes: 1,", ["caps.0.sedes", "did you mean 'seeds'"]),
    ("cap-zero", CONFIG, "seeds: 1,", "seeds: 0,", ["caps.0.seeds", "got 0"]),
    ("cap-where", CONFIG, "attack: cw-l2", "attack: cw", ["caps.3.where.attack", "'cw'", "did you mean"]),
    ("cap-where-key", CONFIG, "{where: {attack: cw-l2}", "{where: {atack: cw-l2}", ["where.atack", "did you mean 'attack'"]),
    ("empty-cap", CONFIG, ", epochs: 5, attack_steps: 10}", "}", ["caps.2", "must limit something; allowed: assignments, attack_steps"]),
    ("study-name", STUDY, "study: minmax", "study: maxmin", ["study", "'minmax'", "'maxmin'"]),
    ("study-key", STUDY, "readings:", "readnigs:", ["readnigs", "did you mean 'readings'"]),
    ("unknown-model", STUDY, "{fn: lenet}", "{fn: lenett}", ["models.lenet.fn", "'lenett'", "did you mean 'lenet'"]),
    ("model-option", STUDY, "{fn: lenet}", "{fn: vgg13, drop: 0.1}", ["models.lenet.drop", "unknown option 'drop'", "did you mean 'dropout'"]),
    ("model-preset", STUDY, "{fn: lenet}", "{fn: wrn-34-10, depth: 28}", ["models.lenet.depth", "unknown option 'depth'"]),
    ("model-required", STUDY, "{fn: lenet}", "{fn: wrn, depth: 28}", ["models.lenet", "option 'width' is required"]),
    ("model-choice", STUDY, "{fn: lenet}", "{fn: smallcnn, activation: tan}", ["models.lenet.activation", "'tanh'", "got 'tan'"]),
    ("normalize", STUDY, "{fn: lenet}", "{fn: lenet, normalize: no}", ["models.lenet.normalize", "'dataset', 'none' or 'whitened'"]),
    ("whitened-space", STUDY, "{fn: lenet}", "{fn: lenet, normalize: whitened}", ["models.lenet.normalize", "must be dataset where a threat or defense is in normalized space"]),
    ("whitened-threat", STUDY, "threats:\n", "threats:\n  w: {norm: l2, space: {mnist: whitened, cifar10: pixel}, bounds: none, epsilons: {mnist: [1], cifar10: [1]}}\n", ["models.lenet.normalize", "must be whitened where a threat or defense is in whitened space"]),
    ("whitened-box", STUDY, "threats:\n", "threats:\n  w: {norm: l2, space: whitened, epsilons: {mnist: [1], cifar10: [1]}}\n", ["threats.w.bounds", "must be none in whitened space"]),
    ("space-of-a-dataset", STUDY, "threats:\n", "threats:\n  w: {norm: l2, space: {mnist: pixel}, epsilons: {mnist: [1], cifar10: [1]}}\n", ["threats.w.space", "needs a value for dataset 'cifar10'"]),
    ("unknown-space-of-a-dataset", STUDY, "threats:\n", "threats:\n  w: {norm: l2, space: {mnist: pixel, cifar10: px}, epsilons: {mnist: [1], cifar10: [1]}}\n", ["threats.w.space", "'pixel', 'normalized' or 'whitened'", "got 'px'"]),
    ("normalize-space", STUDY, "{fn: lenet}", "{fn: lenet, normalize: none}", ["models.lenet.normalize", "must be dataset", "normalized space"]),
    ("normalize-std", STUDY, "{fn: lenet}", "{fn: lenet, normalize: {mean: [0.5], std: [0]}}", ["normalize", "greater than 0"]),
    ("normalize-channels", STUDY, "{fn: lenet}", "{fn: lenet, normalize: {mean: [0.5, 0.4], std: [1]}}", ["normalize.mean", "'cifar10' needs 1 or 3 values, got 2"]),
    ("own-model", STUDY, "{fn: lenet}", "{fn: 'my_nets:net'}", ["models.lenet.fn", "'my_nets:net'", "no source file for module 'my_nets'"]),
    ("own-model-package", STUDY, "{fn: lenet}", "{fn: 'mine.nets:net'}", ["models.lenet.fn", "no source file for module 'mine.nets'"]),
    ("own-model-function", STUDY, "{fn: lenet}", "{fn: 'touchstone.models.lenet:lenett'}", ["models.lenet.fn", "no function or class 'lenett'"]),
    ("own-model-option", STUDY, "{fn: lenet}", "{fn: 'touchstone.models.lenet:lenet', width: 3}", ["models.lenet.width", "unknown option 'width'"]),
    ("unknown-defense", STUDY, "std: {fn: ce}", "std: {fn: cee}", ["defenses.std.fn", "'cee'", "allowed: adv, at, ce"]),
    ("bad-optimizer", STUDY, "optimizer: adam, lr: 0.001", "optimizer: adamw, lr: 0.001", ["recipes.mnist.optimizer"]),
    ("negative-lr", STUDY, "lr: 0.001", "lr: -0.001", ["recipes.mnist.lr", "greater than 0"]),
    ("select-option", STUDY, "{l1: 1.0e-6}", "{l3: 1.0e-6}", ["select.0.l3", "unknown option 'l3'"]),
    ("select-type", STUDY, "{l1: 1.0e-6}", "{l1: tiny}", ["select.0.l1", "expected finite float >= 0, got 'tiny'"]),
    ("missing-option", STUDY, "    variant: coded\n", "", ["defenses.minmax-coded", "'variant' is required"]),
    ("per-dataset", STUDY, "lam: {mnist: 1.0, cifar10: 0.05}", "lam: {mnist: 1.0}", ["lam", "needs a value for dataset 'cifar10'"]),
    ("per-dataset-name", STUDY, "lam: {mnist: 1.0,", "lam: {mnist: 1.0, svhn: 1.0,", ["lam.svhn", "unknown dataset"]),
    ("init", STUDY, "init: std", "init: stdd", ["phases.0.init", "did you mean 'std'"]),
    ("init-continue", STUDY, "init: std", "init: continue", ["phases.0.init", "nothing to go on from"]),
    ("init-later", STUDY, "[{init: std}]", "[{init: std}, {init: fresh}]", ["phases.1.init", "must be continue or left out, got 'fresh'"]),
    ("milestones-unread", STUDY, "schedule: multistep, ", "", ["recipes.cifar10.milestones", "schedule 'constant' takes none", "multistep"]),
    ("milestones-missing", STUDY, "milestones: [30, 60], ", "", ["recipes.cifar10", "schedule 'multistep' needs milestones"]),
    ("betas-of-sgd", STUDY, "[{init: std}]", "[{init: std, optimizer: sgd, betas: [0.9, 0.99]}]", ["phases.0.betas", "optimizer 'sgd' takes none", "adam"]),
    ("betas-range", STUDY, "[{init: std}]", "[{init: std, betas: [0.9, 1.0]}]", ["phases.0.betas", "got 1.0"]),
    ("nesterov", STUDY, "[{init: std}]", "[{init: std, optimizer: sgd, nesterov: true}]", ["phases.0", "nesterov needs a momentum"]),
    ("group-rule", STUDY, "[{init: std}]", "[{init: std, groups: {critic: {momentum: 0.9}}}]", ["groups.critic.momentum", "optimizer 'adam' takes none"]),
    ("group-model", STUDY, "[{init: std}]", "[{init: std, groups: {model: {lr: 0.1}}}]", ["groups.model", "that of the phase"]),
    ("schedule", STUDY, "schedule: multistep", "schedule: cosine", ["recipes.cifar10.schedule", "got 'cosine'"]),
    ("augment", STUDY, "[{init: std}]", "[{init: std, augment: {flop: true}}]", ["augment.flop", "did you mean 'flip'"]),
    ("share", STUDY, "[{init: std}]", "[{init: std, validation_share: 1.0}]", ["phases.0.validation_share", "got 1.0"]),
    ("share-of-start", STUDY, "[{init: std}]", "[{init: std, validation_share: 0.1}]", ["phases", "must hold the same rows out", "got 0.1, none"]),
    ("share-of-phases", STUDY, "[{init: std}]", "[{}, {validation_share: 0.1}]", ["phases", "must hold the same rows out", "got 0.1, none"]),
    ("best-val-of-start", STUDY, "[{init: std}]", "[{init: std, keep: best_val}]", ["phases", "must hold the same rows out", "got none, the fixed split"]),
    ("group-unknown", STUDY, "[{init: std}]", "[{groups: {critic: {lr: 0.1}}}]", ["phases.0.groups.critic", "unknown group 'critic'"]),
    ("group-missing", STUDY, "std: {fn: ce}", "std: {fn: critic, variant: coded, lam: 0.1}", ["std.phases.0", "needs settings of its group 'critic'"]),
    ("select-start", STUDY, "[{init: std}]", "[{init: std}]\n    select: [{lam: 0.1}]", ["select", "no phase may start from another defense"]),
    ("keep", STUDY, "[{init: std}]", "[{init: std, keep: best}]", ["phases.0.keep", "got 'best'"]),
    ("init-cycle", STUDY, "init: std", "init: minmax-coded", ["phases.0.init", "starts from itself"]),
    ("unknown-attack", STUDY, "{fn: fgsm, threat: linf}", "{fn: fgsn, threat: linf}", ["attacks.fgsm-linf.fn", "did you mean 'fgsm'"]),
    ("attack-option", STUDY, "decay: 1.0}", "dekay: 1.0}", ["mim40-linf.dekay", "did you mean 'decay'"]),
    ("attack-type", STUDY, "{fn: pgd, threat: linf, steps: 40,", "{fn: pgd, threat: linf, steps: forty,", ["expected int"]),
    ("no-threat", STUDY, "{fn: fgsm, threat: linf}", "{fn: fgsm}", ["attacks.fgsm-linf", "a threat is required"]),
    ("unknown-threat", STUDY, "{fn: fgsm, threat: linf}", "{fn: fgsm, threat: lnf}", ["'lnf'", "did you mean 'linf'"]),
    ("norm", STUDY, "{fn: mim, threat: linf,", "{fn: spsa, threat: l2,", ["'spsa' does not work in norm 'l2'"]),
    ("member-norm", SUITES, "    ddn: {fn: ddn, steps: 200}", "    ddn: {fn: spsa}", ["quick.l2.ddn.fn", "norm 'l2'"]),
    ("attack-per-dataset", STUDY, "{fn: mim, threat: linf, steps: 40,", "{fn: mim, threat: linf, steps: {mnist: x, cifar10: 4},", ["mim40-linf.steps", "got 'x'"]),
    ("loss", STUDY, "{fn: fgsm, threat: linf}", "{fn: fgsm, threat: linf, loss: marign}", ["fgsm-linf.loss", "got 'marign'", "did you mean 'margin'"]),
    ("member-loss", SUITES, "{fn: pgd, loss: margin,", "{fn: pgd, loss: marign,", ["quick.linf.pgd-margin.loss", "did you mean 'margin'"]),
    ("grid-option", STUDY, PGD, "{fn: pgd, threat: linf, grid: {step_siz: [1.0]}}", ["pgd40-linf.grid.step_siz", "did you mean 'step_size'"]),
    ("grid-type", STUDY, PGD, "{fn: pgd, threat: linf, grid: {step_size: [1.0, big]}}", ["grid.step_size", "expected finite float >= 0, got 'big'"]),
    ("grid-loss", STUDY, PGD, "{fn: pgd, threat: linf, grid: {loss: [ce, cw]}}", ["grid.loss", "got 'cw'"]),
    ("grid-empty", STUDY, PGD, "{fn: pgd, threat: linf, grid: {step_size: []}}", ["grid.step_size", "at least one value"]),
    ("grid-no-list", STUDY, PGD, "{fn: pgd, threat: linf, grid: {step_size: 0.1}}", ["pgd40-linf.grid.step_size", "valid list"]),
    ("grid-twice", STUDY, PGD, "{fn: pgd, threat: linf, step_size: 0.1, grid: {step_size: [0.1]}}", ["grid.step_size", "set beside the grid"]),
    ("grid-capped", STUDY, PGD, "{fn: pgd, threat: linf, grid: {steps: [10, 20]}}", ["grid.steps", "may be capped"]),
    ("grid-many", STUDY, PGD, f"{{fn: pgd, threat: linf, grid: {{step_size: {[*range(1, 40)]}, sparsity: {[n / 50 for n in range(40)]}}}}}", ["pgd40-linf.grid: must have at most 1,000 combinations of values, got 1,560"]),
    ("grid-dataset", STUDY, PGD, "{fn: pgd, threat: linf, grid: {step_size: {mnist: [0.1]}}}", ["grid.step_size", "needs a value for dataset 'cifar10'"]),
    ("grid-clean", STUDY, "clean: {fn: clean}", "clean: {fn: clean, grid: {steps: [1]}}", ["clean.grid", "nothing to choose"]),
    ("grid-from", STUDY, PGD, "{fn: pgd, threat: linf, grid_from: fgsm-lnf}", ["pgd40-linf.grid_from", "did you mean 'fgsm-linf'"]),
    ("grid-from-nothing", STUDY, PGD, "{fn: pgd, threat: linf, grid_from: pgd40-linf-px}", ["pgd40-linf.grid_from", "has no grid to choose from"]),
    ("grid-from-threat", STUDY, PGD, "{fn: pgd, threat: linf, grid_from: pgd40-linf-px}", ["pgd40-linf.grid_from", "has another threat: 'linf-px'"]),
    ("grid-from-fn", STUDY, PGD, "{fn: pgd, threat: linf, grid_from: mim40-linf}", ["pgd40-linf.grid_from", "has another fn: 'mim'"]),
    ("samples", STUDY, PGD, "{fn: pgd, threat: linf, samples: {first: 0}}", ["pgd40-linf.samples", "greater than or equal to 1"]),
    ("samples-key", STUDY, PGD, "{fn: pgd, threat: linf, samples: 1000}", ["pgd40-linf.samples", "'all'"]),
    ("by-defense", STUDY, PGD, "{fn: pgd, threat: linf, steps: {mnist: {std: 40}, cifar10: 40}}", ["pgd40-linf.steps.mnist", "needs a value for defense 'adv'"]),
    ("by-defense-name", STUDY, PGD, "{fn: pgd, threat: linf, steps: {mnist: {sdt: 40}, cifar10: 40}}", ["pgd40-linf.steps.mnist.sdt", "did you mean 'std'"]),
    ("by-defense-type", STUDY, PGD, "{fn: pgd, threat: linf, steps: {mnist: {std: many}, cifar10: 40}}", ["pgd40-linf.steps.mnist.std", "got 'many'"]),
    ("paired", STUDY, "near_zero:", "paired: {match: [clan]}\nnear_zero:", ["paired.match.0", "did you mean 'clean'"]),
    ("reading-metric", STUDY, "  headline: {}\n", "  headline: {}\n  other: {mark: m, metric: {accuracy: acuracy}}\n", ["readings.other.metric.accuracy", "did you mean 'accuracy'"]),
    ("budget-rule", STUDY, PGD, "{fn: pgd, threat: linf, budget_rule: unbounded}", ["pgd40-linf.budget_rule", "is for a minimal-norm attack"]),
    ("budget-rule-name", STUDY, PGD, "{fn: deepfool, threat: linf, budget_rule: shrink}", ["pgd40-linf.budget_rule", "shrink_and_retest"]),
    ("grid-probe", STUDY, PGD, "{fn: pgd, threat: linf, grid: {step_size: [0.1]}}", ["selection.probe", "must have no grid"]),
    ("own-probe", STUDY, PGD, "{fn: pgd, threat: linf, loss: own}", ["selection.probe", "not the loss 'own'"]),
    ("no-substitute", STUDY, MIM, "{fn: transfer, threat: linf}", ["attacks.mim40-linf", "needs a substitute, <model>/<defense>"]),
    ("needless-substitute", STUDY, MIM, "{fn: mim, threat: linf, substitute: lenet/std}", ["mim40-linf.substitute", "takes no substitute"]),
    ("clean-substitute", STUDY, "clean: {fn: clean}", "clean: {fn: clean, substitute: lenet/std}", ["attacks.clean", "takes no threat"]),
    ("substitute-model", STUDY, MIM, "{fn: transfer, threat: linf, substitute: lennet/std}", ["mim40-linf.substitute", "unknown model 'lennet'", "did you mean 'lenet'"]),
    ("substitute-defense", STUDY, MIM, "{fn: transfer, threat: linf, substitute: lenet/st}", ["mim40-linf.substitute", "unknown defense 'st'"]),
    ("substitute-half", STUDY, MIM, "{fn: transfer, threat: linf, substitute: lenet}", ["mim40-linf.substitute", "unknown defense ''"]),
    ("substitute-dataset", STUDY, MIM, "{fn: transfer, threat: linf, substitute: {mnist: lenet/std}}", ["needs a value for dataset 'cifar10'"]),
    ("substitute-member", SUITES, "{fn: deepfool, steps: 50}", "{fn: transfer, substitute: lenet/st}", ["quick.linf.deepfool.substitute", "unknown defense 'st'"]),
    ("plain", STUDY, "plain: lenet/std", "plain: lenet/st", ["plain", "unknown defense 'st'"]),
    ("plain-dataset", STUDY, "plain: lenet/std", "plain: {mnist: lenet/std}", ["plain", "needs a value for dataset 'cifar10'"]),
    ("wrapped", STUDY, MIM, "{fn: transfer, threat: linf, attack: cw, substitute: lenet/std}", ["mim40-linf.attack", "unknown attack 'cw'; allowed: bim, fgsm, mim, pgd"]),
    ("wrapped-option", STUDY, MIM, "{fn: transfer, threat: linf, attack: mim, options: {dekay: 1.0}, substitute: lenet/std}", ["mim40-linf.options.dekay", "did you mean 'decay'"]),
    ("wrapped-default", STUDY, MIM, "{fn: transfer, threat: linf, options: {decay: 1.0}, substitute: lenet/std}", ["mim40-linf.options.decay", "unknown option"]),
    ("wrapped-own", STUDY, MIM, "{fn: transfer, threat: linf, options: {loss: own}, substitute: lenet/std}", ["mim40-linf.options.loss", "no loss 'own'"]),
    ("wrapped-dataset", STUDY, MIM, "{fn: transfer, threat: linf, options: {steps: {mnist: 3}}, substitute: lenet/std}", ["mim40-linf.options.steps", "needs a value for dataset"]),
    ("epsilons", STUDY, "{mnist: [0.3], cifar10: [0.03]}}", "{mnist: [0.3, 0.1], cifar10: [0.03]}}", ["must rise", "[0.3, 0.1]"]),
    ("epsilons-one", STUDY, "{mnist: [0.3], cifar10: [0.03]}}", "{mnist: [0.3, 0.3000001], cifar10: [0.03]}}", ["must rise", "[0.3, 0.3000001]"]),
    ("negative-epsilon", STUDY, "{mnist: [0.3], cifar10: [0.03]}}", "{mnist: [-0.3], cifar10: [0.03]}}", ["got -0.3"]),
    ("covers-norm", STUDY, "l2: [l2, l2-px]", "l2: [linf, l2-px]", ["worst.l2.0", "measured in linf"]),
    ("worst-threat", STUDY, "worst: {linf: [linf,", "worst: {linf: [lnf,", ["worst.linf.0", "unknown threat 'lnf'"]),
    ("worst-norm", STUDY, "worst: {linf: [linf,", "worst: {lnf: [linf,", ["worst", "'linf', 'l2', 'l1' or 'l0'"]),
    ("worst-name", STUDY, "fgsm-linf: {fn", "worst-linf: {fn: fgsm, threat: linf}\n  fgsm-linf: {fn", ["attacks.worst-linf", "what the worst case is called"]),
    ("worst-name-unused", STUDY, "fgsm-linf: {fn", "worst-l1: {fn: fgsm, threat: linf}\n  fgsm-linf: {fn", ["attacks.worst-l1", "what the worst case is called"]),
    ("training-name", STUDY, "fgsm-linf: {fn", "training: {fn: fgsm, threat: linf}\n  fgsm-linf: {fn", ["attacks.training", "what flags of a training are raised for"]),
    ("suite", CONFIG, "suite: quick", "suite: quik", ["suite", "unknown suite 'quik'", "did you mean 'quick'"]),
    ("suite-attack", SUITES, "{fn: ddn, steps: 200}", "{fn: dnd, steps: 200}", ["quick.l2.ddn.fn", "unknown attack 'dnd'"]),
    ("suite-clean", SUITES, "    ddn: {fn: ddn, steps: 200}", "    clean: {fn: ddn, steps: 200}", ["quick.l2.clean", "what no attack broke"]),
    ("suite-option", SUITES, "square: {fn: square, queries: 1000}", "square: {fn: square, querys: 1000}", ["quick.linf.square.querys", "did you mean 'queries'"]),
    ("suite-empty", SUITES, "quick:", "none: {linf: {}}\nquick:", ["none.linf", "at least 1 item"]),
    ("suite-key", SUITES, "  l2:", "  l3:", ["quick", "'linf', 'l2', 'l1' or 'l0'"]),
    ("caption", CAPTIONS, "figure2:", "figur2:", ["figur2", "unknown caption 'figur2'", "no caption 'figure2'"]),
    ("reading-mark", STUDY, "    mark: only as coded\n", "", ["readings.coded: a mark is required, the words of its verdict"]),
    ("reading-headline", STUDY, "headline: {}", "headline: {defense: {std: adv}}", ["readings.headline", "swaps nothing"]),
    ("table-of-nothing", STUDY, "source_table: Table 3,", "source_table: Table 4,", ["tables.table3.source_table", "unknown table of claims.csv 'Table 4'"]),
    ("table-dataset", STUDY, "source_table: Table 1, dataset: mnist", "source_table: Table 1, dataset: cifar10", ["tables.table1.dataset", "no claim of 'Table 1' on 'cifar10'"]),
    ("caption-claim", CAPTIONS, "claim:", "clam:", ["no caption 'claim': a paragraph on what the paper says"]),
    ("reading-model", STUDY, "  headline: {}\n", "  headline: {}\n  other: {mark: m, model: {lenet: lenett}}\n", ["readings.other.model.lenet", "did you mean 'lenet'"]),
    ("reading-slug", STUDY, "fgsm-linf: fgsm-linf-px", "fgsm-linf: fgsm-linf-pix", ["readings.pixel.attack.fgsm-linf", "did you mean"]),
    ("plot", STUDY, "fn: rho-grid", "fn: rho-gird", ["figures.figure6.fn", "did you mean 'rho-grid'"]),
    ("figure-defense", STUDY, "datasets: [cifar10], defenses: [std, minmax-printed]}", "datasets: [cifar10], defenses: [stdd]}", ["figures.figure6.defenses.0", "did you mean 'std'"]),
    ("near-zero", STUDY, "headline: 0.01,", "headline: 0.02,", ["near_zero.headline", "thresholds"]),
    ("near-zero-mlp", STUDY, "{fn: lenet}", "{fn: mlp-1000}", ["near_zero: measures the first convolution, which no model here is known to have"]),
    ("weights-mlp", STUDY, "{fn: lenet}", "{fn: mlp-1000}", ["figures.figure6.fn: shows the first convolution, and 'lenet' is not known"]),
    ("no-selection", STUDY, "\nselection:\n", "\nslection:\n", ["unknown key 'slection'", "did you mean 'selection'"]),
    ("cells-model", STUDY, CELLS, cells(models="[lenett]"), ["cells.0.models.0", "unknown model 'lenett'", "did you mean 'lenet'"]),
    ("cells-dataset", STUDY, CELLS, cells(datasets="[mnist, mnst]"), ["cells.0.datasets.1", "unknown dataset 'mnst'"]),
    ("cells-defense", STUDY, CELLS, cells(defenses="[st]"), ["cells.0.defenses.0", "unknown defense 'st'", "'std'"]),
    ("cells-attack", STUDY, CELLS, cells(attacks="[pgd]"), ["cells.0.attacks.0", "unknown attack 'pgd'"]),
    ("cells-empty", STUDY, CELLS, cells(defenses="[]"), ["cells.0.defenses", "at least 1 item"]),
    ("cells-key", STUDY, CELLS, cells(defences="[std]"), ["cells.0.defences", "unknown key", "did you mean 'defenses'"]),
    ("phases-dataset", STUDY, "[{init: std}]", "{mnist: [{init: std}]}", ["minmax-coded.phases", "needs a value for dataset 'cifar10'"]),
    ("phases-place", STUDY, "[{init: std}]", "{mnist: [{}], cifar10: [{lr: x}]}", ["minmax-coded.phases.cifar10.0.lr", "got 'x'"]),
    ("only-model", CONFIG, "run: demo", "run: demo\nonly: {models: [lenett]}", ["only.models.0", "did you mean 'lenet'"]),
    ("only-attack", CONFIG, "run: demo", "run: demo\nonly: {attacks: [fgsm]}", ["only.attacks.0", "unknown attack 'fgsm'"]),
    ("answers-study", CONFIG, "run: demo", "run: demo\nanswers: {minmax: studies}", ["answers.minmax", "unknown study with `people` 'minmax'"]),
    ("answers-folder", CONFIG, "run: demo", "run: demo\nanswers: {minmax: nowhere}", ["answers.minmax", "there is no folder 'nowhere'"]),
    ("people-attack", STUDY, CELLS, "\npeople: {seed: 0, assignments: 1, images: 1, cells: [{datasets: [mnist], models: [lenet], defenses: [std], attacks: [pgd40-linf]}]}" + CELLS, ["people.cells.0.attacks", "'pgd40-linf' must be a minimal-norm attack, got kind 'fixed'"]),
    ("people-name", STUDY, CELLS, "\npeople: {seed: 0, assignments: 1, images: 1, cells: [{datasets: [mnist], models: [lenett], defenses: [std], attacks: [cw-l2]}]}" + CELLS, ["people.cells.0.models.0", "did you mean 'lenet'"]),
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


# what is added to which part of the study, the key that is named, and what is allowed; nothing of it is planned
OUTSIDE = [
    ("attacks", "{fn: pgd, threat: linf, steps: 0}", "steps", "int >= 1 and <= 1000000000, got 0"),
    ("attacks", "{fn: pgd, threat: linf, steps: -1}", "steps", "int >= 1 and <= 1000000000, got -1"),
    ("attacks", "{fn: pgd, threat: linf, steps: {mnist: 40, cifar10: 0}}", "steps.cifar10", "int >= 1 and <= 1000000000, got 0"),
    ("attacks", "{fn: pgd, threat: linf, step_size: -0.01}", "step_size", "finite float >= 0, got -0.01"),
    ("attacks", "{fn: pgd, threat: linf, step_size: .nan}", "step_size", "finite float >= 0, got nan"),
    ("attacks", "{fn: pgd, threat: linf, step_size: .inf}", "step_size", "finite float >= 0, got inf"),
    ("attacks", "{fn: pgd, threat: linf, step_sizes: [0.1, -1]}", "step_sizes", "finite float >= 0 of length >= 1 or None, got [0.1, -1]"),
    ("attacks", "{fn: pgd, threat: linf, step_sizes: []}", "step_sizes", "of length >= 1 or None, got []"),
    ("attacks", "{fn: pgd, threat: linf, steps: 1000000001}", "steps", "<= 1000000000, got 1000000001"),
    ("attacks", "{fn: pgd, threat: linf, grid: {step_size: [0.1, -1]}}", "grid.step_size.1", "finite float >= 0, got -1"),
    ("attacks", "{fn: pgd, threat: linf, restarts: 0}", "restarts", "int >= 1 and <= 1000000000, got 0"),
    ("attacks", "{fn: pgd, threat: linf, sparsity: 1.5}", "sparsity", "float >= 0 and <= 1, got 1.5"),
    ("attacks", "{fn: mim, threat: linf, decay: -1}", "decay", "finite float >= 0, got -1"),
    ("attacks", "{fn: cw, threat: l2, binary_steps: 0}", "binary_steps", "int >= 1 and <= 1000000000, got 0"),
    ("attacks", "{fn: cw, threat: l2, lr: 0}", "lr", "finite float > 0, got 0"),
    ("attacks", "{fn: cw, threat: l2, init_const: .nan}", "init_const", "finite float > 0, got nan"),
    ("attacks", "{fn: cw, threat: l2, confidence: -1}", "confidence", "finite float >= 0, got -1"),
    ("attacks", "{fn: square, threat: linf, queries: 0}", "queries", "int >= 1 and <= 1000000000, got 0"),
    ("attacks", "{fn: apgd-t, threat: linf, targets: 0}", "targets", "int >= 1 and <= 1000000000, got 0"),
    ("attacks", "{fn: pdgd, threat: l2, variant: coded2}", "variant", "one of 'printed', 'coded', got 'coded2'"),
    ("attacks", "{fn: autoattack, threat: l2, attacks: [fap]}", "attacks", "'fab-t', got ['fap']"),
    ("attacks", "{fn: transfer, threat: l2, substitute: lenet/std, options: {steps: 0}}", "options.steps", "int >= 1 and <= 1000000000"),
    ("defenses", "{fn: minmax, variant: printd, lam: 1, mu: 1}", "variant", "did you mean 'printed'"),
    ("defenses", "{fn: minmax, variant: printed, lam: .inf, mu: 1}", "lam", "finite float >= 0, got inf"),
    ("defenses", "{fn: minmax, variant: printed, lam: -1, mu: 1}", "lam", "finite float >= 0, got -1"),
    ("defenses", "{fn: minmax, variant: printed, lam: 1, mu: {mnist: 1, cifar10: .nan}}", "mu.cifar10", "got nan"),
    ("defenses", "{fn: minmax, variant: printed, lam: 1, mu: 1, layers: cnv}", "layers", "'conv', 'conv1', got 'cnv'"),
    ("defenses", "{fn: ce, select: [{l1: -1}]}", "select.0.l1", "finite float >= 0, got -1"),
    ("models", "{fn: torchvision, name: resnet19}", "name", "unknown classifier of torchvision.models 'resnet19'"),
    ("models", "{fn: torchvision, name: fcn_resnet50}", "name", "unknown classifier"),  # which segments
    ("defenses", "{fn: adv, norm: l3, eps: 0.1, attack_steps: 1, step_size: 1}", "norm", "'linf', 'l2', got 'l3'"),
    ("defenses", "{fn: adv, norm: l2, eps: -0.1, attack_steps: 1, step_size: 1}", "eps", "finite float >= 0, got -0.1"),
    ("defenses", "{fn: adv, norm: l2, eps: .nan, attack_steps: 1, step_size: 1}", "eps", "finite float >= 0, got nan"),
    ("defenses", "{fn: adv, norm: l2, eps: 1, attack_steps: 0, step_size: 1}", "attack_steps", "int >= 1 and <= 1000000000, got 0"),
    ("defenses", "{fn: adv, norm: l2, eps: 1, attack_steps: 1, step_size: 1, space: px}", "space", "'pixel', 'normalized'"),
    ("defenses", "{fn: dropout, p: 1.0}", "p", "float >= 0 and < 1, got 1.0"),
    ("models", "{fn: mlp, init: msra, hidden: [100, 0]}", "hidden", "sequence of int >= 1 and <= 1000000000, got [100, 0]"),
    ("models", "{fn: lenet-512, dropout: 1.5}", "dropout", "float >= 0 and < 1, got 1.5"),
    ("models", "{fn: lenet-512, dropout: {mnist: 0.5, cifar10: 0.5}}", "dropout", "float >= 0 and < 1, got {'mnist'"),
    ("models", "{fn: wrn, depth: 4, width: 1}", "depth", "int >= 10 and <= 1000000000, got 4"),
    ("threats", "{norm: linf, space: pixel, epsilons: {mnist: [.inf], cifar10: [1]}}", "epsilons.mnist.0", "finite"),
    ("threats", "{norm: linf, space: pixel, epsilons: {mnist: [0], cifar10: [1]}}", "epsilons.mnist.0", "greater than 0"),
    ("threats", "{norm: linf, space: pixel, epsilons: {mnist: [-1], cifar10: [1]}}", "epsilons.mnist.0", "got -1"),
    ("threats", "{norm: linf, space: pixel, epsilons: {mnist: [1], cifar10: [8]}}", "epsilons.cifar10", "exceeds 1, got 8"),
    ("threats", "{norm: l2, space: pixel, epsilons: {mnist: [28.5], cifar10: [55]}}", "epsilons.mnist", "exceeds 28, got"),
    ("threats", "{norm: l1, space: pixel, epsilons: {mnist: [1], cifar10: [3073]}}", "epsilons.cifar10", "exceeds 3072"),
    ("threats", "{norm: l0, space: pixel, epsilons: {mnist: [1], cifar10: [1025]}}", "epsilons.cifar10", "exceeds 1024"),
    ("threats", "{norm: linf, space: normalized, epsilons: {mnist: [3.3], cifar10: [1]}}", "epsilons.mnist", "exceeds 3."),
]  # fmt: skip


# the same, of options each of which is right
TOGETHER = [
    ("attacks", "{fn: pgd, threat: linf, step_size: 0.1, step_sizes: [0.1]}", ".step_size", "give one of the two"),
    ("attacks", "{fn: pgd, threat: linf, step_sizes: [0.1], grid: {step_size: [0.1]}}", ".step_size", "give one of"),
    ("attacks", "{fn: autoattack, threat: linf-px, version: custom}", ".attacks", "needs attacks; got 'custom'"),
    ("attacks", "{fn: autoattack, threat: linf-px, attacks: [fab]}", ".attacks", "got 'standard' and ['fab']"),
    ("attacks", "{fn: autoattack, threat: linf}", "", "works in pixels with bounds only"),
    ("attacks", "{fn: cw, threat: l2, target_class: {mnist: 9, cifar10: 10}}", ".target_class", "less than 10, the number"),
    ("attacks", "{fn: cw, threat: l2, confidence: 1.0, target_confidence: 0.9}", ".confidence", "must be 0 where"),
    ("attacks", "{fn: cw, threat: l2, target_confidence: 0.9, grid: {confidence: [0.0, 1.0]}}", ".confidence", "must be 0"),
    ("defenses", "{fn: at, norm: l2, eps: 1, attack_steps: 1, step_size: 1, eps_low: 2}", ".eps_low", "[0, eps=1], got 2"),
    ("defenses", "{fn: at, norm: l2, eps: 1, attack_steps: 1, step_size: 1, select: [{eps_low: 2}]}", ".eps_low", "got 2"),
    ("defenses", "{fn: at, norm: l2, eps: 1, attack_steps: 1, step_size: 1, space: whitened}", ".box", "give box: false"),
    ("defenses", "{fn: trades, norm: linf, eps: {mnist: 0.3, cifar10: 8}, attack_steps: 1, step_size: 1, beta: 6}", ".eps", "got eps 8; of 0 to 255"),
    ("models", "{fn: wrn, depth: 12, width: 1}", ".depth", "must be 6 n + 4 with n >= 1, got 12"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "definition", "key", "allowed"), TOGETHER)
def test_what_does_not_go_together_is_refused(
    project: Path, part: str, definition: str, key: str, allowed: str
) -> None:
    path = project / STUDY
    path.write_text(re.sub(rf"\n{part}:.*\n", f"\\g<0>  strange: {definition}\n", path.read_text(), count=1))
    with pytest.raises(ConfigError) as caught:
        plan(project)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:{line_with(path, 'strange:')}: {part}.strange{key}: ")
    assert allowed in problem


@pytest.mark.parametrize(("part", "definition", "key", "allowed"), OUTSIDE)
def test_what_is_out_of_range_is_refused(project: Path, part: str, definition: str, key: str, allowed: str) -> None:
    path = project / STUDY
    text = path.read_text()
    assert f"\n{part}:" in text, "the test no longer fits the shipped file"
    path.write_text(re.sub(rf"\n{part}:.*\n", f"\\g<0>  strange: {definition}\n", text, count=1))
    with pytest.raises(ConfigError) as caught:
        plan(project)
    # an mlp here is also a net that the study's figures of a convolution cannot show
    (problem,) = [problem for problem in caught.value.problems if "first convolution" not in problem]
    assert problem.startswith(f"{path}:{line_with(path, 'strange:')}: {part}.strange.{key}: ")
    assert allowed in problem


def test_what_reaches_as_far_as_the_space_does_is_planned(project: Path) -> None:
    """One end of each range; without bounds there is no largest distance."""
    path = project / STUDY
    threats = {
        "l2a": "{norm: l2, space: pixel, epsilons: {mnist: [28], cifar10: [55.4]}}",
        "l0a": "{norm: l0, space: pixel, epsilons: {mnist: [784], cifar10: [1024]}}",
        "free": "{norm: linf, space: pixel, bounds: none, epsilons: {mnist: [8], cifar10: [8]}}",
    }
    lines = "".join(f"  {name}: {threat}\n" for name, threat in threats.items())
    path.write_text(path.read_text().replace("\nthreats:\n", f"\nthreats:\n{lines}"))
    assert plan(project).models


def test_a_problem_that_every_dataset_has_is_said_once(project: Path) -> None:
    path = project / STUDY
    path.write_text(path.read_text().replace("[{init: std}]", "[{init: stdd}]"))
    with pytest.raises(ConfigError) as caught:
        plan(project)
    assert len(caught.value.problems) == 1


def test_a_problem_that_every_study_has_is_said_once(project: Path) -> None:
    path = project / SUITES
    path.write_text(path.read_text().replace("{fn: ddn, steps: 200}", "{fn: ddn, stepz: 200}", 1))
    with pytest.raises(ConfigError) as caught:
        make_plan(project, project / "configs" / "paper.yaml")
    assert len(caught.value.problems) == 1
    assert f"{path}:{line_with(path, 'stepz')}: quick.l2.ddn.stepz: unknown option" in str(caught.value)


def test_candidates_need_a_criterion(project: Path) -> None:
    path = project / STUDY
    text = path.read_text()
    start, end = text.index("\nselection:"), text.index("\nthreats:")
    path.write_text(text[:start] + text[end:])
    with pytest.raises(ConfigError, match=r"defenses\.std\+l1\.select: needs `selection`"):
        plan(project)


def test_constants_of_nets_without_a_convolution_are_selected_without_measuring_one(project: Path) -> None:
    path = project / STUDY
    weights = ("near_zero:", "weight-values", "weight-histogram", "rho-grid")
    kept = [line for line in path.read_text().splitlines() if not any(word in line for word in weights)]
    path.write_text("\n".join(kept).replace("{fn: lenet}", "{fn: mlp-1000}"))
    (project / CAPTIONS).with_name("figures.csv").unlink()
    captions = project / CAPTIONS
    with pytest.raises(ConfigError) as caught:
        plan(project)
    assert all(f"{captions}" in problem and "caption" in problem for problem in caught.value.problems)


MIXED = "{fn: lenet}\n  other: "


@pytest.mark.parametrize(
    ("models", "parameters", "refused"),
    [
        (MIXED + "{fn: mlp-1000}", "", False),
        (MIXED + "{fn: torchvision, name: resnet18}", "", False),
        ("{fn: mlp-1000}", "", True),
        ("{fn: mlp-1000}", "parameters: [net.conv1.weight]", True),
        ("{fn: torchvision, name: resnet18}", "", True),
        ("{fn: torchvision, name: resnet18}", "parameters: [net.conv1.weight]", False),
    ],
)
def test_small_weights_are_asked_of_nets_that_have_the_layer(
    project: Path, models: str, parameters: str, refused: bool
) -> None:
    path = project / STUDY
    text = path.read_text().replace("{fn: lenet}", models, 1)
    shipped = ", parameters: [net.conv1.weight, net.conv2.weight]}"
    assert shipped in text
    path.write_text(text.replace(shipped, f", {parameters}}}" if parameters else "}"))
    with pytest.raises(ConfigError) as caught:  # for the figures, at least
        plan(project)
    said = [problem for problem in caught.value.problems if ": near_zero: " in problem]
    assert bool(said) is refused
    assert all("shows the first convolution" in problem for problem in set(caught.value.problems) - set(said))


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


def test_what_the_shipped_study_does_not_use_is_valid_too(project: Path) -> None:
    path = project / STUDY
    transfer = (
        "options: {steps: {mnist: 3, cifar10: 5}, step_size: 0.1}, substitute: {mnist: lenet/std, cifar10: lenet/adv}"
    )
    changes = {
        "{fn: fgsm, threat: linf}": "{fn: fgsm, threat: linf, loss: own}",
        MIM: "{fn: mim, threat: linf, steps: {mnist: 40, cifar10: 20}, grid: {step_size: [0.1, 1], loss: [ce, own]}}",
        "{fn: bim, threat: linf, steps: 10, step_size: 0.05}": f"{{fn: transfer, threat: linf, {transfer}}}",
    }
    suites = {"{fn: deepfool, steps: 50}": "{fn: transfer, substitute: lenet/std}"}
    for file, edits in ((path, changes), (project / SUITES, suites)):
        text = file.read_text()
        for old, new in edits.items():
            assert old in text, "the test no longer fits the shipped file"
            text = text.replace(old, new, 1)
        file.write_text(text)
    assert plan(project).models


def test_a_study_is_one_folder(project: Path) -> None:
    (project / CAPTIONS).unlink()
    with pytest.raises(ConfigError, match=r"captions\.yaml:1: .*no caption 'figure2': it is a figure of study.yaml"):
        plan(project)
    (project / CAPTIONS).write_text("# nothing yet\n")
    with pytest.raises(ConfigError, match=r"captions\.yaml:1: .*no caption 'figure2': it is a figure of study.yaml"):
        plan(project)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("cw-l2", r"cell_epsilon: in the reading 'pixel': 'cw-l2' has no budget: leave it empty, got '0\.3'"),
        ("fgsm-linf", "norm: in the reading 'pixel': 'l2' is printed, but 'fgsm-linf' works in 'linf'"),
    ],
)
def test_a_reading_fits_every_claim_that_it_changes(project: Path, other: str, message: str) -> None:
    path = project / STUDY
    path.write_text(path.read_text().replace("l2bia: l2bia-px", f"l2bia: {other}"))
    with pytest.raises(ConfigError, match=rf"minmax/claims\.csv:\d+: {message}") as caught:
        plan(project)
    assert len(caught.value.problems) == 8, "one for each"


def test_a_suite_has_attacks_in_every_norm_of_a_worst_case(project: Path) -> None:
    path = project / SUITES
    text = path.read_text()
    path.write_text(text[: text.index("  l2:")] + text[text.index("  l1:") :])
    where = f"config.yaml:{line_with(project / CONFIG, 'suite:')}: suite"
    with pytest.raises(ConfigError, match=f"{where}: 'quick' has no attacks in norm l2"):
        plan(project)


def test_only_a_suite_with_a_transfer_from_a_plain_net_needs_one(project: Path) -> None:
    path = project / STUDY
    path.write_text(path.read_text().replace("\nplain:", "\n# plain:"))
    assert plan(project).models
    config = project / CONFIG
    config.write_text(config.read_text().replace("suite: quick", "suite: full"))
    with pytest.raises(
        ConfigError, match="suite: 'full' has a transfer from a plain net: study 'minmax' must say which"
    ):
        plan(project)


@pytest.mark.parametrize(
    ("where", "refused"),
    [
        ("{attack: worst-l2}", False),
        ("{attack: worst-l2, defense: adv}", False),
        ("{attack: worst-l2, defense: std}", True),
        ("{attack: worst-linf}", True),
    ],
)
def test_a_cap_on_a_worst_case_limits_one_of_its_attacks(project: Path, where: str, refused: bool) -> None:
    """What is meant for a defense is in the worst case of its norms, on models of that defense."""
    study, config = project / STUDY, project / CONFIG
    text = study.read_text()
    assert text.count("\n  adv: {") == 1, "the test no longer fits the shipped file"
    study.write_text(text.replace("\n  adv: {", "\n  adv: {adaptive: {bisecting: {fn: cw}}, "))
    config.write_text(f"{config.read_text()}  - {{where: {where}, binary_steps: 2}}\n")
    if not refused:
        assert plan(project).models
        return
    with pytest.raises(ConfigError, match=r"caps\.\d+\.binary_steps: 'worst-l(2|inf)' has none"):
        plan(project)
