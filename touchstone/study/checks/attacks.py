"""Attacks, threats and suites: names, options, norms, and what an attack starts from."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any

from touchstone.attacks import ATTACKS, WITHOUT_KEYWORD, attack_spec
from touchstone.cell import distinct_radii
from touchstone.conditions import Facts, Walls
from touchstone.records import CLEAN
from touchstone.registry import NORMS, OWN, AttackSpec, DatasetSpec, SourceError, keywords, options
from touchstone.study.checks.checker import Checker, each, placed
from touchstone.study.config import Key
from touchstone.study.schema import LIMITS, AttackDef, DefenseDef, MemberDef, Study, ThreatDef
from touchstone.study.suites import PLAIN, TRAINING, Suites, worst_slug

# arguments of attacks that threat, protocol and jobs fill in
CONTRACT = frozenset({"norm", "eps", "rng", "stop", "substitute"})
NOT_CHOSEN = frozenset({*LIMITS, "target_confidence"})
MOST_CHOICES = 1000  # of a grid: every one is an attack on every sample


@dataclass(frozen=True)
class Attacks:
    """Checks what attacks a model, whether a study or a suite says so."""

    check: Checker
    study: Study

    def run(self) -> None:
        """Check the threats and attacks of the study."""
        for name, threat in self.study.threats.items():
            self.check.per_dataset(("threats", name, "epsilons"), threat.epsilons, self.study)
            self.check.per_dataset(("threats", name, "space"), threat.space, self.study)
            if threat.bounds == "data" and "whitened" in each(threat.space):
                text = "must be none in whitened space, where a box of pixels is no box"
                self.check.add(("threats", name, "bounds"), text)
            for dataset, grid in ((name, radii) for name in threat.epsilons for radii in threat.on(name)):
                if list(distinct_radii(grid)) != grid:
                    self.check.add(("threats", name, "epsilons", dataset), f"must rise without repeats, got {grid}")
                known = self.study.known_datasets.get(dataset)
                if known and threat.bounds == "data" and grid[-1] > (most := widest(threat, dataset, known)):
                    space = space_on(dataset, threat.space)
                    text = f"no {threat.norm} distance in {space} space exceeds {most:g}, got {grid[-1]:g}"
                    self.check.add(("threats", name, "epsilons", dataset), text)
        self._worst()
        if self.study.plain is not None:
            self._start(("plain",), self.study.plain)
        for name, attack in self.study.attacks.items():
            self._attack(("attacks", name), name, attack)

    def _worst(self) -> None:
        """A worst case covers threats of its norm."""
        for norm, covered in self.study.worst.items():
            for number, name in enumerate(covered):
                key = ("worst", norm, number)
                if self.check.known(key, name, self.study.threats, "threat"):
                    measured = self.study.threats[name].norm
                    if measured != norm:
                        self.check.add(key, f"{name!r} is measured in {measured}, not in {norm}")
            known = [self.study.threats[name] for name in covered if name in self.study.threats]
            for dataset in self.study.recipes if known else ():
                if all(space_on(dataset, threat.space) == "whitened" for threat in known):
                    text = f"has no radius in pixels on {dataset!r}: all of these threats are in whitened space there"
                    self.check.add(("worst", norm), text)

    def _attack(self, key: Key, name: str, attack: AttackDef) -> None:
        if name in map(worst_slug, NORMS):
            self.check.add(key, f"{name!r} is what the worst case is called; give the attack another name")
        if name == TRAINING:
            self.check.add(key, f"{name!r} is what flags of a training are raised for; give the attack another name")
        spec = self.check.spec(key, attack.fn, ATTACKS, attack_spec, "attack")
        if spec is None:
            return
        if attack.budget_rule and spec.kind != "minimal":
            self.check.add((*key, "budget_rule"), "is for a minimal-norm attack")
        self._grid(key, attack, spec)
        self._grid_from((*key, "grid_from"), name, attack)
        if spec.kind == "none":
            if attack.threat or attack.options or attack.substitute:
                self.check.add(key, f"{attack.fn!r} takes no threat and no options")
            return
        if attack.threat is None:
            self.check.add(key, "a threat is required")
        elif self.check.known((*key, "threat"), attack.threat, self.study.threats, "threat"):
            self._norm((*key, "threat"), attack.fn, self.study.threats[attack.threat].norm)
            self._box((*key, "threat"), attack.fn, spec, self.study.threats[attack.threat])
        source = self.study.attacks.get(attack.grid_from or "")
        grid = attack.grid or (source.grid if source else {})
        self._options(key, attack.fn, attack.options, self.study.threats.get(attack.threat or ""), grid=grid)
        self._substitute(key, attack)

    def _options(
        self,
        key: Key,
        fn: str,
        given: Mapping[str, Any],
        threat: ThreatDef | None,
        taken: Collection[str] = (),
        *,
        grid: Mapping[str, Any] = MappingProxyType({}),
        trained: bool = True,
    ) -> None:
        """Check the options of one attack, and those of the attack that it wraps but those `taken` by itself.

        It works under a threat, a member of a suite (None) in pixels. Some are chosen on a grid, its own or another's.
        Unless what it attacks was `trained` here it has no loss of its own.
        """
        spec, before = attack_spec(fn), len(self.check.problems)
        nested = bool(spec.wraps) or spec.foreign
        inner = {} if not nested or given.get("options") is None else given["options"]
        own = {option: value for option, value in given.items() if not (nested and option == "options")}
        for option, value in own.items():
            self.check.per_dataset((*key, option), value, self.study)
        self.check.options(key, spec.fn, own, CONTRACT.union(taken), elsewhere=grid, by_dataset=True)
        if not trained and OWN in each(own.get("loss")):
            self.check.add((*key, "loss"), f"a wrapped attack may run on a substitute, which has no loss {OWN!r}")
        if not isinstance(inner, Mapping):
            self.check.add((*key, "options"), f"must be a mapping of options to values, got {inner!r}")
            return
        if spec.foreign and isinstance(own.get("target"), str):
            self._foreign(key, spec, own, inner)
        wrapped = given.get("attack", spec.wraps[0]) if spec.wraps else None
        if isinstance(wrapped, str) and self.check.known((*key, "attack"), wrapped, spec.wraps, "attack"):
            self._options((*key, "options"), wrapped, inner, threat, taken=options(spec.fn), trained=False)
        if len(self.check.problems) == before and combinations(grid) <= MOST_CHOICES:
            for chosen in self._choices(grid):
                self.check.together(key, spec.fn, {**own, **chosen}, self.study, lambda name: self._facts(name, threat))

    def _choices(self, grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield every combination of the values of a grid, on any dataset and defense."""
        values = [[one for several in each(choices) for one in several] for choices in grid.values()]
        for chosen in product(*values):
            yield dict(zip(grid, chosen, strict=True))

    def _facts(self, dataset: str, threat: ThreatDef | None) -> Facts:
        """Return what an attack meets on a dataset under a threat, or as a member of a suite."""
        spec = self.study.known_datasets.get(dataset)
        classes = spec.classes if spec else None
        if threat is None:
            return Facts(classes, "unit")
        space, one = space_on(dataset, threat.space), spec is not None and spec.shape[0] == 1
        walls: dict[str, Walls] = {"pixel": "unit", "normalized": "one" if one else "each"}
        return Facts(classes, "none" if threat.bounds == "none" else walls.get(space, "none"), threat.norm)

    def _foreign(self, key: Key, spec: AttackSpec, how: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """A foreign attack is there, and takes the options and radius that it is given; what they may be it knows."""
        try:
            allowed = keywords(how["target"])
        except SourceError as error:
            self.check.add((*key, "target"), f"{how['target']!r} cannot be used: {error}")
            return
        told = spec.kind == "fixed" and how.get("convention") not in WITHOUT_KEYWORD
        radius = str(how.get("radius", "eps"))
        if told and allowed is not None:
            self.check.known((*key, "radius"), radius, allowed, "argument for the radius")
        if told and radius in given:
            self.check.add((*key, "options", radius), f"{radius!r} takes the radius, which the threat says")
        for option, value in given.items():
            if allowed is None or self.check.known((*key, "options", option), option, allowed, "option"):
                self.check.per_dataset((*key, "options", option), value, self.study)

    def _grid(self, key: Key, attack: AttackDef, spec: AttackSpec) -> None:
        """Check the options whose values are chosen for all samples together."""
        if attack.grid and spec.kind == "none":
            self.check.add((*key, "grid"), f"{attack.fn!r} has nothing to choose")
            return
        allowed = {name: option for name, option in options(spec.fn).items() if name not in CONTRACT}
        for option, values in attack.grid.items():
            where: Key = (*key, "grid", option)
            self.check.per_dataset(where, values, self.study)
            if option in attack.options:
                self.check.add(where, f"{option!r} is set beside the grid already")
            if option in NOT_CHOSEN:
                text = f"{option!r} is not for a grid to choose: it may be capped, or says what success is"
                self.check.add(where, text)
            for place, choice in placed(where, values) if self.check.known(where, option, allowed, "option") else []:
                if not choice:
                    self.check.add(place, "needs at least one value")
                for number, value in enumerate(choice):
                    self.check.value((*place, number), value, allowed[option])
        if (many := combinations(attack.grid)) > MOST_CHOICES:
            self.check.add((*key, "grid"), f"must have at most {MOST_CHOICES:,} combinations of values, got {many:,}")

    def _grid_from(self, key: Key, name: str, attack: AttackDef) -> None:
        """A choice is taken over from an attack of the same kind under the same threat, which makes one itself."""
        study, source = self.study, attack.grid_from
        if source is None or not self.check.known(key, source, study.attacks, "attack"):
            return
        other = study.attacks[source]
        same = [key for key in ("fn", "threat") if getattr(other, key) != getattr(attack, key)]
        if attack.grid:
            self.check.add(key, f"{name!r} has a grid of its own")
        if not other.grid:
            self.check.add(key, f"{source!r} has no grid to choose from")
        for option in same:
            self.check.add(key, f"{source!r} has another {option}: {getattr(other, option)!r}")
        for option in sorted(other.grid.keys() & attack.options.keys()):
            self.check.add((*key[:-1], option), f"is set here, and chosen on the grid of {source!r} already")

    def _substitute(self, key: Key, definition: MemberDef) -> None:
        """An attack that starts from another model names it, and no other attack does."""
        where, given = (*key, "substitute"), definition.substitute
        if "substitute" not in options(attack_spec(definition.fn).fn):
            if given is not None:
                self.check.add(where, f"{definition.fn!r} takes no substitute")
            return
        if given is None:
            self.check.add(key, f"{definition.fn!r} needs a substitute, <model>/<defense>")
            return
        self._start(where, given)

    def _start(self, where: Key, given: str | Mapping[str, str]) -> None:
        """Every <model>/<defense> that is named is defined."""
        self.check.per_dataset(where, given, self.study)
        for place, value in placed(where, given):
            model, _, defense = value.partition("/")
            self.check.known(place, model, self.study.models, "model")
            self.check.known(place, defense, self.study.defenses, "defense")

    def suites(self, suites: Suites) -> None:
        """Check the attacks of every suite in the norms of the study's worst case."""
        for suite, norms in suites.by_name.items():
            for norm, members in norms.items():
                for slug, member in members.items() if norm in self.study.worst else ():
                    key = (suite, norm, slug)
                    if self._member(key, member):
                        self._norm((*key, "fn"), member.fn, norm)

    def adaptive(self, key: Key, defense: DefenseDef, taken: Collection[str]) -> None:
        """The attacks meant for a defense work in a norm of the worst case, under slugs that no suite has taken."""
        norms = set(self.study.worst)
        for slug, member in defense.adaptive.items():
            if slug in taken:
                self.check.add((*key, slug), "a suite of the worst case has a member of that name")
            if member.substitute is not None:
                self.check.add((*key, slug), "an adaptive attack takes no substitute")
            elif self._member((*key, slug), member) and not norms & set(attack_spec(member.fn).norms):
                text = f"{member.fn!r} works in none of the worst case's norms: {', '.join(sorted(norms))}"
                self.check.add((*key, slug), text)

    def _member(self, key: Key, member: MemberDef) -> bool:
        """Check one attack of a suite; say whether it is known."""
        if key[-1] == CLEAN:
            self.check.add(key, f"{CLEAN!r} is what no attack broke; give the attack another name")
        runnable = {a: s for a, s in ATTACKS.items() if s.kind in ("fixed", "minimal")}
        if self.check.spec(key, member.fn, runnable, attack_spec, "attack") is None:
            return False
        self._options(key, member.fn, member.options, None)
        if member.substitute != PLAIN:
            self._substitute(key, member)
        return True

    def _norm(self, key: Key, name: str, norm: str) -> None:
        allowed = attack_spec(name).norms
        if norm not in allowed:
            self.check.add(key, f"{name!r} does not work in norm {norm!r}; allowed: {', '.join(allowed)}")

    def _box(self, key: Key, name: str, spec: AttackSpec, threat: ThreatDef) -> None:
        """A foreign attack clips to [0, 1] by itself."""
        if spec.foreign and (threat.bounds != "data" or {*each(threat.space)} != {"pixel"}):
            self.check.add(
                key, f"{name!r} works in pixels in [0, 1] alone: give it a threat in pixels that stay valid images"
            )


def combinations(grid: Mapping[str, Any]) -> int:
    """Count the combinations of values that a grid has where it has most."""
    return math.prod(max(map(len, each(values)), default=1) for values in grid.values())


def space_on(dataset: str, written: Any) -> str:
    """Return the space on a dataset; of one that is left out, which is said elsewhere, pixel."""
    return str(written.get(dataset, "pixel") if isinstance(written, Mapping) else written)


def widest(threat: ThreatDef, dataset: str, spec: DatasetSpec) -> float:
    """Return the largest distance between two images of a dataset in the norm and space of a threat."""
    height, width = spec.shape[1:]
    # of one value, for each channel; normalisation stretches it
    spans = [1 / std if space_on(dataset, threat.space) == "normalized" else 1.0 for std in spec.std]
    sizes = {
        "linf": max(spans),
        "l2": math.sqrt(height * width * sum(span**2 for span in spans)),
        "l1": height * width * sum(spans),
        "l0": height * width,  # pixels
    }
    return sizes[threat.norm]
