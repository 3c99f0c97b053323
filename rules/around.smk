# What a run does before its first job and after its last. No rule is defined here.
import os
import shlex
import sys
from itertools import chain
from pathlib import Path

from touchstone.files import BusyError, half_written
from touchstone.plan.command import check_names, command

HELD = []  # what keeps other runs off the results


def begin():
    """Note that this run is at work, and keep others off its results until it ends.

    A cluster's executor would give a shell what files and folders are called.
    """
    try:
        if not workflow.local_exec:
            check_names(os.getcwd(), workflow.main_snakefile, CONFIG, sys.prefix)
            os.environ[PLANNED] = state(PLAN)
        HELD.append(finished.begin(PLAN))
    except (ConfigError, BusyError, OSError) as error:
        raise WorkflowError(str(error)) from None


def clear_away():
    """Remove what finished trainings kept to go on after a kill, and what jobs that were killed left half written.

    Not in the job: until Snakemake has taken note of its end it may be killed, lose its outputs, and begin anew.
    """
    spent = chain.from_iterable(map(RESULTS.spent, PLAN.trained))
    for file in chain(spent, half_written(RESULTS.root)):
        file.unlink()


def sum_up():
    """Write the summary of the studies that are whole, after a failure; Snakemake makes none for want of the others."""
    from touchstone.report.unfinished import Undone, summary  # slow to import

    (sys.executable,) = shlex.split(sys.executable)  # no script follows
    undone = [
        Undone(
            files=[*map(Path, job.output)],
            log=Path(job.log[0]),
            failed=all(map(os.path.exists, job.input)),
        )
        for job in workflow.dag.needrun_jobs()
        if job.log
    ]
    if file := summary(PLAN, undone, command(ROOT, CONFIG, sys.argv[1:])):
        print(f"{file} has the studies that are whole", file=sys.stderr)
