"""Results as figures for papers and slides: SVG, PDF and PNG, drawn by matplotlib (extra `figures`).

Nothing here uses `pyplot` or the user's matplotlib settings, so that the same result always gives the same bytes.
"""
