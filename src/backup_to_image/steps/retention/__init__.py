"""Which images of a policy stay, and how the others go: the rules, the plan, and one removal with its proof."""
