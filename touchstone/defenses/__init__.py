"""The table of training objectives. Importing it does not import torch."""

from touchstone.registry import DefenseSpec, constants, is_own

DEFENSES: dict[str, DefenseSpec] = {
    "ce": DefenseSpec(fn="touchstone.defenses.ce:CrossEntropy", source="Shen et al. (2020), eq. 2 and section 5.1"),
    "dropout": DefenseSpec(
        fn="touchstone.defenses.dropout:Dropout",
        source="Srivastava et al. (2014), as in Matyasko (2020)",
    ),
    "minmax": DefenseSpec(fn="touchstone.defenses.minmax:MinMax", source="Shen et al. (2020), eq. 5"),
    "margin": DefenseSpec(
        fn="touchstone.defenses.margin:MarginMaximization",
        source="Matyasko (2020), eq. 3.18",
        compiles=False,
    ),
    "critic": DefenseSpec(
        fn="touchstone.defenses.critic:AdversaryCritic",
        source="Matyasko (2020), eqs. 4.3 to 4.5 and algorithm 1",
        compiles=False,
        groups=("critic",),
    ),
    "gce": DefenseSpec(fn="touchstone.defenses.gce:GuidedComplementEntropy", source="Chen et al. (2019)"),
    "pc": DefenseSpec(fn="touchstone.defenses.pc:ProbabilisticallyCompact", source="Li et al. (2021), eqs. 6 and 16"),
    "weightpen": DefenseSpec(fn="touchstone.defenses.weightpen:WeightPenalization", source="Xu et al. (2021), eq. 3.8"),
    "mmc": DefenseSpec(
        fn="touchstone.defenses.mmc:MaxMahalanobisCenter",
        source="Pang et al. (2020)",
        compiles=False,
    ),
    "adv": DefenseSpec(fn="touchstone.defenses.adv:Alternating", source="Shen et al. (2020), section 3.3"),
    "at": DefenseSpec(fn="touchstone.defenses.at:Adversarial", source="Madry et al. (2018), eq. 2.1"),
    "gce+at": DefenseSpec(fn="touchstone.defenses.at:AdversarialGCE", source="Li et al. (2021), table 5"),
    "pc+at": DefenseSpec(fn="touchstone.defenses.at:AdversarialPC", source="Li et al. (2021), table 5"),
    "trades": DefenseSpec(fn="touchstone.defenses.trades:Trades", source="Zhang et al. (2019), algorithm 1"),
    "mart": DefenseSpec(fn="touchstone.defenses.mart:Mart", source="Wang et al. (2020), algorithm 1"),
    "vat": DefenseSpec(fn="touchstone.defenses.vat:VirtualAdversarial", source="Miyato et al. (2016), algorithm 1"),
}


def defense_spec(name: str) -> DefenseSpec:
    """Return the row of the table, or what the class of the user's own objective, "module:class", says of itself.

    `groups = ("critic",)` and `compiles = True` in its body are what a row says. Without a word it is not compiled,
    which serves every objective.

    Raises:
        KeyError: for a name that is neither.
        SourceError: if there is no such class.
    """
    if not is_own(name):
        return DEFENSES[name]
    said = constants(name)
    return DefenseSpec(name, "the user's own", tuple(said.get("groups", ())), bool(said.get("compiles", False)))
