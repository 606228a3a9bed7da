"""The mathematics shared by the toy and the SDXL track: paths, identities, losses, kernels, worlds."""
