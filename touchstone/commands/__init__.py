"""The commands of `touchstone`. A module is a command: its docstring is the help, `options` and `run` are the rest."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command: its module, which is imported when it is asked for, and the first line of that module's docstring."""

    module: str
    about: str


COMMANDS = {
    "evaluate": Command(
        "touchstone.commands.evaluate",
        "Evaluate a net of your own: its accuracy in the worst case of a suite of attacks, and a report.",
    ),
    "plan": Command(
        "touchstone.commands.plan", "Say what a run costs before it starts, study by study, and what of it is done."
    ),
    "compare": Command(
        "touchstone.commands.compare", "Compare two runs cell by cell, and say what changed in their verdicts."
    ),
    "ls": Command("touchstone.commands.ls", "List what a study can name, and the studies, with their sources."),
    "validate": Command("touchstone.commands.validate", "Check a config or a study: all that is wrong with it."),
    "reference": Command(
        "touchstone.commands.reference",
        "Print all that a study or a config can say, as Markdown: every name with its options and source, every key.",
    ),
    "schema": Command("touchstone.commands.schema", "Print the JSON schema of configs or studies, for editors."),
}
