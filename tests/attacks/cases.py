"""The test cases of every attack, one row each; the tests of this folder, of evaluation/ and mutants.py read them.

A new attack adds a row: CASES["name"] = Case(...), where each part is what `Case` says, or a sentence on where else the
attack is tested.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Options = Mapping[str, Any]

# What multiplying all logits by 2^-10 or 2^10 does. BITS: nothing, to the last bit. POINTS: hardly anything, since a
# small constant stands beside the logits (1e-12 in DLR) or their gradient (1e-8 in Adam). NORMS: other iterates, but
# norms within 2 % given the steps to converge, and for the search for the weight to cover the range (test_scale.py).
# COUNTS: other iterates, but hardly other numbers of pixels (test_sigma_zero.py). MEANT: another problem, since the
# attack asks for a confidence.
BITS, POINTS, NORMS, COUNTS, MEANT = "bits", "points", "norms", "counts", "meant"
ANY, ANY_IN_BOX, REACHED = "any", "any whatever the walls", "reached"

# Traits. FREE: where no box holds it, its points leave [0, 1]. STILL: starts at x, and stays where nothing pulls.
# SEVERAL: takes several backward passes at one point, a Jacobian. INSIDE: climbs what is in front of the logits.
# ROUGH: a larger radius may break a tenth less. BLIND: a larger radius need not break more at all.
FREE, STILL, SEVERAL, INSIDE, ROUGH, BLIND = "free", "still", "several", "inside", "rough", "blind"


class Look(nn.Module):
    """A substitute for images of any shape: it sees the first eight values."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 8 * classes).cos().view(8, classes))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :8] @ self.weight.to(x.dtype)


class Optimum(NamedTuple):
    """One comparison with the exact optimum of a linear model (test_oracle.py).

    Attributes:
        norm: in which.
        options: with which.
        bound: multiple of the optimum: a fixed attack succeeds within it, a minimal one gets as near.
        classes: how many; with two a loss has one direction.
        nearest: what a minimal attack is held to: the optimum over all classes (ANY: where the box is not in the way),
            or that of the class it reached.
    """

    norm: str
    options: Options
    bound: float
    classes: int = 2
    nearest: str = REACHED


class Mutant(NamedTuple):
    """What text of which module of touchstone/attacks is replaced by what, and the tests that must notice."""

    module: str
    old: str
    new: str
    tests: tuple[str, ...]


class Case(NamedTuple):
    """The test cases of one attack; a part may be a sentence on where the attack is tested instead.

    Attributes:
        quick: options with which it takes part in the contract (test_contract.py); it should find every sample.
        edges: options with which it breaks linear models, also flat, NaN and badly scaled ones (test_edges.py).
        scaled: what the scale of the logits does to it, and options for that: beside those of `edges`, or for NORMS
            those of test_scale.py.
        trained: options on a small net of digits (evaluation/test_promises.py).
        optima: comparisons with exact optima, at least one for each norm (test_oracle.py).
        mutants: at least one (mutants.py).
        weak: whether it makes no claim to break what can be broken.
        box: the message with which it refuses a box other than [0, 1]; none if it obeys each.
        traits: of the above, where it differs from most.
    """

    quick: Options
    edges: Options | str
    scaled: tuple[str, Options] | str
    trained: Options | str
    optima: tuple[Optimum, ...] | str
    mutants: tuple[Mutant, ...]
    weak: bool = False
    box: str = ""
    traits: tuple[str, ...] = ()


MARGIN = {"loss": "margin"}
EDGY = {"steps": 30, "step_size": 0.1, "relative": True}
STEPS = {"steps": 15, "step_size": 0.1, "relative": True}
SMALL = {"steps": 20, "step_size": 0.2, "relative": True}
LONGER = {**SMALL, "steps": 50}
SPARSE = {"steps": 60, "step_size": 0.1, "relative": True}
PRINTED = {"variant": "printed", "finetune": False, "ratio": 1.0, "lr": 0.01, "start": 0.1}
CENTRE = {
    "quick": {"steps": 3, "step_size": 0.3},
    "edges": {"steps": 20, "step_size": 0.1},
    "scaled": (BITS, {}),
    "trained": {"steps": 8},
    "weak": True,
}
SATURATING = "needs a saturating activation: attacks/test_bpda.py"
COMPILED = "its solver is slow where it is not compiled: attacks/test_brendel_bethge.py"
FOREIGN, HERE = "is the library's: attacks/test_external.py", "test_external.py"
ORACLE, EDGES, MINIMAL, CONTRACT = "test_oracle.py", "test_edges.py", "test_minimal.py", "test_contract.py"

# On the optima. DeepFool goes to the nearest class, so it is held to the best of all; the 1.05 is its overshoot of 0.02
# and the 1e-4 it adds to each step. It does not see the box when it picks the class, so with walls it is held to the
# class it reaches. The losses of C&W and DDN pick a class by its logit, not by its distance, so they are held to the
# optimum of the class they reach. DDN's cross-entropy mixes the gradients of classes whose logits are close, as they
# are at a boundary; with two classes nothing can mix. FAB picks classes as DeepFool does; its targeted variant tries
# them all, so it has no such excuse. PDGD and PDPGD, whose loss is the margin, are held to the class they reach as
# well; as coded to 1.1, since the smooth loss pulls beyond the boundary until the price has settled, which the 500
# steps of the thesis do not quite see. The number of pixels is an integer, and its optimum here is often 1. The
# smallest l2 or l1 window of Square has three pixels a side, most of these images. A step of APGD in l1 changes two
# thirds as many values as the best point so far, so it comes near the sparse optimum but not onto it.
CASES: dict[str, Case] = {
    "clean": Case(
        quick={},
        edges={},
        scaled=(BITS, {}),
        trained="does not move",
        optima="does not move",
        mutants=(Mutant("clean.py", "return task.x.clone()", "return task.x", (CONTRACT, "-k", "clean")),),
        weak=True,
        traits=(
            FREE,
            STILL,
        ),
    ),
    "fgsm": Case(
        quick={},
        edges={},
        scaled=(BITS, MARGIN),
        trained={},
        optima=(Optimum("linf", {}, 1.05), Optimum("l2", {}, 1.05), Optimum("l1", {}, 1.001)),
        mutants=(Mutant("pgd.py", "step_size=task.eps, loss", "step_size=-task.eps, loss", (ORACLE, "-k", "fgsm")),),
        traits=(
            FREE,
            STILL,
            ROUGH,
        ),
    ),
    "bim": Case(
        quick={"steps": 5},
        edges=EDGY,
        scaled=(BITS, MARGIN),
        trained=STEPS,
        optima=(Optimum("linf", SMALL, 1.05), Optimum("l2", SMALL, 1.05), Optimum("l1", SPARSE, 1.05)),
        mutants=(Mutant("climb.py", "= confine(moved, x[tile]", "= confine(moved, z[tile]", (CONTRACT, "-k", "bim")),),
        traits=(
            FREE,
            STILL,
        ),
    ),
    "pgd": Case(
        quick={"steps": 5, "step_size": 0.1, "restarts": 2},
        edges=EDGY,
        scaled=(BITS, MARGIN),
        trained=STEPS,
        optima=(
            Optimum("linf", SMALL, 1.05),
            Optimum("l2", LONGER, 1.05),
            Optimum("l1", SPARSE, 1.05),
            Optimum("l2", {**LONGER, **MARGIN}, 1.05),
        ),
        mutants=(
            Mutant("pgd.py", "restart, size = number //", "restart, size = 0 * number //", ("test_l1.py",)),
            Mutant("climb.py", "left = left[~solved]\n", "left = left[solved]\n", ("test_pgd.py", "test_l1.py")),
            Mutant("climb.py", "solved[rows[fooled]] = True", "solved[fooled] = True", ("test_pgd.py",)),
        ),
        traits=(FREE,),
    ),
    "apgd": Case(
        quick={"steps": 10, "restarts": 2},
        edges={"steps": 40},
        scaled=(BITS, MARGIN),
        trained={"steps": 15},
        optima=(
            Optimum("linf", {"steps": 20}, 1.05),
            Optimum("l2", {"steps": 50}, 1.05),
            Optimum("l1", {"steps": 100}, 1.1),
            Optimum("l1", {"steps": 100, **MARGIN}, 1.1),
        ),
        mutants=(
            Mutant("apgd.py", "now.step[back] /= 2", "now.step[back] /= 1", ("test_apgd.py",)),
            Mutant("apgd.py", "better = value > now.top", "better = value < now.top", ("test_apgd.py",)),
            Mutant("apgd.py", "height[part.rows[higher]] =", "height[rows[higher]] =", ("test_apgd.py",)),
        ),
    ),
    "apgd-t": Case(
        quick={"steps": 10, "targets": 2},
        edges={"steps": 40, "targets": 2},
        scaled=(POINTS, {}),
        trained={"steps": 15, "targets": 3},
        optima=(
            Optimum("linf", {"steps": 20}, 1.05),
            Optimum("l2", {"steps": 50}, 1.05),
            Optimum("l1", {"steps": 100}, 1.1),
        ),
        mutants=(
            Mutant("apgd.py", "scatter(1, task.y[:, None], -torch.inf)", "clone()", ("test_apgd.py", EDGES, "-x")),
        ),
    ),
    "mim": Case(
        quick={"steps": 5, "step_size": 0.1},
        edges=EDGY,
        scaled=(BITS, MARGIN),
        trained=STEPS,
        optima=(Optimum("linf", SMALL, 1.05), Optimum("l2", LONGER, 1.05), Optimum("l1", SPARSE, 1.05)),
        mutants=(Mutant("climb.py", "mul_(decay).add_(unit(", "mul_(decay).sub_(unit(", (ORACLE, "-k", "mim")),),
        traits=(
            FREE,
            STILL,
        ),
    ),
    "cw": Case(
        quick={"steps": 60, "binary_steps": 4, "lr": 0.1, "init_const": 0.1},
        edges={"steps": 200, "binary_steps": 4, "init_const": 0.1, "lr": 0.05},
        scaled=(NORMS, {"steps": 150, "lr": 0.05, "binary_steps": 11}),
        trained={"steps": 40, "binary_steps": 3, "init_const": 1.0, "lr": 0.1},
        optima=(
            Optimum("l2", {"steps": 700, "init_const": 0.1, "binary_steps": 5, "abort_early": False}, 1.05, classes=4),
        ),
        mutants=(
            Mutant("bisection.py", "(lower + upper) / 2, self", "(lower + upper) / 4, self", (MINIMAL, "-k", "cw")),
            Mutant("cw.py", ".mul_(hinge).add_(", ".mul_(-hinge).add_(", (MINIMAL, "-k", "cw")),
            Mutant("cw.py", "(True, True): odds,", "(True, True): odds_of_another,", (MINIMAL, "-k", "cw")),
            Mutant("adam.py", "value=-lr / (1 -", "value=-lr / (2 -", ("test_adam.py",)),
        ),
    ),
    "deepfool": Case(
        quick={"steps": 10},
        edges={},
        scaled=(BITS, {}),
        trained={"steps": 15},
        optima=tuple(Optimum(norm, {}, 1.05, 4, ANY) for norm in ("linf", "l2")),
        mutants=(
            Mutant("boundary.py", "away.argmin(dim=1)", "away.argmax(dim=1)", (MINIMAL,)),
            Mutant("boundary.py", "reach.clamp_max(longest or torch.inf)", "reach", (MINIMAL, "-k", "deepfool")),
            Mutant("deepfool.py", "best.x_adv[rows] = z", "best.x_adv[rows] = x", (MINIMAL, "-k", "deepfool")),
        ),
        traits=(SEVERAL,),
    ),
    "ddn": Case(
        quick={"steps": 20},
        edges={"steps": 60},
        scaled=(BITS, MARGIN),
        trained={"steps": 30},
        optima=(
            Optimum("l2", {"steps": 200}, 1.01),
            Optimum("l2", {"steps": 200, **MARGIN}, 1.01, classes=4),
            Optimum("l2", {"steps": 200, "loss": "ce"}, 1.5, classes=4),
        ),
        mutants=(
            Mutant("ddn.py", "eps[tile] * (1 - gamma), eps", "eps[tile] * (1 + gamma), eps", (MINIMAL, "-k", "ddn")),
        ),
    ),
    "fab": Case(
        quick={"steps": 10, "restarts": 2},
        edges={"steps": 20},
        scaled=(BITS, {}),
        trained={"steps": 5},
        optima=tuple(Optimum(norm, {"steps": 30}, 1.05, 4, ANY) for norm in ("linf", "l2", "l1")),
        mutants=(
            Mutant("fab.py", "beta * offset[fooled]", "offset[fooled]", ("test_fab.py", ORACLE, "-k", "fab")),
            Mutant("fab.py", "fooled = value > aim / 2", "fooled = value > 0 * aim", ("test_fab.py",)),
            Mutant("fab.py", "before.clamp_max(start_radius)", "before.clamp_max(1)", ("test_fab.py", "-k", "start")),
            Mutant("fab.py", "if last_search and len(nearer)", "if len(nearer)", ("test_fab.py",)),
        ),
        traits=(SEVERAL,),
    ),
    "fab-t": Case(
        quick={"steps": 10, "targets": 2},
        edges={"steps": 20, "targets": 3},
        scaled=(BITS, {}),
        trained={"steps": 10, "targets": 3},
        optima=tuple(Optimum(norm, {"steps": 30}, 1.05, 4, ANY_IN_BOX) for norm in ("linf", "l2", "l1")),
        mutants=(Mutant("fab.py", "else likely[:, place]", "else likely[:, 0]", (ORACLE, "-k", "fab_t")),),
    ),
    "sparsefool": Case(
        quick={"steps": 20, "boundary_steps": 10},
        edges={},
        scaled=(BITS, {}),
        trained={"steps": 8, "boundary_steps": 8},
        optima="exact with reach 1, in test_sparsefool.py",
        mutants=(Mutant("sparsefool.py", 'task.bounds, "l1")', 'task.bounds, "linf")', ("test_sparsefool.py",)),),
        traits=(SEVERAL,),
    ),
    "sigma-zero": Case(
        quick={"steps": 20},
        edges={"steps": 60},
        scaled=(COUNTS, {}),
        trained={"steps": 30},
        optima=(Optimum("l0", {"steps": 200}, 2.0),),
        mutants=(
            Mutant("sigma_zero.py", "gap > 0, pace, -pace", "gap > 0, -pace, pace", ("test_sigma_zero.py",)),
            Mutant(
                "sigma_zero.py",
                "sum(dim=1, keepdim=True) if",
                "sum(dim=1, keepdim=True) if not",
                ("test_sigma_zero.py",),
            ),
            Mutant("sigma_zero.py", "value=2 * sigma / count", "value=-2 * sigma / count", ("test_sigma_zero.py",)),
        ),
    ),
    "jsma": Case(
        quick={"theta": 0.4},
        edges={},
        scaled=(BITS, {}),
        trained={"targets": 2},
        optima="does not minimise; its pairs are held to brute force in test_jsma.py",
        mutants=(Mutant("jsma.py", "in (towards, -away))", "in (towards, away))", ("test_jsma.py",)),),
    ),
    "pdgd": Case(
        quick={"steps": 20, "restarts": 2, "start": 0.2, "ratio": 1e-3},
        edges={"steps": 60, "start": 0.2, "ratio": 0.01},
        scaled=(BITS, {"relative": True}),
        trained={"steps": 150, "finetune": False, "ratio": 1.0},
        optima=(
            Optimum("l2", {"steps": 500}, 1.1, classes=4),
            Optimum("l2", {"steps": 300, **PRINTED, "ratio": 0.01, "lr": 0.1}, 1.05, classes=4),
        ),
        mutants=(
            Mutant(
                "primal_dual.py",
                "dual_rate * gap.sign()",
                "dual_rate * -gap.sign()",
                ("test_primal_dual.py", "-k", "iterates"),
            ),
            Mutant(
                "primal_dual.py", "logits / labels[:, 1:]", "logits * labels[:, 1:]", (EDGES, "-k", "scaling and pdgd")
            ),
            Mutant(
                "primal_dual.py", "best_price[rows], factor", "best_price[rows] / 2, factor", ("test_primal_dual.py",)
            ),
        ),
    ),
    "pdpgd": Case(
        quick={"steps": 20, "restarts": 2, "start": 0.2, "ratio": 1e-3},
        edges={"steps": 60, "start": 0.2, "ratio": 0.01},
        scaled=(BITS, {"relative": True}),
        trained={"steps": 150, "finetune": False, "ratio": 1.0},
        optima=(
            Optimum("linf", {"steps": 300}, 1.05),
            Optimum("linf", {"steps": 300, **PRINTED}, 1.05),
            Optimum("l1", {"steps": 500}, 1.1),
            Optimum("l1", {"steps": 300, **PRINTED}, 1.05),
            Optimum("l0", {"steps": 200, "restarts": 2}, 2.0),
        ),
        mutants=(
            Mutant(
                "primal_dual.py",
                "weight = rate / steepest * price",
                "weight = rate * price",
                ("test_primal_dual.py", "-k", "proximal_iterates"),
            ),
        ),
    ),
    "ead": Case(
        quick={"steps": 30, "binary_steps": 4, "lr": 0.1, "init_const": 0.1, "beta": 1e-2},
        edges={"steps": 100, "binary_steps": 4, "init_const": 0.1, "lr": 0.05},
        scaled=(NORMS, {"steps": 150, "lr": 0.02, "binary_steps": 11, "beta": 0.01}),
        trained={"steps": 40, "binary_steps": 3, "init_const": 1.0, "lr": 0.05, "beta": 0.01},
        optima="elastic-net optimum in test_ead.py",
        mutants=(Mutant("ead.py", "1 + momentum)", "1 - momentum)", ("test_ead.py",)),),
    ),
    "high-confidence": Case(
        quick={"steps": 60},
        edges={"steps": 100},
        scaled=(MEANT, {}),
        trained="is judged by its goal: test_loop.py",
        optima="goes beyond the boundary; closed form in test_high_confidence.py",
        mutants=(
            Mutant(
                "high_confidence.py",
                "return hit & (likelihood",
                "return hit | (likelihood",
                ("test_high_confidence.py",),
            ),
        ),
        traits=(SEVERAL,),
    ),
    "square": Case(
        quick={"queries": 40},
        edges={"queries": 200},
        scaled=(BITS, {}),
        trained={"queries": 60},
        optima=(
            Optimum("linf", {"queries": 600}, 1.05),
            Optimum("l2", {"queries": 400}, 2.2),
            Optimum("l1", {"queries": 400}, 3.5),
        ),
        mutants=(
            Mutant("square.py", "better = value > best[tile]", "better = value < best[tile]", ("test_square.py",)),
            Mutant("square.py", 'channels if norm == "l1" else 1', "1", ("test_square.py", "-k", "l1")),
            Mutant("square.py", "draws = task.rng.at(rows)", "draws = draws.at(0 * rows)", (CONTRACT, "-k", "square")),
        ),
    ),
    "sparse-rs": Case(
        quick={"queries": 60},
        edges={"queries": 200},
        scaled=(BITS, {}),
        trained={"queries": 60},
        optima=(Optimum("l0", {"queries": 400}, 3.0),),
        mutants=(
            Mutant(
                "sparse_rs.py", "better = value > best[tile]", "better = value < best[tile]", ("test_sparse_rs.py",)
            ),
            Mutant("sparse_rs.py", "chosen[tile] & ~gone | new", "chosen[tile] | new", ("test_sparse_rs.py",)),
            Mutant("sparse_rs.py", "torch.minimum(swaps, free)", "swaps", ("test_sparse_rs.py",)),
        ),
    ),
    "onepixel": Case(
        quick={"steps": 4, "population": 20},
        edges={"steps": 20, "population": 40},
        scaled=(BITS, MARGIN),
        trained={"steps": 10, "population": 20},
        optima="draws at random; test_onepixel.py",
        mutants=(Mutant("onepixel.py", "population) > fitness", "population) < fitness", ("test_onepixel.py",)),),
    ),
    "noise": Case(
        quick={"restarts": 3},
        edges={"restarts": 3},
        scaled=(BITS, {}),
        trained={},
        optima="does not search",
        mutants=(
            Mutant("noise.py", "stream=STREAM), torch", "stream=0), torch", ("test_noise_attack.py",)),
            Mutant("noise.py", "restart=restart, stream", "restart=0, stream", ("test_noise_attack.py",)),
        ),
        weak=True,
        traits=(
            FREE,
            ROUGH,
            BLIND,
        ),
    ),
    "spsa": Case(
        quick={"steps": 4, "directions": 8, "lr": 0.05},
        edges={"steps": 30, "lr": 0.05, "directions": 64},
        scaled=(POINTS, MARGIN),
        trained={"steps": 5, "directions": 16, "lr": 0.05},
        optima=(Optimum("linf", {"steps": 60, "directions": 64, "lr": 0.05}, 1.05),),
        mutants=(Mutant("spsa.py", "change = ahead - behind", "change = behind - ahead", (ORACLE, "-k", "spsa")),),
        traits=(FREE,),
    ),
    "daa": Case(
        quick={"steps": 5, "step_size": 0.1, "restarts": 2},
        edges={**EDGY, **MARGIN},  # where cross-entropy is flat only the pull of the batch is left
        scaled=(BITS, {**MARGIN, "weight": 0.0}),
        trained=STEPS,
        optima=(Optimum("linf", {**SMALL, "weight": 0.1}, 1.05),),
        mutants=(
            Mutant(
                "daa.py",
                "kernel @ grad.flatten(1) - offsets",
                "kernel @ grad.flatten(1) + offsets",
                ("test_daa.py",),
            ),
        ),
        traits=(FREE,),
    ),
    "mta": Case(
        quick={"steps": 3, "step_size": 0.3},
        edges={"steps": 20, "step_size": 0.1},
        scaled=(BITS, {}),
        trained={"steps": 8},
        optima=(
            Optimum("linf", {"steps": 20, "step_size": 0.2}, 1.05),
            Optimum("l2", {"steps": 50, "step_size": 0.2}, 1.05),
        ),
        mutants=(Mutant("mta.py", "number + (y <= number).long()", "number + (y < number).long()", ("test_mta.py",)),),
        traits=(FREE,),
    ),
    "mta-center": Case(
        **CENTRE,
        optima="goes to the centre of a class, not to its boundary",
        mutants=(Mutant("mta.py", "-away(target)", "away(target)", ("test_mta.py",)),),
        traits=(
            INSIDE,
            BLIND,
        ),
    ),
    "mta-coded": Case(
        **CENTRE,
        optima="goes the wrong way",
        mutants=(
            Mutant("mta.py", "_, __, target: away(target)", "_, __, target: -away(target)", ("test_mta.py",)),
            Mutant("mta.py", 'norm, "first", steps - 1', "norm, stop, steps", ("test_mta.py",)),
        ),
        traits=(
            INSIDE,
            ROUGH,
            BLIND,
        ),
    ),
    "transfer": Case(
        quick={"substitute": Look(4), "options": {"steps": 3, "step_size": 0.1}},
        edges={"options": EDGY},  # made on the model itself, so it has to succeed as pgd does
        scaled=(BITS, {"options": {**EDGY, **MARGIN}}),
        trained={"options": STEPS},
        optima="is what it is made of: test_transfer.py",
        mutants=(
            Mutant("transfer.py", "(proxy, task.x, task.y", "(task.query, task.x, task.y", ("test_transfer.py",)),
        ),
        traits=(FREE,),
    ),
    "bpda": Case(
        quick={"steps": 5, "restarts": 2, "options": {"step_size": 0.1}},
        edges=SATURATING,
        scaled=SATURATING,
        trained=SATURATING,
        optima=SATURATING,
        mutants=(Mutant("bpda.py", "inputs[0] / temperature", "inputs[0]", ("test_bpda.py",)),),
    ),
    "brendel-bethge": Case(
        quick={"steps": 3, "lr": 0.01, "starts": 20},
        edges=COMPILED,
        scaled=COMPILED,
        trained=COMPILED,
        optima=COMPILED,
        mutants=(Mutant("brendel_bethge.py", "radius / self.rows", "radius", ("test_brendel_bethge.py",)),),
        box="needs one finite box for all values",
    ),
    "autoattack": Case(
        quick={"version": "custom", "attacks": ("apgd-ce", "fab-t"), "steps": 5},
        edges={"version": "custom", "attacks": ("apgd-ce", "fab-t"), "steps": 12},
        scaled=(POINTS, {"attacks": ("apgd-dlr", "fab-t")}),
        trained={"version": "custom", "attacks": ("apgd-ce", "fab-t"), "steps": 5},
        optima="is pyautoattack's; test_autoattack.py",
        mutants=(Mutant("autoattack.py", "left = left[~fooled]", "left = left[fooled]", ("test_autoattack.py",)),),
        box=r"clips to \[0, 1\], so that it works in pixels with bounds only",
    ),
    "external": Case(
        quick={"target": "toy_attacks:climb", "convention": "call"},
        edges=FOREIGN,
        scaled=FOREIGN,
        trained=FOREIGN,
        optima=FOREIGN,
        mutants=(
            Mutant(
                "external.py", "distance(points[rows] - task.x[rows], norm), fooled", "fooled.float(), fooled", (HERE,)
            ),
        ),
        weak=True,
        box=r"clips to \[0, 1\], so that it works in pixels with bounds only",
    ),
    "external-fixed": Case(
        quick={"target": "toy_attacks:climb", "convention": "call"},
        edges=FOREIGN,
        scaled=FOREIGN,
        trained=FOREIGN,
        optima=FOREIGN,
        mutants=(
            Mutant(
                "external.py", "return confine(x_adv, task.x, task.eps, norm, task.bounds)", "return x_adv", (HERE,)
            ),
        ),
        weak=True,
        box=r"clips to \[0, 1\], so that it works in pixels with bounds only",
    ),
}
