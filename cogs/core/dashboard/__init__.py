"""The dashboards of operators: a page of the bot's own, and one for Grafana (``grafana.json``)."""
