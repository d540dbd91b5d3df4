"""The dashboards as code over the metrics catalog, and the generator of everything that is made from it and the rules.

Run ``python -m dashboards.generator`` to write the generated files into ``dashboards`` and, byte for byte the same,
into ``src/glasspool/assets``, from where the wheel and ``glasspool dashboards`` serve them (a symbolic link would do on
neither Windows nor in a wheel); ``--check`` says whether they are stale. The rules and alerts themselves, and how an
expression is written, are in ``glasspool._monitoring``: the wheel needs them.

=================  =====================================================================================
`panels`           one panel: question, expressions, unit; its form in Grafana's model
`tables`           the table of executors
`marks`            how single lines look: colours of outcomes, shades of quantiles, dashed limits
`parts`            thresholds and links, of panels of every kind
`pruning`          removes what the builders write and Grafana ignores
`boards`           a dashboard: variables, annotations, layout, numbering
`worst`            what the overview asks: the executors that are worst off
`first_screen`     the overview's first screen
`chosen`           what the drill-down asks: the one executor that is chosen
`task_rows`        the drill-down's rows about tasks
`overview`, `drilldown`, `runtime`   the three dashboards
`catalogue`        all of them, and where their thresholds stand
`docs`             the generated lists in the documentation
=================  =====================================================================================
"""
