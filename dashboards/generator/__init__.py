"""The dashboards as code over the metrics catalog, and the generator of all files that are made from it and the rules.

``python -m dashboards.generator`` writes the generated files to ``dashboards`` and, byte for byte the same, to
``src/glasspool/assets``, which the wheel contains and ``glasspool dashboards`` reads (a symbolic link works neither on
Windows nor in a wheel). ``--check`` reports whether they are stale. The rules, the alerts, and the functions that write
expressions are in ``glasspool._monitoring``, since the wheel needs them.

=================  ===================================================================================== `panels` one
panel: question, expressions, unit; its form in Grafana's model `tables`           the table of executors `marks` the
style of single lines: colours of outcomes, shades of quantiles, dashed limits `parts`            thresholds and links,
of panels of every kind `pruning`          removes keys that the builders write and Grafana ignores `boards` a
dashboard: variables, annotations, layout, numbering `worst`            queries of the overview: the executors with the
highest values `first_screen`     the overview's first screen `chosen`           queries of the drill-down: the chosen
executor `task_rows`        the drill-down's rows about tasks `overview`, `drilldown`, `runtime`   the three dashboards
`catalogue`        all dashboards, and the places of their thresholds `docs`             the generated lists in the
documentation ================= =====================================================================================
"""
