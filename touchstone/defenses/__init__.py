"""The table of training objectives. Importing it does not import torch."""

from touchstone.registry import DefenseSpec

DEFENSES: dict[str, DefenseSpec] = {
    "ce": DefenseSpec(fn="touchstone.defenses.ce:CrossEntropy", source="Shen et al. (2020), eq. 2 and section 5.1"),
    "minmax": DefenseSpec(fn="touchstone.defenses.minmax:MinMax", source="Shen et al. (2020), eq. 5"),
    "adv": DefenseSpec(fn="touchstone.defenses.adv:Alternating", source="Shen et al. (2020), section 3.3"),
}
