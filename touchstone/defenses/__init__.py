"""The table of training objectives. Importing it does not import torch."""

from touchstone.registry import DefenseSpec, Passes, constants, is_own

STEP = (Passes(1, 0, 1),)
INNER = Passes(1, 1, of=("attack_steps",))
ATTACKED = (INNER, *STEP, Passes(1, 0, 1, of=("clean",)))
TWICE = (Passes(2, 0, 2), INNER)

DEFENSES: dict[str, DefenseSpec] = {
    "ce": DefenseSpec(
        fn="touchstone.defenses.ce:CrossEntropy",
        source="Shen et al. (2020), arXiv:2011.13719, eq. 2 and section 5.1",
        passes=STEP,
    ),
    "dropout": DefenseSpec(
        fn="touchstone.defenses.dropout:Dropout",
        source="Srivastava et al. (2014), as in Matyasko (2020), doi:10.32657/10356/143316",
        passes=STEP,
    ),
    "minmax": DefenseSpec(
        fn="touchstone.defenses.minmax:MinMax",
        source="Shen et al. (2020), arXiv:2011.13719, eq. 5",
        passes=STEP,
    ),
    "margin": DefenseSpec(
        fn="touchstone.defenses.margin:MarginMaximization",
        source="Matyasko (2020), doi:10.32657/10356/143316, eq. 3.18",
        compiles=False,
        passes=(Passes(1, 1, 2), Passes(0, 1, of=("others",))),
    ),
    "critic": DefenseSpec(
        fn="touchstone.defenses.critic:AdversaryCritic",
        source="Matyasko (2020), doi:10.32657/10356/143316, eqs. 4.3 to 4.5 and algorithm 1",
        compiles=False,
        groups=("critic",),
        passes=(
            Passes(7, 3, 7),  # the critic's own are taken for the model's
            Passes(0, 1, of=("others",)),
            Passes(2, 2, 4, of=("attack_steps",)),
        ),
    ),
    "gce": DefenseSpec(
        fn="touchstone.defenses.gce:GuidedComplementEntropy",
        source="Chen et al. (2019), arXiv:1903.09799",
        passes=STEP,
    ),
    "pc": DefenseSpec(
        fn="touchstone.defenses.pc:ProbabilisticallyCompact",
        source="Li et al. (2021), arXiv:2012.07688, eqs. 6 and 16",
        passes=STEP,
    ),
    "weightpen": DefenseSpec(
        fn="touchstone.defenses.weightpen:WeightPenalization",
        source="Xu et al. (2021), arXiv:2010.03844, eq. 3.8",
        passes=STEP,
    ),
    "mmc": DefenseSpec(
        fn="touchstone.defenses.mmc:MaxMahalanobisCenter",
        source="Pang et al. (2020), arXiv:1905.10626",
        compiles=False,
        passes=STEP,
    ),
    "adv": DefenseSpec(
        fn="touchstone.defenses.adv:Alternating",
        source="Shen et al. (2020), arXiv:2011.13719, section 3.3",
        passes=TWICE,
    ),
    "at": DefenseSpec(
        fn="touchstone.defenses.at:Adversarial",
        source="Madry et al. (2018), arXiv:1706.06083, eq. 2.1",
        passes=ATTACKED,
    ),
    "gce+at": DefenseSpec(
        fn="touchstone.defenses.at:AdversarialGCE",
        source="Li et al. (2021), arXiv:2012.07688, table 5",
        passes=ATTACKED,
    ),
    "pc+at": DefenseSpec(
        fn="touchstone.defenses.at:AdversarialPC",
        source="Li et al. (2021), arXiv:2012.07688, table 5",
        passes=ATTACKED,
    ),
    "trades": DefenseSpec(
        fn="touchstone.defenses.trades:Trades",
        source="Zhang et al. (2019), arXiv:1901.08573, algorithm 1",
        passes=(Passes(3, 0, 2), INNER),
    ),
    "mart": DefenseSpec(
        fn="touchstone.defenses.mart:Mart",
        source="Wang et al. (2020), algorithm 1",
        passes=TWICE,
    ),
    "vat": DefenseSpec(
        fn="touchstone.defenses.vat:VirtualAdversarial",
        source="Miyato et al. (2016), arXiv:1507.00677, algorithm 1",
        passes=(Passes(3, 0, 2), Passes(1, 1, of=("power_iterations",))),
    ),
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
