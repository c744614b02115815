#!/usr/bin/env python3
"""Writes what the monitoring components have of deploy/prometheus and deploy/grafana: kustomize
reads no file outside its folder. Run it after a change there: a test holds these files against
what this makes.
"""

import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
RULES = HERE.parent / "prometheus" / "rules.yml"
DASHBOARD = HERE.parent / "grafana" / "dashboards" / "gradsweep.json"
PROMETHEUS_RULE = HERE / "components" / "prometheus-operator" / "rules.yaml"
CONFIG_MAP_FILE = HERE / "components" / "grafana" / "gradsweep.json"

HEAD = """\
# Written by deploy/kubernetes/monitoring.py from deploy/prometheus/rules.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: gradsweep
  namespace: gradsweep
  labels:
    # As in service-monitor.yaml.
    release: kube-prometheus-stack
spec:
"""


def files():
    """Each file with its text."""
    rules = RULES.read_text()
    rules = rules[rules.index("groups:\n"):]
    indented = "".join(f"  {line}" if line.strip() else line for line in rules.splitlines(True))
    # A ConfigMap is small, and so is the note of `kubectl apply` about what was applied.
    dashboard = json.dumps(json.loads(DASHBOARD.read_text()), separators=(",", ":"))
    return {PROMETHEUS_RULE: HEAD + indented, CONFIG_MAP_FILE: f"{dashboard}\n"}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text)
