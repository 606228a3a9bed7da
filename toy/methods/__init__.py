"""The methods; `toy.registry` has them by name."""
