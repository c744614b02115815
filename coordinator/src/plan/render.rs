//! A plan as text, csv or json; trials are written as they are expanded, never held together.

use std::fmt::Write as _;
use std::io::{self, Write};

use common::config::{Config, Param, Value};
use common::spec::{Fusion, Sweep};

use super::{Estimate, Plan, Varying};

/// How a plan is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// For reading.
    #[default]
    Text,
    /// With `--trials` one row per trial, else one row per fact.
    Csv,
    /// One object.
    Json,
}

/// Writes the plan of a sweep, with every trial where `trials` asks for them.
pub fn write(
    plan: &Plan,
    sweep: &Sweep,
    format: Format,
    trials: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    match (format, trials) {
        (Format::Text, false) => text(plan, sweep, out),
        (Format::Text, true) => {
            text(plan, sweep, out)?;
            text_trials(plan, sweep, out)
        }
        (Format::Csv, false) => csv_facts(plan, sweep, out),
        (Format::Csv, true) => csv_trials(plan, sweep, out),
        (Format::Json, _) => json(plan, sweep, trials, out),
    }
}

fn text(plan: &Plan, sweep: &Sweep, out: &mut dyn Write) -> io::Result<()> {
    for (name, value) in facts(plan, sweep) {
        writeln!(out, "{name:<11} {value}")?;
    }
    let mut partly = Vec::new();
    for varying in &plan.varying {
        match varying.first.as_slice() {
            [only] => partly.push(format!("{} {only}", varying.param)),
            [..] => writeln!(out, "{:<11} {}: {}", "varies", varying.param, values(varying))?,
        }
    }
    if !partly.is_empty() {
        let partly = partly.join(", ");
        writeln!(out, "{:<11} {partly} (no effect in the other configs)", "partly")?;
    }
    let fixed = plan.fixed.iter().map(|(param, value)| format!("{param} {value}"));
    writeln!(out, "{:<11} {}", "fixed", fixed.collect::<Vec<_>>().join(", "))?;
    writeln!(out, "{:<11} {} (an estimate)", "memory", memory(&plan.estimate))?;
    writeln!(out, "{:<11} {} (an estimate)", "time", time(&plan.estimate))?;
    writeln!(out, "{:<11} {}", "basis", Estimate::basis())?;
    if plan.expectations > 0 {
        let (count, name) = (plan.expectations, &sweep.name);
        let claims = if count == 1 { "claim" } else { "claims" };
        let text = "about the results; `coordinator expect";
        writeln!(out, "{:<11} {count} {claims} {text} {name}` judges", "expects")?;
    }
    for warning in &plan.warnings {
        writeln!(out, "{:<11} {warning}", "warning")?;
    }
    Ok(())
}

/// Names and values of what there is one of.
fn facts(plan: &Plan, sweep: &Sweep) -> Vec<(&'static str, String)> {
    let counts = plan.counts;
    let fusion = match plan.fusion {
        Fusion::Auto => "auto".to_string(),
        Fusion::Off => "off".to_string(),
        Fusion::Size(size) => size.to_string(),
    };
    let (cpu, gpu) = (plan.cohorts_cpu, plan.cohorts_gpu);
    vec![
        ("sweep", sweep.name.to_string()),
        ("model", sweep.model.name().to_string()),
        ("data", sweep.data.name().to_string()),
        ("points", counts.points.to_string()),
        ("excluded", counts.excluded.to_string()),
        ("collapsed", counts.collapsed.to_string()),
        ("configs", counts.configs.to_string()),
        ("seeds", plan.seeds.to_string()),
        ("trials", counts.trials.to_string()),
        (
            "cohorts",
            format!(
                "{} of up to {} on a CPU, {} of up to {} on a GPU (fusion: {fusion})",
                cpu.count, cpu.size_max, gpu.count, gpu.size_max
            ),
        ),
    ]
}

fn values(varying: &Varying) -> String {
    let mut text = String::new();
    for value in &varying.first {
        let comma = if text.is_empty() { "" } else { ", " };
        write!(text, "{comma}{value}").expect("writing to a string succeeds");
    }
    if varying.distinct > varying.first.len() {
        write!(text, ", … ({} values)", varying.distinct).expect("writing to a string succeeds");
    }
    if varying.absent {
        text.push_str(" (no effect in some configs)");
    }
    text
}

fn memory(estimate: &Estimate) -> String {
    let (least, most) = estimate.network_parameters;
    format!(
        "up to {} per trial of a cohort, and {} of data per trainer; networks of {} to {} weights",
        bytes(estimate.trial_bytes_max),
        bytes(estimate.data_bytes),
        thousands(least),
        thousands(most),
    )
}

fn time(estimate: &Estimate) -> String {
    format!(
        "{} on one CPU core, {} for the longest trial",
        duration(estimate.core_seconds()),
        duration(estimate.core_seconds_trial_max()),
    )
}

fn bytes(bytes: f64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

fn thousands(count: f64) -> String {
    scaled(count, 1000.0, &["", "thousand", "million", "billion"])
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = number;
    let mut unit = 0;
    while number >= step && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = usize::from(number < 10.0 && unit > 0);
    format!("{number:.digits$} {}", units[unit]).trim_end().to_string()
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "under 1 s".into(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

fn text_trials(plan: &Plan, sweep: &Sweep, out: &mut dyn Write) -> io::Result<()> {
    const ID_CHARS: usize = 16;
    let seed_width = sweep.seeds.iter().map(|seed| seed.to_string().len()).max();
    let seed_width = seed_width.unwrap_or(0).max("seed".len());
    let mut line = format!("\n{:<ID_CHARS$}  {:>seed_width$}", "trial", "seed");
    for varying in &plan.varying {
        let width = column_width(varying);
        write!(line, "  {:>width$}", varying.param.name()).expect("writing to a string succeeds");
    }
    writeln!(out, "{line}")?;
    for (config, id, seed) in sweep.expand() {
        line.clear();
        write!(line, "{id}  {seed:>seed_width$}").expect("writing to a string succeeds");
        for varying in &plan.varying {
            let width = column_width(varying);
            let value = config.get(varying.param).map_or("-".to_string(), |v| v.to_string());
            write!(line, "  {value:>width$}").expect("writing to a string succeeds");
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn column_width(varying: &Varying) -> usize {
    varying.width.max(varying.param.name().len())
}

fn csv_facts(plan: &Plan, sweep: &Sweep, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = csv::Writer::from_writer(out);
    let row = |rows: &mut csv::Writer<_>, name: &str, value: &str| {
        rows.write_record([name, value]).map_err(io::Error::from)
    };
    row(&mut rows, "fact", "value")?;
    let text_only = "cohorts";
    for (name, value) in facts(plan, sweep) {
        if name != text_only {
            row(&mut rows, name, &value)?;
        }
    }
    for (name, value) in numbers(plan) {
        row(&mut rows, name, &value.to_string())?;
    }
    for varying in &plan.varying {
        row(&mut rows, &format!("varies {}", varying.param), &values(varying))?;
    }
    for warning in &plan.warnings {
        row(&mut rows, "warning", warning)?;
    }
    rows.flush()
}

/// Numbers for machines, units last.
fn numbers(plan: &Plan) -> [(&'static str, serde_json::Number); 9] {
    let estimate = &plan.estimate;
    // No estimate of a validated sweep is infinite; 0 would say so where one were.
    let float =
        |number: f64| serde_json::Number::from_f64(number.round()).unwrap_or_else(|| 0_u64.into());
    [
        ("expectations", plan.expectations.into()),
        ("cohorts_cpu", plan.cohorts_cpu.count.into()),
        ("cohort_size_cpu_max", plan.cohorts_cpu.size_max.into()),
        ("cohorts_gpu", plan.cohorts_gpu.count.into()),
        ("cohort_size_gpu_max", plan.cohorts_gpu.size_max.into()),
        ("estimate_core_seconds", float(estimate.core_seconds())),
        ("estimate_core_seconds_trial_max", float(estimate.core_seconds_trial_max())),
        ("estimate_trial_bytes_max", float(estimate.trial_bytes_max)),
        ("estimate_data_bytes", float(estimate.data_bytes)),
    ]
}

/// Parameters that some config has, sorted by name: the columns of a machine-readable list.
fn columns(plan: &Plan) -> Vec<Param> {
    let mut columns: Vec<Param> = plan.varying.iter().map(|varying| varying.param).collect();
    columns.extend(plan.fixed.iter().map(|(param, _)| *param));
    columns.sort();
    columns
}

fn csv_trials(plan: &Plan, sweep: &Sweep, out: &mut dyn Write) -> io::Result<()> {
    let columns = columns(plan);
    let mut rows = csv::Writer::from_writer(out);
    let names = columns.iter().map(|param| param.name());
    rows.write_record(["trial", "seed"].into_iter().chain(names)).map_err(io::Error::from)?;
    let mut field = String::new();
    for (config, id, seed) in sweep.expand() {
        write_csv_field(&mut rows, &mut field, id)?;
        write_csv_field(&mut rows, &mut field, seed)?;
        for param in &columns {
            match config.get(*param) {
                Some(value) => write_csv_field(&mut rows, &mut field, value)?,
                None => rows.write_field("").map_err(io::Error::from)?,
            }
        }
        rows.write_record(None::<&[u8]>).map_err(io::Error::from)?;
    }
    rows.flush()
}

/// Writes a field through a buffer that all fields share.
fn write_csv_field(
    rows: &mut csv::Writer<&mut dyn Write>,
    buffer: &mut String,
    field: impl std::fmt::Display,
) -> io::Result<()> {
    buffer.clear();
    write!(buffer, "{field}").expect("writing to a string succeeds");
    rows.write_field(buffer.as_bytes()).map_err(io::Error::from)
}

fn json(plan: &Plan, sweep: &Sweep, trials: bool, out: &mut dyn Write) -> io::Result<()> {
    let counts = plan.counts;
    let mut object = serde_json::json!({
        "sweep": sweep.name.as_str(),
        "model": sweep.model.name(),
        "data": sweep.data.name(),
        "points": counts.points,
        "excluded": counts.excluded,
        "collapsed": counts.collapsed,
        "configs": counts.configs,
        "seeds": plan.seeds,
        "trials": counts.trials,
        "basis": Estimate::basis(),
        "warnings": plan.warnings,
    });
    for (name, value) in numbers(plan) {
        object[name] = value.into();
    }
    let mut varying = serde_json::Map::new();
    for param in &plan.varying {
        let first: Vec<serde_json::Value> = param.first.iter().map(|v| json_of(*v)).collect();
        let entry = serde_json::json!({
            "distinct": param.distinct, "first": first, "absent_in_some": param.absent,
        });
        varying.insert(param.param.name().into(), entry);
    }
    object["varies"] = varying.into();
    let text = serde_json::to_string_pretty(&object)?;
    if !trials {
        return writeln!(out, "{text}");
    }
    let open = text.strip_suffix("\n}").expect("a pretty object ends with its brace on a line");
    write!(out, "{open},\n  \"trial_list\": [")?;
    for (index, (config, id, seed)) in sweep.expand().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(out, "{comma}\n    {}", json_trial(&config, &id.to_string(), seed))?;
    }
    writeln!(out, "\n  ]\n}}")
}

fn json_trial(config: &Config, id: &str, seed: u64) -> String {
    format!(r#"{{"trial":"{id}","seed":{seed},"params":{}}}"#, config.to_json())
}

fn json_of(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(flag) => flag.into(),
        Value::Int(whole) => whole.into(),
        Value::Float(number) => number.into(),
        Value::Word(word) => word.into(),
    }
}
