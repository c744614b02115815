#!/usr/bin/env python3
"""Writes dashboards/gradsweep.json. Change panels here and run it again: a test holds the file
against what this makes.

A panel is a function call; rows are 24 columns wide and panels flow from left to right.
"""

import json
import pathlib

FILE = pathlib.Path(__file__).resolve().parent / "dashboards" / "gradsweep.json"
# As provisioning/datasources/prometheus.yaml calls it; the variable lets a reader choose another.
DATASOURCE_UID = "gradsweep-prometheus"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Of @grafana/schema 13; older Grafanas load it as well.
SCHEMA_VERSION = 42
PLUGIN_VERSION = "12.0.0"
COLUMNS = 24

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, SKY, GREEN, ORANGE, RED, PURPLE, GREY = (
    "#0072B2 #56B4E9 #009E73 #E69F00 #D55E00 #CC79A7 #999999".split()
)
TRIAL_COLOURS = {
    "pending": SKY,
    "running": BLUE,
    "completed": GREEN,
    "diverged": ORANGE,
    "failed": RED,
    "cancelled": GREY,
    "removed": PURPLE,
}
WORKER_COLOURS = {
    "connected": GREEN,
    "draining": SKY,
    "set_aside": ORANGE,
    "lost": RED,
    "left": GREY,
}
SLOT_COLOURS = {"busy": BLUE, "free": GREY}


def steps(*pairs):
    """Thresholds: a colour from each value on; None is from the lowest on."""
    return [{"color": colour, "value": value} for value, colour in pairs]


PLAIN = steps((None, BLUE))
NONE_IS_GOOD = steps((None, GREEN), (1, RED))


def target(ref, expr, legend, **more):
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "legendFormat": legend,
        "range": True,
        "refId": ref,
        **more,
    }


def targets(queries, **more):
    """Of (expression, legend) pairs."""
    refs = "ABCDEFGH"
    return [target(refs[at], expr, legend, **more) for at, (expr, legend) in enumerate(queries)]


def coloured(colours):
    """Series of these names in these colours, whatever their order."""
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in colours.items()
    ]


def panel(kind, title, description, width, height, queries, options, defaults, overrides=()):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "pluginVersion": PLUGIN_VERSION,
        "targets": queries,
        "options": options,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
    }


def defaults(unit, thresholds=None, colour="palette-classic", **more):
    return {
        "color": {"mode": colour},
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": thresholds or PLAIN},
        "unit": unit,
        **more,
    }


def lines(title, description, queries, unit, **given):
    """Curves over time. Limits that are given are drawn as lines."""
    limits, stacked = given.pop("limits", None), given.pop("stacked", False)
    colours, width = given.pop("colours", {}), given.pop("width", 8)
    # Of many series each has a line of its own beside the picture; of few, below it.
    many = given.pop("many", False)
    custom = {
        "drawStyle": "line",
        "fillOpacity": 40 if stacked else 8,
        "lineWidth": 1,
        "pointSize": 4,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    options = {
        "legend": {
            "calcs": ["lastNotNull"] if many else [],
            "displayMode": "table" if many else "list",
            "placement": "right" if many else "bottom",
            "showLegend": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    config = defaults(unit, limits, custom=custom, **given)
    queries = targets(queries)
    return panel(
        "timeseries", title, description, width, 8, queries, options, config, coloured(colours)
    )


def stat(title, description, queries, unit, **given):
    """The newest value of each series, large."""
    thresholds, width = given.pop("thresholds", None), given.pop("width", 4)
    options = {
        "colorMode": "value",
        "graphMode": given.pop("graph", "none"),
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": given.pop("text", "auto"),
        "wideLayout": True,
    }
    config = defaults(unit, thresholds, colour="thresholds", **given)
    return panel("stat", title, description, width, 5, targets(queries), options, config)


def bars(title, description, queries, unit, **given):
    """The newest value of each series as a bar."""
    thresholds, width = given.pop("thresholds", None), given.pop("width", 8)
    options = {
        "displayMode": "basic",
        "legend": {
            "calcs": [],
            "displayMode": "list",
            "placement": "bottom",
            "showLegend": False,
        },
        "maxVizHeight": 40,
        "minVizHeight": 16,
        "minVizWidth": 8,
        "namePlacement": "left",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "sizing": "auto",
        "valueMode": "color",
    }
    config = defaults(unit, thresholds, colour="thresholds", **given)
    return panel("bargauge", title, description, width, 5, targets(queries), options, config)


def table(title, description, columns, width):
    """A row per sweep: of (expression, column, unit) each query gives a column."""
    queries = targets(
        [(expr, "") for expr, _, _ in columns], format="table", instant=True, range=False
    )
    names = {f"Value #{query['refId']}": name for query, (_, name, _) in zip(queries, columns)}
    overrides = []
    for _, name, unit in columns:
        if unit:
            overrides.append(
                {
                    "matcher": {"id": "byName", "options": name},
                    "properties": [{"id": "unit", "value": unit}, {"id": "decimals", "value": 1}],
                }
            )
    hidden = {"Time": True} | {name: True for name, shown in names.items() if not shown}
    made = panel(
        "table",
        title,
        description,
        width,
        8,
        queries,
        {"cellHeight": "sm", "frameIndex": 0, "showHeader": True},
        defaults(
            "short",
            custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        ),
        overrides,
    )
    made["transformations"] = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": hidden,
                "indexByName": {},
                "renameByName": {key: name for key, name in names.items() if name},
            },
        },
    ]
    return made


def mapping(**texts):
    """What a number says: `value_0="not ready", …` with its colour."""
    options = {
        name.removeprefix("value_"): {"color": colour, "index": at, "text": text}
        for at, (name, (text, colour)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": options}]


SWEEP = '{sweep=~"$sweep"}'
TRIAL = "{{activation}} depth {{depth}} τ {{tau}} p {{p}} {{trial}}"
GPU = "{{worker}} cuda:{{gpu}}"


def sweeps():
    return [
        bars(
            "Done",
            "Trials with an outcome, of those that the sweep file names.",
            [(f"sweep:gradsweep_trials_ended:ratio{SWEEP}", "{{sweep}}")],
            "percentunit",
            min=0,
            max=1,
            thresholds=steps((None, BLUE), (1, GREEN)),
        ),
        stat(
            "Time left",
            "Were the slots that the sweep holds to go on as measured; absent once nothing runs.",
            [(f"gradsweep_eta_seconds{SWEEP}", "{{sweep}}")],
            "s",
        ),
        stat(
            "Best validation error",
            "Of completed trials at their best epoch and of running ones so far.",
            [(f"gradsweep_best_val_error{SWEEP}", "{{sweep}}")],
            "percentunit",
            decimals=2,
        ),
        stat(
            "Failed trials",
            "Trials that could not be trained; diverged ones are not among them.",
            [(f'sum(gradsweep_trials{{sweep=~"$sweep", state="failed"}})', "failed")],
            "none",
            thresholds=NONE_IS_GOOD,
        ),
        stat(
            "Alerts",
            "Alerts of rules.yml that are firing.",
            [('count(ALERTS{alertname=~"Gradsweep.+", alertstate="firing"}) or vector(0)', "")],
            "none",
            thresholds=NONE_IS_GOOD,
        ),
        table(
            "Sweeps",
            "Where each sweep stands.",
            [
                (f"max by (sweep, state) (gradsweep_sweep_state{SWEEP} == 1)", "", ""),
                (f"sum by (sweep) (gradsweep_configs_done{SWEEP})", "configs done", ""),
                (f"sum by (sweep) (gradsweep_configs{SWEEP})", "configs", ""),
                (f"max by (sweep) (sweep:gradsweep_trials_ended:ratio{SWEEP})", "trials done",
                 "percentunit"),
                (f"min by (sweep) (gradsweep_best_val_error{SWEEP})", "best val_error",
                 "percentunit"),
            ],
            width=12,
        ),
        lines(
            "Trials by state",
            "Of all sweeps that are chosen.",
            [(f"sum by (state) (gradsweep_trials{SWEEP})", "{{state}}")],
            "short",
            stacked=True,
            colours=TRIAL_COLOURS,
            width=12,
            min=0,
        ),
    ]


def training():
    return [
        lines(
            "Best validation error",
            "The lowest so far, by sweep.",
            [(f"gradsweep_best_val_error{SWEEP}", "{{sweep}}")],
            "percentunit",
            min=0,
        ),
        lines(
            "Epochs",
            "Epochs that ended, per minute.",
            [(f"60 * rate(gradsweep_epochs_total{SWEEP}[$__rate_interval])", "{{sweep}}")],
            "suffix: /min",
            min=0,
        ),
        lines(
            "Examples",
            "Training examples per second.",
            [(f"rate(gradsweep_examples_total{SWEEP}[$__rate_interval])", "{{sweep}}")],
            "si:/s",
            min=0,
        ),
        lines(
            "The ten trials of lowest validation error",
            "Of those that run and the best that finished. A parameter that has no effect on a "
            "trial is empty.",
            [(f"bottomk(10, gradsweep_trial_val_error{SWEEP})", TRIAL)],
            "percentunit",
            many=True,
            width=12,
        ),
        lines(
            "Gate",
            "Mean over the trials of a sweep with the same τ: 0 is the early component, 1 the "
            "late one.",
            [(f"avg by (sweep, tau) (gradsweep_trial_gate{SWEEP})", "{{sweep}} τ {{tau}}")],
            "none",
            many=True,
            width=8,
            min=0,
            max=1,
        ),
        stat(
            "Trials shown",
            "Only so many trials have series of their own.",
            [("max(gradsweep_trial_series_truncated)", "")],
            "none",
            mappings=mapping(value_0=("all that run", GREEN), value_1=("some that run", ORANGE)),
        ),
    ]


def workers():
    of_worker = '{worker=~"$worker"}'
    memory = "gradsweep_gpu_memory_used_bytes", "gradsweep_gpu_memory_total_bytes"
    return [
        lines(
            "Workers",
            "By state. Lost ones gave no sign of life for the length of a lease; left ones "
            "drained and went.",
            [("sum by (state) (gradsweep_workers)", "{{state}}")],
            "short",
            stacked=True,
            colours=WORKER_COLOURS,
            min=0,
        ),
        lines(
            "Slots",
            "Of the workers that are chosen.",
            [(f"sum by (state) (gradsweep_slots{of_worker})", "{{state}}")],
            "short",
            stacked=True,
            colours=SLOT_COLOURS,
            min=0,
        ),
        lines(
            "Largest cohort",
            "Trials that a worker trains as one model.",
            [(f"gradsweep_cohort_size{of_worker}", "{{worker}}")],
            "short",
            min=0,
        ),
        lines(
            "GPU busy",
            "Share of the time in which a kernel ran.",
            [(f"gradsweep_gpu_utilization_ratio{of_worker}", GPU)],
            "percentunit",
            width=12,
            many=True,
            min=0,
            max=1,
        ),
        lines(
            "GPU memory",
            "In use, by whomever; the lines are at 90 and 97%.",
            [(f"{memory[0]}{of_worker} / {memory[1]}{of_worker}", GPU)],
            "percentunit",
            width=12,
            many=True,
            min=0,
            max=1,
            limits=steps((None, GREEN), (0.9, ORANGE), (0.97, RED)),
        ),
        lines(
            "GPU temperature",
            "The lines are at 80 and 90 °C, where most GPUs slow down.",
            [(f"gradsweep_gpu_temperature_celsius{of_worker}", GPU)],
            "celsius",
            width=12,
            many=True,
            limits=steps((None, GREEN), (80, ORANGE), (90, RED)),
        ),
        lines(
            "GPU power",
            "Drawn by the board.",
            [(f"gradsweep_gpu_power_watts{of_worker}", GPU)],
            "watt",
            width=12,
            many=True,
            min=0,
        ),
    ]


def coordinator():
    rate = "[$__rate_interval]"
    return [
        stat(
            "Coordinator",
            "Whether it hands out work.",
            [("gradsweep_ready", "{{instance}}")],
            "none",
            thresholds=steps((None, RED), (1, GREEN)),
            mappings=mapping(value_0=("not ready", RED), value_1=("ready", GREEN)),
        ),
        stat(
            "Version",
            "Of the coordinator.",
            [("gradsweep_build_info", "{{version}}")],
            "none",
            text="name",
        ),
        stat(
            "Slots busy",
            "Of all workers.",
            [("gradsweep:slots_busy:ratio", "{{instance}}")],
            "percentunit",
            decimals=0,
        ),
        bars(
            "Disk free",
            "Of the file system of the state directory; an alert comes below 10% and 20 GB.",
            [("gradsweep:state_free:ratio", "{{instance}}")],
            "percentunit",
            width=6,
            min=0,
            max=1,
            thresholds=steps((None, RED), (0.1, ORANGE), (0.2, GREEN)),
        ),
        stat(
            "Bytes free",
            "For the coordinator, on the file system of the state directory.",
            [("gradsweep_state_free_bytes", "{{instance}}")],
            "decbytes",
            width=6,
            thresholds=steps((None, RED), (1e9, ORANGE), (2e10, GREEN)),
            graph="area",
        ),
        lines(
            "Store commit",
            "From handing a batch to the store until it is durable; an alert comes above the "
            "line.",
            [
                ("gradsweep:store_commit_seconds:p50_5m", "median"),
                ("gradsweep:store_commit_seconds:p99_5m", "99 of 100"),
            ],
            "s",
            limits=steps((None, GREEN), (0.5, RED)),
            min=0,
        ),
        lines(
            "Commits and events",
            "Per second.",
            [
                (f"rate(gradsweep_store_commit_seconds_count{rate})", "commits"),
                (f"rate(gradsweep_scheduler_apply_seconds_count{rate})", "events of the scheduler"),
            ],
            "si:/s",
            min=0,
        ),
        lines(
            "Scheduler",
            "Time for one event: 99 of 100 take less.",
            [("gradsweep:scheduler_apply_seconds:p99_5m", "{{instance}}")],
            "s",
            min=0,
        ),
        lines(
            "Calls",
            "Per minute, by method and code. Attach counts streams that begin.",
            [
                (f"60 * sum by (method, code) (rate(gradsweep_rpc_seconds_count{rate}))",
                 "{{method}} {{code}}"),
            ],
            "suffix: /min",
            min=0,
        ),
        lines(
            "Time until an answer",
            "Of calls, by method: 99 of 100 take less.",
            [("method:gradsweep_rpc_seconds:p99_5m", "{{method}}")],
            "s",
            min=0,
        ),
        lines(
            "Attempts that ended",
            "Per minute, by how.",
            [
                (f"60 * sum by (outcome) (rate(gradsweep_attempts_total{rate}))", "{{outcome}}"),
            ],
            "suffix: /min",
            min=0,
        ),
        lines(
            "Lost and late",
            "Leases that expired with their worker, and reports of attempts that were no longer "
            "current, since the coordinator started.",
            [
                ("gradsweep_lease_expirations_total", "leases expired"),
                ("gradsweep_stale_reports_total", "reports dropped"),
            ],
            "short",
            min=0,
        ),
        lines(
            "Memory",
            "Of the coordinator's process.",
            [('process_resident_memory_bytes{job="gradsweep"}', "{{instance}}")],
            "bytes",
            min=0,
        ),
        lines(
            "Processor",
            "Cores that the coordinator's process uses.",
            [(f'rate(process_cpu_seconds_total{{job="gradsweep"}}{rate})', "{{instance}}")],
            "short",
            min=0,
        ),
        lines(
            "Refused",
            "Connections and requests per minute, by reason.",
            [(f"60 * sum by (reason) (rate(gradsweep_refused_total{rate}))", "{{reason}}")],
            "suffix: /min",
            width=16,
            min=0,
        ),
        stat(
            "Certificate",
            "Time until the coordinator's certificate ends; empty without TLS. An alert comes below "
            "14 days.",
            [("gradsweep_certificate_expiry_seconds", "{{instance}}")],
            "s",
            width=8,
            thresholds=steps((None, RED), (14 * 86400, ORANGE), (60 * 86400, GREEN)),
        ),
    ]


def laid_out(rows):
    """Panels with their places and numbers."""
    placed, top = [], 0
    for title, panels in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        row = {"type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        placed.append(row)
        left, top, height = 0, top + 1, 0
        for made in panels:
            size = made["gridPos"]
            if left + size["w"] > COLUMNS:
                left, top, height = 0, top + height, 0
            size["x"], size["y"] = left, top
            left, height = left + size["w"], max(height, size["h"])
            placed.append(made)
        top += height
    for number, made in enumerate(placed, start=1):
        made["id"] = number
    return placed


def choice(name, label, query):
    """A variable of the values that a label has now."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
        "regex": "",
        "hide": 0,
        "skipUrlSync": False,
    }


def dashboard():
    source = {
        "type": "datasource",
        "name": "datasource",
        "label": "Prometheus",
        "query": "prometheus",
        "current": {"selected": True, "text": "GradSweep", "value": DATASOURCE_UID},
        "options": [],
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "skipUrlSync": False,
    }
    return {
        "uid": "gradsweep",
        "title": "GradSweep",
        "description": "Sweeps, their training, the workers with their GPUs, the coordinator.",
        "tags": ["gradsweep"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-3h", "to": "now"},
        "timepicker": {},
        "refresh": "30s",
        "links": [],
        "annotations": {"list": []},
        "templating": {
            "list": [
                source,
                choice("sweep", "Sweep", "label_values(gradsweep_trials, sweep)"),
                choice("worker", "Worker", "label_values(gradsweep_slots, worker)"),
            ]
        },
        "panels": laid_out(
            [
                ("Sweeps", sweeps()),
                ("Training", training()),
                ("Workers and GPUs", workers()),
                ("Coordinator", coordinator()),
            ]
        ),
    }


def text():
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
