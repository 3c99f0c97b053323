"""The plans of the shipped configs, each made once for all tests that only read it: its jobs are kept with it."""

from functools import cache
from pathlib import Path

from touchstone.plan.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[1]


@cache
def planned(config: str) -> Plan:
    """Return the plan of a config of the checkout."""
    return make_plan(ROOT, ROOT / config)
