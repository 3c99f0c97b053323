"""What a run was planned by, as one digest: on a cluster a job plans anew, by files that may differ by then."""

import json
from collections.abc import Iterator
from itertools import chain

from touchstone import provenance
from touchstone.attacks import attack_spec
from touchstone.defenses import defense_spec
from touchstone.files import sum_of
from touchstone.models import model_spec
from touchstone.plan.plan import Plan
from touchstone.study.suites import SuitesFile

PLANNED = "TOUCHSTONE_PLANNED"  # in the environment of whatever a run starts: the digest of what it was planned by
# what a job on a node begins with, and the tables in which it finds the rest
BEGINNINGS = (
    *("touchstone.jobs.train", "touchstone.jobs.select", "touchstone.jobs.sensitivity", "touchstone.jobs.attack"),
    *("touchstone.jobs.features", "touchstone.data.prepare"),
    *("touchstone.attacks", "touchstone.defenses", "touchstone.models", "touchstone.data"),
)


def state(plan: Plan) -> str:
    """Return a sha256 over config, studies, suites, and the syntax of all code that jobs on nodes reach."""
    written = [plan.config, *plan.studies.values(), SuitesFile.model_validate(plan.suites.by_name)]
    said = [one.model_dump_json() for one in written]
    return sum_of(json.dumps([*said, provenance.digest(*BEGINNINGS, *_used(plan))]).encode())


def _used(plan: Plan) -> Iterator[str]:
    """Yield what implements the nets, defenses, attacks and data of a plan."""
    for study in plan.studies.values():
        yield from (model_spec(one.fn).fn for one in study.models.values())
        yield from (defense_spec(one.fn).fn for one in study.defenses.values())
        adaptive = (one.adaptive.values() for one in study.defenses.values())
        yield from (attack_spec(one.fn).fn for one in chain(study.attacks.values(), *adaptive))
    suite = plan.suites.by_name[plan.config.suite]
    yield from (attack_spec(one.fn).fn for members in suite.values() for one in members.values())
    yield from (plan.dataset(plan.data(model.dataset)).fn for model in plan.trained)
