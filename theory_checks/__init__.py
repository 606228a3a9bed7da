"""Every statement of the paper as an executable check, each with mutants that the same check must reject."""
