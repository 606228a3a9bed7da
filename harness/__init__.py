"""What both tracks need around the mathematics: options, runs, records, commands, report pages, statistics, metrics.

`harness` may import `ambient`, and never `toy` or `sdxl`.
"""
