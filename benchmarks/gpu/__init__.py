"""All that a GPU must show, in one command and in the order of its worth: `make gpu`, or `python -m benchmarks.gpu`."""
