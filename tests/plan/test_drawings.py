"""What figures draw, and what trainings are watched for, as the plan of the papers has it."""

from touchstone.plan import build, cost, targets
from touchstone.plan.jobs import Drawing
from touchstone.plan.plan import Plan


def drawing(plan: Plan, study: str, name: str) -> Drawing:
    return build.drawing(plan, study, name)


def test_an_option_is_drawn_along_the_defenses_that_differ_in_it_alone(paper: Plan) -> None:
    along = drawing(paper, "weightpen", "figure5").along
    assert list(along["alpha"].values()) == [100.0, 0.0, 1.0, 10.0, 1000.0]
    assert along["s"] == {
        **{"weightpen-printed": 0.1, "weightpen-s1e-2": 0.01, "weightpen-s1e-0": 1.0, "weightpen-s1e+1": 10.0}
    }
    assert sorted(drawing(paper, "margin", "figure3-5").along["c"].values()) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]


def test_kinds_of_models_are_named_by_what_tells_them_apart(paper: Plan) -> None:
    def labels(study: str, name: str) -> list[str]:
        return [one.label for one in drawing(paper, study, name).shown if one.dataset in ("mnist", "kmnist")]

    assert labels("minmax", "figure2") == ["std", "adv"]
    assert labels("weightpen", "figure4") == ["at-pgd", "mmc-printed", "weightpen-printed"]
    assert labels("weightpen", "figure7")[:2] == ["smallcnn-bounded", "smallcnn-relu"]
    assert "mlp-1000 plain" in labels("margin", "figure3-6")


def test_what_the_run_leaves_out_is_there_without_trainings(laptop: Plan) -> None:
    shown = drawing(laptop, "weightpen", "figure7").shown
    assert {one.model: len(one.models) for one in shown if one.dataset == "mnist"} == {
        **dict.fromkeys(["smallcnn-relu", "smallcnn-prelu", "smallcnn-leakyrelu"], 0),
        "smallcnn-bounded": 1,
    }


def test_a_figure_reads_the_batches_with_its_attacks(paper: Plan) -> None:
    one = drawing(paper, "margin", "figure3-6")
    assert {batches for shown in one.shown for batches in shown.batches} == {("l2",)}
    read = targets.drawn(paper, "margin")
    kind = one.shown[0]
    assert {*paper.results.model(kind.models[0]), *paper.results.attack(kind.models[0], "l2")} <= set(read)
    assert paper.results.table("margin", "cells") in read


def test_a_training_is_watched_at_the_largest_radius_and_as_often_as_it_is_shorter(paper: Plan, laptop: Plan) -> None:
    def watched(plan: Plan, defense: str, dataset: str = "mnist") -> tuple[str, tuple[float, ...], int, int] | None:
        model = next(m for m in plan.trained if (m.study, m.dataset, m.defense) == ("weightpen", dataset, defense))
        found = build.train_job(plan, model).watched
        return found and (found.probe.member.slug, found.probe.threat.epsilons, found.probe.samples, found.every)

    assert watched(paper, "at-pgd") == ("pgd40-linf", (0.3,), 1000, 10)
    assert watched(paper, "weightpen-unbounded", "cifar10") == ("pgd20-linf", (0.031373,), 1000, 10)
    assert watched(laptop, "at-pgd") == ("pgd40-linf", (0.3,), 500, 1)
    assert watched(paper, "mmc-coded") is None
    model = next(m for m in paper.trained if (m.study, m.defense) == ("weightpen", "at-pgd"))
    assert len(list(cost.training(paper, model))) == 3, "which costs something"
