"""Tables as LaTeX."""

import re

import pandas as pd

PREAMBLE = r"% \usepackage{amssymb,booktabs}"
# what LaTeX takes for a command, and what its usual fonts lack: marks, Greek letters, signs
SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"$\sim$", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$"},
    **{"✓": r"$\checkmark$", "✗": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "≠": r"$\neq$"},
    **{"·": r"$\cdot$", "†": r"\dag{}", "‡": r"\ddag{}", "±": r"$\pm$", "−": "$-$", "–": "--", "∞": r"$\infty$"},
    **{"ε": r"$\varepsilon$", "λ": r"$\lambda$", "μ": r"$\mu$", "ρ": r"$\rho$", "τ": r"$\tau$", "ξ": r"$\xi$"},
}
_ESCAPES = str.maketrans(SIGNS)


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is."""
    return text.translate(_ESCAPES)


def width(text: str) -> int:
    """Return about how many characters LaTeX prints of `escape`d text, commands left out."""
    return len(re.sub(r"\\[a-z]+\{?|\\(?=\W)|[${}]", " ", text).replace(" ", ""))


def table(frame: pd.DataFrame, caption: str) -> str:
    """Return a float with rules as in print: the first column to the left, the others to the right.

    Args:
        frame: of LaTeX.
        caption: of LaTeX too.
    """
    lines = [" & ".join(line) + r" \\" for line in (map(str, frame.columns), *frame.to_numpy().tolist())]
    rules = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    about = [r"\begin{table}[htbp]", r"\centering\small", rf"\caption{{{caption}}}"]
    about += [rf"\begin{{tabular}}{{l{'r' * (len(frame.columns) - 1)}}}"]
    return "\n".join([*about, *rules, r"\end{tabular}", r"\end{table}", ""])
