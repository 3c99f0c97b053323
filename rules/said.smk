# What Snakemake leaves unsaid of a job that fails. No rule is defined here.
from snakemake.logging import LogEvent, is_quiet_about, logger


def say_failed(record):
    """Name a job that fails, its log and why: `quiet: rules` is silent about it, as about each job that begins.

    A job on this machine says by itself what went wrong; of one that a cluster refuses or ends this is the only word.
    """
    if getattr(record, "event", None) == LogEvent.JOB_ERROR:
        why = (record.rule_msg or "").strip() or "what it said is in its log"
        logger.error(f"{record.rule_name} failed: {why}\n    {', '.join(record.log)}")
    return True


if workflow.is_main_process and is_quiet_about(
    workflow.output_settings.quiet or (), "rules"
):
    logger.addFilter(say_failed)
