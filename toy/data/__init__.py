"""Data: mixtures, your own points, digits and worlds fitted to them."""
