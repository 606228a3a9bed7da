"""The style of all figures: colours that colour-blind readers can tell apart, and settings of matplotlib."""

from __future__ import annotations

from typing import Any

BLUE, VERMILLION, GREEN, PINK, OCHRE, SKY, WINE, DARK = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#3fa2dc", "#882255", "#444444",
)  # fmt: skip
PALETTE = (BLUE, VERMILLION, GREEN, PINK, OCHRE, SKY, WINE, DARK)
RC: Any = {"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 130, "lines.linewidth": 1.8}
