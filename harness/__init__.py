"""What both tracks share around the mathematics: options, runs, records, commands, report pages, statistics, metrics.

`harness` imports `ambient` and never `toy` or `sdxl`.
"""
