"""The peers behind one signature: (subject, batch size, steps) -> adversarial points, in batches of that size."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.nets import Subject

Run = Callable[[Subject, int, int], list[Tensor]]  # one tensor of points, or one per epsilon
INF = float("inf")


def library(module: str) -> ModuleType:
    """Import a peer when it is first used, although it uses what its dependencies deprecate, or visdom.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # does not build any more; adv-lib draws nothing here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


def batched(subject: Subject, batch: int, attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Attack batch after batch and join the points."""
    parts = zip(subject.x.split(batch), subject.y.split(batch), strict=True)
    return torch.cat([attack(x, y).detach() for x, y in parts])


def torchattacks_pgd(epsilons: tuple[float, ...], step_size: float) -> Run:
    """Return PGD of torchattacks from x itself, one run per epsilon."""

    def run(subject: Subject, batch: int, steps: int) -> list[Tensor]:
        attack, more = library("torchattacks").PGD, {"alpha": step_size, "steps": steps, "random_start": False}
        made = [attack(subject.model, eps=epsilon, **more) for epsilon in epsilons]
        return [batched(subject, batch, attack) for attack in made]

    return run


def foolbox_pgd(epsilons: tuple[float, ...], step_size: float) -> Run:
    """Return PGD of Foolbox from x itself over a list of epsilons."""

    def run(subject: Subject, batch: int, steps: int) -> list[Tensor]:
        foolbox = library("foolbox")
        model = foolbox.PyTorchModel(subject.model, bounds=(0, 1), device=subject.x.device)
        attack = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=steps, random_start=False)
        parts = zip(subject.x.split(batch), subject.y.split(batch), strict=True)
        found = [attack(model, x, y, epsilons=list(epsilons))[1] for x, y in parts]
        return [torch.cat(points) for points in zip(*found, strict=True)]

    return run


def adv_lib_pgd(epsilons: tuple[float, ...], step_size: float) -> Run:
    """Return PGD of adversarial-library from x itself, one run per epsilon; it keeps the last fooling iterate."""

    def run(subject: Subject, batch: int, steps: int) -> list[Tensor]:
        attack = library("adv_lib.attacks").pgd_linf
        more = {"steps": steps, "absolute_step_size": step_size, "random_init": False}
        return [batched(subject, batch, lambda x, y, e=e: attack(subject.model, x, y, e, **more)) for e in epsilons]

    return run


def adv_lib_minimal(name: str, steps: str, **options: object) -> Run:
    """Return a minimal-norm attack of adversarial-library; `steps` is what it calls its number of steps."""

    def run(subject: Subject, batch: int, count: int) -> list[Tensor]:
        attack = getattr(library("adv_lib.attacks"), name)
        more = {steps: count, **options}
        return [batched(subject, batch, lambda x, y: attack(subject.model, x, y, **more))]

    return run


def foolbox_minimal(name: str, **options: object) -> Run:
    """Return a minimal-norm attack of Foolbox."""

    def run(subject: Subject, batch: int, steps: int) -> list[Tensor]:
        foolbox = library("foolbox")
        model = foolbox.PyTorchModel(subject.model, bounds=(0, 1), device=subject.x.device)
        attack = getattr(foolbox.attacks, name)(steps=steps, **options)
        return [batched(subject, batch, lambda x, y: attack(model, x, y, epsilons=None)[0])]

    return run


def autoattack(epsilons: tuple[float, ...]) -> Run:
    """Return the standard version of AutoAttack, one run per epsilon; a short run asks Square for fewer queries."""

    def run(subject: Subject, batch: int, steps: int) -> list[Tensor]:
        found, more = [], {"norm": "Linf", "seed": 0, "device": subject.x.device}
        logging.getLogger("auto-attack").setLevel(logging.WARNING)
        for epsilon in epsilons:
            attack = library("pyautoattack").AutoAttack(subject.model, eps=epsilon, **more)
            attack.verbose = False
            attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = steps
            attack.square.n_queries = 50 * steps
            found.append(attack.run_standard_evaluation(subject.x, subject.y, batch_size=batch)[0])
        return found

    return run
