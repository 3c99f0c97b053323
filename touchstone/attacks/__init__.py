"""The table of attacks: name -> function and what the evaluation must know; it does not import torch."""

from touchstone.registry import AttackSpec

ATTACKS: dict[str, AttackSpec] = {
    "clean": AttackSpec(
        fn="touchstone.attacks.clean:clean",
        kind="none",
        norms=("linf", "l2", "l1", "l0"),
        source="no attack",
    ),
    "fgsm": AttackSpec(
        fn="touchstone.attacks.pgd:fgsm",
        kind="fixed",
        norms=("linf", "l2"),
        source="Goodfellow, Shlens, Szegedy (2015)",
    ),
    "bim": AttackSpec(
        fn="touchstone.attacks.pgd:bim",
        kind="fixed",
        norms=("linf", "l2"),
        source="Kurakin, Goodfellow, Bengio (2017)",
    ),
    "pgd": AttackSpec(
        fn="touchstone.attacks.pgd:pgd",
        kind="fixed",
        norms=("linf", "l2"),
        source="Madry et al. (2018)",
    ),
    "mim": AttackSpec(
        fn="touchstone.attacks.mim:mim",
        kind="fixed",
        norms=("linf",),
        source="Dong et al. (2018)",
    ),
    "cw": AttackSpec(
        fn="touchstone.attacks.cw:cw",
        kind="minimal",
        norms=("l2",),
        budget_rule="unbounded",
        source="Carlini, Wagner (2017)",
    ),
    "deepfool": AttackSpec(
        fn="touchstone.attacks.deepfool:deepfool",
        kind="minimal",
        norms=("linf", "l2"),
        budget_rule="distance",
        source="Moosavi-Dezfooli, Fawzi, Frossard (2016)",
    ),
    "ddn": AttackSpec(
        fn="touchstone.attacks.ddn:ddn",
        kind="minimal",
        norms=("l2",),
        budget_rule="distance",
        source="Rony et al. (2019)",
    ),
    "pdgd": AttackSpec(
        fn="touchstone.attacks.pdgd:pdgd",
        kind="minimal",
        norms=("l2",),
        budget_rule="distance",
        source="Matyasko (2020), algorithm 2",
    ),
    "pdpgd": AttackSpec(
        fn="touchstone.attacks.pdpgd:pdpgd",
        kind="minimal",
        norms=("linf", "l1", "l0"),
        budget_rule="distance",
        source="Matyasko (2020), algorithm 3",
    ),
    "ead": AttackSpec(
        fn="touchstone.attacks.ead:ead",
        kind="minimal",
        norms=("l1",),
        budget_rule="unbounded",
        source="Chen et al. (2018)",
    ),
    "high_confidence": AttackSpec(
        fn="touchstone.attacks.high_confidence:high_confidence",
        kind="minimal",
        norms=("l2",),
        criterion="confidence",
        budget_rule="unbounded",
        source="Matyasko (2020), algorithm 1",
    ),
    "square": AttackSpec(
        fn="touchstone.attacks.square:square",
        kind="fixed",
        norms=("linf", "l2"),
        source="Andriushchenko et al. (2020)",
    ),
    "cascade": AttackSpec(
        fn="touchstone.evaluation.loop:cascade",
        kind="suite",
        norms=("linf", "l2", "l1"),
        source="Croce, Hein (2020): each member sees what the others left",
    ),
}
