"""Images: the problem they pose, how samples are scored, the noise attack."""
