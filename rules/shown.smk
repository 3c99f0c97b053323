# Which outputs `snakemake --report` shows, by study and kind; reports/captions has a text per kind. No rule is defined here.
from touchstone.study.schema import RESULT_TABLES

RUN = "the whole run"  # what is of no study


def shown(file, kind, study, name):
    return report(
        file,
        caption=f"../reports/captions/{kind}.rst",
        category=study,
        subcategory=kind,
        labels={"name": name},
    )


def shown_among(files, kind, places):
    """Mark those of some outputs that have a place, (study, name)."""
    return [shown(f, kind, *places[f]) if f in places else f for f in files]


def shown_tables(study):
    places = {RESULTS.table(study, name): (study, name) for name in RESULT_TABLES}
    return shown_among(targets.tables(PLAN, study), "tables", places)


def shown_figures(study):
    names = PLAN.studies[study].figures
    places = {RESULTS.figure(study, name): (study, name) for name in names}
    return shown_among(targets.figures(PLAN, study), "figures", places)


def shown_claims():
    places = [(s, t) for s, study in PLAN.studies.items() for t in study.tables]
    papers = {RESULTS.paper(*place).csv: place for place in places}
    whole, *rest = targets.claims(PLAN)
    return [shown(whole, "claims", RUN, "claims"), *shown_among(rest, "paper", papers)]


def shown_report(study=""):
    files = RESULTS.report(study)
    pdf = shown(files.pdf, "reports", study or RUN, "report")
    return files._replace(pdf=pdf)._asdict()
