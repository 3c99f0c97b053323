"""The job that brings the raw files of a dataset in."""

import logging
from collections.abc import Mapping

from touchstone import paths
from touchstone.data import sources
from touchstone.files import alone, write_sealed
from touchstone.plan.jobs import FetchJob


def fetch(job: FetchJob, source: str | Mapping[str, str]) -> None:
    """Fetch and verify raw files, and write down what they are; data of the user's own stay where they are.

    Nothing of the source is in the record, so that equal files from elsewhere leave an equal one.

    Args:
        job: which files.
        source: where they come from, as the config says it.
    """
    raw = paths.raw(job.dataset)
    with alone(raw.lock):  # checkouts may share their data
        if job.own is None:
            sources.fetch(job.dataset, source, raw.folder, log=logging.info)
        write_sealed(raw.fetched, job.record())
