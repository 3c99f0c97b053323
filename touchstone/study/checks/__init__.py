"""Check config and studies against the tables of the package, before any job is planned.

Every problem is collected and reported at once, with file, line, key, value and what is allowed. Torch is not
imported: the signatures of attacks and defenses are read from their source.
"""

from touchstone.study.checks.checker import Checker
from touchstone.study.checks.run import check_config
from touchstone.study.checks.study import checked_study, load_study

__all__ = ["Checker", "check_config", "checked_study", "load_study"]
