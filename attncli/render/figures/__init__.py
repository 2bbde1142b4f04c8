"""Results as figures for papers and slides: SVG, PDF and PNG, drawn by matplotlib (extra `figures`).

Every figure is a value of its own: nothing here touches `pyplot`, and the settings of matplotlib are those that it
ships with while we draw, whatever the user's are, so that the same result gives the same bytes.
"""
