#!/usr/bin/env bash
# Snakemake runs this in the new environment (--software-deployment-method conda): the package itself is the checkout.
set -euo pipefail
pip install --no-deps --no-build-isolation -e .
