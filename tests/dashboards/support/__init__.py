"""What the tests of dashboards, rules and alerts share, and what the tools that prove and draw them use of it.

=================================================  ==================================================================
`backend_tools`, `stores`                          finds real back ends; starts Prometheus, VictoriaMetrics, a Collector
`situation_table`, `situations`, `shop`            the situations of the proof, and the program that gets into them
`proof_run`                                        runs that program beside three paths into real stores
`account_view`                                     what that program's own book says happened
`expectations`, `panel_expectations`, `judging`    what each rule, alert and panel must then say, and whether it does
`curves`, `alert_cases`                            series for the unit tests of alerts, and the cases made of them
`shipped`, `queries`, `dashboard_schema`           the shipped dashboards, their expressions, the schema they satisfy
`fake_grafana`                                     a server that answers as Grafana does
=================================================  ==================================================================
"""
