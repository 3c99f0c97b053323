# Touchstone: re-run published adversarial-robustness results and say, number by number, whether they hold.
#   snakemake --cores all                                        the default run on embedded data
#   snakemake --cores all --configfile configs/laptop.yaml       real data, a CPU, hours
#   snakemake --cores all human_study                            pages on which people say what they see
#   snakemake --report report.zip                                all that a finished run shows, as one page
import gc
import shlex
import sys

from snakemake.utils import min_version

# A plan is a million objects that stay, and by default the collector walks them again and again: a fifth of the time.
gc.set_threshold(50_000, 50)

min_version("9.20")

# Snakemake writes the interpreter of a script into a command line as it is: a space in its path would end it there.
sys.executable = shlex.quote(sys.executable)


report: "reports/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/around.smk"
include: "rules/said.smk"
include: "rules/shown.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/attack.smk"
include: "rules/people.smk"
include: "rules/evaluate.smk"
include: "rules/figures.smk"
include: "rules/report.smk"


onstart:
    begin()


onsuccess:
    clear_away()
    finished.finish(PLAN)


onerror:
    clear_away()
    try:
        sum_up()
    finally:
        finished.finish(PLAN)


rule all:
    default_target: True
    input:
        targets.everything(PLAN),
    localrule: True


rule human_study:
    input:
        lambda _: targets.questions(PLAN),
    localrule: True
