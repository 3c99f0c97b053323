"""float64.csv: what PGD-40 leaves of the nets of `pcloss` with its loss in float32 and in float64.

On the checkout and results of the run beside it, one thread: python float64.py results/evidence > float64.csv
"""

import sys
from pathlib import Path

import pandas as pd
import torch

import touchstone
from touchstone.cell import ModelId
from touchstone.data.prepare import to_float
from touchstone.jobs.common import load_data, load_trained
from touchstone.paths import Results
from touchstone.plan.jobs import Net

IMAGES = 1000  # the first of the test set
NETS = {"mnist": range(5), "fmnist": range(3)}

torch.set_num_threads(1)
results, device, lenet5 = Results(Path(sys.argv[1])), torch.device("cpu"), Net("lenet5", "none", {})
rows = []
for dataset, seeds in NETS.items():
    data = load_data(dataset, device)
    x, y = to_float(data.test.x[:IMAGES]), data.test.y[:IMAGES]
    for defense in ("ce", "ce-warm", "pc-printed"):  # after 100 epochs, after 50, from which PC starts
        for seed in seeds:
            model = ModelId("pcloss", dataset, "lenet5", defense, seed)
            net = load_trained(results, model, lenet5, dataset, device).model
            ones = int((net(x).softmax(1).amax(1) == 1).sum())
            for eps in (0.1, 0.2, 0.3):
                for loss in ("ce", "ce64"):
                    x_adv = touchstone.attack(
                        net, x, y, "pgd", norm="linf", eps=eps, steps=40, step_size=0.01, loss=loss
                    )
                    left = int((net(x_adv).argmax(1) == y).sum())
                    rows.append((dataset, defense, seed, IMAGES, ones, eps, loss, left))
table = pd.DataFrame(rows, columns=["dataset", "defense", "seed", "images", "softmax_is_1", "epsilon", "loss", "left"])
print(table.to_csv(index=False), end="")
