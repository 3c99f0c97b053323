"""The table of attacks: name -> function and what the evaluation must know; it does not import torch.

What all of them promise and ask for is said in `contract.py`, what is special to one in its docstring.
"""

import ast
from collections.abc import Callable, Mapping
from typing import Any, Literal

from touchstone.registry import NORMS, AttackSpec, BudgetRule, Cost, Passes, SourceError, is_own, options


def _fixed(
    fn: str,
    norms: tuple[str, ...],
    source: str,
    passes: Cost,
    *,
    droppable: bool = True,
    coupled: bool = False,
    wraps: tuple[str, ...] = (),
) -> AttackSpec:
    """An attack within a radius; fn is "module:function" in this folder."""
    fn = f"{__name__}.{fn}"
    return AttackSpec(fn, "fixed", norms, source, droppable=droppable, coupled=coupled, wraps=wraps, passes=passes)


def _minimal(
    fn: str,
    norms: tuple[str, ...],
    source: str,
    passes: Cost,
    *,
    criterion: Literal["misclassified", "confidence"] = "misclassified",
    budget_rule: BudgetRule = "distance",
    droppable: bool = True,
    coupled: bool = False,
    usual: float = 1.0,
) -> AttackSpec:
    """An attack that looks for the nearest point; fn is "module:function" in this folder."""
    facts = (criterion, budget_rule, droppable, coupled)
    return AttackSpec(f"{__name__}.{fn}", "minimal", norms, source, *facts, passes=passes, usual=usual)


def _grads(*of: str) -> Passes:
    """So many gradients in the image."""
    return Passes(1, 1, of=of)


ONCE = Passes(1)  # logits, at x or of the last iterate
PLAYED = (ONCE, _grads("restarts", "steps"), _grads("finetune", "steps"), Passes(2, of=("restarts",)))
TOWARDS = (_grads("others", "steps"), Passes(1, of=("others",)))

WITHOUT_KEYWORD = ("foolbox",)  # conventions of foreign attacks that tell a radius in another way than by a keyword


def _foreign(fn: str, kind: Literal["fixed", "minimal"], budget_rule: Literal["ball", "distance"]) -> AttackSpec:
    """An attack of another library, whose rows may influence one another."""
    fn, source = f"{__name__}.{fn}", "that of the attack which its option `target` names"
    return AttackSpec(fn, kind, NORMS, source, budget_rule=budget_rule, droppable=False, coupled=True, foreign=True)


ATTACKS: dict[str, AttackSpec] = {
    "clean": AttackSpec(
        fn="touchstone.attacks.clean:clean",
        kind="none",
        norms=("linf", "l2", "l1", "l0"),
        source="no attack",
        passes=(),
    ),
    "fgsm": _fixed(
        "pgd:fgsm",
        norms=("linf", "l2", "l1"),
        source="Goodfellow, Shlens, Szegedy (2015), arXiv:1412.6572",
        passes=(_grads(),),
    ),
    "bim": _fixed(
        "pgd:bim",
        norms=("linf", "l2", "l1"),
        source="Kurakin, Goodfellow, Bengio (2017), arXiv:1607.02533",
        passes=(_grads("steps"),),
    ),
    "pgd": _fixed(
        "pgd:pgd",
        norms=("linf", "l2", "l1"),
        source="Madry et al. (2018), arXiv:1706.06083; l1: Tramer, Boneh (2019), arXiv:1904.13000",
        passes=(_grads("restarts", "step_sizes", "steps"), Passes(1, of=("restarts", "step_sizes"))),
    ),
    "apgd": _fixed(
        "apgd:apgd",
        norms=("linf", "l2", "l1"),
        source="Croce, Hein (2020), arXiv:2003.01690; l1: Croce, Hein (2021), arXiv:2103.01208",
        passes=(_grads("restarts", "steps"), Passes(3, of=("restarts",))),
    ),
    "apgd-t": _fixed(
        "apgd:apgd_t",
        norms=("linf", "l2", "l1"),
        source="Croce, Hein (2020), arXiv:2003.01690; l1: Croce, Hein (2021), arXiv:2103.01208",
        passes=(ONCE, _grads("targets", "restarts", "steps"), Passes(3, of=("targets", "restarts"))),
    ),
    "mim": _fixed(
        "mim:mim",
        norms=("linf", "l2", "l1"),
        source="Dong et al. (2018), arXiv:1710.06081",
        passes=(_grads("steps"),),
    ),
    "cw": _minimal(
        "cw:cw",
        norms=("l2",),
        budget_rule="unbounded",
        source="Carlini, Wagner (2017), arXiv:1608.04644",
        passes=(ONCE, _grads("binary_steps", "steps")),
        usual=0.4,
    ),
    "deepfool": _minimal(
        "deepfool:deepfool",
        norms=("linf", "l2"),
        source="Moosavi-Dezfooli, Fawzi, Frossard (2016), arXiv:1511.04599",
        passes=(
            Passes(2),
            Passes(0, 1, of=("fixed_class", "candidates")),
            Passes(2, of=("steps",)),
            Passes(0, 1, of=("steps", "linearised")),
        ),
        usual=0.1,
    ),
    "ddn": _minimal(
        "ddn:ddn",
        norms=("l2",),
        source="Rony et al. (2019), arXiv:1811.09600",
        passes=(_grads("steps"), ONCE),
    ),
    "fab": _minimal(
        "fab:fab",
        norms=("linf", "l2", "l1"),
        source="Croce, Hein (2020), arXiv:1907.02044",
        passes=(
            ONCE,
            Passes(2, of=("restarts", "steps")),
            Passes(0, 1, of=("restarts", "steps", "others")),
            Passes(2, of=("restarts", "last_search")),
        ),
    ),
    "fab-t": _minimal(
        "fab:fab_t",
        norms=("linf", "l2", "l1"),
        source="Croce, Hein (2020), arXiv:1907.02044",
        passes=(
            ONCE,
            Passes(2, 1, of=("targets", "restarts", "steps")),
            Passes(2, of=("targets", "restarts", "last_search")),
        ),
    ),
    "sparsefool": _minimal(
        "sparsefool:sparsefool",
        norms=("l1", "l0"),
        source="Modas, Moosavi-Dezfooli, Frossard (2019), arXiv:1811.02248",
        passes=(
            ONCE,
            Passes(2, 1, of=("steps",)),
            Passes(2, of=("steps", "boundary_steps")),
            Passes(0, 1, of=("steps", "boundary_steps", "others")),
        ),
        usual=0.01,
    ),
    "sigma-zero": _minimal(
        "sigma_zero:sigma_zero",
        norms=("l0",),
        source="Cina et al. (2025), arXiv:2402.01879",
        passes=(Passes(2), _grads("steps")),
    ),
    "jsma": _minimal(
        "jsma:jsma",
        norms=("l0",),
        source="Papernot et al. (2016), arXiv:1511.07528",
        passes=(ONCE, _grads("targets", "direction"), _grads("targets", "direction", "gamma", "values")),
        usual=0.05,
    ),
    "pdgd": _minimal(
        "primal_dual:pdgd",
        norms=("l2",),
        source="Matyasko (2020), doi:10.32657/10356/143316, algorithm 2",
        passes=PLAYED,
    ),
    "pdpgd": _minimal(
        "primal_dual:pdpgd",
        norms=("linf", "l1", "l0"),
        source="Matyasko (2020), doi:10.32657/10356/143316, algorithm 3",
        passes=PLAYED,
    ),
    "ead": _minimal(
        "ead:ead",
        norms=("l1",),
        budget_rule="unbounded",
        source="Chen et al. (2018), arXiv:1709.04114",
        passes=(ONCE, Passes(2, 1, of=("binary_steps", "steps"))),
        usual=0.3,
    ),
    "high-confidence": _minimal(
        "high_confidence:high_confidence",
        norms=("l2",),
        criterion="confidence",
        budget_rule="unbounded",
        source="Matyasko (2020), doi:10.32657/10356/143316, algorithm 1",
        passes=(Passes(3), Passes(0, 1, of=("others",)), _grads("steps")),
        usual=0.1,
    ),
    "square": _fixed(
        "square:square",
        norms=("linf", "l2", "l1"),
        source="Andriushchenko et al. (2020), arXiv:1912.00049; l1: Croce, Hein (2021), arXiv:2103.01208",
        passes=(Passes(1, of=("queries",)),),
    ),
    "sparse-rs": _fixed(
        "sparse_rs:sparse_rs",
        norms=("l0",),
        source="Croce et al. (2022), arXiv:2006.12834",
        passes=(ONCE, Passes(1, of=("queries",))),
    ),
    "onepixel": _fixed(
        "onepixel:onepixel",
        norms=("l0",),
        source="Su, Vargas, Sakurai (2019), arXiv:1710.08864",
        passes=(ONCE, Passes(1, of=("population",)), Passes(1, of=("population", "steps"))),
    ),
    "noise": _fixed(
        "noise:noise",
        norms=("linf", "l2", "l1", "l0"),
        source="uniform random points: the floor under every attack",
        passes=(Passes(1, of=("restarts",)),),
    ),
    "spsa": _fixed(
        "spsa:spsa",
        norms=("linf",),
        source="Uesato et al. (2018), arXiv:1802.05666",
        passes=(Passes(1, of=("steps",)), Passes(2, of=("steps", "directions"))),
    ),
    "daa": _fixed(
        "daa:daa",
        norms=("linf",),
        droppable=False,
        coupled=True,
        source="Zheng, Chen, Ren (2019), arXiv:1808.05537",
        passes=(_grads("restarts", "steps"), Passes(1, of=("restarts",))),
    ),
    "mta": _fixed(
        "mta:mta",
        norms=("linf", "l2"),
        source="Gowal et al. (2019), arXiv:1910.09338",
        passes=TOWARDS,
    ),
    "mta-center": _fixed(
        "mta:mta_center",
        norms=("linf", "l2"),
        source="Tramer et al. (2020), arXiv:2002.08347; Xu et al. (2021), arXiv:2010.03844",
        passes=TOWARDS,
    ),
    "mta-coded": _fixed(
        "mta:mta_coded",
        norms=("linf", "l2"),
        source="the code of Xu et al. (2021), arXiv:2010.03844",
        passes=TOWARDS,
    ),
    "transfer": _fixed(
        "transfer:transfer",
        norms=("linf", "l2", "l1"),
        wraps=("pgd", "fgsm", "bim", "mim"),
        source="Papernot et al. (2017), arXiv:1602.02697",
        passes=(),
    ),
    "bpda": _fixed(
        "bpda:bpda",
        norms=("linf", "l2", "l1"),
        wraps=("pgd", "apgd"),
        source="Athalye, Carlini, Wagner (2018), arXiv:1802.00420",
        passes=(),
    ),
    "brendel-bethge": _minimal(
        "brendel_bethge:brendel_bethge",
        norms=("linf", "l2", "l1", "l0"),
        coupled=True,
        source="Brendel et al. (2019), arXiv:1907.01003, Foolbox",
        passes=(Passes(14), Passes(1, of=("starts",)), _grads("steps")),
    ),
    "autoattack": _fixed(
        "autoattack:autoattack",
        norms=("linf", "l2", "l1"),
        source="Croce, Hein (2020), arXiv:2003.01690, pyautoattack",
        coupled=True,
        passes=(
            Passes(2, of=("parts",)),
            Passes(1, 1, of=("apgd_runs",)),
            _grads("apgd_runs", "steps"),
            Passes(9, of=("fab_runs",)),
            Passes(2, 1, of=("fab_runs", "steps")),
            Passes(1, of=("square_runs", "queries")),
        ),
    ),
    "external": _foreign("external:external", "minimal", "distance"),
    "external-fixed": _foreign("external:external_fixed", "fixed", "ball"),
}


def twice_the_steps(
    spec: AttackSpec, given: Mapping[str, Any], usual: Callable[[AttackSpec], int | None]
) -> dict[str, Any] | None:
    """Return options with twice the steps, of an attack itself or of the one that it wraps; None without steps.

    Args:
        spec: of the attack.
        given: its options.
        usual: how many steps an attack takes if it is not told; None for one that takes none.
    """
    steps = given.get("steps", usual(spec))
    if steps is not None:
        return {**given, "steps": 2 * steps}
    if not spec.wraps:
        return None
    inner = twice_the_steps(ATTACKS[given.get("attack", spec.wraps[0])], given.get("options") or {}, usual)
    return None if inner is None else {**given, "options": inner}


def attack_spec(name: str) -> AttackSpec:
    """Return the row of the table, or what the signature of the user's own attack, "module:function", says of it.

    One that takes `eps` has a fixed budget, any other looks for the nearest point. Its norms are those of the
    annotation `norm: Literal["linf", "l2"]`; all of them if that is none.

    Raises:
        KeyError: for a name that is neither.
        SourceError: if there is no such function, or it does not take what an attack is given.
    """
    if not is_own(name):
        return ATTACKS[name]
    taken = options(name)
    kind: Literal["fixed", "minimal"] = "fixed" if "eps" in taken else "minimal"
    wanted = {"fixed": ("norm", "eps", "rng", "stop"), "minimal": ("norm", "rng")}[kind]
    if missing := [one for one in wanted if one not in taken]:
        raise SourceError(f"an attack takes keyword-only {', '.join(wanted)}; missing: {', '.join(missing)}")
    rule: Literal["ball", "distance"] = "ball" if kind == "fixed" else "distance"
    return AttackSpec(name, kind, _norms(name, taken["norm"].annotation), "the user's own", budget_rule=rule)


def _norms(name: str, annotation: str) -> tuple[str, ...]:
    """Read the norms of `Literal["linf", "l2"]`; any other annotation says nothing of them."""
    match ast.parse(annotation, mode="eval").body if annotation else None:
        case ast.Subscript(ast.Name("Literal") | ast.Attribute(attr="Literal"), ast.Tuple(listed)):
            words = listed
        case ast.Subscript(ast.Name("Literal") | ast.Attribute(attr="Literal"), one):
            words = [one]
        case _:
            return NORMS
    found = [word.value if isinstance(word, ast.Constant) else ast.unparse(word) for word in words]
    if unknown := [norm for norm in found if norm not in NORMS]:
        raise SourceError(f"{name} has unknown norms {unknown}; allowed: {', '.join(NORMS)}")
    return tuple(map(str, found))
