"""What a run will do with the user's own files, in small: what is wrong with them is said before a job starts."""

from touchstone.data.prepare import read as read_data
from touchstone.jobs.common import make_model
from touchstone.models.classifier import Given
from touchstone.models.given import read as read_weights
from touchstone.plan.build import raw_place, train_job
from touchstone.plan.plan import Plan


def rehearse(plan: Plan) -> None:
    """Read data and weights of the user's own, build the nets that have them, and run each on two images.

    Raises:
        ValueError: if one of the files cannot be used, or does not fit.
        ImportError: if a net needs what is not there.
    """
    for name in plan.config.data:
        if (spec := plan.own_data(name)) is not None:
            read_data(name, raw_place(plan, name), spec)
    for model in plan.models:
        job = train_job(plan, model)
        if job.weights is not None:
            (file,) = plan.weights_files(model)
            given = read_weights(file, job.weights.sha256, job.weights.form, job.weights.key, says="--key")
            make_model(job.net, plan.data(model.dataset), model.seed, Given(given, str(file)))
