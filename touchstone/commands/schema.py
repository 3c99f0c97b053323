"""Print the JSON schema of configs or studies, for editors.

It has every key with its description, and which values are allowed. Names of other parts, and options of attacks,
defenses and models, are checked by `touchstone validate`. An editor with a YAML language server reads the schema where
the first line of the file is `# yaml-language-server: $schema=PATH`.

example: touchstone schema study > study.schema.json
"""

import argparse
import json

from touchstone.commands.text import one_of
from touchstone.study.written import SCHEMAS


def options(parser: argparse.ArgumentParser) -> None:
    """Add what it takes."""
    parser.add_argument(
        "of", type=one_of(SCHEMAS), nargs="?", default="config", help=f"{' or '.join(SCHEMAS)} (default: config)"
    )


def run(arguments: argparse.Namespace) -> str:
    """Return the schema as text."""
    return json.dumps(SCHEMAS[arguments.of](), indent=2, ensure_ascii=False)
