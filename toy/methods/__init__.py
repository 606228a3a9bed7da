"""The methods, one file each; `toy.registry` has them by name."""
