"""What a run cuts short: the caps of its config against what recipes and attacks ask for."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from touchstone.attacks import ATTACKS
from touchstone.registry import AttackSpec, DefenseSpec, options
from touchstone.study.config import Cap
from touchstone.study.schema import LIMITS

STEPS = ("steps", "attack_steps")  # limits that a longer step makes up for
LENGTHS = ("step_size", "step_sizes")  # options with the length of a step, one or several

Options = dict[str, Any]  # keyword arguments of a function that a study names


@dataclass(frozen=True)
class Limits:
    """The caps that apply to one cell."""

    caps: tuple[Cap, ...]

    @classmethod
    def where(cls, caps: Sequence[Cap], **cell: str | int) -> "Limits":
        """Return the caps whose every key matches the cell; a key that the cell lacks does not match."""
        return cls(tuple(cap for cap in caps if all(cell.get(k) == v for k, v in cap.where if v is not None)))

    def __getitem__(self, name: str) -> int | None:
        """Return the smallest cap of that name, None if there is none."""
        return min((n for cap in self.caps if (n := getattr(cap, name)) is not None), default=None)

    def capped(self, name: str, wanted: int) -> int:
        """Return min(wanted, cap)."""
        return min(wanted, self[name] or wanted)


@dataclass(frozen=True)
class Cut:
    """Options of an attack or a defense after the caps, the values to choose from, and in words what the caps did."""

    options: Options
    grid: dict[str, list[Any]] = field(default_factory=dict)
    caps: tuple[str, ...] = ()


def cut(
    spec: AttackSpec | DefenseSpec,
    given: Mapping[str, Any],
    limits: Limits,
    slug: str,
    *,
    elsewhere: Collection[str] = (),
) -> Cut:
    """Lower the options that a cap limits; a capped number of steps keeps steps x step_size as it was.

    Args:
        spec: of the function that takes the options.
        given: what the study says on the dataset in question. `grid` maps options to lists of values; `options` are
            those of a wrapped attack, as far as the wrapper does not take them itself.
        limits: the caps that apply. What a study leaves to a default is capped too.
        slug: whose options they are, for the words.
        elsewhere: options that are chosen on another attack's grid, with the lengths that this has after its caps.
    """
    wraps = spec.wraps if isinstance(spec, AttackSpec) else ()
    outer = {k: v for k, v in given.items() if k != "grid" and not (wraps and k == "options")}
    inner, grid = dict(given.get("options") or {}) if wraps else {}, dict(given.get("grid") or {})
    homes = [(ATTACKS[outer.get("attack", wraps[0])], inner), (spec, outer)] if wraps else [(spec, outer)]
    known = {name: (home, o.default) for one, home in homes for name, o in options(one.fn).items()}
    caps = []
    for name in LIMITS:
        home, default = known.get(name, (outer, None))
        full, limit = home.get(name, default), limits[name]
        if not isinstance(full, int) or limit is None or limit >= full:
            continue
        home[name], words = limit, [f"{slug}: {name} {limit} of {full}"]
        own = name in STEPS and not any(length in elsewhere for length in LENGTHS)
        for place, length in _lengths((outer, inner, grid), known) if own else []:
            before, place[length] = place[length], _scaled(place[length], full / limit)
            words.append(f"each {_shown(place[length])} instead of {_shown(before)}")
        caps.append(", ".join(words))
    return Cut({**outer, **({"options": inner} if wraps else {})}, grid, tuple(caps))


def _lengths(places: Sequence[Options], known: Mapping[str, tuple[Options, Any]]) -> list[tuple[Options, str]]:
    """Return where the lengths of a step are written; the default, if that is the one that counts, is written down."""
    written = [(place, name) for place in places for name in LENGTHS if place.get(name)]
    home, default = known.get("step_size", ({}, None))
    if written or not default:
        return written
    home["step_size"] = default
    return [(home, "step_size")]


def _scaled(lengths: Any, factor: float) -> Any:
    """Multiply one length or each of several."""
    return [length * factor for length in lengths] if isinstance(lengths, list) else lengths * factor


def _shown(lengths: Any) -> str:
    return ", ".join(f"{length:g}" for length in lengths) if isinstance(lengths, list) else f"{lengths:g}"
