"""How well a model stands up to attacks: the loop, the judge, and the checks before and after."""
