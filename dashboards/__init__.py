"""Dashboards, recording rules and alerts as code over the metrics catalog.

Run ``python -m dashboards`` to write the generated files into ``src/glasspool/assets``, from where the wheel and
``glasspool dashboards``/``glasspool rules`` serve them; ``--check`` says whether they are stale.

=================  =====================================================================================
`expressions`      PromQL from catalog entries: the only place where names become query text
`options`          what an installation may choose, checked
`recording`        the recording rules
`alerts`           the alerts
`rulefiles`        rules and alerts as YAML
`panels`           one panel: question, expressions, unit; its form in Grafana's model
`boards`           a dashboard: variables, annotations, layout, numbering
`overview`, `drilldown`, `runtime`   the three dashboards
`docs`             the generated lists in the documentation
=================  =====================================================================================
"""
