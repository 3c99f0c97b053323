"""The commands of `touchstone`. A module is a command: its docstring is the help, `options` and `run` are the rest."""

# name -> its module; importing this table imports none of them
COMMANDS = {"plan": "touchstone.commands.plan"}
